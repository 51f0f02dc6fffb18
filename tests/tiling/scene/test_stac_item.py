"""What an item says of its rasters, and the scene or mosaic that items amount to."""

from __future__ import annotations

import json
import pickle
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from rasterio.transform import from_origin
from scipy.ndimage import binary_erosion

from tests.stac import asset, item
from tests.stac import write as write_json
from tests.tiling.rasters import noise, write
from tiling.errors import InputError
from tiling.grid.window import Window
from tiling.io.access import AccessPolicy, restrict_access
from tiling.scene.from_stac import StacOptions, coverage_of, open_items
from tiling.scene.scene import Scene
from tiling.scene.stac_item import Item, is_item, item_of, read_items

TOP = 5_000_000


def whole(scene: Scene, *bands: str) -> tuple[Any, Any]:
    chip = scene.read(scene.window, bands or scene.band_names)
    return chip["pixels"].values, chip["valid"].values


def alone(scene: Scene) -> list[Scene]:
    """Each image of a mosaic as a scene of its own."""
    return [replace(scene, acquisitions=(image,)) for image in scene.acquisitions]


def made(tmp_path: Path, name: str, assets: dict[str, Any], **about: Any) -> Item:
    """An item, written down and read."""
    (found,) = read_items(write_json(tmp_path / f"{name}.json", item(name, assets, **about)))
    return found


def refusal(*items: Any, **wishes: Any) -> str:
    with pytest.raises(InputError) as caught:
        open_items(items, StacOptions(**wishes))
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert str(pickle.loads(pickle.dumps(caught.value))) == sentence
    return sentence


# --------------------------------------------------------------------------------- one item's bands


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
def test_bands_of_one_raster_have_the_names_and_the_meaning_that_the_item_says(
    tmp_path: Path, version: str
) -> None:
    pixels = noise(2, 8, 9, dtype="uint16")
    path = write(tmp_path / "a.tif", pixels)
    said = asset(path, ("nir", "red"), version=version, nodata=7, scale=0.0001, offset=-0.1)
    scene = open_items([made(tmp_path, "one", {"data": said}, version=version)])
    assert scene.band_names == ("nir", "red")
    assert str(scene.date) == "2024-05-03"
    assert {(b.nodata, b.scale, b.offset, b.units, b.claimed) for b in scene.bands} == {
        (7, 0.0001, -0.1, "reflectance", True)
    }
    values, valid = whole(scene)
    assert np.array_equal(values, pixels)
    assert np.array_equal(valid, (pixels != 7).all(axis=0))


def test_what_the_file_declares_goes_before_the_item_and_a_person_before_both(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "a.tif", noise(8, 8, dtype="uint16"), nodata=3, scale=0.5, offset=1)
    known = made(
        tmp_path, "one", {"data": asset(path, ("red",), nodata=7, scale=0.0001, offset=-0.1)}
    )

    def meaning(**wishes: Any) -> tuple[Any, ...]:
        band = open_items([known], StacOptions(**wishes)).bands[0]
        return band.nodata, band.scale, band.offset, band.claimed

    assert meaning() == (3, 0.5, 1, False)
    assert meaning(nodata=9, scale=0.25) == (9, 0.25, 1, False)
    plain = write(tmp_path / "b.tif", noise(8, 8, dtype="uint16"))
    known = made(
        tmp_path, "two", {"data": asset(plain, ("red",), nodata="nan", scale=0.0001, offset=-0.1)}
    )
    assert meaning(offset=0.0) == (pytest.approx(np.nan, nan_ok=True), 1, 0, False)
    assert meaning()[1:] == (0.0001, -0.1, True)


