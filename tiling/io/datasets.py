"""Open rasters: one door they come in by, a pool of those that the next reader takes, and what is
said of errors."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import Interleaving
from rasterio.errors import RasterioError
from rasterio.session import DummySession

from tiling.errors import Damaged, InputError, RemoteUnavailable
from tiling.grid.window import Window
from tiling.io import remote_cache
from tiling.io.access import in_memory, is_there
from tiling.io.containers import READ, foreign
from tiling.io.drivers import driver_for
from tiling.io.gdal_config import gdal_options
from tiling.io.remote import (
    ATTEMPTS,
    BACKOFF,
    grant_of,
    identity,
    last_identity,
    renew_grant,
)
from tiling.io.urls import gdal_path, is_local

Pixels = npt.NDArray[Any]
Valid = npt.NDArray[np.bool_]

_MOST_IDLE = 48
"""Datasets kept open for the next reader: a scene of 13 files for a few threads."""

LARGEST_BLOCK = 128 * 2**20
"""Bytes of a source's block, decoded."""
MOST_BANDS = 4096
"""Bands of a source: imaging spectrometers have hundreds, and GDAL takes its time for each."""
_PATCH, _PATCHES = 64, 4
"""Side of the patches at which a band is glimpsed, and how many of them there are in each
direction."""
_STORED = {"complex_int16": "complex64"}
"""numpy has no word for GDAL's complex integers."""
_SAFE = {"GDAL_VRT_ENABLE_PYTHON": "NO"}
"""A VRT's pixel functions in Python stay unread even where a person's environment allows them."""


def open_dataset(path: str) -> Any:
    """An open rasterio dataset of a file or a URL; `InputError` where there is none, or none that
    may be opened."""
    driver = driver_for(path)
    if is_local(path) and not is_there(path) and not in_memory(path):
        raise InputError(f"{path} does not exist; check the path")
    reason = ""
    for left in reversed(range(_attempts(path))):
        copy = None if is_local(path) else remote_cache.fetch_whole(path, remote_cache.SMALL)
        try:
            place = _place(path) if copy is None else str(copy)
            with environment(path if copy is None else place):
                dataset = rasterio.open(place, driver=driver)
        except (
            RasterioError,
            UnicodeDecodeError,
        ) as error:  # the latter of a CRS whose name is not UTF-8
            reason = _reason(path, error)
        else:
            _check_shape(path, dataset)
            _check_latitudes(path, dataset)
            return dataset
        if left:
            renew_grant(path)
            time.sleep(BACKOFF)
    if is_local(path) and (sentence := foreign(path)):
        raise InputError(sentence)
    # see _at_place
    raise InputError(f"{path} is not a raster that GDAL can read ({reason}); give one of {READ}")


