"""A scene cut into regions: the same bytes whatever the tiles, the workers and the retries; layers
that say what the rasters say."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from scipy import ndimage

from flows.compute.cluster import Cluster
from flows.objects.model import Objects
from flows.objects.run import run
from flows.partitions.canny import Canny
from flows.partitions.instances import Instances
from flows.partitions.objects import Objects as ObjectsPartition
from flows.partitions.watershed import Watershed
from flows.regions.plan import describe, make_plan
from flows.requests.objects import ObjectsRequest
from flows.requests.source import Source
from tests.scenes import draw_scene, read
from tiling.errors import InputError

pytestmark = pytest.mark.usefixtures("white_pictures")

HEIGHT, WIDTH = 37, 40


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_scene(tmp_path_factory.mktemp("scene") / "drawn.tif", HEIGHT, WIDTH, 4)


def make(scene: Path, out: Path, on: Cluster = Cluster(workers=0), **settings: Any) -> Objects:  # noqa: B008 - frozen
    return run(request(scene, out, **settings), on=on)


def request(scene: Path, out: Path, **settings: Any) -> ObjectsRequest:
    asked = {"partition": Watershed(size=40), **settings}
    return ObjectsRequest(source=Source(paths=(str(scene),)), out=out, **asked)


def contents(out: Path) -> dict[str, Any]:
    """Every product of a folder: bytes, and of a GeoPackage its tables without the clock's."""
    files: dict[str, Any] = {}
    for file in out.iterdir():
        if file.suffix == ".gpkg":
            with closing(sqlite3.connect(file)) as database:
                dump = [
                    line
                    for line in database.iterdump()
                    if not line.startswith(
                        ('INSERT INTO "gpkg_contents"', 'INSERT INTO "gpkg_meta')
                    )
                    and "layer_styles" not in line
                ]
            files[file.name] = dump
        elif file.is_file() and file.name not in ("run.json", ".lock"):
            files[file.name] = file.read_bytes()
    return files


