"""What a network sees of a chip, by each normalisation a card can say: numpy on the same pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.chip import values
from segmentation.errors import InputError
from segmentation.inference.network import Network
from segmentation.inference.transfer import (
    Standardiser,
    measure_ranges,
    normalise,
    pack_chips,
    statistics,
)
from segmentation.models.processing import Preprocessing
from tests.segmentation.chips import make_chip
from tests.segmentation.small_networks import BANDS, a_bundle, a_card, scene_of

MEAN, STD = (np.reshape(column, (-1, 1, 1)) for column in ((0.09, 0.08, 0.3), (0.03, 0.05, 0.1)))


def a_card_with(**changes: Any) -> Any:
    return a_card(preprocessing=Preprocessing(**changes), support=None)


def test_factor_and_offset_come_before_the_mean() -> None:
    chip = scene_of(9, 7)
    seen = normalise(chip, a_card_with(factor=10_000 / 3000, offset=-0.5))
    expected = (values(chip).values * (10_000 / 3000) - 0.5 - MEAN) / STD
    np.testing.assert_allclose(seen, np.nan_to_num(expected), rtol=1e-4, atol=1e-5)


@given(st.lists(st.floats(-9, 9, width=32), min_size=3, max_size=3) | st.just([4.0]))
def test_what_is_not_valid_is_the_padding(padding: list[float]) -> None:
    chip = scene_of(8, 8)
    seen = normalise(chip, a_card_with(padding=tuple(padding)))
    gaps = ~chip["valid"].values
    assert gaps.any()
    for band, number in zip(seen, np.broadcast_to(padding, len(BANDS)), strict=True):
        assert np.all(band[gaps] == number)
    plain = normalise(chip, a_card())
    assert np.array_equal(seen[:, ~gaps], plain[:, ~gaps])


@given(st.integers(0, 9), st.sampled_from(["uint16", "float32", "int16"]))
@settings(max_examples=20)
def test_per_chip_is_numpy_on_the_chip_s_valid_pixels(seed: int, dtype: str) -> None:
    scene = scene_of(12, 17, seed)
    chip = scene.assign(pixels=scene["pixels"].astype(dtype))
    known = values(chip).values.astype(np.float64)
    standard = (known - np.nanmean(known, (1, 2), keepdims=True)) / np.nanstd(
        known, (1, 2), keepdims=True
    )
    seen = normalise(chip, a_card_with(normalisation="per-chip"))
    np.testing.assert_allclose(seen, np.nan_to_num((standard - MEAN) / STD), rtol=1e-3, atol=1e-3)
    # By the statistics alone, to the last digits that double precision has.
    found = statistics(chip)
    stored = chip["pixels"].values[:, chip["valid"].values].astype(np.float64)
    np.testing.assert_allclose(found[0], stored.mean(1) * 1e-4, rtol=1e-12)
    np.testing.assert_allclose(found[1], stored.std(1) * 1e-4, rtol=1e-12)


def test_per_chip_leaves_what_is_alike_everywhere_finite() -> None:
    chip = make_chip(np.full((3, 4, 4), 7, np.uint8), BANDS, scale=1 / 255)
    seen = normalise(chip, a_card_with(normalisation="per-chip"))
    np.testing.assert_allclose(seen, np.broadcast_to(-MEAN / STD, seen.shape), rtol=1e-4)


def test_a_chip_is_normalised_alike_whatever_comes_in_its_batch() -> None:
    """Each by its own pixels: a second chip in the call moves nothing."""
    card, chips = a_card_with(normalisation="per-chip"), [scene_of(8, 8, seed) for seed in (1, 2)]
    batch = {
        name: torch.from_numpy(np.stack(them)) for name, them in pack_chips(chips, card).items()
    }
    for seen, chip in zip(Standardiser(card, "cpu")(batch), chips, strict=True):
        assert np.array_equal(seen.numpy(), normalise(chip, card))


@pytest.mark.parametrize(
    ("said", "percentiles"),
    [
        ({"normalisation": "min-max"}, (0, 100)),
        ({"normalisation": "percentiles"}, (2, 98)),
        ({"normalisation": "percentiles", "percentiles": (10, 60)}, (10, 60)),
    ],
)
def test_ranges_of_a_scene_are_numpy_on_the_sample(
    said: dict[str, Any], percentiles: tuple[float, float]
) -> None:
    card, sample, chip = a_card_with(**said), scene_of(30, 20, 1), scene_of(9, 9, 2)
    ranges = measure_ranges(sample, card)
    known = values(sample).values[:, sample["valid"].values].astype(np.float64)
    low, high = np.percentile(known, percentiles, axis=1)
    assert ranges == tuple(zip(low.tolist(), high.tolist(), strict=True))

    stretched = (values(chip).values - low[:, None, None]) / (high - low)[:, None, None]
    expected = np.nan_to_num((stretched.clip(0, 1) - MEAN) / STD)
    np.testing.assert_allclose(normalise(chip, card, ranges), expected, rtol=1e-3, atol=1e-3)


def test_a_network_is_fitted_to_its_scene_once(tmp_path: Path) -> None:
    stretch = Preprocessing(normalisation="min-max")
    network = Network(bundle=str(a_bundle(tmp_path / "one", preprocessing=stretch).folder))
    plain = Network(bundle=str(a_bundle(tmp_path / "two").folder))
    assert network.looks_at_sample
    assert not plain.looks_at_sample
    chip, sample = scene_of(64, 64), scene_of(40, 40, 5)
    with pytest.raises(InputError, match="was not fitted to one"):
        network(chip)
    fitted = network.fit(sample)
    assert len(fitted.ranges) == len(BANDS)
    assert fitted.identity() != network.fit(scene_of(40, 40, 6)).identity()
    assert Network.model_validate(fitted.model_dump(mode="json")) == fitted
    assert fitted(chip).labels.any()
    # A network that needs no ranges is recorded as before there were any.
    assert "ranges" not in plain.fit(sample).model_dump()


def test_a_sample_without_a_valid_pixel_is_refused() -> None:
    nothing: xr.Dataset = make_chip(
        np.ones((3, 4, 4), np.uint8), BANDS, scale=1 / 255, valid=np.zeros((4, 4), bool)
    )
    with pytest.raises(InputError, match="no valid pixel"):
        measure_ranges(nothing, a_card_with(normalisation="min-max"))
