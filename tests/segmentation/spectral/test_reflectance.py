"""Calibration: real files of every encoding at hand, and drawn scenes whose encoding we chose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import xarray as xr

from segmentation.spectral import reflectance
from segmentation.spectral.reflectance import doubts, infer
from tests.segmentation.chips import make_chip

SIX = ("blue", "green", "red", "nir", "swir16", "swir22")
PLAIN, OFFSET, COLLECTION_2 = (0.0001, 0.0), (0.0001, -0.1), (0.0000275, -0.2)


def read(path: Path, bands: tuple[str, ...], first: int = 1) -> xr.Dataset:
    with rasterio.open(path) as source:
        pixels = source.read(list(range(first, first + len(bands))))
        masks = source.read_masks(list(range(first, first + len(bands))))
    return make_chip(pixels, bands, units="dn", valid=np.all(masks > 0, axis=0))


def landscape(
    *materials: tuple[float, ...], bands: tuple[str, ...] = SIX
) -> npt.NDArray[np.float64]:
    """Reflectance `(band, 64, 64)`: a mixture of the materials, each pure somewhere, with a little
    noise."""
    rng = np.random.default_rng(3)
    shares = rng.dirichlet(np.full(len(materials), 0.15), 64 * 64)
    spectra = shares @ np.array(materials)[:, [SIX.index(band) for band in bands]]
    return np.clip(spectra * rng.normal(1, 0.03, spectra.shape), 0.001, None).T.reshape(
        len(bands), 64, 64
    )


LAKE = (0.04, 0.03, 0.02, 0.012, 0.006, 0.004)
FOREST = (0.02, 0.04, 0.025, 0.30, 0.15, 0.06)
MEADOW = (0.03, 0.07, 0.04, 0.45, 0.22, 0.10)
SOIL = (0.08, 0.12, 0.17, 0.24, 0.33, 0.28)
DESERT = (0.15, 0.22, 0.32, 0.40, 0.48, 0.45)
CLOUD = (0.75, 0.74, 0.73, 0.76, 0.60, 0.50)


def encoded(
    reflectance: npt.NDArray[np.float64], scale: float, offset: float, dtype: Any = np.uint16
) -> xr.Dataset:
    counts = np.round((reflectance - offset) / scale).astype(dtype)
    return make_chip(counts, SIX[: len(counts)], units="dn")


@pytest.mark.parametrize(
    "materials", [(LAKE, FOREST, MEADOW, SOIL), (LAKE, FOREST, CLOUD), (LAKE, SOIL, CLOUD)]
)
@pytest.mark.parametrize("encoding", [PLAIN, OFFSET, COLLECTION_2])
def test_the_encoding_of_a_scene_with_water_is_recognised(
    materials: tuple[tuple[float, ...], ...], encoding: tuple[float, float]
) -> None:
    assert infer(encoded(landscape(*materials), *encoding)) == encoding


@pytest.mark.parametrize("encoding", [PLAIN, COLLECTION_2])
def test_forest_and_meadows_alone_suffice_for_most(encoding: tuple[float, float]) -> None:
    assert infer(encoded(landscape(FOREST, MEADOW, SOIL), *encoding)) == encoding


def test_float_reflectance_is_reflectance() -> None:
    scene = landscape(LAKE, FOREST, MEADOW, SOIL).astype(np.float32)
    assert infer(make_chip(scene, SIX, units="dn")) == (1.0, 0.0)
    assert infer(make_chip(scene * 10_000, SIX, units="dn")) == PLAIN


def test_eight_bits_divided_by_255_are_no_reflectance() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (4, 64, 64)).astype(np.float32) / 255
    assert infer(make_chip(picture, SIX[:4], units="dn")) is None


@pytest.mark.parametrize("materials", [(DESERT,), (DESERT, CLOUD), (CLOUD,)])
@pytest.mark.parametrize("encoding", [PLAIN, OFFSET])
def test_without_anything_dark_nobody_can_tell(
    materials: tuple[tuple[float, ...], ...], encoding: tuple[float, float]
) -> None:
    assert infer(encoded(landscape(*materials), *encoding)) is None


def test_dark_rock_everywhere_is_not_taken_for_the_offset() -> None:
    basalt = (0.095, 0.10, 0.11, 0.125, 0.14, 0.13)
    assert infer(encoded(landscape(basalt, DESERT), *PLAIN)) is None


def test_eleven_and_twelve_bits_are_not_taken_for_reflectance() -> None:
    scene = landscape(LAKE, FOREST, MEADOW, SOIL)
    for top in (2047, 4095):
        counts = np.round(scene / scene.max() * top).astype(np.uint16)
        assert infer(make_chip(counts, SIX, units="dn")) is None


def test_uncorrected_landsat_is_not_taken_for_surface_reflectance() -> None:
    """Level 1: reflectance = 0.00002 DN - 0.1, and haze adds most to blue."""
    haze = np.array([0.09, 0.06, 0.035, 0.015, 0.004, 0.002])[:, None, None]
    assert infer(encoded(landscape(FOREST, MEADOW, SOIL) + haze, 0.00002, -0.1)) is None


def test_undeclared_no_data_is_not_taken_for_something_dark() -> None:
    chip = encoded(landscape(LAKE, FOREST, MEADOW, SOIL), *OFFSET)
    chip["pixels"][:, :20] = 0
    assert infer(chip) == OFFSET


def test_few_pixels_bands_of_no_colour_and_bands_already_scaled_say_nothing() -> None:
    scene = landscape(LAKE, FOREST, MEADOW, SOIL)
    chip = encoded(scene, *PLAIN)
    assert infer(chip.isel(y=slice(10))) is None
    assert infer(chip.assign_coords(band=[f"band_{i}" for i in range(6)])) is None
    assert infer(chip.assign_coords(units=("band", ["reflectance"] * 6))) is None
    assert infer(chip.assign_coords(band=[f"t2.{name}" for name in SIX])) == PLAIN


@pytest.mark.parametrize(
    ("path", "bands", "first"),
    [
        ("s2_l2a_openeo_sample/S2_L2A_sample.tif", SIX[:4], 1),
        ("s2_ftw_two_window/inference-img.tif", ("red", "green", "blue", "nir"), 1),
        ("s2_ftw_two_window/inference-img.tif", ("red", "green", "blue", "nir"), 5),
        ("landsat7_chiapas_polygons/LE70220491999322EDC01_stack.gtif", (*SIX, "lwir"), 1),
        ("landsat7_chiapas_polygons/LE70220492002106EDC00_stack.gtif", (*SIX, "lwir"), 1),
        (
            "chesapeake_md_multires/m_3907833_nw_17_1_landsat-leaf-on.tif",
            ("coastal", *SIX, "lwir11", "lwir12"),
            1,
        ),
        (
            "chesapeake_md_multires/m_3907833_nw_17_1_landsat-leaf-off.tif",
            ("coastal", *SIX, "lwir11", "lwir12"),
            1,
        ),
    ],
)
def test_real_files_times_10000(
    shared_data: Path, path: str, bands: tuple[str, ...], first: int
) -> None:
    chip = read(shared_data / path, bands, first)
    assert infer(chip) == PLAIN
    for encoding in (OFFSET, COLLECTION_2):
        counts = np.round((chip["pixels"].values * 1e-4 - encoding[1]) / encoding[0])
        again = chip.assign(
            pixels=(("band", "y", "x"), np.clip(counts, 0, 65_535).astype(np.uint16))
        )
        assert infer(again) in (encoding, None)  # never the wrong one


def test_two_real_sentinel_scenes_with_the_offset_added(shared_data: Path) -> None:
    for path, bands in (
        ("s2_l2a_openeo_sample/S2_L2A_sample.tif", SIX[:4]),
        ("s2_ftw_two_window/inference-img.tif", ("red", "green", "blue", "nir")),
    ):
        chip = read(shared_data / path, bands)
        assert infer(chip.assign(pixels=chip["pixels"] + 1000)) == OFFSET


@pytest.mark.parametrize(
    ("path", "bands"),
    [
        ("landsat7_olinda/L7_ETMs.tif", SIX),
        ("landsat_peru_series/2020.tif", ("swir16", "nir", "red", "green")),
        ("naip_nd_multiyear/m_4709963_se_14_1_20200831.tif", ("red", "green", "blue", "nir")),
        ("chesapeake_md_multires/m_3907833_nw_17_1_naip-new.tif", ("red", "green", "blue", "nir")),
        ("odd_tiffs_rasterio/RGB.byte.tif", ("red", "green", "blue")),
    ],
)
def test_eight_bits_remain_digital_numbers(
    shared_data: Path, path: str, bands: tuple[str, ...]
) -> None:
    assert infer(read(shared_data / path, bands)) is None


def test_float_reflectance_with_sentinel_2s_offset_in_it_is_told_apart() -> None:
    scene = landscape(LAKE, FOREST, MEADOW, SOIL).astype(np.float32)
    assert infer(make_chip(scene + np.float32(0.1), SIX, units="dn")) == (1.0, -0.1)


@pytest.mark.parametrize("factor", [0.02, 100.0])
def test_a_scale_under_which_nothing_is_bright_or_snow_dark_is_refused(factor: float) -> None:
    scene = landscape(LAKE, FOREST, MEADOW, SOIL).astype(np.float32)
    assert doubts(make_chip(scene, SIX)) == ()
    (finding,) = doubts(make_chip(scene, SIX, scale=factor))
    assert finding.severity == "refuse"
    assert "correct --scale and --offset" in finding.message


def test_eight_bits_under_one_scale_are_refused_or_warned_about_with_what_helps() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (4, 64, 64)).astype(np.uint8)
    for scale, severity in ((1e-4, "refuse"), (1 / 255, "warn")):
        (finding,) = doubts(make_chip(picture, SIX[:4], scale=scale))
        assert finding.severity == severity
        assert "no --scale undoes that: train a model on it (landweave train)" in finding.message


def test_an_offset_left_in_and_a_scene_without_anything_dark_are_warned_about() -> None:
    left_in = landscape(LAKE, FOREST, MEADOW, SOIL).astype(np.float32) + np.float32(0.1)
    (finding,) = doubts(make_chip(left_in, SIX))
    assert "say --offset -0.1" in finding.message
    (finding,) = doubts(make_chip(landscape(DESERT).astype(np.float32), SIX))
    assert "no pixel reflects less than" in finding.message


COUNTS: dict[str, tuple[float, ...]] = {
    "floor": (7400, 7300, 7100, 7000, 8000, 9900), "middle": (9000, 9000, 9000, 13_000, 9000, 9000),
    "ceiling": (12_000,) * 6,
}  # fmt: skip
"""Of bands as SIX, in which Collection 2 is recognised."""


@pytest.mark.parametrize(
    ("changed", "bands"),
    [
        (
            {"floor": (7400, 7300, 6300, 7000, 8000, 8000)},
            SIX,
        ),  # something darker than 0.2 / 0.0000275 allows
        ({"floor": (7400, 7300, 9600, 9600, 9600, 9600)}, SIX),  # most bands have nothing dark
        (
            {"floor": (8000, 7300, 7100, 7000, 8000, 8000)},
            SIX,
        ),  # blue lifted by haze, as in Level 1
        (
            {"middle": (9000, 9000, 9000, 12_000, 9000, 9000)},
            SIX,
        ),  # nothing too bright for plain counts: only cloud
        ({}, ("blue", "nir08", "red", "nir", "swir16", "swir22")),  # no green to compare blue with
    ],
)
def test_collection_2_is_recognised_only_where_all_speaks_for_it(
    changed: dict[str, Any], bands: tuple[str, ...]
) -> None:
    def told(**counts: tuple[float, ...]) -> bool:
        floor, middle, ceiling = (np.array(counts[name], float) for name in COUNTS)
        return reflectance._is_collection_2(list(bands), floor, middle, ceiling)

    if bands == SIX:
        assert told(**COUNTS)
        assert told(**COUNTS | {"middle": (9000,) * 6, "ceiling": (20_000,) * 6})
    assert not told(**COUNTS | changed)


DARKEST = (1200.0, 1150.0, 1100.0, 1250.0, 1050.0, 1600.0)
"""Of bands as SIX, in which an offset of 1000 is recognised."""


@pytest.mark.parametrize(
    ("floor", "bands"),
    [
        ((1200, 1150, 880, 1250, 1050, 1600), SIX),  # something darker than the offset
        ((1600, 1600, 1600, 1600, 1050, 1600), SIX),  # most bands stop higher
        ((1400, 1150, 1100, 1450, 1450, 1600), SIX),  # no infrared is dark: soil
        ((950, 950, 950, 1380, 1380, 1380), SIX),  # brighter towards the infrared: soil again
        ((1200, 1150, 1100), ("blue", "green", "red")),  # no infrared at all
        ((1250, 1050, 1300), ("nir", "swir16", "swir22")),  # nothing visible
    ],
)
def test_an_offset_of_1000_is_recognised_only_where_all_speaks_for_it(
    floor: tuple[float, ...], bands: tuple[str, ...]
) -> None:
    assert reflectance._is_offset_by_1000(list(SIX), np.array(DARKEST))
    assert not reflectance._is_offset_by_1000(list(bands), np.array(floor, float))
