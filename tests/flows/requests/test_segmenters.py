"""What a person writes after --segmenter, beside kinds and models: tables of spectra."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.requests.segmenters import choose_segmenter
from segmentation.classical.spectral_angle import SpectralAngle
from tiling.errors import InputError

SPECTRA = {
    "Water": {"green": 0.06, "red": 0.04, "nir": 0.02},
    "Deep forest": {"green": 0.03, "red": 0.02, "nir": 0.3},
}


@pytest.mark.parametrize("comma", [",", ";", "\t"])
def test_a_table_of_spectra_is_a_segmenter(tmp_path: Path, comma: str) -> None:
    lines = ["name,green,red,nir", "Water,0.06,0.04,0.02", "", "Deep forest, 0.03, 2e-2, 0.3"]
    table = tmp_path / "spectra.csv"
    table.write_text("\r\n".join(lines).replace(",", comma), encoding="utf-8-sig")
    expected = SpectralAngle.model_validate(
        {"kind": "spectral-angle", "spectra": SPECTRA, "angle": 0.2}
    )
    assert choose_segmenter(str(table), {"angle": 0.2}) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no table of spectra: write a line of names"),
        ("name,green,nir\n", "is no table of spectra"),
        ("name,green\nWater,1\n", "is no table of spectra"),
        ("name,green,nir\nWater,1\n", "Water needs a number for each of green, nir"),
        ("name,green,nir\nWater,1,dark\n", "Water needs a number for each of green, nir"),
        ("name,green,nir\n,1,2\n", "a spectrum without a name|no name with the values"),
        ("name,green,nir\nWater,1,2\nWater,2,1\n", "has Water twice; give each"),
        ("name,green,nir\nWater,0,0\n", "Water is 0 in every band"),
    ],
)
def test_what_is_no_table_of_spectra_is_refused(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "spectra.csv"
    table.write_text(text)
    with pytest.raises(InputError, match=message):
        choose_segmenter(str(table), {})


def test_a_table_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.csv cannot be read as a table: .*No such file"):
        choose_segmenter(str(tmp_path / "none.csv"), {})
    (tmp_path / "image.csv").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(InputError, match=r"image.csv cannot be read as a table"):
        choose_segmenter(str(tmp_path / "image.csv"), {})
