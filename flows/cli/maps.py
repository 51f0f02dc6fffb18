"""Commands that make maps: of a scene, of many, of a place as time goes by."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import (
    Chosen,
    ClusterOptions,
    Date,
    Fresh,
    Json,
    MapOptions,
    MinConfidence,
    Out,
    Pattern,
    Reference,
    RunOut,
    SearchOptions,
    SourcesOrItems,
    Workers,
)
from flows.cli.show import print_json, progress_bar, show_entries, show_files, show_run, show_warnings, table


def segment(
    *,
    scene: SourcesOrItems = [],  # noqa: B006 - typer copies it
    out: RunOut,
    date: Date = "",
    looked: SearchOptions,
    options: MapOptions,
    where: ClusterOptions,
    reference: Reference = "",
    fresh: Fresh = False,
    as_json: Json = False,
) -> None:
    """Make a land-cover map of a scene: COG, GeoPackage, areas, quicklook."""
    from flows import pipeline

    request = options.request(scene, out, looked, date=date, reference=reference, fresh=fresh)
    on = where.cluster()
    with progress_bar(quiet=as_json) as progress:
        published = pipeline.run(request, on=on, progress=progress)
    show_run(published, as_json=as_json)


def plan(
    *,
    scene: SourcesOrItems = [],  # noqa: B006 - typer copies it
    out: RunOut = "landweave-plan",
    date: Date = "",
    looked: SearchOptions,
    options: MapOptions,
    as_json: Json = False,
) -> None:
    """Say what `segment` would do: images and bands found, tiles, shards, memory. Writes nothing."""
    from flows.plan import describe, make_plan

    facts = describe(make_plan(options.request(scene, out, looked, date=date)))
    if as_json:
        print_json(facts)
        return
    table([(key, value) for key, value in facts.items()], ("", ""))


def collection(
    *,
    scene: Annotated[
        list[str],
        typer.Argument(
            metavar="SCENE|FOLDER…",
            help="Rasters or STAC items, or folders in which each raster is a scene; none with --stac, where each day "
            "is a scene.",
        ),
    ] = [],  # noqa: B006 - typer copies it
    out: Out,
    pattern: Pattern = "",
    title: Annotated[str, typer.Option("--title", help="What the report is called.")] = "",
    looked: SearchOptions,
    options: MapOptions,
    where: ClusterOptions,
    fresh: Fresh = False,
) -> None:
    """Segment many scenes alike, each into a folder of its own, with one report of all."""
    from flows.collection import CollectionRequest, collect

    template = options.request(scene, out, looked, fresh=fresh)
    on = where.cluster()
    with progress_bar() as progress:
        result = collect(CollectionRequest(template=template, pattern=pattern, title=title), on=on, progress=progress)
    show_entries(result.entries, {})
    print(f"\n{len(result.made)} of {len(result.entries)} scenes were done now")
    show_files(result.files)
    result.check()


def monitor(
    *,
    watch: Annotated[
        list[str],
        typer.Argument(metavar="FOLDER…", help="Where new scenes arrive; none with --stac, where each day is one."),
    ] = [],  # noqa: B006 - typer copies it
    out: Out,
    title: Annotated[str, typer.Option("--title", help="What is watched.")] = "",
    pattern: Pattern = "",
    zones_path: Annotated[
        str, typer.Option("--zones", metavar="FILE", help="Polygon layer to measure each class in.")
    ] = "",
    max_invalid: Annotated[
        float, typer.Option("--max-invalid", metavar="PART", min=0, max=1, help="Most cloud and no data, 0 to 1.")
    ] = 0.3,
    expect_days: Annotated[
        int, typer.Option("--expect-days", metavar="N", min=0, help="Warn where imagery is older; 0: never.")
    ] = 0,
    min_change_area: Annotated[
        float, typer.Option("--min-change-area", metavar="M2", min=0, help="A smaller patch is no change.")
    ] = 0.0,
    min_confidence: MinConfidence = 0.0,
    settle: Annotated[
        float, typer.Option("--settle", metavar="S", min=0, help="Seconds a file must lie untouched.")
    ] = 30.0,
    looked: SearchOptions,
    options: MapOptions,
    where: ClusterOptions,
) -> None:
    """Map what is new in a folder, compare it with the map before, publish the series. Call it again at any time."""
    from flows.monitor import MonitorRequest
    from flows.monitor import monitor as catch_up
    from flows.request import checked

    template = options.request(watch, out, looked)
    request = checked(
        MonitorRequest, template=template, title=title, pattern=pattern, zones=zones_path, max_invalid=max_invalid,
        expect_days=expect_days, min_change_area=min_change_area, min_confidence=min_confidence, settle_seconds=settle,
    )  # fmt: skip
    on = where.cluster()
    with progress_bar() as progress:
        watched = catch_up(request, on=on, progress=progress)
    show_warnings(watched.series.warnings)
    show_entries(watched.series.entries, watched.series.unused)
    print(f"\nnew: {len(watched.made)} scenes, {len(watched.compared)} changes")
    show_files(watched.files)


def demo(
    out: Out = Path("demo-run"),
    size: Annotated[int, typer.Option("--size", metavar="PX", min=64, help="Width and height of the scene.")] = 4096,
    seed: Annotated[int, typer.Option("--seed", help="Which landscape.")] = 0,
    segmenter: Chosen = "network",
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Make a scene and its truth, segment it, and say how well that went."""
    from flows import cluster, pipeline
    from flows.demo import BLOCK, write_demo
    from flows.request import Request, Source, choose_segmenter

    chosen = choose_segmenter(segmenter, {})
    with progress_bar(quiet=as_json) as progress:
        with cluster.start(
            cluster.Cluster(workers=workers), shards=(-(-size // BLOCK)) ** 2, worker_bytes=2**30
        ) as pool:
            scene, truth = write_demo(out, size, seed, pool, progress)
        request = Request(source=Source(paths=(str(scene),)), out=out, segmenter=chosen, reference=str(truth))
        published = pipeline.run(request, on=cluster.Cluster(workers=workers), progress=progress)
    show_run(published, as_json=as_json)
    if not as_json:
        print("\nThe scene and its truth are synthetic; the network was trained on landscapes of other seeds.")


def serve(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port of the Prefect server.")] = 4200,
    database: Annotated[
        str,
        typer.Option(
            "--database",
            metavar="URL",
            help="Where Prefect keeps its runs: postgresql://USER@HOST/NAME, or local-postgres, which starts one on "
            "this machine. By default SQLite, or what PREFECT_SERVER_DATABASE_CONNECTION_URL says.",
        ),
    ] = "",
) -> None:
    """Start a Prefect server on this machine with Landweave's flows ready to run."""
    from flows.serve import serve as start

    start(port=port, wanted=database)
