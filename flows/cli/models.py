"""Commands about models: what there is, and how one is trained, brought in and given away."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli.options import BundleOut, Fresh, Json, Scale, SceneOptions
from flows.cli.show import print_json, progress_bar, show_accuracy, show_files, show_model, table


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


def train(
    scene: Annotated[
        list[str],
        typer.Argument(metavar="SCENE…", help="A scene; several where there are several --labels, see the manual."),
    ],
    labels: Annotated[
        list[str],
        typer.Option("--labels", metavar="FILE", help="Class raster, polygons or points; one for each scene."),
    ],
    out: BundleOut,
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
    weights: Annotated[str, typer.Option("--weights", metavar="BUNDLE|imagenet|none", help="What to start from.")] = "",
    settings: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="A setting of the recipe, such as loss=ce+dice.")
    ] = [],  # noqa: B006 - typer copies it
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same bundle.")] = 0,
    name: Annotated[str, typer.Option("--name", help="What the bundle is called; its folder's name by default.")] = "",
    licence: Annotated[str, typer.Option("--licence", help="Under which others may use it.")] = "not stated",
    *,
    options: SceneOptions,
    fresh: Fresh = False,
    as_json: Json = False,
) -> None:
    """Train a model on scenes and labels; leaves a bundle for `segment --segmenter DIR`."""
    from flows.request import checked, number, pairs
    from flows.settings import settings_of
    from flows.train import Training, grouped, recipe_from
    from flows.train import train as run

    sources = [options.source(paths) for paths in grouped(scene, len(labels))]
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
        recipe=recipe_from(recipe),
        weights=weights,
        name=name,
        licence=licence,
        fresh=fresh,
    )
    with progress_bar(quiet=as_json) as progress:
        finished = run(request, progress)
    if as_json:
        print_json(finished.to_dict())
        return
    for note in finished.notes:
        print(note)
    for what, accuracy in (("validation", finished.validation), ("test", finished.test)):
        if accuracy:
            print(f"\n{what}: {finished.judged[what]}")
            show_accuracy(accuracy)
    print(f"\n{finished.bundle.folder} in {finished.seconds:.0f} s")
    show_files(finished.files)
    print(f"\nUse it: landweave segment SCENE --segmenter {finished.bundle.folder} --out DIR")


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
        from segmentation.trees import FORESTS

        known = networks() | {name: forest.what for name, forest in FORESTS.items()}
        if as_json:
            print_json(known)
        else:
            table(list(known.items()), ("architecture", "what it is"))
        return
    bundles = found(where)
    if as_json:
        print_json([record(bundle) for bundle in bundles])
    elif where and len(bundles) == 1:
        show_model(bundles[0].card, explained(bundles[0]))
    else:
        rows = [overview(bundle) for bundle in bundles]
        table([tuple(row.values()) for row in rows], tuple(rows[0]), right=(3,))


def convert(
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT",
            help="Weights of PyTorch or Lightning, safetensors, or smp's save_pretrained (a folder or hf://OWNER/NAME).",
        ),
    ],
    out: BundleOut,
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
    from flows.settings import settings_of
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


def export(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="A bundle's name, folder or id.")],
    to: Annotated[Path, typer.Option("--to", metavar="FILE.onnx", help="What to write.")],
    scale: Scale = None,
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
