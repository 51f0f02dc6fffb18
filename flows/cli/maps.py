"""Commands that make maps: of a scene, of many, of a place as time goes by."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli import requests
from flows.cli.options import Json
from flows.cli.show import (
    print_json,
    progress_bar,
    show_entries,
    show_files,
    show_objects,
    show_run,
    show_warnings,
    table,
)


def segment(request: requests.Request, on: requests.Cluster, as_json: Json = False) -> None:
    """Make a land-cover map of a scene: COG, GeoPackage, areas, quicklook.

    Without --segmenter published rules on reflectance decide; they need no training.

    Examples:
    landweave segment scene.tif --out run
    landweave segment S2.tif --bands blue=1,green=2,red=3,nir=4 --out run
    landweave segment blue=B02.tif green=B03.tif red=B04.tif nir=B08.tif -o run
    landweave segment scene.tif --segmenter my-model --min-area 5000 -o run
    """
    from flows.compute.cluster import cluster_from
    from flows.run import pipeline
    from flows.run.mask_first import mask_windows

    on = cluster_from(on.kind, on.workers, on.settings)
    with progress_bar(quiet=as_json) as progress:
        request = mask_windows(request, on=on, progress=progress)
        published = pipeline.run(request, on=on, progress=progress)
    show_run(published, as_json=as_json)


def plan(
    request: Annotated[
        requests.Request,
        requests.Part(without=("fresh", "reference"), other={"out": {"default": "landweave-plan"}}),
    ],
    as_json: Json = False,
) -> None:
    """Say what `segment` would do: images and bands found, tiles, shards, memory. Writes nothing.

    It takes the options of `segment`, so that the same line serves for both.

    Examples:
    landweave plan scene.tif
    landweave plan scene.tif --segmenter demo --json
    """
    from flows.composite.windows import windows_for_a_look
    from flows.plan.describe import describe
    from flows.plan.plan import facts_of, make_plan

    with windows_for_a_look(request.source) as source:
        made = make_plan(request.model_copy(update={"source": source}))
        if as_json:
            print_json(facts_of(made))
            return
        table(list(describe(made).items()), ("", ""))


def objects(
    request: requests.ObjectsRequest,
    on: requests.Cluster,
    plan_only: Annotated[
        bool, typer.Option("--plan", help="Say what would be done, and do nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Cut a scene into objects: outlines and numbers of what looks alike, without any class.

    Levels of objects from fine to coarse, superpixels, a watershed, zones, edges: the same for
    every tile and worker. Each object knows its size, shape and colour.

    Examples:
    landweave objects scene.tif --out objects
    landweave objects scene.tif --levels 4,8,16 --index NDVI -o levels
    landweave objects scene.tif --method superpixels --step 10 -o cells
    landweave objects scene.tif --method instances --segmenter fields -o fields
    """
    from flows.compute.cluster import cluster_from
    from flows.objects.run import run
    from flows.regions.plan import describe, facts_of, make_plan
    from flows.run.look import describe_look, facts_of_look, look, looks_first
    from flows.run.mask_first import mask_first

    if plan_only and looks_first(request):
        if as_json:
            print_json(facts_of_look(request))
        else:
            table(list(describe_look(request).items()), ("", ""))
        return
    if plan_only:
        made = make_plan(request)
        if as_json:
            print_json(facts_of(made))
        else:
            table(list(describe(made).items()), ("", ""))
        return
    on = cluster_from(on.kind, on.workers, on.settings)
    with progress_bar(quiet=as_json) as progress:
        source = mask_first(
            request.source, request.out, on=on, progress=progress, fresh=request.fresh
        )
        request = request.model_copy(update={"source": source})
        result = run(request, on=on, progress=progress, look=look)
    show_objects(result, as_json=as_json)


def collection(
    request: requests.CollectionRequest, on: requests.Cluster, as_json: Json = False
) -> None:
    """Segment many scenes alike, each into a folder of its own, with one report of all.

    The same command again does what is new or failed, and nothing else.

    Examples:
    landweave collection scenes/ --out maps
    landweave collection --stac https://catalogue.example/v1 \\
        --collection sentinel-2-l2a --bbox 13.2,50.5,13.6,50.8 \\
        --datetime 2024-06 --max-cloud 30 --out june
    """
    from dataclasses import asdict

    from flows.compute.cluster import cluster_from
    from flows.reports.catalogue import scene_warnings
    from flows.series.collection import collect

    on = cluster_from(on.kind, on.workers, on.settings)
    with progress_bar(quiet=as_json) as progress:
        result = collect(request, on=on, progress=progress)
    if as_json:
        entries = [asdict(entry) for entry in result.entries]
        about = {"warnings": result.warnings, "notes": result.notes}
        print_json(
            {
                "folder": result.folder,
                "entries": entries,
                "made": result.made,
                "files": result.files,
                **about,
            }
        )
    else:
        show_warnings((*result.warnings, *scene_warnings(result.entries)))
        show_entries(result.entries, {})
        print("".join(f"\n{note}" for note in result.notes))
        print(f"{len(result.made)} of {len(result.entries)} scenes were done now")
        show_files(result.files)
    result.check()


