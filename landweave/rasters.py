"""Arrays and the files behind them: rasters opened as arrays, arrays written as rasters.

An array need not fit into memory: it is computed and written in windows that follow its chunks.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

import numpy as np
import numpy.typing as npt
import rasterio
import xarray as xr
from odc.geo.xr import wrap_xr

from flows.compute.progress import Progress, report_items, silent
from flows.storage.remote import Remote
from landweave.arrays import (
    UNIT,
    Raster,
    given_name,
    rasters_of,
    values_are_scaled,
    without_time,
)
from tiling.grid.geobox import geobox_of
from tiling.grid.window import Window
from tiling.io.datasets import borrow_dataset, open_dataset
from tiling.io.files import make_folder, own_scratch, scratch
from tiling.io.gdal_config import keep_cache_small
from tiling.io.profiles import BLOCK
from tiling.scene.scene import Scene

if TYPE_CHECKING:
    import geopandas as gpd

CHUNK = 2048
"""Pixels along each side of a chunk in which a raster is opened."""

FOLDER = "arrays"
"""Where in a run's folder the rasters of arrays lie, each below a hash of what it holds."""


def open_raster(path: str) -> xr.DataArray:
    """The first band of a raster, `(y, x)`, with its CRS."""
    with open_dataset(path) as source:
        geobox, dtype, nodata = geobox_of(source), np.dtype(source.dtypes[0]), source.nodata
    pixels = lazy_blocks(partial(read_band, path), (), geobox.shape, dtype)
    array: xr.DataArray = wrap_xr(pixels, geobox, nodata=nodata, always_yx=True)
    return array


def scene_array(scene: Scene) -> xr.DataArray:
    """All bands of a scene, `(band, y, x) float32` in their units, NaN = no data."""
    shape, bands = (scene.height, scene.width), len(scene.bands)
    pixels = lazy_blocks(partial(read_values, scene), (bands,), shape, np.dtype("float32"))
    array: xr.DataArray = wrap_xr(pixels, scene.geobox, dims=("band", "y", "x"), axis=1)
    return array.assign_coords(band=list(scene.band_names)).rename(scene.name)


def lazy_blocks(read: Any, outer: tuple[int, ...], shape: Any, dtype: np.dtype[Any]) -> Any:
    """A Dask array whose blocks are read by their window when they are computed."""
    import dask.array as da

    chunks = da.core.normalize_chunks((*outer, CHUNK, CHUNK), (*outer, *shape), dtype=dtype)

    def block(block_info: Any = None) -> npt.NDArray[Any]:
        (top, bottom), (left, right) = block_info[None]["array-location"][-2:]
        pixels: npt.NDArray[Any] = read(Window(top, left, bottom - top, right - left))
        return pixels

    empty = np.empty((0,) * len(chunks), dtype)
    return da.map_blocks(block, chunks=chunks, dtype=dtype, meta=empty)


def read_band(path: str, window: Window) -> npt.NDArray[Any]:
    """The first band in a window."""
    with borrow_dataset(path) as source:
        pixels: npt.NDArray[Any] = source.read(1, window=window.ranges)
    return pixels


def read_values(scene: Scene, window: Window) -> npt.NDArray[np.float32]:
    """Pixels of all bands as values in their units, NaN where they are not valid."""
    chip = scene.read(window, scene.band_names)
    values = chip["pixels"] * chip["scale"] + chip["offset"]
    return values.where(chip["valid"]).astype("float32").transpose("band", "y", "x").values


def read_layer(place: Path | Remote) -> gpd.GeoDataFrame:
    """A layer of polygons as a GeoDataFrame."""
    import geopandas as gpd

    if isinstance(place, Remote):
        with TemporaryDirectory(prefix="landweave-") as folder:
            (copy := Path(folder) / place.name).write_bytes(place.read_bytes())
            return read_layer(copy)
    if place.suffix == ".parquet":
        return gpd.read_parquet(place)
    return gpd.read_file(place, layer=0)  # another one may hold styles


def is_array(scene: object) -> TypeGuard[xr.DataArray | xr.Dataset]:
    """Whether a scene is one of xarray's."""
    return isinstance(scene, xr.DataArray | xr.Dataset)


class Stored(NamedTuple):
    """An array as files, and what they cannot say themselves."""

    paths: tuple[str, ...]
    settings: dict[str, Any]


