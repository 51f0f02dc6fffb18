"""What a raster's header says: where it lies, what its pixels are, and which band is which."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning

from tiling.errors import InputError, one_line
from tiling.grid.geobox import geobox_of
from tiling.io.access import is_there
from tiling.io.datasets import open_dataset, sample_band
from tiling.io.drivers import driver_for
from tiling.io.urls import is_local
from tiling.scene.band_names import (
    sensor_in,
    sensor_of_codes,
)

_BLOCK, _MOST_BLOCKS = 256, 2**22
"""A scene's sample is chosen among blocks of that many pixels squared; so many are still chosen
from in seconds."""
_FEW_VALUES = 16
"""Values of a band declared alpha that cannot tell it from a mask with soft edges."""


@dataclass(frozen=True)
class Header:
    """The facts in a raster's header: grid, data types, no data, names and masks of its bands."""

    path: str
    """As a person wrote it."""
    geobox: GeoBox
    dtypes: tuple[str, ...]
    nodata: tuple[float | None, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    units: tuple[str, ...]
    """Per band, what the file says its values are in; mostly nothing."""
    texts: tuple[tuple[str, ...], ...]
    """Per band, what may hold its name; the most telling first."""
    colours: tuple[str, ...]
    """Per band, GDAL's name of what it shows; alpha is what can be a mask."""
    masked: bool
    about: str
    """Tags that may name the sensor."""
    taken: tuple[str, ...] = ()
    """What its tags say of the day on which it was taken; the most telling first."""

    @property
    def count(self) -> int:
        return len(self.dtypes)

    @property
    def place(self) -> str:
        """The path, the same from every folder."""
        return str(Path(self.path).absolute()) if is_local(self.path) else self.path

    @property
    def stem(self) -> str:
        return stem_of(self.path)

    @cached_property
    def sensor(self) -> str | None:
        return (
            sensor_in(self.stem)
            or sensor_in(self.about)
            or sensor_of_codes([t for band in self.texts for t in band])
        )

    @property
    def contents(self) -> str:
        """The file's bands by number, with what it says of each: `1 (red), 2, 3 (alpha)`."""
        texts = (next(iter(band), "") for band in self.texts)
        seen = (
            text or (colour if colour not in ("gray", "undefined") else "")
            for text, colour in zip(texts, self.colours, strict=True)
        )
        return ", ".join(f"{i}{f' ({text})' if text else ''}" for i, text in enumerate(seen, 1))


_SENSOR_TAGS = (
    "SATELLITE",
    "PLATFORM",
    "SENSOR",
    "MISSION",
    "SPACECRAFT",
    "SPACECRAFT_ID",
    "TIFFTAG_IMAGEDESCRIPTION",
)


_DAY_TAGS = (
    # GDAL's own words, https://gdal.org/user/raster_data_model.html#imagery-domain-remote-sensing
    "ACQUISITIONDATETIME",
    # those of our products, Landsat's MTL, HLS, Planet and SNAP
    "ACQUIRED",
    "ACQUISITIONDATE",
    "ACQUISITION_DATE",
    "DATE_ACQUIRED",
    "SENSING_TIME",
    "PRODUCT_START_TIME",
    "DATETIME",
    # when the file was made, TIFF 6.0 says: often the same day, and the last to be believed
    "TIFFTAG_DATETIME",
)


def read_header(path: str) -> Header:
    """What a raster's header says; `InputError` where no scene can come of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # refused below, in one sentence
        dataset = open_dataset(path)
    try:
        with dataset:
            return _header(path, dataset)
    except (
        UnicodeDecodeError
    ) as error:  # rasterio 1.4 takes all texts for UTF-8, also the CRS of control points
        raise InputError(
            f"{path} holds text that is not UTF-8 where GDAL's should be; write it anew: gdalwarp "
            f"{path} new.tif"
        ) from error


def _header(path: str, dataset: Any) -> Header:
    if not dataset.count:
        inside = dataset.subdatasets
        raise InputError(
            f"{path} holds no band"
            + (
                f"; name one of its parts, for example {inside[0]!r}"
                if inside
                else "; give a raster"
            )
        )
    _check_place(path, dataset)
    _check_size(path, dataset)
    _check_files(path, dataset)
    tags = {key.upper(): value for key, value in dataset.tags().items()}
    return Header(
        path=path,
        geobox=geobox_of(dataset),
        dtypes=tuple(dataset.dtypes),
        nodata=tuple(dataset.nodatavals),
        scales=tuple(dataset.scales),
        offsets=tuple(dataset.offsets),
        units=tuple(unit or "" for unit in dataset.units),
        texts=_texts(dataset),
        colours=tuple(_colour(path, dataset, index) for index in range(1, dataset.count + 1)),
        masked=any(
            MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags
            for flags in dataset.mask_flag_enums
        ),
        about=" ".join(tags.get(key, "") for key in _SENSOR_TAGS),
        taken=_taken(tags | dataset.tags(ns="IMAGERY")),
    )


def _taken(tags: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(tags[key] for key in _DAY_TAGS if tags.get(key))


def _colour(path: str, dataset: Any, index: int) -> str:
    """What the file says that a band shows; not alpha where its pixels are no mask, as NAIP's
    infrared often is."""
    colour: str = dataset.colorinterp[index - 1].name
    return (
        colour
        if colour != ColorInterp.alpha.name or _looks_like_alpha(sample_band(path, dataset, index))
        else "undefined"
    )


def _looks_like_alpha(values: npt.NDArray[Any]) -> bool:
    """Whether pixels may be those of a mask: of few values, or half of them one, hidden or shown. A
    light has many."""
    counts = np.unique(values, return_counts=True)[1]
    return len(counts) <= _FEW_VALUES or 2 * counts.max() >= counts.sum()


def _texts(dataset: Any) -> tuple[tuple[str, ...], ...]:
    """Per band what may hold its name, each on one line.

    "Band 8" on the eighth band says nothing: ENVI writes it on bands without a name.
    """
    try:
        descriptions = dataset.descriptions
    except UnicodeDecodeError:  # old programs wrote them in their own alphabet
        descriptions = (None,) * dataset.count
    found = []
    for index, description in enumerate(descriptions, 1):
        tags = {key.lower(): value for key, value in dataset.tags(index).items()}
        texts = (
            tags.get("eo:common_name"),
            tags.get("common_name"),
            description,
            *(tags.get(key) for key in ("band_name", "description", "long_name", "name")),
        )
        plain = (one_line(text) for text in texts if text)
        found.append(
            tuple(
                t for t in plain if t and not re.fullmatch(rf"band[ _]?{index}", t, re.IGNORECASE)
            )
        )
    return tuple(found)


def _check_place(path: str, dataset: Any) -> None:
    transform = dataset.transform
    if not all(map(math.isfinite, transform[:6])):
        raise InputError(
            f"{path} has a geotransform that is no number; give it corners: gdal_edit.py -a_ullr "
            f"… {path}"
        )
    if transform == Affine.identity():
        if dataset.gcps[0] or dataset.rpcs:
            model = "ground control points" if dataset.gcps[0] else "a camera model (RPC)"
            raise InputError(
                f"{path} is placed by {model}, not by a grid; rectify it first: gdalwarp {path} "
                "grid.tif"
            )
        if dataset.crs is not None:
            raise InputError(
                f"{path} has a CRS but no geotransform; give it its corners: gdal_edit.py -a_ullr "
                f"… {path}"
            )
    if dataset.crs is None:
        raise InputError(f"{path} has no CRS; say which it is: rio edit-info --crs EPSG:… {path}")
    if not _leads_to_degrees(dataset.crs.to_wkt()):
        raise InputError(
            f"{path} has a CRS that PROJ cannot convert to longitude and latitude; if it is the "
            "wrong one, say which "
            f"it is: rio edit-info --crs EPSG:… {path}"
        )
    if transform.b or transform.d:
        raise InputError(
            f"{path} lies on a rotated or sheared grid; straighten it first: gdalwarp {path} "
            "straight.tif"
        )
    if not transform.determinant:  # 0 also where pixels are so small that their area is nothing
        raise InputError(
            f"{path} has pixels without extent; give it its corners: gdal_edit.py -a_ullr … {path}"
        )


@lru_cache(maxsize=64)
def _leads_to_degrees(wkt: str) -> bool:
    """Whether places in a CRS can be found on its planet; True of one that lies on none, as a
    building site's."""
    try:
        crs = CRS.from_wkt(wkt)
        if crs.geodetic_crs is not None:
            Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    except ProjError:
        return False
    return True


def _check_size(path: str, dataset: Any) -> None:
    if -(-dataset.height // _BLOCK) * -(-dataset.width // _BLOCK) > _MOST_BLOCKS:
        raise InputError(
            f"{path} declares {dataset.width:,} × {dataset.height:,} pixels, more than one scene "
            "may have; if its "
            f"header is not damaged, cut it: gdal_translate -srcwin 0 0 500000 500000 {path} "
            "part.tif"
        )


def _check_files(path: str, dataset: Any) -> None:
    # A file beside the raster may send GDAL anywhere for its overviews: they are let in by the same
    # door.
    for overview in dataset.tags(ns="OVERVIEWS").values():
        driver_for(
            str(Path(path).with_name(overview.removeprefix(":::BASE:::")))
            if ":::" in overview
            else overview
        )
    # Of a remote one GDAL would ask its server what there is, here without the options that name
    # the server.
    for file in dataset.files if is_local(path) else ():
        if is_local(file) and not is_there(file):
            raise InputError(
                f"{path} refers to {file}, which does not exist; put it there or rebuild {path}"
            )
    if dataset.driver != "GTiff" or not is_local(path) or not Path(path).exists():
        return
    # A file cut short has lost its last blocks: https://gdal.org/drivers/raster/gtiff.html, domain
    # TIFF
    size = Path(path).stat().st_size
    for index in {1, dataset.count}:
        height, width = dataset.block_shapes[index - 1]
        block = f"{(dataset.width - 1) // width}_{(dataset.height - 1) // height}"
        start, length = (
            dataset.get_tag_item(f"BLOCK_{what}_{block}", "TIFF", bidx=index)
            for what in ("OFFSET", "SIZE")
        )
        if start and length and int(start) + int(length) > size:
            raise InputError(
                f"{path} is cut short: its pixels reach to byte {int(start) + int(length)}, it "
                f"has {size}; "
                "fetch or export it again"
            )


def stem_of(path: str) -> str:
    return Path(path.partition("?")[0].rstrip("/")).stem
