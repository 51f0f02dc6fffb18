from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmentation.errors import InputError
from segmentation.forests.pixel_features import (
    LARGEST_WINDOW,
    Feature,
    candidates,
    compute,
    margin_of,
)
from segmentation.models.card import BandCard
from tests.segmentation.chips import make_chip

BANDS = ("red", "nir")
CARDS = tuple(BandCard(name=name, units="dn", mean=500, std=150) for name in BANDS)
ALL = candidates(BANDS, (3, 9))


def drawn(
    height: int, width: int, seed: int = 0
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    return rng.integers(1, 1000, (2, height, width)).astype(np.uint16), rng.random(
        (height, width)
    ) > 0.2


def features_of(
    pixels: npt.ArrayLike, valid: npt.NDArray[np.bool_], *features: Feature | str
) -> npt.NDArray[np.float32]:
    named = [
        Feature.from_name(feature) if isinstance(feature, str) else feature for feature in features
    ]
    return compute(make_chip(np.asarray(pixels), BANDS, units="dn", valid=valid), named, CARDS)


@pytest.mark.parametrize("feature", candidates(("red", "b 1", "t2.nir"), (3, 63)), ids=str)
def test_a_name_says_all_of_a_feature(feature: Feature) -> None:
    assert Feature.from_name(str(feature)) == feature


@pytest.mark.parametrize(
    "name",
    [
        "",
        "red/",
        "red/nir/blue",
        "mean(red)",
        "mean(red, 4)",
        "mean(red, 65)",
        "median(red, 3)",
        "mean(red, 0)",
    ],
)
def test_what_is_no_feature_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="is no feature"):
        Feature.from_name(name)


def test_ratios_stay_within_a_source_and_leave_heat_out() -> None:
    tried = candidates(("red", "nir", "leaf_on.red", "leaf_on.nir", "leaf_on.lwir11"), ())
    assert [str(one) for one in tried] == [
        "red", "nir", "leaf_on.red", "leaf_on.nir", "leaf_on.lwir11", "red/nir",
        "leaf_on.red/leaf_on.nir",
    ]  # fmt: skip


def test_many_bands_make_no_flood_of_ratios() -> None:
    bands = [f"b{number}" for number in range(200)]
    pairs = {one.bands for one in candidates(bands, ()) if len(one.bands) == 2}
    assert len(pairs) == 28
    assert ("b0", "b199") in pairs


def test_they_are_what_their_names_say() -> None:
    """Against sums over each window in float64; levels are 1/128 of a standard deviation apart."""
    (pixels, valid), wide = drawn(20, 23), 9
    found = features_of(
        pixels, valid, "nir", "red/nir", f"mean(nir, {wide})", f"spread(nir, {wide})"
    )
    red, nir = pixels.astype(float)
    step = 8 * 150 / 1023
    for row, col in np.argwhere(valid):
        rows, cols = (slice(max(0, at - wide // 2), at + wide // 2 + 1) for at in (row, col))
        inside = nir[rows, cols][valid[rows, cols]]
        expected = [
            nir[row, col],
            (red - nir)[row, col] / (red + nir)[row, col],
            inside.mean(),
            inside.std(),
        ]
        assert np.allclose(found[:, row, col], expected, rtol=1e-6, atol=[0, 1e-6, step / 2, step])


@given(st.data(), st.integers(0, 99))
def test_a_pixel_s_features_do_not_depend_on_the_cut(data: st.DataObject, seed: int) -> None:
    height, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    pixels, valid = drawn(height, width, seed)
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    bottom, right = data.draw(st.integers(top + 1, height)), data.draw(st.integers(left + 1, width))
    whole = features_of(pixels, valid, *ALL)
    margin = margin_of(ALL)
    above, before = max(0, top - margin), max(0, left - margin)
    around = (slice(above, bottom + margin), slice(before, right + margin))
    cut = features_of(pixels[:, *around], valid[around], *ALL)
    inner = valid[top:bottom, left:right]
    here = cut[:, top - above : bottom - above, left - before : right - before][:, inner]
    assert here.tobytes() == whole[:, top:bottom, left:right][:, inner].tobytes()


@given(st.integers(0, 99))
def test_invalid_pixels_have_no_say(seed: int) -> None:
    pixels, valid = drawn(15, 15, seed)
    other = np.where(valid, pixels, 65535 - pixels)
    assert np.array_equal(
        features_of(pixels, valid, *ALL)[:, valid], features_of(other, valid, *ALL)[:, valid]
    )


def test_beyond_the_raster_is_as_invalid() -> None:
    pixels, valid = drawn(12, 12)
    wider = np.zeros((2, 30, 30), np.uint16)
    there = np.zeros((30, 30), bool)
    wider[:, 9:21, 9:21], there[9:21, 9:21] = pixels, valid
    inside = features_of(wider, there, *ALL)[:, 9:21, 9:21]
    assert np.array_equal(inside[:, valid], features_of(pixels, valid, *ALL)[:, valid])


def test_the_largest_window_of_the_brightest_pixels_does_not_overflow() -> None:
    side = LARGEST_WINDOW
    pixels = np.full((2, side, side), 60_000, np.uint16)
    mean, spread = features_of(
        pixels, np.ones((side, side), bool), f"mean(red, {side})", f"spread(red, {side})"
    )
    assert np.allclose(mean, 500 + 4 * 150)  # the outermost level
    assert not spread.any()


def test_no_light_at_all_is_no_ratio() -> None:
    (ratio,) = features_of(np.zeros((2, 3, 3)), np.ones((3, 3), bool), "red/nir")
    assert not ratio.any()


def test_reflectance_is_not_taken_for_digital_numbers() -> None:
    with pytest.raises(InputError, match="are reflectance, and digital numbers are wanted"):
        compute(make_chip(np.ones((2, 3, 3)), BANDS), ALL, CARDS)
