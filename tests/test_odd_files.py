"""Odd rasters: each ends in a right map or in one line that says what is wrong with it, soon and in
bounded memory."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.rpc import RPC
from rasterio.transform import Affine, from_origin

from tests.conftest import Run
from tests.isolated import Outcome, run_isolated
from tests.tiling.rasters import noise, write
from tiling.errors import InputError
from tiling.scene.from_files import open_scene

Draw = Callable[[Path], "Path | str"]

FOLDERS = ("odd_tiffs_rasterio", "odd_tiffs_cog_fixtures", "odd_tiffs_image_tiff")
LARGE = ("cog_world.tif", "cog_cmap.tif")
"""Hundreds of megapixels in a few megabytes: planned alone."""


# --------------------------------------------------------------------------------------- the oracle


def segment_arguments(path: Path | str, out: Path, *more: object) -> list[object]:
    return [
        "segment",
        path,
        "--out",
        out,
        "--segmenter",
        "otsu",
        "--workers",
        0,
        "--min-area",
        0,
        *more,
    ]


def first_band(path: Path | str) -> list[object]:
    """The setting that has Otsu look at the scene's first band; none where no scene can be
    opened."""
    try:
        return ["--set", f"index=band:{open_scene([str(path)]).band_names[0]}"]
    except InputError:
        return []


def check_map(path: Path | str, out: Path) -> None:
    """The classes are those of the run's own threshold on the pixels that rasterio reads where its
    mask is not 0."""
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    (band,) = record["scene"]["bands"]
    split = record["segmenter"]["fitted"]
    with rasterio.open(path) as source:
        pixels, shown = source.read(band["index"]), source.read_masks(band["index"]) > 0
        if any(colour == ColorInterp.alpha for colour in source.colorinterp):
            # GDAL calls the last of four bands of 8 bits alpha, whatever it holds, and rasterio
            # takes it for a mask
            shown = (
                shown & (source.read(band["alpha"]) > 0) if band["alpha"] else np.ones_like(shown)
            )
        place = source.transform, source.crs.to_wkt()
    measured = pixels.astype(np.float32) * np.float32(band["scale"]) + np.float32(band["offset"])
    if pixels.dtype.kind == "f":
        shown &= np.isfinite(pixels)
    expected = np.where(shown, 1 + (measured > split["threshold"]), 0)
    with rasterio.open(out / "classes.tif") as classes:
        assert classes.transform.almost_equals(place[0])
        assert (
            CRS.from_wkt(place[1]) == classes.crs
            or classes.crs.to_dict() == CRS.from_wkt(place[1]).to_dict()
        )
        np.testing.assert_array_equal(classes.read(1), expected)
    assert sum(area["pixels"] for area in record["areas"]) == np.count_nonzero(shown)
    assert np.unique(expected[shown]).size >= 1


@pytest.fixture
def landweave(landweave: Run) -> Callable[..., Outcome]:
    """The command line in this process."""
    return lambda *arguments: Outcome(*landweave(*arguments), 0.0, 0)


def check_refusal(outcome: Outcome, fact: str = "") -> None:
    assert outcome.status == 2, outcome
    assert outcome.out == ""
    assert outcome.err.startswith("landweave: ")
    assert outcome.err.count("\n") == 1
    assert outcome.err.isprintable() or outcome.err.rstrip("\n").isprintable()
    assert fact in outcome.err


# ----------------------------------------------------------------------------- drawn and understood


def ramp(
    height: int = 40, width: int = 50, dtype: str = "uint8", low: float = 1, high: float = 120
) -> Any:
    """Two plateaus with a slope between them: no two thresholds are equally good."""
    x = np.linspace(-4, 4, height * width).reshape(height, width)
    return (low + (high - low) * (np.tanh(3 * x) + 1) / 2).astype(dtype)


def drawn(**options: Any) -> Draw:
    def draw(folder: Path) -> str:
        pixels = options.get("pixels", ramp())
        return write(
            folder / "a.tif", pixels, **{k: v for k, v in options.items() if k != "pixels"}
        )

    return draw


def with_nan(folder: Path) -> str:
    pixels = ramp(dtype="float32")
    pixels[3:9, 5:20] = np.nan
    pixels[0, 0], pixels[0, 1] = np.inf, -np.inf
    return write(folder / "a.tif", pixels, nodata=np.nan)


def palette(folder: Path) -> str:
    path = write(folder / "a.tif", ramp() % 7, photometric="palette")
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {value: (value * 30, 0, 0, 255) for value in range(7)})
    return path


def internal_mask(folder: Path) -> str:
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        return write(folder / "a.tif", ramp(), mask=noise(40, 50, seed=3) > 100)


def mask_beside(folder: Path) -> str:
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False):
        path = write(folder / "a.tif", ramp(), mask=noise(40, 50, seed=3) > 100)
    assert Path(path + ".msk").exists()
    return path


def lying_sidecar(folder: Path) -> str:
    """Says another no data value, another CRS and statistics that are not the file's."""
    path = write(folder / "a.tif", ramp(), nodata=1)
    Path(path + ".aux.xml").write_text(
        "<PAMDataset><SRS>EPSG:3857</SRS><GeoTransform>0, 1, 0, 0, 0, -1</GeoTransform>"
        '<PAMRasterBand band="1"><NoDataValue>7</NoDataValue><Metadata><MDI '
        'key="STATISTICS_MAXIMUM">-5</MDI>'
        "</Metadata></PAMRasterBand></PAMDataset>"
    )
    return path


