"""Rules: spectra whose land cover is known, real labelled pixels, and laws that hold for every
pixel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segmentation.classical.rules import (
    BARE,
    BUILT,
    CLOUD,
    CROPS,
    SNOW,
    SPARSE,
    TREES,
    UNVEGETATED,
    WATER,
    Levels,
    Rules,
)
from segmentation.classical.scene_levels import forest_green
from segmentation.errors import InputError
from segmentation.legend import LAND_COVER
from segmentation.registry import segmenter_class
from segmentation.segmenter import predict
from segmentation.synthetic.materials import MATERIALS
from tests.segmentation.chips import make_chip, of_spectra

FIVE = ("blue", "green", "red", "nir", "swir16")

# Textbook spectra: blue, green, red, nir, swir16; what they are with all bands, and what without
# swir16.
KNOWN = [
    ("a clear lake", (0.03, 0.03, 0.02, 0.01, 0.005), WATER, WATER),
    ("a muddy river", (0.07, 0.10, 0.11, 0.08, 0.02), WATER, WATER),
    ("a spruce forest", (0.015, 0.03, 0.02, 0.22, 0.10), TREES, TREES),
    ("a meadow", (0.03, 0.08, 0.05, 0.42, 0.22), CROPS, CROPS),
    ("dry steppe", (0.06, 0.09, 0.11, 0.22, 0.30), SPARSE, SPARSE),
    ("a ploughed field", (0.06, 0.09, 0.13, 0.17, 0.29), BARE, UNVEGETATED),
    ("asphalt", (0.09, 0.10, 0.11, 0.13, 0.15), BUILT, UNVEGETATED),
    ("cumulus", (0.60, 0.60, 0.60, 0.65, 0.50), CLOUD, CLOUD),
    ("fresh snow", (0.90, 0.90, 0.88, 0.80, 0.10), SNOW, CLOUD),
    ("nothing reflected at all", (0.0, 0.0, 0.0, 0.0, 0.0), WATER, WATER),
    ("overcorrected water", (0.02, 0.01, -0.001, -0.01, -0.02), WATER, WATER),
]


@pytest.mark.parametrize(
    ("what", "spectrum", "with_swir", "without"), KNOWN, ids=[known[0] for known in KNOWN]
)
def test_known_spectra_get_their_class(
    what: str, spectrum: tuple[float, ...], with_swir: int, without: int
) -> None:
    assert Rules()(of_spectra([spectrum], FIVE)).labels[0, 0] == with_swir
    assert Rules()(of_spectra([spectrum[:4]], FIVE[:4])).labels[0, 0] == without


def test_bright_ground_that_is_not_blue_is_no_cloud() -> None:
    """The HOT test: as bright as a cloud, and redder."""
    sand = (0.20, 0.40, 0.50, 0.45, 0.40)
    assert Rules()(of_spectra([sand], FIVE)).labels[0, 0] != CLOUD
    assert Rules()(of_spectra([(0.50, *sand[1:])], FIVE)).labels[0, 0] == CLOUD


def test_without_shortwave_water_is_dark_in_near_infrared() -> None:
    """Bright ground may be greener than it is near infrared; water is not as bright there."""
    assert Rules()(of_spectra([(0.20, 0.30, 0.28, 0.25)], FIVE[:4])).labels[0, 0] == UNVEGETATED
    assert Rules()(of_spectra([(0.20, 0.13, 0.10, 0.10)], FIVE[:4])).labels[0, 0] == WATER


def test_water_is_as_sure_as_it_exceeds_evi2() -> None:
    """MNDWI 0.1429 less EVI2 0.1187, of a quarter that is certain: 9.7 %."""
    said = Rules()(of_spectra([(0.05, 0.08, 0.06, 0.12, 0.06)], FIVE))
    assert said.labels[0, 0] == WATER
    assert said.confidence is not None
    mndwi, evi2 = (0.08 - 0.06) / (0.08 + 0.06), 2.5 * (0.12 - 0.06) / (0.12 + 2.4 * 0.06 + 1)
    assert said.confidence[0, 0] == int(100 * (mndwi - evi2) / 0.25) == 9


scenes = st.integers(1, 30).flatmap(
    lambda pixels: arrays(np.float32, (5, 3, pixels), elements=st.floats(-0.5, 2, width=32))
)


@given(scenes, st.sampled_from([FIVE, FIVE[:4], FIVE[1:], FIVE[1:4]]), st.integers(0, 2**32))
def test_every_valid_pixel_gets_exactly_one_class(
    scene: npt.NDArray[np.float32], bands: tuple[str, ...], seed: int
) -> None:
    valid = np.random.default_rng(seed).random(scene.shape[1:]) < 0.8
    chip = make_chip(scene[[FIVE.index(band) for band in bands]], bands, valid=valid)
    (prediction,) = predict(Rules(), [chip])  # raises where a class is missing or too many
    assert np.array_equal(prediction.labels > 0, valid)
    assert prediction.confidence is not None
    assert prediction.confidence.max() <= 100


@given(scenes, st.integers(0, 2), st.integers(0, 29))
def test_a_pixel_gets_the_same_in_every_chip(
    scene: npt.NDArray[np.float32], row: int, col: int
) -> None:
    whole, col = Rules()(make_chip(scene, FIVE)), col % scene.shape[2]
    alone = Rules()(make_chip(scene[:, row : row + 1, col : col + 1], FIVE))
    assert whole.confidence is not None
    assert alone.confidence is not None
    assert alone.labels[0, 0] == whole.labels[row, col]
    assert alone.confidence[0, 0] == whole.confidence[row, col]


def test_chips_larger_than_a_block_have_no_block_in_them() -> None:
    scene = np.random.default_rng(0).uniform(0, 0.6, (5, 300, 257)).astype(np.float32)
    whole = Rules()(make_chip(scene, FIVE))
    columns = [Rules()(make_chip(scene[:, :, col : col + 1], FIVE)).labels for col in range(257)]
    assert np.array_equal(whole.labels, np.hstack(columns))


def test_thresholds_lie_where_they_say() -> None:
    red = np.float32(0.1)
    ndvi = np.array([0.19, 0.21, 0.49, 0.51], np.float32)
    nir = red * (1 + ndvi) / (1 - ndvi)
    chip = make_chip(
        [np.full((1, 4), 0.08, np.float32), np.full((1, 4), red), nir[None]],
        ["green", "red", "nir"],
    )
    assert Rules()(chip).labels.tolist() == [[UNVEGETATED, SPARSE, SPARSE, CROPS]]
    assert Rules(trees_green=0.09)(chip).labels.tolist() == [[UNVEGETATED, SPARSE, SPARSE, TREES]]
    assert Rules(bare_ndvi=0.2, full_ndvi=0.3)(chip).labels.tolist() == [
        [UNVEGETATED, SPARSE, CROPS, CROPS]
    ]


def test_a_pixel_exactly_on_a_threshold_belongs_to_the_denser_class() -> None:
    # NDVI exactly 0.5
    chip = of_spectra([[0.01, 0.25, 0.75], [0.30, 0.25, 0.75]], ["green", "red", "nir"])
    prediction = Rules()(chip)
    assert prediction.labels.tolist() == [[TREES, CROPS]]
    assert prediction.confidence is not None
    assert prediction.confidence.tolist() == [[0, 0]]


def test_confidence_grows_with_the_distance_from_the_threshold() -> None:
    red = np.float32(0.1)
    ndvi = np.linspace(-0.3, 0.19, 50, dtype=np.float32)
    nir = red * (1 + ndvi) / (1 - ndvi)
    chip = make_chip(
        [np.full((1, 50), 0.02, np.float32), np.full((1, 50), red), nir[None]],
        ["green", "red", "nir"],
    )
    prediction = Rules()(chip)
    assert np.all(prediction.labels == UNVEGETATED)
    assert prediction.confidence is not None
    assert np.all(np.diff(prediction.confidence[0].astype(int)) <= 0)
    assert prediction.confidence[0, 0] == 100
    assert prediction.confidence[0, -1] == pytest.approx(100 * 0.01 / 0.25, abs=1)


def test_it_reads_what_it_can_use_in_its_own_order() -> None:
    assert Rules().bands(["swir22", "nir", "red", "scl", "green", "blue"]) == FIVE[:4]
    assert Rules().bands(["nir08", "swir16", "red", "green"]) == ("green", "red", "nir08", "swir16")
    with pytest.raises(
        InputError, match=r"needs green, red and nir; there are red, green, blue: .*--bands"
    ):
        Rules().bands(["red", "green", "blue"])


def test_the_order_and_names_of_bands_do_not_matter() -> None:
    spectra = np.random.default_rng(1).uniform(0, 0.6, (200, 5))
    expected = Rules()(of_spectra(spectra.tolist(), FIVE)).labels
    turned = of_spectra(spectra[:, ::-1].tolist(), ["swir16", "nir08", "red", "green", "blue"])
    assert np.array_equal(Rules()(turned).labels, expected)


def test_digital_numbers_are_refused_with_the_mend() -> None:
    chip = make_chip(np.ones((3, 2, 2), np.uint8), ["green", "red", "nir"], units="dn")
    with pytest.raises(InputError, match=r"digital numbers.*--scale"):
        Rules()(chip)


def test_thresholds_that_leave_no_room_for_sparse_vegetation_are_refused() -> None:
    with pytest.raises(ValueError, match=r"bare_ndvi=0.6 must be less than full_ndvi=0.5"):
        Rules(bare_ndvi=0.6)


def test_it_is_registered_and_survives_its_own_json() -> None:
    rules = Rules(trees_green=0.07)
    assert segmenter_class("rules") is Rules
    assert Rules.model_validate_json(rules.model_dump_json()) == rules
    assert rules.identity() != Rules().identity()


def test_labelled_spectra_of_landsat_8(shared_data: Path) -> None:
    samples = json.loads((shared_data / "spyndex_spectral" / "spectral.json").read_text())
    spectra = np.array([list(samples[f"SR_B{band}"].values()) for band in range(2, 7)])
    classes = np.array(list(samples["class"].values()))
    labels = Rules()(of_spectra(spectra.T.tolist(), FIVE)).labels[0]
    assert np.mean(labels[classes == "Water"] == WATER) > 0.95
    assert np.mean(np.isin(labels[classes == "Vegetation"], (TREES, CROPS))) > 0.95
    assert np.all(np.isin(labels[classes == "Urban"], (SPARSE, BARE, BUILT)))


def test_training_polygons_of_chiapas(shared_data: Path) -> None:
    folder = shared_data / "landsat7_chiapas_polygons"
    with rasterio.open(folder / "LE70220491999322EDC01_stack.gtif") as source:
        chip = make_chip(source.read([1, 2, 3, 4, 5]), FIVE, scale=1e-4)
    with rasterio.open(folder / "training_data.gtif") as source:
        truth = source.read(1)
    labels = Rules()(chip).labels
    assert np.mean(labels[truth == 1] == TREES) > 0.95
    assert np.mean(labels[truth == 3] == CROPS) > 0.95


def test_land_cover_of_maryland(shared_data: Path) -> None:
    """Chesapeake Conservancy: 2 is tree canopy, 3 low vegetation, from 1 m imagery of another
    date."""
    stem = shared_data / "chesapeake_md_multires"
    with rasterio.open(stem / "m_3907833_nw_17_1_landsat-leaf-on.tif") as source:
        chip = make_chip(source.read([2, 3, 4, 5, 6]), FIVE, scale=1e-4)
    with rasterio.open(stem / "m_3907833_nw_17_1_lc.tif") as source:
        truth = source.read(1)
    labels = Rules()(chip).labels
    assert np.mean(labels[truth == 2] == TREES) > 0.85
    assert np.mean(np.isin(labels[truth == 3], (CROPS, SPARSE))) > 0.75


def test_the_danube_is_water(shared_data: Path) -> None:
    with rasterio.open(shared_data / "s2_ftw_two_window" / "inference-img.tif") as source:
        chip = make_chip(source.read([3, 2, 1, 4]), FIVE[:4], scale=1e-4)
    labels = Rules()(chip).labels
    assert np.mean(labels[340:350, 0:240] == WATER) > 0.99
    assert np.mean(labels[0:100, 0:80] == TREES) > 0.6
    assert np.mean(labels == WATER) == pytest.approx(0.125, abs=0.02)


# What a scene says of itself

WAVELENGTHS = np.array([0.48, 0.56, 0.66, 0.84, 1.61])
MIXED = (
    "clear water",
    "broadleaf",
    "conifer",
    "meadow",
    "green wheat",
    "rape",
    "ripe grain",
    "brown soil",
    "asphalt",
)


def drawn(
    names: tuple[str, ...] = MIXED, side: int = 96, seed: int = 0
) -> tuple[npt.NDArray[np.float32], Any]:
    """Reflectance `(5, side, side)` of the demo's materials in patches of 8 px, and which is
    where."""
    rng = np.random.default_rng(seed)
    which = np.kron(rng.integers(0, len(names), (side // 8, side // 8)), np.ones((8, 8), int))
    spectra = np.array([MATERIALS[name][:5] for name in names]) * 1e-4
    return (spectra[which].transpose(2, 0, 1) * rng.normal(1, 0.04, (5, side, side))).astype(
        np.float32
    ), which


def seen_through(
    scene: npt.NDArray[np.float32], haze: float, power: float, sun: float, offset: float
) -> npt.NDArray[np.float32]:
    """The scene under air that adds `haze` to blue and less to the rest, in another light, offset
    and all."""
    air = haze * (WAVELENGTHS / WAVELENGTHS[0]) ** -power
    return (scene * sun + (air + offset)[:, None, None]).astype(np.float32)


@given(
    haze=st.floats(0, 0.09), power=st.floats(1.5, 4), sun=st.floats(0.85, 1.05), offset=st.floats(0,
    0.01),
    bands=st.sampled_from([FIVE, FIVE[:4]]), seed=st.integers(0, 9),
)  # fmt: skip
@settings(max_examples=40)
def test_forests_fields_and_water_keep_their_class_under_any_air(
    haze: float, power: float, sun: float, offset: float, bands: tuple[str, ...], seed: int
) -> None:
    scene, which = drawn(seed=seed)
    chip = make_chip(seen_through(scene, haze, power, sun, offset)[: len(bands)], bands)
    labels = Rules().fit(chip)(chip).labels
    for name, value in (
        ("clear water", WATER),
        ("broadleaf", TREES),
        ("conifer", TREES),
        ("rape", CROPS),
    ):
        assert np.mean(labels[which == MIXED.index(name)] == value) > 0.75, name
    for name in ("meadow", "green wheat"):
        assert np.mean(np.isin(labels[which == MIXED.index(name)], (CROPS, TREES))) > 0.95, name
    assert np.mean(labels == CLOUD) < 0.01


def test_without_a_look_at_the_scene_forests_under_air_would_be_fields() -> None:
    scene, which = drawn()
    chip = make_chip(seen_through(scene, 0.07, 2, 1, 0), FIVE)
    assert np.mean(Rules()(chip).labels[which == MIXED.index("broadleaf")] == TREES) < 0.1


def test_the_darkest_soil_of_a_desert_is_not_taken_for_haze() -> None:
    scene, _ = drawn(("pale soil", "limestone", "brown soil"))
    chip = make_chip(scene, FIVE)
    fitted = Rules().fit(chip).fitted
    assert fitted is not None
    assert fitted.haze == {}
    assert np.mean(np.isin(Rules().fit(chip)(chip).labels, (BARE, BUILT, SPARSE))) == 1


def test_the_threshold_of_trees_lies_between_forest_and_meadow_and_within_bounds() -> None:
    for forest, meadow, low, high in ((0.035, 0.075, 0.042, 0.066), (0.03, 0.055, 0.038, 0.05)):
        rng = np.random.default_rng(0)
        green = np.concatenate([rng.normal(forest, 0.004, 5000), rng.normal(meadow, 0.005, 5000)])
        assert low <= forest_green(green, 20_000) <= high
    alone = np.random.default_rng(0).normal(0.045, 0.004, 5000)
    assert np.mean(alone < forest_green(alone, 20_000)) > 0.95
    fields = np.random.default_rng(0).normal(0.08, 0.006, 5000)
    assert np.mean(fields < forest_green(fields, 20_000)) < 0.01


def test_white_roofs_are_no_cloud_and_a_patch_as_white_is() -> None:
    scene, _ = drawn()
    roofs = scene.copy()
    roofs[:, ::9, ::9] = 0.6
    assert not np.any(fit_and_label(roofs, FIVE) == CLOUD)
    clouded = scene.copy()
    clouded[:, 20:60, 30:70] = 0.6
    assert np.all(fit_and_label(clouded, FIVE)[20:60, 30:70] == CLOUD)


def test_sand_as_bright_as_cloud_is_no_cloud_where_shortwave_infrared_tells() -> None:
    sand = np.broadcast_to(
        np.array([0.34, 0.35, 0.36, 0.40, 0.60], np.float32)[:, None, None], (5, 40, 40)
    )
    assert not np.any(fit_and_label(sand, FIVE) == CLOUD)


def fit_and_label(pixels: npt.NDArray[np.float32], bands: tuple[str, ...]) -> npt.NDArray[np.uint8]:
    chip = make_chip(pixels, bands)
    return Rules().fit(chip)(chip).labels


def test_the_legend_of_a_scene_holds_what_its_bands_can_tell() -> None:
    scene, _ = drawn()
    assert Rules().legend == LAND_COVER
    names = [c.name for c in Rules().fit(make_chip(scene, FIVE)).legend.each()]
    assert "Bare or built-up" not in names
    names = [c.name for c in Rules().fit(make_chip(scene[:4], FIVE[:4])).legend.each()]
    assert "Bare or built-up" in names
    assert not {"Bare soil", "Built-up", "Snow and ice"} & set(names)


def test_a_scene_too_small_to_say_anything_gets_the_published_thresholds() -> None:
    chip = make_chip(drawn(side=24)[0], FIVE)
    fitted = Rules().fit(chip)
    assert fitted.fitted == Levels(shortwave=True)
    assert np.array_equal(fitted(chip).labels, Rules()(chip).labels)


def test_what_was_found_decides_labels_and_survives_json() -> None:
    chip = make_chip(seen_through(drawn()[0], 0.07, 2, 1, 0), FIVE)
    fitted = Rules().fit(chip)
    assert fitted.identity() != Rules().identity()
    again = Rules.model_validate_json(fitted.model_dump_json())
    assert again == fitted
    assert np.array_equal(again(chip).labels, fitted(chip).labels)


def test_a_person_s_threshold_of_trees_goes_before_the_scene_s() -> None:
    chip = make_chip(drawn()[0], FIVE)
    assert np.mean(Rules(trees_green=0.001).fit(chip)(chip).labels == TREES) == 0


@pytest.mark.parametrize(
    "air", [(0.0, 0.0, 0.0, 0.0, 0.0), (0.075, 0.05, 0.03, 0.012, 0.003)], ids=["surface", "top"]
)
def test_real_forests_stay_forests_at_the_top_of_the_atmosphere(
    shared_data: Path, air: tuple[float, ...]
) -> None:
    """Clear air over Maryland and Chiapas, as the sensor saw it: what air adds in each band."""
    maryland = shared_data / "chesapeake_md_multires"
    chiapas = shared_data / "landsat7_chiapas_polygons"
    tile = "m_3907833_nw_17_1"
    for image, first, labelled, forest, fields in (
        (maryland / f"{tile}_landsat-leaf-on.tif", 2, maryland / f"{tile}_lc.tif", 2, 3),
        (chiapas / "LE70220491999322EDC01_stack.gtif", 1, chiapas / "training_data.gtif", 1, 3),
    ):
        with rasterio.open(image) as source:
            pixels = (
                source.read(list(range(first, first + 5))).astype(np.float32) * 1e-4
                + np.array(air, np.float32)[:, None, None]
            )
        with rasterio.open(labelled) as source:
            truth = source.read(1)
        labels = fit_and_label(pixels, FIVE)
        assert np.mean(labels[truth == forest] == TREES) > 0.85
        assert np.mean(np.isin(labels[truth == fields], (CROPS, SPARSE))) > 0.6