def write_array(
    array: xr.DataArray | xr.Dataset, out: Path | Remote, progress: Progress = silent
) -> Stored:
    """The array as a lossless GeoTIFF below `out`, or as one a band where these differ in no data.

    The same array, however it is chunked, has the same paths; files that are there stay.
    """
    keep_cache_small()
    flat, date = without_time(array)
    settings: dict[str, Any] = {} if date is None else {"date": date}
    if values_are_scaled(flat):
        settings["scale"] = 1.0
    rasters = rasters_of(flat)
    name, home = name_of(array), own_scratch() if isinstance(out, Remote) else make_folder(out)
    with scratch(home) as work:
        files = {}
        for place, raster in enumerate(rasters):
            stem = band_key(raster.names[0]) if len(rasters) > 1 else name
            files[stem] = work / str(place) / f"{stem}.tif"
            make_folder(files[stem].parent)
            write_raster(raster, files[stem], progress)
        key = blake2b(digest_size=8)
        for file in files.values():
            add_digest(key, file)
        folder = out / FOLDER / key.hexdigest()
        for file in files.values():
            move(file, folder / file.name)
    places = {stem: str(folder / file.name) for stem, file in files.items()}
    if len(rasters) == 1:
        return Stored((places[name],), settings)
    return Stored(tuple(f"{stem}={place}" for stem, place in places.items()), settings)


def name_of(array: xr.DataArray | xr.Dataset) -> str:
    """What the scene is called: as the file the array was read from, or as the array is.

    Of arrays that were stacked in time xarray tells the file of the first, whichever is chosen.
    """
    file = None if "time" in array.coords else array.encoding.get("source")
    source = file or given_name(array) or "array"
    return re.sub(r"[^\w.-]+", "_", Path(str(source)).stem).strip("._") or "array"


def band_key(name: str) -> str:
    """A band's name as it may stand before the path of its file."""
    plain = re.sub(r"\W+", "_", name)
    return plain if plain[:1].isalpha() else f"band_{plain}"


def drop_others(out: Path | Remote, paths: Sequence[str]) -> None:
    """Remove what a folder holds of arrays that its map is not of: of those before `fresh`."""
    if isinstance(out, Path) and (out / FOLDER).is_dir():
        for folder in (out / FOLDER).iterdir():
            is_ours = re.fullmatch(r"[0-9a-f]{16}", folder.name)
            if is_ours and not any(str(folder) in path for path in paths):
                shutil.rmtree(folder, ignore_errors=True)


def write_raster(raster: Raster, file: Path, progress: Progress) -> None:
    """Write the bands, a window at a time."""
    height, width = raster.geobox.shape
    windows = raster.windows()
    with rasterio.open(
        file, "w", driver="GTiff", height=height, width=width, count=len(raster.scales),
        dtype=raster.dtype.name, crs=raster.geobox.crs.to_wkt(), transform=raster.geobox.affine,
        nodata=raster.nodata, tiled=True, blockxsize=BLOCK, blockysize=BLOCK, compress="ZSTD",
        zstd_level=1, predictor=3 if raster.dtype.kind == "f" else 2, interleave="band",
        photometric="MINISBLACK", bigtiff="IF_SAFER",
    ) as target:  # fmt: skip
        target.scales, target.offsets = raster.scales, raster.offsets
        if raster.names:
            target.descriptions = raster.names
        texts = {str(name): text for name, text in raster.array.attrs.items()}
        target.update_tags(
            **{k: v for k, v in texts.items() if isinstance(v, str) and len(v) < 999}
        )
        for window in report_items(windows, "store the array", len(windows), progress):
            target.write(raster.read(window), window=window.ranges)


def add_digest(key: Any, file: Path) -> None:
    """Add a raster to a hash: its pixels and all that decides what they mean, however packed."""
    with rasterio.open(file) as source:
        facts = (
            file.name, source.shape, source.dtypes, source.crs.to_wkt(), tuple(source.transform),
            source.nodata, source.scales, source.offsets, source.descriptions,
            sorted(source.tags().items()),
        )  # fmt: skip
        key.update(repr(facts).encode())
        for window in Window.of_shape(*source.shape).blocks(2 * UNIT):
            key.update(np.ascontiguousarray(source.read(window=window.ranges)).data)


def move(file: Path, target: Path | Remote) -> None:
    """Give a file its final name, unless it is there."""
    if isinstance(target, Remote):
        if target.name not in target.parent.names():
            target.upload(file)
    elif not target.exists():
        file.replace(make_folder(target.parent) / target.name)
