"""Panoptic maps: what numpy makes of the whole rasters, however the work was cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely

from flows.compute.cluster import Cluster
from flows.detection.mask_rcnn import MaskRcnn
from flows.detection.panoptic import Panoptic
from flows.objects.model import Objects
from flows.objects.run import run
from flows.partitions.instances import Instances
from flows.partitions.partition import Partition
from flows.requests.objects import ObjectsRequest
from flows.requests.request import Request
from flows.requests.segmenters import choose_segmenter
from flows.requests.source import Source
from flows.run import pipeline
from flows.run.look import describe_look, look
from segmentation.legend import LandClass, Legend
from tests.flows.detection.test_mask_rcnn import CORE, MARGIN, SIDE, untrained
from tests.flows.objects.test_run import contents
from tests.scenes import draw_pixels, draw_scene, read, write_scene
from tests.segmentation.small_networks import a_bundle
from tiling.errors import InputError

pytestmark = pytest.mark.usefixtures("white_pictures")

LAND = Legend(
    classes=(
        LandClass(value=1, name="Water", colour="#3b7dd8"),
        LandClass(value=4, name="Building", colour="#d6453d"),
        LandClass(value=7, name="Grass", colour="#a8d36a"),
    )
)
FIELDS = Legend(
    classes=tuple(
        LandClass(value=n, name=name, colour=f"#{n}0{n}0{n}0")
        for n, name in enumerate(("Background", "Field", "Field boundary"), 1)
    )
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene, a semantic model, and two that find objects; nobody trained them."""
    folder = tmp_path_factory.mktemp("panoptic")
    draw_scene(folder / "scene.tif", SIDE, SIDE, 3)
    a_bundle(folder / "land", legend=LAND, name="land")
    a_bundle(folder / "fields", legend=FIELDS, name="fields")
    untrained(folder / "finder", tile=CORE, margin=MARGIN)
    return folder


def make(
    folder: Path,
    out: Path,
    on: Cluster = Cluster(workers=0),  # noqa: B008 - frozen
    partition: Partition | None = None,
    **asked: Any,
) -> Objects:
    source = Source(paths=(str(folder / "scene.tif"),))
    chosen = partition or panoptic(folder)
    return run(ObjectsRequest(source=source, out=out, partition=chosen, **asked), on=on, look=look)


def panoptic(folder: Path, finder: str = "finder", **more: Any) -> Panoptic:
    own = {"least_score": 5, "overlap": 40, "counted": "building", "depth": 3, "unite": 0} | more
    return Panoptic(semantic=str(folder / "land"), detector=str(folder / finder), **own)


