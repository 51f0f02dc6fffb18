from __future__ import annotations

import datetime
import json
import os
import pickle
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin

from tests.tiling.rasters import noise, write
from tiling.errors import InputError
from tiling.grid.window import Window
from tiling.scene.from_files import open_scene
from tiling.scene.scene import Scene


def whole(scene: Scene, *bands: str) -> tuple[Any, Any]:
    chip = scene.read(scene.window, bands or scene.band_names)
    return chip["pixels"].values, chip["valid"].values


def refusal(*sources: str, **options: Any) -> str:
    """The one sentence with which a scene is refused."""
    with pytest.raises(InputError) as caught:
        open_scene(sources, **options)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert str(pickle.loads(pickle.dumps(caught.value))) == sentence
    # Dask sends a cause and a context along, and rasterio's errors do not unpickle.
    assert not isinstance(
        caught.value.__cause__ or caught.value.__context__, rasterio.errors.RasterioError
    )
    return sentence


# Which band is which


def test_bands_are_named_by_descriptions_before_colours(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.tif", noise(3, 8, 8), names=("NIR", "Red", "Green"), photometric="RGB"
    )
    assert open_scene([path]).band_names == ("nir", "red", "green")


def test_bands_are_named_by_colours_where_nothing_else_speaks(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", noise(4, 8, 8), colours=("blue", "green", "red", "undefined"))
    assert open_scene([path]).band_names == ("blue", "green", "red", "band_4")


def test_bands_are_named_by_a_sensors_order_only_where_it_is_named(tmp_path: Path) -> None:
    pixels = noise(6, 8, 8, dtype="int16")
    landsat = write(tmp_path / "LT05_L2SP_stack.tif", pixels)
    unknown = write(tmp_path / "stack.tif", pixels)
    assert open_scene([landsat]).band_names == ("blue", "green", "red", "nir", "swir16", "swir22")
    assert open_scene([unknown]).band_names == tuple(f"band_{i}" for i in range(1, 7))


def test_codes_without_zeros_are_read_where_one_of_them_is_sentinel_2s_alone(
    tmp_path: Path,
) -> None:
    pixels = noise(3, 8, 8, dtype="uint16")
    assert open_scene(
        [write(tmp_path / "a.tif", pixels, names=("B2", "B4", "B8A"))]
    ).band_names == (
        "blue",
        "red",
        "nir08",
    )
    assert (
        open_scene([write(tmp_path / "b.tif", pixels, names=("B2", "B4", "B5"))]).band_names[1]
        == "band_2"
    )


def test_a_name_that_two_bands_claim_is_neither_s(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", noise(3, 8, 8, dtype="uint16"), names=("red", "red", "nir"))
    assert open_scene([path]).band_names == ("band_1", "band_2", "nir")


@pytest.mark.parametrize("version", ["eo:bands", "bands"])
def test_bands_are_named_by_a_stac_item_beside_the_file(tmp_path: Path, version: str) -> None:
    path = write(tmp_path / "a.tif", noise(2, 8, 8, dtype="uint16"))
    key = "common_name" if version == "eo:bands" else "eo:common_name"
    item = {"assets": {"data": {"href": "./a.tif", version: [{key: "nir"}, {key: "red"}]}}}
    (tmp_path / "a.json").write_text(json.dumps(item))
    assert open_scene([path]).band_names == ("nir", "red")
    (tmp_path / "a.json").write_text("[1, 2]")
    assert open_scene([path]).band_names == ("band_1", "band_2")


def test_a_person_names_bands_in_any_words_and_leaves_the_rest_out(tmp_path: Path) -> None:
    pixels = noise(4, 8, 8)
    path = write(tmp_path / "a.tif", pixels, names=("red", "green", "blue", "nir"))
    scene = open_scene([path], bands={"N": 4, "Green": 1, "t2.red": 3})
    assert scene.band_names == ("nir", "green", "t2.red")
    assert np.array_equal(whole(scene)[0], pixels[[3, 0, 2]])


@pytest.mark.parametrize(
    ("bands", "fact"),
    [
        ({"red": 5}, "there is no band 5"),
        ({"red": 0}, "there is no band 0"),
        ({"elevation": 1}, "elevation is no band name"),
        ({"nir": 1, "N": 2}, "nir is named twice"),
        ({"red": 1, "nir": 1}, "band 1 is named twice"),
    ],
)
def test_wrong_band_numbers_are_refused_with_what_the_file_holds(
    tmp_path: Path, bands: dict[str, int], fact: str
) -> None:
    path = write(tmp_path / "a.tif", noise(4, 8, 8), names=("Red", "Green", "Blue", "NIR"))
    sentence = refusal(path, bands=bands)
    assert fact in sentence
    assert f"{path} holds 4 bands: 1 (Red), 2 (Green), 3 (Blue), 4 (NIR)" in sentence


def test_single_band_files_make_one_scene_by_name_or_by_word(tmp_path: Path) -> None:
    red, nir = noise(8, 8, seed=1), noise(8, 8, seed=2)
    sources = [write(tmp_path / "x_B04.tif", red), "nir=" + write(tmp_path / "whatever.tif", nir)]
    scene = open_scene(sources)
    assert (scene.name, scene.band_names) == ("x_B04", ("red", "nir"))
    pixels, valid = whole(scene, "nir", "red")
    assert np.array_equal(pixels, [nir, red])
    assert valid.all()
    assert open_scene([sources[1]]).name == "whatever"


def test_a_folder_of_band_files_is_a_scene(tmp_path: Path) -> None:
    folder = tmp_path / "S2_scene"
    folder.mkdir()
    for name in ("a_B08.tif", "a_B04.tif", "a_SCL.tif"):
        write(folder / name, noise(8, 8))
    (folder / "notes.txt").write_text("not a raster")
    scene = open_scene([str(folder)])
    assert (scene.name, scene.band_names) == ("S2_scene", ("red", "nir"))


def test_further_rasters_stand_under_names_of_their_own(tmp_path: Path) -> None:
    """Two years and a terrain model in one scene, the coarse one on the grid of the fine ones."""
    now, before, height = noise(4, 8, 8), noise(4, 8, 8), np.full((1, 4, 4), 7, np.uint8)
    names = ("Red", "Green", "Blue", "NIR")
    first, second = (
        write(tmp_path / "a.tif", now, names=names),
        write(tmp_path / "b.tif", before, names=names),
    )
    terrain = write(tmp_path / "c.tif", height, size=20)
    scene = open_scene([first, f"before={second}", f"terrain={terrain}"])
    assert (scene.name, scene.height) == ("a", 8)
    assert scene.band_names[:5] == ("red", "green", "blue", "nir", "before.red")
    assert scene.band_names[-1] == "terrain.band_1"
    pixels, _ = whole(scene, "before.nir", "nir", "terrain.band_1")
    assert np.array_equal(pixels[0], before[3])
    assert np.array_equal(pixels[1], now[3])
    assert np.all(pixels[2] == 7)

    # letters of thermal bands, where a file has one band
    both = open_scene([f"t1={first}", f"t2={second}"])
    assert {name.partition(".")[0] for name in both.band_names} == {"t1", "t2"}
    thermal, red = (
        write(tmp_path / "thermal.tif", noise(8, 8)),
        write(tmp_path / "red.tif", noise(8, 8)),
    )
    assert open_scene([red, f"t1={thermal}"]).band_names == ("red", "lwir11")
    numbered = open_scene([first, f"before={second}"], bands={"before.swir16": 2, "nir": 4})
    assert [(band.name, band.index) for band in numbered.bands] == [
        ("nir", 4),
        ("before.swir16", 2),
    ]
    alone = open_scene([f"before={second}"])
    assert (alone.name, alone.band_names[0]) == ("b", "before.red")


def test_sources_that_do_not_make_one_scene_are_refused(tmp_path: Path) -> None:
    stack = write(tmp_path / "stack.tif", noise(3, 8, 8))
    red, other = (
        write(tmp_path / "red.tif", noise(8, 8)),
        write(tmp_path / "other_red.tif", noise(8, 8)),
    )
    plain = write(tmp_path / "plain.tif", noise(8, 8))
    (tmp_path / "empty").mkdir()
    assert "holds 3 bands where a single-band file is wanted" in refusal(stack, red)
    for count in (1, 3):
        tiles = [
            write(
                tmp_path / f"{count}-{n}.tif",
                noise(count, 8, 8),
                transform=from_origin(5e5 + 80 * n, 5e6, 10, 10),
            )
            for n in range(4)
        ]
        said = refusal(*tiles)
        assert f"{tiles[0]} and 3 more lie side by side: tiles of one scene" in said
        assert f"gdalbuildvrt scene.vrt {count}-0.tif {count}-1.tif …" in said
    assert "are both red" in refusal(red, other)
    assert f"say so, for example red={plain}" in refusal(plain, red)
    assert "t2.elevation is no band name" in refusal(f"t2.elevation={plain}")
    assert "write red=PATH instead" in refusal(red, f"nir={plain}", bands={"red": 1})
    assert "is a folder among other sources" in refusal(red, str(tmp_path / "empty"))
    assert "holds no raster" in refusal(str(tmp_path / "empty"))
    assert "no source was given" in refusal()


def test_a_band_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    scene = open_scene([write(tmp_path / "a.tif", noise(2, 8, 8), names=("red", "green"))])
    with pytest.raises(InputError, match="a has no band nir; it has red, green"):
        scene.read(scene.window, ["nir"])


# Real files


@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("landsat7_olinda/L7_ETMs.tif", "blue green red nir swir16 swir22"),
        (
            "landsat7_chiapas_polygons/LE70220491999322EDC01_stack.gtif",
            "blue green red nir swir16 swir22 lwir band_8",
        ),
        ("naip_nd_multiyear/m_4709963_se_14_1_20090818.tif", "red green blue nir"),
        ("chesapeake_md_multires/m_3907833_nw_17_1_naip-new.tif", "red green blue nir"),
        ("s2_l2a_openeo_sample/S2_L2A_sample.tif", "red green blue nir band_5"),
        ("landsat_peru_series/1985.tif", "band_1 band_2 band_3 band_4"),
        ("odd_tiffs_cog_fixtures/cog_tags.tif", "green"),
        ("odd_tiffs_cog_fixtures/cog_world.tif", "band_1"),
        ("odd_tiffs_rasterio/RGBA.uint16.tif", "blue green red"),
        ("odd_tiffs_rasterio/all-nodata.tif", "blue green red nir"),
        ("s2_rachel_carson_nc", "coastal blue green red rededge071 rededge075 rededge078 nir"),
    ],
)
def test_bands_of_real_files_get_their_names(shared_data: Path, file: str, names: str) -> None:
    assert open_scene([str(shared_data / file)]).band_names == tuple(names.split())


