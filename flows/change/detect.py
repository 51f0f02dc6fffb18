"""`landweave change`: what became of what between two maps: matrix, raster, polygons, pictures.

Two passes over blocks, anywhere and in any order: the first counts pairs of values as they are;
then classes are brought together by name; the second writes a code for every pixel. The matrix
counts those codes, and the polygons outline them, so all products say the same to the last pixel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial, reduce
from operator import add
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.errors

from flows.assessment.evaluate import BLOCK
from flows.assessment.evaluate import work_pieces as pieces_of
from flows.change.codes import (
    BASE,
    CODES,
    Classes,
    Encoding,
    PairCounts,
    count_codes,
    count_pairs,
    encode,
    hiding,
    match_classes,
)
from flows.change.map_pair import MapSource, Pair, align_maps
from flows.change.model import Change, ObjectChange
from flows.change.object_change import change_objects, object_pieces
from flows.change.publish import publish
from flows.compute.pool import Pool, ThisProcess
from flows.compute.progress import Progress, report_items, silent
from flows.requests.change import ChangeRequest
from flows.requests.overwriting import check_change
from flows.storage.lock import folder_lock
from segmentation.legend import UNKNOWN
from tiling.classmaps.raster import NO_CONFIDENCE, open_classes
from tiling.errors import InputError
from tiling.grid.geobox import geobox_of
from tiling.grid.pixel_area import PixelAreas
from tiling.grid.window import Window
from tiling.io.files import on_disk, scratch
from tiling.io.profiles import plain_profile
from tiling.regions.sieving.relabel_small import Patches, relabel_small


def compare(
    request: ChangeRequest, pool: Pool | None = None, progress: Progress = silent
) -> Change | ObjectChange:
    """What became of classes, or of objects, whichever is asked for."""
    request.check()
    return (change_objects if request.objects else change)(request, pool, progress)


def change(
    request: ChangeRequest,
    pool: Pool | None = None,
    progress: Progress = silent,
    *,
    block: int = BLOCK,
) -> Change:
    """Compare two maps on the later one's grid and write what became of what into `request.out`.

    A pixel is compared where both maps hold a class and both are sure enough. A patch of change
    below the smallest area is taken not to have happened: its pixels keep the class they had.
    `pool` and `block` change nothing. Raises
    `InputError` for what a person can mend.
    """
    pool = pool or ThisProcess()
    pair = _open_pair(request)
    with open_classes(pair.later.path) as now:
        blocks = list(Window.of_shape(*now.shape).blocks(block))
        unit = PixelAreas(geobox_of(now)).unit
    found = _count_found(pair, blocks, pool, progress)
    hidden = hiding((*request.hidden, UNKNOWN), request.classes, (pair.earlier, pair.later))
    classes = _match_shown(pair, {**dict.fromkeys(hidden, ""), **request.classes}, found)
    with folder_lock(request.out), on_disk(request.out), scratch(request.out) as work:
        codes, confidence = _write_codes(Encoding(pair, classes), blocks, work, pool, progress)
        raw = counts = count_all(codes, blocks, pool)
        if request.min_area:
            codes = _undo_small(codes, classes, request.min_area, block, work, pool)
            counts = count_all(codes, blocks, pool)
        result = _sum_up(pair, classes, hidden, found, raw, counts, unit)
        return publish(result, request, codes, confidence, work, pool, progress)


def _open_pair(request: ChangeRequest) -> Pair:
    """Both maps of a request, checked at the door."""
    earlier, later = MapSource.of(request.earlier), MapSource.of(request.later)
    if not request.fresh:
        check_change(request.out, request.earlier, request.later)
    lacking = [one.path for one in (earlier, later) if not one.confidence]
    if request.min_confidence and lacking:
        raise InputError(
            f"{lacking[0]} has no confidence.tif beside it; leave --min-confidence out, or make "
            "the map with it"
        )
    alignment = align_maps(earlier, later)
    return Pair(earlier, later, alignment, request.nodata, request.min_confidence)


def _count_found(
    pair: Pair, blocks: Sequence[Window], pool: Pool, progress: Progress
) -> PairCounts:
    """First pass: which values meet. Raises `InputError` where none do."""
    counts = pool.map(partial(count_pairs, pair), blocks)
    found = reduce(add, report_items(counts, "compare", len(blocks), progress), PairCounts({}))
    if not found.pairs:
        raise InputError(
            f"{pair.earlier.path} and {pair.later.path} share no pixel with data on both"
            + (f" of which they are {pair.min_confidence:g} % sure" if found.unsure[0] else "")
            + "; check that they show the same place and that each declares its no data"
        )
    return found


def _match_shown(pair: Pair, regrouping: Mapping[str, str], found: PairCounts) -> Classes:
    """The classes to compare. Raises `InputError` where all that the maps show is left out."""
    classes = match_classes(pair.earlier, pair.later, regrouping, found)
    if not any(a in classes.earlier and b in classes.later for a, b in found.pairs):
        out = [name for name, new in regrouping.items() if not new.strip()]
        raise InputError(
            f"{pair.earlier.path} and {pair.later.path} nowhere both show a class to compare: "
            f"{', '.join(out)} are left out"
        )
    return classes


def _undo_small(
    codes: Path, classes: Classes, min_area: float, block: int, work: Path, pool: Pool
) -> Path:
    """The codes, in which patches of change below an area keep the class they had."""
    values = [value for value, _, _ in classes.rows]
    unmade = {i * BASE + j: i * (BASE + 1) for i in values for j in values if i != j}
    patches = Patches(codes, min_area, unmade)
    return relabel_small(patches, work / "kept.tif", tile=block, map=pool.map)


def _sum_up(
    pair: Pair,
    classes: Classes,
    hidden: Sequence[str],
    found: PairCounts,
    raw: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    unit: float,
) -> Change:
    """The figures: from pairs of values, and from codes as they came (`raw`) and as they are."""
    numbers = np.array([value for value, _, _ in classes.rows])
    grid = numbers[:, None] * BASE + numbers
    pixels, units = counts[0][grid], counts[1][grid]
    small = [
        _off_diagonal(before[grid]) - _off_diagonal(now[grid])
        for before, now in zip(raw, counts, strict=True)
    ]
    # what both maps hold, less what is coded: classes that were left out on purpose
    every = [sum(counts[which] for counts in found.pairs.values()) for which in (0, 1)]
    left_out = {
        "no data in the later map": found.only_earlier,
        "no data in the earlier map": found.only_later,
        "not sure enough": found.unsure,
        "classes left out": (every[0] - int(pixels.sum()), every[1] - int(units.sum())),
        "changes too small, counted as unchanged": (small[0], small[1]),
    }
    return Change(
        pair.earlier,
        pair.later,
        pair.alignment.said,
        classes.rows,
        pixels,
        units,
        unit,
        {why: (n, float(a * np.float64(unit))) for why, (n, a) in left_out.items() if n},
        (*classes.notes, *_notes_on_hidden(hidden, every, pixels), *pair.alignment.notes),
    )


def _notes_on_hidden(
    hidden: Sequence[str], every: Sequence[int], pixels: npt.NDArray[np.int64]
) -> tuple[str, ...]:
    """What hides the ground, and how to compare it, where some of it was left out."""
    if not hidden or every[0] == pixels.sum():
        return ()
    return (
        f"{' and '.join(hidden)} {'hide' if len(hidden) > 1 else 'hides'} the ground: not "
        "compared; "
        f"--classes '{hidden[0]}={hidden[0]}' compares it",
    )


def work_pieces(request: ChangeRequest) -> int:
    """How many pieces worth a worker's while the comparison has."""
    if request.objects:
        return object_pieces(request)
    path = Path(request.later)
    return pieces_of(path / "classes.tif" if path.is_dir() else path)


