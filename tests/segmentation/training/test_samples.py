"""Samples: what is counted, and what a window of them is."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segmentation.chip import reflectance
from segmentation.training.samples import PARTS, TEST, TRAIN, VALIDATION, Labelled
from tests.segmentation.labelled import a_samples, draw


def test_counts_are_of_one_part_in_the_legends_order() -> None:
    pieces = draw(70, 50, seed=1, test=True), draw(1100, 30, seed=2)
    samples = a_samples(*pieces)
    for part in (TRAIN, VALIDATION, TEST):
        expected = [
            sum(np.count_nonzero((p.labels == v) & (p.part == part)) for p in pieces)
            for v in (1, 3, 5)
        ]
        assert samples.counts(part).tolist() == expected
    assert sum(samples.counts(part).sum() for part in PARTS.values()) == sum(
        np.count_nonzero(p.part) for p in pieces
    )


def test_a_window_is_a_chip_of_the_same_pixels() -> None:
    piece = draw()
    chip = a_samples(piece).chip(piece, slice(3, 20), slice(5, 9))
    assert np.array_equal(chip["pixels"], piece.pixels[:, 3:20, 5:9])
    assert chip["units"].values.tolist() == ["reflectance"] * 3
    seen = reflectance(chip).values
    assert np.array_equal(np.isfinite(seen[0]), piece.valid[3:20, 5:9])
    assert np.nanmax(np.abs(seen - piece.pixels[:, 3:20, 5:9] * 1e-4)) == pytest.approx(0, abs=1e-6)


def test_arrays_in_files_travel_by_name(tmp_path: Path) -> None:
    """To other processes; what lies in memory travels whole, and so does a part of a file."""
    pixels = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.uint16, (3, 300, 200))
    pixels[:] = np.random.default_rng(0).integers(0, 999, pixels.shape)
    flat = np.arange(60_000).reshape(300, 200)
    mapped = np.lib.format.open_memmap(tmp_path / "b.npy", "w+", np.uint8, (600, 200))
    mapped[:] = 7
    piece = Labelled(
        pixels, flat % 3 > 0, mapped[300:], (flat % 4).astype(np.uint8), (1.0,) * 3, (0.0,) * 3, "s"
    )
    piece = replace(piece, ids=flat.astype(np.int32))
    sent = pickle.dumps(piece)
    assert len(sent) < pixels.nbytes + flat.size * 4
    there = pickle.loads(sent)
    assert isinstance(there.pixels, np.memmap)
    assert (there.scale, there.offset, there.scene) == (piece.scale, piece.offset, "s")
    for name in ("pixels", "valid", "labels", "part", "ids"):
        assert np.array_equal(getattr(there, name), getattr(piece, name))
    assert not there.pixels.flags.writeable