def test_vegetation_is_brightest_in_what_is_called_near_infrared(shared_data: Path) -> None:
    """Scene classification, band 5, calls class 4 vegetation: so the names do not rest on tags
    alone."""
    scene = open_scene([str(shared_data / "s2_l2a_openeo_sample/S2_L2A_sample.tif")])
    (red, green, blue, nir, classes), _ = whole(scene)
    vegetation, soil = classes == 4, classes == 5
    assert nir[vegetation].mean() > 4 * green[vegetation].mean() > 4 * red[vegetation].mean()
    assert red[soil].mean() > green[soil].mean() > blue[soil].mean()


def test_naips_infrared_declared_as_alpha_is_a_band(shared_data: Path) -> None:
    path = str(shared_data / "chesapeake_md_multires/m_3907833_nw_17_1_naip-new.tif")
    with rasterio.open(path) as dataset:
        assert dataset.colorinterp[3] == ColorInterp.alpha
        stored = dataset.read()
    assert (stored[3] == 0).any()
    for bands in (None, {"red": 1, "green": 2, "blue": 3, "nir": 4}):
        scene = open_scene([path], bands=bands)
        assert scene.band_names == ("red", "green", "blue", "nir")
        pixels, valid = whole(scene)
        assert np.array_equal(pixels, stored)
        assert valid.all()


