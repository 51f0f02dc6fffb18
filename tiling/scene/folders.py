"""Which files of a folder are the bands of a scene: those a person put there, or those of a product
as it is delivered.

Sentinel-2's products are folders that end in .SAFE; Landsat's hold an MTL.txt beside the bands.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tiling.errors import InputError
from tiling.io.access import check_access
from tiling.io.drivers import RASTER_SUFFIXES
from tiling.scene.band_names import name_in_file_name, sensor_in, sensor_of_codes
from tiling.scene.masks import mask_kind_in

_BY_PRODUCTS = re.compile(
    r"(?:^|_)(?:TCI|AOT|WVP|SCL|CLD|SNW|PVI|Fmask|[SV][AZ]A|QA_\w+|SR_QA_\w+|ST_[A-Z]+|MSK_\w+|ATRAN|EMIS\w*)"
    r"(?:_\d+m)?$",
    re.IGNORECASE,
)
"""What products hold beside their bands, and nobody misses."""

_LARGEST_MTL = 2**20
_LISTED = 5


@dataclass(frozen=True)
class BandFiles:
    """The files of a folder that make a scene."""

    bands: tuple[tuple[str, str], ...]
    """Common name and path of each; the name is empty where the file itself is to say."""
    mask: tuple[str, str] | None = None
    """The raster that tells clouds, and which of `tiling.scene.masks.MASKS` it is."""
    reflectance: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """By path, the scale and offset with which a product's own description makes reflectance of its
    numbers."""
    notes: tuple[str, ...] = ()
    """What a person should know of the choice, a line each."""


def band_files(folder: Path) -> BandFiles:
    """The bands of a folder, or of the product that it is; `InputError` where no name tells a band.

    Of a band in several resolutions a product's finest is taken.
    """
    check_access(str(folder))
    inside = _product_images(folder)
    files = inside or sorted(
        file for file in folder.iterdir() if file.suffix.lower() in RASTER_SUFFIXES
    )
    if not files:
        raise InputError(
            f"{folder} holds no raster ({', '.join(RASTER_SUFFIXES)}); {_elsewhere(folder)}"
        )
    if len(files) == 1:
        return BandFiles((("", str(files[0])),))
    sensor = sensor_of_files(file.stem for file in files) or sensor_in(folder.name)
    named = [(name_in_file_name(file.stem, sensor_in(file.stem) or sensor), file) for file in files]
    if not any(name for name, _ in named):
        raise InputError(
            f"{folder} holds {len(files)} rasters and no name tells a band; say which is which: "
            f"red={files[0]}; if "
            "they are tiles of one image, join them: gdalbuildvrt scene.vrt "
            f"{folder}/*{files[0].suffix}"
        )
    bands = [(name, file) for name, file in named if name]
    if inside:
        bands = _finest(bands)
    pans = [file for name, file in bands if name == "pan"] if len(bands) > 1 else []
    if pans:
        bands = [(name, file) for name, file in bands if name != "pan"]
    unnamed = [file for name, file in named if name is None]
    masks = [(file, kind) for file in files if (kind := mask_kind_in(file.stem))]
    if inside:
        masks = sorted(masks, key=lambda pair: _metres(pair[0]))[:1]
    return BandFiles(
        tuple((name, str(file)) for name, file in bands),
        (str(masks[0][0]), masks[0][1]) if len(masks) == 1 else None,
        _landsat_reflectance(folder, [file for _, file in bands]),
        tuple(_notes_on(folder, pans, unnamed)),
    )


def _notes_on(folder: Path, pans: Sequence[Path], unnamed: Sequence[Path]) -> Iterator[str]:
    """What a scene goes without, and how to have it."""
    if pans:
        yield (
            f"{pans[0].name}, panchromatic, is left out: the map has the pixels of the coloured "
            "bands"
        )
    strange = [file.name for file in unnamed if not _BY_PRODUCTS.search(file.stem)]
    if strange:
        more = f" and {len(strange) - _LISTED} more" if len(strange) > _LISTED else ""
        yield (
            f"no name tells which band {', '.join(strange[:_LISTED])}{more} may be, and the scene "
            f"goes without; to have it, give the files by name: swir16={folder / strange[0]}"
        )
    beside = folder.with_name("R20m")
    if folder.name == "R10m" and beside.is_dir():
        yield (
            f"shortwave infrared and the scene classification lie in {beside}; give the .SAFE "
            "folder for all"
        )


def sensor_of_files(stems: Iterable[str]) -> str | None:
    """The sensor that one of several band files' names tells: in words, or by a code that only one
    sensor has.

    >>> sensor_of_files(["scene_B04", "scene_B8A", "scene_B11"]), sensor_of_files(["a_B4", "a_B5"])
    ('Sentinel-2', None)
    """
    stems = list(stems)
    ends = [re.sub(r"_\d+m$", "", stem).rpartition("_")[2] for stem in stems]
    return next((sensor for stem in stems if (sensor := sensor_in(stem))), None) or sensor_of_codes(
        ends
    )


def is_product(folder: Path) -> bool:
    """Whether a folder is a product whose images lie further inside."""
    return bool(_image_folders(folder))


def _image_folders(folder: Path) -> list[Path]:
    """Where a Sentinel-2 product, or a part of one, keeps its images."""
    granules = sorted(folder.glob("GRANULE/*/IMG_DATA"))
    if granules:
        return granules
    if (folder / "IMG_DATA").is_dir():
        return [folder / "IMG_DATA"]
    return [folder] if any((folder / inner).is_dir() for inner in ("R10m", "R20m", "R60m")) else []


def _product_images(folder: Path) -> list[Path]:
    images = _image_folders(folder)
    if len(images) > 1:
        raise InputError(
            f"{folder} holds {len(images)} granules; give one of them, for example "
            f"{images[0].parent}, each is a scene"
        )
    return sorted(
        file
        for inner in images
        for file in inner.rglob("*")
        if file.suffix.lower() in (".jp2", ".tif", ".tiff")
    )


def _metres(file: Path) -> int:
    """The resolution that a product writes at the end of a file's name; 0 without one."""
    match = re.search(r"_(\d+)m$", file.stem)
    return int(match[1]) if match else 0


