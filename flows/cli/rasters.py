"""Commands that take a raster and measure it, judge it, compare it or turn it into polygons."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli.options import (
    PRODUCTS,
    Bands,
    Fresh,
    Json,
    LeftOut,
    MinArea,
    MinAreaRule,
    MinChangeArea,
    MinConfidence,
    Out,
    SceneOptions,
    Simplify,
    Smooth,
    VectorOut,
    Workers,
)
from flows.cli.show import (
    print_json,
    progress_bar,
    show_accuracy,
    show_change,
    show_files,
    show_warnings,
    table,
)

COMPARED = "What is compared"


def index(
    scene: Annotated[str, typer.Argument(metavar="SCENE", help="A raster.")],
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME…", help="Indices, such as NDVI; see `landweave indices`."),
    ],
    out: Out,
    as_json: Json = False,
    *,
    options: SceneOptions,
) -> None:
    """Compute spectral indices, each a float32 COG with NaN as no data.

    Examples:
    landweave index scene.tif NDVI MNDWI --out indices
    landweave index naip.tif NDVI --bands red=1,green=2,blue=3,nir=4 -o indices
    """
    from flows.parsing import words
    from flows.products.index_rasters import write_indices

    source = options.source([scene])
    with progress_bar(quiet=as_json) as progress:
        written = write_indices(source, words(names), out, progress)
    if as_json:
        print_json({"files": {path.stem: path for path in written}})
        return
    for path in written:
        print(path)


def indices(
    scene: Annotated[
        str, typer.Argument(metavar="[SCENE]", help="Show which indices this raster allows.")
    ] = "",
    bands: Bands = [],  # noqa: B006 - typer copies it
    as_json: Json = False,
) -> None:
    """List the spectral indices there are, and for a scene what each one lacks.

    Examples:
    landweave indices
    landweave indices scene.tif
    """
    from flows.products.index_rasters import index_facts, list_indices

    opened = SceneOptions(bands=bands).source([scene]).open() if scene else None
    if as_json:
        print_json(index_facts(opened))
        return
    table(list_indices(opened), ("index", "what it is", "bands", "missing" if scene else "domain"))


def evaluate(
    map_path: Annotated[Path, typer.Argument(metavar="MAP", help="Class raster to judge.")],
    reference: Annotated[
        Path,
        typer.Argument(
            metavar="REFERENCE", help="What is right: a class raster, or polygons or points."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Write tables and pictures into this folder."
        ),
    ] = None,
    as_json: Json = False,
    column: Annotated[
        str,
        typer.Option(
            "--column",
            metavar="NAME",
            help="Column of the classes, where the reference is shapes.",
            rich_help_panel=COMPARED,
        ),
    ] = "",
    map_classes: Annotated[
        list[str],
        typer.Option(
            "--map-classes",
            metavar="A=B,…",
            help="Count A of the map as B, a class of the map or a new name; A= leaves it out.",
            rich_help_panel=COMPARED,
        ),
    ] = [],  # noqa: B006 - typer copies it
    reference_classes: Annotated[
        list[str],
        typer.Option(
            "--reference-classes",
            metavar="A=B,…",
            help="Count A of the reference as B of the map; A may be a name.",
            rich_help_panel=COMPARED,
        ),
    ] = [],  # noqa: B006 - typer copies it
    mask: Annotated[
        Path | None,
        typer.Option(
            "--mask",
            metavar="FILE",
            help="Raster that says where to look.",
            rich_help_panel=COMPARED,
        ),
    ] = None,
    mask_value: Annotated[
        int,
        typer.Option(
            "--mask-value", metavar="V", help="Its value there.", rich_help_panel=COMPARED
        ),
    ] = 1,
    on: Annotated[
        Literal["auto", "map", "reference"],
        typer.Option(
            "--on",
            help="Whose grid; the map's, unless the reference is more than twice as fine.",
            rich_help_panel=COMPARED,
        ),
    ] = "auto",
    tolerance: Annotated[
        float | None,
        typer.Option(
            "--tolerance",
            metavar="M",
            help="How far boundaries may lie apart; two pixels by default, 0 compares none.",
            rich_help_panel=COMPARED,
        ),
    ] = None,
    confidence: Annotated[
        Path | None,
        typer.Option(
            "--confidence",
            metavar="FILE",
            help="The map's; that beside classes.tif is found.",
            rich_help_panel=COMPARED,
        ),
    ] = None,
    bins: Annotated[
        int,
        typer.Option(
            "--bins",
            metavar="N",
            help="Bins of confidence for the calibration error.",
            rich_help_panel=COMPARED,
        ),
    ] = 15,
    workers: Workers = None,
) -> None:
    """Compare a class map with a reference: IoU, F1, accuracy, boundaries, calibration, estimated
    areas.

    Examples:
    landweave evaluate demo-run/classes.tif demo-run/truth.tif --out figures
    landweave evaluate run/classes.tif plots.gpkg --column name
    landweave evaluate run/classes.tif truth.tif \\
        --map-classes '5=Open land,6=Open land' --reference-classes 7=5
    """
    from flows.assessment.evaluate import evaluate as compare
    from flows.assessment.evaluate import work_pieces
    from flows.assessment.figures import write_accuracy
    from flows.compute import cluster
    from flows.parsing import pairs
    from tiling.io.files import check_folder

    groups = [
        dict(pairs(option, texts, str))
        for option, texts in (
            ("--map-classes", map_classes),
            ("--reference-classes", reference_classes),
        )
    ]
    if out:
        check_folder(out)
    shards = work_pieces(map_path)
    with (
        progress_bar(quiet=as_json) as progress,
        cluster.start(cluster.Cluster(workers=workers), cluster.Work(shards, 2**29)) as pool,
    ):
        accuracy = compare(
            map_path, reference, column=column, map_classes=groups[0], reference_classes=groups[1],
            mask=mask,
            mask_value=mask_value, on=on, tolerance=tolerance, confidence=confidence, bins=bins,
            map=pool.map,
            progress=progress,
        )  # fmt: skip
    files = write_accuracy(accuracy, out) if out else ()
    if as_json:
        print_json(accuracy.to_dict() | {"files": files})
        return
    show_accuracy(accuracy)
    show_files(files)


def vectorise(
    raster: Annotated[
        Path, typer.Argument(metavar="MAP", help="Class raster: one band of integers.")
    ],
    out: VectorOut,
    as_json: Json = False,
    nodata: LeftOut = None,
    connectivity: Annotated[
        Literal["4", "8"],
        typer.Option(
            "--connectivity", help="With 8 pixels that touch at a corner belong together."
        ),
    ] = "4",
    any_values: Annotated[
        bool,
        typer.Option(
            "--any-values",
            help="Insist, where a raster looks like measurements and each level would be a class.",
        ),
    ] = False,
    min_area: MinArea = 0.0,
    min_area_rule: MinAreaRule = "longest-border",
    simplify: Simplify = None,
    smooth: Smooth = 0,
    max_vertices: Annotated[
        int,
        typer.Option(
            "--max-vertices",
            metavar="N",
            min=4,
            help="Cut polygons that have more.",
            rich_help_panel=PRODUCTS,
        ),
    ] = 1_000_000,
    zones: Annotated[
        Path | None,
        typer.Option(
            "--zones",
            metavar="FILE",
            help="Cut along these polygons; features carry their columns.",
            rich_help_panel=PRODUCTS,
        ),
    ] = None,
    dissolve: Annotated[
        bool,
        typer.Option(
            "--dissolve", help="One feature for each class, in each zone.", rich_help_panel=PRODUCTS
        ),
    ] = False,
    geopackage: Annotated[
        Literal["1.2", "1.3", "1.4"],
        typer.Option("--geopackage", help="Version of the GeoPackage.", rich_help_panel=PRODUCTS),
    ] = "1.2",
    workers: Workers = None,
) -> None:
    """Turn a class raster into polygons, with the names and colours it carries.

    Examples:
    landweave vectorise classes.tif --out classes.gpkg --min-area 5000
    landweave vectorise classes.tif --zones parcels.gpkg --dissolve -o p.parquet
    """
    from flows.compute import cluster
    from flows.products.vectorise import area_warnings, check_raster, work_pieces
    from flows.products.vectorise import vectorise as write

    if not any_values:
        check_raster(raster, nodata)
    show_warnings(area_warnings(min_area, raster))
    with (
        progress_bar(quiet=as_json) as progress,
        cluster.start(
            cluster.Cluster(workers=workers), cluster.Work(work_pieces(raster), 2**30)
        ) as pool,
    ):
        polygons = write(
            raster, out, pool, progress, nodata=nodata, min_area=min_area,
            min_area_rule=min_area_rule,
            connectivity=int(connectivity), simplify=simplify, smooth=smooth,
            max_vertices=max_vertices, zones=zones,
            dissolve=dissolve, geopackage=geopackage,
        )  # fmt: skip
    if as_json:
        print_json({"file": out, "features": polygons})
        return
    print(f"{polygons:,} {'features' if dissolve else 'polygons'}\n  {out}")
    if out.suffix.lower() == ".geojson":
        size = out.stat().st_size / 1e6
        print(
            f"{size:,.1f} MB of GeoJSON, which readers load whole; beyond some 10 MB take .gpkg, "
            ".fgb or .parquet"
        )


def zones(
    map_path: Annotated[
        Path, typer.Argument(metavar="MAP", help="Class raster: one band of integers.")
    ],
    zones_path: Annotated[Path, typer.Argument(metavar="ZONES", help="Polygon layer in any CRS.")],
    out: VectorOut,
    as_json: Json = False,
    nodata: LeftOut = None,
) -> None:
    """Measure the area of each class in each zone; pixels on an outline count by their covered
    part.

    Writes the zones with their areas, and the same table as CSV beside it.

    Examples:
    landweave zones run/classes.tif parcels.gpkg --out parcels_landcover.gpkg
    """
    from flows.products.zones import zones as write

    with progress_bar(quiet=as_json) as progress:
        written = write(map_path, zones_path, out, progress, nodata=nodata)
    if as_json:
        print_json({"files": [written.layer, written.table], "zones": written.rows})
        return
    show_files([written.layer, written.table])


def change(
    earlier: Annotated[
        str, typer.Argument(metavar="EARLIER", help="Folder of a run, or a class raster.")
    ],
    later: Annotated[
        str,
        typer.Argument(metavar="LATER", help="The same of a later day; its pixels are compared."),
    ],
    out: Out,
    fresh: Fresh = False,
    as_json: Json = False,
    classes: Annotated[
        list[str],
        typer.Option(
            "--classes", metavar="A=B,…", help="Count A as B on both maps; A= leaves it out."
        ),
    ] = [],  # noqa: B006 - typer copies it
    nodata: Annotated[
        int | None,
        typer.Option("--nodata", metavar="V", help="No data, beside what each file says."),
    ] = None,
    min_change_area: MinChangeArea = 0.0,
    min_confidence: MinConfidence = 0.0,
    simplify: Simplify = None,
    workers: Workers = None,
) -> None:
    """Compare two maps: transition matrix, change raster, polygons, chart.

    Examples:
    landweave change run-2019 run-2024 --out change --min-change-area 5000
    landweave change run-2019 run-2024 --classes 'Crops=Open,Bare soil=Open' -o c
    """
    from flows.change.detect import change as compare
    from flows.change.detect import work_pieces
    from flows.compute import cluster
    from flows.parsing import pairs, validate
    from flows.requests.change import ChangeRequest

    request = validate(
        ChangeRequest, earlier=earlier, later=later, out=out, classes=dict(pairs("--classes",
        classes, str)),
        nodata=nodata, min_area=min_change_area, min_confidence=min_confidence, simplify=simplify,
        fresh=fresh,
    )  # fmt: skip
    with (
        progress_bar(quiet=as_json) as progress,
        cluster.start(
            cluster.Cluster(workers=workers), cluster.Work(work_pieces(request), 2**30)
        ) as pool,
    ):
        result = compare(request, pool, progress)
    if as_json:
        print_json(result.to_dict())
        return
    show_change(result)
