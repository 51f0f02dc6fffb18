"""Pixels are counted in whole numbers that mean the same wherever a chip begins."""

from __future__ import annotations

import numpy as np
import xarray as xr

from segmentation.relief.quantum import LARGEST, Quantum, choose_quanta, quantise


def chip_of(
    pixels: np.ndarray, units: str = "dn", scale: float = 1.0, offset: float = 0.0
) -> xr.Dataset:
    valid = np.isfinite(pixels).all(0)
    return xr.Dataset(
        {"pixels": (("band", "y", "x"), pixels), "valid": (("y", "x"), valid)},
        coords={
            "band": [f"b{n}" for n in range(len(pixels))],
            **{
                name: ("band", [value] * len(pixels))
                for name, value in (("scale", scale), ("offset", offset), ("units", units))
            },
        },
    )


def test_reflectance_counts_in_ten_thousandths_however_it_is_stored() -> None:
    stored = np.arange(20_000, dtype=np.uint16).reshape(1, 100, 200)
    for offset in (0.0, -0.1):
        chip = chip_of(stored, "reflectance", 1e-4, offset)
        counts = quantise(chip, choose_quanta(chip))
        np.testing.assert_array_equal(counts, stored.astype(int) + round(offset * 1e4))
    chip = chip_of((stored * 1e-4).astype(np.float32), "reflectance")
    np.testing.assert_array_equal(quantise(chip, choose_quanta(chip)), stored)


def test_whole_digital_numbers_stay_as_they_are() -> None:
    for kind in (np.uint8, np.int16, np.uint16):
        pixels = np.array([[[0, 1, 255, 7]]], kind)
        chip = chip_of(pixels, scale=0.00341802, offset=149.0)
        quanta = choose_quanta(chip)
        np.testing.assert_array_equal(quantise(chip, quanta), pixels)
        np.testing.assert_allclose(quanta[0].restore(np.array([255.0])), 255 * 0.00341802 + 149)


def test_other_numbers_are_counted_finely_enough_and_in_powers_of_two() -> None:
    random = np.random.default_rng(2)
    for mean, deviation in ((0, 1e-3), (5000, 3.0), (1e6, 1e5)):
        pixels = random.normal(mean, deviation, (1, 64, 64))
        chip = chip_of(pixels)
        (quantum,) = choose_quanta(chip)
        assert deviation / 2500 < quantum.step < deviation / 900
        assert np.log2(quantum.step) % 1 == 0
        restored = quantum.restore(quantise(chip, [quantum]))
        assert np.abs(restored - pixels).max() <= quantum.step / 2


def test_what_lies_beyond_is_cut_off_and_what_is_not_valid_is_nothing() -> None:
    chip = chip_of(np.array([[[1e12, -1e12, np.nan, 3]]]))
    np.testing.assert_array_equal(quantise(chip, [Quantum()]), [[[LARGEST, -LARGEST, 0, 3]]])


def test_a_constant_band_and_large_whole_numbers_have_a_count() -> None:
    same = chip_of(np.full((1, 4, 4), 2.5))
    assert choose_quanta(same)[0].step == 1
    heights = chip_of(np.array([[[2**30, 2**30 + 4096, 2**30 + 8192]]]))
    (quantum,) = choose_quanta(heights)
    assert np.unique(quantise(heights, [quantum])).size == 3
