"""Where a block is painted, and the cells and points that nearest ones are looked up in."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from segmentation.synthetic.materials import BLOCK, CROPS, INDEX, PAD, STEP
from segmentation.synthetic.noise import (
    IN_THE_PLANE,
    Floats,
    Hashes,
    Indices,
    Mask,
    again,
    blend,
    hash,
    key,
    taps,
    unit,
)


class _Cells(NamedTuple):
    """The square cells of a jittered grid around a block, one centre in each; flat arrays."""

    bits: Hashes
    """Hash of the cell: its name."""
    i: npt.NDArray[np.int64]
    j: npt.NDArray[np.int64]
    y: Floats
    """The centre, in pixels from the block's corner."""
    x: Floats


class _Nearest(NamedTuple):
    """For every point asked, the centre nearest to it and the runner-up, as indices into the
    cells."""

    cells: _Cells
    at: Indices
    gap: Floats
    """Distance to the centre less its radius."""
    next_at: Indices
    next_gap: Floats


class Canvas:
    """One block and its margin while it is drawn: fields on the coarse lattice, layers of material
    on the pixels."""

    def __init__(self, seed: int, row: int, col: int) -> None:
        self.seed, self.row, self.col = seed, row - PAD, col - PAD
        self.size = BLOCK + 2 * PAD
        self.knots = np.arange(0, self.size + STEP, STEP)
        self.y = (self.row + self.knots).astype(np.float64)
        self.x = (self.col + self.knots).astype(np.float64)
        pixels = np.arange(self.size)
        rows = hash(key(seed, "pixel row"), self.row + pixels)
        cols = hash(key(seed, "pixel column"), self.col + pixels)
        self.grain = rows[:, None] ^ cols[None, :]
        shape = self.size, self.size
        self.truth = np.full(shape, CROPS, np.uint8)
        self.below = np.zeros(shape, np.uint8)
        self.above = np.zeros(shape, np.uint8)
        self.cover = np.zeros(shape, np.float32)
        self.gain = np.ones(shape, np.float32)

    # Fields, smooth and rough.

    def noise(self, name: str, wavelength: float, octaves: int = 1, gain: float = 0.55) -> Floats:
        """Smooth noise on the coarse lattice, spread about 1, from `wavelength` pixels down by
        octaves."""
        total, power, strength = np.zeros((self.knots.size, self.knots.size), np.float32), 0.0, 1.0
        for octave in range(octaves):
            i, down = taps(self.y, wavelength / 2**octave)
            j, across = taps(self.x, wavelength / 2**octave)
            rows, cols = np.arange(i[0], i[-1] + 4), np.arange(j[0], j[-1] + 4)
            random = unit(hash(key(self.seed, f"{name} {octave}"), rows[:, None], cols)) - 0.5
            half = blend(
                (random[i - i[0] + t] for t in range(4)), (weight[:, None] for weight in down)
            )
            total += blend((half[:, j - j[0] + t] for t in range(4)), across) * strength
            power += strength * strength
            strength *= gain
        return total * (IN_THE_PLANE / math.sqrt(power))

    def fine(self, coarse: Floats) -> Floats:
        """A coarse field on every pixel, by linear interpolation."""
        return _interpolate(coarse, STEP)

    def blocky(self, coarse: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A coarse field on every pixel, without interpolation."""
        return coarse[:-1, :-1].repeat(STEP, 0).repeat(STEP, 1)

    def speckle(self, salt: int) -> Floats:
        """White noise on every pixel in [0, 1)."""
        return again(self.grain, salt)

    def clumps(self, name: str) -> Floats:
        """Noise of crown and bush size, two pixels wide, in [0, 1)."""
        knots = np.arange(0, self.size + 2, 2)
        random = hash(
            key(self.seed, name), (self.row + knots)[:, None] >> 1, (self.col + knots) >> 1
        )
        return _interpolate(unit(random), 2)

    def nearest(
        self,
        name: str,
        spacing: int,
        y: Floats,
        x: Floats,
        radius: Callable[[Hashes], Floats] | None = None,
        jitter: float = 0.8,
    ) -> _Nearest:
        """The centre whose disc is nearest to each point, of one centre in each cell of a square
        grid.

        Points are in pixels from the block's corner; only the 3 × 3 cells around a point are looked
        at.
        """
        (i0, y0), (j0, x0) = divmod(self.row, spacing), divmod(self.col, spacing)
        i, j = (np.floor((v + o) / spacing).astype(np.intp) for v, o in ((y, y0), (x, x0)))
        low_i, low_j = int(i.min()) - 1, int(j.min()) - 1
        cells = self.cells(
            name,
            spacing,
            jitter,
            i0 + np.arange(low_i, i.max() + 2),
            j0 + np.arange(low_j, j.max() + 2),
        )
        stride = int(j.max()) + 2 - low_j
        cell = (i - low_i) * stride + (j - low_j)
        radii = radius(cells.bits) if radius else np.zeros(cells.bits.shape, np.float32)
        best = second = np.full(y.shape, np.inf, np.float32)
        first_at = second_at = cell
        for step in [a * stride + b for a in (-1, 0, 1) for b in (-1, 0, 1)]:
            at = cell + step
            dy, dx = y - cells.y.take(at), x - cells.x.take(at)
            gap = np.sqrt(dy * dy + dx * dx)
            if radius:
                gap -= radii.take(at)
            closer = gap < best
            runner = gap < second
            second = np.where(closer, best, np.minimum(gap, second))
            second_at = np.where(closer, first_at, np.where(runner, at, second_at))
            best = np.minimum(best, gap)
            first_at = np.where(closer, at, first_at)
        return _Nearest(cells, first_at, best, second_at, second)

    def sharpen(self, nearest: _Nearest, y: Floats, x: Floats) -> _Nearest:
        """Nearest centres found on the coarse lattice, on every pixel: the nearer of the two that
        its knot knows.

        So lines between two cells are straight, and only next to where three meet may the third
        lose a pixel.
        """
        cells = nearest.cells
        first, second = self.blocky(nearest.at), self.blocky(nearest.next_at)
        near, far = (
            np.sqrt((y - cells.y.take(at)) ** 2 + (x - cells.x.take(at)) ** 2)
            for at in (first, second)
        )
        swap = far < near
        return _Nearest(
            cells,
            np.where(swap, second, first),
            np.minimum(near, far),
            np.where(swap, first, second),
            np.maximum(near, far),
        )

    def cells(
        self,
        name: str,
        spacing: int,
        jitter: float,
        i: npt.NDArray[np.int64],
        j: npt.NDArray[np.int64],
    ) -> _Cells:
        """The cells in rows `i` and columns `j` of a grid with cells of `spacing` pixels."""
        bits = hash(key(self.seed, name), i[:, None], j)
        margin = 0.5 - jitter / 2
        y = (
            i[:, None] + (margin + jitter * again(bits, 1).astype(np.float64))
        ) * spacing - self.row
        x = (j + (margin + jitter * again(bits, 2).astype(np.float64))) * spacing - self.col
        rows, cols = np.broadcast_arrays(i[:, None], j)
        return _Cells(
            bits.ravel(),
            rows.ravel(),
            cols.ravel(),
            y.astype(np.float32).ravel(),
            x.astype(np.float32).ravel(),
        )

    # Layers of material.

    def lay(
        self,
        where: Mask,
        truth: int | None,
        below: str | npt.NDArray[np.uint8],
        above: str | npt.NDArray[np.uint8],
        cover: float | Floats,
        gain: float | Floats = 1.0,
    ) -> None:
        """Put material where `where`: `cover` is the share of `above`, the rest shows `below`."""
        if truth is not None:
            np.copyto(self.truth, np.uint8(truth), where=where)
        for layer, material in ((self.below, below), (self.above, above)):
            value = np.uint8(INDEX[material]) if isinstance(material, str) else material
            np.copyto(layer, value, where=where)
        np.copyto(self.cover, np.asarray(cover, np.float32), where=where)
        np.copyto(self.gain, np.asarray(gain, np.float32), where=where)


def _interpolate(coarse: Floats, step: int) -> Floats:
    """`(n + 1, m + 1)` knots -> `(n · step, m · step)` values, linear between."""
    n, m = coarse.shape[0] - 1, coarse.shape[1] - 1
    shares = [t / step for t in range(step)]
    wide = np.stack([coarse[:, :-1] * (1 - t) + coarse[:, 1:] * t for t in shares], 2).reshape(
        n + 1, m * step
    )
    full = np.empty((n, step, m * step), np.float32)
    for t, share in enumerate(shares):
        np.add(wide[:-1] * (1 - share), wide[1:] * share, out=full[:, t])
    return full.reshape(n * step, m * step)
