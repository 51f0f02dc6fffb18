"""Figures of indices in zones, date by date: exact sums of whole numbers, whatever the cut."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely

from flows.composite.images import Images
from flows.compute.pool import Pool
from flows.compute.progress import Progress, report_items, silent
from flows.compute.work import Work
from flows.plan.part_key import scene_facts
from flows.products.index_measures import TEN_THOUSANDTHS, in_ten_thousandths
from flows.storage.kept_parts import make_missing, part_path
from flows.storage.keys import content_key
from flows.timeseries.blocks import cut_grid
from segmentation.temporal.distribution import describe, weigh_tail
from tiling.classmaps.zonal_areas import Covered, Edges, Outlines, coverage
from tiling.classmaps.zonal_values import WEIGHT, Tally, tally
from tiling.grid.window import Window
from tiling.io.spill import load_arrays, save_arrays

PIXELS = 2**20
"""Of a window that is read at once, unless one block is larger."""
_FIXED = 2**28
"""Bytes of a worker for its libraries and GDAL's cache of blocks."""
_ROWS = 2**22
"""Pairs of zone and value that wait until they are summed up."""

FIGURES = ("mean", "median", "std", "p10", "p90", "valid_share")
"""What is told of an index in a zone on a date."""
TAIL = ("deviation", "far_share")
"""What is known besides: the median of absolute deviations from the median, and the part of what is
covered that is far weaker than the median: below it, or above it where an index is in `FALLING`."""
FAR = 0.05
"""What an index is below the median, at least, where it is far below: a choice."""
FALLING = frozenset({"MSI", "DSI", "PSRI"})
"""Indices that are the lower the better a plant is."""
QUANTILES = (Fraction(1, 2), Fraction(1, 10), Fraction(9, 10))


@dataclass(frozen=True, eq=False)
class ZoneFigures:
    """Figures of indices in zones on the dates of images."""

    names: tuple[str, ...]
    """Of the indices."""
    values: npt.NDArray[np.float64]
    """`(figure, date, index, zone)` in the order of `FIGURES` and `TAIL`, and of the images; NaN
    where no pixel of a zone is valid, whose valid share is 0."""

    def of(self, figure: str) -> npt.NDArray[np.float64]:
        """One figure: `(date, index, zone)`."""
        found: npt.NDArray[np.float64] = self.values[(*FIGURES, *TAIL).index(figure)]
        return found


def work_of(images: Images, names: Sequence[str]) -> Work:
    """How many windows there are, and what a worker takes for one."""
    windows = cut_grid(images, PIXELS)
    stored = max(scene.pixel_bytes(images.bands) for scene in images.scenes)
    pixel = 2 * stored + 4 * len(names) + 100  # of a tally some arrays of 64 bits
    largest = max(window.area for window in windows)
    return Work(len(windows) * len(images.scenes), _FIXED + largest * pixel)


def measure_zones(
    images: Images,
    names: Sequence[str],
    shapes: npt.NDArray[Any],
    work: Path,
    kept: Path,
    pool: Pool,
    progress: Progress = silent,
    *,
    pixels: int = PIXELS,
) -> ZoneFigures:
    """The figures of indices in polygons given in the CRS of the images; `work` is a folder for
    what waits, `kept` that of dates and windows that are done: those that lie there are not
    measured again.

    A pixel counts by the part of it that a zone covers, its value is the index in ten thousandths.
    The valid share is the part of the zone, beyond the images too, that lies on pixels where the
    index is known. Each window is read once for each image. Memory follows from a window, and from
    the pairs of zone and value of one date; neither `pixels`, about that of a window, nor the pool
    changes a bit.
    """
    outlines = Outlines(shapes, images.grid.affine)
    near = (
        (window, edges)
        for window in cut_grid(images, pixels)
        if (edges := outlines.near(window)).zone.size
    )
    covers = [cover for cover in pool.map(partial(_cover, str(work)), near) if cover]
    keys = _keys(images, names, shapes)
    dates = [part_path(kept, f"{key} date", Window.of_shape(*images.grid.shape)) for key in keys]
    missing = [number for number, path in enumerate(dates) if not path.exists()]
    parts = [
        (_Job(number, cover), part_path(kept, keys[number], cover.window))
        for number in missing
        for cover in covers
    ]
    done = make_missing(partial(_tally_window, images, tuple(names)), parts, pool.map)
    total = len(dates) * len(covers)
    files = report_items(done, "series", total, progress, start=total - len(parts))
    for number in missing:
        waiting = list(islice(files, len(covers)))
        tallies = _gather(waiting, len(names))
        found = zip(tallies, names, strict=True)
        told = np.stack([_describe(one, outlines.sizes, name) for one, name in found], axis=1)
        save_arrays(dates[number], told, lasting=True)
        for file in waiting:
            file.unlink()
    next(files, None)  # progress is told of a part when the next is asked for
    values = np.stack([load_arrays(path, 1)[0] for path in dates], axis=1)
    return ZoneFigures(tuple(names), values)


