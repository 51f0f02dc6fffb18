"""A line for the terminal repeats what a form was filled in with: the command line reads it back as
the same value."""

from __future__ import annotations

import datetime
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from pydantic import BaseModel

from flows import cli
from flows.change import detect
from flows.requests.change import ChangeRequest
from flows.requests.commandline import (
    change_line,
    collection_line,
    evaluate_line,
    in_lines,
    index_line,
    monitor_line,
    segment_line,
    train_line,
)
from flows.requests.maps import Evaluation
from flows.requests.request import Request
from flows.requests.series import CollectionRequest, MonitorRequest
from flows.requests.source import Source
from flows.requests.training import Training
from flows.run import pipeline
from flows.series import collection, monitor
from flows.stac.query import Search
from flows.training import where
from segmentation.classical.rules import Rules
from segmentation.classical.thresholds import Otsu
from segmentation.inference.network import Network
from segmentation.training.recipe import ForestRecipe, Recipe

LINES: dict[type[BaseModel], Callable[[Any], str]] = {
    Request: segment_line,
    CollectionRequest: collection_line,
    MonitorRequest: monitor_line,
    Training: train_line,
    ChangeRequest: change_line,
}


def command_line(asked: BaseModel) -> str:
    return LINES[type(asked)](asked)


class Read(Exception):
    """What a command was about to do."""


@pytest.fixture(scope="module")
def read() -> Any:
    """Reads a line as the command line does, up to the request that it makes."""

    def stop(request: object, *_: object, **__: object) -> None:
        raise Read(request)

    def reading(line: str) -> object:
        name, *words = shlex.split(line)
        assert name == "landweave"
        with pytest.raises(Read) as caught:
            cli.app(words, standalone_mode=False)
        return caught.value.args[0]

    with pytest.MonkeyPatch.context() as patch:
        for module, function in (
            (pipeline, "run"),
            (collection, "collect"),
            (monitor, "monitor"),
            (where, "train"),
            (detect, "work_pieces"),
        ):
            patch.setattr(module, function, stop)
        yield reading


def request(**asked: Any) -> Request:
    return Request(
        **{"source": Source(paths=("a.tif",)), "out": "run", "segmenter": Rules(), **asked}
    )


REQUESTS: dict[str, BaseModel] = {
    "the least": request(),
    "bands in files": request(source=Source(paths=("red=B04 (1).tif", "nir='B08'.tif"))),
    "what the file does not say": request(
        source=Source(
            paths=("/data/my scene.tif",),
            bands={"red": 3, "nir": 4},
            nodata=-9999,
            scale=1e-5,
            offset=-0.1,
            mask="band=5",
            mask_values=(3, 8),
            date=datetime.date(2024, 6, 30),
        )
    ),
    "bits": request(source=Source(paths=("a.tif",), mask="qa.tif", mask_bits=(3, 4))),
    "all about the map": request(
        products=("classes", "entropy"),
        min_area=0,
        min_area_rule="largest",
        indices=("NDVI", "NDWI"),
        simplify=0,
        smooth=2,
        aoi="place of mine.gpkg",
        shard=512,
        reference="truth; rm -rf.tif",
        preflight="warn",
        licence="CC-BY-4.0",
        fresh=True,
    ),
    "settings of rules": request(segmenter=Rules(water=1e-7, trees_green=0.06)),
    "otsu": request(segmenter=Otsu(index="NDWI")),
    "a network": request(segmenter=Network(tile=128, tta=True, device="cpu")),
    "a search": request(
        source=Source(
            search=Search(
                catalogue="https://a.example/v1?x=1&y=2",
                collections=("s2", "l8"),
                when="2024-05/2024-06",
                aoi="v.gpkg",
                max_cloud=30,
                most=7,
            ),
            bbox=(-9.5, 46, 9.6, 46.4),
            assets=("red", "nir"),
        ),
        aoi="v.gpkg",
    ),
    "a collection": CollectionRequest(
        template=request(
            source=Source(paths=("scenes",), date=datetime.date(2024, 6, 30)), fresh=True
        ),
        pattern="*_SR.tif",
        title="Täler & Höhen",
        fit_each=True,
    ),
    "a monitor": MonitorRequest(
        template=request(segmenter=Otsu(index="NDVI")),
        title="Valley",
        pattern="*.tif",
        zones="parcels.gpkg",
        max_invalid=0.5,
        min_change_area=5000,
        min_confidence=20,
        expect_days=10,
        settle_seconds=0,
        fit_each=True,
    ),
    "a training": Training(
        sources=(Source(paths=("a.tif",), scale=1e-4), Source(paths=("b.tif",), scale=1e-4)),
        labels=("a.gpkg", "b.gpkg"),
        out=Path("model"),
        column="kind",
        classes={1: "Open water", 2: "Wald"},
        regroup={5: 2},
        labels_nodata=0,
        split="blocks",
        recipe=Recipe(steps=50, options={"members": 2, "decoder_channels": (8, 4)}, seed=3),
        name="Valley",
        licence="CC-BY-4.0",
    ),
    "a comparison": ChangeRequest(
        earlier="a b",
        later="c/classes.tif",
        out=Path("d"),
        classes={"Bare soil": "Open", "Cloud": ""},
        nodata=0,
        min_area=5000,
        min_confidence=10,
        simplify=0,
        fresh=True,
    ),
    "a forest": Training(
        sources=(Source(paths=("red=a.tif", "nir=b.tif")),),
        labels=("a.gpkg",),
        out=Path("forest"),
        recipe=ForestRecipe(trees=50, windows=(3, 7)),
        fresh=True,
    ),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_line_reads_back_into_the_request(name: str, read: Callable[[str], object]) -> None:
    line = command_line(REQUESTS[name])
    assert "\n" not in line
    assert read(line) == REQUESTS[name]


texts = some.text(
    some.characters(exclude_categories=["C", "Z"], exclude_characters="~"), min_size=1, max_size=12
)


@pytest.mark.slow
@given(
    water=some.floats(-1, 1, allow_subnormal=False),
    scale=some.floats(1e-9, 10, exclude_min=True),
    min_area=some.none() | some.floats(0, 1e9),
    aoi=texts,
    bands=some.dictionaries(
        some.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True), some.integers(1, 20), max_size=4
    ),
    title=texts.filter(lambda text: not text.startswith("-")),
)
def test_any_numbers_and_names_read_back(
    read: Callable[[str], object],
    water: float,
    scale: float,
    min_area: float | None,
    aoi: str,
    bands: dict[str, int],
    title: str,
) -> None:
    asked = CollectionRequest(
        template=request(
            source=Source(paths=("a.tif",), scale=scale, bands=bands),
            segmenter=Rules(water=water),
            min_area=min_area,
            aoi=aoi,
        ),
        title=title,
    )
    assert read(command_line(asked)) == asked