@pytest.mark.parametrize("edge", [0, 30])
def test_what_is_declared_alpha_hides_pixels_unless_its_values_show_that_it_is_no_mask(
    tmp_path: Path, edge: int
) -> None:
    """A mask may have soft edges: some pixels of many values, most shown or hidden."""
    colours, seen = ("red", "green", "blue", "alpha"), noise(3, 300, 400, low=1, high=255)
    soft = np.full((300, 400), 255, "uint8")
    soft[:100], soft[100 : 100 + edge] = 0, np.linspace(0, 255, edge)[:, None].astype("uint8")
    masked = open_scene([write(tmp_path / "masked.tif", [*seen, soft], colours=colours)])
    assert masked.band_names == ("red", "green", "blue")
    assert np.array_equal(whole(masked)[1], soft > 0)
    light = np.where(noise(300, 400, seed=5) < 60, 0, noise(300, 400, seed=4)).astype("uint8")
    lit = open_scene([write(tmp_path / "lit.tif", [*seen, light], colours=colours)])
    assert lit.band_names == ("red", "green", "blue", "band_4")
    assert np.array_equal(whole(lit)[0][3], light)
    assert whole(lit)[1].all()


@pytest.mark.slow
def test_every_real_raster_is_read_as_rasterio_reads_it_or_refused_in_one_sentence(
    shared_data: Path,
) -> None:
    read, refused = 0, []
    for path in sorted(shared_data.rglob("*.*")):
        too_big = path.name in ("cog_world.tif", "cog_cmap.tif", "rio-stac_dataset_geom.tif")
        if path.suffix not in (".tif", ".tiff", ".gtif", ".vrt") or too_big:
            continue
        try:
            scene = open_scene([str(path)])
        except InputError as mistake:
            refused.append((path.name, str(mistake)))
            continue
        pixels, valid = whole(scene)
        with rasterio.open(path) as dataset:
            numbers = [band.index for band in scene.bands]
            expected = dataset.read(numbers)
            shown = (dataset.read_masks(numbers) > 0).all(axis=0)
            if "naip" in path.name and path.parent.name.startswith("chesapeake"):
                assert len(numbers) == 4  # infrared, which rasterio takes for its mask
                shown[:] = True
        np.testing.assert_array_equal(pixels, expected)
        assert np.array_equal(valid, shown & np.isfinite(expected).all(axis=0)), path
        read += 1
    assert read >= 75
    assert len(refused) >= 100
    for name, sentence in refused:
        assert name in sentence
        assert "\n" not in sentence


# What a pixel means


