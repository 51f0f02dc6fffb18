"""Commands that take a raster and measure it, judge it, compare it or turn it into polygons."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli import requests
from flows.cli.options import Json
from flows.cli.show import (
    print_json,
    progress_bar,
    show_accuracy,
    show_files,
    show_object_accuracy,
    show_warnings,
    table,
)


def index(request: requests.IndexRequest, as_json: Json = False) -> None:
    """Compute spectral indices, each a float32 COG with NaN as no data.

    Examples:
    landweave index scene.tif NDVI MNDWI --out indices
    landweave index naip.tif NDVI --bands red=1,green=2,blue=3,nir=4 -o indices
    landweave index images/ NDVI --window may=2024-05 -o indices
    """
    from flows.composite.windows import FOLDER, each_window, stack_windows
    from flows.products.index_rasters import write_indices
    from flows.run.mask_first import mask_first

    with progress_bar(quiet=as_json) as progress:
        source = mask_first(request.whole_source, request.out, progress=progress)
        show_warnings(source.notes)
        source = stack_windows(source, request.out / FOLDER, progress=progress)
        written = [
            path
            for window, scene in each_window(source)
            for path in write_indices(scene, request.names, request.out / window, progress)
        ]
    if as_json:
        names = (path.relative_to(request.out).with_suffix("") for path in written)
        print_json({"files": dict(zip(map(str, names), written, strict=True))})
        return
    for path in written:
        print(path)


def composite(
    request: requests.CompositeRequest,
    on: Annotated[requests.Cluster, requests.Part(only=("workers",))],
    as_json: Json = False,
) -> None:
    """Make one image of several dates: each pixel from those on which it is valid.

    The last band, looks, counts them.

    Examples:
    landweave composite may.tif june.tif july.tif --out summer.tif
    landweave composite S2*_2024*.tif --method max=NDVI -o greenest.tif
    """
    from flows.composite.write import open_request, work_of, write_composite
    from flows.compute import cluster
    from flows.run.mask_first import open_masked
    from segmentation.spectral.composites import method_of

    method = method_of(request.method)
    with progress_bar(quiet=as_json) as progress:
        images = open_masked(request, open_request, on=on, progress=progress)
        show_warnings(images.notes)
        with cluster.start(on, work_of(images, method)) as pool:
            written = write_composite(images, method, request.out, pool, progress)
    if as_json:
        print_json({"file": written.raster, "item": written.item, "images": len(images.scenes)})
        return
    show_files(written)


def series(
    request: requests.SeriesRequest,
    on: Annotated[requests.Cluster, requests.Part(only=("workers",))],
    as_json: Json = False,
) -> None:
    """Follow spectral indices through images of several dates, in each zone of a layer or pixel by
    pixel.

    Of zones it writes a row for each zone, date and index, layers that QGIS plays in time, and
    charts; of pixels rasters of trends, curves and seasons.

    Examples:
    landweave series S2*_2024*.tif --index NDVI --zones fields.gpkg -o season
    landweave series S2*_2024*.tif --index NDVI --smooth 10 -o season
    """
    from flows.compute import cluster
    from flows.run.mask_first import open_masked
    from flows.timeseries.run import open_series, run_series, sort_words

    with progress_bar(quiet=as_json) as progress:
        plan = open_masked(sort_words(request), open_series, on=on, progress=progress)
        show_warnings(plan.images.notes)
        with cluster.start(on, plan.work) as pool:
            made = run_series(plan, pool, progress)
    if as_json:
        print_json({"files": made.files, "images": len(plan.images.scenes)})
        return
    show_files(made.files)


def indices(
    scene: Annotated[
        str, typer.Argument(metavar="[SCENE]", help="Show which indices this raster allows.")
    ] = "",
    *,
    source: Annotated[requests.Source, requests.Part(only=("bands",))],
    as_json: Json = False,
) -> None:
    """List the spectral indices there are, and for a scene what each one lacks.

    Examples:
    landweave indices
    landweave indices scene.tif
    """
    from flows.products.index_rasters import index_facts, list_indices

    opened = source.model_copy(update={"paths": (scene,)}).open() if scene else None
    if as_json:
        print_json(index_facts(opened))
        return
    table(list_indices(opened), ("index", "what it is", "bands", "missing" if scene else "domain"))


def evaluate(
    request: requests.Evaluation,
    on: Annotated[requests.Cluster, requests.Part(only=("workers",))],
    as_json: Json = False,
) -> None:
    """Compare a class map with a reference: IoU, F1, accuracy, boundaries, calibration, estimated
    areas.

    Examples:
    landweave evaluate demo-run/classes.tif demo-run/truth.tif --out figures
    landweave evaluate run/classes.tif plots.gpkg --column name
    landweave evaluate objects.gpkg buildings.gpkg --objects
    landweave evaluate run/classes.tif truth.tif \\
        --map-classes '5=Open land,6=Open land' --reference-classes 7=5
    """
    from flows.assessment.evaluate import evaluate as compare
    from flows.assessment.evaluate import work_pieces
    from flows.assessment.figures import write_accuracy
    from flows.compute import cluster
    from flows.compute.work import Work
    from tiling.io.files import check_folder

    if request.out:
        check_folder(request.out)
    if request.objects:
        _evaluate_objects(request, on, as_json)
        return
    shards = work_pieces(request.map)
    with (
        progress_bar(quiet=as_json) as progress,
        cluster.start(on, Work(shards, 2**29)) as pool,
    ):
        accuracy = compare(
            request.map, request.reference, map=pool.map, progress=progress, **request.settings
        )
    files = write_accuracy(accuracy, request.out) if request.out else ()
    if as_json:
        print_json(accuracy.to_dict() | {"files": files})
        return
    show_accuracy(accuracy)
    show_files(files)


def _evaluate_objects(request: requests.Evaluation, on: requests.Cluster, as_json: bool) -> None:
    from flows.assessment.figures import write_object_accuracy
    from flows.assessment.match_objects import evaluate_objects, work_pieces
    from flows.compute import cluster
    from flows.compute.work import Work

    settings = request.object_settings
    pieces = work_pieces(request.map, request.reference)
    with (
        progress_bar(quiet=as_json) as progress,
        cluster.start(on, Work(pieces, 2**29)) as pool,
    ):
        accuracy = evaluate_objects(
            request.map, request.reference, map=pool.map, progress=progress, **settings
        )
    files = write_object_accuracy(accuracy, request.out) if request.out else ()
    if as_json:
        print_json(accuracy.to_dict() | {"files": files})
        return
    show_object_accuracy(accuracy)
    show_files(files)


def vectorise(
    request: requests.Vectorising,
    on: Annotated[requests.Cluster, requests.Part(only=("workers",))],
    as_json: Json = False,
) -> None:
    """Turn a class raster into polygons, with the names and colours it carries.

    Examples:
    landweave vectorise classes.tif --out classes.gpkg --min-area 5000
    landweave vectorise classes.tif --zones parcels.gpkg --dissolve -o p.parquet
    """
    from flows.compute import cluster
    from flows.compute.work import Work
    from flows.products.vectorise import area_warnings, check_raster, work_pieces
    from flows.products.vectorise import vectorise as write

    if not request.any_values:
        check_raster(request.map, request.nodata)
    show_warnings(area_warnings(request.min_area, request.map))
    asked = dict(request)
    raster, out, _ = (asked.pop(name) for name in ("map", "out", "any_values"))
    asked["connectivity"] = int(request.connectivity)
    with (
        progress_bar(quiet=as_json) as progress,
        cluster.start(on, Work(work_pieces(raster), 2**30)) as pool,
    ):
        polygons = write(raster, out, pool, progress, **asked)
    if as_json:
        print_json({"file": out, "features": polygons})
        return
    print(f"{polygons:,} {'features' if request.dissolve else 'polygons'}\n  {out}")
    if out.suffix.lower() == ".geojson":
        size = out.stat().st_size / 1e6
        print(
            f"{size:,.1f} MB of GeoJSON, which readers load whole; beyond some 10 MB take .gpkg, "
            ".fgb or .parquet"
        )


def zones(request: requests.ZonesRequest, as_json: Json = False) -> None:
    """Measure the area of each class in each zone; pixels on an outline count by their covered
    part.

    Writes the zones with their areas, and the same table as CSV beside it.

    Examples:
    landweave zones run/classes.tif parcels.gpkg --out parcels_landcover.gpkg
    """
    from flows.products.zones import zones as write

    with progress_bar(quiet=as_json) as progress:
        written = write(
            Path(request.map), Path(request.zones), request.out, progress, nodata=request.nodata
        )
    if as_json:
        print_json({"files": [written.layer, written.table], "zones": written.rows})
        return
    show_files([written.layer, written.table])


def change(
    request: requests.ChangeRequest,
    on: Annotated[requests.Cluster, requests.Part(only=("workers",))],
    as_json: Json = False,
) -> None:
    """Compare two maps: transition matrix, change raster, polygons, chart. Or two days' objects.

    Examples:
    landweave change run-2019 run-2024 --out change --min-change-area 5000
    landweave change run-2019 run-2024 --classes 'Crops=Open,Bare soil=Open' -o c
    landweave change fields-2019 fields-2024 --objects --out change
    """
    from flows.change.detect import compare, work_pieces
    from flows.cli.show_change import show_change
    from flows.compute import cluster
    from flows.compute.work import Work

    with (
        progress_bar(quiet=as_json) as progress,
        cluster.start(on, Work(work_pieces(request), 2**30)) as pool,
    ):
        result = compare(request, pool, progress)
    if as_json:
        print_json(result.to_dict())
        return
    show_change(result)
