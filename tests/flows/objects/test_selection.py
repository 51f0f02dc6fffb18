"""What is shown of the objects that were found: of a size, without gaps, with right angles; the
same for every tile, in every area of interest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import shapely.affinity
from rasterio import features

from flows.partitions.canny import Canny
from flows.partitions.instances import Instances
from flows.requests.objects import ObjectsRequest
from flows.requests.source import Source
from tests.flows.objects.test_run import contents, make
from tests.scenes import read

pytestmark = pytest.mark.usefixtures("white_pictures")

SIDE = 60
WISHES: dict[str, Any] = {"min_object": 600.0, "fill_holes": 500.0, "regularise": 8.0}
"""Of pixels of 25 m²."""


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As a network says them: two turned houses, one with a yard of 12 px, and a hut of 9 px."""
    interior = np.zeros((SIDE, SIDE), np.uint8)
    for turn, at in ((25, (2, 8)), (-35, (28, 30))):
        house = shapely.affinity.rotate(shapely.box(0, 0, 24, 14), turn)
        house = shapely.affinity.translate(house, *at)
        interior[features.rasterize([house], (SIDE, SIDE)) > 0] = 90
    interior[14:17, 12:16] = 0
    interior[50:53, 5:8] = 80
    file = tmp_path_factory.mktemp("houses") / "probabilities.tif"
    with rasterio.open(
        file, "w", driver="GTiff", height=SIDE, width=SIDE, count=2, dtype="uint8", nodata=255,
        crs="EPSG:32633", transform=rasterio.Affine(5, 0, 6e5, 0, -5, 5.6e6),
    ) as raster:  # fmt: skip
        raster.write(np.stack([interior, 0 * interior]))
        raster.descriptions = ("Interior", "Boundary")
    return file


@pytest.mark.slow
def test_wishes_are_met_and_no_tile_shows(houses: Path, tmp_path: Path) -> None:
    one, other = (
        make(houses, tmp_path / str(tile), tile=tile, partition=Instances(), **WISHES)
        for tile in (13, 64)
    )
    assert contents(one.folder) == contents(other.folder)
    plain = make(houses, tmp_path / "plain", partition=Instances())
    before, after = (read(run.folder / "objects.tif") for run in (plain, one))
    assert np.unique(before).tolist() == [0, 1, 2, 3]
    expected = np.where(before == 3, 0, before)
    expected[14:17, 12:16] = 1
    np.testing.assert_array_equal(after, expected)
    frame = gpd.read_file(one.folder / "objects.gpkg", layer="objects")
    assert frame["number"].tolist() == [1, 2]
    assert frame["regularised"].all()
    assert shapely.get_num_coordinates(frame.geometry.to_numpy()).tolist() == [5, 5]
    assert frame["perimeter_m"].to_numpy() == pytest.approx(frame.length.to_numpy())
    assert (frame["major_m"] / frame["minor_m"]).to_numpy() == pytest.approx(frame["elongation"])
    assert frame["major_m"].to_numpy() == pytest.approx(
        np.full(2, 24 * 5 * 4 / np.sqrt(12)), rel=0.05
    )
    assert "regularised" not in gpd.read_file(plain.folder / "objects.gpkg", layer="objects")
    record = json.loads((one.folder / "run.json").read_text(encoding="utf-8"))
    assert sum(count for _, count in record["levels"][0]["sizes"]) == 2
    assert record["made_from"]["right angles"] == "within 8 m"
    assert "How large they are" in (one.folder / "report.html").read_text(encoding="utf-8")


def test_an_object_that_is_shown_is_so_in_every_area(houses: Path, tmp_path: Path) -> None:
    with rasterio.open(houses) as source:
        west, north = source.transform @ (0, 0)
        area = shapely.box(west, north - 5 * 20, west + 5 * 10, north)
        gpd.GeoDataFrame(geometry=[area], crs=source.crs).to_file(tmp_path / "aoi.gpkg")
    wishes: dict[str, Any] = {"partition": Instances(), "min_object": 3000.0}
    whole = make(houses, tmp_path / "whole", **wishes)
    part = make(houses, tmp_path / "part", aoi=str(tmp_path / "aoi.gpkg"), **wishes)
    numbers = read(part.folder / "objects.tif")
    np.testing.assert_array_equal(numbers, read(whole.folder / "objects.tif")[:20, :10])
    assert 0 < np.count_nonzero(numbers) * 25 < 3000


def test_wishes_that_cannot_be_met_are_refused(tmp_path: Path) -> None:
    source = Source(paths=("scene.tif",))
    with pytest.raises(ValueError, match="no object is left"):
        ObjectsRequest(
            source=source, out=tmp_path, partition=Instances(), min_object=9, max_object=3
        )
    with pytest.raises(ValueError, match="--regularise is for objects, and canny gives lines"):
        ObjectsRequest(source=source, out=tmp_path, partition=Canny(), regularise=2)
