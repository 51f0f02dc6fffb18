"""Labelled pieces for tests: drawn, with classes that colour alone or only the surroundings tell
apart."""

from __future__ import annotations

import numpy as np

from segmentation.legend import LAND_COVER
from segmentation.training.samples import TEST, TRAIN, VALIDATION, Labelled, Samples

BANDS = ("red", "green", "nir")


def draw(height: int = 96, width: int = 96, seed: int = 0, *, test: bool = False) -> Labelled:
    """Three classes by colour with noise, in patches; half the columns train, then some validate,
    then some test."""
    rng = np.random.default_rng(seed)
    codes = (
        rng.integers(0, 3, (height // 8 + 1, width // 8 + 1))
        .repeat(8, 0)
        .repeat(8, 1)[:height, :width]
    )
    spectra = np.array([[300, 350, 150], [400, 500, 3000], [1500, 1600, 2000]])
    pixels = spectra[codes].transpose(2, 0, 1) * rng.normal(1, 0.2, (3, height, width))
    valid = rng.random((height, width)) > 0.02
    part = np.full((height, width), TRAIN, np.uint8)
    part[:, width // 2 :] = VALIDATION
    if test:
        part[:, 3 * width // 4 :] = TEST
    part[rng.random((height, width)) < 0.1] = 0
    labels = np.where(valid & (part > 0), np.array([1, 3, 5], np.uint8)[codes], 0)
    part[labels == 0] = 0
    return Labelled(
        np.where(valid, pixels, 0).astype(np.uint16),
        valid,
        labels.astype(np.uint8),
        part,
        (1e-4,) * 3,
        (0.0,) * 3,
    )


def a_samples(*pieces: Labelled) -> Samples:
    return Samples(
        pieces=pieces or (draw(),),
        bands=BANDS,
        units=("reflectance",) * 3,
        dtype="uint16",
        legend=LAND_COVER.subset(1, 3, 5),
        gsd=10,
        facts={"scenes": ["drawn"]},
    )
