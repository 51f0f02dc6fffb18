"""Labels from polygons and points of any CRS."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize

from tiling.errors import InputError
from tiling.grid.geobox import crop
from tiling.grid.window import Window
from tiling.labels.base import Classes, Labels, Owners, legend_of_classes

COLUMNS = (
    *(
        "class",
        "classname",
        "label",
        "labels",
        "landcover",
        "landuse",
        "lulc",
        "lc",
        "lu",
        "category",
        "covertype",
    ),
    *("type", "name", "classvalue", "classid", "code", "value"),
)
"""What a column of classes is called, the most telling first; case and signs aside."""

_WHOLE = re.compile(r"[+-]?\d{1,18}")
"""An integer of at most 64 bits, written out."""

_POLYGONAL = (3, 6)
"""GEOS' numbers of Polygon and MultiPolygon."""


@dataclass(frozen=True, eq=False)
class ShapeLabels(Labels):
    """Polygons and points in the scene's CRS. A pixel that shapes of two classes claim has no
    label."""

    shapes: npt.NDArray[np.object_]
    """Geometries; what is too small to hold a pixel's centre stands for the pixel it lies in."""
    values: Classes
    """The class of each shape, 0 = none of those asked for."""

    def read(self, window: Window) -> Classes:
        return self._classes(self.owners(window), window)

    def owners(self, window: Window) -> Owners:
        """`(y, x) int32`: the number, from 1, of the shape each pixel belongs to; 0 = of none or of
        two classes."""
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
            box = crop(self.geobox, inside)
            found[inside.within(window)] = rasterize(
                pairs, inside.shape, transform=box.affine, dtype=np.int32
            )
        return found

    def _within(self, window: Window) -> npt.NDArray[np.intp]:
        """Numbers, from 0 and rising, of the shapes whose bounds meet a window."""
        import shapely

        outer = crop(self.geobox, window).extent.boundingbox
        return np.sort(self._tree.query(shapely.box(*outer)))

    @cached_property
    def _tree(self) -> Any:
        import shapely

        return shapely.STRtree(self.shapes)


def read_shape_labels(
    path: str, geobox: GeoBox, column: str, classes: dict[int, str], regroup: dict[int, int]
) -> ShapeLabels:
    import shapely

    frame = read_shapes(path)
    column = class_column(path, frame, column)
    blank = frame[column].isna() | (frame[column].astype(str).str.strip() == "")
    if blank.all():
        raise InputError(
            f"{path}: column {column} is empty; name another with --column, or fill it in"
        )
    frame = frame[~blank]
    codes, found, notes = _codes(path, frame[column], classes)
    if blank.any():
        notes = (f"{path}: {_omission_note(int(blank.sum()), 'a class')}", *notes)
    assert geobox.crs is not None  # a scene's grid has one
    shapes = _valid(frame.geometry.to_crs(geobox.crs.to_wkt()).to_numpy())
    if (flat := shapely.is_empty(shapes)).any():
        notes = (*notes, f"{path}: {_omission_note(int(flat.sum()), 'an area')}")
        shapes, codes = shapes[~flat], codes[~flat]
    bounds = shapely.box(*geobox.extent.boundingbox)
    here = shapely.intersects(shapes, bounds)
    if not here.size:
        raise InputError(f"{path} holds polygons that have no area; draw them anew, or give points")
    if not here.any():
        raise InputError(f"{path} lies outside the scene; give labels of the same place")
    shapes, codes = _no_smaller_than_a_pixel(shapes[here], geobox), codes[here]
    values, rows = legend_of_classes(
        path, {code: found[code] for code in sorted(set(codes.tolist()))}, classes, regroup
    )
    if not here.all():
        notes = (
            *notes,
            f"{path}: {np.count_nonzero(~here)} of {here.size} shapes lie outside the scene",
        )
    classed = np.array([values.get(int(code), 0) for code in codes], np.uint8)
    return ShapeLabels(path, geobox, rows, notes, shapes, classed)


def place_shapes(
    path: str, shapes: npt.NDArray[np.object_], geobox: GeoBox
) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.intp]]:
    """Those of some shapes that lie on a grid and in its CRS, mended, each on a pixel at least, and
    their places among all; `InputError` where there is none."""
    import shapely

    shapes = _valid(shapes)
    # nothing intersects what is empty
    here = np.flatnonzero(shapely.intersects(shapes, shapely.box(*geobox.extent.boundingbox)))
    if not here.size:
        raise InputError(f"{path} lies outside the scene; give shapes of the same place")
    return _no_smaller_than_a_pixel(shapes[here], geobox), here