def no_sidecar(folder: Path) -> str:
    path = write(folder / "a.tif", ramp(), nodata=1)
    Path(path + ".aux.xml").write_bytes(b"<PAMDataset><<<\0" + bytes(range(256)))
    return path


def broken_overviews(folder: Path) -> str:
    path = write(folder / "a.tif", ramp())
    Path(path + ".ovr").write_bytes(b"II*\0" + bytes(range(200)))
    return path


def overviews_only(folder: Path) -> str:
    """Its full resolution was never written: sparse blocks, which read as no data, under overviews
    that are there."""
    path = folder / "a.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=512, width=512, count=1, dtype="uint8", crs="EPSG:32633",
        nodata=0,
        transform=from_origin(500_000, 5_000_000, 10, 10), tiled=True, blockxsize=256,
        blockysize=256, sparse_ok=True,
    ) as dataset:  # fmt: skip
        dataset.write(ramp(256, 256), 1, window=((0, 256), (0, 256)))
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2])
    return str(path)


def endless_directories(folder: Path) -> str:
    """The directory says that the next one is itself."""
    path = Path(write(folder / "a.tif", ramp(), tiled=False))
    content = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, start)
    struct.pack_into("<I", content, start + 2 + 12 * entries, start)
    path.write_bytes(content)
    return str(path)


def foreign_letters(folder: Path) -> str:
    """A description in Latin-1, which is not UTF-8."""
    path = Path(write(folder / "a.tif", ramp(), names=("gr\u00fcn",)))
    content = path.read_bytes()
    assert "gr\u00fcn".encode() in content
    path.write_bytes(content.replace("gr\u00fcn".encode(), b"gr\xfc\xff\xfe"))
    return str(path)


def formula_in_name(folder: Path) -> str:
    return write(folder / "50$ \\frac{1}$ & <b>.tif", ramp())


def geographic(west: float, north: float, step: float, crs: str = "EPSG:4326") -> Draw:
    return drawn(crs=crs, transform=from_origin(west, north, step, step))


ENGINEERING = 'LOCAL_CS["site grid",UNIT["metre",1],AXIS["x",EAST],AXIS["y",NORTH]]'

