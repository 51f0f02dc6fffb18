"""Folders as they are delivered: which files become bands, what hides clouds, and what is said of
the rest."""

from __future__ import annotations

import doctest
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.tiling.rasters import noise, write
from tiling.errors import InputError
from tiling.scene import folders, masks
from tiling.scene.from_files import open_scene
from tiling.scene.scene import Scene

TILE = "T32TPS_20240630T101559"


def test_examples_hold() -> None:
    assert doctest.testmod(masks).failed == doctest.testmod(folders).failed == 0


@pytest.fixture
def safe(tmp_path: Path) -> Path:
    """A Sentinel-2 product of level 2A: each resolution in a folder of its own, the coarser ones
    with copies."""
    product = tmp_path / f"S2B_MSIL2A_20240630T101559_N0510_R022_{TILE}.SAFE"
    for metres, names in (
        (10, "B02 B03 B04 B08 TCI"),
        (20, "B02 B05 B8A B11 B12 SCL"),
        (60, "B01 B02 SCL"),
    ):
        inner = product / "GRANULE" / "L2A_T32TPS" / "IMG_DATA" / f"R{metres}m"
        inner.mkdir(parents=True)
        for name in names.split():
            side = 480 // metres
            pixels = np.full((side, side), 4, np.uint8) if name == "SCL" else noise(side, side)
            if name == "SCL":
                pixels[:, : side // 2] = 9
            write(inner / f"{TILE}_{name}_{metres}m.tif", pixels, size=metres)
    return product


def hidden(scene: Scene, band: str = "red") -> float:
    return 1 - scene.read(scene.window, [band])["valid"].values.mean()


def test_a_safe_folder_is_a_scene_of_its_finest_bands_without_clouds(safe: Path) -> None:
    scene = open_scene([str(safe)])
    names = {"blue", "green", "red", "nir", "rededge071", "nir08", "swir16", "swir22", "coastal"}
    assert set(scene.band_names) == names
    assert scene.band("blue").path.endswith("_B02_10m.tif")
    assert (scene.height, scene.width) == (48, 48)
    assert hidden(scene) == 0.5
    (note,) = scene.notes
    assert f"{TILE}_SCL_20m.tif tells them (values 3, 8, 9, 10); --mask none keeps them" in note


def test_clouds_are_kept_by_whoever_says_so_and_left_out_as_they_say(safe: Path) -> None:
    assert hidden(open_scene([str(safe)], mask="none")) == 0
    assert open_scene([str(safe)], mask="none").notes == ()
    assert hidden(open_scene([str(safe)], mask_values=(4,))) == 0.5


def test_a_folder_inside_says_where_the_rest_is_and_names_its_shortwave_bands(safe: Path) -> None:
    inner = next(safe.glob("GRANULE/*/IMG_DATA"))
    assert any(
        "give the .SAFE folder for all" in note for note in open_scene([str(inner / "R10m")]).notes
    )
    assert {"swir16", "swir22"} <= set(open_scene([str(inner / "R20m")]).band_names)
    assert len(open_scene([str(inner)]).bands) == 9


def test_two_granules_are_two_scenes(safe: Path) -> None:
    (safe / "GRANULE" / "L2A_T32TQS" / "IMG_DATA").mkdir(parents=True)
    with pytest.raises(
        InputError,
        match=r"holds 2 granules; give one of them, for example \S*L2A_T32TPS, each is a scene",
    ):
        open_scene([str(safe)])


def test_a_file_whose_name_tells_no_band_is_named(tmp_path: Path) -> None:
    for name in ("a_B04", "a_B08", "a_elevation", "a_TCI"):
        write(tmp_path / f"{name}.tif", noise(8, 8))
    scene = open_scene([str(tmp_path)])
    assert scene.band_names == ("red", "nir")
    (note,) = scene.notes
    assert "which band a_elevation.tif may be" in note
    assert "TCI" not in note


MTL = """GROUP = LANDSAT_METADATA_FILE
  GROUP = IMAGE_ATTRIBUTES
    SUN_ELEVATION = 30.0
  END_GROUP = IMAGE_ATTRIBUTES
  GROUP = LEVEL1_RADIOMETRIC_RESCALING
    REFLECTANCE_MULT_BAND_3 = 2.0E-03
    REFLECTANCE_MULT_BAND_4 = 3.0E-03
    REFLECTANCE_ADD_BAND_3 = -0.01
    REFLECTANCE_ADD_BAND_4 = -0.02
  END_GROUP = LEVEL1_RADIOMETRIC_RESCALING
END_GROUP = LANDSAT_METADATA_FILE
END
"""


def test_landsats_numbers_become_reflectance_by_the_text_beside_them(tmp_path: Path) -> None:
    stem = "LT05_L1TP_022049_19950630_20200912_02_T1"
    for number in (3, 4, 6):
        write(tmp_path / f"{stem}_B{number}.TIF", np.arange(64, dtype=np.uint8).reshape(8, 8))
    (tmp_path / f"{stem}_MTL.txt").write_text(MTL)
    scene = open_scene([str(tmp_path)])
    assert [(band.name, band.units) for band in scene.bands] == [
        ("red", "reflectance"), ("nir", "reflectance"), ("lwir", "dn"),
    ]  # fmt: skip
    lit = math.sin(math.radians(30))
    assert scene.band("red").scale == pytest.approx(2e-3 / lit)
    assert scene.band("nir").offset == pytest.approx(-0.02 / lit)
    # what Landsat fills with, though these files do not declare it
    assert scene.band("red").nodata == 0
    assert open_scene([str(tmp_path)], scale=0.5).band("red").scale == 0.5


def test_a_bit_mask_beside_landsats_bands_hides_clouds(tmp_path: Path) -> None:
    stem = "LC09_L2SP_022049_20240630_20240701_02_T1"
    for number in (4, 5):
        write(tmp_path / f"{stem}_SR_B{number}.TIF", noise(16, 16))
    quality = np.full((16, 16), 21824, np.uint16)  # clear
    quality[:4] = 22280  # cloud
    write(tmp_path / f"{stem}_QA_PIXEL.TIF", quality)
    scene = open_scene([str(tmp_path)])
    assert hidden(scene) == 0.25
    assert "(bits 0, 1, 2, 3, 4)" in scene.notes[0]


@pytest.mark.parametrize(
    ("make", "mend"),
    [
        (lambda f: (f / "x.SAFE").mkdir(), "x.SAFE does; give that"),
        (lambda f: (f / "x.zip").write_bytes(b"PK"), "unpack x.zip and give the folder"),
        (lambda f: (f / "zarr.json").write_text("{}"), "is a Zarr store; write the bands you need"),
        (lambda f: None, "give the folder of the band files"),
    ],
)
def test_a_folder_without_rasters_says_what_it_is(
    tmp_path: Path, make: Callable[[Path], object], mend: str
) -> None:
    make(tmp_path)
    with pytest.raises(InputError, match=mend):
        open_scene([str(tmp_path)])


def test_a_band_that_calls_itself_otherwise_is_told_of(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", noise(3, 8, 8), names=("B04", "B03", "B02"))
    (note,) = open_scene([path], bands={"blue": 1, "green": 2, "red": 3}).notes
    assert (
        "band 1, here blue, calls itself B04 (red); band 3, here red, calls itself B02 (blue)"
        in note
    )
    assert note.endswith("it says --bands red=1,green=2,blue=3")
    assert open_scene([path], bands={"red": 1, "green": 2}).notes == ()


def test_a_band_called_scl_hides_clouds_of_its_file(tmp_path: Path) -> None:
    pixels = noise(2, 16, 16)
    pixels[1] = 4
    pixels[1, :8] = 8
    path = write(tmp_path / "a.tif", pixels, names=("B04", "SCL"))
    assert hidden(open_scene([path])) == 0.5
    assert hidden(open_scene([path], bands={"red": 1})) == 0.5
    assert hidden(open_scene([path], mask="none")) == 0
