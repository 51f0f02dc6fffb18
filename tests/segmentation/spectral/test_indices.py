"""Indices: the textbook's values, the catalogue's own evaluation, and real spectra in their right
order."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import spyndex
from hypothesis import given
from hypothesis import strategies as st

from segmentation.errors import InputError
from segmentation.spectral import indices
from segmentation.spectral.indices import (
    available,
    catalogue,
    compute,
    find,
    index_bands,
    mend,
    missing,
)
from tests.segmentation.chips import make_chip, of_spectra

LETTERS = {letter: band.common_name for letter, band in spyndex.bands.items()}
ALL_BANDS = tuple(LETTERS.values())
COMPUTABLE = [index.name for index in available(ALL_BANDS)]

# A meadow; by hand below.
MEADOW = {"blue": 0.04, "green": 0.08, "red": 0.06, "nir": 0.40, "swir16": 0.20, "swir22": 0.10}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NDVI", 0.34 / 0.46),
        ("GNDVI", 0.32 / 0.48),
        ("EVI", 2.5 * 0.34 / (0.40 + 0.36 - 0.30 + 1)),  # Huete et al. (2002)
        ("EVI2", 2.5 * 0.34 / (0.40 + 0.144 + 1)),  # Jiang et al. (2008)
        ("SAVI", 1.5 * 0.34 / 0.96),  # Huete (1988) with L = 0.5
        ("OSAVI", 0.34 / 0.62),
        ("MSAVI", (1.8 - (3.24 - 2.72) ** 0.5) / 2),  # Qi et al. (1994)
        ("NDWI", -0.32 / 0.48),  # McFeeters (1996)
        ("MNDWI", -0.12 / 0.28),  # Xu (2006)
        ("NDMI", 0.20 / 0.60),
        ("NDBI", -0.20 / 0.60),  # Zha et al. (2003)
        ("BI", (0.26 - 0.44) / 0.70),  # Rikimaru et al. (2002), elsewhere called BSI
        ("NBR", 0.30 / 0.50),
        ("NDSI", -0.12 / 0.28),  # Hall et al. (1995)
        ("AWEInsh", 4 * (0.08 - 0.20) - 0.25 * 0.40 + 2.75 * 0.10),  # Feyisa et al. (2014)
        ("AWEIsh", 0.04 + 2.5 * 0.08 - 1.5 * 0.60 - 0.25 * 0.10),
        (
            "NDPI",
            (0.40 - (0.74 * 0.06 + 0.26 * 0.20)) / (0.40 + 0.74 * 0.06 + 0.26 * 0.20),
        ),  # Wang et al. (2017)
    ],
)
def test_an_index_has_its_textbook_value(name: str, expected: float) -> None:
    chip = of_spectra([list(MEADOW.values())], list(MEADOW))
    assert compute(name, chip)[0, 0] == pytest.approx(expected, abs=1e-6)


def test_digital_numbers_of_a_file_are_scaled_before_the_formula() -> None:
    # reflectance 0.06 and 0.40, as Sentinel-2 has written since 2022
    counts = np.array([[[1600]], [[5000]]], np.uint16)
    chip = make_chip(counts, ["red", "nir"], scale=1e-4, offset=-0.1)
    assert compute("EVI2", chip)[0, 0] == pytest.approx(2.5 * 0.34 / 1.544, abs=1e-6)


@pytest.mark.parametrize("name", COMPUTABLE)
def test_every_formula_evaluates_as_the_catalogue_does(name: str) -> None:
    index = find(name)
    reflectances = (
        np.random.default_rng(7).uniform(0.01, 0.7, (len(index.bands), 5, 40)).astype(np.float32)
    )
    params = {letter: reflectances[i] for i, (letter, _) in enumerate(index.letters)}
    with np.errstate(all="ignore"):
        expected = np.asarray(
            spyndex.computeIndex(name, params={**params, **dict(index.constants)})
        )
    expected = np.where(np.isfinite(expected), expected, np.nan)
    found = compute(name, make_chip(reflectances, index.bands))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert np.isfinite(found).mean() > 0.05


@pytest.mark.parametrize("name", COMPUTABLE)
def test_a_pixel_has_the_same_bits_in_every_chip(name: str) -> None:
    index = find(name)
    reflectances = (
        np.random.default_rng(8).uniform(0.01, 0.7, (len(index.bands), 37, 1003)).astype(np.float32)
    )
    whole = compute(name, make_chip(reflectances, index.bands))
    part = compute(name, make_chip(reflectances[:, 5:31, 11:30], index.bands))
    assert part.tobytes() == np.ascontiguousarray(whole[5:31, 11:30]).tobytes()


def test_constants_not_in_the_papers_sense_are_the_catalogues() -> None:
    assert dict(find("EVI").constants) == {"g": 2.5, "C1": 6.0, "C2": 7.5, "L": 1.0}
    assert dict(find("SAVI").constants) == {"L": 0.5}
    assert dict(find("WDRVI").constants) == {"alpha": 0.1}


def test_what_is_undefined_or_invalid_is_nan_and_never_infinite() -> None:
    red = np.array([[0.0, 0.0, 0.1, 0.1]], np.float32)
    nir = np.array([[0.0, 0.3, 0.3, 0.3]], np.float32)
    chip = make_chip([red, nir], ["red", "nir"], valid=np.array([[True, True, True, False]]))
    np.testing.assert_allclose(compute("NDVI", chip), [[np.nan, 1, 0.5, np.nan]], rtol=1e-6)
    np.testing.assert_allclose(compute("SR", chip), [[np.nan, np.nan, 3, np.nan]], rtol=1e-6)


@given(
    st.lists(st.tuples(*[st.floats(-2, 2, width=32)] * 6), min_size=1, max_size=30),
    st.sampled_from(["NDVI", "EVI", "MSAVI", "IBI", "MuWIR", "AVI", "BAIS2", "MCARI2"]),
)
def test_no_pixel_whatever_makes_an_infinite_index(
    spectra: list[tuple[float, ...]], name: str
) -> None:
    bands = (*MEADOW, "rededge075", "rededge078", "nir08")
    chip = of_spectra([(*spectrum, *spectrum[:3]) for spectrum in spectra], bands)
    assert not np.isinf(compute(name, chip)).any()


def test_real_spectra_come_in_the_order_of_the_textbook(shared_data: Path) -> None:
    samples = json.loads((shared_data / "spyndex_spectral" / "spectral.json").read_text())
    landsat = {
        "blue": "SR_B2",
        "green": "SR_B3",
        "red": "SR_B4",
        "nir08": "SR_B5",
        "swir16": "SR_B6",
        "swir22": "SR_B7",
    }
    spectra = np.array([list(samples[column].values()) for column in landsat.values()])
    classes = np.array(list(samples["class"].values()))
    chip = of_spectra(spectra.T, list(landsat))

    def median(name: str, land: str) -> float:
        return float(np.median(compute(name, chip)[0, classes == land]))

    for greenness in ("NDVI", "EVI", "SAVI", "MSAVI"):
        assert (
            median(greenness, "Vegetation")
            > median(greenness, "Urban")
            > median(greenness, "Water")
        )
    for wetness in ("MNDWI", "NDWI", "AWEIsh"):
        assert (
            median(wetness, "Water")
            > 0
            > max(median(wetness, "Vegetation"), median(wetness, "Urban"))
        )
    assert median("NDBI", "Urban") > 0 > median("NDBI", "Vegetation")
    assert median("BI", "Urban") > median("BI", "Vegetation")
    assert median("NBR", "Vegetation") > median("NBR", "Urban")


def test_names_are_found_in_any_case() -> None:
    assert find("ndvi") is find("NDVI") is find("NdVi")
    assert find("aweinsh").name == "AWEInsh"


def test_two_names_that_differ_in_case_alone_are_told_apart() -> None:
    assert find("BAI").domain == "burn"
    assert find("BaI").domain == "soil"
    with pytest.raises(InputError, match="BAI or BaI"):
        find("bai")


def test_an_unknown_name_is_answered_with_the_closest() -> None:
    with pytest.raises(InputError, match="there is no index 'nvdi'; did you mean NDVI"):
        find("nvdi")
    with pytest.raises(InputError, match="landweave indices"):
        find("qqqqqqqqq")


def test_landsats_only_near_infrared_serves_where_nir_is_asked_for() -> None:
    assert index_bands("NDVI", ["red", "nir08"]) == ("nir08", "red")
    assert index_bands("NDVI", ["red", "nir08", "nir"]) == ("nir", "red")
    chip = of_spectra([[0.06, 0.40]], ["red", "nir08"])
    assert compute("NDVI", chip)[0, 0] == pytest.approx(0.34 / 0.46)
    assert "nir08" in missing(["red", "nir"])["AshburnVI"]  # what was made for 865 nm wants 865 nm


def test_a_band_that_is_not_there_is_named_with_the_mend() -> None:
    with pytest.raises(
        InputError,
        match=r"MNDWI needs green and swir16; there are red, "
        r"nir.*files, green=FILE swir16=FILE too",
    ):
        index_bands("mndwi", ["red", "nir"])
    with pytest.raises(InputError, match="needs VV and VH besides bands"):
        index_bands("NDPolI", ALL_BANDS)


def test_every_index_is_either_available_or_missing_something() -> None:
    bands = ["blue", "green", "red", "nir08", "swir16"]
    able, lacking = {index.name for index in available(bands)}, missing(bands)
    assert able | set(lacking) == set(catalogue())
    assert able.isdisjoint(lacking)
    assert {"NDVI", "EVI", "MNDWI"} <= able
    assert lacking["NBR"] == ("swir22",)
    assert lacking["kNDVI"] == ("kNN", "kNR")
    assert set(lacking["FAI"]) == {"lambdaN", "lambdaR", "lambdaS1"}


def test_only_what_is_the_same_at_every_scale_is_computed_on_digital_numbers() -> None:
    assert find("NDVI").scale_invariant
    assert find("DBSI").scale_invariant
    assert not find("EVI").scale_invariant
    assert not find("SAVI").scale_invariant
    assert not find("DVI").scale_invariant
    assert not find("NDBaI").scale_invariant  # a ratio, but with a temperature
    counts = np.array([[[30]], [[60]], [[120]]], np.uint8)
    chip = make_chip(counts, ["blue", "red", "nir"], units="dn")
    assert compute("NDVI", chip)[0, 0] == pytest.approx(1 / 3)
    with pytest.raises(InputError, match=r"EVI is not the same at every scale.*--scale"):
        compute("EVI", chip)
    mixed = chip.assign_coords(units=("band", ["dn", "dn", "reflectance"]))
    with pytest.raises(InputError, match="--scale"):
        compute("NDVI", mixed)


@pytest.mark.parametrize(
    "formula", ["__import__('os')", "N.real", "[N][0]", "N if R else N", "N // R", "'text' * 2"]
)
def test_a_formula_that_is_more_than_arithmetic_is_refused(formula: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        indices._evaluate(indices._tree(formula), {"N": 1.0, "R": 2.0})


@pytest.mark.parametrize(
    ("needed", "there", "said"),
    [
        (
            ("green", "red", "nir"),
            ("band_1", "band_2", "band_3", "band_4"),
            "--bands green=1,red=2,nir=3",
        ),
        (
            ("nir", "swir16"),
            ("blue", "green", "red", "nir"),
            "none of these is swir16; if a file has more bands",
        ),
        (("nir", "swir16"), ("nir", "band_2"), "--bands nir=1,swir16=2"),
        (("nir", "swir16"), ("band_1",), "none of these is swir16; if a file has more bands"),
        (("t1.nir",), ("band_1", "t1.red", "t1.band_2"), "--bands t1.nir=2"),
        (("nir",), (), "files, nir=FILE too"),
    ],
)
def test_the_mend_suits_the_bands_that_are_there(
    needed: tuple[str, ...], there: tuple[str, ...], said: str
) -> None:
    assert said in mend(needed, there)


OWN = indices.Index(
    name="OWN", long_name="Own", formula="(N - R) / (N + R)", letters=(("N", "nir"), ("R", "red"))
)


@pytest.fixture
def own_catalogue(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[object], None]]:
    """Installs a package whose only entry point is the object given."""

    def install(index: object) -> None:
        point = EntryPoint("own", "of_others:INDEX", indices.ENTRY_POINTS)
        monkeypatch.setitem(sys.modules, "of_others", SimpleNamespace(INDEX=index))
        monkeypatch.setattr(indices, "entry_points", lambda *, group: [point])
        forget()

    def forget() -> None:
        indices.catalogue.cache_clear()
        indices._spellings.cache_clear()

    yield install
    monkeypatch.undo()
    forget()


def test_an_index_of_a_package_is_found_in_any_case_and_computed(
    own_catalogue: Callable[[object], None],
) -> None:
    own_catalogue(OWN)
    assert find("own").origin == "of_others:INDEX"
    chip = of_spectra([list(MEADOW.values())], list(MEADOW))
    assert compute("OWN", chip)[0, 0] == compute("NDVI", chip)[0, 0]


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (
            replace(OWN, name="NDVI"),
            "index NDVI of of_others:INDEX has a name that is taken; give it another",
        ),
        (
            replace(OWN, formula="__import__('os').getcwd()"),
            "has no formula that works: .* is not arithmetic",
        ),
        (replace(OWN, formula="N -"), "has no formula that works"),
        (replace(OWN, formula="N - X"), "has no formula that works: 'X'"),
        ("N - R", "index own of of_others:INDEX is not an Index"),
    ],
)
def test_an_index_of_a_package_that_cannot_be_is_refused_by_name(
    own_catalogue: Callable[[object], None], index: object, message: str
) -> None:
    own_catalogue(index)
    with pytest.raises(InputError, match=message):
        find("NDVI")
