"""Objects against objects: rasters of ids, polygons, and both, the same whatever the blocks."""

from __future__ import annotations

import csv
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from math import isnan
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.features import shapes as polygons_of
from typer.testing import CliRunner

from flows.assessment.match_objects import evaluate_objects
from flows.cli import app
from segmentation.accuracy.instances import ObjectAccuracy
from tests.chance import SEED
from tests.segmentation.accuracy.test_instances import discs
from tiling.errors import InputError

UTM = "EPSG:32633"
PLACE = Affine(10, 0, 500_000, 0, -10, 5_000_000)


def write_ids(path: Path, ids: np.ndarray, nodata: int | None = 0) -> Path:
    profile = {"driver": "GTiff", "count": 1, "crs": UTM, "transform": PLACE, "nodata": nodata}
    height, width = ids.shape
    with rasterio.open(path, "w", **profile, height=height, width=width, dtype="int32") as target:
        target.write(ids.astype(np.int32), 1)
    return path


def write_shapes(path: Path, ids: np.ndarray, crs: str = UTM, **columns: list) -> Path:
    """A multipolygon for each id, in ascending order, in any CRS."""
    pieces: dict[int, list] = {}
    for piece, value in polygons_of(ids.astype(np.int32), mask=ids > 0, transform=PLACE):
        pieces.setdefault(int(value), []).append(shapely.geometry.shape(piece))
    joined = [shapely.union_all(pieces[value]) for value in sorted(pieces)]
    frame = geopandas.GeoDataFrame(columns, geometry=joined, crs=UTM)
    frame.to_crs(crs).to_file(path)
    return path


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray]:
    truth, found = discs(np.random.default_rng(SEED), 30)
    return truth, found