def _valid(shapes: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    """Shapes made valid; of polygons their area alone, not the lines that spikes become."""
    import shapely

    polygons = shapely.get_dimensions(shapes) == 2
    made: npt.NDArray[np.object_] = shapely.make_valid(shapes)
    for number in np.flatnonzero(polygons & ~np.isin(shapely.get_type_id(made), _POLYGONAL)):
        parts = shapely.get_parts(shapely.get_parts(made[number]))
        made[number] = shapely.multipolygons(parts[shapely.get_dimensions(parts) == 2])
    return made


def _omission_note(count: int, lacking: str) -> str:
    return (
        f"{count} shapes without {lacking} are left out"
        if count > 1
        else f"1 shape without {lacking} is left out"
    )


def _codes(
    path: str, texts: Any, classes: Mapping[int, str]
) -> tuple[npt.NDArray[np.int64], dict[int, str], tuple[str, ...]]:
    """The code of each shape, what the codes are called, and what a person should know of it.

    Numbers, also those kept as text, are codes themselves. Words get the value that `classes` gives
    to their name, else are numbered in their order; those that differ in capitals alone are one,
    called as it is most often written.
    """
    import pandas

    if not pandas.api.types.is_numeric_dtype(texts):
        words = [word.strip() for word in texts.astype(str)]
        if not all(map(_WHOLE.fullmatch, words)):
            return _number_words(path, words, classes)
        texts = np.array([int(word) for word in words])
    codes = np.asarray(texts).astype(np.int64)
    return codes, {int(code): str(code) for code in np.unique(codes)}, ()


def _number_words(
    path: str, words: Sequence[str], classes: Mapping[int, str]
) -> tuple[npt.NDArray[np.int64], dict[int, str], tuple[str, ...]]:
    spellings: dict[str, Counter[str]] = {}
    for word in words:
        spellings.setdefault(word.casefold(), Counter())[word] += 1
    # of equals the first
    names = {key: times.most_common(1)[0][0] for key, times in spellings.items()}
    wanted = {name.casefold(): value for value, name in classes.items()}
    free = (
        number for number in range(1, len(names) + len(wanted) + 1) if number not in wanted.values()
    )
    code_of = {
        key: wanted[key] if key in wanted else next(free)
        for key in sorted(names, key=names.__getitem__)
    }
    notes = tuple(
        f"{path}: {', '.join(times)} differ in capitals alone and count as one class, {names[key]}"
        for key, times in spellings.items()
        if len(times) > 1
    )
    codes = np.array([code_of[word.casefold()] for word in words], np.int64)
    return codes, {code: names[key] for key, code in code_of.items()}, notes


def read_shapes(path: str) -> Any:
    """The polygons and points of a vector file, as a GeoDataFrame; `InputError` where it holds none
    or no CRS."""
    import shapely

    from tiling.io.vector_files import read_frame

    frame = read_frame(path)
    shapes = frame.geometry.to_numpy()
    # GeoPandas' own test warns of empty ones
    there = ~(shapely.is_missing(shapes) | shapely.is_empty(shapes))
    if not there.any():
        raise InputError(f"{path} holds no shapes; labels are polygons or points")
    frame = frame[there]
    other = sorted(set(frame.geom_type) - {"Polygon", "MultiPolygon", "Point", "MultiPoint"})
    if other:
        raise InputError(
            f"{path} holds {' and '.join(other)}; labels are polygons or points, so leave the "
            "others out"
        )
    return frame


def class_column(path: str, frame: Any, column: str = "") -> str:
    """The column that holds the classes: the one named, else the obvious one; `InputError` where
    there is none."""
    import pandas

    columns = [str(name) for name in frame.columns if name != frame.geometry.name]
    if column:
        if column not in columns:
            raise InputError(
                f"{path} has no column {column}; it has {', '.join(columns) or 'none'}"
            )
        if pandas.api.types.is_float_dtype(frame[column]) and not _whole(frame[column].dropna()):
            raise InputError(
                f"column {column} of {path} holds fractions; a class is an integer or a word"
            )
        return column
    fit = {
        name: re.sub(r"[^a-z]", "", name.lower())
        for name in columns
        if not pandas.api.types.is_float_dtype(frame[name]) or _whole(frame[name].dropna())
    }
    plainly = [
        name
        for known in COLUMNS
        for name, plain in fit.items()
        if plain == known and frame[name].nunique()
    ]
    if several := [name for name in plainly if frame[name].nunique() > 1]:
        return several[0]
    repeated = [
        name
        for name in fit
        if 1 < frame[name].nunique() < len(frame) and fit[name] not in ("id", "fid")
    ]
    if len(repeated) == 1:
        return repeated[0]
    if plainly and not repeated:
        return plainly[0]  # one class is enough to judge a map by; training says that it needs two
    raise InputError(
        f"{path}: no column is plainly that of the classes; name one of "
        f"{', '.join(columns) or 'none at all'}"
        f"{f' with --column {columns[0]}' if columns else ''}"
    )


def _whole(numbers: Any) -> bool:
    return bool(len(numbers)) and bool((numbers % 1 == 0).all())


def _no_smaller_than_a_pixel(
    shapes: npt.NDArray[np.object_], geobox: GeoBox
) -> npt.NDArray[np.object_]:
    """Shapes that burn a pixel each: one that holds no pixel's centre becomes that of its pixel."""
    import shapely

    shapes, pixel = shapes.copy(), abs(geobox.affine.a * geobox.affine.e)
    for number in np.flatnonzero(shapely.area(shapes) < 4 * pixel):
        shape = shapes[number]
        if shape.geom_type.endswith("Polygon") and _holds_a_centre(shape, geobox):
            continue
        points = (
            shapely.get_parts(shape)
            if shape.geom_type.endswith("Point")
            else [shape.representative_point()]
        )
        places = [~geobox.affine @ (point.x, point.y) for point in points]
        centres = [
            geobox.affine @ (np.floor(col) + 0.5, np.floor(row) + 0.5) for col, row in places
        ]
        shapes[number] = shapely.MultiPoint(centres)
    return shapes


def _holds_a_centre(shape: Any, geobox: GeoBox) -> bool:
    import shapely

    west, south, east, north = shape.bounds
    cols, rows = zip(
        *(~geobox.affine @ corner for corner in ((west, north), (east, south))), strict=True
    )
    across, down = (np.arange(np.floor(min(n)), np.ceil(max(n)) + 1) + 0.5 for n in (cols, rows))
    # a few: it is small
    centres = [geobox.affine @ (float(col), float(row)) for row in down for col in across]
    return bool(shapely.contains_xy(shape, centres).any())