@pytest.fixture(scope="module")
def percents(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """`(class, y, x)` what the semantic model says, by the way of a map."""
    out = tmp_path_factory.mktemp("map")
    pipeline.run(
        Request(
            source=Source(paths=(str(folder / "scene.tif"),)),
            out=out,
            segmenter=choose_segmenter(str(folder / "land"), {}),
            products=("classes", "probabilities"),
        )
    )
    return np.stack([read(out / "probabilities.tif", band) for band in (1, 2, 3)])


@pytest.fixture(scope="module")
def finished(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Objects:
    return make(folder, tmp_path_factory.mktemp("finished"))


def composite(percents: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The classes by the rule, on whole rasters: buildings where objects are, else water or grass,
    whichever is likelier."""
    stuff = np.where(percents[2] > percents[0], 7, 1)
    return np.where(numbers > 0, 4, np.where(percents[0] == 255, 0, stuff))


@pytest.mark.slow
def test_every_pixel_has_the_class_of_its_object_or_the_likeliest_other(
    finished: Objects, percents: np.ndarray
) -> None:
    numbers, classes = (read(finished.folder / f"{name}.tif") for name in ("objects", "classes"))
    np.testing.assert_array_equal(classes, composite(percents, numbers))
    assert set(np.unique(classes)) == {0, 1, 4, 7}
    layer = gpd.read_file(finished.folder / "objects.gpkg", layer="objects")
    assert set(layer["class"]) == {"Building"}
    assert len(layer) == numbers.max() > 3


@pytest.mark.slow
def test_its_objects_are_those_of_the_detector_alone(
    folder: Path, finished: Objects, tmp_path: Path
) -> None:
    alone = MaskRcnn(detector=str(folder / "finder"), least_score=5, overlap=40)
    made = make(folder, tmp_path, partition=alone)
    np.testing.assert_array_equal(
        read(made.folder / "objects.tif"), read(finished.folder / "objects.tif")
    )


@pytest.mark.slow
def test_tiles_and_workers_change_no_byte_and_areas_are_those_of_the_map(
    folder: Path, finished: Objects, tmp_path: Path, two_workers: str
) -> None:
    made = make(folder, tmp_path, Cluster(kind=two_workers), tile=41)
    assert contents(made.folder) == contents(finished.folder)
    counts = np.bincount(read(made.folder / "classes.tif").ravel(), minlength=8)
    rows = (made.folder / "areas.csv").read_text().splitlines()[1:]
    told = {row.split(",")[1]: int(row.split(",")[2]) for row in rows}
    assert told == {"Water": counts[1], "Building": counts[4], "Grass": counts[7]}


@pytest.mark.slow
def test_an_area_shows_what_the_whole_scene_has_there(
    folder: Path, finished: Objects, tmp_path: Path
) -> None:
    corner = shapely.box(500_200, 5_299_400, 500_600, 5_299_800)  # rows and columns 20 to 60
    gpd.GeoDataFrame(geometry=[corner], crs="EPSG:32633").to_file(tmp_path / "a.gpkg")
    made = make(folder, tmp_path / "out", aoi=str(tmp_path / "a.gpkg"))
    for name in ("classes.tif", "objects.tif"):
        whole = read(finished.folder / name)[20:60, 20:60]
        np.testing.assert_array_equal(read(made.folder / name), whole)


def test_a_network_of_interior_and_boundary_may_find_the_objects(
    folder: Path, percents: np.ndarray, tmp_path: Path
) -> None:
    made = make(folder, tmp_path / "one", partition=panoptic(folder, "fields"))
    alone = make(
        folder,
        tmp_path / "two",
        partition=Instances(depth=3, unite=0),
        network=str(folder / "fields"),
    )
    numbers = read(made.folder / "objects.tif")
    np.testing.assert_array_equal(numbers, read(alone.folder / "objects.tif"))
    assert numbers.any()
    np.testing.assert_array_equal(read(made.folder / "classes.tif"), composite(percents, numbers))
    layer = gpd.read_file(made.folder / "objects.gpkg", layer="objects")
    assert set(layer["class"]) == {"Building"}
    assert layer["score"].between(0, 1).all()


def test_a_class_that_the_map_does_not_know_is_added_to_its_legend(folder: Path) -> None:
    made = panoptic(folder, counted="").with_legend(LAND.rows)
    assert [(value, name) for value, name, _ in made.classes] == [
        (1, "Water"), (4, "Building"), (7, "Grass"), (2, "Object"),
    ]  # fmt: skip
    assert made.counted_values == {2: 2}
    assert made.class_bands == {value: f"semantic.band_{value}" for value in (1, 4, 7)}


def test_the_plan_says_what_is_counted(folder: Path, tmp_path: Path) -> None:
    asked = ObjectsRequest(
        source=Source(paths=(str(folder / "scene.tif"),)), out=tmp_path, partition=panoptic(folder)
    )
    assert "counted=building" in describe_look(asked)["then"]


@pytest.mark.parametrize(
    ("more", "fact"),
    [
        ({"semantic": ""}, "needs --semantic"),
        ({"detector": ""}, "needs --detector"),
    ],
)
def test_a_model_that_is_missing_is_one_line(
    folder: Path, tmp_path: Path, more: dict[str, str], fact: str
) -> None:
    with pytest.raises(InputError, match=fact):
        make(folder, tmp_path, partition=panoptic(folder).model_copy(update=more))
    with pytest.raises(InputError, match="no class that is not counted"):
        panoptic(folder).with_legend(LAND.rows[1:2])


def test_what_the_detector_lacks_is_said_before_the_semantic_model_looks(
    folder: Path, tmp_path: Path
) -> None:
    write_scene(tmp_path / "scene.tif", draw_pixels(40, 40), resolution=30)
    source = Source(paths=(str(tmp_path / "scene.tif"),))
    request = ObjectsRequest(source=source, out=tmp_path / "out", partition=panoptic(folder))
    with pytest.raises(InputError, match="learnt from pixels of 10 m"):
        run(request, on=Cluster(workers=0), look=look)
    assert not list((tmp_path / "out").rglob("probabilities-*"))


@pytest.mark.slow
def test_both_rasters_agree_in_every_pixel_where_objects_are_left_out_and_holes_filled(
    folder: Path, finished: Objects, percents: np.ndarray, tmp_path: Path
) -> None:
    """What is left out becomes the likeliest class that is not counted, a filled hole its
    object's."""
    layer = gpd.read_file(finished.folder / "objects.gpkg", layer="objects")
    low, high = np.quantile(layer["area_m2"], (0.3, 0.8))
    wishes = {"min_object": float(low), "max_object": float(high), "fill_holes": 2_000.0}
    made = make(folder, tmp_path, **wishes)
    numbers, classes = (read(made.folder / f"{name}.tif") for name in ("objects", "classes"))
    np.testing.assert_array_equal(classes, composite(percents, numbers))
    whole = read(finished.folder / "objects.tif")
    assert 0 < np.unique(numbers).size < np.unique(whole).size
    areas = {row["class_name"]: row["pixels"] for row in made.record["areas"]}
    assert areas["Building"] == np.count_nonzero(numbers)
    page = (made.folder / "report.html").read_text()
    assert "Building" in page
    project = (made.folder / "objects.qgs").read_text()
    assert 'label="Building"' in project
    assert "./classes.tif" in project or ">classes.tif<" in project