def sentinel_2(tmp_path: Path) -> dict[str, Any]:
    """Assets as the large catalogues have them: codes, pictures, twins in JPEG 2000, three bands
    called rededge."""
    codes = {
        "B02": "blue",
        "B04": "red",
        "B05": "rededge",
        "B06": "rededge",
        "B8A": "rededge",
        "B08": "nir",
    }
    assets: dict[str, Any] = {}
    for seed, (code, name) in enumerate(codes.items()):
        size, shape = (20, (8, 8)) if code in ("B05", "B06", "B8A") else (10, (16, 16))
        path = write(tmp_path / f"{code}.tif", noise(*shape, seed=seed, dtype="uint16"), size=size)
        assets[code] = asset(path) | {
            "eo:bands": [{"name": code, "common_name": name}],
            "gsd": size,
        }
    coarse = write(tmp_path / "B04_60m.tif", noise(3, 3, dtype="uint16"), size=60)
    assets["B04_60m"] = asset(coarse, ("red",)) | {"gsd": 60}
    assets["red-jp2"] = {
        "href": "gone.jp2",
        "type": "image/jp2",
        "eo:bands": [{"common_name": "red"}],
    }
    colours = write(tmp_path / "TCI.tif", noise(3, 16, 16))
    assets["visual"] = asset(colours, ("red", "green", "blue")) | {"roles": ["visual"]}
    assets["TCI_10m"] = asset(colours, ("red", "blue"))
    assets["AOT"] = asset(write(tmp_path / "AOT.tif", noise(16, 16)))
    assets["thumbnail"] = {"href": "a.jpg", "type": "image/jpeg", "roles": ["thumbnail"]}
    assets["metadata"] = {"href": "a.xml", "type": "application/xml"}
    return assets


def test_each_band_comes_from_the_asset_that_holds_it_best(tmp_path: Path) -> None:
    scene = open_items([made(tmp_path, "S2B_33UVP", sentinel_2(tmp_path), platform="sentinel-2b")])
    assert {band.name: Path(band.path).stem for band in scene.bands} == {
        "blue": "B02", "red": "B04", "rededge071": "B05", "rededge075": "B06", "nir08": "B8A",
        "nir": "B08",
    }  # fmt: skip
    assert scene.geobox.shape == (16, 16)
    assert [band.name for band in scene.bands if band.resampled] == [
        "rededge071",
        "rededge075",
        "nir08",
    ]


def test_a_person_may_want_some_of_the_bands(tmp_path: Path) -> None:
    known = made(tmp_path, "S2B_33UVP", sentinel_2(tmp_path), platform="sentinel-2b")
    for path in ("B05.tif", "B06.tif"):
        (tmp_path / path).unlink()  # nothing is read that is not wanted
    assert open_items([known], StacOptions(assets=("B08", "red"))).band_names == ("red", "nir")
    assert "has no band green" in refusal(known, assets=("green",))