RIGHT: list[tuple[str, Draw]] = [
    ("one pixel", drawn(pixels=ramp(1, 1), tiled=False)),
    ("one row", drawn(pixels=ramp(1, 65_536), tiled=False)),
    ("one column", drawn(pixels=ramp(100_000, 1), tiled=False)),
    ("NaN as no data", with_nan),
    ("int8", drawn(pixels=ramp(dtype="int8", low=-100))),
    ("int16", drawn(pixels=ramp(dtype="int16", low=-9000, high=9000), nodata=-9000)),
    ("uint32", drawn(pixels=ramp(dtype="uint32", low=1, high=4e9))),
    ("int32", drawn(pixels=ramp(dtype="int32", low=-2e9, high=2e9))),
    ("float64", drawn(pixels=ramp(dtype="float64", low=-1e6, high=1e6))),
    ("palette", palette),
    ("1 bit", drawn(pixels=ramp() % 2, nbits=1)),
    ("12 bits", drawn(pixels=ramp(dtype="uint16", high=4000), nbits=12)),
    (
        "YCbCr JPEG",
        drawn(pixels=noise(3, 64, 64), photometric="YCBCR", compress="JPEG", interleave="pixel"),
    ),
    ("CMYK", drawn(pixels=noise(4, 40, 50), photometric="CMYK")),
    ("bands apart", drawn(pixels=noise(4, 40, 50), interleave="band", compress="lzw", predictor=2)),
    ("alpha", drawn(pixels=noise(2, 40, 50, low=0, high=3), colours=("gray", "alpha"))),
    ("internal mask", internal_mask),
    ("mask beside it", mask_beside),
    ("sidecar that lies", lying_sidecar),
    ("sidecar that is none", no_sidecar),
    ("broken overviews", broken_overviews),
    ("overviews only", overviews_only),
    ("endless directories", endless_directories),
    ("description in Latin-1", foreign_letters),
    ("formula in the name", formula_in_name),
    ("south up", drawn(transform=Affine(10, 0, 500_000, 0, 10, 5_000_000))),
    ("east to west", drawn(transform=Affine(-10, 0, 500_000, 0, -10, 5_000_000))),
    ("pixels that are not square", drawn(transform=Affine(10, 0, 500_000, 0, -35, 5_000_000))),
    ("degrees", geographic(13, 52, 0.001)),
    ("across the antimeridian in degrees", geographic(179.98, 10, 0.001)),
    (
        "across the antimeridian in UTM",
        drawn(crs="EPSG:32660", transform=from_origin(830_000, 20_000, 100, 100)),
    ),
    ("from pole to pole", geographic(-180, 90, 3.6)),
    ("degrees with height", geographic(13, 52, 0.001, "EPSG:4979")),
    ("UTM with height", drawn(crs="EPSG:32633+5773")),
    ("engineering CRS", drawn(crs=ENGINEERING)),
    ("BigTIFF", drawn(bigtiff="YES")),
    ("no data outside its type", drawn(nodata=None)),
    ("gigantic pixels", drawn(crs="EPSG:3857", transform=from_origin(-2e7, 2e7, 8e5, 8e5))),
    ("far outside its CRS", drawn(transform=from_origin(1e12, 1e12, 10, 10))),
    ("tiny pixels", drawn(transform=from_origin(500_000, 5_000_000, 1e-6, 1e-6))),
]


@pytest.mark.slow
@pytest.mark.parametrize(("draw"), [draw for _, draw in RIGHT], ids=[name for name, _ in RIGHT])
def test_what_is_odd_but_clear_becomes_a_map(
    landweave: Callable[..., Outcome], tmp_path: Path, draw: Draw
) -> None:
    path = draw(tmp_path)
    assert landweave("plan", path, "--segmenter", "otsu", *first_band(path)).status == 0
    done = landweave(*segment_arguments(path, tmp_path / "run", *first_band(path)))
    assert done.status == 0, done.err
    check_map(path, tmp_path / "run")
    assert {"landcover.gpkg", "quicklook.png"} <= {
        file.name for file in (tmp_path / "run").iterdir()
    }


# -------------------------------------------------------------------------------- drawn and refused


