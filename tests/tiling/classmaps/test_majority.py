"""The class of each object: that of a slow count, whatever the tiles and their order."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import rasterio

from tests.tiling.rasters import write
from tests.tiling.regions.drawn import MAPS
from tiling.classmaps import majority
from tiling.classmaps.majority import Ballot, add_scores, write_majority
from tiling.io.spill import Map

VALUES = (5, 2, 9)


def draw(seed: int, *, scored: bool) -> dict[str, np.ndarray]:
    """Objects of stripes and blocks, some pixels in none, and classes with holes in them."""
    rng = np.random.default_rng(seed)
    shape = int(rng.integers(1, 24)), int(rng.integers(1, 24))
    step = int(rng.integers(1, 9))
    rows, cols = np.indices(shape) // step
    objects = (1 + rows * (shape[1] // step + 1) + cols) * (rng.random(shape) > 0.1)
    drawn = {
        "objects": np.unique(objects, return_inverse=True)[1].reshape(shape).astype(np.uint32),
        "classes": rng.choice([0, *VALUES], shape).astype(np.uint8),
        "confidence": rng.integers(0, 101, shape, np.uint8),
    }
    if drawn["objects"].min():
        drawn["objects"][0, 0] = 0
    if scored:
        scores = rng.integers(0, 101, (len(VALUES), *shape), np.uint8)
        scores[:, rng.random(shape) < 0.2] = 255
        drawn["scores"] = scores
    return drawn


def count_slowly(drawn: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Labels and confidence by a loop over pixels, in fractions."""
    labels, sure = drawn["classes"].copy(), drawn["confidence"].copy()
    for number in range(1, int(drawn["objects"].max()) + 1):
        pixels = list(zip(*np.nonzero((drawn["objects"] == number) & (labels > 0)), strict=True))
        sums = dict.fromkeys(VALUES, 0)
        for at in pixels:
            if "scores" not in drawn:
                sums[int(drawn["classes"][at])] += 1
                continue
            for value, percent in zip(VALUES, drawn["scores"][:, *at], strict=True):
                sums[value] += 0 if percent == 255 else int(percent)
        total = sum(sums.values())
        if not total:
            continue
        best = max(VALUES, key=lambda value: (sums[value], -VALUES.index(value)))
        share = int(Fraction(100 * sums[best], total) + Fraction(1, 2))
        for at in pixels:
            labels[at], sure[at] = best, share
    return labels, sure


@pytest.mark.parametrize("scored", [False, True])
@pytest.mark.parametrize("map", MAPS)
@pytest.mark.parametrize("seed", range(4))
def test_each_object_has_the_class_that_its_scores_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, map: Map, scored: bool
) -> None:
    drawn = draw(seed, scored=scored)
    files = {name: Path(write(tmp_path / f"{name}.tif", pixels)) for name, pixels in drawn.items()}
    ballot = Ballot(
        files["objects"], files["classes"], VALUES, files.get("scores"), files["confidence"]
    )
    labels, sure = count_slowly(drawn)
    for tile in (6 + seed, 32):
        monkeypatch.setattr(majority, "TILE", tile)
        n = int(drawn["objects"].max())
        sums = add_scores(ballot, n, tmp_path / "sums.npy", map=map)
        write_majority(ballot, sums, tmp_path / "labels.tif", tmp_path / "sure.tif", map=map)
        assert np.array_equal(read(tmp_path / "labels.tif"), labels)
        assert np.array_equal(read(tmp_path / "sure.tif")[labels > 0], sure[labels > 0])


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as raster:
        return np.asarray(raster.read(1))