def test_a_raster_whose_bands_the_item_does_not_name_names_them_itself(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", noise(2, 8, 8), names=("NIR", "Red"))
    known = made(tmp_path, "one", {"image": asset(path)})
    assert open_items([known]).band_names == ("nir", "red")
    assert open_items([known], StacOptions(bands={"green": 2})).band_names == ("green",)
    two = made(tmp_path, "two", {"image": asset(path), "other": asset(path)})
    assert "nothing tells which asset is which band" in refusal(two)
    assert "numbers the bands of one raster" in refusal(two, bands={"green": 2})
    four = made(tmp_path, "four", {"image": asset(path, ("red", "green", "blue", "nir"))})
    assert "says that image has 4 bands" in refusal(four)


# -------------------------------------------------------------------------------------------- masks

SCL = np.arange(12, dtype="uint8").reshape(3, 4)
"""No data, defective, dark, shadow, vegetation, soil, water, unclassified, medium, high, cirrus,
snow."""


def test_clouds_of_sentinel_2_are_hidden_and_snow_is_not(tmp_path: Path) -> None:
    red = write(tmp_path / "red.tif", noise(6, 8, dtype="uint16"))
    scl = write(tmp_path / "SCL.tif", SCL, size=20, tiled=False)  # of 20 m, as ever
    known = made(tmp_path, "S2", {"red": asset(red, ("red",)), "scl": asset(scl)})
    hidden = ~whole(open_items([known]))[1]
    assert np.array_equal(hidden, np.isin(SCL, (3, 8, 9, 10)).repeat(2, 0).repeat(2, 1))
    assert whole(open_items([known], StacOptions(mask="none")))[1].all()
    hidden = ~whole(open_items([known], StacOptions(mask="scl", mask_values=(11,))))[1]
    assert np.array_equal(hidden, (SCL == 11).repeat(2, 0).repeat(2, 1))
    assert whole(open_items([known], StacOptions(mask_values=(99,))))[1].all()
    assert "is no file and no asset of S2, which has red, scl" in refusal(known, mask="Fmask")


@pytest.mark.parametrize(
    ("key", "file", "bits"),
    [
        ("Fmask", "a.tif", (1, 2, 3)),
        ("qa_pixel", "b.tif", (0, 1, 2, 3, 4)),
        ("mask", "LC08_QA_PIXEL.tif", (0, 1, 2, 3, 4)),
    ],
)
def test_a_mask_of_bits_hides_where_one_of_them_is_set(
    tmp_path: Path, key: str, file: str, bits: tuple[int, ...]
) -> None:
    values = np.arange(256, dtype="uint16").reshape(16, 16)
    values[0, 0] = 21824  # clear land of Landsat: bits 6, 8, 10, 12 and 14
    red = write(tmp_path / "red.tif", noise(16, 16, dtype="uint16"))
    known = made(
        tmp_path, "one", {"red": asset(red, ("red",)), key: asset(write(tmp_path / file, values))}
    )
    scene = open_items([known])
    expected = np.array([any(value >> bit & 1 for bit in bits) for value in values.flat]).reshape(
        16, 16
    )
    assert np.array_equal(~whole(scene)[1], expected)
    assert not expected[0, 0]
    hidden = ~whole(open_items([known], StacOptions(mask_bits=(7,))))[1]
    assert np.array_equal(hidden, values >> 7 & 1 == 1)


def test_bits_of_numbers_that_have_none_are_refused(tmp_path: Path) -> None:
    red = write(tmp_path / "red.tif", noise(4, 4))
    known = made(
        tmp_path,
        "one",
        {
            "red": asset(red, ("red",)),
            "m": asset(write(tmp_path / "m.tif", noise(4, 4, dtype="float32"))),
        },
    )
    assert "holds float32, which has no bits" in refusal(known, mask="m", mask_bits=(1,))


# ------------------------------------------------------------------------------------------ mosaics


def tile(
    tmp_path: Path,
    name: str,
    pixels: Any,
    col: int,
    row: int,
    *,
    day: str = "2024-05-03",
    **how: Any,
) -> Item:
    """An item of two bands `col` pixels east and `row` south of the others' corner."""
    place = from_origin(500_000 + 10 * col, TOP - 10 * row, 10, 10)
    path = write(tmp_path / f"{name}.tif", pixels, **{"transform": place, "nodata": 0, **how})
    return made(tmp_path, name, {"data": asset(path, ("red", "nir"))}, day=day)


def test_each_pixel_of_a_mosaic_comes_whole_from_the_first_item_that_has_it(tmp_path: Path) -> None:
    one, two, three = (noise(2, 40, 50, seed=seed) for seed in range(3))
    one[0, 10:20, 10:30] = 0  # no data in one band is none in the other either
    two[1, 15:25] = 0
    items = [
        tile(tmp_path, "one", one, 20, 0),
        tile(tmp_path, "two", two, 0, 10),
        tile(tmp_path, "three", three, 5, 5),
    ]
    scene = open_items(items)
    assert (scene.height, scene.width) == (50, 70)
    assert scene.title == "one and 2 more"
    expected, there = np.zeros((2, 50, 70), "uint8"), np.zeros((50, 70), bool)
    for pixels, col, row in ((one, 20, 0), (two, 0, 10), (three, 5, 5)):
        at = slice(row, row + 40), slice(col, col + 50)
        take = (pixels != 0).all(axis=0) & ~there[at]
        expected[:, *at][:, take] = pixels[:, take]
        there[at] |= take
    values, valid = whole(scene)
    assert np.array_equal(valid, there)
    assert np.array_equal(values[:, there], expected[:, there])
    turned = open_items(items[::-1])
    assert np.array_equal(whole(turned)[1], there)
    assert not np.array_equal(whole(turned)[0], values)


def across_zones(tmp_path: Path) -> list[Item]:
    """Two tiles half a pixel apart, and one of the next UTM zone, all with no data amid them."""
    shifted = from_origin(500_164, TOP - 87, 10, 10)
    x, y = Transformer.from_crs(32633, 32632, always_xy=True).transform(500_100, TOP - 200)
    pixels = [noise(2, 60, 70, seed=seed, high=9) for seed in range(3)]
    for seed, one in enumerate(pixels):
        one[:, noise(60, 70, seed=7 + seed) > 170] = 0
    return [
        tile(tmp_path, "one", pixels[0], 0, 0),
        tile(tmp_path, "two", pixels[1], 0, 0, transform=shifted),
        tile(
            tmp_path,
            "three",
            pixels[2],
            0,
            0,
            transform=from_origin(x, y, 10, 10),
            crs="EPSG:32632",
        ),
    ]


_DRAWN: dict[str, tuple[Scene, Any, Any]] = {}


@settings(max_examples=60)
@given(
    row=st.integers(-30, 110), col=st.integers(-30, 130), height=st.integers(1, 90),
    width=st.integers(1, 90),
    bands=st.sampled_from([("red", "nir"), ("nir", "red")]),
)  # fmt: skip
def test_a_mosaics_pixels_do_not_depend_on_the_window(
    tmp_path_factory: pytest.TempPathFactory,
    row: int,
    col: int,
    height: int,
    width: int,
    bands: tuple[str, str],
) -> None:
    if not _DRAWN:
        scene = open_items(across_zones(tmp_path_factory.mktemp("zones")))
        assert [any(b.resampled for b in layer.bands) for layer in scene.acquisitions] == [
            False,
            True,
            True,
        ]
        _DRAWN["scene"] = scene, *whole(scene, "red", "nir")
    scene, pixels, valid = _DRAWN["scene"]
    window = Window(row, col, height, width)
    chip = scene.read(window, bands)
    inside = window & scene.window
    here, there = inside.within(window), inside.within(scene.window)
    order = [("red", "nir").index(name) for name in bands]
    assert np.array_equal(chip["pixels"].values[:, *here], pixels[order][:, *there])
    assert np.array_equal(chip["valid"].values[here], valid[there])
    assert chip["valid"].values.sum() == valid[there].sum()


def test_items_across_utm_zones_lie_where_they_are(tmp_path: Path) -> None:
    """A plane over easting and northing, cut in two in different zones, is that plane all over."""
    cols, rows = np.meshgrid(np.arange(60) * 10.0 + 5, np.arange(40) * 10.0 + 5)
    left = np.stack([cols + 2 * rows] * 2).astype("float32")
    to_33 = Transformer.from_crs(32632, 32633, always_xy=True)
    x, y = Transformer.from_crs(32633, 32632, always_xy=True).transform(500_400, TOP + 100)
    x, y = round(x, -1), round(y, -1)
    mesh = np.meshgrid(x + np.arange(80) * 10 + 5, y - np.arange(90) * 10 - 5)
    east, north = to_33.transform(*mesh)
    right = np.stack([(east - 500_000) + 2 * (TOP - north)] * 2).astype("float32")
    items = [
        tile(tmp_path, "one", left, 0, 0, nodata=None),
        tile(
            tmp_path,
            "two",
            right,
            0,
            0,
            transform=from_origin(x, y, 10, 10),
            crs="EPSG:32632",
            nodata=None,
        ),
    ]
    scene = open_items(items)
    assert scene.crs.epsg == 32633
    assert scene.transform.a == 10
    y, x = np.mgrid[: scene.height, : scene.width] * 10.0 + 5
    expected = (scene.transform.c + x - 500_000) + 2 * (TOP - (scene.transform.f - y))
    for layer, pixels in zip(alone(scene), (60 * 40, 80 * 90), strict=True):
        values, valid = whole(layer)
        assert valid.sum() == pytest.approx(pixels, rel=0.03)
        inner = binary_erosion(valid)  # at its edge a resampled raster repeats its last pixel
        np.testing.assert_allclose(values[:, inner], np.stack([expected[inner]] * 2), atol=0.05)
    assert whole(scene)[1].sum() == (whole(alone(scene)[0])[1] | whole(alone(scene)[1])[1]).sum()


def test_a_bbox_cuts_the_scene_on_the_lattice_of_its_pixels(tmp_path: Path) -> None:
    items = across_zones(tmp_path)
    full = open_items(items)
    to_degrees = Transformer.from_crs(32633, 4326, always_xy=True)
    west, south = to_degrees.transform(500_233, TOP - 333)
    east, north = to_degrees.transform(500_477, TOP - 111)
    part = open_items(items, StacOptions(bbox=(west, south, east, north)))
    col, row = (round(v) for v in ~full.transform @ (part.transform.c, part.transform.f))
    assert part.transform.c % 10 == 0
    assert (part.height, part.width) in [(h, w) for h in (23, 24) for w in (25, 26)]
    pixels, valid = whole(part)
    chip = full.read(Window(row, col, part.height, part.width), part.band_names)
    assert np.array_equal(valid, chip["valid"].values)
    # Resampled pixels may round another way on another grid; those of the grid itself are the same.
    apart = np.abs(pixels.astype(int) - chip["pixels"].values)[:, valid]
    assert apart.max() <= 1
    assert (apart > 0).mean() < 0.05
    assert "lies beside the rasters" in refusal(*items, bbox=(0, 0, 1, 1))
    alone = open_items(items[:1], StacOptions(bbox=(west, south, east, north)))
    assert np.array_equal(whole(alone)[0], whole(open_items(items[:1]))[0][:, 11:34, 23:48])


def test_items_that_make_no_mosaic_are_refused(tmp_path: Path) -> None:
    one = tile(tmp_path, "one", noise(2, 8, 8), 0, 0)
    path = write(tmp_path / "b.tif", noise(8, 8))
    other = made(tmp_path, "other", {"data": asset(path, ("green",))})
    assert "have no band in common (one: red, nir; other: green)" in refusal(one, other)
    scaled = write(tmp_path / "c.tif", noise(2, 8, 8), scale=0.5)
    assert "red is uint8 × 1 +0 (dn) in one and uint8 × 0.5 +0 (reflectance) in two" in refusal(
        one, made(tmp_path, "two", {"data": asset(scaled, ("red", "nir"))})
    )
    far = tile(tmp_path, "far", noise(2, 8, 8), 2_000_000, 0)
    near = tile(tmp_path, "near", noise(2, 8, 8), 0, 500_000)
    assert "make a mosaic of" in refusal(one, near, far)
    assert "has no asset that is a raster" in refusal(
        item_of(item("x", {"d": asset(path)}) | {"assets": {}}, "x.json")
    )
    green = made(
        tmp_path,
        "green",
        {"data": asset(write(tmp_path / "d.tif", noise(3, 8, 8)), ("green", "red", "nir"))},
    )
    assert open_items([one, green]).band_names == ("red", "nir")


def test_what_an_item_no_longer_covers_is_left_out_of_the_mosaic(tmp_path: Path) -> None:
    items = [
        tile(tmp_path, "one", noise(2, 8, 8), 0, 0),
        tile(tmp_path, "two", noise(2, 8, 8), 300, 0),
    ]
    (west, south, east, north) = shapely.from_wkt(items[0].footprint).bounds
    assert open_items(items, StacOptions(bbox=(west, south, east, north))).title == "one"


def test_files_of_every_layer_tell_a_mosaic_from_what_it_was(tmp_path: Path) -> None:
    items = across_zones(tmp_path)
    scene = open_items(items)
    before = scene.identities()
    assert [Path(one["path"]).name for one in before] == ["one.tif", "three.tif", "two.tif"]
    with rasterio.open(tmp_path / "two.tif", "r+") as dataset:
        dataset.write(noise(60, 70, seed=9), 1)
    assert scene.identities() != before
    assert pickle.loads(pickle.dumps(scene)) == scene


def test_a_window_of_a_large_mosaic_takes_the_memory_of_the_window(tmp_path: Path) -> None:
    items = []
    for number in range(4):
        place = from_origin(500_000 + 3 * number, TOP, 10, 10)
        path = tmp_path / f"{number}.tif"
        with rasterio.open(
            path, "w", driver="GTiff", count=2, height=30_000, width=30_000, dtype="uint16",
            crs="EPSG:32633",
            transform=place, tiled=True, nodata=0, SPARSE_OK=True,
        ) as dataset:  # fmt: skip
            dataset.write(
                np.full((2, 512, 512), number + 1, "uint16"),
                window=rasterio.windows.Window(512, 512, 512, 512),
            )
        items.append(made(tmp_path, f"i{number}", {"data": asset(path, ("red", "nir"))}))
    scene = open_items(items)
    tracemalloc.start()
    chip = scene.read(Window(400, 400, 800, 800), ["red", "nir"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert chip["valid"].values.any()
    assert peak < 20 * 2**20


def test_coverage_is_the_part_of_an_area_that_footprints_reach(tmp_path: Path) -> None:
    items = [
        tile(tmp_path, "one", noise(2, 40, 40), 0, 0),
        tile(tmp_path, "two", noise(2, 40, 40), 60, 0),
    ]
    scene = open_items(items)
    assert scene.width == 100
    assert coverage_of(scene, shapely.box(500_000, TOP - 400, 501_000, TOP)) == pytest.approx(
        0.8, abs=0.01
    )
    assert coverage_of(scene, shapely.box(500_420, TOP - 400, 500_580, TOP)) == 0


# ---------------------------------------------------------------------------------- files and doors


def test_items_are_known_by_their_names() -> None:
    assert is_item("a/b.json")
    assert is_item("https://host/x.geojson?token=1")
    assert is_item("https://host/collections/c/items/S2B_1")
    assert not is_item("https://host/items/S2B_1/red.tif")
    assert not is_item("items/scene")


def test_what_is_no_item_is_refused_in_one_line(tmp_path: Path) -> None:
    def reading(content: bytes | None) -> str:
        path = tmp_path / "x.json"
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InputError) as caught:
            read_items(str(path))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "does not exist" in reading(None)
    assert "is no JSON" in reading(b"\x00\xff")
    assert "is no JSON" in reading(b"[" * 100_000)
    assert "is no STAC item" in reading(b"[1]")
    assert "search it: --stac" in reading(b'{"type": "Catalog"}')
    assert "has no assets" in reading(b'{"type": "Feature", "id": "a"}')
    assert "has no id" in reading(b'{"type": "Feature", "assets": {}}')
    assert "is no date" in reading(
        b'{"type":"Feature","id":"a","assets":{},"properties":{"datetime":"soon"}}'
    )
    assert "is no STAC item" in reading(b'{"type": "FeatureCollection", "features": []}')


KEYS = (
    "id properties assets datetime geometry type coordinates href roles bands eo:bands name "
    "common_name raster:bands "
    "nodata scale gsd eo:cloud_cover platform"
)


@settings(max_examples=200)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(KEYS.split()), inner, max_size=4)
        ),
        max_leaves=20,
    )
)
def test_whatever_json_is_read_there_is_an_item_or_a_mistake(content: Any) -> None:
    document = {
        "type": "Feature",
        "id": "a",
        **(content if isinstance(content, dict) else {"assets": {"a": content}}),
    }
    try:
        known = item_of(document, "a.json")
    except InputError:
        return
    assert known.id


