"""The command line: reads what a person typed, calls the pipeline, prints what came out.

Nothing heavy is imported before a command runs, so that `--help` answers at once.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from flows.catalogue import Entry
    from flows.change import Change
    from flows.progress import Progress
    from flows.report import Published
    from flows.request import Request
    from segmentation.accuracy import Accuracy
    from segmentation.card import Card
    from segmentation.estimation import AreaEstimates
    from segmentation.segmenter import Segmenter

app = typer.Typer(
    name="landweave",
    help="Segment land use on large GeoTIFFs: a scene goes in, a styled GeoPackage and a COG come out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

# ---------------------------------------------------------------------------------------------------------- arguments

Sources = Annotated[
    list[str], typer.Argument(metavar="SCENE…", help="A raster, or its single-band files (also blue=PATH).")
]


def on_disk(path: Path) -> Path:
    """A path that is no address."""
    if ":/" in str(path):
        from tiling.errors import Mistake

        raise Mistake(f"--out {str(path).replace(':/', '://', 1)}: only segment writes to stores; name a folder")
    return path


Out = Annotated[
    Path,
    typer.Option("--out", help="Folder of the run; made if need be, resumed if it is there.", callback=on_disk),
]
RunOut = Annotated[
    str,
    typer.Option(
        "--out",
        metavar="DIR|URL",
        help="Folder of the run, on a disk or as s3://…, gs://… or az://…; made if need be, resumed if it is there.",
    ),
]
Chosen = Annotated[
    str, typer.Option("--segmenter", help="A kind (see `landweave segmenters`), a bundle's folder or id, a YAML file.")
]
Settings = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="A setting of the segmenter; repeatable.")
]
Bands = Annotated[str, typer.Option("--bands", metavar="NAME=N,…", help="What the bands are: red=1,green=2,…")]
NoData = Annotated[float | None, typer.Option("--nodata", help="Pixel value that means no data.")]
Scale = Annotated[float | None, typer.Option("--scale", help="Reflectance = pixel × scale + offset.")]
Offset = Annotated[float | None, typer.Option("--offset", help="Reflectance = pixel × scale + offset.")]
Mask = Annotated[
    str, typer.Option("--mask", metavar="band=N|FILE", help="Band or raster that marks pixels to leave out.")
]
MaskValues = Annotated[
    str, typer.Option("--mask-values", metavar="V,…", help="Its values to leave out; else all but 0.")
]
Date = Annotated[str, typer.Option("--date", metavar="YYYY-MM-DD", help="Day of the image.")]
Aoi = Annotated[str, typer.Option("--aoi", metavar="FILE", help="Polygons that bound the products.")]
TileSize = Annotated[
    int | None, typer.Option("--tile", metavar="PX", help="Core of a tile; the segmenter's own by default.")
]
Margin = Annotated[int | None, typer.Option("--margin", metavar="PX", help="What a network sees around a tile.")]
ShardSize = Annotated[
    int, typer.Option("--shard", metavar="PX", min=1, help="Piece sent to a worker; changes no result.")
]
Workers = Annotated[
    int | None, typer.Option("--workers", min=0, help="Worker processes; fitted to the machine by default.")
]
ClusterName = Annotated[
    str,
    typer.Option(
        "--cluster",
        metavar="NAME|ADDRESS|FILE",
        help="local, a Dask scheduler's tcp:// or tls:// address, cuda, kubernetes, slurm, gateway, or a YAML file.",
    ),
]
ClusterSettings = Annotated[
    list[str], typer.Option("--cluster-set", metavar="KEY=VALUE", help="A setting of the cluster; repeatable.")
]
ProductNames = Annotated[
    str,
    typer.Option(
        "--products", help="Of classes,confidence,vectors,probabilities,entropy,margin; the classes always come."
    ),
]
MinArea = Annotated[
    float, typer.Option("--min-area", metavar="M2", min=0, help="Smaller regions go to a neighbour; 0 keeps all.")
]
MinAreaRule = Annotated[
    Literal["longest-border", "largest"], typer.Option("--min-area-rule", help="To which neighbour they go.")
]
Simplify = Annotated[
    float | None,
    typer.Option(
        "--simplify",
        metavar="M",
        min=0,
        help="About how far, in metres, boundaries may move to be straight: 0.75 pixel by default, 0 keeps the pixels.",
    ),
]
IndexMeans = Annotated[
    list[str], typer.Option("--index", metavar="NAME", help="An index whose mean each polygon gets; repeatable.")
]
Reference = Annotated[str, typer.Option("--reference", metavar="FILE", help="Class raster to compare the map with.")]
PreflightOption = Annotated[
    Literal["refuse", "warn"],
    typer.Option("--preflight", help="Where the pixels are not what a model was trained on."),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Compute everything again.")]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable output only.")]


def request_from(
    sources: list[str],
    out: str,
    segmenter: str,
    settings: list[str],
    bands: str,
    nodata: float | None,
    scale: float | None,
    offset: float | None,
    mask: str,
    mask_values: str,
    date: str,
    aoi: str,
    tile: int | None,
    margin: int | None,
    shard: int,
    products: str,
    reference: str,
    fresh: bool,
    min_area: float = 0.0,
    min_area_rule: Literal["longest-border", "largest"] = "longest-border",
    simplify: float | None = None,
    indices: Sequence[str] = (),
    preflight: Literal["refuse", "warn"] = "refuse",
) -> Request:
    """The request a person typed."""
    from flows.request import Request, Source, checked, number, pairs

    source = checked(
        Source,
        paths=sources,
        bands=dict(pairs("--bands", bands, int)),
        nodata=nodata,
        scale=scale,
        offset=offset,
        mask=mask,
        mask_values=[number("--mask-values", text, int) for text in mask_values.split(",") if text],
        date=date or None,
    )
    chosen = choose_segmenter(segmenter, settings, tile=tile, margin=margin)
    wanted = [name.strip() for name in products.split(",") if name.strip()]
    return checked(
        Request,
        source=source,
        out=out,
        segmenter=chosen,
        aoi=aoi,
        shard=shard,
        products=wanted,
        reference=reference,
        fresh=fresh,
        min_area=min_area,
        min_area_rule=min_area_rule,
        simplify=simplify,
        indices=indices,
        preflight=preflight,
    )


def choose_segmenter(name: str, settings: list[str], **extra: int | None) -> Segmenter:
    """The segmenter a person named: a kind, a bundle's folder or id, or a YAML file, with settings laid over it."""
    from flows.request import segmenter_from
    from flows.settings import read_settings
    from segmentation.bundle import load
    from segmentation.errors import Mistake
    from segmentation.weights import refuse_checkpoint

    given = settings_of("--set", settings)
    given |= {key: value for key, value in extra.items() if value is not None}
    if name.startswith("hf://"):
        from segmentation.hub import fetched

        name = str(fetched(name))
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        loaded = read_settings(path, "kind: rules")
        if "kind" not in loaded:
            raise Mistake(f"{name} must be a mapping with a kind, for example kind: rules")
        return segmenter_from(str(loaded["kind"]), {**{k: v for k, v in loaded.items() if k != "kind"}, **given})
    if path.is_dir():
        return segmenter_from(load(path).card.model.kind, {"bundle": name, **given})
    refuse_checkpoint(path)
    return segmenter_from(name, given)


