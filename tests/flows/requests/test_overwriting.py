"""What a folder holds is not written over by another scene's results, unless a person asks for
it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import rasterio
from typer.testing import CliRunner

from flows.change.detect import change
from flows.cli import app
from flows.compute.cluster import Cluster
from flows.forms.groups import Advanced, Bands, Output
from flows.forms.requests import request_from
from flows.requests.change import ChangeRequest
from flows.requests.method import recipe_from
from flows.requests.overwriting import MEND
from flows.requests.request import Request
from flows.requests.series import CollectionRequest, MonitorRequest
from flows.requests.source import Source
from flows.requests.training import Training
from flows.run import pipeline
from flows.series.collection import collect
from flows.series.monitor import monitor
from flows.tasks.words import in_form_words
from flows.training.train import train
from segmentation.classical.rules import Rules
from segmentation.classical.thresholds import Otsu
from segmentation.segmenter import Segmenter
from tests.scenes import draw_scene
from tiling.errors import InputError

QUICK: dict[str, Any] = {"products": ("classes",)}


def asked(
    scene: Path | str, out: Path | str, segmenter: Segmenter | None = None, **wishes: Any
) -> Request:
    source = Source(paths=(str(scene),))
    return Request(source=source, out=out, segmenter=segmenter or Rules(), **{**QUICK, **wishes})


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture
def scenes(tmp_path: Path) -> tuple[Path, Path]:
    return draw_scene(tmp_path / "a.tif", 40, 40, 1), draw_scene(tmp_path / "b.tif", 40, 40, 2)


def run(request: Request) -> None:
    pipeline.run(request, on=Cluster(workers=0))


def test_the_map_of_another_scene_stays(scenes: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = scenes
    out = tmp_path / "out"
    run(asked(a, out))
    before = content(out)
    with pytest.raises(
        InputError, match=r"out holds a map of .*a\.tif by rules, and this is .*b\.tif by rules; "
    ):
        run(asked(b, out))
    assert content(out) == before
    run(asked(b, out, fresh=True))
    run(asked(b, tmp_path / "other"))
    assert (out / "classes.tif").read_bytes() == (tmp_path / "other" / "classes.tif").read_bytes()


def test_the_map_by_another_segmenter_stays(scenes: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(asked(scenes[0], out))
    with pytest.raises(
        InputError, match=r"by rules, and this is .* by otsu; name another folder with --out, or"
    ):
        run(asked(scenes[0], out, Otsu()))


def test_other_settings_and_another_delivery_are_the_same_map(
    scenes: tuple[Path, Path], tmp_path: Path
) -> None:
    a, _ = scenes
    out = tmp_path / "out"
    run(asked(a, out, Otsu(index="NDVI")))
    run(asked(a, out, Otsu(index="NDWI"), min_area=0.0))
    draw_scene(a, 50, 40, 3)
    run(asked(a, out, Otsu(index="NDWI")))
    with rasterio.open(out / "classes.tif") as classes:
        assert classes.shape == (50, 40)


def test_a_path_may_be_typed_from_anywhere(
    scenes: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record keeps a path as it was typed."""
    inner = tmp_path / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    run(asked("../a.tif", "../out"))
    monkeypatch.chdir(tmp_path)
    run(asked(tmp_path / "a.tif", "out"))
    run(asked("a.tif", "out"))
    with pytest.raises(InputError, match=r"this is b\.tif"):
        run(asked("b.tif", "out"))


def test_a_folder_without_a_record_of_ours_is_free(
    scenes: tuple[Path, Path], tmp_path: Path
) -> None:
    for number, text in enumerate(("{}", "[]", "no json", '{"request": 7}')):
        out = tmp_path / str(number)
        out.mkdir()
        (out / "run.json").write_text(text)
        run(asked(scenes[0], out))


def collection(
    places: list[Path], out: Path, segmenter: Segmenter | None = None, **wishes: Any
) -> CollectionRequest:
    template = asked("", out, segmenter, **wishes)
    source = template.source.model_copy(update={"paths": tuple(map(str, places))})
    return CollectionRequest(template=template.model_copy(update={"source": source}))


def test_a_collection_of_elsewhere_or_by_another_segmenter_stays(tmp_path: Path) -> None:
    here, there, out = tmp_path / "here", tmp_path / "there", tmp_path / "maps"
    for folder in (here, there):
        folder.mkdir()
        draw_scene(folder / "valley_20240501.tif", 40, 40, 1)
    collect(collection([here], out))
    report = (out / "areas.csv").read_bytes()
    with pytest.raises(InputError, match=r"maps holds maps by rules, and these are by otsu"):
        collect(collection([here], out, Otsu()))
    with pytest.raises(
        InputError, match=r"maps holds a collection of .*here, and this is one of .*there"
    ):
        collect(collection([there], out))
    assert (out / "areas.csv").read_bytes() == report
    draw_scene(here / "valley_20240601.tif", 40, 40, 2)
    assert len(collect(collection([here], out)).entries) == 2  # what is new joins
    assert len(collect(collection([there], out, fresh=True)).entries) == 1


