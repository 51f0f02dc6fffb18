"""How far things look, measured: a pixel changes, and whatever else does lies within what is
said."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tests.chance import chances

Array = npt.NDArray[np.generic]


def measure_reach(
    result: Callable[[Array, Array], Array],
    *,
    side: int = 41,
    trials: int = 150,
    levels: tuple[int, ...] = (3, 50, 60_000),
    holes: tuple[float, ...] = (0, 0.1, 0.9),
) -> int:
    """How far from a pixel of `(2, y, x)` values or of `(y, x)` validity that changes anything of a
    result `(y, x)` does."""
    farthest, middle = 0, side // 2
    for chance in chances(trials):
        values = chance.integers(0, int(chance.choice(levels)), (2, side, side)).astype(np.int32)
        valid = chance.random((side, side)) > chance.choice(holes)
        before = result(values, valid)
        if chance.random() < 0.5:
            values[:, middle, middle] = chance.integers(0, max(levels), 2)
        else:
            valid[middle, middle] ^= True
        changed = np.argwhere(before != result(values, valid))
        farthest = max(farthest, int(np.abs(changed - middle).max(initial=0)))
    return farthest
