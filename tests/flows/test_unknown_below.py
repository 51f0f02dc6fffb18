"""Facts about pixels that a map is not sure of: a class of their own, the same however the work was
cut."""

from __future__ import annotations

import csv
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree as ET

import geopandas
import numpy as np
import pytest
import rasterio
import shapely

from flows.assessment.reclassify import rows_with_names
from flows.change.detect import change
from flows.compute.cluster import Cluster
from flows.compute.pool import ThisProcess
from flows.parsing import validate
from flows.requests.change import ChangeRequest
from flows.requests.request import Request
from flows.requests.source import Source
from flows.run import pipeline
from segmentation.classical.adaptive import Adaptive
from segmentation.classical.rules import Rules
from segmentation.legend import UNKNOWN, UNKNOWN_COLOUR
from segmentation.segmenter import Segmenter
from tests.chance import SEED
from tests.conftest import Run
from tests.flows.run.test_pipeline import Blur
from tests.flows.test_any_cut import compared
from tests.scenes import draw_pixels, read, write_scene
from tests.tiling.rasters import label
from tiling.errors import InputError
from tiling.regions.sieving.sieve import sieve

pytestmark = pytest.mark.usefixtures("white_pictures")

VALUE = 254
BELOW = 30
PIXEL = 100
"""m² on the map."""


def run(
    scene: Path,
    out: Path,
    unknown_below: float = BELOW,
    on: Cluster | None = None,
    **wishes: object,
) -> Path:
    given = {"min_area": 0.0, "segmenter": Rules(), **wishes}
    request = Request(
        source=Source(paths=(str(scene),)), out=out, unknown_below=unknown_below, **given
    )
    pipeline.run(request, **({"on": on} if on else {}))
    return out


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pixels = draw_pixels(150, 170, seed=5)
    return write_scene(tmp_path_factory.mktemp("unknown") / "scene.tif", pixels)


