"""A scene from files: a raster, a folder of single-band files, or a file for each band."""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from odc.geo.geobox import GeoBox

from tiling.errors import InputError
from tiling.grid.geobox import check_overlap, finest
from tiling.io.access import is_there
from tiling.scene.acquisition import Acquisition, Band, Mask, band_on, mask_on
from tiling.scene.band_names import (
    COMMON_NAMES,
    LETTERS,
    full_band_name,
    name_in_file_name,
    sensor_in,
)
from tiling.scene.file_bands import (
    alpha_band,
    bands_by_number,
    bands_in_file,
    cloud_bands,
    day_beside,
    names_in_file,
)
from tiling.scene.folders import BandFiles, band_files, sensor_of_files
from tiling.scene.header import Header, read_header, stem_of
from tiling.scene.masks import MASKS, MaskRule
from tiling.scene.scene import Scene


def open_scene(
    sources: Sequence[str],
    *,
    bands: Mapping[str, int] | None = None,
    nodata: float | None = None,
    scale: float | None = None,
    offset: float | None = None,
    mask: str | None = None,
    mask_values: Sequence[int] = (),
    mask_bits: Sequence[int] = (),
    date: datetime.date | str | None = None,
) -> Scene:
    """The scene that files, and what a person says of them, amount to; reads headers only.

    `sources` is one raster of any number of bands; or single-band files, as paths whose names tell
    the band or as `"blue=PATH"`; or one folder of such files. Beside any of these may stand further
    rasters under names of their own: the bands of `"leaf_on=PATH"` are `leaf_on.red` and so on, on
    the grid of the smallest pixels. `bands` numbers the bands of a raster from 1 and leaves out its
    rest. `nodata`, `scale` and `offset` hold for every band, before what the files declare.

    `mask` is `"band=N"` of the one raster, or the path of another: a pixel is not valid where it
    holds one of `mask_values` or has one of `mask_bits` set (default: anything but 0). Without one,
    the one raster of the folder or band of the file that is called SCL, QA_PIXEL or Fmask hides
    clouds; `"none"` lets nothing be hidden.

    Raises `InputError` for everything a header can show to be wrong.
    """
    if not sources:
        raise InputError("no source was given; name a raster, for example scene.tif")
    named, folder = _source_names(sources)
    named = [_as_source(one) for one in named]
    chosen = _select_bands(named, bands or {})
    files = list({file.place: file for _, file, _ in chosen}.values())
    clouds, notes = (None, []) if mask else _clouds(folder, files)
    notes = [*folder.notes, *notes, *_contradictions(files[0], bands or {})]
    grid = finest([file.geobox for file in files])
    for file in files:
        check_overlap(file.path, file.geobox, grid)
    rule = MaskRule(tuple(mask_values), tuple(mask_bits))
    hidden = _mask(mask, *rule, files, grid) if mask and mask != "none" else None
    if clouds:
        hidden = mask_on(grid, clouds[0], clouds[1], *(rule if any(rule) else MASKS[clouds[2]]))
    first = sources[0].rpartition("=")[2] if named[0][0] or named[0][1] else sources[0]
    image = Acquisition(
        name=stem_of(first),
        bands=_describe_bands(grid, chosen, folder.reflectance, nodata, (scale, offset)),
        mask=hidden,
        date=_date(date, files[0]),
    )
    return Scene(grid, (image,), tuple(notes))


def _describe_bands(
    grid: GeoBox,
    chosen: Sequence[tuple[str, Header, int]],
    reflectance: Mapping[str, tuple[float, float]],
    nodata: float | None,
    calibration: tuple[float | None, float | None],
) -> tuple[Band, ...]:
    """The bands of a scene: what a person says of them goes before what their folder tells."""
    files = {file.place: file for _, file, _ in chosen}
    alphas = {
        place: alpha_band(file, [index for _, owner, index in chosen if owner is file])
        for place, file in files.items()
    }
    bands = []
    for name, file, index in chosen:
        scale_offset, empty = calibration, nodata
        if file.path in reflectance and calibration == (None, None):
            scale_offset = reflectance[file.path]
            empty = 0 if nodata is None and file.nodata[index - 1] is None else nodata
        bands.append(band_on(grid, name, file, index, alphas[file.place], empty, *scale_offset))
    return tuple(bands)


