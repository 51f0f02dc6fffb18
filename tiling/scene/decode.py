"""How pixels come out of files: open datasets kept for the next reader, windows decoded, shards read ahead."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from functools import lru_cache, partial, reduce
from itertools import product
from math import lcm
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import rasterio
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from rasterio.enums import Interleaving
from rasterio.errors import RasterioError
from rasterio.session import DummySession

from tiling.errors import Away, Damaged, Mistake
from tiling.grid.resample import resample
from tiling.grid.tiles import Tile
from tiling.grid.window import Window
from tiling.io import remote_cache
from tiling.io.access import driver_for, in_memory, is_there
from tiling.io.containers import READ, foreign
from tiling.io.remote import ATTEMPTS, BACKOFF, gdal_options, gdal_path, is_local, known

if TYPE_CHECKING:
    import xarray as xr

    from tiling.scene.scene import Band, Mask, Scene

Pixels = npt.NDArray[Any]
Valid = npt.NDArray[np.bool_]

_MOST_IDLE = 48
"""Datasets kept open for the next reader: a scene of 13 files for a few threads."""
_STRIP = 256
"""Rows that one task of `read_ahead` decodes, at least."""
_LONGEST_STRIP = 4096
LARGEST_BLOCK = 128 * 2**20
"""Bytes of a source's block, decoded."""
MOST_BANDS = 4096
"""Bands of a source: imaging spectrometers have hundreds, and GDAL takes its time for each."""
_PATCH, _PATCHES = 64, 4
"""Side of the patches at which a band is glimpsed, and how many of them there are in each direction."""
_STORED = {"complex_int16": "complex64"}
"""numpy has no word for GDAL's complex integers."""
_SAFE = {"GDAL_VRT_ENABLE_PYTHON": "NO"}
"""A VRT's pixel functions in Python stay unread even where a person's environment allows them."""


def open_dataset(path: str) -> Any:
    """An open rasterio dataset of a file or a URL; `Mistake` where there is none, or none that may be opened."""
    driver = driver_for(path)
    if is_local(path) and not is_there(path) and not in_memory(path):
        raise Mistake(f"{path} does not exist; check the path")
    reason = ""
    for left in reversed(range(_attempts(path))):
        copy = None if is_local(path) else remote_cache.fetched(path, remote_cache.SMALL)
        place = gdal_path(path) if copy is None else str(copy)
        try:
            with environment(place):
                dataset = rasterio.open(place, driver=driver)
        except (RasterioError, UnicodeDecodeError) as error:  # the latter of a CRS whose name is not UTF-8
            reason = _reason(path, error)
        else:
            _check_shape(path, dataset)
            _check_latitudes(path, dataset)
            return dataset
        if left:
            time.sleep(BACKOFF)
    if is_local(path) and (sentence := foreign(path)):
        raise Mistake(sentence)
    raise Mistake(f"{path} is not a raster that GDAL can read ({reason}); give one of {READ}")  # see _at_place


def _check_shape(path: str, dataset: Any) -> None:
    """Refuse what a header declares and nobody has time for, or to be decoded at once and no memory may hold."""
    if (count := dataset.count) > MOST_BANDS:
        dataset.close()
        raise Mistake(
            f"{path} declares {count:,} bands, and up to {MOST_BANDS:,} are read; if its header is not damaged, take "
            f"some of them: gdal_translate -b 1 -b 2 {path} some.tif"
        )
    together = dataset.count if dataset.interleaving is Interleaving.pixel else 1
    for dtype, (height, width) in zip(dataset.dtypes, dataset.block_shapes, strict=True):
        size = height * width * np.dtype(_STORED.get(dtype, dtype)).itemsize * together
        if size > LARGEST_BLOCK:
            dataset.close()
            raise Mistake(
                f"{path} declares blocks of {width:,} × {height:,} pixels, {size / 2**20:,.0f} MiB each, and up to "
                f"{LARGEST_BLOCK >> 20} are read; tile it: gdal_translate -co TILED=YES {path} tiled.tif"
            )


