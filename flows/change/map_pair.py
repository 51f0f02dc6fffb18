"""Two maps laid on the later one's grid, read window by window."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.errors

from flows.assessment.comparison import confidence_of
from flows.assessment.reclassify import LegendRows, rows_with_names
from tiling.classmaps.alignment import MUCH_FINER, overlap, same_grid, warp_to
from tiling.classmaps.raster import NO_CONFIDENCE, open_classes, read_confidence
from tiling.errors import InputError
from tiling.grid.geobox import geobox_of
from tiling.grid.pixel_size import middle_pixel_side
from tiling.grid.window import Window


@dataclass(frozen=True)
class MapSource:
    """One of the two maps that are compared, with its legend and its date."""

    path: str
    name: str
    confidence: str = ""
    rows: LegendRows = ()
    """Values that have a name, with it."""
    date: str = ""

    @classmethod
    def of(cls, given: str) -> MapSource:
        """The map in a run's folder, or a class raster; `InputError` where it is neither."""
        path, name, date = Path(given), Path(given).stem, ""
        if path.is_dir():
            record, path = path / "run.json", path / "classes.tif"
            if not path.exists():
                raise InputError(
                    f"{given} holds no classes.tif; name the folder of a finished run, or a class "
                    "raster"
                )
            if record.exists():
                scene = json.loads(record.read_text(encoding="utf-8"))["scene"]
                name, date = scene["name"], scene["date"] or ""
        open_classes(path).close()
        return cls(
            str(path),
            name,
            str(confidence_of(path, None) or ""),
            tuple(rows_with_names(path)),
            date,
        )

    @property
    def title(self) -> str:
        return f"{self.name}, {self.date}" if self.date else self.name


@dataclass(frozen=True)
class Alignment:
    """How the earlier map is laid on the later one's pixels."""

    how: Literal["same", "shift", "nearest"]
    said: str
    rows: int = 0
    cols: int = 0
    """Where the pixels of a shifted map lie: that at (0, 0) of the later one is at (rows, cols) of
    the earlier."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pair:
    """Two maps, how they are laid on each other, and what is left out: all that is needed to read a
    block."""

    earlier: MapSource
    later: MapSource
    alignment: Alignment
    nodata: int | None = None
    min_confidence: float = 0.0


def align_maps(earlier: MapSource, later: MapSource) -> Alignment:
    """How the pixels of two maps find each other, on the later one's grid.

    Where the grids are parallel with pixels of one size, each pixel of the earlier map has exactly
    one partner, at most half a pixel away along either axis: that is a shift. Anything else is
    resampled by nearest neighbour.
    """
    with open_classes(earlier.path) as before, open_classes(later.path) as now:
        if not overlap(before, now):
            raise InputError(
                f"{earlier.path} and {later.path} lie apart; give two maps of one place"
            )
        if same_grid(before, now):
            return Alignment("same", f"{earlier.name} and {later.name} share one grid")
        fine, coarse = middle_pixel_side(geobox_of(before)), middle_pixel_side(geobox_of(now))
        if shift := _shift(before, now):
            rows, cols, down, across = shift
            metres = float(np.hypot(down, across)) * coarse
            return Alignment(
                "shift",
                f"on the grid of {later.name}: pixels of {earlier.name} pair one to one, moved by "
                f"{metres:.2g} m "
                f"({abs(across):.2f} pixel across, {abs(down):.2f} down)",
                rows,
                cols,
                (
                    f"along boundaries a shift of {metres:.2g} m alone looks like change; "
                    "--min-change-area removes slivers",
                )
                if metres > 0.1 * coarse
                else (),
            )
        if fine < MUCH_FINER * coarse:
            raise InputError(
                f"{earlier.path} has pixels of {fine:.3g} m and {later.path} of {coarse:.3g} m, "
                "so most of the former "
                "would never be looked at; make them alike first, for example with gdalwarp -r mode"
            )
        notes = []
        if coarse < MUCH_FINER * fine:
            notes.append(
                f"each pixel of {earlier.name} counts about {(fine / coarse) ** 2:.0f} times"
            )
        return Alignment(
            "nearest",
            f"on the grid of {later.name} ({coarse:.3g} m), {earlier.name} ({fine:.3g} m) "
            "resampled by nearest "
            "neighbour",
            notes=tuple(notes),
        )


def _shift(before: Any, now: Any) -> tuple[int, int, float, float] | None:
    """Rows and columns between the pixels of two grids, and the rest, in pixels, by which their
    centres miss."""
    if before.crs != now.crs:
        return None
    height, width = now.shape
    corners = [(0.5, 0.5), (width - 0.5, 0.5), (0.5, height - 0.5), (width - 0.5, height - 0.5)]
    found = [
        np.subtract(~before.transform @ (now.transform @ corner), corner) for corner in corners
    ]
    # a tie is no matter of the last bit
    cols, rows = np.floor(np.array(found) + 0.5 + 1e-6).astype(int).T
    if len(set(rows)) > 1 or len(set(cols)) > 1:
        return None
    across, down = max(
        np.array(found) - (cols[0], rows[0]), key=lambda miss: float(np.hypot(*miss))
    )
    return int(rows[0]), int(cols[0]), float(down), float(across)


# ------------------------------------------------------------------------------------------ reading


@dataclass(frozen=True)
class MapBlock:
    """A block of both maps, on the later one's grid: arrays `(y, x)`."""

    before: npt.NDArray[np.integer]
    now: npt.NDArray[np.integer]
    had: npt.NDArray[np.bool_]
    """Where the earlier map holds a class."""
    has: npt.NDArray[np.bool_]
    sure: npt.NDArray[np.bool_]
    """Where both maps are sure enough."""
    confidence: npt.NDArray[np.uint8] | None
    """The lower of both maps', 255 where one has none; None without the rasters."""


