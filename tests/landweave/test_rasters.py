"""Arrays written as rasters, rasters opened as arrays: lossless, alike however they are cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr

from landweave import arrays
from landweave.rasters import drop_others, name_of, open_raster, scene_array, write_array
from tests.scenes import BANDS, draw_pixels, draw_scene, read, write_scene
from tiling.scene.from_files import open_scene

GRID = GeoBox((90, 70), Affine(10, 0, 500_000, 0, -10, 5_300_000), "EPSG:32633")
PIXELS = draw_pixels(90, 70)


def stack(pixels: Any = PIXELS, geobox: GeoBox = GRID, **attrs: Any) -> xr.DataArray:
    array = wrap_xr(pixels, geobox, dims=("band", "y", "x"), axis=1, nodata=0, **attrs)
    return array.assign_coords(band=list(BANDS[: len(pixels)]))


def test_an_array_comes_back_from_its_file_to_the_last_bit(tmp_path: Path) -> None:
    path = write_array(stack(scale_factor=1e-4, PLATFORM="Landsat 8"), tmp_path).paths[0]
    with rasterio.open(path) as source:
        assert np.array_equal(source.read(), PIXELS)
        assert source.transform == GRID.affine
        assert source.crs.to_epsg() == 32633
        assert source.descriptions == BANDS
        assert source.scales == (1e-4,) * 6
        assert source.nodata == 0
        assert source.tags()["PLATFORM"] == "Landsat 8"
        assert source.block_shapes[0] == (512, 512)
        assert set(source.colorinterp) <= {
            rasterio.enums.ColorInterp.gray,
            rasterio.enums.ColorInterp.undefined,
        }


@pytest.mark.slow
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    chunks=st.tuples(st.integers(1, 6), st.integers(5, 90), st.integers(5, 70)),
    unit=st.sampled_from([16, 64]),
)
def test_no_chunking_changes_the_file_that_an_array_is_found_by(
    tmp_path: Path, chunks: tuple[int, int, int], unit: int
) -> None:
    whole = write_array(stack(), tmp_path)
    stamp = Path(whole.paths[0]).stat().st_mtime_ns
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "UNIT", unit)
        cut = write_array(stack(da.from_array(PIXELS, chunks=chunks)), tmp_path)
    assert cut == whole
    assert Path(cut.paths[0]).stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    "other",
    [
        lambda one: one + np.uint16(1),
        lambda one: one.assign_attrs(nodata=1),
        lambda one: one.assign_coords(band=[*BANDS[1:], BANDS[0]]),
        lambda one: one.isel(y=slice(None, -1)),
        lambda one: one.rename("else"),
    ],
)
def test_another_array_has_another_file(tmp_path: Path, other: Any) -> None:
    with xr.set_options(keep_attrs=True):
        assert write_array(other(stack()), tmp_path) != write_array(stack(), tmp_path)


def test_never_is_more_than_a_chunk_in_memory_and_each_is_computed_once(tmp_path: Path) -> None:
    grid = GeoBox((6000, 4000), GRID.affine, GRID.crs)
    made: list[tuple[int, int]] = []

    def block(block_info: Any = None) -> Any:
        (top, bottom), (left, right) = block_info[None]["array-location"]
        made.append((top, left))
        return np.full((bottom - top, right - left), top + left, "uint16")

    pixels = da.map_blocks(
        block, chunks=((1500,) * 4, (2000,) * 2), dtype="uint16", meta=np.empty((0, 0), "uint16")
    )
    read: list[int] = []
    compute = arrays.Raster.read

    def counting(raster: arrays.Raster, window: Any) -> Any:
        pixels = compute(raster, window)
        read.append(pixels.size)
        return pixels

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays.Raster, "read", counting)
        write_array(wrap_xr(pixels, grid), tmp_path)
    assert max(read) == 1500 * 2000
    assert (
        sorted(made)
        == sorted(set(made))
        == [(row, col) for row in range(0, 6000, 1500) for col in (0, 2000)]
    )


def test_bands_that_differ_in_no_data_have_a_file_each(tmp_path: Path) -> None:
    dataset = stack().to_dataset("band")[["red", "nir"]]
    dataset.nir.attrs["nodata"] = 65535
    paths = write_array(dataset, tmp_path).paths
    assert [path.partition("=")[0] for path in paths] == ["red", "nir"]
    assert [band.nodata for band in open_scene(paths).bands] == [0, 65535]


def test_arrays_of_before_go_where_the_map_is_of_another(tmp_path: Path) -> None:
    old, new = write_array(stack(), tmp_path), write_array(stack() + np.uint16(1), tmp_path)
    (tmp_path / "arrays" / "mine").mkdir()
    drop_others(tmp_path, new.paths)
    assert not Path(old.paths[0]).exists()
    assert Path(new.paths[0]).exists()
    assert (tmp_path / "arrays" / "mine").exists()


def test_a_raster_opens_as_an_array_that_is_read_when_computed(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "one.tif", PIXELS[:1])
    array = open_raster(str(scene))
    assert array.dims == ("y", "x")
    assert array.chunks
    assert array.odc.geobox == GRID
    scene.write_bytes(write_scene(tmp_path / "two.tif", PIXELS[1:2]).read_bytes())
    assert np.array_equal(array.values, PIXELS[1])


def test_a_scene_opens_as_values_with_nan_where_it_shows_nothing(tmp_path: Path) -> None:
    scene = open_scene([str(draw_scene(tmp_path / "scene.tif", 90, 70))])
    values = scene_array(scene)
    nir = values.sel(band="nir")
    stored = read(tmp_path / "scene.tif", 4)
    assert np.array_equal(np.isnan(nir.values), stored == 0)
    assert np.allclose(nir.values[stored != 0], stored[stored != 0] * 1e-4)


def test_a_scene_is_called_as_its_file_or_as_the_array() -> None:
    array = stack()
    assert name_of(array) == "array"
    assert name_of(array.rename("a b/c")) == "c"
    assert name_of(array.chunk().drop_attrs() * 2) == "array"
    assert name_of(xr.DataArray(array.chunk().data)) == "array"
    array.encoding["source"] = "/data/S2B_20240603.tif"
    assert name_of(array) == "S2B_20240603"
    assert name_of(array.assign_coords(time=0)) == "array"
