"""Large regions fall into squares, others stay whole, whatever the tile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label

from tests.tiling.regions.drawn import MAPS, Array, Drawn, rasters
from tests.tiling.regions.sieving.test_fill_holes import NODATA, classes_of, units, write
from tiling.regions.sieving.lattice import cut_large


def pieces_of(values: Array) -> Array:
    """`(y, x)` the first pixel of the 4-connected region of one value that each pixel is in."""
    first = np.empty(values.shape, np.int64)
    for value in np.unique(values):
        regions, n = label(values == value)
        for number in range(1, n + 1):
            first[regions == number] = np.flatnonzero(regions == number)[0]
    return first


def by_hand(values: Array, maximum: float, side: int) -> Array:
    """The definition, on the whole raster: the piece of each pixel by its first one, -1 for no
    data."""
    areas, unit = units(values.shape)
    squares = np.indices(values.shape) // side
    regions = pieces_of(values)
    pieces = regions.copy()
    for region in np.unique(regions):
        inside = regions == region
        if areas[inside].sum() * unit > maximum:
            for square in np.unique(squares[:, inside], axis=1).T:
                part, n = label(inside & (squares == square[:, None, None]).all(0))
                for number in range(1, n + 1):
                    pieces[part == number] = np.flatnonzero(part == number)[0]
    return np.where(values == NODATA, -1, pieces)


@settings(max_examples=25)
@given(rasters(20), st.integers(1, 4), st.integers(1, 90), st.integers(1, 9))
def test_it_is_the_definition_whatever_the_tile(
    tmp_path_factory: pytest.TempPathFactory, drawn: Drawn, n: int, pixels: int, side: int
) -> None:
    values, maximum = classes_of(drawn, n), 100.0 * pixels + 50
    folder = tmp_path_factory.mktemp("lattice")
    class_id = cut_large(
        write(folder / "in.tif", values), folder / "out.tif",
        maximum=maximum, side=side, tile=drawn.tile, map=drawn.map,
    )  # fmt: skip
    with rasterio.open(folder / "out.tif") as source:
        assert (source.dtypes[0], source.nodata) == ("int32", 0)
        found = source.read(1)
    assert ((found == 0) == (values == NODATA)).all()
    inside = found > 0
    assert (class_id[found[inside] - 1] == values[inside]).all()
    pieces = np.where(inside, pieces_of(found), -1)
    np.testing.assert_array_equal(pieces, by_hand(values, maximum, side))


def test_every_tile_and_order_gives_the_same_bytes(tmp_path: Path) -> None:
    values = np.random.default_rng(5).integers(0, 2, (30, 25))
    values[10:20] = 1
    raster, results = write(tmp_path / "in.tif", values), set()
    for tile, way in ((64, map), *((7, way) for way in MAPS), (4, map)):
        cut_large(raster, tmp_path / "out.tif", maximum=5000, side=6, tile=tile, map=way)
        with rasterio.open(tmp_path / "out.tif") as source:
            results.add(source.read(1).tobytes())
    assert len(results) == 1
