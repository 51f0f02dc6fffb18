"""Objects of a map against those of a reference: rasters of ids or polygons on either side, counted
block by block.

Blocks count whole pixels that add up to those of the whole raster, so they may be counted anywhere
and in any order. Where both sides are polygons there are no pixels: their areas are compared.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import rasterio
from odc.geo.geobox import GeoBox

from flows.assessment.comparison import tolerance_of
from flows.compute.progress import Progress, report_items, silent
from segmentation.accuracy.boundary_f1 import Spacing, count_edges, reach
from segmentation.accuracy.instances import ObjectAccuracy, ObjectCounts
from tiling.classmaps.alignment import overlap, warp_to
from tiling.classmaps.raster import open_classes
from tiling.errors import InputError
from tiling.grid.geobox import geobox_of
from tiling.grid.pixel_size import PixelSpacing
from tiling.grid.window import Window
from tiling.io.access import allow_folder
from tiling.io.profiles import plain_profile
from tiling.io.spill import Map
from tiling.labels.open_labels import is_raster
from tiling.labels.vector_labels import ShapeLabels, place_shapes, read_shapes

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

BLOCK = 1024

SCORES = ("score", "confidence", "probability")
"""What a column is called that says how sure a map is of an object, the likeliest first."""

_NO_SCORES = (
    "the map does not say how sure it is of each object, so average precision takes them in their "
    "order; polygons with a column score say so"
)

_SHARES = 1_000_000
"""Units of area in the middlemost polygon, where only polygons are compared."""


def evaluate_objects(
    map_path: str | Path,
    reference: str | Path,
    *,
    column: str = "",
    tolerance: float | None = None,
    block: int = BLOCK,
    map: Map = map,
    progress: Progress = silent,
) -> ObjectAccuracy:
    """How well a map finds the objects of a reference; each is a raster of ids, 0 = none, or a file
    of polygons.

    Rasters are compared on the map's grid; where the map is polygons, on the reference's. A pixel
    of a reference that has no data, other than 0, is not known. `column` names the classes of
    polygons on both sides, and objects are matched within their class; without it all are of one.
    Polygons of a map are taken in the order of their column `score`, if they have one. `tolerance`
    is that of outlines, in metres: two pixels by default, 0 compares none. Raises `InputError`
    where a file holds no objects, or the two do not meet.
    """
    paths = str(map_path), str(reference)
    rasters = [is_raster(path) for path in paths]
    if column and all(rasters):
        raise InputError(f"{paths[0]} is a raster and has no column {column}; leave --column out")
    shapes = [
        None if raster else _read(path, column) for path, raster in zip(paths, rasters, strict=True)
    ]
    found, truth = shapes
    facts: dict[str, Any] = {}
    sure = found is not None and found.scores
    notes = () if sure else (_NO_SCORES,)
    if found is not None:
        facts["scores"] = found.scores
    if column and found is not None and truth is not None:
        facts |= {"truth_classes": truth.classes, "found_classes": found.classes}
    if found is not None and truth is not None:
        judged = ObjectAccuracy.from_counts(_count_shapes(found, truth), **facts)
        return replace(judged, compared="compared by the areas of polygons", notes=notes)
    total, pair = _count_pixels(paths, shapes, tolerance, block, map, progress)
    judged = ObjectAccuracy.from_counts(total, **facts, tolerance=pair.tolerance)
    compared = f"compared on the grid of {Path(pair.grid).name}"
    return replace(judged, compared=compared, notes=notes)


def _count_pixels(
    paths: tuple[str, str],
    shapes: list[_Shapes | None],
    tolerance: float | None,
    block: int,
    map: Map,
    progress: Progress,
) -> tuple[ObjectCounts, ObjectPair]:
    """Counts of all blocks where both sides lie, added up."""
    with tempfile.TemporaryDirectory(prefix="landweave-") as work, allow_folder(Path(work)):
        pair = _lay_out(paths, shapes, tolerance, Path(work))
        with open_classes(pair.grid) as grid, open_classes(pair.reference) as other:
            where = overlap(other, grid)
        blocks = [window for window in where.blocks(block) if window]
        counts = report_items(
            map(partial(count_block, pair), blocks), "evaluate", len(blocks), progress
        )
        total = reduce(add, counts, ObjectCounts.none())
    if not len(total.truth) and not len(total.found):
        raise InputError(
            f"{paths[0]} and {paths[1]} hold no object where both lie; check that they show the "
            "same place"
        )
    return total, pair


def work_pieces(map_path: str | Path, reference: str | Path) -> int:
    """How many pieces worth a worker's while two files have; polygons are compared at once."""
    for path in map(str, (map_path, reference)):
        if is_raster(path):
            with open_classes(path) as source:
                side = 2 * BLOCK
                return int(-(-source.height // side) * -(-source.width // side))
    return 1


class _Shapes(NamedTuple):
    """The polygons of a file, numbered from 1 by their order there."""

    path: str
    frame: GeoDataFrame
    scores: Mapping[int, float]
    classes: Mapping[int, str]


@dataclass(frozen=True)
class ObjectPair:
    """Two rasters of ids, and on the pixels of which they are compared."""

    map: str
    reference: str
    grid: str
    tolerance: float
    """Metres within which outlines are the same; 0 where none are compared."""


def _read(path: str, column: str) -> _Shapes:
    frame = read_objects(path, column)
    score = next((name for name in SCORES if name in frame.columns), None)
    numbers = range(1, len(frame) + 1)
    return _Shapes(
        path,
        frame,
        {} if score is None else _numbers(path, score, frame[score]),
        dict(zip(numbers, frame[column].astype(str).str.strip(), strict=True)) if column else {},
    )


def read_objects(path: str, column: str) -> GeoDataFrame:
    """The polygons of a file; `InputError` where there are others, or no column of that name."""
    frame = read_shapes(path)
    if not frame.geom_type.isin(["Polygon", "MultiPolygon"]).all():
        raise InputError(f"{path} holds points, and objects have an area; give polygons")
    if column and column not in frame.columns:
        names = ", ".join(str(name) for name in frame.columns if name != frame.geometry.name)
        raise InputError(f"{path} has no column {column}; it has {names or 'none'}")
    return frame


def _numbers(path: str, name: str, values: Any) -> dict[int, float]:
    import pandas

    scores = pandas.to_numeric(values, errors="coerce").to_numpy(float)
    if np.isnan(scores).any():
        raise InputError(
            f"column {name} of {path} is to say how sure each object is, and holds other than "
            "numbers; rename it, or mend it"
        )
    return dict(enumerate(scores.tolist(), 1))


def _lay_out(
    paths: tuple[str, str], shapes: list[_Shapes | None], tolerance: float | None, work: Path
) -> ObjectPair:
    """Both sides as rasters; polygons are drawn on the other one's pixels."""
    grid = paths[0] if shapes[0] is None else paths[1]
    with open_classes(grid) as source:
        box = geobox_of(source)
    drawn = []
    for path, side, name in zip(paths, shapes, ("map", "reference"), strict=True):
        if side is None:
            open_classes(path).close()  # a mistake is said now, and not by a worker
            drawn.append(path)
        else:
            drawn.append(str(draw_shapes(side.path, side.frame, box, work / f"{name}.tif")))
    with open_classes(drawn[1 - drawn.index(grid)]) as other:
        metres = tolerance_of(box, geobox_of(other), tolerance)
    return ObjectPair(drawn[0], drawn[1], grid, metres)


def draw_shapes(path: str, frame: GeoDataFrame, grid: GeoBox, raster: Path) -> Path:
    """A raster of the numbers, from 1, of the polygons of a file on a grid; of two that hold a
    pixel's centre, the later."""
    assert grid.crs is not None  # a raster to be compared has one
    shapes = frame.geometry.to_crs(grid.crs.to_wkt()).to_numpy()
    kept, numbers = place_shapes(path, shapes, grid)
    labels = ShapeLabels(path, grid, (), (), kept, np.ones(kept.size, np.uint8))
    number = np.concatenate(([0], numbers + 1)).astype(np.int32)
    with rasterio.open(raster, "w", **plain_profile(grid, "int32", 0), sparse_ok=True) as target:
        for window in labels.windows():
            target.write(number[labels.owners(window)], 1, window=window.ranges)
    return raster


def count_block(pair: ObjectPair, core: Window) -> ObjectCounts:
    """What a block of the grid holds of both sides' objects, and of their outlines."""
    with ExitStack() as stack:
        grid = stack.enter_context(open_classes(pair.grid))
        spacing = PixelSpacing(geobox_of(grid))
        window = core
        if pair.tolerance:
            rows, cols = reach(Spacing(*spacing.read(core)), pair.tolerance)
            sides = core.shift(-rows - 1, -cols - 1) | core.shift(rows + 1, cols + 1)
            window = sides & Window.of_shape(*grid.shape)
        (found, _), (truth, known) = (
            _ids(
                stack.enter_context(warp_to(stack.enter_context(open_classes(path)), grid)), window
            )
            for path in (pair.map, pair.reference)
        )
        inside = core.within(window)
        counts = ObjectCounts.of(truth[inside], found[inside], known[inside])
        if not pair.tolerance:
            return counts
        apart = Spacing(*spacing.read(window))
        edges = count_edges(truth, found, known, inside, apart, pair.tolerance)
        return ObjectCounts(counts.truth, counts.found, counts.shared, edges)


def _ids(source: Any, window: Window) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Ids `(y, x)`, 0 = no object, and where a raster knows whether there is one."""
    ids = source.read(1, window=window.ranges).astype(np.int64)
    # zero is no object, also where a file calls it its no data
    known = (source.read_masks(1, window=window.ranges) > 0) | ((ids == 0) & (source.nodata == 0))
    return np.where(known & (ids > 0), ids, 0), known


def _count_shapes(found: _Shapes, truth: _Shapes) -> ObjectCounts:
    """Areas of polygons and of what two of them share, in whole units small beside them."""
    import shapely

    theirs = truth.frame.to_crs(found.frame.crs)
    sides = [shapely.make_valid(frame.geometry.to_numpy()) for frame in (theirs, found.frame)]
    one, other = shapely.STRtree(sides[1]).query(sides[0], predicate="intersects")
    areas = [shapely.area(side) for side in sides]
    unit = float(np.median(areas[0])) / _SHARES or 1.0
    shared = shapely.area(shapely.intersection(sides[0][one], sides[1][other]))
    whole = [np.rint(area / unit).astype(np.int64) for area in (*areas, shared)]
    numbers = [np.arange(1, len(side) + 1) for side in sides]
    meet = whole[2] > 0
    return ObjectCounts(
        np.column_stack([numbers[0], whole[0]]),
        np.column_stack([numbers[1], whole[1], np.zeros(len(sides[1]), np.int64)]),
        np.column_stack([one + 1, other + 1, whole[2]])[meet],
        np.zeros(4, np.int64),
    )
