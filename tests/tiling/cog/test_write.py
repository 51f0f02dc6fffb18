"""A COG is what GDAL's driver would have written, whoever packed it."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import tifffile
from affine import Affine
from odc.geo.geobox import GeoBox
from rio_cogeo.cogeo import cog_validate

from tests.scenes import read
from tiling.cog import pack, tiff
from tiling.cog.write import write_cog
from tiling.formats.shard_tiff import write_part
from tiling.formats.vrt import write_mosaic
from tiling.grid.window import Window
from tiling.io.profiles import plain_profile

GRID = GeoBox((1300, 1100), Affine(10, 0, 500_000, 0, -10, 5_300_000), "EPSG:32633")
LEGEND = ((1, "Water", "#3b7dd8"), (2, "Forest", "#2f7d3b"), (5, "Bare soil", "#b9a48c"))
SMALL = 512**2
"""Bytes of a cell of one block, so that overviews of overviews are packed by themselves."""


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    patches = np.random.default_rng(0).choice(np.array([0, 1, 2, 5], np.uint8), (163, 138))
    return np.kron(patches, np.ones((8, 8), np.uint8))[: GRID.height, : GRID.width]


def mosaic_of(folder: Path, labels: np.ndarray, size: int) -> Path:
    """`labels` as a mosaic of parts of `size` px."""
    folder.mkdir(exist_ok=True)
    whole = Window.of_shape(*labels.shape)
    grid = GRID[: labels.shape[0], : labels.shape[1]]
    parts = [
        write_part(folder / f"{i}.tif", window, grid, labels[window.within(whole)], None, {})
        for i, window in enumerate(whole.blocks(size))
    ]
    return write_mosaic(
        folder / "m.vrt", parts, grid, 1, nodata=0, legend=LEGEND, tags={"about": "a map"}
    )


def last_first(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """A map whose work is done in another order, and its first piece twice."""
    waiting = list(items)
    function(waiting[0])
    return [function(item) for item in reversed(waiting)][::-1]


def test_neither_shards_nor_cells_nor_who_packs_change_a_byte(
    tmp_path: Path, labels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = set()
    for number, (shard, cell, map_) in enumerate(
        [(512, 2**24, map), (333, SMALL, last_first), (5000, 4 * SMALL, map)]
    ):
        monkeypatch.setattr(pack, "_CELL", cell)
        mosaic = mosaic_of(tmp_path / str(number), labels, shard)
        target = tmp_path / f"{number}.tif"
        write_cog(mosaic, target, overviews="mode", map=map_)
        written.add(target.read_bytes() + Path(f"{target}.aux.xml").read_bytes())
    assert len(written) == 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 600), (1024, 700), (1300, 1100)])
@pytest.mark.parametrize("big", [False, True], ids=["classic", "big"])
def test_it_says_what_the_driver_of_gdal_says(
    tmp_path: Path,
    labels: np.ndarray,
    shape: tuple[int, int],
    big: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if big:  # as if it were beyond 4 GiB
        monkeypatch.setattr(tiff, "LARGEST_CLASSIC", 0)
    labels = labels[: shape[0], : shape[1]]
    mosaic = mosaic_of(tmp_path, labels, 700)
    ours, theirs = tmp_path / "ours.tif", tmp_path / "theirs.tif"
    write_cog(mosaic, ours, overviews="mode")
    rasterio.shutil.copy(
        str(mosaic), str(theirs), driver="COG", BLOCKSIZE=512, COMPRESS="DEFLATE",
        OVERVIEW_RESAMPLING="MODE",
    )  # fmt: skip
    assert cog_validate(ours, strict=True, quiet=True) == (True, [], [])
    assert np.array_equal(read(ours), labels)
    with rasterio.open(ours) as one, rasterio.open(theirs) as other:
        assert one.profile == other.profile
        assert one.tags() == other.tags() == {"AREA_OR_POINT": "Area", "about": "a map"}
        assert one.tags(ns="IMAGE_STRUCTURE") == other.tags(ns="IMAGE_STRUCTURE")
        assert one.overviews(1) == other.overviews(1)
        assert one.colormap(1) == other.colormap(1)
    assert Path(f"{ours}.aux.xml").read_text() == Path(f"{theirs}.aux.xml").read_text()
    with tifffile.TiffFile(ours) as file:
        assert file.is_bigtiff == big
        assert np.array_equal(file.pages[0].asarray(), labels)


def test_each_block_stands_between_its_length_and_its_last_bytes_small_overviews_first(
    tmp_path: Path, labels: np.ndarray
) -> None:
    target = tmp_path / "c.tif"
    write_cog(mosaic_of(tmp_path, labels, 700), target, overviews="mode")
    content, end = target.read_bytes(), 0
    assert b"BLOCK_ORDER=ROW_MAJOR\nBLOCK_LEADER=SIZE_AS_UINT4\n" in content[:200]
    with tifffile.TiffFile(target) as file:
        images = [(page.dataoffsets, page.databytecounts) for page in file.pages]
    for offsets, counts in reversed(images):
        for offset, count in zip(offsets, counts, strict=True):
            assert not end or offset - 4 == end
            assert int.from_bytes(content[offset - 4 : offset], "little") == count
            assert content[offset + count - 4 :][:4] == content[offset + count :][:4]
            end = offset + count + 4
    assert end == len(content)


def test_bands_of_fractions_keep_their_names_and_have_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "_CELL", 8 * SMALL)
    pixels = np.random.default_rng(1).normal(size=(2, 600, 1400)).astype(np.float32)
    pixels[:, :90, :90] = np.nan
    plain = tmp_path / "plain.tif"
    grid = GeoBox((600, 1400), GRID.affine, GRID.crs)
    with rasterio.open(plain, "w", **plain_profile(grid, "float32", np.nan, count=2)) as out:
        out.descriptions = ("mean", "std")
        out.write(pixels)
    write_cog(plain, tmp_path / "c.tif", overviews="average")
    assert cog_validate(tmp_path / "c.tif", strict=True, quiet=True) == (True, [], [])
    with rasterio.open(tmp_path / "c.tif") as cog:
        assert cog.descriptions == ("mean", "std")
        assert np.isnan(cog.nodata)
        assert np.array_equal(cog.read(), pixels, equal_nan=True)
        assert cog.overviews(2) == [2, 4]
    with rasterio.open(tmp_path / "c.tif", overview_level=0) as half:
        assert half.shape == (300, 700)
        means = pixels.reshape(2, 300, 2, 700, 2)[:, 45:].mean((2, 4), dtype=float)
        np.testing.assert_allclose(half.read()[:, 45:], means, atol=1e-6)