def test_a_monitor_goes_on_with_its_own_segmenter(tmp_path: Path) -> None:
    inbox, out = tmp_path / "inbox", tmp_path / "watched"
    inbox.mkdir()
    draw_scene(inbox / "valley_20240501.tif", 40, 40, 1)

    def watch(segmenter: Segmenter, **wishes: Any) -> None:
        monitor(MonitorRequest(template=asked(inbox, out, segmenter, **wishes), settle_seconds=0))

    watch(Rules())
    with pytest.raises(InputError, match=r"watched holds maps by rules, and these are by otsu"):
        watch(Otsu())
    watch(Rules())
    watch(Otsu(), fresh=True)


@pytest.mark.slow
def test_a_comparison_of_other_maps_stays(scenes: tuple[Path, Path], tmp_path: Path) -> None:
    maps = [tmp_path / "one", tmp_path / "two", tmp_path / "three"]
    for scene, out in zip((*scenes, scenes[0]), maps, strict=True):
        run(asked(scene, out))
    one, two, three = map(str, maps)
    out = tmp_path / "change"
    change(ChangeRequest(earlier=one, later=two, out=out))
    change(ChangeRequest(earlier=one, later=two, out=out, min_area=500.0))
    before = content(out)
    with pytest.raises(
        InputError,
        match=r"change holds the change from .*one to .*two, and this is from .*three to",
    ):
        change(ChangeRequest(earlier=three, later=two, out=out))
    assert content(out) == before
    assert change(ChangeRequest(earlier=three, later=two, out=out, fresh=True)).files


@pytest.mark.slow
def test_a_model_of_other_labels_or_of_another_kind_stays(
    scenes: tuple[Path, Path], tmp_path: Path
) -> None:
    maps = [tmp_path / "one", tmp_path / "two"]
    for scene, folder in zip(scenes, maps, strict=True):
        run(asked(scene, folder))
        (folder / "classes.tif").rename(tmp_path / f"labels-{folder.name}.tif")
    out = tmp_path / "model"

    def learn(scene: Path, labels: str, architecture: str, **wishes: Any) -> None:
        recipe = recipe_from({"architecture": architecture, "trees": 2})
        train(
            Training(
                sources=(Source(paths=(str(scene),)),),
                labels=(str(tmp_path / labels),),
                out=out,
                recipe=recipe,
                **wishes,
            )
        )

    learn(scenes[0], "labels-one.tif", "random-forest")
    learn(scenes[0], "labels-one.tif", "random-forest")
    before = content(out)
    with pytest.raises(
        InputError, match=r"holds a model of labels-one\.tif, and this is one of labels-two\.tif"
    ):
        learn(scenes[1], "labels-two.tif", "random-forest")
    with pytest.raises(
        InputError,
        match="holds a model of architecture random-forest, and this is gradient-boosting",
    ):
        learn(scenes[0], "labels-one.tif", "gradient-boosting")
    assert content(out) == before
    learn(scenes[1], "labels-two.tif", "random-forest", fresh=True)
    assert content(out) != before


def test_a_form_that_names_no_folder_leaves_the_other_map(
    scenes: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANDWEAVE_DATA_ROOTS", str(tmp_path))

    def formed(segmenter: Segmenter, output_folder: str = "") -> Request:
        form = (Bands(), Output(), Advanced())
        request = request_from([str(scenes[0])], output_folder, segmenter, *form)
        return request.model_copy(update={"products": ("classes",)})

    first = formed(Rules())
    assert first.out == tmp_path / "maps" / "a"
    run(first)
    assert formed(Rules()).out == first.out
    other = formed(Otsu())
    assert other.out == tmp_path / "maps" / "a-otsu"
    run(other)
    assert formed(Otsu()).out == other.out
    with pytest.raises(InputError) as refused:
        run(formed(Otsu(), str(first.out)))
    assert (
        "another folder under “Output folder”, or replace it with “Start afresh”"
        in in_form_words(refused.value)
    )


@pytest.mark.parametrize("name", ["scene.tif", "truth.tif"])
def test_the_demo_draws_over_no_scene_of_somebodys(name: str, tmp_path: Path) -> None:
    mine = draw_scene(tmp_path / name, 20, 20)
    before = mine.read_bytes()
    command = [
        "demo",
        "--out",
        str(tmp_path),
        "--size",
        "64",
        "--segmenter",
        "rules",
        "--workers",
        "0",
    ]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, InputError)
    assert (
        str(result.exception)
        == f"{mine} is there and no demo has made it; name another folder with --out"
    )
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert mine.read_bytes() == before


def test_every_command_that_refuses_so_has_the_mend_it_speaks_of() -> None:
    assert MEND.endswith("--fresh")
    for command in ("segment", "collection", "monitor", "change", "train", "demo"):
        assert (
            "--fresh" in CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
        ), command