def test_what_a_person_says_of_the_scale_goes_before_what_the_file_says(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.tif", noise(1, 8, 8))
    declared = write(tmp_path / "declared.tif", noise(1, 8, 8), scale=0.5, offset=-1)

    def meaning(path: str, **options: float) -> tuple[float, float, str]:
        band = open_scene([path], **options).bands[0]  # type: ignore[arg-type]
        return band.scale, band.offset, band.units

    assert meaning(plain) == (1, 0, "dn")
    assert meaning(plain, scale=0.0001) == (0.0001, 0, "reflectance")
    assert meaning(plain, offset=-0.1) == (1, -0.1, "reflectance")
    assert meaning(plain, scale=1.0) == (1, 0, "reflectance")
    assert meaning(declared) == (0.5, -1, "reflectance")
    assert meaning(declared, scale=0.25) == (0.25, -1, "reflectance")


def test_calibration_turns_digital_numbers_and_nothing_else_into_reflectance(
    tmp_path: Path,
) -> None:
    sources = [
        write(tmp_path / "red.tif", noise(8, 8)),
        write(tmp_path / "nir.tif", noise(8, 8), scale=0.5),
    ]
    before = open_scene(sources)
    after = before.calibrate(0.0001, -0.1, ["red"])
    assert [(b.scale, b.offset, b.units) for b in after.bands] == [
        (0.0001, -0.1, "reflectance"),
        (0.5, 0, "reflectance"),
    ]
    chip = after.read(after.window, ["red", "nir"])
    assert chip["scale"].values.tolist() == [0.0001, 0.5]
    assert chip["units"].values.tolist() == ["reflectance"] * 2
    assert np.array_equal(chip["pixels"], before.read(before.window, ["red", "nir"])["pixels"])


@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"]
)
def test_no_data_is_compared_as_the_band_stores_it(tmp_path: Path, dtype: str) -> None:
    nodata = -3.4e38 if dtype.startswith("float") else 7
    pixels = np.array([[1, 2], [3, 4]], dtype)
    pixels[0, 1] = nodata
    path = write(tmp_path / "a.tif", pixels, nodata=nodata, tiled=False)
    stored, valid = whole(open_scene([path]))
    assert stored.dtype == dtype
    assert valid.tolist() == [[True, False], [True, True]]


def test_nan_and_infinity_are_never_valid(tmp_path: Path) -> None:
    pixels = np.array([[1, np.nan, np.inf], [-np.inf, -1, 0]], "float32")
    expected = [[True, False, False], [False, True, True]]
    for nodata in (None, np.nan, 5):
        path = write(tmp_path / f"{nodata}.tif", pixels, nodata=nodata, tiled=False)
        assert whole(open_scene([path]))[1].tolist() == expected


def test_a_persons_no_data_holds_for_every_band_and_one_no_pixel_can_have_hides_none(
    tmp_path: Path,
) -> None:
    pixels = np.array([[[1, 2]], [[3, 1]]], "uint8")
    path = write(tmp_path / "a.tif", pixels, nodata=3, tiled=False)
    assert whole(open_scene([path]))[1].tolist() == [[False, True]]
    assert whole(open_scene([path], nodata=1))[1].tolist() == [[False, False]]
    assert whole(open_scene([path], nodata=2))[1].tolist() == [[True, False]]
    for impossible in (-9999, 1.5, np.nan):
        assert whole(open_scene([path], nodata=impossible))[1].all()


def test_validity_is_that_of_the_bands_asked_for(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.tif",
        np.array([[[1, 0, 1]], [[0, 1, 1]]], "uint8"),
        names=("red", "nir"),
        nodata=0,
    )
    scene = open_scene([path])
    assert whole(scene, "red")[1].tolist() == [[True, False, True]]
    assert whole(scene, "nir")[1].tolist() == [[False, True, True]]
    assert whole(scene, "nir", "red")[1].tolist() == [[False, False, True]]


@pytest.mark.parametrize("internal", [True, False])
def test_a_mask_in_or_beside_the_file_hides_pixels(tmp_path: Path, internal: bool) -> None:
    mask = noise(16, 16, seed=3) > 100
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal):
        path = write(tmp_path / "a.tif", noise(3, 16, 16), mask=mask)
    assert Path(path + ".msk").exists() is not internal
    assert np.array_equal(whole(open_scene([path]))[1], mask)


def test_an_alpha_band_hides_pixels_beside_no_data_and_is_no_band(tmp_path: Path) -> None:
    pixels = np.array([[[9, 9, 0]], [[0, 1, 255]]], "uint8")
    path = write(tmp_path / "a.tif", pixels, nodata=0, colours=("gray", "alpha"), tiled=False)
    scene = open_scene([path])
    assert scene.band_names == ("band_1",)
    assert whole(scene)[1].tolist() == [[False, True, False]]


def test_mask_values_hide_pixels(tmp_path: Path) -> None:
    classes = np.array([[0, 3, 4], [8, 0, 9]], "uint8")
    path = write(tmp_path / "a.tif", [np.full((2, 3), 5, "uint8"), classes], tiled=False, nodata=4)
    beside = write(tmp_path / "clouds.tif", classes, tiled=False, nodata=8)
    for mask in ("band=2", beside):
        scene = open_scene([path], bands={"red": 1}, mask=mask)
        assert whole(scene)[1].tolist() == (classes == 0).tolist()
        scene = open_scene([path], bands={"red": 1}, mask=mask, mask_values=[0, 8])
        assert whole(scene)[1].tolist() == (~np.isin(classes, [0, 8])).tolist()


def test_a_mask_on_another_grid_hides_what_lies_under_its_pixels_and_nothing_beyond(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "a.tif", noise(16, 16))
    # 20 m pixels that begin 40 m east and 20 m south of the scene's corner and end inside it; 1 is
    # its own no data.
    clouds = np.array([[1, 0], [0, 2]], "uint8")
    mask = write(
        tmp_path / "m.tif",
        clouds,
        transform=from_origin(500_040, 4_999_980, 20, 20),
        tiled=False,
        nodata=1,
    )
    expected = np.ones((16, 16), bool)
    expected[2:4, 4:6] = expected[4:6, 6:8] = False
    assert np.array_equal(whole(open_scene([path], mask=mask))[1], expected)
    expected[2:4, 4:6] = True
    assert np.array_equal(whole(open_scene([path], mask=mask, mask_values=[2]))[1], expected)