def _check_latitudes(path: str, dataset: Any) -> None:
    """Refuse rows of a grid in degrees that lie beyond a pole, where there is no ground to measure.

    The pole may pass through a row: grids of weather models have pixels centred on it.
    """
    (height, width), transform = dataset.shape, dataset.transform
    rows = np.array([0.5, 0.5, height - 0.5, height - 0.5])
    latitude = transform.f + transform.d * (np.array([0.5, width - 0.5] * 2)) + transform.e * rows
    pixel = abs(transform.d) + abs(transform.e)
    if np.abs(latitude).max() <= 90 or dataset.crs is None or not dataset.crs.is_geographic:
        return
    pole = np.pi / 2 / dataset.crs.units_factor[1]
    if np.abs(latitude).max() > pole + 1e-3 * pixel:
        dataset.close()
        raise Mistake(
            f"{path} reaches from {latitude.min():.7g}° to {latitude.max():.7g}° of latitude, and there is nothing "
            f"beyond {pole:g}°; mend its georeference with gdal_edit.py -a_ullr, or cut those rows off with "
            f"gdal_translate -srcwin"
        )


@contextmanager
def environment(path: str) -> Iterator[None]:
    """GDAL set up to read that file, wherever it lies; one thread at a time reads from other machines.

    Otherwise two may wait for each other for ever. rasterio 1.4 looks for masks at the start of each read while it
    holds Python's lock; where that takes a piece of the header which another thread is fetching, GDAL waits for that
    thread. If the server makes the other ask again, GDAL warns, and rasterio's handler of warnings wants Python's lock.
    """
    # Without a session: with boto3 installed rasterio would ask it for credentials each time, GDAL finds them itself.
    with (
        nullcontext() if is_local(path) else _turn,
        rasterio.Env(session=DummySession(), **gdal_options(path), **_SAFE),
    ):
        yield


def _attempts(path: str) -> int:
    return 1 if is_local(path) else ATTEMPTS


@contextmanager
def _borrowed(path: str) -> Iterator[Any]:
    """An open dataset nobody else uses meanwhile, and GDAL set up to read from it.

    A dataset is not safe to share between threads, but may wander from one to the next. What is no longer the file
    that was opened (changed, or inherited through a fork) is not found again, because the key names both. Of a remote
    file counts what `identity` found when it was last asked here, and whether it is read from a copy.
    """
    stamp: tuple[Any, ...]
    if is_local(path):
        if not Path(path).exists():
            raise Mistake(f"{path} is gone; it was there when the scene was opened")
        status = Path(path).stat()
        stamp = (status.st_mtime_ns, status.st_size)
    else:
        facts = str(known(path))
        stamp = (facts, str(remote_cache.copy_of(path) or gdal_path(path)))
    key = (os.getpid(), path, stamp)
    with _lock:
        place = next((i for i, (other, _) in enumerate(_idle) if other == key), None)
        dataset = None if place is None else _idle.pop(place)[1]
        outdated = [entry for entry in _idle if entry[0][1] == path and entry[0][2] != stamp]
        _idle[:] = [entry for entry in _idle if entry not in outdated]
    for _, other in outdated:
        other.close()  # what GDAL holds of a remote file goes with the last who has it open
    if dataset is None:
        dataset = open_dataset(path)
        if not is_local(path):
            key = (os.getpid(), path, (facts, dataset.name))
    with environment(dataset.name):  # not `path`, which may be read from a copy
        try:
            yield dataset
        except BaseException:
            dataset.close()  # half a block may be in its cache
            raise
    with _lock:
        _idle.append((key, dataset))
        old = _idle[:-_MOST_IDLE]
        del _idle[:-_MOST_IDLE]
    for _, dataset in old:
        dataset.close()


_idle: list[tuple[tuple[Any, ...], Any]] = []
_lock = threading.Lock()
_turn = threading.RLock()


@contextmanager
def copies_kept() -> Iterator[None]:
    """Remote files that are fetched whole while the block lasts stay so until its end."""
    before = remote_cache.made()
    try:
        yield
    finally:
        gone = remote_cache.made() - before
        remote_cache.drop(gone)
        with _lock:
            closed = [entry for entry in _idle if Path(entry[1].name) in gone]
            _idle[:] = [entry for entry in _idle if entry not in closed]
        for _, dataset in closed:
            dataset.close()  # the disk has its room again with the last who has it open