def _finest(bands: Sequence[tuple[str, Path]]) -> list[tuple[str, Path]]:
    best: dict[str, Path] = {}
    for name, file in sorted(bands, key=lambda pair: _metres(pair[1])):
        best.setdefault(name, file)
    return sorted(best.items(), key=lambda pair: (_metres(pair[1]), pair[1].name))


def _elsewhere(folder: Path) -> str:
    """Where the rasters of a folder without any may be."""
    if (
        folder.suffix.lower() == ".zarr"
        or (folder / ".zgroup").exists()
        or (folder / "zarr.json").exists()
    ):
        return (
            f"it is a Zarr store; write the bands you need to GeoTIFF: gdal_translate {folder} "
            "scene.tif"
        )
    archives = sorted(
        file
        for file in folder.iterdir()
        if re.search(r"\.(zip|tar|tgz|tar\.gz)$", file.name.lower())
    )
    if archives:
        return f"unpack {archives[0].name} and give the folder that comes of it"
    inner = sorted(
        {file.parent for file in folder.glob("*/*") if file.suffix.lower() in RASTER_SUFFIXES}
        | {place for place in folder.glob("*.SAFE") if place.is_dir()}
    )
    return f"{inner[0]} does; give that" if inner else "give the folder of the band files"


# ------------------------------------------------------------------------------------------ Landsat


def _landsat_reflectance(folder: Path, files: Sequence[Path]) -> dict[str, tuple[float, float]]:
    """By path, scale and offset of the bands that the one MTL.txt of a folder describes.

    Level 1 becomes reflectance at the top of the atmosphere with the sun where it stood: USGS
    LSDS-1574, section 5.
    """
    texts = [
        file
        for file in sorted(folder.iterdir())
        if re.search(r"_MTL\.txt$", file.name, re.IGNORECASE)
    ]
    if len(texts) != 1 or texts[0].stat().st_size > _LARGEST_MTL:
        return {}
    groups: dict[str, dict[str, str]] = {}
    group = ""
    for line in texts[0].read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = (part.strip().strip('"') for part in line.partition("="))
        if key == "GROUP":
            group = value
        elif value:
            groups.setdefault(group, {})[key] = value
    level_2 = groups.get("LEVEL2_SURFACE_REFLECTANCE_PARAMETERS", {})
    level_1 = groups.get("LEVEL1_RADIOMETRIC_RESCALING", groups.get("RADIOMETRIC_RESCALING", {}))
    found = {}
    for file in files:
        match = re.search(r"_(?P<surface>SR_)?B(?P<number>\d+)$", file.stem)
        if match is None:
            continue
        said = level_2 if match["surface"] else level_1
        try:
            scale, offset = (
                float(said[f"REFLECTANCE_{what}_BAND_{match['number']}"])
                for what in ("MULT", "ADD")
            )
            if not match["surface"]:
                height = float(groups.get("IMAGE_ATTRIBUTES", {})["SUN_ELEVATION"])
                lit = math.sin(math.radians(height))
                scale, offset = scale / lit, offset / lit
        except (KeyError, ValueError, ZeroDivisionError):
            continue  # thermal, or described by an older product in radiance alone
        if 0 < scale < 1 and math.isfinite(offset):
            found[str(file)] = scale, offset
    return found