def test_wrong_masks_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", noise(2, 16, 16))
    far = write(
        tmp_path / "far.tif", noise(16, 16), transform=from_origin(700_000, 5_000_000, 10, 10)
    )
    assert "holds 2 bands" in refusal(path, mask="band=3")
    assert "holds 2 bands; give a raster with one" in refusal(path, mask=path)
    assert "lies elsewhere than the scene" in refusal(path, mask=far)
    assert "does not exist" in refusal(path, mask=str(tmp_path / "none.tif"))


# Where pixels lie


@given(
    st.integers(-30, 60),
    st.integers(-30, 60),
    st.integers(0, 70),
    st.integers(0, 70),
    st.sampled_from(["a", "b"]),
)
def test_a_window_shows_the_same_pixels_wherever_it_lies(
    tmp_path_factory: pytest.TempPathFactory,
    row: int,
    col: int,
    height: int,
    width: int,
    which: str,
) -> None:
    scene, pixels, valid = _drawn(tmp_path_factory, which)
    window = Window(row, col, height, width)
    chip = scene.read(window, ["red", "nir"])
    big = np.zeros((2, 200, 200), pixels.dtype)
    shown = np.zeros((200, 200), bool)
    big[:, 60 : 60 + scene.height, 60 : 60 + scene.width] = pixels
    shown[60 : 60 + scene.height, 60 : 60 + scene.width] = valid
    at = window.within(Window(-60, -60, 200, 200))
    np.testing.assert_array_equal(chip["pixels"].values, big[:, *at])
    np.testing.assert_array_equal(chip["valid"].values, shown[at])


_DRAWN: dict[str, tuple[Scene, Any, Any]] = {}


def _drawn(factory: pytest.TempPathFactory, which: str) -> tuple[Scene, Any, Any]:
    """A tiled file with no data and mask, or band files of which one is resampled from another
    grid."""
    if which not in _DRAWN:
        folder = factory.mktemp("drawn")
        if which == "a":
            mask = noise(37, 53, seed=1) > 20
            path = write(
                folder / "a.tif", noise(2, 37, 53), names=("red", "nir"), nodata=11, mask=mask
            )
            scene = open_scene([path])
        else:
            red = write(folder / "red.tif", noise(37, 53), nodata=11)
            # Few values, so that many interpolated ones fall half-way between two integers.
            coarse = noise(11, 13, seed=2, high=9)
            nir = write(
                folder / "nir.tif",
                coarse,
                transform=from_origin(499_995, 5_000_007, 30, 30),
                nodata=3,
            )
            scene = open_scene([red, nir])
        _DRAWN[which] = scene, *whole(scene, "red", "nir")
    return _DRAWN[which]


def test_the_grid_is_that_of_the_finest_file(tmp_path: Path) -> None:
    coarse, fine = (
        write(tmp_path / "nir.tif", noise(8, 8), size=20),
        write(tmp_path / "red.tif", noise(16, 16)),
    )
    for sources in ([coarse, fine], [fine, coarse]):
        scene = open_scene(sources)
        assert (scene.height, scene.width, scene.transform.a) == (16, 16, 10)
        assert {band.name: band.resampled for band in scene.bands} == {"nir": True, "red": False}


def test_a_coarse_band_is_interpolated_between_its_pixels_centres(tmp_path: Path) -> None:
    """A ramp stays a ramp: at 10 m between 20 m centres the value is the linear one."""
    cols = np.arange(10) * 40.0
    coarse = write(tmp_path / "nir.tif", np.tile(cols, (10, 1)).astype("float32"), size=20)
    fine = write(tmp_path / "red.tif", noise(20, 20))
    pixels, valid = whole(open_scene([fine, coarse]), "nir")
    centres = np.arange(20) * 10 + 5
    inner = slice(1, 19)  # beyond the outermost centres there is nothing to interpolate with
    np.testing.assert_allclose(pixels[0, 5, inner], ((centres - 10) * 2.0)[inner], rtol=1e-6)
    assert valid.all()


def test_no_data_of_a_resampled_band_is_not_mixed_into_its_neighbours(tmp_path: Path) -> None:
    coarse = np.full((8, 8), 100, "uint16")
    coarse[2:4, 2:4] = 0
    sources = [
        write(tmp_path / "red.tif", noise(16, 16)),
        write(tmp_path / "nir.tif", coarse, size=20, nodata=0),
    ]
    pixels, valid = whole(open_scene(sources), "nir")
    assert set(np.unique(pixels[0][valid])) == {100}
    assert not valid[4:8, 4:8].any()
    assert valid.sum() >= 16 * 16 - 36


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "float32", "float64"])
def test_a_resampled_band_is_valid_where_its_file_has_data(tmp_path: Path, dtype: str) -> None:
    coarse = np.full((4, 8), 100, dtype)
    red = write(tmp_path / "red.tif", noise(16, 16).astype(dtype))
    nir = write(tmp_path / "nir.tif", coarse, size=20, tiled=False)
    pixels, valid = whole(open_scene([red, nir]), "nir")
    assert valid[:8].all()
    assert not valid[8:].any()
    assert (pixels[0, :8] == 100).all()