@pytest.fixture(scope="module")
def files(drawn, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("objects")
    truth, found = drawn
    numbers = np.unique(found[found > 0])
    scores = np.random.default_rng(SEED).random(numbers.size).tolist()
    return {
        "truth.tif": write_ids(folder / "truth.tif", truth),
        "found.tif": write_ids(folder / "found.tif", found),
        "truth.gpkg": write_shapes(folder / "truth.gpkg", truth, "EPSG:4326"),
        "found.gpkg": write_shapes(folder / "found.gpkg", found, score=scores),
    }


@pytest.fixture(scope="module")
def whole(files) -> ObjectAccuracy:
    return evaluate_objects(files["found.tif"], files["truth.tif"], block=4096)


@pytest.mark.parametrize("block", [17, 64])
def test_figures_are_those_of_the_whole_for_any_block(files, whole, block: int) -> None:
    judged = evaluate_objects(files["found.tif"], files["truth.tif"], block=block)
    assert judged == whole
    assert 0 < whole.mean.ap50 < 1
    assert 0 < whole.boundary_f1 < 1
    assert whole.tolerance_m == 20


@pytest.mark.slow
def test_figures_are_the_same_from_worker_processes(files, whole) -> None:
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        judged = evaluate_objects(files["found.tif"], files["truth.tif"], block=40, map=pool.map)
    assert judged == whole


def test_polygons_are_judged_as_their_raster_is(files, whole) -> None:
    """Drawn on the other side's pixels; also where they are kept in degrees."""
    judged = evaluate_objects(files["found.tif"], files["truth.gpkg"])
    assert judged.mean == whole.mean
    assert judged.boundary_f1 == whole.boundary_f1


def test_polygons_against_polygons_are_judged_by_their_areas(files, whole) -> None:
    judged = evaluate_objects(files["found.gpkg"], files["truth.gpkg"])
    on_pixels = evaluate_objects(files["found.gpkg"], files["truth.tif"])
    for name in ("ap", "ap50", "recall", "pq", "sq", "rq", "over", "under"):
        exact, counted = getattr(judged.mean, name), getattr(on_pixels.mean, name)
        assert exact == pytest.approx(counted, abs=1e-5), name
    assert isnan(judged.boundary_f1)
    # the same objects, ordered by their scores
    assert on_pixels.mean.pq == whole.mean.pq
    assert on_pixels.mean.ap50 != whole.mean.ap50


def test_objects_are_matched_within_their_class(drawn, tmp_path: Path) -> None:
    truth, _ = drawn
    kinds = ["house" if n % 2 else "barn" for n in range(np.unique(truth).size - 1)]
    one = write_shapes(tmp_path / "one.gpkg", truth, kind=kinds)
    swapped = ["barn" if kind == "house" else "house" for kind in kinds]
    other = write_shapes(tmp_path / "other.gpkg", truth, kind=[*kinds[:3], *swapped[3:]])
    assert evaluate_objects(one, one, column="kind").mean.pq == 1
    assert {row.name for row in evaluate_objects(one, one, column="kind").classes} == set(kinds)
    mixed = evaluate_objects(one, other, column="kind").mean.pq
    assert 0 < mixed < 1
    with pytest.raises(InputError, match=r"one\.gpkg has no column class; it has kind"):
        evaluate_objects(one, other, column="class")


def test_pixels_that_a_reference_does_not_know_are_left_out(drawn, tmp_path: Path) -> None:
    truth, found = drawn
    hidden = truth.copy()
    hidden[:48] = -1
    judged = evaluate_objects(
        write_ids(tmp_path / "found.tif", found), write_ids(tmp_path / "hidden.tif", hidden, -1)
    )
    expected = evaluate_objects(
        write_ids(tmp_path / "lower.tif", found[48:]), write_ids(tmp_path / "t.tif", truth[48:])
    )
    assert judged.mean.truth == expected.mean.truth
    assert judged.mean.ap50 == expected.mean.ap50


def arguments(files: dict[str, Path]) -> list[str]:
    both = str(files["found.tif"]), str(files["truth.tif"])
    return ["evaluate", *both, "--objects", "--workers", "0"]


def test_the_command_prints_and_writes_what_came_out(files, whole, tmp_path: Path) -> None:
    said = CliRunner().invoke(
        app,
        [*arguments(files), "--out", str(tmp_path / "out")],
    )
    assert said.exit_code == 0, said.output
    assert f"{whole.mean.ap50:.3f}" in said.output
    assert f"F1 of outlines within 20 m: {whole.boundary_f1:.3f}" in said.output
    told = json.loads((tmp_path / "out" / "object_accuracy.json").read_text())
    assert told["mean"]["pq"] == whole.mean.pq
    with (tmp_path / "out" / "object_accuracy.csv").open() as stream:
        assert float(list(csv.DictReader(stream))[-1]["ap75"]) == whole.mean.ap75


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        (["--mask", "m.tif"], "--mask is for classes of pixels"),
        (["--map-classes", "1=2"], "--map-classes is for classes of pixels"),
        (["--column", "kind"], "is a raster and has no column kind"),
        (["--tolerance", "1e9"], "more than 256 pixels"),
    ],
)
def test_what_has_no_meaning_for_objects_is_refused(files, options: list[str], fact: str) -> None:
    with pytest.raises(InputError, match=fact):
        CliRunner().invoke(app, [*arguments(files), *options], catch_exceptions=False)


def test_files_without_objects_are_refused(files, tmp_path: Path) -> None:
    with rasterio.open(
        tmp_path / "f.tif",
        "w",
        driver="GTiff",
        height=9,
        width=9,
        count=1,
        dtype="float32",
        crs=UTM,
        transform=PLACE,
    ) as target:
        target.write(np.ones((9, 9), np.float32), 1)
    with pytest.raises(InputError, match=r"f\.tif holds float32"):
        evaluate_objects(tmp_path / "f.tif", files["truth.tif"])
    nothing = write_ids(tmp_path / "none.tif", np.zeros((9, 9)))
    with pytest.raises(InputError, match="hold no object"):
        evaluate_objects(nothing, nothing)
    points = geopandas.GeoDataFrame(geometry=[shapely.Point(500_050, 4_999_950)], crs=UTM)
    points.to_file(tmp_path / "points.gpkg")
    with pytest.raises(InputError, match=r"points\.gpkg holds points"):
        evaluate_objects(tmp_path / "points.gpkg", files["truth.tif"])
