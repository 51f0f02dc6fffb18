"""`landweave change --objects`: what became of each object between two days, and the products of
that.

Two passes over blocks, anywhere and in any order: the first counts what any two objects share; then
`flows.change.object_fates` says what became of each; the second writes that for every pixel.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from flows.assessment.evaluate import BLOCK
from flows.assessment.match_objects import draw_shapes, read_objects
from flows.change.map_pair import MapSource, Pair, align_maps
from flows.change.model import ObjectChange
from flows.change.object_fates import tell_fates
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

CLASS = "class"
"""The column of classes in layers of objects."""


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
        fates = tell_fates(found, overlap=request.overlap, difference=request.difference)
        result = ObjectChange(
            replace(earlier.source, path=request.earlier),
            replace(later.source, path=request.later),
            alignment.said,
            fates,
            PixelAreas(objects.grid).unit,
            (earlier.classes, later.classes),
            alignment.notes if alignment.how == "nearest" else (),
        )
        painting = Painting(objects, found.before[:, 0], found.after[:, 0], fates)
        rasters = paint(painting, blocks, work, pool, progress)
        return publish(result, request, painting, rasters, work, pool, progress)


class Side(NamedTuple):
    """The objects of a day as a raster of numbers, and what they are."""

    source: MapSource
    classes: Mapping[int, str] = {}


def open_sides(request: ChangeRequest, work: Path) -> tuple[Side, Side]:
    """Both days; polygons are drawn on the other one's pixels. `InputError` where neither has
    any."""
    given = find_raster(request.earlier), find_raster(request.later)
    with open_classes(find_grid(request)) as source:
        box = geobox_of(source)
    sides = []
    for path, name, which in zip(
        given, (request.earlier, request.later), ("earlier", "later"), strict=True
    ):
        title, date = name_source(name)
        source = MapSource(path, title, date=date)
        if is_raster(path):
            open_classes(path).close()
            sides.append(Side(source, read_classes(path, request.column)))
            continue
        frame = read_objects(path, request.column)
        column = request.column or (CLASS if CLASS in frame.columns else "")
        texts = frame[column].fillna("").astype(str).str.strip() if column else []
        drawn = draw_shapes(path, frame, box, work / f"{which}.tif")
        sides.append(Side(replace(source, path=str(drawn)), dict(enumerate(texts, 1))))
    return sides[0], sides[1]


def find_grid(request: ChangeRequest) -> str:
    """The raster whose pixels are compared: the later one, unless that is polygons; `InputError`
    where both are."""
    grids = [path for path in map(find_raster, (request.later, request.earlier)) if is_raster(path)]
    if not grids:
        raise InputError(
            f"{request.earlier} and {request.later} are both polygons, and objects are compared by "
            "pixels; give the run or the raster of one of them"
        )
    return grids[0]


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
