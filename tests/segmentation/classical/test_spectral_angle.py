"""Classes by the angle between spectra: the formula on the whole raster, and what is too far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from pydantic import ValidationError

from segmentation.classical.clustering import KMeans
from segmentation.classical.spectral_angle import SpectralAngle
from segmentation.errors import InputError
from segmentation.registry import segmenter_class
from segmentation.segmenter import predict
from tests.chance import SEED
from tests.segmentation.chips import make_chip

GIVEN = "Water green=0.06 nir=0.02; Wet land green=0.1 nir=0.2; Crops green=0.08 nir=0.45"
SPECTRA = np.array([[0.06, 0.02], [0.1, 0.2], [0.08, 0.45]])


def map_angles(pixels: np.ndarray, spectra: np.ndarray) -> np.ndarray:
    """Kruse et al. (1993), equation 1, on a raster `(band, y, x)`."""
    lengths = np.linalg.norm(pixels, axis=0) * np.linalg.norm(spectra, axis=1)[:, None, None]
    return np.arccos(np.clip(np.einsum("sb,byx->syx", spectra, pixels) / lengths, -1, 1))


def test_every_pixel_has_the_class_at_the_least_angle() -> None:
    pixels = np.random.default_rng(SEED).uniform(0.01, 0.5, (2, 60, 70)).astype(np.float32)
    valid = np.random.default_rng(SEED + 1).random((60, 70)) > 0.1
    chip = make_chip(pixels, ["green", "nir"], valid=valid)
    fitted = SpectralAngle(spectra=GIVEN, angle=0.15).fit(chip)
    (prediction,) = predict(fitted, [chip])
    angles = map_angles(pixels.astype(np.float64), SPECTRA)
    expected = np.where(angles.min(0) <= 0.15, angles.argmin(0) + 1, 4)
    assert set(np.unique(expected)) == {1, 2, 3, 4}
    assert np.array_equal(prediction.labels, np.where(valid, expected, 0))


def test_a_real_scene_is_told_by_its_clusters(shared_data: Path) -> None:
    """Olinda, Landsat 7, six bands."""
    with rasterio.open(shared_data / "landsat7_olinda" / "L7_ETMs.tif") as source:
        chip = make_chip(source.read(), [f"band_{at}" for at in range(1, 7)], units="dn")
    fitted = SpectralAngle(k=5, angle=0.2).fit(chip)
    assert fitted.fitted is not None
    angles = map_angles(chip["pixels"].values.astype(np.float64), np.array(fitted.fitted.spectra))
    expected = np.where(angles.min(0) <= 0.2, angles.argmin(0) + 1, 6)
    assert np.array_equal(fitted(chip).labels, expected)
    clusters = KMeans(k=5).fit(chip)(chip).labels
    means = chip["pixels"].values[:, clusters == 1].mean(1)
    np.testing.assert_allclose(fitted.fitted.spectra[0], means, rtol=0.02)


def test_light_changes_no_class_and_confidence_falls_with_the_angle() -> None:
    turned = 0.05
    direction = np.array([np.cos(turned), np.sin(turned)])
    pixels = np.array([[1, 0.1, direction[0], 0], [0, 0, direction[1], 0]], np.float32)[:, None]
    chip = make_chip(pixels, ["a", "b"])
    fitted = SpectralAngle(spectra="X a=1 b=0; Y a=0 b=1", angle=0.1).fit(chip)
    labels, confidence, _ = fitted(chip)
    assert labels.tolist() == [[1, 1, 1, 3]]
    assert confidence is not None
    assert confidence[0, [0, 1, 3]].tolist() == [100, 100, 0]
    assert 49 <= confidence[0, 2] <= 50


def test_no_shape_of_a_chip_changes_a_bit() -> None:
    pixels = np.random.default_rng(SEED).uniform(0, 0.5, (2, 50, 300)).astype(np.float32)
    chip = make_chip(pixels, ["green", "nir"])
    fitted = SpectralAngle(spectra=GIVEN).fit(chip)
    whole = fitted(chip)
    for left in range(0, 300, 37):
        piece = fitted(chip.isel(x=slice(left, left + 37)))
        for one, other in ((piece.labels, whole.labels), (piece.confidence, whole.confidence)):
            assert one is not None
            assert other is not None
            assert np.array_equal(one, other[:, left : left + 37])


def test_spectra_are_written_as_a_mapping_too() -> None:
    mapping = {"Wet land": {"green": 0.1, "nir": 0.2}, "Crops": {"nir": 0.45, "green": 0.08}}
    asked = SpectralAngle.model_validate({"kind": "spectral-angle", "spectra": mapping})
    names = [one.name for one in asked.legend.each()]
    assert names == ["Wet land", "Crops", "Unclassified"]
    chip = make_chip(SPECTRA.T[:, None].astype(np.float32), ["green", "nir"])
    assert asked.fit(chip)(chip).labels.tolist() == [[3, 1, 2]]


@pytest.mark.parametrize(
    ("spectra", "message"),
    [
        ("Water", "is no name with the values of two bands"),
        ("green=1 nir=2", "is no name with"),
        ("A a=1 b=x", "has a value that is no number"),
        ("A a=1 b=nan", "is no name with"),
        ("A a=1 b=2; A a=2 b=1", "has A twice"),
        ("A a=1 b=2; B a=2 c=1", "B has a, c and the first a, b"),
        ("A a=0 b=0", "points nowhere"),
        ({"A": 3}, "maps each name to its bands"),
    ],
)
def test_spectra_that_do_not_fit_are_refused(spectra: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SpectralAngle.model_validate({"kind": "spectral-angle", "spectra": spectra})


def test_a_scene_without_the_bands_is_told_so_in_one_line() -> None:
    assert SpectralAngle(spectra=GIVEN).bands(["nir", "green", "red"]) == ("green", "nir")
    with pytest.raises(InputError, match="needs green, nir, the bands of its spectra; there are"):
        SpectralAngle(spectra=GIVEN).bands(["green"])
    with pytest.raises(InputError, match="an angle needs two bands; there are vv"):
        SpectralAngle().bands(["vv"])


def test_it_is_registered_keeps_its_fit_and_travels_as_json() -> None:
    chip = make_chip(SPECTRA.T[:, None].astype(np.float32), ["green", "nir"])
    fitted = SpectralAngle(spectra=GIVEN).fit(chip)
    assert segmenter_class("spectral-angle") is SpectralAngle
    assert SpectralAngle.model_validate_json(fitted.model_dump_json()) == fitted
    assert fitted.fit(chip) == fitted
    assert fitted.fit_summary == "Water, Wet land, Crops, each within 0.1 rad"