def settings_of(option: str, texts: list[str]) -> dict[str, Any]:
    """The values of a repeatable KEY=VALUE, read as YAML: numbers, lists and switches are what they look like."""
    from flows.settings import value_of
    from tiling.errors import Mistake

    given: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise Mistake(f"{option} {text} has no value; write {option} {key}=VALUE")
        given[key] = value_of(f"{option} {text}", value)
    return given


# ----------------------------------------------------------------------------------------------------------- commands


@app.command()
def segment(
    scene: Sources,
    out: RunOut,
    segmenter: Chosen = "rules",
    settings: Settings = [],  # noqa: B006 - typer copies it
    bands: Bands = "",
    nodata: NoData = None,
    scale: Scale = None,
    offset: Offset = None,
    mask: Mask = "",
    mask_values: MaskValues = "",
    date: Date = "",
    aoi: Aoi = "",
    tile: TileSize = None,
    margin: Margin = None,
    shard: ShardSize = 2048,
    workers: Workers = None,
    cluster: ClusterName = "local",
    cluster_set: ClusterSettings = [],  # noqa: B006 - typer copies it
    products: ProductNames = "classes,confidence,vectors",
    min_area: MinArea = 0.0,
    min_area_rule: MinAreaRule = "longest-border",
    simplify: Simplify = None,
    index: IndexMeans = [],  # noqa: B006 - typer copies it
    reference: Reference = "",
    preflight: PreflightOption = "refuse",
    fresh: Fresh = False,
    as_json: Json = False,
) -> None:
    """Make a land-cover map of a scene: COG, GeoPackage, areas, quicklook."""
    request = request_from(
        scene, out, segmenter, settings, bands, nodata, scale, offset, mask, mask_values, date, aoi, tile, margin,
        shard, products, reference, fresh, min_area, min_area_rule, simplify, index, preflight,
    )  # fmt: skip
    from flows import pipeline
    from flows.cluster import cluster_from

    on = cluster_from(cluster, workers, settings_of("--cluster-set", cluster_set))
    with progress_bar(quiet=as_json) as progress:
        published = pipeline.run(request, on=on, progress=progress)
    show(published, as_json=as_json)


