"""Thresholds that follow the surroundings: scikit-image's inside, what is there at the edges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from pydantic import ValidationError
from skimage.filters import threshold_local

from segmentation.classical.adaptive import Adaptive
from segmentation.errors import InputError
from segmentation.registry import segmenter_class
from segmentation.segmenter import predict
from segmentation.spectral.indices import compute
from tests.chance import SEED
from tests.segmentation.chips import make_chip

METHODS = ("mean", "median", "gaussian")


def noise(height: int = 70, width: int = 90) -> np.ndarray:
    slope = np.linspace(0, 2, width)
    return np.random.default_rng(SEED).normal(slope, 0.2, (height, width)).astype(np.float32)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("window", [3, 11, 21])
def test_inside_a_threshold_is_scikit_images(method: Any, window: int) -> None:
    band = noise()
    asked = Adaptive(index="vv", method=method, window=window, offset=0.05)
    oracle = threshold_local(band.astype(np.float64), window, method, offset=0.05)
    margin = asked.footprint.margin
    inside = np.s_[margin:-margin, margin:-margin]
    found = asked.threshold(band.astype(np.float64))
    np.testing.assert_allclose(found[inside], oracle[inside], rtol=0, atol=1e-12)
    labels = asked(make_chip(band[None], ["vv"])).labels
    clear = np.abs(band - oracle) > 1e-9
    clear[:margin] = clear[-margin:] = clear[:, :margin] = clear[:, -margin:] = False
    assert clear.any()
    assert np.array_equal((labels == 2)[clear], (band > oracle)[clear])


@pytest.mark.parametrize("method", METHODS)
def test_a_real_index_is_parted_as_scikit_image_parts_it(method: Any, shared_data: Path) -> None:
    """Olinda, Landsat 7."""
    with rasterio.open(shared_data / "landsat7_olinda" / "L7_ETMs.tif") as source:
        chip = make_chip(source.read([3, 4])[:, :150, :150], ["red", "nir"], units="dn")
    ndvi = compute("NDVI", chip).astype(np.float64)
    asked = Adaptive(method=method, window=15)
    oracle = threshold_local(ndvi, 15, method)
    margin = asked.footprint.margin
    inside = np.s_[margin:-margin, margin:-margin]
    clear = np.abs(ndvi - oracle)[inside] > 1e-9
    labels = asked(chip).labels[inside]
    assert np.array_equal((labels == 2)[clear], (ndvi > oracle)[inside][clear])


def test_what_is_not_there_is_left_out() -> None:
    band = noise(40, 50)
    valid = np.random.default_rng(SEED + 1).random(band.shape) > 0.3
    chip = make_chip(band[None], ["vv"], valid=valid)
    doubles = np.where(valid, band, np.nan).astype(np.float64)
    padded = np.pad(doubles, 3, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (7, 7)).reshape(*band.shape, -1)
    for method, oracle in (("mean", np.nanmean), ("median", np.nanmedian)):
        asked = Adaptive(index="vv", method=method, window=7)
        expected = oracle(windows, axis=-1)
        np.testing.assert_allclose(asked.threshold(doubles)[valid], expected[valid], atol=1e-12)
        (prediction,) = predict(asked, [chip])
        clear = valid & (np.abs(band - expected) > 1e-9)
        clear[:3] = clear[-3:] = clear[:, :3] = clear[:, -3:] = False  # a margin is nobody's
        assert np.array_equal((prediction.labels == 2)[clear], (band > expected)[clear])
    constant = np.where(valid, 0.25, np.nan)
    gaussian = Adaptive(index="vv", method="gaussian", window=7).threshold(constant)
    np.testing.assert_allclose(gaussian[valid], 0.25, rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_a_chip_with_its_margin_says_what_the_whole_says(method: Any) -> None:
    band = noise(80, 100)
    valid = np.random.default_rng(SEED).random(band.shape) > 0.1
    chip = make_chip(band[None], ["vv"], valid=valid)
    asked = Adaptive(index="vv", method=method, window=9)
    doubles = np.where(valid, band, np.nan).astype(np.float64)
    whole, margin = asked.threshold(doubles), asked.footprint.margin
    rng = np.random.default_rng(SEED)
    for _ in range(12):
        top, left = int(rng.integers(margin, 50)), int(rng.integers(margin, 60))
        high, wide = (int(rng.integers(1, 18)) for _ in range(2))
        outer = np.s_[top - margin : top + high + margin, left - margin : left + wide + margin]
        core = np.s_[margin : margin + high, margin : margin + wide]
        piece = asked.threshold(doubles[outer])[core]
        there = valid[outer][core]
        assert np.array_equal(piece[there], whole[outer][core][there])
        labels = asked(chip.isel(y=outer[0], x=outer[1])).labels[core]
        assert np.array_equal(labels, asked(chip).labels[outer][core])


def test_an_undefined_index_is_below_and_a_plain_has_nothing_above() -> None:
    pixels = np.full((2, 9, 9), 0.2, np.float32)
    pixels[:, 4, 4] = 0
    assert np.all(Adaptive(window=3)(make_chip(pixels, ["red", "nir"])).labels == 1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"window": 10}, "window=10 has no middle; take 11"),
        ({"window": 61, "method": "median"}, "window=61 is wide for a median"),
        ({"names": "A"}, "names has 1 entries for 2 classes"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Adaptive.model_validate({"kind": "adaptive", **wrong})


def test_it_is_registered_and_asks_for_the_bands_of_its_index() -> None:
    assert segmenter_class("adaptive") is Adaptive
    assert Adaptive(window=31).footprint.margin == 15
    assert Adaptive(window=31, method="gaussian").footprint.margin == 20
    assert Adaptive().bands(["red", "nir"]) == ("nir", "red")
    with pytest.raises(InputError, match="NDWI needs green and nir"):
        Adaptive(index="NDWI").bands(["red"])
