"""`landweave change --objects`: what became of each object between two days, and the products of
that.

Two passes over blocks, anywhere and in any order: the first counts what any two objects share; then
`flows.change.object_fates` says what became of each; the second writes that for every pixel.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from flows.assessment.evaluate import BLOCK
from flows.assessment.evaluate import work_pieces as pieces_of
from flows.assessment.match_objects import draw_shapes, read_objects
from flows.change.map_pair import Alignment, MapSource, Pair, align_maps
from flows.change.model import ObjectChange
from flows.change.object_fates import ASIDE, Fates, tell_fates
from flows.change.object_pairs import ObjectPair, Overlaps, count_overlaps
from flows.change.object_products import Painting, paint, publish
from flows.compute.pool import Pool, ThisProcess
from flows.compute.progress import Progress, report_items, silent
from flows.requests.change import ChangeRequest
from flows.requests.overwriting import check_change
from flows.storage.lock import folder_lock
from tiling.classmaps.raster import open_classes
from tiling.errors import InputError
from tiling.grid.geobox import geobox_of
from tiling.grid.pixel_area import PixelAreas
from tiling.grid.window import Window
from tiling.io.files import on_disk, scratch
from tiling.labels.open_labels import is_raster

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

CLASS = "class"
"""The column of classes in layers of objects."""

FINENESS = 50
"""Pixels along the side of the middlemost polygon, where there are only polygons."""

MOST_PIXELS = 2**32
"""Of a grid that is made for polygons."""


def change_objects(
    request: ChangeRequest,
    pool: Pool | None = None,
    progress: Progress = silent,
    *,
    block: int = BLOCK,
) -> ObjectChange:
    """Compare objects of two days where both lie, on the later one's pixels, and write what became
    of each into `request.out`.

    `pool` and `block` change nothing. Raises `InputError` for what a person can mend.
    """
    pool = pool or ThisProcess()
    if not request.fresh:
        check_change(request.out, request.earlier, request.later)
    with folder_lock(request.out), on_disk(request.out), scratch(request.out) as work:
        earlier, later = open_sides(request, work)
        alignment = align_maps(earlier.source, later.source)
        pair = Pair(earlier.source, later.source, alignment, request.nodata)
        objects = ObjectPair.of(pair, work)
        blocks = list(Window.of_shape(*objects.grid.shape).blocks(block))
        counts = pool.map(partial(count_overlaps, objects), blocks)
        found = Overlaps.of(report_items(counts, "compare", len(blocks), progress))
        if not len(found.before) and not len(found.after):
            raise InputError(
                f"{request.earlier} and {request.later} hold no object where both lie; check that "
                "they show the same place"
            )
        unit = PixelAreas(objects.grid).unit
        fates = tell_fates(
            found,
            overlap=request.overlap,
            difference=request.difference,
            least=request.min_area / unit,
        )
        result = ObjectChange(
            replace(earlier.source, path=request.earlier),
            replace(later.source, path=request.later),
            describe_grid(alignment, earlier, later, objects.grid),
            fates,
            unit,
            (earlier.classes, later.classes),
            (*(alignment.notes if alignment.how == "nearest" else ()), *note_aside(fates, unit)),
        )
        painting = Painting(objects, found.before[:, 0], found.after[:, 0], fates)
        rasters = paint(painting, blocks, work, pool, progress)
        return publish(result, request, painting, rasters, work, pool, progress)


class Side(NamedTuple):
    """The objects of a day as a raster of numbers, and what they are."""

    source: MapSource
    classes: Mapping[int, str] = {}
    drawn: bool = False
    """Whether they were polygons."""


def describe_grid(alignment: Alignment, earlier: Side, later: Side, grid: GeoBox) -> str:
    """On whose pixels objects are compared, in words."""
    if not (earlier.drawn and later.drawn):
        return alignment.said
    unit = "°" if grid.crs is not None and grid.crs.geographic else " m"
    return f"by pixels of {grid.resolution.x:g}{unit} on which both layers of polygons are drawn"


def note_aside(fates: Fates, unit: float) -> tuple[str, ...]:
    """What of objects was too small to have vanished or appeared, if anything."""
    small = fates.kind == ASIDE
    if not small.any():
        return ()
    area = float((fates.before[small] + fates.after[small]).sum() * np.float64(unit))
    return (
        f"{np.count_nonzero(small):,} objects of {area / 1e4:,.2f} ha in all that vanished or "
        "appeared are smaller than the smallest change, and are left out",
    )


def open_sides(request: ChangeRequest, work: Path) -> tuple[Side, Side]:
    """Both days; polygons are drawn on the other one's pixels, or both on those of `grid_for`.
    `InputError` where neither has any."""
    names = request.earlier, request.later
    given = [find_raster(name) for name in names]
    frames = [None if is_raster(path) else read_objects(path, request.column) for path in given]
    box = find_grid(given, frames)
    sides = []
    for path, frame, name, which in zip(given, frames, names, ("earlier", "later"), strict=True):
        title, date = name_source(name)
        source = MapSource(path, title, date=date)
        if frame is None:
            open_classes(path).close()
            sides.append(Side(source, read_classes(path, request.column)))
            continue
        column = request.column or (CLASS if CLASS in frame.columns else "")
        texts = frame[column].fillna("").astype(str).str.strip() if column else []
        drawn = draw_shapes(path, frame, box, work / f"{which}.tif")
        sides.append(Side(replace(source, path=str(drawn)), dict(enumerate(texts, 1)), drawn=True))
    return sides[0], sides[1]


def find_grid(given: Sequence[str], frames: Sequence[GeoDataFrame | None]) -> GeoBox:
    """Whose pixels are compared: the later one's, unless that is polygons; of two layers those of
    `grid_for`."""
    earlier, later = frames
    if earlier is not None and later is not None:
        return grid_for(earlier, later)
    with open_classes(given[0 if later is not None else 1]) as source:
        return geobox_of(source)


def object_pieces(request: ChangeRequest) -> int:
    """How many pieces worth a worker's while the comparison has; of two layers about."""
    import pyogrio

    later, earlier = find_raster(request.later), find_raster(request.earlier)
    for path in (later, earlier):
        if is_raster(path):
            return pieces_of(path)
    try:
        shapes = max(pyogrio.read_info(path)["features"] for path in (later, earlier))
    except pyogrio.errors.DataSourceError:
        return 1  # reading it says what is wrong
    return max(1, int(shapes) * 4 * FINENESS**2 // (2 * BLOCK) ** 2)


def grid_for(earlier: GeoDataFrame, later: GeoDataFrame) -> GeoBox:
    """A grid for polygons of two days, in the CRS of the later ones, over the extent of both.

    A pixel's side is 1, 2 or 5 times a power of ten, at most a fiftieth of the side of a square as
    large as the middlemost polygon, and corners lie on multiples of it; it is coarser where there
    were more than 2³² pixels. `InputError` where that leaves the middlemost polygon fewer than 16.
    """
    import shapely

    frames = earlier.to_crs(later.crs), later
    every = shapely.make_valid(np.concatenate([one.geometry.to_numpy() for one in frames]))
    areas = shapely.area(every)
    if not areas.any():
        raise InputError("no polygon of either layer has an area; draw them anew")
    middle = float(np.sqrt(np.median(areas[areas > 0])))
    west, south, east, north = map(float, shapely.total_bounds(every))
    floor = float(np.sqrt((east - west) * (north - south) / MOST_PIXELS))
    sides = [one * 10.0**power for power in range(-12, 9) for one in (1, 2, 5)]
    fine = max(side for side in sides if side <= middle / FINENESS)
    side = fine if fine >= floor else min(side for side in sides if side >= floor)
    if 4 * side > middle:
        raise InputError(
            "the polygons are too small for the land over which they lie to be compared by pixels; "
            "cut out a part of both layers"
        )
    left, top = np.floor(west / side), np.ceil(north / side)
    shape = int(top - np.floor(south / side)), int(np.ceil(east / side) - left)
    corner = Affine(side, 0, left * side, 0, -side, top * side)
    return GeoBox(shape, corner, later.crs.to_wkt())


def find_raster(given: str) -> str:
    """The raster of numbers of a run, or beside its layer, or the file itself; `InputError` where a
    folder holds none, or several."""
    path = Path(given)
    if path.name == "objects.gpkg" and path.with_name("run.json").exists():
        path = path.parent
    if not path.is_dir():
        return given
    levels = sorted(
        file.name for file in path.glob("objects-*.tif") if "statistics" not in file.name
    )
    if (path / "objects.tif").exists():
        return str(path / "objects.tif")
    if levels:
        raise InputError(
            f"{given} holds several levels of objects; name the raster of one: {', '.join(levels)}"
        )
    raise InputError(
        f"{given} holds no objects.tif; name the folder of a run of landweave objects, a raster of "
        "numbers or a file of polygons"
    )


def name_source(given: str) -> tuple[str, str]:
    """What objects are called on a page, and their day: of a run those of its scene."""
    path = Path(given)
    record = (path if path.is_dir() else path.parent) / "run.json"
    if not record.exists():
        return path.stem, ""
    scene = json.loads(record.read_text(encoding="utf-8")).get("scene", {})
    return str(scene.get("name") or path.stem), str(scene.get("date") or "")


def read_classes(raster: str, column: str) -> dict[int, str]:
    """What the objects of a run are, by number; nothing where its layer does not say it.
    `InputError` where it has no column of the name asked for."""
    import pyogrio

    layer = Path(raster).with_name("objects.gpkg")
    if not Path(raster).stem.startswith("objects") or not layer.exists():
        if column:
            raise InputError(
                f"{raster} has no layer with a column {column} beside it; leave --column out"
            )
        return {}
    name = Path(raster).stem
    known = list(pyogrio.read_info(layer, layer=name)["fields"])
    if column and column not in known:
        raise InputError(f"{layer} has no column {column}; it has {', '.join(known)}")
    if (column or CLASS) not in known:
        return {}
    wanted = ["number", column or CLASS]
    frame = pyogrio.read_dataframe(layer, layer=name, columns=wanted, read_geometry=False)
    texts = frame[wanted[1]].fillna("").astype(str)
    return dict(zip(frame["number"].tolist(), texts, strict=True))