def tiff(*entries: tuple[int, int, int, int], after: bytes = b"") -> bytes:
    """A little-endian TIFF of one directory: (tag, type, count, value) each; `after` follows it."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + bytes(4) + after


def placed(
    width: int,
    height: int,
    *entries: tuple[int, int, int, int],
    after: bytes = b"",
    bits: int = 8,
    samples: int = 1,
) -> bytes:
    """A TIFF in UTM 33 whose header may declare anything; `after` stands at the byte that `tail`
    names."""
    keys = struct.pack("<16H", 1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633)
    scale, tie = struct.pack("<3d", 10, 10, 0), struct.pack("<6d", 0, 0, 0, 500_000, 5_000_000, 0)
    start = tail(len(entries)) - len(keys + scale + tie)
    return tiff(
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, bits), (262, 3, 1, 1), (277, 3, 1,
        samples),
        (33550, 12, 3, start), (33922, 12, 6, start + 24), (34735, 3, 16, start + 72), *entries,
        after=scale + tie + keys + after,
    )  # fmt: skip


def tail(entries: int) -> int:
    """Where the bytes after a header of `placed` with that many further entries begin."""
    return 8 + 2 + 12 * (8 + entries) + 4 + 24 + 48 + 32


def header(name: str, *arguments: Any, **options: Any) -> Draw:
    def draw(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(placed(*arguments, **options))
        return path

    return draw


def content(name: str, told: bytes) -> Draw:
    def draw(folder: Path) -> Path:
        (folder / name).write_bytes(told)
        return folder / name

    return draw


def cut(share: float) -> Draw:
    def draw(folder: Path) -> Path:
        path = Path(write(folder / "a.tif", noise(200, 200), compress="deflate"))
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        return path

    return draw


def folder_of_that_name(folder: Path) -> Path:
    (folder / "x.tif").mkdir()
    return folder / "x.tif"


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "x.tif")
    return folder / "x.tif"


def wrong_offsets(folder: Path) -> str:
    """The first of its tiles is said to lie far beyond the end; the last is in order."""
    path = Path(write(folder / "a.tif", noise(64, 64), blockxsize=32, blockysize=32))
    told = bytearray(path.read_bytes())
    with rasterio.open(path) as dataset:
        first = int(dataset.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1))
    at = told.index(struct.pack("<I", first))
    struct.pack_into("<I", told, at, 2**31)
    path.write_bytes(told)
    return str(path)


def points(folder: Path) -> str:
    path = write(folder / "a.tif", ramp(), crs=None, transform=Affine.identity())
    with rasterio.open(path, "r+") as dataset:
        dataset.gcps = (
            [GroundControlPoint(r, c, 13 + c, 50 - r) for r, c in ((0, 0), (0, 9), (9, 0))],
            CRS.from_epsg(4326),
        )
    return path


def camera(folder: Path) -> str:
    path = write(folder / "a.tif", ramp(), crs=None, transform=Affine.identity())
    with rasterio.open(path, "r+") as dataset:
        dataset.rpcs = RPC(
            height_off=0, height_scale=1, lat_off=50, lat_scale=1, long_off=13, long_scale=1,
            line_off=0, line_scale=1,
            samp_off=0, samp_scale=1, line_num_coeff=[1] * 20, line_den_coeff=[1] * 20,
            samp_num_coeff=[1] * 20,
            samp_den_coeff=[1] * 20,
        )  # fmt: skip
    return path


def empty(folder: Path) -> str:
    return write(folder / "a.tif", np.zeros((40, 50), "uint8"), nodata=0)


def loop(folder: Path) -> Path:
    (folder / "x.tif").symlink_to(folder / "x.tif")
    return folder / "x.tif"


def many_bands(folder: Path) -> Path:
    """65 535 of them, each of one pixel."""
    path = folder / "a.tif"
    path.write_bytes(
        placed(
            1,
            1,
            (273, 4, 1, tail(3)),
            (278, 4, 1, 1),
            (279, 4, 1, 65_535),
            samples=65_535,
            after=bytes(65_535),
        )
    )
    return path


STRIP = ((273, 4, 1, 8), (278, 4, 1, 64), (279, 4, 1, 60))
FAR = ((273, 4, 2**30, 8), (278, 4, 1, 1), (279, 4, 2**30, 8))
BLOCK = ((322, 3, 1, 46_000), (323, 3, 1, 46_000), (324, 4, 1, 8), (325, 4, 1, 9), (259, 3, 1, 5))
STRIPS = ((278, 4, 1, 30_000), (273, 4, 2, tail(4)), (279, 4, 2, tail(4) + 8), (259, 3, 1, 8))
TILES = ((322, 3, 1, 256), (323, 3, 1, 256), (324, 4, 1, 0), (325, 4, 1, 0))

big_block = header("a.tif", 46_000, 46_000, *BLOCK)
big_strips = header("a.tif", 40_000, 60_000, *STRIPS, after=struct.pack("<4I", 8, 8, 90, 90))


def too_large(folder: Path) -> Path:
    return sparse(folder, 2**20)


REFUSED: list[tuple[str, Draw, str]] = [
    ("no byte", content("a.tif", b""), "is not a raster that GDAL can read"),
    ("four bytes", content("a.tif", b"II*\0"), "is not a raster that GDAL can read"),
    ("text", content("a.tif", b"hello"), "is not a raster that GDAL can read"),
    ("a picture", content("a.png", b"\x89PNG\r\n\x1a\n" + bytes(100)),
    "is a PNG picture, and only GeoTIFF"),
    ("cut in the header", cut(0.001), "a.tif is"),
    ("cut in the pixels", cut(0.7), "a.tif is"),
    ("header only", header("a.tif", 64, 64, (273, 4, 1, 4000), (278, 4, 1, 64), (279, 4, 1, 4096)),
    "is cut short"),
    ("folder", folder_of_that_name, "holds no raster"),
    ("pipe", pipe, "is a device or a pipe"),
    ("loop of links", loop, "does not exist"),
    ("long name", lambda folder: folder / ("x" * 300 + ".tif"), "does not exist"),
    ("wrong offsets", wrong_offsets, "cannot be read in rows 0–63"),
    ("complex", drawn(pixels=ramp().astype("complex64")), "complex"),
    ("int64", drawn(pixels=ramp(dtype="int64")), "int64, which is not supported"),
    ("no CRS", drawn(crs=None), "has no CRS"),
    ("no geotransform", drawn(transform=Affine.identity()), "has a CRS but no geotransform"),
    ("rotated", drawn(transform=Affine(10, 3, 500_000, 3, -10, 5_000_000)), "rotated or sheared"),
    ("control points", points, "placed by ground control points"),
    ("camera model", camera, "placed by a camera model"),
    ("no valid pixel", empty, "no valid pixel"),
    ("2 GB block", big_block, "declares blocks of 46,000 × 46,000 pixels"),
    ("gigapixel strips", big_strips, "declares blocks of 40,000 × 30,000 pixels"),
    ("more pixels than any", too_large, "more than one scene may have"),
    ("unknown compression", header("a.tif", 64, 64, *STRIP, (259, 3, 1, 60_001)),
    "is not a raster that GDAL can read"),
    ("list of offsets of 4 GB", header("a.tif", 64, 2**24, *FAR), "a.tif"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("draw", "fact"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_what_cannot_become_a_map_is_refused_in_one_line(
    landweave: Callable[..., Outcome], tmp_path: Path, draw: Draw, fact: str
) -> None:
    path = draw(tmp_path)
    check_refusal(
        landweave(*segment_arguments(path, tmp_path / "run", "--set", "index=band:band_1")), fact
    )
    assert not (tmp_path / "run").exists()


def test_ten_gigapixels_without_data_are_planned_from_their_header(
    landweave: Callable[..., Outcome], tmp_path: Path
) -> None:
    path = sparse(tmp_path, 100_000)
    planned = landweave("plan", path, "--segmenter", "otsu", "--set", "index=band:band_1", "--json")
    assert planned.status == 0, planned.err
    facts = json.loads(planned.out)
    assert (facts["scene"], facts["width"], facts["height"]) == ("a", 100_000, 100_000)
    assert facts["shards"] > 2000


def sparse(folder: Path, length: int) -> Path:
    """A scene of that many pixels squared whose blocks were never written."""
    with rasterio.open(
        folder / "a.tif", "w", driver="GTiff", height=length, width=length, count=1, dtype="uint8",
        crs="EPSG:32633",
        transform=from_origin(500_000, 5_000_000, 1, 1), tiled=True, blockxsize=512, blockysize=512,
        sparse_ok=True,
        bigtiff="YES",
    ):  # fmt: skip
        return folder / "a.tif"


# ---------------------------------------------------------------- processes: crash, hang and hunger


def endless_vrt(folder: Path) -> Path:
    """Shows itself."""
    return vrt(folder, "a.vrt")


def huge_vrt(folder: Path) -> Path:
    write(folder / "a.tif", ramp())
    return vrt(folder, "a.tif", size=2**31 - 1)


def vrt(folder: Path, source: str, *, size: int = 40) -> Path:
    (folder / "a.vrt").write_text(
        f'<VRTDataset rasterXSize="{size}" rasterYSize="{size}"><SRS>EPSG:32633</SRS>'
        f"<GeoTransform>500000, 10, 0, 5000000, 0, -10</GeoTransform>"
        '<VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f'<SourceFilename relativeToVRT="1">{source}</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    return folder / "a.vrt"


def huge_masked(folder: Path) -> Path:
    """A block of 2 GB in a file beside one that is in order."""
    path = write(folder / "a.tif", ramp())
    Path(path + ".msk").write_bytes(placed(46_000, 46_000, *BLOCK))
    return Path(path)


HUNGRY: list[tuple[str, Draw]] = [
    *((name, draw) for name, draw, _ in REFUSED if name.split()[0] in ("2", "gigapixel", "list",
    "cut", "wrong")),
    ("all there is of pixels", header("a.tif", 2**31 - 1, 2**31 - 1, *TILES)),
    ("many bands", many_bands),
    ("endless VRT", endless_vrt),
    ("huge VRT", huge_vrt),
    ("huge mask", huge_masked),
    ("endless directories", endless_directories),
]  # fmt: skip


@pytest.mark.slow
def test_no_file_crashes_hangs_or_takes_the_memory(tmp_path: Path) -> None:
    """Each in a process of its own with 6 GiB to map; none may come to hold a quarter of what it
    declares."""
    calls = []
    for number, (_, draw) in enumerate(HUNGRY):
        (folder := tmp_path / str(number)).mkdir()
        calls.append(segment_arguments(draw(folder), folder / "run", "--set", "index=band:band_1"))
    for (name, _), outcome in zip(HUNGRY, run_isolated(calls), strict=True):
        assert outcome.status in (0, 2), (name, outcome)
        if outcome.status == 2:
            check_refusal(outcome)
        assert outcome.seconds < 30, (name, outcome)
        assert outcome.peak_bytes < 700 * 2**20, (name, outcome)


# ---------------------------------------------------------------------------------------- real ones


def real_files(data: Path) -> list[Path]:
    """All that GDAL may take for a raster; sidecars are met with what they lie beside."""
    kinds = (".tif", ".tiff", ".gtiff", ".vrt", ".bmp", ".png", "")
    return [
        path for path in sorted(data.rglob("*")) if path.is_file() and path.suffix.lower() in kinds
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "maps"), list(zip(FOLDERS, (24, 22, 2), strict=True)))
def test_every_odd_real_file_is_planned_or_refused_in_one_line(
    shared_data: Path, landweave: Callable[..., Outcome], folder: str, maps: int
) -> None:
    planned = 0
    for path in real_files(shared_data / folder):
        outcome = landweave("plan", path, "--segmenter", "otsu", *first_band(path))
        if outcome.status == 0:
            planned += 1
        else:
            check_refusal(outcome, path.stem)
    assert planned == maps


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "alpha.tif",
        "RGB2.byte.tif",
        "float_raster_with_nodata.tif",
        "cog_nonearth.tif",
        "cog_dateline.tif",
        "geo-5b.tif",
    ],
)
def test_odd_real_files_become_right_maps(
    shared_data: Path, landweave: Callable[..., Outcome], tmp_path: Path, name: str
) -> None:
    (path,) = (
        path for folder in FOLDERS for path in real_files(shared_data / folder) if path.name == name
    )
    done = landweave(*segment_arguments(path, tmp_path / "run", *first_band(path)))
    assert done.status == 0, done.err
    check_map(path, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_odd_real_file_becomes_a_right_map_or_one_line(
    shared_data: Path, tmp_path: Path
) -> None:
    """Plan and segment of each in a process of its own."""
    files = [
        path
        for name in FOLDERS
        for path in real_files(shared_data / name)
        if path.name not in LARGE
    ]
    calls = [
        segment_arguments(path, tmp_path / str(number), *first_band(path))
        for number, path in enumerate(files)
    ]
    maps = 0
    for number, (path, outcome) in enumerate(zip(files, run_isolated(calls), strict=True)):
        if outcome.status == 2:
            check_refusal(outcome, path.stem)
            continue
        assert outcome.status == 0, (path, outcome)
        assert outcome.peak_bytes < 900 * 2**20, (path, outcome)
        check_map(path, tmp_path / str(number))
        maps += 1
    assert maps >= 45