@pytest.mark.parametrize(
    "asked",
    [
        CollectionRequest(template=request(reference="truth.tif")),
        MonitorRequest(template=request(), cloud_classes=("Fog",)),
        Training(
            sources=(Source(paths=("a.tif",)),),
            labels=("a.gpkg",),
            out=Path("m"),
            classes={1: "Water, open"},
        ),
    ],
)
def test_what_no_option_says_gets_no_line(asked: BaseModel) -> None:
    assert command_line(asked) == ""


def test_a_line_holds_no_secret() -> None:
    signed = "https://user:pa55@store.example/a.tif?X-Amz-Signature=0123abcd&X-Amz-Date=1"
    line = command_line(request(source=Source(paths=(signed,))))
    assert "pa55" not in line
    assert "0123abcd" not in line
    assert "store.example/a.tif" in line


def test_lines_of_evaluations_and_indices() -> None:
    asked = Evaluation(
        map="m.tif",
        reference="t.gpkg",
        out="out",
        column="kind",
        map_classes={"5": "4", "9": ""},
        tolerance=0.0,
    )
    assert evaluate_line(Evaluation(map="a b/classes.tif", reference="t.gpkg", out="out")) == (
        "landweave evaluate 'a b/classes.tif' t.gpkg --out out"
    )
    assert evaluate_line(asked) == (
        "landweave evaluate m.tif t.gpkg --column kind --map-classes 5=4,9= --tolerance 0.0 --out "
        "out"
    )
    source = Source(paths=("a.tif",), bands={"red": 1, "nir": 2})
    assert (
        index_line(source, ["NDVI"], "out")
        == "landweave index a.tif NDVI --bands red=1,nir=2 --out out"
    )
    assert index_line(Source(paths=("a.tif", "b.tif")), ["NDVI"], "out") == ""


def test_a_long_line_goes_on_below_and_says_the_same() -> None:
    line = command_line(REQUESTS["all about the map"])
    shown = in_lines(line)
    assert "\n" in shown
    assert max(map(len, shown.splitlines())) < 80
    shell = subprocess.run(
        ["sh", "-c", f'landweave() {{ printf "%s\\0" "$@"; }}\n{shown}'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shell.stdout.split("\0")[:-1] == shlex.split(line)[1:]
    assert in_lines("landweave segment a.tif --out run") == "landweave segment a.tif --out run"
