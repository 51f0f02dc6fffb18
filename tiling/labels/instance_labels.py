"""Objects as labels of their interior and their boundaries: what a network learns that is to tell
objects from each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from tiling.classmaps.legend import LegendRow
from tiling.errors import InputError
from tiling.grid.window import Window
from tiling.labels.base import BLOCK, Classes, Labels
from tiling.labels.open_labels import is_vector
from tiling.labels.raster_labels import codes_on_grid
from tiling.labels.vector_labels import COLUMNS, ShapeLabels, place_shapes, read_shapes
from tiling.scene.header import read_header

BACKGROUND, INTERIOR, BOUNDARY = 1, 2, 3
ROWS: tuple[LegendRow, ...] = (
    (BACKGROUND, "Background", "#d9d9d9"),
    (INTERIOR, "Interior", "#e0c766"),
    (BOUNDARY, "Boundary", "#7a4b1e"),
)
ROWS_OF_SIDES: tuple[LegendRow, ...] = (
    *ROWS[:2],
    (INTERIOR + 1, "Boundary right", "#a05a2c"),
    (INTERIOR + 2, "Boundary below", "#7a4b1e"),
    (INTERIOR + 3, "Boundary right and below", "#4a2a0c"),
)

_NONE = 2**53
"""Above all ids; SciPy's filters count in float64."""

_SIDES = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool)

Ids = npt.NDArray[np.integer]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class InstanceLabels(Labels):
    """Background, interior and boundaries of objects that are shapes, or pixels of one id.

    What touches is told apart by boundaries: with a `width` of 0 by the sides of pixels on which
    another object begins, see `label_sides`, else by the pixels that have one of another object
    within `width` steps from side to side. Background does so by itself, and rims against it would
    leave small objects without an interior, as would corners.
    """

    width: int
    shapes: ShapeLabels | None
    """The objects; None where they are pixels of the raster `path`."""
    extent: ShapeLabels | None
    """Where what is no object is background; None: wherever the raster has data."""
    nodata: float | None = None
    """The value of a raster's pixels of which nobody knows whether they are an object."""
    kinds: tuple[str, ...] = ()
    """What object 1, 2, 3 … is, where a column was named that says so."""

    def read(self, window: Window) -> Classes:
        found = np.zeros(window.shape, np.uint8)
        whole = Window.of_shape(*self.geobox.shape)
        if not (inside := window & whole):
            return found
        wide = inside.pad(max(1, self.width)) & whole
        ids, _ = self.ids(wide)
        classes = label_rims(ids, self.width) if self.width else label_sides(ids)
        found[inside.within(window)] = classes[inside.within(wide)]
        return found

    def ids(self, window: Window) -> tuple[Ids, Flags]:
        """`(y, x)` the object of each pixel of a window of the raster, 0 = none, -1 = nobody knows;
        and whether anybody does."""
        if self.shapes is not None:
            ids = self.shapes.owners(window).astype(np.int64)
            assert self.extent is not None  # shapes have one
            known = (ids > 0) | (self.extent.owners(window) > 0)
        else:
            codes, known = codes_on_grid(self.path, self.geobox, self.nodata, window)
            ids = np.maximum(codes.astype(np.int64), 0)
            if self.extent is not None:
                known = known & ((ids > 0) | (self.extent.owners(window) > 0))
        return np.where(known, ids, -1), known


def label_sides(ids: Ids) -> Classes:
    """`(y, x)` the class of each pixel of objects `(y, x)`, 0 = none, -1 = nobody knows: whether
    another object begins beyond its right side, its lower side, or both; the last row and column
    cannot tell.

    >>> label_sides(np.array([[1, 2], [3, 2], [0, -1]]))
    array([[5, 2],
           [3, 2],
           [1, 0]], dtype=uint8)
    """
    classes = np.where(ids > 0, INTERIOR, np.where(ids < 0, 0, BACKGROUND)).astype(np.uint8)
    right = (ids[:, :-1] != ids[:, 1:]) & (ids[:, :-1] > 0) & (ids[:, 1:] > 0)
    below = (ids[:-1] != ids[1:]) & (ids[:-1] > 0) & (ids[1:] > 0)
    classes[:, :-1] += right
    classes[:-1] += 2 * below.astype(np.uint8)
    return classes


def label_rims(ids: Ids, width: int) -> Classes:
    """`(y, x)` the class of each pixel of objects `(y, x)`, 0 = none, -1 = nobody knows: whether a
    pixel of another object is within `width` steps from side to side."""
    from scipy.ndimage import maximum_filter, minimum_filter

    highest, lowest = ids, np.where(ids > 0, ids, _NONE)
    for _ in range(width):
        highest = maximum_filter(highest, footprint=_SIDES, mode="nearest")
        lowest = minimum_filter(lowest, footprint=_SIDES, mode="nearest")
    inner = np.where(highest == lowest, INTERIOR, BOUNDARY)
    return np.where(ids > 0, inner, np.where(ids < 0, 0, BACKGROUND)).astype(np.uint8)


