"""Chips summed up where they overlap: what they add to each pixel of a shard, in rows that fit into
memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from tiling.grid.tiles import Tile
from tiling.grid.window import Window

Scores = npt.NDArray[np.float32]
"""Or what is sliced and added to like one, where it does not lie in this machine's memory."""

Empty = Callable[[tuple[int, ...]], Scores]
"""Zeros of a shape, where scores lie."""


def empty_scores(shape: tuple[int, ...]) -> Scores:
    """Zeros in this machine's memory."""
    return np.zeros(shape, np.float32)


def overlap_add(
    core: Window,
    tiles: Sequence[Tile],
    scores: Iterable[Scores | None],
    empty: Empty = empty_scores,
) -> Iterator[tuple[Window, Scores | None]]:
    """The sums of `scores (…, y, x)` over all chips, for the pixels of `core`, in strips of whole
    rows from the top.

    Each of the `tiles`, in raster order, has the scores of its chip; None adds nothing, and a strip
    to which nothing was added is None. Sums begin as `empty`, and lie where it makes them. Every
    pixel adds up in the order of the tiles, so that no sum depends on who else is there. A strip is
    complete when the next tile begins below it: memory holds about one row of chips.
    """
    done, total = core.row, None
    for tile, added in zip(tiles, scores, strict=True):
        if (top := min(tile.chip.row, core.row_stop)) > done:
            # What lies above this chip is complete, for so do those after it.
            yield from _strip(core, done, top, total, empty)
            total, done = None if total is None else total[..., top - done :, :], top
        here = tile.chip & core
        if added is None or not here:
            continue
        reach = tile.chip.row_stop if tile.chip.row_stop < core.row_stop else core.row_stop
        if total is None or total.shape[-2] < reach - done:
            total = _grow_rows(total, added, reach - done, core.width, empty)
        total[(..., *here.shift(-done, -core.col).within(Window.of_shape(*total.shape[-2:])))] += (
            added[(..., *here.within(tile.chip))]
        )
    yield from _strip(core, done, core.row_stop, total, empty)


def _grow_rows(total: Scores | None, like: Scores, height: int, width: int, empty: Empty) -> Scores:
    longer = empty((*like.shape[:-2], height, width))
    if total is not None:
        longer[..., : total.shape[-2], :] = total
    return longer


def _strip(
    core: Window, start: int, stop: int, total: Scores | None, empty: Empty
) -> Iterator[tuple[Window, Scores | None]]:
    """Rows `start … stop - 1`; `total` may be shorter, where nothing was added."""
    if start == stop:
        return
    window = Window(start, core.col, stop - start, core.width)
    if total is not None and total.shape[-2] < stop - start:
        total = _grow_rows(total, total, stop - start, core.width, empty)
    yield window, None if total is None else total[..., : stop - start, :]
