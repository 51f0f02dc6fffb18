"""Facts about layers with right angles: the same for every tile and order, never overlapping."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import rasterio
import shapely
import shapely.affinity
from rasterio import features

from tests.chance import chances
from tests.tiling.regions.drawn import MAPS
from tiling.footprints.footprints import with_footprints
from tiling.grid.geobox import geobox_of
from tiling.polygons.polygonise import polygonise

SIDE = 104
UTM = rasterio.Affine(0.5, 0, 4e5, 0, -0.5, 5e6)
DEGREES = rasterio.Affine(6.57e-6, 0, 8.0, 0, -4.5e-6, 47.0)
"""Pixels of half a metre, too."""


@pytest.fixture(scope="module", params=["EPSG:32633", "EPSG:4326"])
def town(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Turned houses, some of which touch."""
    (random,) = chances(1)
    numbers = np.zeros((SIDE, SIDE), np.uint32)
    for number in range(1, 19):
        wide, high = random.uniform(9, 14, 2)  # larger ones touch too often
        house = shapely.affinity.rotate(shapely.box(0, 0, wide, high), random.uniform(0, 90))
        row, col = divmod(number - 1, 4)
        # the last ones lie where others are, and have what these leave
        at = (24 * col + 3, 24 * row + 3) if number <= 16 else random.uniform(10, 70, 2)
        house = shapely.affinity.translate(house, *at)
        mask = features.rasterize([house], (SIDE, SIDE)) > 0
        numbers[mask & (numbers == 0)] = number
    transform = UTM if request.param == "EPSG:32633" else DEGREES
    file = tmp_path_factory.mktemp("town") / "houses.tif"
    with rasterio.open(
        file, "w", driver="GTiff", height=SIDE, width=SIDE, count=1, dtype="uint32", nodata=0,
        crs=request.param, transform=transform,
    ) as out:  # fmt: skip
        out.write(numbers, 1)
    return file


def made(town: Path, folder: Path, tile: int = 128, map: Any = map) -> pa.Table:
    with rasterio.open(town) as source:
        grid = geobox_of(source)
    folder.mkdir()
    batches = list(
        with_footprints(
            polygonise(town, tile=tile), polygonise(town, tile=tile, simplify=0.75),
            grid, tolerance=0.8, folder=folder, map=map,
        )
    )  # fmt: skip
    return pa.Table.from_batches(batches).sort_by("region_id")


def test_tiles_retries_and_order_do_not_show(town: Path, tmp_path: Path) -> None:
    whole = made(town, tmp_path / "whole")
    for tile, work in zip((23, 50), MAPS[1:], strict=True):
        assert made(town, tmp_path / f"{tile}", tile, work).equals(whole)


def test_no_outline_overlaps_another_and_most_have_right_angles(town: Path, tmp_path: Path) -> None:
    found = made(town, tmp_path / "out")
    shapes = shapely.from_wkb(found["geometry"].to_numpy())
    assert shapely.is_valid(shapes).all()
    one, other = shapely.STRtree(shapes).query(shapes)
    apart = one < other
    assert not shapely.relate_pattern(shapes[one[apart]], shapes[other[apart]], "T********").any()
    right = found["regularised"].to_numpy()
    assert right.size // 2 < np.count_nonzero(right) < right.size
    plain = pa.Table.from_batches(list(polygonise(town, simplify=0.75))).sort_by("region_id")
    assert plain.column_names == [name for name in found.column_names if name != "regularised"]
    kept = plain["geometry"].to_numpy()[~right]
    assert (found["geometry"].to_numpy()[~right] == kept).all()
    same = (found["area_m2"].to_numpy() == plain["area_m2"].to_numpy()).all()
    assert same
    if rasterio.open(town).crs.is_projected:
        lengths = found["perimeter_m"].to_numpy()
        np.testing.assert_allclose(lengths, shapely.length(shapes))
        outlines = shapely.from_wkb(
            pa.Table.from_batches(list(polygonise(town)))
            .sort_by("region_id")["geometry"]
            .to_numpy()
        )
        away = shapely.hausdorff_distance(
            shapely.boundary(shapes[right]), shapely.boundary(outlines[right]), densify=0.02
        )
        assert away.max() <= 0.8