def open_instances(
    path: str,
    geobox: GeoBox,
    *,
    width: int = 0,
    extent: str = "",
    nodata: float | None = None,
    column: str = "",
) -> InstanceLabels:
    """The objects of polygons, or of a raster of ids (0 = none), on the grid `geobox`.

    Of polygons, what lies in none is background within their convex hull, or within the polygons of
    the file `extent`, and unlabelled elsewhere. Of a raster it is wherever the raster has data;
    `nodata` holds before what it declares, and a declared 0 is background. `column` names the
    kinds of polygons. Raises `InputError` where no object is found on the scene.
    """
    bounds = _shapes_in(extent, geobox)[0] if extent else None
    rows = ROWS if width else ROWS_OF_SIDES
    if is_vector(path):
        shapes, notes, kinds = _shapes_in(path, geobox, column)
        if bounds is None:
            bounds, note = _hull(shapes)
            notes = (*notes, note)
        return InstanceLabels(path, geobox, rows, notes, width, shapes, bounds, kinds=kinds)
    if column:
        raise InputError(f"{path} is a raster and has no column {column}; leave --column out")
    header = read_header(path)
    if header.count > 1 or np.dtype(header.dtypes[0]).kind not in "iu":
        raise InputError(
            f"{path} holds {header.count} bands of {header.dtypes[0]}; objects are polygons, or "
            "one band of whole numbers, a number for each and 0 for none"
        )
    declared = header.nodata[0]
    empty = nodata if nodata is not None else declared if declared else None
    labels = InstanceLabels(path, geobox, rows, (), width, None, bounds, empty)
    blocks = Window.of_shape(*geobox.shape).blocks(BLOCK)
    if not any((labels.ids(block)[0] > 0).any() for block in blocks):
        raise InputError(f"{path} holds no object of the scene; give labels of the same place")
    return labels


def _shapes_in(
    path: str, geobox: GeoBox, column: str = ""
) -> tuple[ShapeLabels, tuple[str, ...], tuple[str, ...]]:
    """The polygons of a file on a grid, a line where they have classes that nobody asked for, and
    what each is where a column is named."""
    import shapely

    assert geobox.crs is not None  # a scene's grid has one
    frame = read_shapes(path)
    shapes = frame.geometry.to_crs(geobox.crs.to_wkt()).to_numpy()
    if (shapely.get_dimensions(shapes) < 2).any():
        raise InputError(f"{path} holds points; an object is a polygon")
    placed, places = place_shapes(path, shapes, geobox)
    if column:
        if column not in frame.columns:
            names = ", ".join(str(name) for name in frame.columns if name != frame.geometry.name)
            raise InputError(f"{path} has no column {column}; it has {names or 'none'}")
        texts = frame[column].astype(str).str.strip()
        if blank := int((frame[column].isna() | (texts == "")).sum()):
            raise InputError(
                f"{path}: {blank} of {len(frame)} objects say nothing in column {column}; fill it "
                "in, or take them out"
            )
        kinds = tuple(frame[column].astype(str).str.strip().to_numpy()[places].tolist())
        return _labels(path, geobox, placed), (), kinds
    classed = [str(name) for name in frame.columns if str(name).lower() in COLUMNS[:11]]
    notes = [
        f"{path}: the classes in column {name} are not looked at; each polygon is one object"
        for name in classed[:1]
    ]
    return _labels(path, geobox, placed), tuple(notes), ()


def _labels(path: str, geobox: GeoBox, shapes: Iterable[object]) -> ShapeLabels:
    listed = list(shapes)
    placed = np.empty(len(listed), object)
    placed[:] = listed
    return ShapeLabels(path, geobox, (), (), placed, np.ones(len(placed), np.uint8))


def _hull(shapes: ShapeLabels) -> tuple[ShapeLabels, str]:
    """The convex hull of shapes, and a line that says what it decides."""
    import shapely

    hull = shapely.convex_hull(shapely.geometrycollections(list(shapes.shapes)))
    scene = shapely.box(*shapes.geobox.extent.boundingbox)
    share = shapely.area(shapely.intersection(hull, scene)) / shapely.area(scene)
    note = (
        f"{shapes.path}: background is what lies in no polygon within the convex hull of all, "
        f"{share:.0%} of the scene; if objects there are not drawn, name where all are with "
        "--labels-extent"
    )
    return _labels(shapes.path, shapes.geobox, [hull]), note
