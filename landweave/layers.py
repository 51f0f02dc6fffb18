"""Class rasters as layers: what changed, polygons, areas in zones."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from flows.compute.progress import silent
from flows.parsing import validate
from landweave.inputs import (
    PathLike,
    Progress,
    drop_none,
    pool_of,
    raster_of,
    unify_errors,
)
from landweave.results import Change, Layer
from tiling.errors import InputError

if TYPE_CHECKING:
    from tiling.regions.sieving.rule import Rule


@unify_errors
def change(
    earlier: PathLike,
    later: PathLike,
    out: PathLike,
    *,
    classes: Mapping[str, str] | None = None,
    hidden: Sequence[str] | None = None,
    nodata: int | None = None,
    min_area: float | None = None,
    min_confidence: float | None = None,
    objects: bool | None = None,
    overlap: float | None = None,
    difference: float | None = None,
    column: str | None = None,
    simplify: float | None = None,
    fresh: bool | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Change:
    """Compare two maps: transition matrix, change raster, polygons, chart. Or two days' objects.

    Args:
        earlier: A run, its folder, or a raster of classes; with `objects` a run of `objects`, its
            folder, a raster of numbers or a file of polygons.
        later: The same of a later day. Its pixels are those compared.
        out: Folder for the products; made if need be.
        classes: What classes of either map count as, by name: `{"Built-up": "Town"}`; `""` leaves
            a class out.
        hidden: Classes that hide the ground and are not compared; cloud and snow by default.
            Unknown never is, unless `classes` speaks of it.
        nodata: Value that means no data in both maps, beside what each file says.
        min_area: In m²: a smaller patch of change is taken not to have happened.
        min_confidence: In percent: pixels of which either map is less sure are left out.
        objects: Compare objects one by one, and not classes of pixels.
        overlap: In percent: intersection over union from which two objects are one; 50 by default.
        difference: In percent of the earlier area: less is no growth, and what is smaller splits no
            object; 10 by default.
        column: That says what objects are; `class` by default, where there is one.
        simplify: How far boundaries may move, in m; 0.75 pixel by default, 0 keeps the outline.
        fresh: Replace the comparison of other maps that the folder holds.
        workers: Worker processes; fitted to machine and work by default, 0: none beside this one.
        progress: Called with the name of a stage, how much of it is done, and how much there is.

    Returns:
        The matrix of areas in m², or what became of objects, and the products.

    Raises:
        InputError: Where the maps share no pixel or no class.

    Examples:
        >>> import landweave as lw
        >>> lw.change("run-2019", "run-2024", "change", min_area=5000).matrix
    """
    from flows.change.detect import compare, work_pieces
    from flows.requests.change import ChangeRequest

    settings = {
        "classes": classes, "hidden": hidden, "nodata": nodata, "min_area": min_area,
        "min_confidence": min_confidence, "objects": objects, "overlap": overlap,
        "difference": difference, "column": column, "simplify": simplify, "fresh": fresh,
    }  # fmt: skip
    folders = {"earlier": local(earlier), "later": local(later)}
    request = validate(ChangeRequest, **folders, out=Path(out), **drop_none(settings))
    with pool_of(workers, work_pieces(request), 2**30) as pool:
        return Change(request.out, compare(request, pool, progress or silent))


@unify_errors
def vectorise(
    raster: PathLike,
    out: PathLike,
    *,
    nodata: int | None = None,
    connectivity: Literal[4, 8] | None = None,
    any_values: bool | None = None,
    min_area: float | None = None,
    min_area_rule: Rule | None = None,
    fill_holes: float | None = None,
    max_area: float | None = None,
    unknown_below: float | None = None,
    confidence: PathLike | None = None,
    simplify: float | None = None,
    smooth: int | None = None,
    max_vertices: int | None = None,
    zones: PathLike | None = None,
    dissolve: bool | None = None,
    geopackage: Literal["1.2", "1.3", "1.4"] | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Layer:
    """Turn a class raster into polygons without gaps or overlaps, with its names and colours.

    Args:
        raster: A run, its folder, or a raster of one band of integers.
        out: A `.gpkg`, `.parquet`, `.fgb`, `.shp` or `.geojson` file.
        nodata: Value to leave out; by default what the file says.
        connectivity: With 8 pixels that touch at a corner belong together; 4 by default.
        any_values: Insist, where a raster looks like measurements and each level would be a class.
        min_area: Smaller regions, in m², go to a neighbour.
        min_area_rule: Which neighbour absorbs a smaller region.
        fill_holes: Smaller holes, in m², go to the polygon around them; not those with no data.
        max_area: Larger polygons, in m², are cut along a fixed lattice of squares of this area.
        unknown_below: Pixels of less confidence, in percent, become a class Unknown.
        confidence: Raster of the map's confidence; by default the one beside the map, if needed.
        simplify: How far boundaries may move, in m; 0.75 pixel by default, 0 keeps the outline.
        smooth: How often the corners of boundaries are cut, 0 to 5.
        max_vertices: Polygons that have more are cut.
        zones: Polygons to cut along; features carry their columns.
        dissolve: One feature for each class, in each zone.
        geopackage: Version of the GeoPackage.
        workers: Worker processes; fitted to machine and work by default, 0: none beside this one.
        progress: Called with the name of a stage, how much of it is done, and how much there is.

    Returns:
        The layer that was written; `layer.frame` reads it as a GeoDataFrame.

    Raises:
        InputError: Where the raster holds no classes, or the format is unknown.

    Examples:
        >>> import landweave as lw
        >>> lw.vectorise("classes.tif", "classes.gpkg", min_area=5000).features
        1204
    """
    from flows.products.vectorise import check_raster, work_pieces
    from flows.products.vectorise import vectorise as write
    from flows.requests.maps import Vectorising

    settings = {
        "nodata": nodata, "connectivity": None if connectivity is None else str(connectivity),
        "any_values": any_values, "min_area": min_area, "min_area_rule": min_area_rule,
        "fill_holes": fill_holes, "max_area": max_area, "unknown_below": unknown_below,
        "confidence": confidence,
        "simplify": simplify, "smooth": smooth, "max_vertices": max_vertices, "zones": zones,
        "dissolve": dissolve, "geopackage": geopackage,
    }  # fmt: skip
    places = {"map": raster_of(local(raster)), "out": os.fspath(out)}
    request = validate(Vectorising, **places, **drop_none(settings))
    if not request.any_values:
        check_raster(request.map, request.nodata)
    asked = {name: value for name, value in request if name not in ("map", "out", "any_values")}
    asked["connectivity"] = int(request.connectivity)
    with pool_of(workers, work_pieces(request.map), 2**30) as pool:
        features = write(request.map, request.out, pool, progress or silent, **asked)
    return Layer(request.out, features)


@unify_errors
def zones(
    raster: PathLike,
    zones: PathLike,
    out: PathLike,
    *,
    nodata: int | None = None,
    progress: Progress | None = None,
) -> Layer:
    """Measure the area of each class in each zone; a pixel on an outline counts by its part inside.

    Args:
        raster: A run, its folder, or a raster of one band of integers.
        zones: Polygon layer in any CRS.
        out: A `.gpkg`, `.parquet`, `.fgb`, `.shp` or `.geojson` file; the table stands beside it
            as CSV.
        nodata: Value to leave out; by default what the file says.
        progress: Called with the name of a stage, how much of it is done, and how much there is.

    Returns:
        The zones with their columns, and for each class its area in m² and its share.

    Raises:
        InputError: Where zones and map share no pixel with data.

    Examples:
        >>> import landweave as lw
        >>> lw.zones("run", "parcels.gpkg", "parcels_landcover.gpkg").frame
    """
    from flows.products.zones import zones as write

    written = write(
        Path(raster_of(local(raster))), Path(zones), Path(out), progress or silent, nodata=nodata
    )
    return Layer(written.layer, len(written.rows))


def local(place: PathLike) -> str:
    """The path of what is read on this machine alone; `InputError` where it is elsewhere."""
    path = os.fspath(place)
    if "://" in path:
        raise InputError(f"{path} is on an object store, and this is read from a disk; fetch it")
    return path