def test_a_mask_inside_a_resampled_file_hides_pixels(tmp_path: Path) -> None:
    mask = np.ones((8, 8), bool)
    mask[:, 4:] = False
    red, nir = (
        write(tmp_path / "red.tif", noise(16, 16)),
        write(tmp_path / "nir.tif", noise(8, 8), size=20, mask=mask),
    )
    _, valid = whole(open_scene([red, nir]), "nir")
    assert valid[:, :8].all()
    assert not valid[:, 8:].any()


@pytest.mark.parametrize("shown_by", ["nodata", "mask", "alpha"])
def test_each_band_of_a_resampled_file_is_itself_with_its_own_no_data(
    tmp_path: Path, shown_by: str
) -> None:
    """Four bands, as of an aerial image: GDAL would warp them together, and take the fourth for
    transparency."""
    coarse = np.stack([np.full((8, 8), value, "uint8") for value in (10, 20, 30, 40)])
    how: dict[str, Any] = {"names": ("red", "green", "blue", "nir")}
    if shown_by == "nodata":
        coarse[2, 2:4, 2:4] = 0  # of one band alone
        how["nodata"] = 0
    elif shown_by == "mask":
        how["mask"] = ~((np.mgrid[:8, :8] >= 2) & (np.mgrid[:8, :8] < 4)).all(axis=0)
    else:
        coarse[3] = 255
        coarse[3, 2:4, 2:4] = 0
        how |= {"names": ("red", "green", "blue", ""), "colours": ("red", "green", "blue", "alpha")}
    before = write(tmp_path / "before.tif", coarse, size=20, **how)
    scene = open_scene([f"red={write(tmp_path / 'red.tif', noise(16, 16))}", f"before={before}"])
    for name, value, hidden in (("red", 10, shown_by != "nodata"), ("blue", 30, True)):
        pixels, valid = whole(scene, f"before.{name}")
        assert (pixels[0][valid] == value).all()
        assert valid[4:8, 4:8].any() != hidden
        assert valid.sum() >= 16 * 16 - 36
    pixels, _ = whole(scene, *(f"before.{name}" for name in ("blue", "red", "green")))
    assert np.array_equal(pixels[:, 0, 0], [30, 10, 20])


def test_a_source_that_lies_some_pixels_away_is_read_as_it_is(tmp_path: Path) -> None:
    near = noise(2, 10, 12, seed=3)
    place = from_origin(500_000 + 30, 5_000_000 - 40, 10, 10)
    path = write(tmp_path / "near.tif", near, transform=place, names=("green", "nir"), nodata=5)
    scene = open_scene([f"red={write(tmp_path / 'red.tif', noise(12, 11))}", f"near={path}"])
    assert [(band.resampled, band.at) for band in scene.bands] == [
        (False, (0, 0)),
        (False, (4, 3)),
        (False, (4, 3)),
    ]
    pixels, valid = whole(scene, "near.nir", "near.green")
    assert np.array_equal(pixels[:, 4:12, 3:11], near[::-1, :8, :8])
    assert np.array_equal(valid[4:12, 3:11], (near[:, :8, :8] != 5).all(axis=0))
    assert not valid[:4].any()
    assert not valid[:, :3].any()


def test_files_of_another_crs_are_brought_to_the_grid(tmp_path: Path) -> None:
    """A plane over longitude and latitude, read on a UTM grid, is that plane at each pixel's
    place."""
    from pyproj import Transformer

    step = 0.0002
    rows, cols = np.mgrid[:100, :140]
    plane = (3.0 * cols + 2.0 * rows).astype("float32")
    left, top = 14.995, 45.16
    nir = write(
        tmp_path / "nir.tif", plane, crs="EPSG:4326", transform=from_origin(left, top, step, step)
    )
    scene = open_scene([write(tmp_path / "red.tif", noise(64, 64)), nir])
    pixels, valid = whole(scene, "nir")
    assert valid.all()
    y, x = np.mgrid[:64, :64] * 10.0 + 5
    longitude, latitude = Transformer.from_crs(32633, 4326, always_xy=True).transform(
        500_000 + x, 5_000_000 - y
    )
    expected = 3 * ((longitude - left) / step - 0.5) + 2 * ((top - latitude) / step - 0.5)
    np.testing.assert_allclose(pixels[0], expected, atol=0.01)


def test_a_mask_of_the_whole_world_reaches_a_scene_at_the_antimeridian(tmp_path: Path) -> None:
    across = from_origin(688_000, 6_000_000, 1000, 1000)  # here 180° lies at easting 696 000
    path = write(tmp_path / "a.tif", noise(16, 16), crs="EPSG:32660", transform=across)
    world = np.zeros((18, 36), "uint8")
    world[:, -1] = 1  # all that lies just west of 180°
    mask = write(
        tmp_path / "m.tif", world, crs="EPSG:4326", transform=from_origin(-180, 90, 10, 10)
    )
    _, valid = whole(open_scene([path], mask=mask))
    assert not valid[:, 0].any()
    assert valid[:, -1].all()


