"""What people say lies where: class rasters, polygons and points of any CRS, laid on a scene's grid."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.features import rasterize
from rasterio.vrt import WarpedVRT

from tiling.classmaps.legend import legend_of
from tiling.classmaps.raster import has_alpha
from tiling.errors import Mistake
from tiling.formats.qml import LegendRow, completed
from tiling.grid.window import Window
from tiling.io.access import is_there
from tiling.scene.decode import open_dataset
from tiling.scene.header import read_header

COLUMNS = (
    *("class", "classname", "label", "labels", "landcover", "landuse", "lulc", "lc", "lu", "category", "covertype"),
    *("type", "name", "classvalue", "classid", "code", "value"),
)
"""What a column of classes is called, the most telling first; case and signs aside."""

COLOURS: tuple[tuple[str, str], ...] = (
    ("water|river|lake|sea|ocean|subtidal", "#3b7dd8"),
    ("tree|forest|wood|canopy", "#2f7d3b"),
    ("wetland|marsh|swamp|mangrove", "#6fb3a5"),
    ("shrub|bush", "#7da453"),
    ("crop|field|agric|farm|cultivat", "#e0c766"),
    ("grass|herb|meadow|pasture|low veg", "#a8d36a"),
    ("road|paved", "#8a8a8a"),
    ("urban|built|building|impervious|town|settlement|develop", "#d6453d"),
    ("sand|beach", "#eadcb0"),
    ("bare|barren|soil|rock|quarry", "#b9a48c"),
    ("snow|ice|glacier", "#e8f4fb"),
    ("cloud", "#c9c9c9"),
)
"""Colours that a reader expects, by what a class is called; the first pattern that is in the name counts."""

_ALIKE = 3 * 20**2
"""Squared distance of two colours, in red, green and blue, below which a reader takes one for the other."""

_WHOLE = re.compile(r"[+-]?\d{1,18}")
"""An integer of at most 64 bits, written out."""

_POLYGONAL = (3, 6)
"""GEOS' numbers of Polygon and MultiPolygon."""

_BLOCK = 1024
"""Side of the windows that are looked at, in pixels."""

Classes = npt.NDArray[np.uint8]
Owners = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Labels(ABC):
    """Classes on a scene's grid, read window by window."""

    path: str
    geobox: GeoBox
    rows: tuple[LegendRow, ...]
    """The classes found, as `(value, name, colour)` with values 1…254."""
    notes: tuple[str, ...]
    """What a person should know of how the file was read."""

    @abstractmethod
    def read(self, window: Window) -> Classes:
        """`(y, x) uint8`: a value of `rows`, 0 = unlabelled; the window may reach past the scene."""

    def windows(self) -> Iterable[Window]:
        """Windows that hold all labels between them, none of them twice."""
        return Window.of_shape(*self.geobox.shape).blocks(_BLOCK)


@dataclass(frozen=True, eq=False)
class RasterLabels(Labels):
    """A class raster: nearest neighbour on the scene's grid, or the most frequent class where it is much finer."""

    nodata: float | None
    values: Mapping[int, int]
    """The file's values to ours."""

    def read(self, window: Window) -> Classes:
        found = np.zeros(window.shape, np.uint8)
        if inside := window & Window.of_shape(*self.geobox.shape):
            codes, known = codes_on_grid(self.path, self.geobox, self.nodata, inside)
            there = found[inside.within(window)]
            for code, value in self.values.items():
                there[known & (codes == code)] = value
        return found