def fetch_ahead(scene: Scene, bands: Sequence[str], window: Window) -> None:
    """Fetch whole those remote files of which a sample of the scene, and then a window of it, are about to be read.

    In ranges some blocks would be fetched for both; so a file is fetched of which half or more is wanted. Where that
    does not succeed it is read in ranges after all. A mosaic's files are, since what shows of each is not known yet.
    """
    if scene.beneath:
        return
    wanted = Counter(scene.band(name).path for name in bands)
    if scene.mask:
        wanted[scene.mask.path] += 1
    for path, count in wanted.items():
        if is_local(path) or remote_cache.copy_of(path):
            continue
        with _borrowed(path) as dataset:
            bands_read = 1.0 if dataset.interleaving is Interleaving.pixel else min(1.0, count / dataset.count)
        if 2 * bands_read * window.area >= scene.window.area:
            with suppress(Away):
                remote_cache.fetched(path, remote_cache.LARGE)


def _forget() -> None:
    global _lock, _turn  # another thread may have held the old ones at the fork
    _lock, _turn = threading.Lock(), threading.RLock()


os.register_at_fork(after_in_child=_forget)


def common_block(scene: Scene, bands: Sequence[str]) -> tuple[int, int]:
    """Rows and columns of the least window that cuts no block of these bands in two, where they agree so far."""
    shapes = {(1, 1)}
    for name in bands:
        band = scene.band(name)
        if not band.resampled:  # its blocks are those of another grid
            with _borrowed(band.path) as dataset:
                shapes.add(dataset.block_shapes[0])
    heights, widths = zip(*shapes, strict=True)
    return lcm(*heights), lcm(*widths)


def _reason(path: str, error: BaseException) -> str:
    """What GDAL said of a file, in its own words but on one line."""
    said = " ".join(str(error.__cause__ or error).split())
    return said if is_local(path) else remote_cache.in_words(said, path)