def test_a_raster_whose_rows_go_north_is_read_row_by_row_as_it_is(tmp_path: Path) -> None:
    pixels = noise(8, 8)
    up = rasterio.Affine(10, 0, 500_000, 0, 20, 4_999_000)
    scene = open_scene([write(tmp_path / "a.tif", pixels, transform=up)])
    assert scene.transform == up
    assert np.array_equal(whole(scene)[0][0], pixels)
    box = scene.geobox.extent.boundingbox
    assert (box.bottom, box.top) == (4_999_000, 4_999_160)


def test_bands_of_different_types_share_one_that_holds_both(tmp_path: Path) -> None:
    red, nir = noise(8, 8, dtype="uint8"), -noise(8, 8, dtype="int16")
    scene = open_scene([write(tmp_path / "red.tif", red), write(tmp_path / "nir.tif", nir)])
    pixels, _ = whole(scene)
    assert pixels.dtype == "int16"
    assert np.array_equal(pixels, [red, nir])


def test_a_vrt_of_different_types_is_read_as_its_bands_say(tmp_path: Path) -> None:
    red, nir = noise(8, 8, dtype="uint8"), -noise(8, 8, dtype="int16")
    vrt = _vrt(
        tmp_path,
        write(tmp_path / "red.tif", red),
        write(tmp_path / "nir.tif", nir),
        "Byte",
        "Int16",
    )
    pixels, _ = whole(open_scene([vrt]))
    assert np.array_equal(pixels, [red, nir])


def _vrt(folder: Path, one: str, other: str, *types: str) -> str:
    bands = "".join(
        f'<VRTRasterBand dataType="{kind}" '
        f'band="{i}"><SimpleSource><SourceFilename>{path}</SourceFilename>'
        f"<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        for i, (path, kind) in enumerate(zip((one, other), types, strict=True), 1)
    )
    path = folder / "scene.vrt"
    path.write_text(
        '<VRTDataset rasterXSize="8" rasterYSize="8"><SRS>EPSG:32633</SRS>'
        f"<GeoTransform>500000, 10, 0, 5000000, 0, -10</GeoTransform>{bands}</VRTDataset>"
    )
    return str(path)


# What is refused


@pytest.mark.filterwarnings("ignore:The given matrix is equal to Affine.identity")
def test_what_is_no_raster_on_a_grid_is_refused_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "text.tif").write_text("hello")
    assert "does not exist; check the path" in refusal(str(tmp_path / "none.tif"))
    assert "is not a raster that GDAL can read" in refusal(str(tmp_path / "text.tif"))
    assert "rio edit-info --crs" in refusal(write(tmp_path / "a.tif", noise(8, 8), crs=None))
    turned = rasterio.Affine(10, 2, 500_000, 2, -10, 5_000_000)
    assert "rotated or sheared" in refusal(write(tmp_path / "b.tif", noise(8, 8), transform=turned))
    assert "complex" in refusal(write(tmp_path / "c.tif", noise(8, 8).astype("complex64")))
    assert "gdal_translate -ot" in refusal(write(tmp_path / "d.tif", noise(8, 8).astype("int64")))
    nowhere = write(tmp_path / "e.tif", noise(8, 8), transform=rasterio.Affine.identity())
    assert "has a CRS but no geotransform" in refusal(nowhere)


@pytest.mark.parametrize(
    ("file", "fact"),
    [
        ("odd_tiffs_cog_fixtures/cog_gcps.tif", "placed by ground control points"),
        ("odd_tiffs_rasterio/RGB.byte.gcp.vrt", "placed by ground control points"),
        ("odd_tiffs_rasterio/RGB.byte.rpc.vrt", "placed by a camera model"),
        ("odd_tiffs_rasterio/corrupt.tif", "is cut short"),
        ("odd_tiffs_rasterio/float.tif", "has no CRS"),
        (
            "odd_tiffs_image_tiff/fuzz_images/oor_panic/colormap-shl-overflow.tiff",
            "is not a raster",
        ),
        ("landsat_peru_series", "no name tells a band"),
        ("spyndex_spectral", "holds no raster"),
    ],
)
def test_odd_real_files_are_refused(shared_data: Path, file: str, fact: str) -> None:
    path = str(shared_data / file)
    sentence = refusal(path)
    assert sentence.startswith(path)
    assert fact in sentence


def test_a_file_cut_anywhere_is_refused_at_the_door(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "a.tif", noise(2, 64, 64), compress="deflate"))
    content = path.read_bytes()
    for share in (0.3, 0.6, 0.9, 0.999):
        path.write_bytes(content[: int(len(content) * share)])
        assert re.search(r"a\.tif is (cut short|not a raster)", refusal(str(path)))


def test_a_vrt_of_a_missing_file_is_refused_by_the_file_s_name(tmp_path: Path) -> None:
    red, nir = write(tmp_path / "red.tif", noise(8, 8)), write(tmp_path / "nir.tif", noise(8, 8))
    vrt = _vrt(tmp_path, red, nir, "Byte", "Byte")
    Path(nir).unlink()
    assert re.search(r"scene\.vrt refers to .*nir\.tif, which does not exist", refusal(vrt))