@app.command()
def plan(
    scene: Sources,
    out: RunOut = "landweave-plan",
    segmenter: Chosen = "rules",
    settings: Settings = [],  # noqa: B006 - typer copies it
    bands: Bands = "",
    nodata: NoData = None,
    scale: Scale = None,
    offset: Offset = None,
    mask: Mask = "",
    mask_values: MaskValues = "",
    date: Date = "",
    aoi: Aoi = "",
    tile: TileSize = None,
    margin: Margin = None,
    shard: ShardSize = 2048,
    preflight: PreflightOption = "refuse",
    as_json: Json = False,
) -> None:
    """Say what `segment` would do: bands found, tiles, shards, memory. Writes nothing."""
    request = request_from(
        scene, out, segmenter, settings, bands, nodata, scale, offset, mask, mask_values, date, aoi, tile, margin,
        shard, "classes", "", False, preflight=preflight,
    )  # fmt: skip
    from flows.plan import describe, make_plan

    facts = describe(make_plan(request))
    if as_json:
        print(json.dumps(facts, ensure_ascii=False))
        return
    table([(key, value) for key, value in facts.items()], ("", ""))


@app.command()
def index(
    scene: Annotated[str, typer.Argument(metavar="SCENE", help="A raster.")],
    names: Annotated[
        list[str], typer.Argument(metavar="NAME…", help="Indices, such as NDVI; see `landweave indices`.")
    ],
    out: Out,
    bands: Bands = "",
    nodata: NoData = None,
    scale: Scale = None,
    offset: Offset = None,
    mask: Mask = "",
    mask_values: MaskValues = "",
) -> None:
    """Compute spectral indices, each a float32 COG with NaN as no data."""
    from flows.indices import write_indices
    from flows.request import Source, checked, number, pairs

    source = checked(
        Source,
        paths=[scene],
        bands=dict(pairs("--bands", bands, int)),
        nodata=nodata,
        scale=scale,
        offset=offset,
        mask=mask,
        mask_values=[number("--mask-values", text, int) for text in mask_values.split(",") if text],
    )
    with progress_bar() as progress:
        written = write_indices(source, names, out, progress)
    for path in written:
        print(path)


@app.command()
def indices(
    scene: Annotated[str, typer.Argument(metavar="[SCENE]", help="Show which indices this raster allows.")] = "",
    bands: Bands = "",
) -> None:
    """List the spectral indices there are, and for a scene what each one lacks."""
    from flows.indices import list_indices
    from flows.request import Source, checked, pairs

    opened = checked(Source, paths=[scene], bands=dict(pairs("--bands", bands, int))).open() if scene else None
    table(list_indices(opened), ("index", "what it is", "bands", "missing" if scene else "domain"))


@app.command()
def segmenters() -> None:
    """List the installed segmenters and their settings."""
    from segmentation.segmenter import kinds, segmenter_class

    rows = []
    for kind in kinds():
        loaded = segmenter_class(kind)
        fields = [
            n if f.is_required() else f"{n}={f.default}"
            for n, f in loaded.model_fields.items()
            if n not in ("kind", "fitted")
        ]
        rows.append((kind, (loaded.__doc__ or "").strip().splitlines()[0], ", ".join(fields)))
    table(rows, ("kind", "what it is", "settings"))


