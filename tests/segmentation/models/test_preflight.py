"""Wrong input is told from pixels: offsets, scales and swapped bands, and scenes unlike the
training data."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

from segmentation.errors import InputError
from segmentation.models.bundle import QUANTILES, BandCard, Card
from segmentation.models.preflight import DRIFT, choose_zoom, drifts, find_unmarked_nodata, inspect
from tests.segmentation.chips import make_chip
from tests.segmentation.small_networks import a_card

NAMES = ("blue", "green", "red", "nir")


def spectra(seed: int = 0) -> npt.NDArray[np.float32]:
    """`(4, 80, 80)` reflectance of water, forest, grass and soil in patches."""
    rng = np.random.default_rng(seed)
    means = np.array(
        [
            [0.04, 0.03, 0.02, 0.01],
            [0.03, 0.05, 0.03, 0.3],
            [0.05, 0.09, 0.07, 0.4],
            [0.1, 0.14, 0.2, 0.26],
        ]
    )
    classes = np.kron(rng.integers(0, 4, (8, 8)), np.ones((10, 10), int))
    return (means[classes].transpose(2, 0, 1) * rng.normal(1, 0.1, (4, 80, 80))).astype(np.float32)


def chip(
    pixels: npt.NDArray[np.generic], units: str = "reflectance", **options: float
) -> xr.Dataset:
    return make_chip(pixels, NAMES, units=units, **options)


@pytest.fixture(scope="module")
def card() -> Card:
    """A network trained on such spectra at 10 m."""
    pixels = spectra().reshape(4, -1)
    bands = tuple(
        BandCard(
            name=name,
            mean=float(band.mean()),
            std=float(band.std()),
            quantiles=tuple(np.quantile(band, QUANTILES)),
        )
        for name, band in zip(NAMES, pixels, strict=True)
    )
    return a_card().model_copy(update={"bands": bands, "gsd": 10.0})


def test_a_scene_like_the_training_data_passes(card: Card) -> None:
    assert inspect(card, chip(spectra(seed=1)), gsd=10.0) == ()
    assert inspect(card, chip(spectra(seed=2)), gsd=14.0) == ()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda p: p + np.float32(0.1),
        "lie 0.1 too high in every band, as where an offset is not applied"),
        (lambda p: p - np.float32(0.1),
        "lie 0.1 too low in every band, as where an offset is applied twice"),
        (lambda p: p * 10_000, "multiplied by 0.0001; correct --scale"),
        (lambda p: p / 10_000, "multiplied by 10000; correct --scale"),
        (lambda p: p[[0, 1, 3, 2]], "red looks like nir, nir looks like red; correct --bands"),
    ],
)  # fmt: skip
def test_a_mistake_that_can_be_told_is_refused_with_its_mend(card: Card, change, told: str) -> None:  # type: ignore[no-untyped-def]
    (finding,) = inspect(card, chip(change(spectra(seed=1))), gsd=10.0)
    assert finding.severity == "refuse"
    assert told in finding.message


@pytest.mark.parametrize(
    ("units", "change", "told"),
    [
        ("dn", lambda p: p + 1000, "lie 1000 too high in every band"),
        ("dn", lambda p: p - 1000, "lie 1000 too low in every band"),
        *(
            ("reflectance", lambda p, by=by: p / by, f"multiplied by {by:g}; correct --scale")
            for by in (1e4, 1e-4, 255.0, 1 / 255, 65535.0, 1 / 65535, 1e2, 1e-2)
        ),
        ("dn", lambda p: p / 100, "multiplied by 100; convert the scene"),
    ],
)
def test_every_offset_and_scale_that_is_known_is_tried(
    card: Card, units: str, change, told: str
) -> None:  # type: ignore[no-untyped-def]
    times = 10_000 if units == "dn" else 1
    bands = tuple(
        band.model_copy(
            update={"units": units, "quantiles": tuple(times * q for q in band.quantiles)}
        )
        for band in card.bands
    )
    known = card.model_copy(update={"bands": bands})
    (finding,) = inspect(
        known, chip(np.float32(change(spectra(seed=1) * times)), units=units), gsd=10.0
    )
    assert finding.severity == "refuse"
    assert told in finding.message


def test_invalid_pixels_say_nothing(card: Card) -> None:
    pixels = spectra(seed=1)
    pixels[:, :40] = 7.0
    valid = np.ones(pixels.shape[1:], bool)
    valid[:40] = False
    assert inspect(card, make_chip(pixels, NAMES, valid=valid, units="reflectance"), gsd=10.0) == ()
    stored = np.where(valid, np.random.default_rng(0).integers(20, 200, (3, 80, 80)), 0).astype(
        np.uint8
    )
    assert find_unmarked_nodata(make_chip(stored, NAMES[:3], valid=valid, units="dn")) == ()


@pytest.mark.parametrize("shifts", [(0.168, 0.168, 0.036, 0.036), (0.5, 0.5, 0.5, 0.5)])
def test_an_explanation_has_to_explain_more_than_half_and_leave_little(
    card: Card, shifts: tuple[float, ...]
) -> None:
    """0.1 too high leaves a third of the range of 0.2, more than half of what there was; or two
    ranges."""
    even = np.linspace(0, 0.2, 1600, dtype=np.float32).reshape(1, 40, 40).repeat(4, 0)
    quantiles = tuple(np.quantile(even[0], QUANTILES))
    known = card.model_copy(
        update={
            "bands": tuple(band.model_copy(update={"quantiles": quantiles}) for band in card.bands)
        }
    )
    (finding,) = inspect(known, chip(even + np.array(shifts, np.float32)[:, None, None]), gsd=10.0)
    assert finding.severity == "warn"


def test_a_scene_that_is_nearly_all_of_one_value_has_no_frame() -> None:
    pixels = np.full((3, 100, 100), 255, np.uint8)
    pixels[:, 0, :60] = 9
    assert find_unmarked_nodata(make_chip(pixels, NAMES[:3], units="dn")) == ()
    pixels[:, :2, :60] = 9
    assert len(find_unmarked_nodata(make_chip(pixels, NAMES[:3], units="dn"))) == 1


def test_what_counts_is_the_pixels_and_not_how_they_are_stored(card: Card) -> None:
    stored = np.round(spectra(seed=1) * 10_000 + 1000).astype(np.uint16)
    assert inspect(card, chip(stored, scale=1e-4, offset=-0.1), gsd=10.0) == ()
    (finding,) = inspect(card, chip(stored, scale=1e-4), gsd=10.0)
    assert "0.1 too high" in finding.message


def test_another_landscape_is_warned_about(card: Card) -> None:
    desert = spectra(seed=1) * 0.2 + np.array([0.3, 0.45, 0.1, 0.5], np.float32)[:, None, None]
    (finding,) = inspect(card, chip(desert), gsd=10.0)
    assert finding.severity == "warn"
    assert "lie elsewhere than in the training data of test" in finding.message


def test_a_scene_that_is_darker_throughout_is_warned_about(card: Card) -> None:
    """No band by itself lies far out, all of them together do: what photographs without a
    radiometric scale may be."""
    pixels = (np.random.default_rng(0).gamma(9, 12, (4, 80, 80))).astype(np.float32)
    quantiles = np.quantile(pixels.reshape(4, -1), QUANTILES, axis=1).T
    assert drifts(quantiles / 3, quantiles).max() < DRIFT
    bands = tuple(
        band.model_copy(update={"units": "dn", "quantiles": tuple(found)})
        for band, found in zip(card.bands, quantiles, strict=True)
    )
    known = card.model_copy(update={"bands": bands})
    assert inspect(known, chip(pixels * np.float32(0.8), units="dn"), gsd=10.0) == ()
    (found,) = inspect(known, chip(pixels / 3, units="dn"), gsd=10.0)
    assert found.severity == "warn"
    assert "and 3 more lie elsewhere than in the training data" in found.message


@pytest.mark.parametrize(
    ("gsd", "severity"), [(20.0, "warn"), (5.0, "warn"), (50.0, "refuse"), (1.0, "refuse")]
)
def test_another_resolution_is_warned_about_and_a_far_one_refused(
    card: Card, gsd: float, severity: str
) -> None:
    (finding,) = inspect(card, chip(spectra(seed=1)), gsd=gsd)
    assert finding.severity == severity
    assert "gdalwarp -tr 10 10" in finding.message


@pytest.mark.parametrize(
    ("gsd", "zoom", "told"),
    [
        (10.0, 1, ""), (14.0, 1, ""),
        (20.0, 2, "these are 20 m: it sees them each as 2 × 2, of 10 m; --set zoom=1"),
        (3.3333, -3, "it sees them 3 × 3 as one, of 10 m; --set zoom=1"),
        (24.0, 2, "each as 2 × 2, of 12 m, which are 1.2 × as long; --set zoom=1"),
        (4.0, -3, "3 × 3 as one, of 12 m, which are 1.2 × as long"),
        (110.0, 8, "each as 8 × 8, of 13.8 m"),
        (130.0, 1, "gdalwarp -tr 10 10"), (0.6, 1, "gdalwarp -tr 10 10"),
    ],
)  # fmt: skip
def test_a_network_sees_pixels_of_its_own_size_and_that_is_told(
    card: Card, gsd: float, zoom: int, told: str
) -> None:
    assert choose_zoom(card, gsd) == zoom
    findings = inspect(card, chip(spectra(seed=1)), gsd, None)
    assert len(findings) == bool(told)
    for finding in findings:
        assert told in finding.message
        assert finding.severity == ("warn" if zoom != 1 else "refuse")


def test_a_zoom_that_a_person_states_is_held_against_the_card(card: Card) -> None:
    assert inspect(card, chip(spectra(seed=1)), 20.0, 2) == ()
    (finding,) = inspect(card, chip(spectra(seed=1)), 20.0, -3)
    assert finding.severity == "refuse"
    assert "with zoom -3 it sees 60 m; leave zoom out" in finding.message
    doubled = card.model_copy(update={"model": card.network.model_copy(update={"zoom": 2})})
    assert (choose_zoom(doubled, 10.0), choose_zoom(doubled, 5.0)) == (2, 1)


def test_a_few_pixels_and_a_card_without_quantiles_say_nothing_of_values(card: Card) -> None:
    wrong = spectra(seed=1) + np.float32(0.1)
    assert inspect(card, chip(wrong[:, :10, :10]), gsd=10.0) == ()
    assert inspect(a_card(), chip(wrong).sel(band=["green", "red", "nir"]), gsd=10.0) == ()


def test_reflectance_where_digital_numbers_are_wanted_is_a_mistake(card: Card) -> None:
    photographs = card.model_copy(
        update={"bands": tuple(band.model_copy(update={"units": "dn"}) for band in card.bands)}
    )
    with pytest.raises(
        InputError, match="digital numbers are wanted, as the file holds them; leave --scale out"
    ):
        inspect(photographs, chip(spectra(seed=1)), gsd=10.0)


def test_drift_is_a_share_of_the_range_in_training() -> None:
    trained = np.array([[0.0, 1.0, 2.0, 3.0, 4.0]])
    assert drifts(trained + 1, trained) == 0.25
    assert drifts(trained, trained) == 0


@pytest.mark.parametrize("value", [0, 255])
def test_what_seems_to_be_no_image_is_told(value: int) -> None:
    pixels = np.random.default_rng(0).integers(20, 200, (3, 80, 80)).astype(np.uint8)
    assert find_unmarked_nodata(make_chip(pixels, NAMES[:3], units="dn")) == ()
    pixels[:, :, :20] = value
    (found,) = find_unmarked_nodata(make_chip(pixels, NAMES[:3], units="dn"))
    assert found.severity == "warn"
    assert f"25% of the pixels are {value} in all 3 bands" in found.message
    assert found.message.endswith(f"say --nodata {value}")
    for few in (1, 2):
        assert len(find_unmarked_nodata(make_chip(pixels[:few], NAMES[:few], units="dn"))) == 1
    rows, cols = np.random.default_rng(1).integers(0, 80, (2, 1600))
    scattered = np.full((2, 80, 80), 100, np.uint8)
    scattered[:, rows, cols] = value
    # a band or two may well be 0 in places
    assert find_unmarked_nodata(make_chip(scattered, NAMES[:2], units="dn")) == ()
    pixels[0, :, :20] = 100
    assert find_unmarked_nodata(make_chip(pixels, NAMES[:3], units="dn")) == ()