@dataclass(frozen=True, eq=False)
class ShapeLabels(Labels):
    """Polygons and points in the scene's CRS. A pixel that shapes of two classes claim has no label."""

    shapes: npt.NDArray[np.object_]
    """Geometries; what is too small to hold a pixel's centre stands for the pixel it lies in."""
    values: Classes
    """The class of each shape, 0 = none of those asked for."""

    def read(self, window: Window) -> Classes:
        return self._classes(self.owners(window), window)

    def owners(self, window: Window) -> Owners:
        """`(y, x) int32`: the number, from 1, of the shape each pixel belongs to; 0 = of none or of two classes."""
        first, last = self._burnt(window, reverse=True), self._burnt(window)
        known = np.concatenate(([np.uint8(0)], self.values))
        return np.where(known[first] == known[last], last, np.int32(0))

    def windows(self) -> Iterable[Window]:
        return (window for window in super().windows() if len(self._within(window)))

    def _classes(self, owners: Owners, window: Window) -> Classes:
        return np.concatenate(([np.uint8(0)], self.values))[owners]

    def _burnt(self, window: Window, *, reverse: bool = False) -> Owners:
        inside = window & Window.of_shape(*self.geobox.shape)
        found = np.zeros(window.shape, np.int32)
        numbers = self._within(inside) if inside else np.empty(0, int)
        if len(numbers):
            pairs = [(self.shapes[n], int(n) + 1) for n in (numbers[::-1] if reverse else numbers)]
            box = self.geobox[inside.row : inside.row_stop, inside.col : inside.col_stop]
            found[inside.within(window)] = rasterize(pairs, inside.shape, transform=box.affine, dtype=np.int32)
        return found

    def _within(self, window: Window) -> npt.NDArray[np.intp]:
        """Numbers, from 0 and rising, of the shapes whose bounds meet a window."""
        import shapely

        outer = self.geobox[window.row : window.row_stop, window.col : window.col_stop].extent.boundingbox
        return np.sort(self._tree.query(shapely.box(*outer)))

    @cached_property
    def _tree(self) -> Any:
        import shapely

        return shapely.STRtree(self.shapes)


def open_labels(
    path: str | Path,
    geobox: GeoBox,
    *,
    column: str = "",
    classes: Mapping[int, str] | None = None,
    regroup: Mapping[int, int] | None = None,
    nodata: float | None = None,
) -> Labels:
    """The labels of a raster or vector file on the grid `geobox`.

    `regroup` gives a value another's place, before `classes` names values; with `classes` what it does not name is
    unlabelled. Values outside 1…254, and words, are numbered in their order. `nodata` holds before what a raster
    declares. `column` names the classes of a vector file. Raises `Mistake` where no class is found on the scene.
    """
    classes, regroup = dict(classes or {}), dict(regroup or {})
    if is_vector(path):
        return _shapes(str(path), geobox, column, classes, regroup)
    if column:
        raise Mistake(f"{path} is a raster and has no column {column}; leave --column out")
    return _raster(str(path), geobox, classes, regroup, nodata)


def is_vector(path: str | Path) -> bool:
    """Whether a file of labels holds shapes, by its name; a folder is one of shapefiles."""
    return Path(path).suffix.lower() in VECTOR_SUFFIXES or (is_there(str(path)) and Path(path).is_dir())


def is_raster(path: str | Path) -> bool:
    """Whether GDAL opens a file as a raster, or it looks like none of the vector formats."""
    try:
        open_dataset(str(path)).close()
    except Mistake:
        return not is_vector(path)
    return True


VECTOR_SUFFIXES = (".gpkg", ".shp", ".geojson", ".json", ".parquet", ".fgb", ".kml", ".gml", ".sqlite", ".zip")


# ------------------------------------------------------------------------------------------------------------- rasters


def _raster(
    path: str, geobox: GeoBox, classes: dict[int, str], regroup: dict[int, int], nodata: float | None
) -> RasterLabels:
    header = read_header(path)
    if header.count > 1:
        raise Mistake(f"{path} holds {header.count} bands; labels are one band of class values")
    if np.dtype(header.dtypes[0]).kind not in "iu":
        raise Mistake(
            f"{path} holds {header.dtypes[0]} values; labels are integers: gdal_translate -ot Int16 {path} labels.tif"
        )
    if nodata is not None:
        lowest, highest = np.iinfo(header.dtypes[0]).min, np.iinfo(header.dtypes[0]).max
        if not (lowest <= nodata <= highest and nodata % 1 == 0):
            raise Mistake(
                f"--labels-nodata {nodata:g}: {path} holds {header.dtypes[0]}, integers from {lowest} to {highest}; "
                "give the value of its unlabelled pixels, or leave it out"
            )
    nodata = header.nodata[0] if nodata is None else nodata
    codes: set[int] = set()
    for window in Window.of_shape(*geobox.shape).blocks(_BLOCK):
        found, known = codes_on_grid(path, geobox, nodata, window)
        codes.update(np.unique(found[known]).tolist())
    left_out = set() if classes or nodata is not None else _meaningless(codes, header.dtypes[0])
    named = {value: name for value, name, _ in legend_of(path) if name != str(value)}
    values, rows = _legend(path, {c: named.get(c, str(c)) for c in sorted(codes - left_out)}, classes, regroup)
    notes = tuple(
        f"{path} declares no no data; pixels of value {value} count as unlabelled (to make it a class, name all of "
        f"them: --classes {value}=…)"
        for value in sorted(left_out)
    )
    return RasterLabels(path, geobox, rows, notes, nodata, values)


