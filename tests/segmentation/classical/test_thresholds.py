"""Otsu: scikit-image's threshold, one for the whole scene, and classes of every valid pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.filters import threshold_otsu

from segmentation.classical.thresholds import Otsu
from segmentation.errors import InputError
from segmentation.registry import segmenter_class
from segmentation.segmenter import predict
from segmentation.spectral.indices import compute
from tests.segmentation.chips import make_chip

LOW, HIGH = 1, 2


def two_fields(sparse: float = 0.1, dense: float = 0.8) -> npt.NDArray[np.float32]:
    """Red and near infrared of a raster whose left half has one NDVI and whose right half
    another."""
    ndvi = np.repeat([[sparse, dense]], 20, axis=1).repeat(10, axis=0)
    return np.stack([0.1 * (1 - ndvi), 0.1 * (1 + ndvi)]).astype(np.float32)


def test_two_fields_become_two_classes() -> None:
    chip = make_chip(two_fields(), ["red", "nir"])
    prediction = Otsu().fit(chip)(chip)
    assert np.all(prediction.labels[:, :20] == LOW)
    assert np.all(prediction.labels[:, 20:] == HIGH)
    assert prediction.confidence is not None
    assert prediction.confidence.min() >= 99  # at the mean of each class, but for rounding


@given(st.integers(0, 2**32), st.floats(0.2, 0.8))
def test_the_threshold_is_scikit_images(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    band = np.where(
        rng.random((40, 40)) < share,
        rng.normal(0.2, 0.03, (40, 40)),
        rng.normal(0.6, 0.05, (40, 40)),
    )
    chip = make_chip([band.astype(np.float32)], ["band_1"])
    fitted = Otsu(index="band_1").fit(chip).fitted
    assert fitted is not None
    low, high = np.percentile(band, (0.1, 99.9))
    assert fitted.threshold == pytest.approx(
        threshold_otsu(np.clip(band.astype(np.float32), low, high)), abs=2e-3
    )
    assert fitted.below == pytest.approx(0.2, abs=0.02)
    assert fitted.above == pytest.approx(0.6, abs=0.02)


def test_a_few_values_beyond_all_others_do_not_move_the_threshold() -> None:
    quiet = np.tile(two_fields(), (1, 20, 5))
    loud = quiet.copy()
    loud[:, 0, :9] = [[0.100001], [-0.1]]  # NDVI of -200 000
    without, with_them = (
        Otsu().fit(make_chip(bands, ["red", "nir"])).fitted for bands in (quiet, loud)
    )
    assert without is not None
    assert with_them is not None
    assert with_them.threshold == pytest.approx(without.threshold, abs=0.005)


@given(
    arrays(np.float32, (2, 6, 7), elements=st.floats(-1, 1, width=32)),
    arrays(np.bool_, (6, 7)),
    st.sampled_from(["NDVI", "SR", "band:red", "nir"]),
)
def test_every_valid_pixel_gets_one_of_the_two_classes(
    pixels: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_], index: str
) -> None:
    sample = make_chip(two_fields(), ["red", "nir"])
    (prediction,) = predict(
        Otsu(index=index).fit(sample), [make_chip(pixels, ["red", "nir"], valid=valid)]
    )
    assert np.array_equal(prediction.labels > 0, valid)
    assert prediction.confidence is not None
    assert prediction.confidence.max() <= 100


def test_an_undefined_index_is_below() -> None:
    fitted = Otsu().fit(make_chip(two_fields(), ["red", "nir"]))
    prediction = fitted(make_chip(np.zeros((2, 1, 1), np.float32), ["red", "nir"]))
    assert prediction.labels[0, 0] == LOW
    assert prediction.confidence is not None
    assert prediction.confidence[0, 0] == 0


@pytest.mark.parametrize("level", [0.0, 0.3, 1 / 3, -0.7])
def test_a_scene_of_one_level_is_one_class(level: float) -> None:
    chip = make_chip(np.full((1, 9, 9), level, np.float32), ["band_1"])
    labels = Otsu(index="band_1").fit(chip)(chip).labels
    assert np.unique(labels).size == 1


def test_a_scene_where_the_index_is_undefined_everywhere_is_a_mistake() -> None:
    with pytest.raises(InputError, match="NDVI is undefined"):
        Otsu().fit(make_chip(np.zeros((2, 9, 9), np.float32), ["red", "nir"]))


def test_invalid_pixels_of_the_sample_do_not_count() -> None:
    pixels, valid = two_fields(), np.ones((10, 40), bool)
    pixels[:, :3], valid[:3] = 0.9, False
    spoilt = Otsu().fit(make_chip(pixels, ["red", "nir"], valid=valid))
    assert spoilt == Otsu().fit(make_chip(two_fields()[:, 3:], ["red", "nir"]))


def test_unfitted_it_refuses_to_work() -> None:
    with pytest.raises(RuntimeError, match="fit it"):
        Otsu()(make_chip(two_fields(), ["red", "nir"]))


def test_a_tile_alone_is_judged_by_the_scenes_threshold() -> None:
    scene = make_chip(two_fields(), ["red", "nir"])
    fitted = Otsu().fit(scene)
    left = fitted(make_chip(two_fields()[:, :, :20], ["red", "nir"])).labels
    assert np.array_equal(left, fitted(scene).labels[:, :20])


def test_names_suit_the_index_and_can_be_chosen() -> None:
    assert [name for _, name, _ in Otsu().legend.rows] == ["Not vegetation", "Vegetation"]
    assert [name for _, name, _ in Otsu(index="mndwi").legend.rows] == ["Land", "Water"]
    assert [name for _, name, _ in Otsu(index="NDBI").legend.rows] == ["Low", "High"]
    assert [name for _, name, _ in Otsu(index="band_3", above="Snow").legend.rows] == [
        "Low",
        "Snow",
    ]
    with pytest.raises(InputError, match="two names"):
        _ = Otsu(above="Water", below="Water").legend


def test_it_reads_the_bands_of_its_index_or_the_band_itself() -> None:
    assert Otsu().bands(["blue", "nir08", "red"]) == ("nir08", "red")
    assert Otsu(index="band_2").bands(["band_1", "band_2"]) == ("band_2",)
    assert Otsu(index="band:ndvi").bands(["ndvi"]) == ("ndvi",)
    assert Otsu(index="VV").bands(["vv", "vh"]) == ("vv",)
    with pytest.raises(InputError, match="Vv is neither an index nor a band"):  # both are as near
        Otsu(index="Vv").bands(["vv", "VV"])
    two = make_chip(np.stack([two_fields()[0], np.zeros_like(two_fields()[0])]), ["vv", "vh"])
    assert Otsu(index="VV").fit(two).fitted == Otsu(index="vv").fit(two).fitted
    np.testing.assert_array_equal(
        Otsu(index="VV").fit(two)(two).labels, Otsu(index="vv").fit(two)(two).labels
    )
    with pytest.raises(InputError, match="nvdi is neither an index nor a band; there are red, nir"):
        Otsu(index="nvdi").bands(["red", "nir"])
    with pytest.raises(InputError, match="MNDWI needs green and swir16"):
        Otsu(index="MNDWI").bands(["red", "nir"])


def test_it_is_registered_and_its_identity_holds_the_threshold() -> None:
    fitted = Otsu().fit(make_chip(two_fields(), ["red", "nir"]))
    other = Otsu().fit(make_chip(two_fields(sparse=0.3), ["red", "nir"]))
    assert segmenter_class("otsu") is Otsu
    assert Otsu.model_validate_json(fitted.model_dump_json()) == fitted
    assert fitted.identity() != other.identity() != Otsu().identity()


def test_the_fit_does_not_look_at_the_order_of_pixels() -> None:
    rng = np.random.default_rng(5)
    pixels = rng.uniform(0.01, 0.6, (2, 50, 50)).astype(np.float32)
    shuffled = rng.permutation(pixels.reshape(2, -1), axis=1).reshape(2, 50, 50)
    assert Otsu().fit(make_chip(pixels, ["red", "nir"])) == Otsu().fit(
        make_chip(shuffled, ["red", "nir"])
    )


def test_real_digital_numbers_split_at_scikit_images_threshold(shared_data: Path) -> None:
    """Olinda, Landsat 7, eight bits: NDVI needs no calibration."""
    with rasterio.open(shared_data / "landsat7_olinda" / "L7_ETMs.tif") as source:
        chip = make_chip(source.read([3, 4]), ["red", "nir"], units="dn")
    fitted = Otsu().fit(chip)
    ndvi = compute("NDVI", chip)
    low, high = np.percentile(ndvi, (0.1, 99.9))
    assert fitted.fitted is not None
    assert fitted.fitted.threshold == pytest.approx(
        threshold_otsu(np.clip(ndvi, low, high)), abs=0.01
    )
    assert np.array_equal(fitted(chip).labels == HIGH, ndvi > fitted.fitted.threshold)
    with pytest.raises(InputError, match="--scale"):
        Otsu(index="EVI").fit(
            make_chip(chip["pixels"].values[[0, 0, 1]], ["blue", "red", "nir"], units="dn")
        )
