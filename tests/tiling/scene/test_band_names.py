from __future__ import annotations

import doctest

import pytest

from tiling.scene import band_names
from tiling.scene.band_names import (
    CODES,
    COMMON_NAMES,
    LETTERS,
    ORDERS,
    WORDS,
    common_name,
    full_band_name,
    name_in_file_name,
    sensor_in,
    sensor_of_codes,
)


def test_examples_hold() -> None:
    assert doctest.testmod(band_names).failed == 0
    assert doctest.testmod(band_names).attempted >= 4


def test_every_table_leads_to_a_common_name() -> None:
    tables = [WORDS, LETTERS, *CODES.values()]
    assert {name for table in tables for name in table.values()} <= set(COMMON_NAMES)
    for (_, count), order in ORDERS.items():
        assert len(order) == len(set(order)) == count
        assert set(order) <= set(COMMON_NAMES)


def test_letters_and_sensor_codes_are_those_of_the_catalogue_of_indices() -> None:
    import spyndex

    ours = {"sentinel2a": "Sentinel-2", "landsat8": "Landsat 8–9", "landsat7": "Landsat 4–7"}
    compared = 0
    for letter, band in spyndex.bands.items():
        assert common_name(letter) == common_name(band.common_name) == LETTERS[letter.lower()]
        for platform, sensor in ours.items():
            if hasattr(band, platform):
                assert common_name(getattr(band, platform).band, sensor) == LETTERS[letter.lower()]
                compared += 1
    assert compared >= 25


@pytest.mark.parametrize(
    ("text", "sensor", "name"),
    [
        ("Blue", None, "blue"),
        ("NIR", None, "nir"),
        ("Near-Infrared", None, "nir"),
        ("Red Edge 1", None, "rededge071"),
        ("SWIR 2", None, "swir22"),
        ("eo:red", None, None),
        ("infrared", None, None),
        ("B8A", None, "nir08"),
        ("B08", None, "nir"),
        ("B8", None, None),
        ("B8", "Sentinel-2", "nir"),
        ("B5", "Landsat 8–9", "nir08"),
        ("B5", "Landsat 4–7", "swir16"),
        ("band 4 reflectance", None, None),
        ("band 4 reflectance", "Landsat 4–7", "nir"),
        ("band 6 temperature", "Landsat 4–7", "lwir"),
        ("B99", "Sentinel-2", None),
        ("B4", "NAIP", None),
        ("", None, None),
    ],
)
def test_a_word_or_a_code_stands_for_one_band_or_for_none(
    text: str, sensor: str | None, name: str | None
) -> None:
    assert common_name(text, sensor) == name


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("2018-10-13, Sentinel-2B L1C, B08", "nir"),
        ("T32TPS_20240630T101559_B11_20m", "swir16"),
        ("T32TPS_20240630T101559_B12", "swir22"),
        ("b11_20m", "swir16"),
        ("LC08_L1TP_022049_20240630_B11", "lwir12"),
        ("x_B5_20m", None),
        ("S1A_IW_20240601T050000_RTC_VH", "vh"),
        ("T33UVP_20180713T100029_B02_10m", "blue"),
        ("HLS.S30.T33UVP.2021.v2.0.B8A", "nir08"),
        ("HLS.L30.T33UVP.2021.v2.0.B05", "nir08"),
        ("LC08_L2SP_022049_20200101_02_T1_SR_B4", "red"),
        ("LE07_L2SP_022049_20000101_02_T1_SR_B4", "nir"),
        ("LC08_L2SP_022049_20200101_02_T1_ST_B10", "lwir11"),
        ("LC08_L2SP_022049_20200101_02_T1_QA_PIXEL", None),
        ("scene_red_edge_2", "rededge075"),
        ("red", "red"),
        ("red_clipped", None),
        ("tile_N_3", None),
        ("S2", None),
        ("cog_world", None),
    ],
)
def test_a_file_name_ends_with_its_band(stem: str, name: str | None) -> None:
    assert name_in_file_name(stem, sensor_in(stem)) == name


@pytest.mark.parametrize(
    ("text", "sensor"),
    [
        ("LC08_L2SP_022049", "Landsat 8–9"),
        ("LC80220492014", "Landsat 8–9"),
        ("LT05_L1TP", "Landsat 4–7"),
        ("Landsat 8", "Landsat 8–9"),
        ("landsat-leaf-on", None),
        ("S2A_MSIL2A_20180713T100029", "Sentinel-2"),
        ("m_4709963_se_14_1_20090818", "NAIP"),
        ("us2", None),
        ("landsat 85", None),
    ],
)
def test_a_name_tells_the_sensor_or_does_not(text: str, sensor: str | None) -> None:
    assert sensor_in(text) == sensor


def test_a_full_name_keeps_its_source() -> None:
    assert full_band_name("leaf_on.NIR") == "leaf_on.nir"
    assert full_band_name("t2.B08") == "t2.nir"
    assert full_band_name("a.b.nir") is None
    assert full_band_name("2.nir") is None


@pytest.mark.parametrize(
    ("texts", "sensor"),
    [
        (["b2", "b3", "b4", "b8", "b11"], "Sentinel-2"),
        (["B02", "B11"], "Sentinel-2"),
        (["B2", "B3", "B4", "B8", "B10", "B11"], None),
        (["B4", "B12"], "Sentinel-2"),
        (["B4", "B5", "B6"], None),
        (["band 8", "nir"], None),
    ],
)
def test_codes_tell_a_sensor_where_no_other_writes_them(
    texts: list[str], sensor: str | None
) -> None:
    assert sensor_of_codes(texts) == sensor


def test_radar_is_named_by_its_polarisation() -> None:
    assert [common_name(text) for text in ("VV", "Sigma0_VH_db", "gamma0-vv", "HH")] == [
        "vv",
        "vh",
        "vv",
        "hh",
    ]