def _meaningless(codes: set[int], dtype: str) -> set[int]:
    """Values that mean "unlabelled" by custom: negative ones, 0, and 255 of eight bits; but two classes must remain."""
    negative = {code for code in codes if code < 0}
    highest = {255} & codes if dtype == "uint8" else set()
    for left_out in (negative | highest | ({0} & codes), negative | highest, negative):
        if len(codes - left_out) > 1:
            return left_out
    return set()


def codes_on_grid(path: str, geobox: GeoBox, nodata: float | None, window: Window) -> tuple[npt.NDArray[Any], Any]:
    """The file's values in a window of the grid, and where it has any."""
    with open_dataset(path) as source:
        veiled = has_alpha(path, source)
        if source.crs is None:
            raise Mistake(f"{path} has no CRS; say which it is: rio edit-info --crs EPSG:… {path}")
        own = GeoBox((source.height, source.width), source.transform, source.crs.to_wkt())
        finer = _pixels_per_pixel(own, geobox) > 2
        with WarpedVRT(
            source,
            crs=str(geobox.crs.to_wkt()) if geobox.crs else None,
            transform=geobox.affine,
            height=geobox.height,
            width=geobox.width,
            resampling=Resampling.mode if finer else Resampling.nearest,
            tolerance=1e-9,  # exact: rasterio 1.4 makes no WarpedVRT on a given grid with 0
            src_nodata=nodata,
            add_alpha=not veiled,
        ) as grid:
            codes, data = grid.read([1, 2], window=window.ranges)
    return codes, data > 0


def _pixels_per_pixel(fine: GeoBox, coarse: GeoBox) -> float:
    """How many pixels of one grid fit into one of the other, about."""
    if fine.crs != coarse.crs:
        assert coarse.crs is not None  # a scene's grid has one
        fine = fine.to_crs(coarse.crs)
    one, other = (abs(box.affine.a * box.affine.e) for box in (coarse, fine))
    return float(one / other)


# ------------------------------------------------------------------------------------------------------------- vectors


def _shapes(path: str, geobox: GeoBox, column: str, classes: dict[int, str], regroup: dict[int, int]) -> ShapeLabels:
    import shapely

    frame = read_shapes(path)
    column = class_column(path, frame, column)
    blank = frame[column].isna() | (frame[column].astype(str).str.strip() == "")
    if blank.all():
        raise Mistake(f"{path}: column {column} is empty; name another with --column, or fill it in")
    frame = frame[~blank]
    codes, found, notes = _codes(path, frame[column], classes)
    if blank.any():
        notes = (f"{path}: {_left_out(int(blank.sum()), 'a class')}", *notes)
    assert geobox.crs is not None  # a scene's grid has one
    shapes = _valid(frame.geometry.to_crs(geobox.crs.to_wkt()).to_numpy())
    if (flat := shapely.is_empty(shapes)).any():
        notes = (*notes, f"{path}: {_left_out(int(flat.sum()), 'an area')}")
        shapes, codes = shapes[~flat], codes[~flat]
    bounds = shapely.box(*geobox.extent.boundingbox)
    here = shapely.intersects(shapes, bounds)
    if not here.size:
        raise Mistake(f"{path} holds polygons that have no area; draw them anew, or give points")
    if not here.any():
        raise Mistake(f"{path} lies outside the scene; give labels of the same place")
    shapes, codes = _no_smaller_than_a_pixel(shapes[here], geobox), codes[here]
    values, rows = _legend(path, {code: found[code] for code in sorted(set(codes.tolist()))}, classes, regroup)
    if not here.all():
        notes = (*notes, f"{path}: {np.count_nonzero(~here)} of {here.size} shapes lie outside the scene")
    classed = np.array([values.get(int(code), 0) for code in codes], np.uint8)
    return ShapeLabels(path, geobox, rows, notes, shapes, classed)