def test_several_items_may_lie_in_one_file(tmp_path: Path) -> None:
    both = [
        item(n, {"data": asset(write(tmp_path / f"{n}.tif", noise(4, 4)), ("red",))})
        for n in ("a", "b")
    ]
    path = write_json(tmp_path / "both.json", {"type": "FeatureCollection", "features": both})
    assert [known.id for known in read_items(path)] == ["a", "b"]


def test_links_of_an_item_are_relative_to_where_it_lies(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", noise(4, 4))
    content = item("one", {"data": asset(tmp_path / "a.tif", ("red",))})
    content["assets"]["data"]["href"] = "../a.tif"
    (known,) = read_items(write_json(tmp_path / "inside" / "one.json", content))
    assert open_items([known]).band_names == ("red",)

    def href(link: str, place: str) -> str:
        content["assets"]["data"]["href"] = link
        return item_of(content, place).assets[0].href

    assert href("./b/c.tif", "https://host/x/y.json?sig=1") == "https://host/x/b/c.tif"
    assert href("/c.tif", "https://host/x/y.json") == "https://host/c.tif"
    assert href("../c.tif", "s3://bucket/x/y.json") == "s3://bucket/c.tif"
    assert href("s3://other/c.tif", "https://host/y.json") == "s3://other/c.tif"
    for link in ("file:///etc/passwd", "/vsimem/x.tif"):
        with pytest.raises(InputError, match="a file of this machine"):
            href(link, "https://host/x/y.json")


def test_items_lead_no_further_than_whoever_runs_this_allows(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    secret = write(outside / "a.tif", noise(4, 4))
    path = write_json(inside / "one.json", item("one", {"data": asset(secret, ("red",))}))
    with restrict_access(AccessPolicy(roots=(inside,), hosts=())):
        (known,) = read_items(path)
        assert "lies outside the folders" in refusal(known)
        with pytest.raises(InputError, match="lies on host"):
            read_items("https://host/x.json")
        content = json.loads(Path(path).read_text())
        content["assets"]["data"]["href"] = "https://host/a.tif?sig=secret"
        sentence = refusal(item_of(content, path))
        assert "lies on host" in sentence
        assert "secret" not in sentence


# --------------------------------------------------------------------------------------- real files


def test_the_years_of_one_place_make_a_mosaic(shared_data: Path, tmp_path: Path) -> None:
    """Four years on four grids: the newest shows as it is stored, the older ones where it has
    nothing."""
    names = ("red", "green", "blue", "nir")
    items = [
        made(
            tmp_path,
            path.stem,
            {"image": asset(path, names, nodata=0)},
            day=f"{path.stem[-8:-4]}-07-01",
        )
        for path in sorted((shared_data / "naip_nd_multiyear").glob("*.tif"), reverse=True)
    ]
    scene = open_items(items)
    assert (len(scene.acquisitions), scene.date and scene.date.year) == (4, 2020)
    pixels, valid = whole(scene)
    row, col = scene.bands[0].at
    with rasterio.open(scene.bands[0].path) as source:
        stored = source.read()
    there = (stored != 0).all(axis=0)
    at = slice(row, row + there.shape[0]), slice(col, col + there.shape[1])
    assert np.array_equal(pixels[:, *at][:, there], stored[:, there])
    older, older_valid = whole(alone(scene)[1])
    beside = older_valid & ~whole(alone(scene)[0])[1]
    assert beside.any()
    assert np.array_equal(pixels[:, beside], older[:, beside])
    assert valid.sum() > there.sum()


def test_tiles_of_a_real_scene_make_the_scene_again(shared_data: Path, tmp_path: Path) -> None:
    """Sentinel-2 cut into four tiles that overlap, each with its scene classification."""
    with rasterio.open(shared_data / "s2_l2a_openeo_sample/S2_L2A_sample.tif") as source:
        pixels, transform, crs = source.read(), source.transform, str(source.crs)
    height = pixels.shape[1]
    items = []
    for number, (row, col) in enumerate([(0, 0), (0, 400), (300, 0), (300, 400)]):
        part = pixels[:, row : row + 405 if row == 0 else height, col : col + 535]
        place = transform @ transform.translation(col, row)
        bands = {
            name: asset(
                write(tmp_path / f"{number}_{name}.tif", part[i], crs=crs, transform=place),
                (name,),
                nodata=0,
            )
            for i, name in enumerate(("blue", "green", "red", "nir"))
        }
        scl = write(
            tmp_path / f"{number}_SCL.tif", part[4].astype("uint8"), crs=crs, transform=place
        )
        items.append(
            made(tmp_path, f"S2_{number}", {**bands, "scl": asset(scl)}, platform="sentinel-2a")
        )
    scene = open_items(items)
    found, valid = whole(scene)
    assert np.array_equal(valid, (pixels[:4] != 0).all(axis=0) & ~np.isin(pixels[4], (3, 8, 9, 10)))
    assert np.array_equal(found[:, valid], pixels[:4][:, valid])
    assert valid.mean() > 0.99