def _clouds(
    folder: BandFiles, files: Sequence[Header]
) -> tuple[tuple[Header, int, str] | None, list[str]]:
    """The raster, its band and the kind of `tiling.scene.masks.MASKS` that hides clouds unasked,
    and a line that says so."""
    if folder.mask:
        path, kind = folder.mask
        found = [(read_header(path), 1, kind)]
    else:
        found = [(file, index, kind) for file in files for index, kind in cloud_bands(file)]
    if len(found) != 1:
        return None, []
    file, index, kind = found[0]
    what = f"band {index} of {Path(file.path).name}" if file.count > 1 else Path(file.path).name
    values, bits = MASKS[kind]
    which = (
        f"values {', '.join(map(str, values))}" if values else f"bits {', '.join(map(str, bits))}"
    )
    return found[0], [
        f"clouds and their shadows are left out where {what} tells them ({which}); --mask none "
        "keeps them"
    ]


def _contradictions(file: Header, bands: Mapping[str, int]) -> list[str]:
    """A line where a person calls bands of a file otherwise than the file does."""
    claimed = names_in_file(file) if bands else {}
    odd = [
        f"band {index}, here {name}, calls itself {file.texts[index - 1][0]} ({claimed[index]})"
        for text, index in bands.items()
        if index in claimed
        and (name := full_band_name(text, file.sensor))
        and not _alike(name, claimed[index])
    ]
    if not odd:
        return []
    own = ",".join(f"{name}={index}" for index, name in sorted(claimed.items()))
    return [f"{file.path}: {'; '.join(odd)}; it says --bands {own}"]


def _alike(name: str, other: str) -> bool:
    """Whether two common names are of one part of the spectrum: both infrareds are called nir."""
    return name == other or {name, other} <= {"nir", "nir08"} or name[:7] == other[:7] == "rededge"


class _Named(NamedTuple):
    """A file and what a person calls it: a band, or a source of bands."""

    source: str
    """Prefix of its bands' names, or nothing."""
    band: str
    """The one band it holds, or nothing where the file is to say."""
    path: str
    alias: str = ""
    """The letter that a person wrote for the band: it may as well be meant as a source's name."""


def _source_names(sources: Sequence[str]) -> tuple[list[_Named], BandFiles]:
    """The files and what they are called; and of the one folder given what else is to be known of
    it."""
    named: list[_Named] = []
    folder = BandFiles(())
    for text in sources:
        name, equals, path = text.partition("=")
        if not equals or is_there(text) or not re.fullmatch(r"[A-Za-z][\w.]*", name):
            if len(sources) == 1 and is_there(text) and Path(text).is_dir():
                folder = band_files(Path(text))
                named.extend(_Named("", band, path) for band, path in folder.bands)
            else:
                named.append(_Named("", "", text))
        elif known := full_band_name(name, sensor_in(stem_of(path))):
            named.append(_Named("", known, path, name if name.casefold() in LETTERS else ""))
        elif "." in name:
            raise InputError(f"{text}: {name} is no band name; known are {', '.join(COMMON_NAMES)}")
        else:
            named.append(_Named(name, "", path))
    for one in named:
        if is_there(one.path) and Path(one.path).is_dir():
            raise InputError(
                f"{one.path} is a folder among other sources; give one folder, or the files "
                "themselves"
            )
    return named, folder


def _as_source(one: _Named) -> _Named:
    """Of a file of several bands that is named by a letter, as in `t1=a.tif`, the letter is the
    source's name."""
    return _Named(one.alias, "", one.path) if one.alias and read_header(one.path).count > 1 else one


def _check_tiles(named: Sequence[_Named]) -> None:
    """Raise `InputError` where files that nobody named lie side by side: they are tiles, not bands,
    of one scene."""
    if len(named) < 2 or any(one.band for one in named):
        return
    first, second = (read_header(one.path) for one in named[:2])
    if first.geobox.crs == second.geobox.crs and first.count == second.count:
        one, other = (file.geobox.extent for file in (first, second))
        if (one & other).area < 0.1 * min(one.area, other.area):
            more = "and 1 more" if len(named) == 2 else f"and {len(named) - 1} more"
            raise InputError(
                f"{first.path} {more} lie side by side: tiles of one scene; make it one raster "
                "first: "
                f"gdalbuildvrt scene.vrt {' '.join(Path(one.path).name for one in named[:2])} …"
            )