@app.command()
def train(
    scene: Annotated[
        list[str],
        typer.Argument(metavar="SCENE…", help="A scene; several where there are several --labels, see the manual."),
    ],
    labels: Annotated[
        list[str],
        typer.Option("--labels", metavar="FILE", help="Class raster, polygons or points; one for each scene."),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the bundle.")],
    column: Annotated[str, typer.Option("--column", help="Column of the classes in a vector file.")] = "",
    classes: Annotated[
        str, typer.Option("--classes", metavar="1=Water,…", help="Names; what is not named is unlabelled.")
    ] = "",
    regroup: Annotated[str, typer.Option("--regroup", metavar="5=4,…", help="Count value 5 as 4.")] = "",
    labels_nodata: Annotated[
        float | None, typer.Option("--labels-nodata", help="Value of unlabelled pixels in a class raster.")
    ] = None,
    split: Annotated[
        str, typer.Option("--split", metavar="HOW|FILE", help="blocks, shapes, scenes, or a raster that marks parts.")
    ] = "",
    split_values: Annotated[
        str, typer.Option("--split-values", metavar="train=1,…", help="Its values; train=1,test=2,validation=3.")
    ] = "",
    architecture: Annotated[
        str, typer.Option("--architecture", help="See `landweave models --architectures`; fits the data by default.")
    ] = "",
    encoder: Annotated[str, typer.Option("--encoder", help="A network's encoder, by the library's name.")] = "",
    weights: Annotated[str, typer.Option("--weights", metavar="BUNDLE|imagenet", help="What to start from.")] = "",
    settings: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="A setting of the recipe, such as loss=ce+dice.")
    ] = [],  # noqa: B006 - typer copies it
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same bundle.")] = 0,
    name: Annotated[str, typer.Option("--name", help="What the bundle is called; its folder's name by default.")] = "",
    licence: Annotated[str, typer.Option("--licence", help="Under which others may use it.")] = "not stated",
    bands: Bands = "",
    nodata: NoData = None,
    scale: Scale = None,
    offset: Offset = None,
    mask: Mask = "",
    mask_values: MaskValues = "",
    fresh: Fresh = False,
    as_json: Json = False,
) -> None:
    """Train a model on scenes and labels; leaves a bundle for `segment --segmenter DIR`."""
    from flows.request import Source, checked, number, pairs
    from flows.train import Training, grouped
    from flows.train import train as run

    sources = [
        checked(
            Source,
            paths=paths,
            bands=dict(pairs("--bands", bands, int)),
            nodata=nodata,
            scale=scale,
            offset=offset,
            mask=mask,
            mask_values=[number("--mask-values", text, int) for text in mask_values.split(",") if text],
        )
        for paths in grouped(scene, len(labels))
    ]
    recipe = {"architecture": architecture, "seed": seed, **settings_of("--set", settings)}
    if encoder:
        recipe["encoder"] = encoder
    request = checked(
        Training,
        sources=sources,
        labels=labels,
        out=out,
        column=column,
        classes={number("--classes", key, int): text for key, text in pairs("--classes", classes, str)},
        regroup={number("--regroup", key, int): target for key, target in pairs("--regroup", regroup, int)},
        labels_nodata=labels_nodata,
        split=split,
        split_values=dict(pairs("--split-values", split_values, int)),
        recipe=recipe,
        weights=weights,
        name=name,
        licence=licence,
        fresh=fresh,
    )
    with progress_bar(quiet=as_json) as progress:
        finished = run(request, progress)
    if as_json:
        print(json.dumps(finished.to_dict(), ensure_ascii=False))
        return
    for note in finished.notes:
        print(note)
    for what, accuracy in (("validation", finished.validation), ("test", finished.test)):
        if accuracy:
            print(f"\n{what}: {finished.judged[what]}")
            show_accuracy(accuracy)
    print(f"\n{finished.bundle.folder} in {finished.seconds:.0f} s")
    for path in finished.files:
        print(f"  {path}")
    print(f"\nUse it: landweave segment SCENE --segmenter {finished.bundle.folder} --out DIR")


