"""What is drawn by chance, to be drawn again: one seed for a whole run of the tests.

`LANDWEAVE_SEED` states it; without it is the day, so that a day's runs agree and another day's
explore. It is printed at the start and again where a test failed, and is handed on to every process
that is started.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

SEED = int(os.environ.setdefault("LANDWEAVE_SEED", f"{datetime.datetime.now(datetime.UTC):%Y%m%d}"))


def chances(count: int) -> Iterator[np.random.Generator]:
    """So many generators; each is the seed's, and says nothing of the others."""
    for number in range(count):
        yield np.random.default_rng((SEED, number))


def dense_rasters(
    count: int, side: int = 16
) -> Iterator[tuple[npt.NDArray[Any], np.random.Generator]]:
    """Class rasters `(y, x) uint8` full of small regions, of 2 to 4 classes and of all but the
    smallest sizes.

    hypothesis draws mostly small rasters and mostly of one class: few of its seams have much to
    join.
    """
    for chance in chances(count):
        shape = tuple(chance.integers(side // 2, side + 1, 2))
        yield chance.integers(0, chance.integers(2, 5), shape).astype(np.uint8), chance