# What a scene is


def test_a_scene_travels_and_compares(tmp_path: Path) -> None:
    path = write(tmp_path / "a_2018-10-13.tif", noise(2, 8, 8).astype("float32"), nodata=np.nan)
    scene = open_scene([path], mask="band=2")
    twin = pickle.loads(pickle.dumps(scene))
    assert twin == scene == open_scene([path], mask="band=2")
    assert hash(twin) == hash(scene)
    assert scene != open_scene([path], mask="band=1")
    assert len(pickle.dumps(scene)) < 4000
    np.testing.assert_array_equal(whole(twin)[0], whole(scene)[0])


def test_the_day_is_what_a_person_says_or_the_name_holds(tmp_path: Path) -> None:
    path = write(tmp_path / "m_4709963_se_20140720_20991399.tif", noise(8, 8))
    assert open_scene([path]).date == datetime.date(2014, 7, 20)
    assert open_scene([path], date="2020-01-02").date == datetime.date(2020, 1, 2)
    assert open_scene([path], date=datetime.date(2020, 1, 2)).date == datetime.date(2020, 1, 2)
    assert open_scene([write(tmp_path / "a.tif", noise(8, 8))]).date is None
    assert "is no date" in refusal(path, date="yesterday")


def test_identities_change_with_every_file_behind_the_scene(tmp_path: Path) -> None:
    red, nir = write(tmp_path / "red.tif", noise(8, 8)), write(tmp_path / "nir.tif", noise(8, 8))
    clouds = write(tmp_path / "clouds.tif", (noise(8, 8) > 150).astype("uint8"))
    scene = open_scene([_vrt(tmp_path, red, nir, "Byte", "Byte")], mask=clouds)

    seen = [json.dumps(scene.identities())]
    assert [Path(entry["path"]).name for entry in scene.identities()] == [
        "clouds.tif",
        "nir.tif",
        "red.tif",
        "scene.vrt",
    ]
    assert json.dumps(scene.identities()) == seen[0]
    for change in (
        lambda: os.utime(red, ns=(1, 1)),
        lambda: Path(nir).write_bytes(Path(nir).read_bytes() + b"\0"),
        lambda: os.utime(clouds, ns=(2, 2)),
        lambda: shutil.copy(clouds, red + ".msk"),
        lambda: os.utime(tmp_path / "scene.vrt", ns=(3, 3)),
        lambda: (tmp_path / "nir.tif.aux.xml").write_text("<PAMDataset></PAMDataset>"),
    ):
        change()
        seen.append(json.dumps(scene.identities()))
    assert len(set(seen)) == len(seen)


def test_paths_hold_from_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = noise(8, 8)
    write(tmp_path / "a.tif", pixels)
    monkeypatch.chdir(tmp_path)
    scene = open_scene(["a.tif"])
    monkeypatch.chdir("/")
    assert np.array_equal(whole(scene)[0][0], pixels)


# Samples


def test_a_small_scene_is_sampled_whole_and_in_raster_order(tmp_path: Path) -> None:
    pixels = noise(1, 40, 25)
    scene = open_scene([write(tmp_path / "a.tif", pixels)])
    chip = scene.sample(["band_1"], block=16)
    stacked = chip["pixels"].values[0].reshape(3, 2, 16, 16)
    assert np.array_equal(np.block([list(row) for row in stacked])[:40, :25], pixels[0])
    assert chip["valid"].values.sum() == 40 * 25


def test_a_sample_leaves_out_blocks_without_data_and_stops_when_it_has_enough(
    tmp_path: Path,
) -> None:
    pixels = noise(1, 64, 64)
    pixels[:, :, :32] = 0
    scene = open_scene([write(tmp_path / "a.tif", pixels, nodata=0)])
    assert scene.sample(["band_1"], block=16)["pixels"].shape == (1, 8 * 16, 16)
    few = scene.sample(["band_1"], block=16, pixels=3 * 256)
    assert few["pixels"].shape == (1, 3 * 16, 16)
    assert few["valid"].values.all()


def test_a_sample_follows_from_places_not_from_the_files_layout(tmp_path: Path) -> None:
    pixels = noise(1, 96, 96)
    one = open_scene([write(tmp_path / "a.tif", pixels)])
    other = open_scene([write(tmp_path / "b.tif", pixels, tiled=False, compress="deflate")])
    for scene in (one, other):
        with rasterio.open(scene.bands[0].path, "r+") as dataset:
            if scene is other:
                dataset.build_overviews([2, 4])
    first, second = (scene.sample(["band_1"], block=16, pixels=2000) for scene in (one, other))
    assert 2000 <= first["valid"].values.sum() < 96 * 96
    assert first.equals(second)


def test_a_scene_without_a_valid_pixel_has_an_empty_sample(tmp_path: Path) -> None:
    scene = open_scene([write(tmp_path / "a.tif", np.zeros((2, 20, 20), "uint8"), nodata=0)])
    chip = scene.sample(["band_1", "band_2"])
    assert chip["pixels"].shape == (2, 0, 256)
    assert chip["pixels"].dtype == "uint8"
