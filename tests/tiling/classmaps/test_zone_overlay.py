"""Facts about a class raster cut along zones: each pixel is its own class and the first zone that
holds its centre."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import shapely

from tests.tiling.rasters import write
from tiling.classmaps import zone_overlay
from tiling.classmaps.zone_overlay import cut_by_zones

CLASSES = np.random.default_rng(0).choice(np.array([-7, 0, 3, 40_000], np.int32), (50, 70))
WEST, NORTH, SIZE = 500_000, 5_000_000, 10


def wedge(seed: int) -> shapely.Polygon:
    """A triangle somewhere on the raster, or partly beside it."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform([WEST - 100, NORTH - 600], [WEST + 800, NORTH + 100], (3, 2))
    return shapely.Polygon(corners)


ZONES = np.array([wedge(1), shapely.Polygon(), wedge(2), wedge(3), shapely.box(0, 0, 1, 1)], object)


def expected() -> npt.NDArray[Any]:
    """The zone of each pixel, by shapely; -1 outside all."""
    rows, cols = np.indices(CLASSES.shape)
    centres = shapely.points(WEST + SIZE * (cols + 0.5), NORTH - SIZE * (rows + 0.5))
    inside = np.stack([shapely.contains(zone, centres) for zone in ZONES])
    return np.where(inside.any(0), inside.argmax(0), -1)


@pytest.mark.parametrize("block", [16, 1024])
def test_a_pixel_is_its_class_in_the_first_zone_that_holds_its_centre(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zone_overlay, "BLOCK", block)
    path = write(tmp_path / "classes.tif", CLASSES, size=SIZE)
    pairs = cut_by_zones(path, tmp_path / "cut.tif", ZONES, nodata=3)
    with rasterio.open(tmp_path / "cut.tif") as cut:
        values = cut.read(1)
        assert cut.nodata == 0
    zone = np.append(-1, pairs.zone)[values]
    there = (expected() >= 0) & (CLASSES != 3)
    np.testing.assert_array_equal(zone, np.where(there, expected(), -1))
    np.testing.assert_array_equal(np.append(0, pairs.class_id)[values][there], CLASSES[there])
    assert len(set(zip(*pairs, strict=True))) == pairs.zone.size == np.unique(values[there]).size


def test_zones_beside_the_raster_leave_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "classes.tif", CLASSES, size=SIZE)
    assert cut_by_zones(path, tmp_path / "cut.tif", ZONES[-1:]).zone.size == 0
