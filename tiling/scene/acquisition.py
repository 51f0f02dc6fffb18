"""One image: its bands and its mask, where their pixels lie and what they mean."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace
from typing import Any, Literal

from odc.geo.geobox import GeoBox

from tiling.errors import InputError
from tiling.grid.geobox import check_overlap, place_on
from tiling.grid.window import Window
from tiling.scene.header import Header, read_header

DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")

REFLECTANCE = "reflectance"
"""The unit of a band of floating point numbers that are reflectance, as our own rasters have it."""


@dataclass(frozen=True, eq=False)
class Band:
    """One band of a scene: where its pixels lie and what they mean. Physical value = pixel × scale
    + offset."""

    name: str
    path: str
    index: int
    """Its number in the file, from 1."""
    dtype: str
    nodata: float | None = None
    scale: float = 1.0
    offset: float = 0.0
    units: Literal["reflectance", "dn"] = "dn"
    masked: bool = False
    """Whether the file has a mask of its own, inside or beside it."""
    alpha: int | None = None
    """The number of the file's alpha band; above 0 it shows the pixel."""
    resampled: bool = False
    """Whether the file's pixels are not those of the scene's grid."""
    at: tuple[int, int] = (0, 0)
    """Row and column of the scene that the file's first pixel is, where they are."""
    claimed: bool = False
    """Whether scale and offset are the word of a catalogue, which pixels may contradict."""

    def __eq__(self, other: object) -> bool:
        # no data may be NaN, which equals nothing
        return isinstance(other, Band) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))


@dataclass(frozen=True)
class Mask:
    """Pixels to leave out: where this band holds one of `values`, has one of `bits` set, or without
    either is not 0."""

    path: str
    index: int
    values: tuple[int, ...] = ()
    resampled: bool = False
    bits: tuple[int, ...] = ()
    """Numbers of bits; that of 1 is 0."""
    at: tuple[int, int] = (0, 0)
    """Row and column of the scene that its first pixel is, where it is not resampled."""


@dataclass(frozen=True)
class Acquisition:
    """One image on the grid of a scene: what was taken at one time, its bands and what hides
    them."""

    name: str
    bands: tuple[Band, ...]
    mask: Mask | None = None
    date: datetime.date | None = None
    extent: Window | None = None
    """Pixels of the scene beyond which its files have none; None where they may be anywhere."""
    footprint: str = ""
    """Where a catalogue says that it has pixels: WKT in degrees. Decides nothing."""
    origin: str = ""
    """Where the STAC item is that it was made from. Decides nothing."""

    def band(self, name: str) -> Band:
        """The band of that full name."""
        for band in self.bands:
            if band.name == name:
                return band
        names = ", ".join(band.name for band in self.bands)
        raise InputError(
            f"{self.name} has no band {name}; it has {names}: if one of them is {name}, say so "
            f"with --bands; else name its file as {name}=PATH"
        )


def band_on(
    grid: GeoBox,
    name: str,
    file: Header,
    index: int,
    alpha: int | None,
    nodata: float | None = None,
    scale: float | None = None,
    offset: float | None = None,
) -> Band:
    """A band of a file as part of a scene on that grid; what is not None goes before what the file
    declares."""
    dtype, at = file.dtypes[index - 1], index - 1
    if dtype.startswith("complex"):
        raise InputError(
            f"{file.path} holds complex numbers ({dtype}); write their magnitude to a file first"
        )
    if dtype not in DTYPES:
        raise InputError(
            f"{file.path} holds {dtype}, which is not supported; "
            f"convert it: gdal_translate -ot Float32 {file.path} out.tif"
        )
    # of whole numbers a unit says only what they become
    named = file.units[at] == REFLECTANCE and dtype.startswith("float")
    declared = named or file.scales[at] != 1 or file.offsets[at] != 0
    return Band(
        name=name,
        path=file.place,
        index=index,
        dtype=dtype,
        nodata=file.nodata[at] if nodata is None else float(nodata),
        scale=float(file.scales[at] if scale is None else scale),
        offset=float(file.offsets[at] if offset is None else offset),
        units="dn" if scale is None and offset is None and not declared else "reflectance",
        masked=file.masked,
        alpha=alpha,
        **_placement(file, grid),
    )


def place_image(image: Acquisition, grid: GeoBox) -> Acquisition:
    """An image as part of a scene on that grid, whatever grid it was opened on; reads headers.

    Raises `InputError` where it lies elsewhere.
    """
    files = {path: read_header(path) for path in {band.path for band in image.bands}}
    for path, file in files.items():
        check_overlap(path, file.geobox, grid)
    mask = image.mask
    if mask:
        mask = replace(mask, **_placement(read_header(mask.path), grid))
    bands = (replace(band, **_placement(files[band.path], grid)) for band in image.bands)
    return replace(image, bands=tuple(bands), mask=mask, extent=None)


def _placement(file: Header, grid: GeoBox) -> dict[str, Any]:
    """How a file lies on a scene's grid."""
    at = place_on(file.geobox, grid)
    return {"resampled": at is None, "at": at or (0, 0)}


def mask_on(
    grid: GeoBox, file: Header, index: int, values: tuple[int, ...], bits: tuple[int, ...]
) -> Mask:
    """A band of a file as the mask of a scene on that grid."""
    dtype = file.dtypes[index - 1]
    if bits and not dtype.startswith(("int", "uint")):
        raise InputError(
            f"{file.path} holds {dtype}, which has no bits; name the values to leave out with "
            "--mask-values"
        )
    return Mask(file.place, index, values, bits=bits, **_placement(file, grid))