@pytest.fixture(scope="module")
def every(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The map of every pixel."""
    return run(scene, tmp_path_factory.mktemp("every") / "run", 0)


def oracle(every: Path, below: float = BELOW) -> np.ndarray:
    """The classes of the map of every pixel, Unknown where it is not sure, by numpy."""
    classes, confidence = read(every / "classes.tif"), read(every / "confidence.tif")
    assert not (classes == VALUE).any()
    return np.where((classes > 0) & (confidence < below), VALUE, classes)


def test_pixels_below_the_percent_are_unknown_and_no_others(
    scene: Path, every: Path, tmp_path: Path
) -> None:
    out, expected = run(scene, tmp_path / "run"), oracle(every)
    assert 0.02 < (expected == VALUE).mean() < 0.98
    np.testing.assert_array_equal(read(out / "classes.tif"), expected)
    assert (out / "confidence.tif").read_bytes() == (every / "confidence.tif").read_bytes(), (
        "confidence stays"
    )


@pytest.mark.parametrize("below", [0.5, 17, 17.5, 100])
def test_less_than_the_percent_counts_and_equal_does_not(
    scene: Path, every: Path, tmp_path: Path, below: float
) -> None:
    out = run(scene, tmp_path / "run", below, products=("classes",))
    np.testing.assert_array_equal(read(out / "classes.tif"), oracle(every, below))


def test_small_regions_of_it_and_in_it_go_to_a_neighbour(
    scene: Path, every: Path, tmp_path: Path
) -> None:
    out = run(scene, tmp_path / "run", min_area=20 * PIXEL)
    with rasterio.open(every / "classes.tif") as source:
        profile = source.profile | {"driver": "GTiff"}
    with rasterio.open(tmp_path / "marked.tif", "w", **profile) as target:
        target.write(oracle(every), 1)
    expected = read(sieve(tmp_path / "marked.tif", tmp_path / "sieved.tif", minimum=20 * PIXEL))
    classes = read(out / "classes.tif")
    np.testing.assert_array_equal(classes, expected)
    assert ((classes == VALUE) & (oracle(every) != VALUE)).any(), "it absorbs"
    assert ((classes != VALUE) & (oracle(every) == VALUE)).any(), "it is absorbed"


@pytest.mark.slow
@pytest.mark.parametrize("segmenter", [Rules(), Blur(tile=37, reach=5)], ids=["pixels", "margin"])
def test_no_byte_follows_from_the_cut(tmp_path: Path, segmenter: Segmenter) -> None:
    rng = np.random.default_rng(SEED)
    for case in range(4):
        shape = [int(side) for side in rng.integers(40, 160, 2)]
        scene = write_scene(
            tmp_path / f"{case}.tif", draw_pixels(*shape, seed=int(rng.integers(99)))
        )
        area = {"aoi": triangle_in(scene, tmp_path / f"{case}.gpkg", rng)} if case % 2 else {}
        wishes = {
            "segmenter": segmenter,
            "min_area": [0.0, None][case // 2],
            "unknown_below": float(rng.uniform(5, 60)),
            "preflight": "warn",
            **area,
        }
        whole = run(scene, tmp_path / f"whole-{case}", shard=4096, **wishes)
        shard = int(rng.integers(16, 100))
        cut = run(scene, tmp_path / f"cut-{case}", shard=shard, **wishes)
        rasters, polygons = compared(whole, cut, f"seed {SEED}, case {case}, shards of {shard} px")
        assert (rasters["classes.tif"] == VALUE).any()
        assert polygons.n_pixels.sum() == np.count_nonzero(rasters["classes.tif"])
        assert shapely.coverage_is_valid(polygons.geometry.to_numpy())


def triangle_in(scene: Path, path: Path, rng: np.random.Generator) -> str:
    """An area of interest of three corners that holds the middle of a scene."""
    with rasterio.open(scene) as source:
        transform, crs, (height, width) = source.transform, source.crs, source.shape
    corners = [(0.1, 0.2), (0.9, rng.uniform(0, 0.4)), (rng.uniform(0.2, 0.8), 0.95)]
    triangle = shapely.Polygon([transform @ (x * width, y * height) for x, y in corners])
    geopandas.GeoDataFrame(geometry=[triangle], crs=crs.to_wkt()).to_file(path)
    return str(path)


@pytest.mark.slow
def test_two_workers_make_the_same_bytes(scene: Path, tmp_path: Path, two_workers: str) -> None:
    alone = run(scene, tmp_path / "alone", min_area=None)
    on = Cluster(kind=two_workers)
    shared = run(scene, tmp_path / "shared", on=on, min_area=None, shard=64)
    compared(alone, shared, "two workers")


def test_another_percent_changes_no_part(scene: Path, tmp_path: Path) -> None:
    out = run(scene, tmp_path / "run", 0, products=("classes",))
    parts = {path.name: path.stat().st_mtime_ns for path in (out / "parts").glob("*.tif")}
    run(scene, out, BELOW, products=("classes",))
    assert parts == {path.name: path.stat().st_mtime_ns for path in (out / "parts").glob("*.tif")}


def test_every_product_names_it_last_and_grey(scene: Path, every: Path, tmp_path: Path) -> None:
    out = run(scene, tmp_path / "run")
    pixels = int((oracle(every) == VALUE).sum())
    assert rows_with_names(out / "classes.tif")[-1] == (VALUE, UNKNOWN, UNKNOWN_COLOUR)
    with (out / "areas.csv").open(encoding="utf-8") as table:
        last = list(csv.DictReader(table))[-1]
    assert (last["class_id"], last["class_name"], last["pixels"]) == ("254", UNKNOWN, str(pixels))
    with closing(sqlite3.connect(out / "landcover.gpkg")) as database:
        ((style,),) = database.execute("SELECT styleQML FROM layer_styles")
    for text, tag in (
        (style, "category"),
        ((out / "classes.qml").read_text(), "paletteEntry"),
        ((out / "landcover.qgs").read_text(), "category"),
    ):
        assert [entry.get("value") for entry in ET.fromstring(text).iter(tag)][-1] == "254"
    frame = geopandas.read_file(out / "landcover.gpkg", layer="landcover")
    unknown = frame[frame.class_id == VALUE]
    assert set(unknown.class_name) == {UNKNOWN}
    assert unknown.n_pixels.sum() == pixels
    _, first = label(oracle(every))
    assert sorted(unknown.region_id) == sorted(first[oracle(every).ravel()[first] == VALUE])
    assert unknown.confidence.max() < BELOW
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert record["legend"][-1] == [VALUE, UNKNOWN, UNKNOWN_COLOUR]
    assert record["made_from"]["unknown below"] == "30 % confidence"
    assert record["confidence"][UNKNOWN] < BELOW
    item = json.loads((out / "item.json").read_text(encoding="utf-8"))
    classes = item["assets"]["classes"]["classification:classes"]
    assert (classes[-1]["value"], classes[-1]["title"]) == (VALUE, UNKNOWN)
    assert "Pixels below 30 % confidence became Unknown" in (out / "classes.qmd").read_text()
    assert UNKNOWN in (out / "report.html").read_text(encoding="utf-8")


def test_zero_leaves_every_trace_of_it_out(every: Path) -> None:
    assert UNKNOWN not in {name for _, name, _ in rows_with_names(every / "classes.tif")}
    for name in ("classes.qml", "landcover.qgs", "areas.csv", "item.json", "report.html"):
        assert UNKNOWN not in (every / name).read_text(encoding="utf-8")
    assert "unknown below" not in json.loads((every / "run.json").read_text())["made_from"]


def test_it_is_no_answer_where_a_map_is_compared(scene: Path, every: Path, tmp_path: Path) -> None:
    reference = str(every / "classes.tif")
    out = run(scene, tmp_path / "run", reference=reference)
    accuracy = json.loads((out / "run.json").read_text(encoding="utf-8"))["accuracy"]
    unknown, asked = int((oracle(every) == VALUE).sum()), np.count_nonzero(oracle(every))
    assert accuracy["overall_accuracy"] == 1, "what it answers is what the other map says"
    assert (
        f"where the map is Unknown it gives no answer: {unknown:,} of {asked:,} with a reference"
        in accuracy["notes"][0]
    )


def test_a_map_that_answers_nowhere_cannot_be_compared(
    scene: Path, every: Path, tmp_path: Path
) -> None:
    unsure = read(every / "confidence.tif") < 100
    with rasterio.open(every / "classes.tif") as source:
        profile = source.profile | {"driver": "GTiff"}
    with rasterio.open(tmp_path / "reference.tif", "w", **profile) as target:
        target.write(np.where(unsure, read(every / "classes.tif"), 0), 1)
    with pytest.raises(InputError, match=r"is Unknown wherever .* lower --unknown-below"):
        run(scene, tmp_path / "run", 100, reference=str(tmp_path / "reference.tif"))


def test_it_is_not_compared_with_another_map(scene: Path, every: Path, tmp_path: Path) -> None:
    unsure = run(scene, tmp_path / "unsure")
    result = change(
        ChangeRequest(
            earlier=str(every / "classes.tif"),
            later=str(unsure / "classes.tif"),
            out=tmp_path / "change",
        ),
        ThisProcess(),
    )
    assert any("and Unknown hide the ground: not compared" in note for note in result.notes)
    codes = read(tmp_path / "change" / "change.tif")
    assert (codes[oracle(every) == VALUE] == 0).all()


def test_a_percent_is_one() -> None:
    for wrong in (-1, 101, float("nan")):
        with pytest.raises(InputError, match="unknown_below"):
            validate(
                Request,
                source={"paths": ["a.tif"]},
                out="out",
                segmenter=Rules(),
                unknown_below=wrong,
            )


class Mute(Blur):
    """A segmenter that does not say how sure it is."""

    def __call__(self, chip: object) -> object:
        return super().__call__(chip)._replace(confidence=None)


def test_a_segmenter_that_does_not_say_how_sure_it_is_is_refused(
    scene: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="does not say how sure it is of a pixel; leave --unkn"):
        run(scene, tmp_path / "run", segmenter=Mute(tile=64, reach=2))


def test_one_whose_class_says_so_is_refused_before_a_pixel_is_computed(
    scene: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with pytest.raises(InputError, match="adaptive does not say how sure it is"):
        run(scene, out, segmenter=Adaptive())
    assert not list(out.glob("parts/*"))


def test_the_option_is_typed_in_percent(
    scene: Path, every: Path, tmp_path: Path, landweave: Run
) -> None:
    out = tmp_path / "run"
    typed = ("--workers", 0, "--min-area", 0, "--products", "classes")
    status, printed, _ = landweave("segment", scene, "--out", out, *typed, "--unknown-below", BELOW)
    assert status == 0
    assert UNKNOWN in printed
    np.testing.assert_array_equal(read(out / "classes.tif"), oracle(every))
