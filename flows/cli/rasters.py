"""Commands that take a raster and measure it, judge it, compare it or turn it into polygons."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli.options import (
    Bands,
    Json,
    LeftOut,
    MinArea,
    MinAreaRule,
    MinConfidence,
    Out,
    SceneOptions,
    Simplify,
    Smooth,
    Workers,
)
from flows.cli.show import print_json, progress_bar, show_accuracy, show_change, show_files, table


def index(
    scene: Annotated[str, typer.Argument(metavar="SCENE", help="A raster.")],
    names: Annotated[
        list[str], typer.Argument(metavar="NAME…", help="Indices, such as NDVI; see `landweave indices`.")
    ],
    out: Out,
    *,
    options: SceneOptions,
) -> None:
    """Compute spectral indices, each a float32 COG with NaN as no data."""
    from flows.indices import write_indices

    source = options.source([scene])
    with progress_bar() as progress:
        written = write_indices(source, names, out, progress)
    for path in written:
        print(path)


def indices(
    scene: Annotated[str, typer.Argument(metavar="[SCENE]", help="Show which indices this raster allows.")] = "",
    bands: Bands = "",
) -> None:
    """List the spectral indices there are, and for a scene what each one lacks."""
    from flows.indices import list_indices

    opened = SceneOptions(bands=bands).source([scene]).open() if scene else None
    table(list_indices(opened), ("index", "what it is", "bands", "missing" if scene else "domain"))


def evaluate(
    map_path: Annotated[Path, typer.Argument(metavar="MAP", help="Class raster to judge.")],
    reference: Annotated[
        Path, typer.Argument(metavar="REFERENCE", help="What is right: a class raster, or polygons or points.")
    ],
    column: Annotated[str, typer.Option("--column", help="Column of the classes, where the reference is shapes.")] = "",
    map_classes: Annotated[
        str, typer.Option("--map-classes", metavar="A=B,…", help="Count A of the map as B; A= leaves it out.")
    ] = "",
    reference_classes: Annotated[
        str, typer.Option("--reference-classes", metavar="A=B,…", help="The same for the reference; A may be a name.")
    ] = "",
    mask: Annotated[Path | None, typer.Option("--mask", help="Raster that says where to look.")] = None,
    mask_value: Annotated[int, typer.Option("--mask-value", help="Its value there.")] = 1,
    on: Annotated[
        Literal["auto", "map", "reference"],
        typer.Option("--on", help="Whose grid; the map's, unless the reference is more than twice as fine."),
    ] = "auto",
    tolerance: Annotated[
        float | None,
        typer.Option("--tolerance", metavar="M", help="How far boundaries may lie apart; two pixels, 0 for none."),
    ] = None,
    confidence: Annotated[
        Path | None, typer.Option("--confidence", metavar="FILE", help="The map's; that beside classes.tif is found.")
    ] = None,
    bins: Annotated[int, typer.Option("--bins", help="Bins of confidence for the calibration error.")] = 15,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write tables and pictures into this folder.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures here too.")
    ] = None,
    workers: Workers = None,
) -> None:
    """Compare a class map with a reference: IoU, F1, accuracy, boundaries, calibration, estimated areas."""
    from flows import cluster
    from flows.evaluate import evaluate as compare
    from flows.evaluate import pieces
    from flows.figures import check_file, check_folder, write_accuracy, write_json
    from flows.request import pairs

    groups = [
        dict(pairs(option, text, str))
        for option, text in (("--map-classes", map_classes), ("--reference-classes", reference_classes))
    ]
    if out:
        check_folder(out)
    if json_file:
        check_file(json_file)
    shards = pieces(map_path)
    with (
        progress_bar() as progress,
        cluster.start(cluster.Cluster(workers=workers), shards=shards, worker_bytes=2**29) as pool,
    ):
        accuracy = compare(
            map_path, reference, column=column, map_classes=groups[0], reference_classes=groups[1], mask=mask,
            mask_value=mask_value, on=on, tolerance=tolerance, confidence=confidence, bins=bins, map=pool.map,
            progress=progress,
        )  # fmt: skip
    if json_file:
        write_json(accuracy, json_file)
    show_accuracy(accuracy)
    if out:
        show_files(write_accuracy(accuracy, out))


def vectorise(
    raster: Annotated[Path, typer.Argument(metavar="MASK", help="Class raster: one band of integers.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="A .gpkg, .parquet, .fgb, .shp or .geojson.")],
    nodata: LeftOut = None,
    connectivity: Annotated[
        int, typer.Option("--connectivity", metavar="4|8", help="With 8 pixels that touch at a corner belong together.")
    ] = 4,
    min_area: MinArea = 0.0,
    min_area_rule: MinAreaRule = "longest-border",
    simplify: Simplify = None,
    smooth: Smooth = 0,
    max_vertices: Annotated[
        int, typer.Option("--max-vertices", metavar="N", min=4, help="Cut polygons that have more.")
    ] = 1_000_000,
    zones: Annotated[
        Path | None,
        typer.Option("--zones", metavar="FILE", help="Cut along these polygons; features carry their columns."),
    ] = None,
    dissolve: Annotated[bool, typer.Option("--dissolve", help="One feature for each class, in each zone.")] = False,
    geopackage: Annotated[
        Literal["1.2", "1.3", "1.4"], typer.Option("--geopackage", help="Version of the GeoPackage.")
    ] = "1.2",
    workers: Workers = None,
) -> None:
    """Turn a class raster into polygons, with the names and colours it carries."""
    from flows import cluster
    from flows.vectorise import pieces
    from flows.vectorise import vectorise as write

    with (
        progress_bar() as progress,
        cluster.start(cluster.Cluster(workers=workers), shards=pieces(raster), worker_bytes=2**30) as pool,
    ):
        polygons = write(
            raster, out, pool, progress, nodata=nodata, min_area=min_area, min_area_rule=min_area_rule,
            connectivity=connectivity, simplify=simplify, smooth=smooth, max_vertices=max_vertices, zones=zones,
            dissolve=dissolve, geopackage=geopackage,
        )  # fmt: skip
    print(f"{polygons:,} {'features' if dissolve else 'polygons'}\n  {out}")


def zones(
    map_path: Annotated[Path, typer.Argument(metavar="MAP", help="Class raster: one band of integers.")],
    zones_path: Annotated[Path, typer.Argument(metavar="ZONES", help="Polygon layer in any CRS.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="A .gpkg, .parquet, .fgb, .shp or .geojson; a CSV beside it.")
    ],
    nodata: LeftOut = None,
) -> None:
    """Measure the area of each class in each zone; pixels on an outline count by their covered part."""
    from flows.zones import zones as write

    with progress_bar() as progress:
        written = write(map_path, zones_path, out, progress, nodata=nodata)
    for path in written:
        print(path)


def change(
    earlier: Annotated[str, typer.Argument(metavar="EARLIER", help="Folder of a run, or a class raster.")],
    later: Annotated[str, typer.Argument(metavar="LATER", help="The same of a later day; its pixels are compared.")],
    out: Out,
    classes: Annotated[
        str, typer.Option("--classes", metavar="A=B,…", help="Count A as B on both maps; A= leaves it out.")
    ] = "",
    nodata: Annotated[int | None, typer.Option("--nodata", help="No data, beside what each file says.")] = None,
    min_area: Annotated[
        float, typer.Option("--min-area", metavar="M2", min=0, help="A smaller patch of change has not happened.")
    ] = 0.0,
    min_confidence: MinConfidence = 0.0,
    simplify: Simplify = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Compare two maps: transition matrix, change raster, polygons, chart."""
    from flows import cluster
    from flows.change import ChangeRequest, pieces
    from flows.change import change as compare
    from flows.request import checked, pairs

    request = checked(
        ChangeRequest, earlier=earlier, later=later, out=out, classes=dict(pairs("--classes", classes, str)),
        nodata=nodata, min_area=min_area, min_confidence=min_confidence, simplify=simplify,
    )  # fmt: skip
    with (
        progress_bar(quiet=as_json) as progress,
        cluster.start(cluster.Cluster(workers=workers), shards=pieces(request), worker_bytes=2**30) as pool,
    ):
        result = compare(request, pool, progress)
    if as_json:
        print_json(result.to_dict())
        return
    show_change(result)