def _check_shape(path: str, dataset: Any) -> None:
    """Refuse what a header declares and nobody has time for, or to be decoded at once and no memory
    may hold."""
    if (count := dataset.count) > MOST_BANDS:
        dataset.close()
        raise InputError(
            f"{path} declares {count:,} bands, and up to {MOST_BANDS:,} are read; if its header "
            "is not damaged, take "
            f"some of them: gdal_translate -b 1 -b 2 {path} some.tif"
        )
    together = dataset.count if dataset.interleaving is Interleaving.pixel else 1
    for dtype, (height, width) in zip(dataset.dtypes, dataset.block_shapes, strict=True):
        size = height * width * np.dtype(_STORED.get(dtype, dtype)).itemsize * together
        if size > LARGEST_BLOCK:
            dataset.close()
            raise InputError(
                f"{path} declares blocks of {width:,} × {height:,} pixels, {size / 2**20:,.0f} "
                "MiB each, and up to "
                f"{LARGEST_BLOCK >> 20} are read; tile it: gdal_translate -co TILED=YES {path} "
                "tiled.tif"
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
        raise InputError(
            f"{path} reaches from {latitude.min():.7g}° to {latitude.max():.7g}° of latitude, and "
            "there is nothing "
            f"beyond {pole:g}°; mend its georeference with gdal_edit.py -a_ullr, or cut those "
            "rows off with "
            f"gdal_translate -srcwin"
        )


@contextmanager
def environment(path: str) -> Iterator[None]:
    """GDAL set up to read that file, wherever it lies; one thread at a time reads from other
    machines.

    Otherwise two may wait for each other for ever. rasterio 1.4 looks for masks at the start of
    each read while it holds Python's lock; where that takes a piece of the header which another
    thread is fetching, GDAL waits for that thread. If the server makes the other ask again, GDAL
    warns, and rasterio's handler of warnings wants Python's lock.
    """
    with (
        nullcontext() if is_local(path) else _turn,
        rasterio.Env(session=_session(path), **gdal_options(path), **_SAFE),
    ):
        yield


def _session(path: str) -> Any:
    """What opens a file with a grant, and nothing for others: with boto3 installed rasterio would
    ask it for credentials each time, GDAL finds them itself."""
    session, grant = DummySession(), grant_of(path)
    if grant is not None:
        options = dict(grant.gdal_options(path))
        session.get_credential_options = lambda: options
    return session


def _place(path: str) -> str:
    """What GDAL calls a file; of a remote one it holds no secret."""
    grant = grant_of(path)
    return (grant.gdal_path(path) if grant is not None else None) or gdal_path(path)


def _attempts(path: str) -> int:
    return 1 if is_local(path) else ATTEMPTS


@contextmanager
def borrow_dataset(path: str) -> Iterator[Any]:
    """An open dataset nobody else uses meanwhile, and GDAL set up to read from it.

    A dataset is not safe to share between threads, but may wander from one to the next. What is no
    longer the file that was opened (changed, or inherited through a fork) is not found again,
    because the key names both. Of a remote file counts what `identity` found when it was last asked
    here, and whether it is read from a copy.
    """
    stamp: tuple[Any, ...]
    if is_local(path):
        if not Path(path).exists():
            raise InputError(f"{path} is gone; it was there when the scene was opened")
        status = Path(path).stat()
        stamp = (status.st_mtime_ns, status.st_size)
    else:
        facts, copy = str(last_identity(path)), remote_cache.cached_copy(path)
        # what is open keeps the grant that it was opened with
        grant = None if copy else grant_of(path)
        stamp = (facts, str(copy or _place(path)), grant)
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
            key = (os.getpid(), path, (facts, dataset.name, grant))
    # not of `path`, which may be read from a copy; where reading breaks off, half a block may be in
    # the cache
    with environment(dataset.name), ExitStack() as broken_off:
        broken_off.callback(dataset.close)
        yield dataset
        broken_off.pop_all()
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
    before = remote_cache.cached_files()
    try:
        yield
    finally:
        gone = remote_cache.cached_files() - before
        remote_cache.evict(gone)
        with _lock:
            closed = [entry for entry in _idle if Path(entry[1].name) in gone]
            _idle[:] = [entry for entry in _idle if entry not in closed]
        for _, dataset in closed:
            dataset.close()  # the disk has its room again with the last who has it open


def _forget() -> None:
    global _lock, _turn  # another thread may have held the old ones at the fork
    _lock, _turn = threading.Lock(), threading.RLock()


os.register_at_fork(after_in_child=_forget)


def _reason(path: str, error: BaseException) -> str:
    """What GDAL said of a file, in its own words but on one line."""
    said = " ".join(str(error.__cause__ or error).split())
    return said if is_local(path) else remote_cache.in_words(said, path)


def sample_band(path: str, dataset: Any, index: int) -> Pixels:
    """`(value,)` of a band in patches here and there, always the same: what shows what kind of
    numbers it holds.

    Raises `InputError` or `RemoteUnavailable` where they cannot be read.
    """
    starts = product(*([size * n // _PATCHES for n in range(_PATCHES)] for size in dataset.shape))
    windows = [
        Window(row, col, _PATCH, _PATCH) & Window.of_shape(*dataset.shape) for row, col in starts
    ]
    found: list[Pixels] = []

    def read(window: Window) -> None:
        found.append(dataset.read(index, window=window.ranges).ravel())

    with environment(dataset.name):  # not `path`, which may be read from a copy
        for window in windows:
            read_or_explain(path, window, partial(read, window))
    return np.concatenate(found)


def read_or_explain(path: str, window: Window, read: Callable[[], None]) -> None:
    """Decoding errors become mistakes that name the file and the place; of a remote file, once they
    do not pass."""
    for left in reversed(range(_attempts(path))):
        try:
            return read()
        except RasterioError as error:
            reason = _reason(path, error)
        renew_grant(path)
        if left:
            time.sleep(BACKOFF * 2 ** (ATTEMPTS - 1 - left))
    if grant_of(path) is not None:
        identity(path)  # says so where it is refused
    # Raised here, so that rasterio's error is neither its cause nor its context: Dask sends both
    # along, and rasterio's do not unpickle.
    kind, mend = (
        (Damaged, "the file is damaged there: fetch or export it again")
        if is_local(path)
        else (
            RemoteUnavailable,
            f"tried {ATTEMPTS} times: its server fails or the file is damaged there",
        )
    )
    raise kind(
        f"{path} cannot be read in rows {window.row}–{window.row_stop - 1}, columns {window.col}–"
        f"{window.col_stop - 1} ({reason}); {mend}"
    )