def _select_bands(
    named: Sequence[_Named], bands: Mapping[str, int]
) -> list[tuple[str, Header, int]]:
    """Full name, file and number of every band of the scene."""
    of_source: dict[str, dict[str, int]] = {}
    sources = {one.source for one in named if one.source}
    for text, index in bands.items():
        source, dot, name = text.partition(".")
        known = dot and source in sources
        of_source.setdefault(source if known else "", {})[name if known else text] = index
    plain = [one for one in named if not one.source]
    _check_tiles(plain)
    sensor = sensor_of_files(stem_of(one.path) for one in plain if not one.band)
    chosen: list[tuple[str, Header, int]] = []
    for one in named:
        if one.source or (len(plain) == 1 and not one.band):
            file, numbers = read_header(one.path), of_source.get(one.source)
            found = bands_by_number(file, numbers) if numbers else bands_in_file(file)
            chosen += [
                (f"{one.source}.{name}" if one.source else name, file, index)
                for name, index in found
            ]
        elif numbers := of_source.get(""):
            raise InputError(
                f"--bands numbers the bands of one raster, not of {len(plain)} files; write "
                f"{next(iter(numbers))}=PATH "
                "instead"
            )
        else:
            chosen.append(_single(one.band, one.path, sensor))
    _check_once(chosen)
    return chosen


def _single(name: str, path: str, sensor: str | None = None) -> tuple[str, Header, int]:
    """The band of a single-band file, the sensor that its neighbours' names tell if its own does
    not."""
    file = read_header(path)
    if file.count > 1:
        raise InputError(
            f"{path} holds {file.count} bands where a single-band file is wanted; give it alone, "
            f"with --bands for its names, or as a source of its own, later={path}; several scenes "
            "go one by one"
        )
    name = name or next((name for name, _ in bands_in_file(file)))
    if name == "band_1":
        name = name_in_file_name(file.stem, file.sensor or sensor) or name
    if name == "band_1":
        raise InputError(f"{path}: nothing tells which band it is; say so, for example red={path}")
    return name, file, 1


def _check_once(chosen: Sequence[tuple[str, Header, int]]) -> None:
    for name, times in Counter(name for name, _, _ in chosen).items():
        if times > 1:
            twice = [file.path for known, file, _ in chosen if known == name]
            raise InputError(
                f"{' and '.join(twice)} are both {name}; give one of them, or say which is which: "
                f"{name}={twice[0]}"
            )


def _mask(
    text: str, values: tuple[int, ...], bits: tuple[int, ...], files: Sequence[Header], grid: GeoBox
) -> Mask:
    if match := re.fullmatch(r"band=(\d+)", text):
        index = int(match[1])
        if len(files) > 1:
            raise InputError(
                f"--mask {text} is a band of one raster, not of {len(files)} files; give the "
                "mask's own path"
            )
        if not 1 <= index <= files[0].count:
            raise InputError(
                f"--mask {text}: {files[0].path} holds {files[0].count} bands: {files[0].contents}"
            )
        return mask_on(grid, files[0], index, values, bits)
    file = read_header(text)
    if file.count > 1:
        raise InputError(f"--mask {text} holds {file.count} bands; give a raster with one")
    check_overlap(file.path, file.geobox, grid)
    return mask_on(grid, file, 1, values, bits)


def _date(given: datetime.date | str | None, file: Header) -> datetime.date | None:
    """The day of the image: what a person says, the first day in the file's name, or that of the
    STAC item beside it or of its tags."""
    if isinstance(given, datetime.date):
        return given
    try:
        if given is not None:
            return datetime.date.fromisoformat(given)
    except ValueError as error:
        raise InputError(f"{given} is no date; write it like 2024-07-31") from error
    said = (file.stem, day_beside(file), *file.taken)
    return next((day for text in said if (day := _day_in(text))), None)


def _day_in(text: str) -> datetime.date | None:
    """The first day in a text, as 20240630, 2024-06-30 or TIFF's 2024:06:30."""
    for year, month, day in re.findall(r"(?<!\d)((?:19|20)\d\d)[-:]?(\d\d)[-:]?(\d\d)(?!\d)", text):
        try:
            return datetime.date(int(year), int(month), int(day))
        except ValueError:
            continue
    return None
