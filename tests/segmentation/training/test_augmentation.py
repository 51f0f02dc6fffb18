"""Augmentation: symmetries, scales and light."""

from __future__ import annotations

import numpy as np
import pytest

from segmentation.training.augmentation import (
    Augmentation,
    apply_symmetry,
    jitter_radiometry,
    resize,
    sample_crop_size,
)


def test_the_eight_symmetries_are_all_different_and_a_group() -> None:
    chip = np.arange(9).reshape(3, 3)
    images = {apply_symmetry(chip, symmetry).tobytes() for symmetry in range(8)}
    assert len(images) == 8
    for one in range(8):
        assert {
            apply_symmetry(apply_symmetry(chip, one), other).tobytes() for other in range(8)
        } == images


def test_bands_and_labels_turn_together() -> None:
    labels = np.arange(16).reshape(4, 4)
    pixels = np.stack((labels, 10 * labels))
    for symmetry in range(8):
        both = apply_symmetry(pixels, symmetry)
        assert np.array_equal(both[0], apply_symmetry(labels, symmetry))
        assert np.array_equal(both[1], 10 * both[0])


@pytest.mark.parametrize("length", [5, 8, 13])
def test_resizing_makes_no_new_value_and_is_symmetric(length: int) -> None:
    labels = np.random.default_rng(0).integers(0, 4, (8, 8))
    made = resize(labels, length)
    assert made.shape == (length, length)
    assert set(np.unique(made)) <= set(np.unique(labels))
    assert np.array_equal(resize(np.stack((labels, labels)), length), np.stack((made, made)))
    # Each pixel is the one whose area its centre lies in.
    row = int((2 + 0.5) * 8 / length)
    assert np.array_equal(
        made[2], labels[row][[int((n + 0.5) * 8 / length) for n in range(length)]]
    )


def test_the_same_length_is_left_alone() -> None:
    chip = np.random.default_rng(0).normal(size=(3, 8, 8))
    assert resize(chip, 8) is chip


def test_lengths_stay_within_the_scale() -> None:
    rng, augmentation = np.random.default_rng(0), Augmentation(scale=0.2)
    lengths = [sample_crop_size(100, augmentation, rng) for _ in range(500)]
    assert min(lengths) >= round(100 * np.exp(-0.2))
    assert max(lengths) <= round(100 * np.exp(0.2))
    assert len(set(lengths)) > 20
    assert sample_crop_size(100, Augmentation(scale=0), rng) == 100


def test_light_changes_each_band_by_one_gain_and_one_offset() -> None:
    rng = np.random.default_rng(0)
    pixels, valid = rng.normal(size=(4, 16, 16)).astype(np.float32), np.ones((16, 16), bool)
    seen = jitter_radiometry(pixels, valid, Augmentation(light=0.1), rng)
    for before, after in zip(pixels, seen, strict=True):
        gain, offset = np.polyfit(before.ravel(), after.ravel(), 1)
        assert np.allclose(after, gain * before + offset, atol=1e-5)
        assert not np.allclose(after, before)


def test_what_has_no_data_stays_0_in_any_light() -> None:
    rng = np.random.default_rng(0)
    valid = rng.random((16, 16)) < 0.5
    pixels = (rng.normal(size=(4, 16, 16)) * valid).astype(np.float32)
    seen = jitter_radiometry(pixels, valid, Augmentation(light=0.2, noise=0.5, lost_band=0.3), rng)
    assert not seen[:, ~valid].any()
    assert seen.dtype == np.float32


def test_no_augmentation_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.normal(size=(4, 8, 8)).astype(np.float32)
    assert np.array_equal(
        jitter_radiometry(pixels, np.ones((8, 8), bool), Augmentation(light=0, scale=0), rng),
        pixels,
    )


def test_a_lost_band_is_its_mean_throughout() -> None:
    rng = np.random.default_rng(1)
    pixels = rng.normal(size=(200, 4, 4)).astype(np.float32)
    seen = jitter_radiometry(
        pixels, np.ones((4, 4), bool), Augmentation(light=0, lost_band=0.25), rng
    )
    lost = ~seen.any(axis=(1, 2))
    assert 25 <= np.count_nonzero(lost) <= 75
    assert np.array_equal(seen[~lost], pixels[~lost])