def read(pair: Pair, window: Window) -> MapBlock:
    """The pixels of a window of the later map's grid."""
    with ExitStack() as stack:
        now = stack.enter_context(open_classes(pair.later.path))

        def laid(path: str, *, earlier: bool) -> Any:
            source = stack.enter_context(open_classes(path))
            return lay(source, now, pair.alignment, stack) if earlier else source

        before, had = _classes(laid(pair.earlier.path, earlier=True), window, pair.nodata)
        after, has = _classes(now, window, pair.nodata)
        lower = None
        if pair.earlier.confidence and pair.later.confidence:
            one = read_confidence(laid(pair.earlier.confidence, earlier=True), window)
            other = read_confidence(laid(pair.later.confidence, earlier=False), window)
            lower = np.where(
                (one == NO_CONFIDENCE) | (other == NO_CONFIDENCE),
                NO_CONFIDENCE,
                np.minimum(one, other),
            )
    sure = np.ones(window.shape, bool)
    if pair.min_confidence and lower is not None:
        sure = (lower >= pair.min_confidence) & (lower != NO_CONFIDENCE)
    return MapBlock(before, after, had, has, sure, lower)


def lay(source: Any, now: Any, alignment: Alignment, stack: ExitStack) -> Any:
    """A raster on the grid of the earlier map, read on that of the later one until `stack` is
    closed."""
    if alignment.how == "same":
        return source
    if alignment.how == "shift":
        return ShiftedRaster(source, alignment.rows, alignment.cols)
    return stack.enter_context(warp_to(source, now))


class ShiftedRaster:
    """A raster read as if its pixels lay `rows` further up and `cols` further left; beyond it there
    is no data."""

    def __init__(self, source: rasterio.DatasetReader, rows: int, cols: int) -> None:
        self.src_dataset, self._rows, self._cols = source, rows, cols
        self.name, self.nodata = source.name, source.nodata

    def read(self, band: int, *, window: Any) -> npt.NDArray[Any]:
        return self._filled(
            window, self.src_dataset.dtypes[band - 1], partial(self.src_dataset.read, band)
        )

    def read_masks(self, band: int, *, window: Any) -> npt.NDArray[np.uint8]:
        return self._filled(window, "uint8", partial(self.src_dataset.read_masks, band))

    def _filled(self, ranges: Any, dtype: str, read: Any) -> npt.NDArray[Any]:
        (row, row_stop), (col, col_stop) = ranges
        wanted = Window(row, col, row_stop - row, col_stop - col).shift(self._rows, self._cols)
        there = wanted & Window.of_shape(*self.src_dataset.shape)
        values = np.zeros(wanted.shape, dtype)
        if there:
            values[there.within(wanted)] = read(window=there.ranges)
        return values


def _classes(
    source: Any, window: Window, nodata: int | None
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Values as they are, and where they hold."""
    try:
        values = source.read(1, window=window.ranges)
        valid = source.read_masks(1, window=window.ranges) > 0
        return values, valid if nodata is None else valid & (values != nodata)
    except rasterio.errors.RasterioIOError as error:
        path = getattr(source, "src_dataset", source).name
        raise InputError(
            f"{path} cannot be read at {window}: {error}; make or download the file again"
        ) from error