@pytest.fixture(scope="module")
def finished(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Objects:
    return make(scene, tmp_path_factory.mktemp("finished"), indices=("NDVI",))


@pytest.mark.slow
def test_statistics_are_those_of_the_pixels_object_whatever_the_tiles(
    scene: Path, tmp_path: Path
) -> None:
    one, other = (
        make(scene, tmp_path / str(tile), tile=tile, statistics=True).folder for tile in (64, 9)
    )
    assert contents(one) == contents(other)
    numbers, pixels = read(one / "objects.tif"), read(scene, None)
    with rasterio.open(one / "objects-statistics.tif") as raster:
        names, found = raster.descriptions, raster.read()
        assert (raster.dtypes[0], np.isnan(raster.nodata)) == ("float32", True)
    columns = gpd.read_file(one / "objects.gpkg", layer="objects").set_index("number")
    assert len(names) == 2 * len(pixels)
    assert (np.isnan(found) == (numbers == 0)).all()
    for name, band in zip(names, found, strict=True):
        known = columns[name].reindex(numbers[numbers > 0]).to_numpy()
        np.testing.assert_array_equal(band[numbers > 0], known.astype(np.float32))
    assert not (make(scene, one).folder / "objects-statistics.tif").exists()


@pytest.mark.parametrize("tile", [7, 19, 64])
def test_products_are_the_same_for_every_tile(
    scene: Path, finished: Objects, tmp_path: Path, tile: int
) -> None:
    again = make(scene, tmp_path, tile=tile, indices=("NDVI",))
    assert contents(again.folder) == contents(finished.folder)
    assert again.levels == finished.levels


def test_regions_are_numbered_by_place_and_hang_together(finished: Objects) -> None:
    numbers = read(finished.folder / "objects.tif")
    assert numbers.dtype == np.uint32
    inside = numbers[numbers > 0]
    first = np.unique(inside, return_index=True)[1]
    assert np.array_equal(np.unique(inside), np.arange(1, inside.max() + 1))
    assert np.array_equal(np.argsort(first), np.arange(first.size))
    assert all(ndimage.label(numbers == n)[1] == 1 for n in range(1, int(inside.max()) + 1))


def test_the_layer_says_what_the_raster_says(finished: Objects) -> None:
    package = finished.folder / "objects.gpkg"
    assert [name for name, kind in pyogrio.list_layers(package) if kind] == ["objects"]
    frame = gpd.read_file(package, layer="objects")
    numbers = read(finished.folder / "objects.tif")
    assert sorted(frame["number"]) == list(range(1, int(numbers.max()) + 1))
    pixels = np.bincount(numbers.ravel())
    assert np.array_equal(pixels[frame["number"]], frame["n_pixels"])
    assert shapely.is_valid(frame.geometry.to_numpy()).all()
    assert shapely.coverage_is_valid(frame.geometry.to_numpy())
    assert frame["ndvi_mean"].between(-1, 1).all()
    (level,) = finished.levels
    assert level.count == len(frame)
    assert level.area_m2 == pytest.approx(frame["area_m2"].sum())


def test_columns_say_what_the_pixels_of_an_object_say(scene: Path, finished: Objects) -> None:
    frame = gpd.read_file(finished.folder / "objects.gpkg", layer="objects").set_index("number")
    numbers, band = read(finished.folder / "objects.tif"), read(scene, 4).astype(float) * 1e-4
    for number, row in frame.iterrows():
        pixels = band[numbers == number]
        assert row["nir_mean"] == pytest.approx(pixels.mean())
        assert row["nir_std"] == pytest.approx(pixels.std(), abs=1e-9)
        same = numbers == number
        steps = [
            (band[1:] - band[:-1])[same[1:] & same[:-1]],
            (band[:, 1:] - band[:, :-1])[same[:, 1:] & same[:, :-1]],
        ]
        mean_square = np.concatenate(steps) ** 2
        assert row["nir_texture"] == pytest.approx(np.sqrt(mean_square.mean()), abs=1e-9)
    assert frame["compactness"].between(0, np.pi / 4 + 0.02).all()
    assert (frame["elongation"] >= 1).all()


@pytest.fixture(scope="module")
def probabilities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two objects that touch, and one by itself, as a network that learnt them says it."""
    interior = np.zeros((HEIGHT, WIDTH), np.uint8)
    interior[3:20, 2:18], interior[3:20, 19:35], interior[24:34, 5:30] = 95, 80, 60
    boundary = np.zeros((HEIGHT, WIDTH), np.uint8)
    boundary[3:20, 18] = 90
    file = tmp_path_factory.mktemp("network") / "probabilities.tif"
    with rasterio.open(
        file, "w", driver="GTiff", height=HEIGHT, width=WIDTH, count=3, dtype="uint8", nodata=255,
        crs="EPSG:32633", transform=rasterio.Affine(10, 0, 6e5, 0, -10, 5.6e6),
        photometric="MINISBLACK",
    ) as raster:  # fmt: skip
        raster.write(np.stack([100 - interior - boundary, interior, boundary]))
        raster.descriptions = ("Background", "Interior", "Boundary")
    return file


def test_instances_have_a_score_and_are_the_same_for_every_tile(
    probabilities: Path, tmp_path: Path
) -> None:
    one, other = (
        make(probabilities, tmp_path / str(tile), tile=tile, partition=Instances()).folder
        for tile in (7, 64)
    )
    assert contents(one) == contents(other)
    frame = gpd.read_file(one / "objects.gpkg", layer="objects").set_index("number").sort_index()
    # a boundary that is alike on both sides goes to the object that comes first
    assert frame["n_pixels"].tolist() == [17 * 17, 17 * 16, 10 * 25]
    assert frame["score"].tolist() == pytest.approx([0.95 * 16 / 17, 0.8, 0.6])
    assert frame["score"].tolist() == pytest.approx((frame["interior_mean"] / 100).tolist())


def test_levels_are_layers_that_lie_in_each_other(scene: Path, tmp_path: Path) -> None:
    result = make(scene, tmp_path, partition=ObjectsPartition(levels=(2, 4, 8), step=4))
    assert [level.name for level in result.levels] == ["objects-2", "objects-4", "objects-8"]
    package = tmp_path / "objects.gpkg"
    assert [name for name, kind in pyogrio.list_layers(package) if kind] == [
        "objects-2", "objects-4", "objects-8",
    ]  # fmt: skip
    rasters = [read(tmp_path / f"objects-{scale}.tif") for scale in (2, 4, 8)]
    for fine, coarse, name in zip(rasters, rasters[1:], ("objects-2", "objects-4"), strict=False):
        parents = gpd.read_file(package, layer=name).set_index("number")["parent"]
        inside = fine > 0
        assert np.array_equal(parents.loc[fine[inside]].to_numpy(), coarse[inside])
    assert "parent" not in gpd.read_file(package, layer="objects-8")
    # with other wishes the levels that are not asked for go
    make(scene, tmp_path, partition=ObjectsPartition(scale=4, step=4))
    assert {path.name for path in tmp_path.glob("objects*.tif")} == {"objects.tif"}
    assert np.array_equal(read(tmp_path / "objects.tif"), rasters[1])


@pytest.mark.parametrize("tile", [9, 64])
def test_edges_are_a_mask_and_lines(scene: Path, tmp_path: Path, tile: int) -> None:
    result = make(scene, tmp_path / "a", partition=Canny(low=0.5, high=0.7))
    assert {path.name for path in result.files} == {
        "edges.tif", "edges.gpkg", "edges.qgs", "quicklook.png", "report.html", "run.json",
    }  # fmt: skip
    mask = read(tmp_path / "a" / "edges.tif")
    assert mask.dtype == np.uint8
    assert 0 < np.count_nonzero(mask == 1) == np.count_nonzero(mask)
    lines = gpd.read_file(tmp_path / "a" / "edges.gpkg", layer="edges")
    assert result.levels[0].count == len(lines) > 0
    assert set(lines.geom_type) == {"LineString"}
    assert lines["length_m"].to_numpy() == pytest.approx(lines.length.to_numpy())
    again = make(scene, tmp_path / "b", partition=Canny(low=0.5, high=0.7), tile=tile)
    assert contents(again.folder) == contents(result.folder)


def test_the_area_of_interest_clips_and_numbers_stay(
    scene: Path, finished: Objects, tmp_path: Path
) -> None:
    with rasterio.open(scene) as source:
        west, north = source.transform @ (9, 8)
        east, south = source.transform @ (30, 29)
        frame = gpd.GeoDataFrame(geometry=[shapely.box(west, south, east, north)], crs=source.crs)
    frame.to_file(tmp_path / "aoi.gpkg")
    clipped = make(scene, tmp_path / "out", aoi=str(tmp_path / "aoi.gpkg"))
    whole = read(finished.folder / "objects.tif")[8:29, 9:30]
    assert np.array_equal(read(clipped.folder / "objects.tif"), whole)
    layer = gpd.read_file(clipped.folder / "objects.gpkg", layer="objects")
    assert set(layer["number"]) == set(np.unique(whole[whole > 0]).tolist())
    assert layer["n_pixels"].sum() == np.count_nonzero(whole)


def test_a_second_run_takes_the_regions_that_are_there(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = contents(make(scene, tmp_path).folder)

    def find(*_: Any, **__: Any) -> Any:
        raise AssertionError("they are there")

    monkeypatch.setattr(Watershed, "find", find)
    assert contents(make(scene, tmp_path).folder) == first
    other = make(scene, tmp_path, simplify=0.0)
    assert contents(other.folder)["objects.tif"] == first["objects.tif"]
    with pytest.raises(AssertionError, match="they are there"):
        make(scene, tmp_path, partition=Watershed(size=90))


def test_what_a_run_that_died_left_is_used_or_made_again(
    scene: Path, finished: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.regions import levels

    def die(*_: Any, **__: Any) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(levels, "write_numbers", die)
        with pytest.raises(KeyboardInterrupt):
            make(scene, tmp_path, tile=16)
    assert list((tmp_path / "parts").glob("regions-*/16/*.surface.npy"))
    # another setting does not take what is there, the same does
    other = make(scene, tmp_path / "other", partition=Watershed(size=90))
    again = make(scene, tmp_path, tile=16, indices=("NDVI",))
    assert contents(again.folder).keys() == contents(finished.folder).keys()
    assert contents(again.folder)["objects.tif"] == contents(finished.folder)["objects.tif"]
    assert not list((tmp_path / "parts").glob("regions-*"))
    assert other.levels[0].count < again.levels[0].count


def test_the_record_tells_what_was_asked_and_what_came(finished: Objects) -> None:
    record = json.loads((finished.folder / "run.json").read_text(encoding="utf-8"))
    assert record["levels"][0]["count"] == finished.levels[0].count
    assert record["partition"]["kind"] == "watershed"
    assert set(finished.files) == {
        finished.folder / name
        for name in ("objects.tif", "objects.gpkg", "objects.qgs", "quicklook.png", "report.html",
                     "run.json")
    }  # fmt: skip
    assert all(file.exists() for file in finished.files)


def test_a_folder_with_another_method_is_refused_and_fresh_replaces_it(
    scene: Path, finished: Objects, tmp_path: Path
) -> None:
    from tests.scenes import draw_scene

    other = draw_scene(tmp_path / "other.tif", 20, 20)
    with pytest.raises(InputError, match=r"holds .* --fresh"):
        make(other, finished.folder)


def test_the_plan_tells_memory_and_refuses_what_does_not_fit(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = describe(make_plan(request(scene, tmp_path)))
    assert {"scene", "bands", "method", "tiles", "memory", "disk"} <= words.keys()
    monkeypatch.setattr("flows.regions.plan.available_memory", lambda: 0)
    with pytest.raises(InputError, match="larger --tile"):
        make_plan(request(scene, tmp_path))


@pytest.mark.slow
def test_products_are_the_same_with_workers(
    scene: Path, finished: Objects, tmp_path: Path, two_workers: str
) -> None:
    again = make(scene, tmp_path, Cluster(kind=two_workers), tile=16, indices=("NDVI",))
    assert contents(again.folder) == contents(finished.folder)
