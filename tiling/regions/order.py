"""Whole numbers in order: the distinct ones of many, what has one key together, groups numbered.

numpy's `unique` does all of this; here keys and their places are sorted as one number, which its
fastest sort can do, and what points at members of a group is counted, not sorted.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]
Places = npt.NDArray[np.intp]


def find_distinct(numbers: Numbers) -> Numbers:
    """The distinct ones of flat numbers, ascending."""
    ordered = np.sort(numbers)
    return ordered[mark_first(ordered)]


def mark_first(ordered: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Which numbers of ascending ones differ from the one before."""
    first = np.ones(ordered.size, bool)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return first


def order_keys(keys: Numbers) -> tuple[Places, Numbers]:
    """The places of keys, 0 or more, from the least key to the greatest, of equals the first one
    first; and the keys in this order."""
    bits = max(0, keys.size - 1).bit_length()
    if int(keys.max(initial=0)).bit_length() + bits > 63:
        order = np.argsort(keys, kind="stable")
        return order, keys[order]
    packed = np.sort((keys << bits) | np.arange(keys.size))
    return packed & ((1 << bits) - 1), packed >> bits


def number_groups(to: Places) -> tuple[Places, Places]:
    """The number of each one's group, `(n,)` places `to` giving the member that stands for it, and
    these members, ascending, which groups are numbered by."""
    stands = np.zeros(to.size, bool)
    stands[to] = True
    return (np.cumsum(stands) - 1)[to], np.flatnonzero(stands)
