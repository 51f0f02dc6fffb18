from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine

from tests.chance import chances
from tiling.cog.overviews import halve

(MIXED,) = chances(1)


def overview_by_gdal(
    folder: Path, pixels: np.ndarray, how: str, nodata: float | None
) -> np.ndarray:
    """What GDAL's COG driver makes of `(band, y, x)` pixels."""
    profile = {"dtype": pixels.dtype, "nodata": nodata, "transform": Affine.scale(2, -2)}
    bands, height, width = pixels.shape
    with rasterio.open(
        folder / "plain.tif",
        "w",
        driver="GTiff",
        count=bands,
        height=height,
        width=width,
        **profile,
    ) as plain:
        plain.write(pixels)
    rasterio.shutil.copy(
        str(folder / "plain.tif"),
        str(folder / "cog.tif"),
        driver="COG",
        BLOCKSIZE=128,
        OVERVIEW_RESAMPLING=how,
    )
    with rasterio.open(folder / "cog.tif", overview_level=0) as overview:
        found: np.ndarray = overview.read()
        return found


@pytest.mark.parametrize("nodata", [0, 3, None])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
def test_modes_are_those_of_gdal(tmp_path: Path, dtype: str, nodata: float | None) -> None:
    pixels = MIXED.integers(0, 5, (1, 200, 300)).astype(dtype)
    expected = overview_by_gdal(tmp_path, pixels, "MODE", nodata)
    assert np.array_equal(halve(pixels, "mode", nodata), expected)


@pytest.mark.parametrize("nodata", [255, None])
def test_means_of_whole_numbers_are_those_of_gdal(tmp_path: Path, nodata: float | None) -> None:
    pixels = MIXED.integers(0, 256, (2, 200, 300)).astype(np.uint8)
    pixels[:, MIXED.random((200, 300)) < 0.4] = 255
    expected = overview_by_gdal(tmp_path, pixels, "AVERAGE", nodata)
    assert np.array_equal(halve(pixels, "average", nodata), expected)


def test_means_of_fractions_are_those_of_gdal(tmp_path: Path) -> None:
    pixels = MIXED.normal(size=(1, 200, 300)).astype(np.float32)
    pixels[:, MIXED.random((200, 300)) < 0.4] = np.nan
    expected = overview_by_gdal(tmp_path, pixels, "AVERAGE", np.nan)
    found = halve(pixels, "average", np.nan)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("how", ["mode", "average"])
def test_at_an_odd_edge_the_pixels_that_are_there_decide(how: str) -> None:
    pixels = np.array([[[2, 2, 8], [0, 4, 9], [6, 8, 7]]], np.uint8)
    expected = {"mode": [[2, 8], [6, 7]], "average": [[3, 9], [7, 7]]}[how]
    assert halve(pixels, how, 0).tolist() == [expected]


@pytest.mark.parametrize("how", ["mode", "average"])
def test_a_piece_has_the_overview_of_the_whole(how: str) -> None:
    pixels = MIXED.integers(0, 4, (2, 37, 51)).astype(np.uint8)
    row, col = (2 * int(MIXED.integers(1, 15)) for _ in range(2))
    piece = halve(pixels[:, row:, col:], how, 0)
    assert np.array_equal(piece, halve(pixels, how, 0)[:, row // 2 :, col // 2 :])
