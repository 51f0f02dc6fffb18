"""Small regions are replaced by what a table says, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from scipy.ndimage import label

from tiling.grid.pixel_area import PixelAreas
from tiling.grid.window import Window
from tiling.regions.sieving.relabel_small import Patches, relabel_small

CRS = "EPSG:32633"


def write(path: Path, values: np.ndarray, crs: str = CRS, transform: Affine | None = None) -> Path:
    height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=1, dtype="uint16", crs=crs,
        nodata=0,
        transform=transform or Affine(10, 0, 5e5, 0, -10, 5e6),
    ) as target:  # fmt: skip
        target.write(values.astype(np.uint16), 1)
    return path


def by_hand(
    values: np.ndarray, becomes: dict[int, int], minimum: float, areas: np.ndarray
) -> np.ndarray:
    """The definition, with scipy's labels on the whole raster."""
    result = values.copy()
    for value, other in becomes.items():
        labels, n = label(values == value)
        for region in range(1, n + 1):
            if areas[labels == region].sum() < minimum:
                result[labels == region] = other
    return result


@settings(max_examples=15)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 23),
    st.integers(1, 23),
    st.integers(1, 12),
    st.sampled_from([1, 3, 5]),
)
def test_small_regions_are_replaced_whatever_the_tile(
    tmp_path_factory: pytest.TempPathFactory, seed: int, height: int, width: int, tile: int, n: int
) -> None:
    folder = tmp_path_factory.mktemp("patches")
    values = np.random.default_rng(seed).integers(0, 4, (height, width))
    raster = write(folder / "in.tif", values)
    areas = PixelAreas(GeoBox((height, width), Affine(10, 0, 5e5, 0, -10, 5e6), CRS))
    square_metres = areas.read(Window.of_shape(height, width)) * areas.unit
    minimum = 100.0 * n
    becomes = {1: 300, 2: 7}
    relabel_small(Patches(raster, minimum, becomes), folder / "out.tif", tile=tile)
    with rasterio.open(folder / "out.tif") as source:
        found = source.read(1)
        assert (source.dtypes[0], source.nodata) == ("uint16", 0)
    np.testing.assert_array_equal(found, by_hand(values, becomes, minimum, square_metres))