def _valid(shapes: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    """The same shapes, valid; of polygons their area alone, not the lines that spikes become."""
    import shapely

    polygons = shapely.get_dimensions(shapes) == 2
    made: npt.NDArray[np.object_] = shapely.make_valid(shapes)
    for number in np.flatnonzero(polygons & ~np.isin(shapely.get_type_id(made), _POLYGONAL)):
        parts = shapely.get_parts(shapely.get_parts(made[number]))
        made[number] = shapely.multipolygons(parts[shapely.get_dimensions(parts) == 2])
    return made


def _left_out(count: int, lacking: str) -> str:
    return f"{count} shapes without {lacking} are left out" if count > 1 else f"1 shape without {lacking} is left out"


def _codes(
    path: str, texts: Any, classes: Mapping[int, str]
) -> tuple[npt.NDArray[np.int64], dict[int, str], tuple[str, ...]]:
    """The code of each shape, what the codes are called, and what a person should know of it.

    Numbers, also those kept as text, are codes themselves. Words get the value that `classes` gives to their name, else
    are numbered in their order; those that differ in capitals alone are one, called as it is most often written.
    """
    import pandas

    if not pandas.api.types.is_numeric_dtype(texts):
        words = [word.strip() for word in texts.astype(str)]
        if not all(map(_WHOLE.fullmatch, words)):
            return _numbered(path, words, classes)
        texts = np.array([int(word) for word in words])
    codes = np.asarray(texts).astype(np.int64)
    return codes, {int(code): str(code) for code in np.unique(codes)}, ()


def _numbered(
    path: str, words: Sequence[str], classes: Mapping[int, str]
) -> tuple[npt.NDArray[np.int64], dict[int, str], tuple[str, ...]]:
    spellings: dict[str, Counter[str]] = {}
    for word in words:
        spellings.setdefault(word.casefold(), Counter())[word] += 1
    names = {key: times.most_common(1)[0][0] for key, times in spellings.items()}  # of equals the first
    wanted = {name.casefold(): value for value, name in classes.items()}
    free = (number for number in range(1, len(names) + len(wanted) + 1) if number not in wanted.values())
    code_of = {key: wanted[key] if key in wanted else next(free) for key in sorted(names, key=names.__getitem__)}
    notes = tuple(
        f"{path}: {', '.join(times)} differ in capitals alone and count as one class, {names[key]}"
        for key, times in spellings.items()
        if len(times) > 1
    )
    codes = np.array([code_of[word.casefold()] for word in words], np.int64)
    return codes, {code: names[key] for key, code in code_of.items()}, notes


def read_shapes(path: str) -> Any:
    """The polygons and points of a vector file, as a GeoDataFrame; `Mistake` where it holds none or no CRS."""
    import shapely

    from tiling.io.vector_files import read_frame

    frame = read_frame(path)
    shapes = frame.geometry.to_numpy()
    there = ~(shapely.is_missing(shapes) | shapely.is_empty(shapes))  # GeoPandas' own test warns of empty ones
    if not there.any():
        raise Mistake(f"{path} holds no shapes; labels are polygons or points")
    frame = frame[there]
    other = sorted(set(frame.geom_type) - {"Polygon", "MultiPolygon", "Point", "MultiPoint"})
    if other:
        raise Mistake(f"{path} holds {' and '.join(other)}; labels are polygons or points, so leave the others out")
    return frame


def column_with(path: str, words: Iterable[str]) -> str:
    """The first column of a vector file that holds all these words, capitals aside; empty where none does."""
    frame, wanted = read_shapes(path), {word.strip().casefold() for word in words}
    for name in frame.columns:
        if name != frame.geometry.name and wanted <= set(frame[name].astype(str).str.strip().str.casefold()):
            return str(name)
    return ""


def class_column(path: str, frame: Any, column: str = "") -> str:
    """The column that holds the classes: the one named, else the obvious one; `Mistake` where there is none."""
    import pandas

    columns = [str(name) for name in frame.columns if name != frame.geometry.name]
    if column:
        if column not in columns:
            raise Mistake(f"{path} has no column {column}; it has {', '.join(columns) or 'none'}")
        if pandas.api.types.is_float_dtype(frame[column]) and not _whole(frame[column].dropna()):
            raise Mistake(f"column {column} of {path} holds fractions; a class is an integer or a word")
        return column
    fit = {
        name: re.sub(r"[^a-z]", "", name.lower())
        for name in columns
        if not pandas.api.types.is_float_dtype(frame[name]) or _whole(frame[name].dropna())
    }
    plainly = [name for known in COLUMNS for name, plain in fit.items() if plain == known and frame[name].nunique()]
    if several := [name for name in plainly if frame[name].nunique() > 1]:
        return several[0]
    repeated = [name for name in fit if 1 < frame[name].nunique() < len(frame) and fit[name] not in ("id", "fid")]
    if len(repeated) == 1:
        return repeated[0]
    if plainly and not repeated:
        return plainly[0]  # one class is enough to judge a map by; training says that it needs two
    raise Mistake(
        f"{path}: no column is plainly that of the classes; name one of {', '.join(columns) or 'none at all'}"
        f"{f' with --column {columns[0]}' if columns else ''}"
    )


def _whole(numbers: Any) -> bool:
    return bool(len(numbers)) and bool((numbers % 1 == 0).all())


def _no_smaller_than_a_pixel(shapes: npt.NDArray[np.object_], geobox: GeoBox) -> npt.NDArray[np.object_]:
    """The same shapes; points, and polygons that hold no pixel's centre, become the centre of the pixel they lie in."""
    import shapely

    shapes, pixel = shapes.copy(), abs(geobox.affine.a * geobox.affine.e)
    for number in np.flatnonzero(shapely.area(shapes) < 4 * pixel):
        shape = shapes[number]
        if shape.geom_type.endswith("Polygon") and _holds_a_centre(shape, geobox):
            continue
        points = shapely.get_parts(shape) if shape.geom_type.endswith("Point") else [shape.representative_point()]
        places = [~geobox.affine @ (point.x, point.y) for point in points]
        centres = [geobox.affine @ (np.floor(col) + 0.5, np.floor(row) + 0.5) for col, row in places]
        shapes[number] = shapely.MultiPoint(centres)
    return shapes


def _holds_a_centre(shape: Any, geobox: GeoBox) -> bool:
    import shapely

    west, south, east, north = shape.bounds
    cols, rows = zip(*(~geobox.affine @ corner for corner in ((west, north), (east, south))), strict=True)
    across, down = (np.arange(np.floor(min(n)), np.ceil(max(n)) + 1) + 0.5 for n in (cols, rows))
    centres = [geobox.affine @ (float(col), float(row)) for row in down for col in across]  # a few: it is small
    return bool(shapely.contains_xy(shape, centres).any())


# -------------------------------------------------------------------------------------------------------------- legends


def _legend(
    path: str, found: Mapping[int, str], classes: Mapping[int, str], regroup: Mapping[int, int]
) -> tuple[dict[int, int], tuple[LegendRow, ...]]:
    """Foreign values to ours, and the legend of what remains, out of the values found and their names."""
    for what, asked in (("--regroup", regroup), ("--classes", {c: n for c, n in classes.items() if not regroup})):
        odd = sorted(set(asked) - set(found))
        if odd and (what == "--regroup" or len(odd) == len(asked)):
            raise Mistake(f"{what} {odd[0]}=…: {path} has no such class here; it has {_listed(found)}")
    merged = {code: regroup.get(code, code) for code in found}
    kept = {code: target for code, target in merged.items() if not classes or target in classes}
    targets = sorted(set(kept.values()))
    if not targets:
        raise Mistake(f"{path} labels no pixel of the scene; check that both show the same place, and its no data")
    if len(targets) > 254:
        raise Mistake(f"{path} has {len(targets)} classes, and a map holds up to 254; merge some with --regroup")
    fits = targets[0] >= 1 and targets[-1] <= 254
    ours = {target: target if fits else number for number, target in enumerate(targets, 1)}
    names = {ours[target]: classes.get(target) or found.get(target) or str(target) for target in targets}
    plain = {value: colour for value, _, colour in completed((), names)}
    rows = tuple((value, name, _colour(name) or plain[value]) for value, name in sorted(names.items()))
    return {code: ours[target] for code, target in kept.items()}, _apart(rows)


def _listed(found: Mapping[int, str]) -> str:
    return ", ".join(f"{code} ({name})" if name != str(code) else name for code, name in found.items())


def _colour(name: str) -> str | None:
    return next((colour for pattern, colour in COLOURS if re.search(pattern, name.lower())), None)


def _apart(rows: tuple[LegendRow, ...]) -> tuple[LegendRow, ...]:
    """The same rows; of classes whose colours are hard to tell apart all but the first get one unlike all others."""
    others = [colour for _, _, colour in completed((), range(1, 64))]
    made: list[LegendRow] = []
    for number, (value, name, colour) in enumerate(rows):
        before, after = ([known for _, _, known in some] for some in (made, rows[number + 1 :]))
        alike = bool(before) and _nearest(colour, before) < _ALIKE
        own = max(others, key=lambda c: _nearest(c, [*before, *after])) if alike else colour
        made.append((value, name, own))
    return tuple(made)


def _nearest(colour: str, taken: Sequence[str]) -> int:
    """Distance to the nearest of other colours, in red, green and blue."""
    channels = [np.array(list(bytes.fromhex(hexes[1:])), int) for hexes in (colour, *taken)]
    return min((int(np.sum((channels[0] - other) ** 2)) for other in channels[1:]), default=0)
