"""What a file is that is not read, and how it becomes one that is: said to whoever gave it."""

from __future__ import annotations

import re
from pathlib import Path

READ = "GeoTIFF, VRT, JPEG 2000, ERDAS Imagine and ENVI files"
"""What is read, for a person."""

_UNPACK = "unpack it and give the folder that comes of it"
_PLACED = (
    "such pictures seldom say where they lie: gdal_translate -a_srs EPSG:… -a_ullr WEST "
    "NORTH EAST SOUTH"
)
_PARTS = "gdalinfo lists what is inside, and this writes a part:"

_KINDS: tuple[tuple[bytes, str, str], ...] = (
    (b"PK\3\4", "a ZIP archive", _UNPACK),
    (b"\x1f\x8b", "a gzip archive", _UNPACK),
    (b"7z\xbc\xaf", "a 7z archive", _UNPACK),
    (b"\x89PNG", "a PNG picture", f"{_PLACED} {{path}} {{stem}}.tif"),
    (b"\xff\xd8\xff", "a JPEG picture", f"{_PLACED} {{path}} {{stem}}.tif"),
    (b"CDF", "a netCDF file", f"{_PARTS} gdal_translate NETCDF:{{path}}:VARIABLE {{stem}}.tif"),
    (
        b"\x89HDF",
        "an HDF5 or netCDF-4 file",
        f"{_PARTS} gdal_translate NETCDF:{{path}}:VARIABLE {{stem}}.tif",
    ),
    (b"\x0e\x03\x13\x01", "an HDF4 file", f"{_PARTS} gdal_translate SUBDATASET {{stem}}.tif"),
    (b"GRIB", "a GRIB file", "gdal_translate {path} {stem}.tif"),
    (
        b"SQLite format 3",
        "a database such as a GeoPackage",
        "if it holds a raster: gdal_translate {path} {stem}.tif",
    ),
    (b"%PDF", "a PDF", "gdal_translate {path} {stem}.tif"),
    (b"msid", "a MrSID file", "gdal_translate {path} {stem}.tif"),
    (b"ncols", "an ASCII grid", "gdal_translate -a_srs EPSG:… {path} {stem}.tif"),
)
"""How a file begins, what it is, and what to do with it."""


def foreign(path: str) -> str | None:
    """What a file is that is not read, and how it becomes one that is; None where it is of no kind
    known here."""
    file = Path(path)
    if re.search(r"(?:^|_)MTD(?:_\w+)?\.xml$", file.name) or file.name == "manifest.safe":
        return f"{path} describes a Sentinel product; give its folder: {file.parent}"
    if re.search(r"_MTL\.(?:txt|xml|json)$", file.name, re.IGNORECASE):
        return f"{path} describes a Landsat product; give its folder: {file.parent}"
    try:
        with file.open("rb") as stream:
            head = stream.read(512)
    except OSError:
        return None
    kind = next((kind for kind in _KINDS if head.startswith(kind[0])), None)
    if kind is None and head[257:262] == b"ustar":
        kind = (b"", "a tar archive", _UNPACK)
    if kind is None:
        return None
    return (
        f"{path} is {kind[1]}, and only {READ} are read; "
        f"{kind[2].format(path=path, stem=file.stem)}"
    )
