"""Thresholds: scikit-image's for the same values, and classes between them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from pydantic import ValidationError
from skimage import filters

from segmentation.classical.histogram_thresholds import Threshold
from segmentation.errors import InputError
from segmentation.registry import segmenter_class
from segmentation.segmenter import predict
from segmentation.spectral.indices import compute
from tests.chance import SEED
from tests.segmentation.chips import make_chip

BINARY = ("otsu", "li", "yen", "triangle", "minimum")


def two_peaks() -> np.ndarray:
    rng = np.random.default_rng(SEED)
    return rng.normal(rng.choice([0.2, 0.6], (1, 90, 70), p=[0.7, 0.3]), 0.05).astype(np.float32)


@pytest.mark.parametrize("method", BINARY)
def test_a_threshold_is_scikit_images_for_the_whole_raster(method: str) -> None:
    band = two_peaks()
    fitted = Threshold(index="band_1", method=method).fit(make_chip(band, ["band_1"]))
    oracle = getattr(filters, f"threshold_{method}")(band[0].astype(np.float64))
    assert fitted.fitted is not None
    assert fitted.fitted.thresholds == (oracle,)
    labels = fitted(make_chip(band, ["band_1"])).labels
    assert np.array_equal(labels == 2, band[0].astype(np.float64) > oracle)


@pytest.mark.parametrize("classes", [2, 3, 4, 5])
def test_multi_otsu_is_scikit_images_for_the_whole_raster(classes: int) -> None:
    drawn = np.random.default_rng(SEED).gamma(2, 0.1, (1, 60, 80)).astype(np.float32)
    band, exact, units = drawn, drawn[0].astype(np.float64), "reflectance"
    if classes == 5:  # scikit-image tries all four thresholds, which takes seconds of 256
        band = (drawn / drawn.max() * 63).astype(np.uint8)
        exact, units = band[0], "dn"
    chip = make_chip(band, ["band_1"], units=units)
    fitted = Threshold(index="band_1", method="multi-otsu", classes=classes).fit(chip)
    oracle = filters.threshold_multiotsu(exact, classes)
    assert fitted.fitted is not None
    assert fitted.fitted.thresholds == tuple(oracle)
    assert np.array_equal(fitted(chip).labels, 1 + np.digitize(exact, oracle, right=True))


@pytest.mark.parametrize("method", [*BINARY, "multi-otsu"])
def test_eight_bits_are_counted_number_by_number(shared_data: Path, method: str) -> None:
    """Near infrared of Olinda, Landsat 7, and of an aerial image."""
    for name, at in (
        ("landsat7_olinda/L7_ETMs.tif", 4),
        ("naip_nd_multiyear/m_4709963_se_14_1_20200831.tif", 4),
    ):
        with rasterio.open(shared_data / name) as source:
            band = source.read(at)[:700, :700]
        chip = make_chip(band[None], ["nir"], units="dn")
        oracle = getattr(filters, f"threshold_{method.replace('-', '')}")(band)
        fitted = Threshold(index="nir", method=method).fit(chip)
        assert fitted.fitted is not None
        assert fitted.fitted.thresholds == tuple(np.atleast_1d(oracle))
        expected = 1 + sum((band > cut).astype(np.uint8) for cut in np.atleast_1d(oracle))
        assert np.array_equal(fitted(chip).labels, expected)


def test_an_index_is_parted_where_it_is_defined_and_lowest_where_it_is_not() -> None:
    red, nir = np.full((2, 9, 9), 0.2, np.float32)
    nir[:, 5:] = 0.6
    red[0, 0] = nir[0, 0] = 0
    valid = np.ones((9, 9), bool)
    valid[8] = False
    chip = make_chip([red, nir], ["red", "nir"], valid=valid)
    fitted = Threshold(method="li").fit(chip)
    ndvi = compute("NDVI", chip)
    (labels, confidence, _), *_ = predict(fitted, [chip])
    assert np.isnan(ndvi[0, 0])
    assert labels[0, 0] == 1
    assert confidence is not None
    assert confidence[0, 0] == 0
    assert np.all(labels[:8, 5:] == 2)
    assert not labels[8].any()


def test_given_thresholds_make_classes_with_given_names_and_colours() -> None:
    chip = make_chip([[[0.0, 0.2, 0.20001, 0.5, 0.9]]], ["nir"])
    asked = Threshold(
        index="nir",
        method="values",
        thresholds="0.2, 0.5",
        names="Dark,Grey,Bright",
        colours="000000,#808080,FFFFFF",
    )
    assert asked.fit(chip)(chip).labels.tolist() == [[1, 1, 2, 2, 3]]
    assert asked.legend.rows == (
        (1, "Dark", "#000000"),
        (2, "Grey", "#808080"),
        (3, "Bright", "#ffffff"),
    )
    assert asked.fit(chip).fit_summary == "nir: Grey beyond 0.2, Bright beyond 0.5"
    listed = {"kind": "threshold", "index": "nir", "method": "values", "thresholds": [0.2, 0.5]}
    assert Threshold.model_validate(listed).thresholds == "0.2, 0.5"
    assert Threshold.model_validate({**listed, "thresholds": 0.2}).thresholds == "0.2"


def test_confidence_grows_from_the_threshold_to_the_mean_of_the_class() -> None:
    chip = make_chip([[[0.0, 0.2, 0.3, 0.55, 0.7, 0.85]]], ["nir"])
    fitted = Threshold(index="nir", method="values", thresholds="0.4").fit(chip)
    assert fitted.fitted is not None
    below, above = fitted.fitted.means
    assert below == pytest.approx(0.5 / 3)
    assert above == pytest.approx(0.7)
    confidence = fitted(chip).confidence
    assert confidence is not None
    assert confidence[0, [0, 2, 5]].tolist() == [100, 42, 100]


def test_a_constant_scene_is_all_of_the_lowest_class() -> None:
    chip = make_chip(np.full((1, 9, 9), 0.3, np.float32), ["nir"])
    for method in BINARY:
        assert np.all(Threshold(index="nir", method=method).fit(chip)(chip).labels == 1)
    with pytest.raises(InputError, match="nir has fewer different values than 3 classes; set"):
        Threshold(index="nir", method="multi-otsu").fit(chip)


def test_one_peak_has_no_minimum() -> None:
    band = np.repeat(np.arange(64, dtype=np.uint8), np.arange(64, 0, -1))[None, None]
    with pytest.raises(InputError, match="has no two peaks with a valley between them; choose"):
        Threshold(index="nir", method="minimum").fit(make_chip(band, ["nir"]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"method": "values"}, "takes 1 to 19 thresholds, not 0"),
        ({"method": "values", "thresholds": "0.5,0.2"}, "must rise from one to the next"),
        ({"method": "values", "thresholds": "nan"}, "are no numbers"),
        ({"method": "values", "thresholds": "low"}, "are no numbers"),
        ({"thresholds": "0.2"}, "are for method=values, and otsu finds its own"),
        ({"names": "One"}, "names has 1 entries for 2 classes"),
        ({"names": "One,One"}, "says a name twice"),
        ({"colours": "red,blue"}, "red is no colour"),
        ({"method": "multi-otsu", "classes": 4, "names": "A,B,C"}, "3 entries for 4 classes"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(
    wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        Threshold.model_validate({"kind": "threshold", **wrong})


def test_classes_are_called_as_suits_the_index() -> None:
    def names(**settings: Any) -> list[str]:
        return [one.name for one in Threshold(**settings).legend.each()]

    assert names() == ["Not vegetation", "Vegetation"]
    assert names(index="MNDWI", method="yen") == ["Land", "Water"]
    assert names(index="vv") == ["Low", "High"]
    assert names(method="multi-otsu") == ["Level 1", "Level 2", "Level 3"]


def test_a_scene_without_the_band_is_told_so_in_one_line() -> None:
    assert Threshold().bands(["blue", "nir08", "red"]) == ("nir08", "red")
    with pytest.raises(InputError, match="nvdi is neither an index nor a band; there are red, nir"):
        Threshold(index="nvdi").bands(["red", "nir"])
    with pytest.raises(InputError, match="MNDWI needs green and swir16"):
        Threshold(index="MNDWI").bands(["red", "nir"])


def test_it_is_registered_keeps_its_fit_and_travels_as_json() -> None:
    chip = make_chip(two_peaks(), ["nir"])
    fitted = Threshold(index="nir", method="triangle").fit(chip)
    assert segmenter_class("threshold") is Threshold
    assert Threshold.model_validate_json(fitted.model_dump_json()) == fitted
    assert fitted.fit(make_chip(two_peaks() * 2, ["nir"])) == fitted
    assert fitted.identity() != Threshold(index="nir", method="triangle").identity()
