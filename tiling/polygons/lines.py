"""What lines are to the arithmetic of simplification: arrays of vertices, arc after arc."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Indices: TypeAlias = npt.NDArray[np.int64]
Mask: TypeAlias = npt.NDArray[np.bool_]

Points: TypeAlias = tuple[Floats, Floats]
"""x and y of each, apart: arithmetic on rows of two numbers takes several times as long, and so
does picking rows by an index or a mask, other than by `take` and `compress`."""


def cross(one: Points, other: Points) -> Floats:
    """The cross product of vectors: twice the area of the triangle that two of them span."""
    return one[0] * other[1] - one[1] * other[0]
