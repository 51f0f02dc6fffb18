"""Facts about maps whose objects have one class each: what a slow vote says, however the work was
cut."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely

from flows.compute.cluster import Cluster
from flows.objects.run import run as make_objects
from flows.partitions.registry import partition_from
from flows.plan.plan import make_plan
from flows.requests.objects import ObjectsRequest
from flows.requests.request import Request
from flows.requests.segmenters import segmenter_from
from flows.requests.source import Source
from flows.run import pipeline
from flows.run.objects import work_of
from segmentation.classical.adaptive import Adaptive
from segmentation.classical.rules import Rules
from segmentation.segmenter import Segmenter
from tests.flows.test_any_cut import compared
from tests.scenes import draw_pixels, read, write_scene
from tiling.errors import InputError

pytestmark = pytest.mark.usefixtures("white_pictures")

SCALE = 4


def run(scene: Path, out: Path, on: Cluster | None = None, **wishes: object) -> Path:
    given = {"min_area": 0.0, "segmenter": Rules(), "objects": SCALE, **wishes}
    request = Request(source=Source(paths=(str(scene),)), out=out, **given)
    pipeline.run(request, **({"on": on} if on else {}))
    return out


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pixels = draw_pixels(110, 130, seed=3)
    return write_scene(tmp_path_factory.mktemp("voted") / "scene.tif", pixels)


@pytest.fixture(scope="module")
def numbers(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The objects of the scene, by the command that makes them."""
    out = tmp_path_factory.mktemp("numbers") / "out"
    partition = partition_from("objects", scale=SCALE)
    make_objects(ObjectsRequest(source=Source(paths=(str(scene),)), out=out, partition=partition))
    return read(out / "objects.tif")


def vote(numbers: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The class of each pixel's object and its share in percent, one object after the other."""
    labels, share = classes.copy(), np.full(classes.shape, 255, np.uint8)
    for number in np.unique(numbers[numbers > 0]):
        inside = (numbers == number) & (classes > 0)
        if inside.any():
            counts = np.bincount(classes[inside])
            labels[inside] = counts.argmax()
            share[inside] = (200 * counts.max() + counts.sum()) // (2 * counts.sum())
    return labels, share


def test_each_object_has_the_class_that_most_of_its_pixels_have(
    scene: Path, numbers: np.ndarray, tmp_path: Path
) -> None:
    pixels = read(run(scene, tmp_path / "pixels", objects=0) / "classes.tif")
    out = run(scene, tmp_path / "run")
    labels, share = vote(numbers, pixels)
    assert (labels != pixels).mean() > 0.005, "it has a say"
    np.testing.assert_array_equal(read(out / "classes.tif"), labels)
    held = numbers > 0
    np.testing.assert_array_equal(read(out / "confidence.tif")[held], share[held])
    with rasterio.open(out / "classes.tif") as source:
        assert "each object of scale 4" in str(source.tags())


@pytest.mark.slow
def test_probabilities_are_added_up_where_a_model_has_them(
    scene: Path, numbers: np.ndarray, tmp_path: Path
) -> None:
    products = ("classes", "confidence", "probabilities")
    wishes = {"segmenter": segmenter_from("network", {}), "preflight": "warn"}
    out = run(scene, tmp_path / "run", products=products, **wishes)
    with rasterio.open(out / "probabilities.tif") as source:
        percents = source.read().astype(int)
    assert len(percents) > 2
    labels, sure = read(out / "classes.tif"), read(out / "confidence.tif")
    for number in np.unique(numbers[(numbers > 0) & (labels > 0)]):
        inside = (numbers == number) & (labels > 0)
        sums = percents[:, inside].sum(axis=1)
        assert (labels[inside] == 1 + sums.argmax()).all()
        assert (sure[inside] == (200 * sums.max() + sums.sum()) // (2 * sums.sum())).all()


def test_a_method_without_a_confidence_has_one_of_its_objects(scene: Path, tmp_path: Path) -> None:
    out = run(scene, tmp_path / "run", segmenter=Adaptive(window=9), unknown_below=60.0)
    assert set(np.unique(read(out / "confidence.tif"))) <= {*range(50, 101), 255}
    assert (read(out / "classes.tif") == 254).any(), "objects whose pixels do not agree"


def test_an_area_of_interest_cuts_the_map_and_changes_no_class(scene: Path, tmp_path: Path) -> None:
    whole = read(run(scene, tmp_path / "whole") / "classes.tif")
    with rasterio.open(scene) as source:
        transform, crs = source.transform, source.crs
    (west, north), (east, south) = transform @ (31, 17), transform @ (77, 90)
    area = geopandas.GeoSeries([shapely.box(west, south, east, north)], crs=crs)
    area.to_file(tmp_path / "aoi.gpkg")
    part = run(scene, tmp_path / "part", aoi=str(tmp_path / "aoi.gpkg"), shard=32)
    np.testing.assert_array_equal(read(part / "classes.tif"), whole[17:90, 31:77])


@pytest.mark.slow
@pytest.mark.parametrize("segmenter", [Rules(), Adaptive(window=9)], ids=["sure", "unsure"])
def test_no_byte_follows_from_the_cut(
    scene: Path, tmp_path: Path, two_workers: str, segmenter: Segmenter
) -> None:
    wishes = {"segmenter": segmenter, "unknown_below": 55.0, "min_area": None}
    whole = run(scene, tmp_path / "whole", **wishes)
    for shard, on in ((16, Cluster(workers=0)), (48, Cluster(kind=two_workers))):
        case = f"shards of {shard} px"
        compared(run(scene, tmp_path / str(shard), on, shard=shard, **wishes), whole, case)
    classes = (whole / "classes.tif").read_bytes()
    run(scene, whole, fresh=True, **wishes)
    assert (whole / "classes.tif").read_bytes() == classes


def test_workers_have_room_for_the_passes_that_make_objects(scene: Path, tmp_path: Path) -> None:
    def bytes_of(objects: float) -> int:
        source = Source(paths=(str(scene),))
        request = Request(
            source=source, out=tmp_path / "out", segmenter=Rules(), objects=objects, shard=16
        )
        return work_of(make_plan(request)).worker_bytes(1)

    assert bytes_of(SCALE) > bytes_of(0)


def test_a_segmenter_has_no_say_in_the_objects_and_the_scene_is_opened_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rules read some of the bands and find out what those count; the others stay as they are."""
    scene = write_scene(tmp_path / "scene.tif", draw_pixels(80, 90, seed=4))
    with rasterio.open(scene, "r+") as raster:
        raster.scales = (1.0,) * raster.count
    source, alone = Source(paths=(str(scene),)), tmp_path / "alone"
    partition = partition_from("objects", scale=SCALE)
    make_objects(ObjectsRequest(source=source, out=alone, partition=partition))

    opened, open_scene = [], Source.open
    monkeypatch.setattr(Source, "open", lambda self: opened.append(self) or open_scene(self))
    out = run(scene, tmp_path / "run")
    (numbers,) = (out / "parts").glob("numbers0-*.tif")
    np.testing.assert_array_equal(read(numbers), read(alone / "objects.tif"))
    assert len(opened) == 1, "a search of a catalogue may find others the second time"


def test_what_has_no_valid_pixel_has_no_objects(tmp_path: Path) -> None:
    empty = write_scene(tmp_path / "scene.tif", np.zeros_like(draw_pixels(16, 16, seed=1)))
    with pytest.raises(InputError, match="no valid pixel"):
        run(empty, tmp_path / "run")
