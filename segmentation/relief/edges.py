"""The local half of Canny's method (1986, https://doi.org/10.1109/TPAMI.1986.4767851), of several
bands at once: smoothing, and thinning across edges.

Strength and direction are the greater eigenvalue and its vector of Di Zenzo's tensor (1986,
https://doi.org/10.1016/0734-189X(86)90223-9). Each operation is one of + − × ÷ √ on numbers of a
pixel and its neighbours, which are rounded alike everywhere. The other half, hysteresis, has no
bounds: `tiling.regions.hysteresis`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from segmentation.relief.gradient import (
    HIGHEST,
    SOBEL,
    Flags,
    Heights,
    Values,
    smooth,
    structure_tensor,
)

Strengths = npt.NDArray[np.float64]


def edge_reach(rounds: int) -> int:
    """How many pixels away values may lie that decide whether a pixel is on an edge."""
    return rounds + 2


def thin_edges(values: Values, valid: Flags, rounds: int) -> tuple[Heights, Heights]:
    """`(y, x) uint32` strength of the edge at each pixel, in sixteenths of a unit of the bands per
    pixel, and the same where it is greatest across the edge, 0 elsewhere."""
    tensor = structure_tensor(smooth(values, valid, rounds), valid)
    xx, xy, yy = (part.astype(np.float64) for part in tensor)
    root = np.sqrt((xx - yy) * (xx - yy) + 4.0 * xy * xy)
    strength = np.sqrt((xx + yy + root) / 2) / SOBEL
    strength[~valid] = 0
    # The eigenvector, from that of two expressions that is not close to 0 / 0.
    flat = xx >= yy
    right = np.where(flat, xx - yy + root, 2 * xy)
    down = np.where(flat, 2 * xy, yy - xx + root)
    before, after = _strengths_across(strength, right, down)
    ridge = (strength > before) & (strength >= after)
    heights = np.minimum(strength, HIGHEST).astype(np.uint32)
    return heights, np.where(ridge, heights, np.uint32(0))


def _strengths_across(
    strength: Strengths, right: Strengths, down: Strengths
) -> tuple[Strengths, Strengths]:
    """`(y, x)` strengths one step back and one step on in the direction of each pixel, between the
    two neighbours that it passes."""
    across, along = np.abs(right), np.abs(down)
    steep = along > across
    longer = np.maximum(across, along)
    share = np.divide(
        np.minimum(across, along), longer, out=np.zeros_like(across), where=longer > 0
    )
    falls = right * down > 0
    height, width = strength.shape
    padded = np.pad(strength, 1)

    def beside(rows: int, cols: int) -> Strengths:
        return padded[1 + rows : 1 + rows + height, 1 + cols : 1 + cols + width]

    def towards(sign: int) -> Strengths:
        straight = np.where(steep, beside(sign, 0), beside(0, sign))
        rising = np.where(steep, beside(sign, -sign), beside(-sign, sign))
        slanting = np.where(falls, beside(sign, sign), rising)
        return straight + share * (slanting - straight)

    return towards(-1), towards(1)