@app.command()
def models(
    where: Annotated[
        list[str], typer.Argument(metavar="[NAME|DIR|hf://OWNER/NAME]…", help="Bundles, or folders of bundles.")
    ] = [],  # noqa: B006 - typer copies it
    architectures: Annotated[
        bool, typer.Option("--architectures", help="List the networks and forests there are.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List trained models; explain one: what it sees and says, how good it is, what it was trained on."""
    from flows.models import explained, found, overview, record

    if architectures:
        from segmentation.architectures import architectures as networks
        from segmentation.forest import FORESTS

        known = networks() | {name: forest.what for name, forest in FORESTS.items()}
        if as_json:
            print(json.dumps(known, ensure_ascii=False))
        else:
            table(list(known.items()), ("architecture", "what it is"))
        return
    bundles = found(where)
    if as_json:
        print(json.dumps([record(bundle) for bundle in bundles], ensure_ascii=False))
    elif where and len(bundles) == 1:
        show_model(bundles[0].card, explained(bundles[0]))
    else:
        rows = [overview(bundle) for bundle in bundles]
        table([tuple(row.values()) for row in rows], tuple(rows[0]), right=(3,))


@app.command()
def convert(
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT",
            help="Weights of PyTorch or Lightning, safetensors, or smp's save_pretrained (a folder or hf://OWNER/NAME).",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the bundle.")],
    like: Annotated[str, typer.Option("--like", metavar="BUNDLE|CARD.json", help="A model of the same nature.")] = "",
    architecture: Annotated[str, typer.Option("--architecture", help="See `landweave models --architectures`.")] = "",
    encoder: Annotated[str, typer.Option("--encoder", help="By segmentation-models-pytorch's name.")] = "",
    option: Annotated[
        list[str], typer.Option("--option", metavar="KEY=VALUE", help="A setting of the architecture; repeatable.")
    ] = [],  # noqa: B006 - typer copies it
    bands: Annotated[str, typer.Option("--bands", metavar="NAME,…", help="In the order of the input channels.")] = "",
    classes: Annotated[
        str, typer.Option("--classes", metavar="NAME,…", help="In the order of the output channels; also VALUE=NAME.")
    ] = "",
    mean: Annotated[str, typer.Option("--mean", metavar="V,…", help="What was subtracted from each band.")] = "",
    std: Annotated[str, typer.Option("--std", metavar="V,…", help="What each band was then divided by.")] = "",
    units: Annotated[
        Literal["reflectance", "dn"] | None, typer.Option("--units", help="Of mean and std: 0–1 or the file's numbers.")
    ] = None,
    dtype: Annotated[str, typer.Option("--dtype", help="Of the files it was trained on, such as uint16.")] = "",
    gsd: Annotated[float | None, typer.Option("--gsd", metavar="M", help="Pixel size it was trained at.")] = None,
    name: Annotated[str, typer.Option("--name", help="What the bundle is called.")] = "",
    licence: Annotated[str, typer.Option("--licence", help="Under which others may use it.")] = "",
) -> None:
    """Make a bundle of weights that another program trained; nothing in them is run."""
    from flows.models import card_for, explained, source_of
    from segmentation.convert import convert as make

    source = source_of(checkpoint)
    card = card_for(
        source, like=like, architecture=architecture, encoder=encoder, options=settings_of("--option", option),
        bands=bands, classes=classes, mean=mean, std=std, units=units or "", dtype=dtype, gsd=gsd, name=name,
        licence=licence,
    )  # fmt: skip
    print("measuring how far the network looks …", file=sys.stderr)
    bundle = make(source, card, out)
    show_model(bundle.card, explained(bundle))


@app.command()
def export(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="A bundle's name, folder or id.")],
    to: Annotated[Path, typer.Option("--to", metavar="FILE.onnx", help="What to write.")],
    scale: Annotated[float | None, typer.Option("--scale", help="Reflectance = pixel × scale + offset.")] = None,
    offset: Annotated[float, typer.Option("--offset", help="Reflectance = pixel × scale + offset.")] = 0.0,
    tile: Annotated[int | None, typer.Option("--tile", metavar="PX", min=1, help="Size of a tile.")] = None,
) -> None:
    """Write a network as ONNX, ready for the QGIS plug-in Deepness."""
    from flows.models import opened
    from segmentation.export import export as write

    chosen = opened(bundle)
    written = write(chosen, to, scale=scale, offset=offset, tile=tile)
    columns = chosen.card.band_names, map("{:g}".format, written.scale), map("{:g}".format, written.offset)
    table(list(zip(*columns, strict=True)), ("band, in this order", "scale", "offset"), right=(1, 2))
    print(
        f"{written.file}\n  tiles of {written.tiling.size} px that overlap by {written.tiling.overlap} %, "
        f"pixels of {100 * chosen.card.gsd:g} cm; labels equal torch's on {written.agreement:.3%} of a check"
    )


@app.command()
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
    from flows.figures import write_accuracy, write_json
    from flows.request import pairs

    groups = [
        dict(pairs(option, text, str))
        for option, text in (("--map-classes", map_classes), ("--reference-classes", reference_classes))
    ]
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
    for path in write_accuracy(accuracy, out) if out else ():
        print(f"  {path}")


@app.command()
def vectorise(
    raster: Annotated[Path, typer.Argument(metavar="MASK", help="Class raster: one band of integers.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="GeoPackage, .parquet or .fgb.")],
    nodata: Annotated[int | None, typer.Option("--nodata", help="Value to leave out; else what the file says.")] = None,
    connectivity: Annotated[
        int, typer.Option("--connectivity", metavar="4|8", help="With 8 pixels that touch at a corner belong together.")
    ] = 4,
    min_area: MinArea = 0.0,
    min_area_rule: MinAreaRule = "longest-border",
    simplify: Simplify = None,
    smooth: Annotated[int, typer.Option("--smooth", metavar="N", min=0, help="Rounds of cutting corners.")] = 0,
    max_vertices: Annotated[
        int, typer.Option("--max-vertices", metavar="N", min=4, help="Cut polygons that have more.")
    ] = 1_000_000,
    dissolve: Annotated[bool, typer.Option("--dissolve", help="One feature for each class.")] = False,
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
            connectivity=connectivity, simplify=simplify, smooth=smooth, max_vertices=max_vertices, dissolve=dissolve,
        )  # fmt: skip
    print(f"{polygons:,} {'classes' if dissolve else 'polygons'}\n  {out}")


@app.command()
def zones(
    map_path: Annotated[Path, typer.Argument(metavar="MAP", help="Class raster: one band of integers.")],
    zones_path: Annotated[Path, typer.Argument(metavar="ZONES", help="Polygon layer in any CRS.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="GeoPackage, .parquet or .fgb; a CSV beside it.")],
    nodata: Annotated[int | None, typer.Option("--nodata", help="Value to leave out; else what the file says.")] = None,
) -> None:
    """Measure the area of each class in each zone; pixels on an outline count by their covered part."""
    from flows.zones import zones as write

    with progress_bar() as progress:
        written = write(map_path, zones_path, out, progress, nodata=nodata)
    for path in written:
        print(path)


@app.command()
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
    min_confidence: Annotated[
        float, typer.Option("--min-confidence", metavar="PERCENT", min=0, max=100, help="Leave less sure pixels out.")
    ] = 0.0,
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
        print(json.dumps(result.to_dict(), ensure_ascii=False))
        return
    show_change(result)


@app.command()
def collection(
    scene: Annotated[
        list[str], typer.Argument(metavar="SCENE|FOLDER…", help="Rasters, or folders in which each raster is a scene.")
    ],
    out: Out,
    pattern: Annotated[str, typer.Option("--pattern", metavar="GLOB", help="Which files of a folder are scenes.")] = "",
    title: Annotated[str, typer.Option("--title", help="What the report is called.")] = "",
    segmenter: Chosen = "rules",
    settings: Settings = [],  # noqa: B006 - typer copies it
    bands: Bands = "",
    nodata: NoData = None,
    scale: Scale = None,
    offset: Offset = None,
    mask: Mask = "",
    mask_values: MaskValues = "",
    aoi: Aoi = "",
    tile: TileSize = None,
    margin: Margin = None,
    shard: ShardSize = 2048,
    workers: Workers = None,
    cluster: ClusterName = "local",
    cluster_set: ClusterSettings = [],  # noqa: B006 - typer copies it
    products: ProductNames = "classes,confidence,vectors",
    min_area: MinArea = 0.0,
    min_area_rule: MinAreaRule = "longest-border",
    simplify: Simplify = None,
    index: IndexMeans = [],  # noqa: B006 - typer copies it
    preflight: PreflightOption = "refuse",
    fresh: Fresh = False,
) -> None:
    """Segment many scenes alike, each into a folder of its own, with one report of all."""
    template = request_from(
        scene, str(out), segmenter, settings, bands, nodata, scale, offset, mask, mask_values, "", aoi, tile, margin,
        shard, products, "", fresh, min_area, min_area_rule, simplify, index, preflight,
    )  # fmt: skip
    from flows.cluster import cluster_from
    from flows.collection import CollectionRequest, collect
    from tiling.errors import Mistake

    on = cluster_from(cluster, workers, settings_of("--cluster-set", cluster_set))
    with progress_bar() as progress:
        result = collect(CollectionRequest(template=template, pattern=pattern, title=title), on=on, progress=progress)
    show_entries(result.entries, {})
    print(f"\n{len(result.made)} of {len(result.entries)} scenes were done now")
    for path in result.files:
        print(f"  {path}")
    if result.failed:
        first = result.failed[0]
        raise Mistake(
            f"{len(result.failed)} of {len(result.entries)} scenes failed and the others are done; the first, "
            f"{first.name}: {first.message}"
        )


@app.command()
def monitor(
    watch: Annotated[list[str], typer.Argument(metavar="FOLDER…", help="Where new scenes arrive.")],
    out: Out,
    title: Annotated[str, typer.Option("--title", help="What is watched.")] = "",
    pattern: Annotated[str, typer.Option("--pattern", metavar="GLOB", help="Which files of a folder are scenes.")] = "",
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
    min_confidence: Annotated[
        float, typer.Option("--min-confidence", metavar="PERCENT", min=0, max=100, help="Leave less sure pixels out.")
    ] = 0.0,
    settle: Annotated[
        float, typer.Option("--settle", metavar="S", min=0, help="Seconds a file must lie untouched.")
    ] = 30.0,
    segmenter: Chosen = "rules",
    settings: Settings = [],  # noqa: B006 - typer copies it
    bands: Bands = "",
    nodata: NoData = None,
    scale: Scale = None,
    offset: Offset = None,
    mask: Mask = "",
    mask_values: MaskValues = "",
    aoi: Aoi = "",
    tile: TileSize = None,
    margin: Margin = None,
    shard: ShardSize = 2048,
    workers: Workers = None,
    cluster: ClusterName = "local",
    cluster_set: ClusterSettings = [],  # noqa: B006 - typer copies it
    products: ProductNames = "classes,confidence,vectors",
    min_area: MinArea = 0.0,
    min_area_rule: MinAreaRule = "longest-border",
    simplify: Simplify = None,
    index: IndexMeans = [],  # noqa: B006 - typer copies it
    preflight: PreflightOption = "refuse",
) -> None:
    """Map what is new in a folder, compare it with the map before, publish the series. Call it again at any time."""
    template = request_from(
        watch, str(out), segmenter, settings, bands, nodata, scale, offset, mask, mask_values, "", aoi, tile, margin,
        shard, products, "", False, min_area, min_area_rule, simplify, index, preflight,
    )  # fmt: skip
    from flows.cluster import cluster_from
    from flows.monitor import MonitorRequest
    from flows.monitor import monitor as catch_up
    from flows.request import checked

    request = checked(
        MonitorRequest, template=template, title=title, pattern=pattern, zones=zones_path, max_invalid=max_invalid,
        expect_days=expect_days, min_change_area=min_change_area, min_confidence=min_confidence, settle_seconds=settle,
    )  # fmt: skip
    on = cluster_from(cluster, workers, settings_of("--cluster-set", cluster_set))
    with progress_bar() as progress:
        watched = catch_up(request, on=on, progress=progress)
    for warning in watched.series.warnings:
        print(f"landweave: warning: {warning}", file=sys.stderr)
    show_entries(watched.series.entries, watched.series.unused)
    print(f"\nnew: {len(watched.made)} scenes, {len(watched.compared)} changes")
    for path in watched.files:
        print(f"  {path}")


@app.command()
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
    from flows.request import Request, Source

    chosen = choose_segmenter(segmenter, [])
    with progress_bar(quiet=as_json) as progress:
        with cluster.start(
            cluster.Cluster(workers=workers), shards=(-(-size // BLOCK)) ** 2, worker_bytes=2**30
        ) as pool:
            scene, truth = write_demo(out, size, seed, pool, progress)
        request = Request(source=Source(paths=(str(scene),)), out=out, segmenter=chosen, reference=str(truth))
        published = pipeline.run(request, on=cluster.Cluster(workers=workers), progress=progress)
    show(published, as_json=as_json)
    if not as_json:
        print("\nThe scene and its truth are synthetic; the network was trained on landscapes of other seeds.")


@app.command()
def serve(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port of the Prefect server.")] = 4200,
) -> None:
    """Start a Prefect server on this machine with Landweave's flows ready to run."""
    from flows.serve import serve as start

    start(port=port)


# --------------------------------------------------------------------------------------------------------- what is seen


@contextmanager
def progress_bar(*, quiet: bool = False) -> Iterator[Progress]:
    """A bar per stage on a terminal, a line per stage elsewhere, nothing when quiet."""
    from flows.progress import silent

    if quiet:
        yield silent
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    bars: dict[str, Any] = {}
    columns = (
        TextColumn("{task.description:<14}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as display:

        def update(stage: str, done: int, total: int) -> None:
            if stage not in bars:
                bars[stage] = display.add_task(stage, total=total)
            display.update(bars[stage], completed=done, total=total)
            if not console.is_terminal and done == total:
                print(f"{stage}: {done} of {total}", file=sys.stderr)

        yield update


def show(published: Published, *, as_json: bool) -> None:
    """The closing tables of a run."""
    from flows.storage import Remote
    from tiling.remote import gdal_path

    for warning in published.record["warnings"]:
        print(f"landweave: warning: {warning}", file=sys.stderr)
    if as_json:
        print(json.dumps(published.record, ensure_ascii=False, default=str))
        return
    table(
        [(a.class_name, f"{a.pixels:,}", f"{a.hectares:,.1f}", f"{100 * a.share:.1f} %") for a in published.areas],
        ("class", "pixels", "hectares", "share"),
        right=(1, 2, 3),
    )
    if published.accuracy:
        show_accuracy(published.accuracy)
    took = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in published.seconds.items())
    polygons = f"{published.polygons:,} polygons; " if published.polygons is not None else ""
    print(f"\n{polygons}{took}")
    for path in published.files:
        print(f"  {path}")
    package = published.folder / "landcover.gpkg"
    look = package if package in published.files else published.folder / "classes.tif"
    if isinstance(look, Remote):
        print(f"\nOpen it in QGIS: fetch the folder, or run: qgis {gdal_path(str(published.folder / 'classes.tif'))}")
        return
    print(f"\nOpen it in QGIS: drag {look.resolve()} onto the map, or run: qgis {look.resolve()}")


def show_accuracy(accuracy: Accuracy) -> None:
    """How a map fares against a reference."""
    facts = accuracy.to_dict()
    if accuracy.compared:
        print(f"\n{accuracy.compared}")
    keys, header = ["iou", "f1", "precision", "recall"], ["class", "IoU", "F1", "precision", "recall", "pixels"]
    if accuracy.boundaries:
        header.insert(5, "boundary F1")
    drawn = {row["value"]: [row["f1"]] for row in facts.get("boundaries", {}).get("classes", ())}
    rows = [
        (row["name"], *map(figure, [*(row[key] for key in keys), *drawn.get(row["value"], ())]), f"{row['support']:,}")
        for row in facts["classes"]
    ]
    table(rows, tuple(header), right=tuple(range(1, len(header))))
    overall, iou, kappa = (figure(facts[key]) for key in ("overall_accuracy", "mean_iou", "kappa"))
    print(f"overall accuracy {overall}, mean IoU {iou}, kappa {kappa}")
    if accuracy.boundaries:
        mean = figure(facts["boundaries"]["mean_f1"])
        print(f"boundary F1 within {accuracy.boundaries.tolerance_m:g} m: mean {mean}")
    if told := accuracy.reliability:
        print(
            f"expected calibration error {told.expected_calibration_error:.3f}: on average "
            f"{100 * told.mean_confidence:.1f} % sure, {100 * told.accuracy:.1f} % right"
        )
    if accuracy.areas:
        show_areas(accuracy.areas)
    for note in accuracy.notes:
        print(f"note: {note}")


def show_change(result: Change) -> None:
    """What became of what, for a person."""
    print(f"\n{result.aligned}")
    hectares = result.square_metres / 1e4
    rows = [
        (name, f"{hectares[k].sum():,.1f}", f"{hectares[:, k].sum():,.1f}", f"{hectares[k, k]:,.1f}",
         f"{hectares[k].sum() - hectares[k, k]:,.1f}", f"{hectares[:, k].sum() - hectares[k, k]:,.1f}")
        for k, (_, name, _) in enumerate(result.classes)
    ]  # fmt: skip
    table(rows, ("class, in hectares", "before", "now", "unchanged", "lost", "gained"), right=(1, 2, 3, 4, 5))
    print()
    largest = [
        (result.classes[i][1], result.classes[j][1], f"{pixels:,}", f"{metres / 1e4:,.1f}")
        for i, j, pixels, metres in list(result.transitions())[:10]
    ]
    table(largest, ("was", "is", "pixels", "hectares"), right=(2, 3))
    part = 100 * result.changed_m2 / result.compared_m2
    print(
        f"\n{result.changed_m2 / 1e4:,.1f} ha of {result.compared_m2 / 1e4:,.1f} ha changed ({part:.1f} %), "
        f"{result.polygons:,} polygons"
    )
    for why, (pixels, metres) in result.left_out.items():
        print(f"note: {why}: {metres / 1e4:,.1f} ha ({pixels:,} pixels)")
    for note in result.notes:
        print(f"note: {note}")
    for path in result.files:
        print(f"  {path}")


def show_entries(entries: Sequence[Entry], unused: dict[str, str]) -> None:
    """What came of each scene, for a person."""
    rows = [
        (
            entry.name, entry.date, f"{entry.mapped_m2 / 1e4:,.1f}", f"{100 * entry.invalid:.1f} %",
            entry.message or unused.get(entry.name, "done"),
        )
        for entry in entries
    ]  # fmt: skip
    table(rows, ("scene", "date", "hectares", "without data", ""), right=(2, 3))


def show_areas(areas: AreaEstimates) -> None:
    """What a sample says of a map's areas, with 95 % intervals."""
    from math import isnan

    def percent(part: float, margin: float) -> str:
        return "–" if isnan(part) else f"{100 * part:.1f} ± {100 * margin:.1f} %"

    print("\nestimated from the sample, with 95 % intervals")
    rows = [
        (
            one.name, f"{one.mapped_m2 / 1e4:,.1f}", f"{one.area_m2 / 1e4:,.1f} ± {one.area_margin_m2 / 1e4:,.1f}",
            percent(one.users, one.users_margin), percent(one.producers, one.producers_margin), f"{one.samples:,}",
        )
        for one in areas.classes
    ]  # fmt: skip
    header = ("class", "mapped ha", "estimated ha", "user's accuracy", "producer's accuracy", "samples")
    table(rows, header, right=(1, 2, 3, 4, 5))
    print(f"overall accuracy {percent(areas.overall_accuracy, areas.overall_margin)}")


def show_model(card: Card, facts: dict[str, str]) -> None:
    """A model, for a person."""
    from rich.text import Text

    table(list(facts.items()), ("", ""))
    print()
    table(
        [
            (band.name, band.units, band.dtype or "–", f"{band.mean:.4g}", f"{band.std:.4g}")
            + ((f"{band.quantiles[0]:.4g} … {band.quantiles[-1]:.4g}",) if band.quantiles else ("–",))
            for band in card.bands
        ],
        ("band", "units", "files", "mean", "deviation", "98 % lie within"),
        right=(3, 4, 5),
    )
    print()
    table(
        [(one.value, Text("    ", f"on {one.colour}"), one.colour, one.name, one.parent) for one in card.legend.each()],
        ("value", "", "colour", "class", "part of"),
        right=(0,),
    )
    if card.metrics:
        print()
        table([(name, f"{value:.4g}") for name, value in card.metrics.items()], ("measured", ""), right=(1,))


def figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def table(rows: list[tuple[Any, ...]], header: tuple[str, ...], right: tuple[int, ...] = ()) -> None:
    """A plain table on standard output."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, show_header=any(header))
    for position, name in enumerate(header):
        drawn.add_column(name, justify="right" if position in right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(cell if isinstance(cell, Text) else str(cell) for cell in row))
    console = Console()
    Console(width=max(console.width, 100), highlight=False, markup=False).print(drawn)


def main() -> None:
    """Run the command line: 0 done, 2 a person's mistake in one line, 1 a fault of ours."""
    os.environ.setdefault("GDAL_CACHEMAX", "512")  # MB, before GDAL's first use: a twentieth of all memory is too much
    logging.getLogger("rasterio").addHandler(logging.NullHandler())  # GDAL's warnings are not for whoever runs this
    try:
        app()
    except ValueError as error:
        # both rooms' Mistake; told by name, so that an early mistake costs no import of either room
        if type(error).__name__ != "Mistake":
            raise
        print(f"landweave: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