def count_all(raster: Path, blocks: Iterable[Window], pool: Pool) -> npt.NDArray[np.int64]:
    """`(2, 10000)` pixels and area units of each code."""
    total = np.zeros((2, CODES), np.int64)
    for codes, counts in pool.map(partial(count_codes, raster), blocks):
        total[:, codes] += counts
    return total


def _off_diagonal(counts: npt.NDArray[np.int64]) -> int:
    return int(counts.sum() - np.trace(counts))


def _write_codes(
    coding: Encoding, blocks: Sequence[Window], work: Path, pool: Pool, progress: Progress
) -> tuple[Path, Path | None]:
    """The codes, and the lower confidence of changed pixels where both maps have one, as plain
    rasters."""
    pair = coding.pair
    with open_classes(pair.later.path) as now:
        grid = geobox_of(now)
    sure = bool(pair.earlier.confidence and pair.later.confidence)
    with ExitStack() as stack:
        codes = stack.enter_context(
            rasterio.open(work / "codes.tif", "w", **plain_profile(grid, "uint16", 0))
        )
        confidence = None
        if sure:
            profile = plain_profile(grid, "uint8", NO_CONFIDENCE)
            confidence = stack.enter_context(rasterio.open(work / "confidence.tif", "w", **profile))
        worked = report_items(
            pool.map(partial(encode, coding), blocks), "change", len(blocks), progress
        )
        for window, (pixels, lower) in zip(blocks, worked, strict=True):
            codes.write(pixels, 1, window=window.ranges)
            if confidence is not None:
                confidence.write(lower, 1, window=window.ranges)
    return work / "codes.tif", work / "confidence.tif" if sure else None