def _keys(images: Images, names: Sequence[str], shapes: npt.NDArray[Any]) -> list[str]:
    """What tells the figures of each image from any others."""
    zones = hashlib.sha256(b"".join(shapely.to_wkb(shapes))).hexdigest()
    facts = (scene_facts(scene, images.bands) for scene in images.scenes)
    return [
        content_key({"scene": one, "indices": [*names], "zones": zones, "tail": FAR})
        for one in facts
    ]


class Cover(NamedTuple):
    """What zones cover of a window: the least window around it, and the file of the runs."""

    window: Window
    file: str


def _cover(work: str, near: tuple[Window, Edges]) -> Cover | None:
    """What zones cover of a window; None where they only come near."""
    window, edges = near
    covered = coverage(edges, window)
    if not covered.row.size:
        return None
    row, col = int(covered.row.min()), int(covered.col.min())
    rows = int(covered.row.max()) + 1 - row
    cols = int((covered.col + covered.length).max()) - col
    path = Path(work) / f"cover-{window.row}-{window.col}.npy"
    save_arrays(path, *covered)
    return Cover(Window(row, col, rows, cols), str(path))


class _Job(NamedTuple):
    """An image by its number, and a window of it."""

    image: int
    cover: Cover


def _tally_window(images: Images, names: tuple[str, ...], part: tuple[_Job, Path]) -> None:
    """Write the tallies of a window of an image, one of each index."""
    (number, (window, file)), path = part
    covered = Covered(*load_arrays(Path(file), len(Covered._fields)))
    chip = images.scenes[number].read(window, images.bands)
    tallies = (tally(covered, window, in_ten_thousandths(name, chip)) for name in names)
    save_arrays(path, *(array for one in tallies for array in one), lasting=True)


def _gather(files: Iterable[Path], count: int) -> list[Tally]:
    """The tallies of all windows of an image, one of each index."""
    waiting: list[list[Tally]] = [[] for _ in range(count)]
    for file in files:
        for several, one in zip(waiting, _read(file, count), strict=True):
            several.append(one)
            if len(several) > 1 and sum(part.key.size for part in several) > _ROWS:
                several[:] = [Tally.sum(several)]
    return [Tally.sum(several) for several in waiting]


def _read(file: Path, count: int) -> Iterator[Tally]:
    arrays = load_arrays(file, 2 * count)
    return (Tally(*arrays[at : at + 2]) for at in range(0, 2 * count, 2))


def _describe(found: Tally, sizes: npt.NDArray[np.float64], name: str) -> npt.NDArray[np.float64]:
    """`(figure, zone)`"""
    sign = -1 if name in FALLING else 1
    told = describe(found.zone, found.value, found.weight, sizes.size, QUANTILES)
    median, low, high = told.quantiles / TEN_THOUSANDTHS
    share = np.round(told.weight / WEIGHT / sizes, 6)
    tail = weigh_tail(
        found.zone, found.value, found.weight, told.quantiles[0], sign, FAR * TEN_THOUSANDTHS
    )
    mean, std = told.mean / TEN_THOUSANDTHS, told.std / TEN_THOUSANDTHS
    far = tail.deviation / TEN_THOUSANDTHS, np.round(tail.share, 6)
    return np.stack([mean, median, std, low, high, share, *far])
