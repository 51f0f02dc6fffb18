"""Small holes are filled by what is around them, whatever the tile, and nothing else changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from scipy.ndimage import label

from tests.tiling.regions.drawn import MAPS, Array, Drawn, rasters
from tiling.grid.pixel_area import PixelAreas
from tiling.grid.window import Window
from tiling.regions.sieving import fill_holes as module
from tiling.regions.sieving.fill_holes import Nesting, fill_holes

CRS, PLACE = "EPSG:32633", Affine(10, 0, 5e5, 0, -10, 5e6)
NODATA = 9


def write(path: Path, values: Array) -> Path:
    height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=1, dtype="uint8", crs=CRS,
        nodata=NODATA, transform=PLACE,
    ) as target:  # fmt: skip
        target.write(values.astype(np.uint8), 1)
    return path


def filled(folder: Path, values: Array, minimum: float, **how: Any) -> Array:
    fill_holes(
        write(folder / "in.tif", values), folder / "out.tif", minimum=minimum, nodata=None, **how
    )
    with rasterio.open(folder / "out.tif") as source:
        assert (source.dtypes[0], source.nodata) == ("uint8", NODATA)
        return source.read(1)


def units(shape: tuple[int, int]) -> tuple[npt.NDArray[np.int64], float]:
    """Areas of the pixels of a raster, and square metres of one unit."""
    areas = PixelAreas(GeoBox(shape, PLACE, CRS))
    return areas.read(Window.of_shape(*shape)), areas.unit


def by_hand(values: Array, minimum: float) -> Array:
    """The definition: each region is taken out of the whole raster, and what then has no way to its
    edge or to no data is a hole."""
    areas, unit = units(values.shape)
    holes = []
    for value in np.unique(values[values != NODATA]):
        regions, n = label(values == value)
        for number in range(1, n + 1):
            parts, m = label(regions != number)
            ends = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
            for part in set(range(1, m + 1)) - set(ends):
                pixels = parts == part
                area = areas[pixels].sum()
                if area * unit < minimum and not (values[pixels] == NODATA).any():
                    holes.append((area, value, pixels))
    result = values.copy()
    for _, value, pixels in sorted(holes, key=lambda hole: hole[0]):  # the outermost last
        result[pixels] = value
    return result


def classes_of(drawn: Drawn, n: int) -> Array:
    """A drawn raster as few classes, of which one is no data."""
    return np.where(drawn.valid, drawn.values % n, NODATA)


@settings(max_examples=25)
@given(rasters(20), st.integers(2, 4), st.sampled_from([1, 2, 5, 12, 60, 1000]))
def test_it_is_the_definition_whatever_the_tile(
    tmp_path_factory: pytest.TempPathFactory, drawn: Drawn, n: int, pixels: int
) -> None:
    values, minimum = classes_of(drawn, n), 100.0 * pixels + 50
    folder = tmp_path_factory.mktemp("holes")
    result = filled(folder, values, minimum, tile=drawn.tile, map=drawn.map)
    np.testing.assert_array_equal(result, by_hand(values, minimum))


@pytest.mark.parametrize("tile", [3, 5, 64])
def test_rings_in_rings_across_every_seam(tmp_path: Path, tile: int) -> None:
    """Each class surrounds the next; one ring is open at a corner, which parts nothing by sides."""
    row, col = np.indices((17, 17))
    values = np.minimum(np.minimum(row, col), np.minimum(16 - row, 16 - col)) % 3
    values[2, 2] = 1
    for minimum in (1000.0, 9000.0, 1e6):
        result = filled(tmp_path, values, minimum, tile=tile)
        np.testing.assert_array_equal(result, by_hand(values, minimum))
    assert len(np.unique(result)) == 1


def test_every_tile_and_order_gives_the_same_bytes(tmp_path: Path) -> None:
    values = np.random.default_rng(5).integers(0, 3, (30, 25))
    values[10:20, 5:9] = 1
    ways = ((64, map), *((7, way) for way in MAPS), (4, map))
    results = {filled(tmp_path, values, 1250, tile=tile, map=way).tobytes() for tile, way in ways}
    assert len(results) == 1


def test_no_data_is_neither_filled_nor_fills(tmp_path: Path) -> None:
    values = np.ones((7, 12), int)
    values[2:5, 2:5] = 2
    values[3, 3] = NODATA
    values[1:6, 7:12] = NODATA
    values[3, 9] = 2
    np.testing.assert_array_equal(filled(tmp_path, values, 1e6, tile=4), values)


def test_filling_twice_changes_nothing_more(tmp_path: Path) -> None:
    values = np.random.default_rng(2).integers(0, 2, (30, 30))
    once = filled(tmp_path, values, 1050, tile=8)
    assert (once != values).any()
    np.testing.assert_array_equal(filled(tmp_path, once, 1050, tile=11), once)


def test_what_waits_is_as_long_as_the_seams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many regions lie inside the tiles: of these, speckles between two large ones."""
    values = np.kron(np.arange(4).reshape(2, 2) % 3, np.ones((60, 60), int))
    values = np.where(np.random.default_rng(0).random(values.shape) < 0.3, 5, values)
    counts = []
    decide = module.decide

    def count(graphs: Any, minimum: int) -> Any:
        counts.append(sum(graph.ids.size + graph.one.size for graph in graphs))
        return decide(graphs, minimum)

    monkeypatch.setattr(module, "decide", count)
    filled(tmp_path, values, 450, tile=30)
    edge = 4 * 30 * 16
    assert 0 < counts[0] < 4 * edge


def test_a_search_finds_what_each_node_parts_from_the_outside() -> None:
    """A chain from the outside, 4: 0 holds 1 and 2, and 2 holds 3, which also meets 1."""
    pairs = np.array([[0, 0, 1, 2, 0], [1, 2, 3, 3, 4]])
    nesting = Nesting.of(pairs, np.array([5, 1, 1, 1, 0]), np.array([True] * 4 + [False]))
    assert [node for node in range(4) if nesting.begins[node]] == [1]
    assert nesting.size[1] == 3
    assert nesting.fill(4).tolist() == [0, 0, 0, 0, 4]
    assert nesting.fill(3).tolist() == [0, 1, 2, 3, 4]
    assert nesting.trunk().tolist() == [0, 0, 0, 0, 4]