def glimpse(path: str, dataset: Any, index: int) -> Pixels:
    """`(value,)` of a band in patches here and there, always the same: what shows what kind of numbers it holds.

    Raises `Mistake` or `Away` where they cannot be read.
    """
    starts = product(*([size * n // _PATCHES for n in range(_PATCHES)] for size in dataset.shape))
    windows = [Window(row, col, _PATCH, _PATCH) & Window.of_shape(*dataset.shape) for row, col in starts]
    found: list[Pixels] = []

    def read(window: Window) -> None:
        found.append(dataset.read(index, window=window.ranges).ravel())

    with environment(dataset.name):  # not `path`, which may be read from a copy
        for window in windows:
            _at_place(path, window, partial(read, window))
    return np.concatenate(found)


def decode(scene: Scene, window: Window, bands: Sequence[Band], pixels: Pixels, valid: Valid) -> None:
    """Fill `pixels (band, y, x)`, which are 0, and `valid (y, x)` with a window that lies inside the scene.

    Of a mosaic's layers each pixel comes with all its bands from the uppermost that has it.
    """
    valid[...] = False
    for depth, layer in enumerate(scene.layers):
        inside = window if layer.extent is None else window & layer.extent
        if not inside or valid[at := inside.within(window)].all():
            continue
        chosen = [layer.band(band.name) for band in bands]
        if depth == 0:
            _decode(layer, inside, chosen, pixels[:, *at], valid[at])
            continue
        values, there = np.zeros_like(pixels[:, *at]), np.zeros_like(valid[at])
        _decode(layer, inside, chosen, values, there)
        np.copyto(pixels[:, *at], values, where=there & ~valid[at])
        valid[at] |= there


def _decode(scene: Scene, window: Window, bands: Sequence[Band], pixels: Pixels, valid: Valid) -> None:
    """The same of one layer."""
    valid[...] = True
    together: dict[tuple[str, str], list[int]] = {}  # rasterio reads bands of one type at once
    for place, band in enumerate(bands):
        together.setdefault((band.path, band.dtype), []).append(place)
    for (path, _), places in together.items():
        _at_place(path, window, partial(_read_bands, scene, window, bands, places, pixels, valid))
    for band, values in zip(bands, pixels, strict=True):
        if not band.resampled:
            _withdraw(valid, values, band)
    mask = scene.mask
    if mask is not None:
        _at_place(mask.path, window, partial(_read_mask, scene, mask, window, valid))


def _at_place(path: str, window: Window, read: Callable[[], None]) -> None:
    """Decoding errors become mistakes that name the file and the place; of a remote file, once they do not pass."""
    for left in reversed(range(_attempts(path))):
        try:
            return read()
        except RasterioError as error:
            reason = _reason(path, error)
        if left:
            time.sleep(BACKOFF * 2 ** (ATTEMPTS - 1 - left))
    # Raised here, so that rasterio's error is neither its cause nor its context: Dask sends both along, and
    # rasterio's do not unpickle.
    kind, mend = (
        (Damaged, "the file is damaged there: fetch or export it again")
        if is_local(path)
        else (Away, f"tried {ATTEMPTS} times: its server fails or the file is damaged there")
    )
    raise kind(
        f"{path} cannot be read in rows {window.row}–{window.row_stop - 1}, columns {window.col}–"
        f"{window.col_stop - 1} ({reason}); {mend}"
    )


def _read_bands(
    scene: Scene, window: Window, bands: Sequence[Band], places: list[int], pixels: Pixels, valid: Valid
) -> None:
    """Fill the `places` of `bands` that lie in one file."""
    first = bands[places[0]]
    with _borrowed(first.path) as dataset:
        if first.resampled:
            source = grid_of(dataset)
            for place in places:
                read, dtype = partial(_stored, dataset, bands[place]), bands[place].dtype
                pixels[place], data = resample(read, source, scene.geobox, window, dtype, smooth=True)
                valid &= data
            return
        inside, at = _part(dataset, window, first.at)
        here = inside.within(window)
        if inside != window:
            there = np.zeros_like(valid)
            there[here] = True
            valid &= there
        if not inside:
            return
        indexes = [bands[place].index for place in places]
        if len(places) == len(bands) and inside == window:
            dataset.read(indexes, window=at, out=pixels)
        else:
            for place, values in zip(places, dataset.read(indexes, window=at), strict=True):
                pixels[place][here] = values
        if first.masked:
            valid[here] &= dataset.read_masks(first.index, window=at) > 0
        if first.alpha:
            valid[here] &= dataset.read(first.alpha, window=at) > 0


def _read_mask(scene: Scene, mask: Mask, window: Window, valid: Valid) -> None:
    """Make not valid what a mask hides; beyond its edge it says nothing."""
    with _borrowed(mask.path) as dataset:
        if mask.resampled:
            read, dtype = partial(_marked, dataset, mask), dataset.dtypes[mask.index - 1]
            values, there = resample(read, grid_of(dataset), scene.geobox, window, dtype, smooth=False)
            valid &= ~(_hidden(mask, values) & there)
            return
        inside, at = _part(dataset, window, mask.at)
        if inside:
            valid[inside.within(window)] &= ~_hidden(mask, dataset.read(mask.index, window=at))


def _hidden(mask: Mask, values: Pixels) -> Valid:
    """Where a mask's values hide what lies under them."""
    hidden: Valid = np.isin(values, mask.values) if mask.values or mask.bits else values != 0
    if mask.bits:
        hidden |= (values & np.array(sum(1 << bit for bit in mask.bits)).astype(values.dtype)) != 0
    return hidden


def _stored(dataset: Any, band: Band, window: Window) -> tuple[Pixels, Valid]:
    """A band's pixels as they are stored, and which of them hold data."""
    at = _rasterio_window(window)
    values: Pixels = dataset.read(band.index, window=at)
    valid = np.ones(window.shape, np.bool_)
    if band.masked:
        valid &= dataset.read_masks(band.index, window=at) > 0
    if band.alpha:
        valid &= dataset.read(band.alpha, window=at) > 0
    _withdraw(valid, values, band)
    return values, valid


def _marked(dataset: Any, mask: Mask, window: Window) -> tuple[Pixels, Valid]:
    return dataset.read(mask.index, window=_rasterio_window(window)), np.ones(window.shape, np.bool_)


def grid_of(dataset: Any) -> GeoBox:
    """The grid of an open dataset."""
    return GeoBox((dataset.height, dataset.width), dataset.transform, _crs(dataset.crs.to_wkt()))


@lru_cache(maxsize=64)
def _crs(wkt: str) -> CRS:
    return CRS(wkt)


def _part(dataset: Any, window: Window, at: tuple[int, int]) -> tuple[Window, rasterio.windows.Window]:
    """What a file whose first pixel is `at` in the scene covers of a window; and where that is in the file."""
    inside = window & Window(*at, dataset.height, dataset.width)
    return inside, _rasterio_window(inside.moved(-at[0], -at[1]))


def _rasterio_window(window: Window) -> rasterio.windows.Window:
    return rasterio.windows.Window(window.col, window.row, window.width, window.height)


def _withdraw(valid: Valid, values: Pixels, band: Band) -> None:
    """Make not valid where one band is NaN, infinite or its no data value, as the file's dtype would store that."""
    dtype, nodata = np.dtype(band.dtype), band.nodata
    if dtype.kind == "f":
        valid &= np.isfinite(values)
    if nodata is None or not np.isfinite(nodata):
        return
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            valid &= values != dtype.type(nodata)
    elif float(nodata).is_integer() and np.iinfo(dtype).min <= nodata <= np.iinfo(dtype).max:
        valid &= values != dtype.type(int(nodata))


def chip_of(bands: Sequence[Band], pixels: Pixels, valid: Valid) -> xr.Dataset:
    """A chip around arrays: `pixels (band, y, x)`, `valid (y, x)`; and per band name, scale, offset and units."""
    import xarray as xr  # slow to load, and many commands make no chip

    return xr.Dataset(
        {"pixels": (("band", "y", "x"), pixels), "valid": (("y", "x"), valid)},
        coords={
            "band": [band.name for band in bands],
            "scale": ("band", [band.scale for band in bands]),
            "offset": ("band", [band.offset for band in bands]),
            "units": ("band", [band.units for band in bands]),
        },
    )


def blank(bands: Sequence[Band], window: Window) -> tuple[Pixels, Valid]:
    """Zeros for the pixels of a window and False for their validity."""
    dtype = np.result_type(*(np.dtype(band.dtype) for band in bands))
    return np.zeros((len(bands), *window.shape), dtype), np.zeros(window.shape, np.bool_)


def read_ahead(scene: Scene, bands: Sequence[str], tiles: Sequence[Tile], *, threads: int = 2) -> Iterator[xr.Dataset]:
    """The chips of a shard's tiles, in order, each as soon as its rows are decoded.

    Strips of whole block rows are decoded once, by `threads` readers, into one buffer for all tiles; chips are views of
    it. Closing the iterator stops the readers; what they raise is raised here.
    """
    if not tiles:
        return
    chosen = [scene.band(name) for name in bands]
    whole = reduce(or_, (tile.chip for tile in tiles))
    pixels, valid = blank(chosen, whole)
    inside = whole & scene.window

    def fill(strip: Window) -> None:
        at = strip.within(whole)
        decode(scene, strip, chosen, pixels[:, *at], valid[at])

    with ThreadPoolExecutor(threads, thread_name_prefix="reader") as pool:
        strips = {
            strip: pool.submit(fill, strip)
            for strip in _strips(inside, _strip_height(scene, chosen))
            if any(strip & tile.chip for tile in tiles)
        }
        try:
            for tile in tiles:
                for strip, done in strips.items():
                    if strip & tile.chip:
                        done.result()
                at = tile.chip.within(whole)
                yield chip_of(chosen, pixels[:, *at], valid[at])
        finally:
            pool.shutdown(cancel_futures=True)


def _strips(window: Window, height: int) -> Iterator[Window]:
    for row in range(window.row // height * height, window.row_stop, height):
        if strip := Window(row, window.col, height, window.width) & window:
            yield strip


def _strip_height(scene: Scene, bands: Sequence[Band]) -> int:
    """Rows of a strip that cuts no block of any file in two, where blocks of different height allow that."""
    heights = {1}
    for band in bands:
        if not band.resampled:
            with _borrowed(band.path) as dataset:
                heights.add(int(dataset.block_shapes[0][0]))
    common = lcm(*heights)
    if common > _LONGEST_STRIP:
        common = max(heights)
    return -(-_STRIP // common) * common