def monitor(request: requests.MonitorRequest, on: requests.Cluster, as_json: Json = False) -> None:
    """Map what is new in a folder, compare it with the map before, publish the series.

    Call it again at any time, for example from cron: it does what is missing, and nothing else.

    Examples:
    landweave monitor arriving/ --out valley
    landweave monitor arriving/ --zones parcels.gpkg --min-change-area 5000 -o v
    """
    from dataclasses import asdict

    from flows.compute.cluster import cluster_from
    from flows.series.monitor import monitor as catch_up

    on = cluster_from(on.kind, on.workers, on.settings)
    with progress_bar(quiet=as_json) as progress:
        watched = catch_up(request, on=on, progress=progress)
    series = watched.series
    if as_json:
        print_json(
            {
                "folder": watched.folder,
                "warnings": series.warnings,
                "notes": series.notes,
                "entries": [asdict(entry) for entry in series.entries],
                "unused": series.unused,
                "changes": [asdict(one) for one in series.changes],
                "made": watched.made,
                "compared": watched.compared,
                "files": watched.files,
            }
        )
        return
    show_warnings(series.all_warnings)
    show_entries(series.entries, series.unused)
    print("".join(f"\n{note}" for note in series.notes))
    print(f"new: {len(watched.made)} scenes, {len(watched.compared)} changes")
    show_files(watched.files)


def demo(
    drawn: requests.DrawnScene,
    method: Annotated[
        requests.Method,
        requests.Part(only=("segmenter",), other={"segmenter": {"default": "demo"}}),
    ],
    on: Annotated[requests.Cluster, requests.Part(only=("workers",))],
    as_json: Json = False,
) -> None:
    """Make a scene and its truth, segment it, and say how well that went.

    Leaves scene.tif and truth.tif beside the map: something to try all other commands on.

    Examples:
    landweave demo
    landweave demo --size 1024 --segmenter rules --out small
    """
    from flows.compute import cluster
    from flows.compute.work import Work
    from flows.demo import BLOCK, write_demo
    from flows.requests.request import Request
    from flows.requests.source import Source
    from flows.run import pipeline

    segmenter = method.value()
    with progress_bar(quiet=as_json) as progress:
        with cluster.start(on, Work((-(-drawn.size // BLOCK)) ** 2, 2**30)) as pool:
            scene, truth = write_demo(drawn.out, drawn.size, drawn.seed, pool, progress)
        request = Request(
            source=Source(paths=(str(scene),)),
            out=drawn.out,
            segmenter=segmenter,
            reference=str(truth),
            fresh=drawn.fresh,
        )
        published = pipeline.run(request, on=on, progress=progress)
    show_run(published, as_json=as_json)
    if not as_json:
        print(
            "\nThe scene and its truth are synthetic; the network was trained on landscapes of "
            "other seeds."
        )


def serve(
    port: Annotated[
        int,
        typer.Option("--port", metavar="N", min=1, max=65535, help="Port of the Prefect server."),
    ] = 4200,
    database: Annotated[
        str,
        typer.Option(
            "--database",
            metavar="URL",
            help="Where Prefect keeps its runs: postgresql://USER@HOST/NAME, or local-postgres, "
            "which starts one on "
            "this machine. By default SQLite, or what PREFECT_SERVER_DATABASE_CONNECTION_URL says.",
        ),
    ] = "",
    no_files: Annotated[
        bool,
        typer.Option(
            "--no-files", help="Give runs' files no addresses; LANDWEAVE_FILES=off does the same."
        ),
    ] = False,
) -> None:
    """Start a Prefect server on this machine with Landweave's flows ready to run.

    It prints its address, and runs until you stop it with Ctrl-C.

    Examples:
    landweave serve
    landweave serve --port 4300
    """
    from flows.deployments.serve import serve as start

    start(port=port, wanted=database, files=not no_files)
