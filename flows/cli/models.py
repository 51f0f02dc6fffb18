"""Commands about models: what there is, and how one is trained, brought in and given away."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli.options import SCENE, BundleOut, Fresh, Json, Scale, SceneOptions
from flows.cli.show import (
    print_json,
    progress_bar,
    show_accuracy,
    show_files,
    show_model,
    show_settings,
    table,
)

LABELS = "What the labels say"
TRAINING = "How it is trained"
NATURE = "What the weights are"


def segmenters(
    kind: Annotated[
        str, typer.Argument(metavar="[KIND]", help="Explain this one and its settings.")
    ] = "",
    as_json: Json = False,
) -> None:
    """List the ways to tell land apart; explain one with all its settings.

    Examples:
    landweave segmenters
    landweave segmenters rules
    """
    from flows.requests.segmenter_facts import kind_facts, kinds

    if kind:
        facts = kind_facts(kind)
        if as_json:
            print_json(facts)
            return
        print(f"{facts['description']}\n")
        if facts["classes"]:
            table(
                [(one["name"], one["meaning"]) for one in facts["classes"]], ("class", "what it is")
            )
            print()
        show_settings(facts["settings"])
        first = next(iter(facts["settings"]), {"name": "KEY"})["name"]
        print(f"\nUse it: landweave segment SCENE --segmenter {kind} --set {first}=… --out DIR")
        return
    listed = [kind_facts(name) for name in kinds()]
    if as_json:
        print_json(listed)
        return
    table([(one["kind"], one["summary"]) for one in listed], ("kind", "what it is"))
    print(
        "\n`landweave segmenters KIND` explains one and its settings; `landweave models` lists "
        "trained models."
    )


def train(
    scene: Annotated[
        list[str],
        typer.Argument(
            metavar="SCENE…",
            help="A scene: one raster, or several as in `segment`. With several --labels each "
            "raster is a scene, and "
            "NAME=PATH adds a source to the one before it.",
        ),
    ],
    labels: Annotated[
        list[str],
        typer.Option(
            "--labels",
            metavar="FILE",
            help="Class raster, polygons or points; repeat it for each scene.",
        ),
    ],
    out: BundleOut,
    fresh: Fresh = False,
    as_json: Json = False,
    column: Annotated[
        str,
        typer.Option(
            "--column",
            metavar="NAME",
            help="Column of the classes in a vector file.",
            rich_help_panel=LABELS,
        ),
    ] = "",
    classes: Annotated[
        list[str],
        typer.Option(
            "--classes",
            metavar="1=Water,…",
            help="Names; what is not named is unlabelled.",
            rich_help_panel=LABELS,
        ),
    ] = [],  # noqa: B006 - typer copies it
    regroup: Annotated[
        list[str],
        typer.Option(
            "--regroup", metavar="5=4,…", help="Count value 5 as 4.", rich_help_panel=LABELS
        ),
    ] = [],  # noqa: B006 - typer copies it
    labels_nodata: Annotated[
        float | None,
        typer.Option(
            "--labels-nodata",
            metavar="V",
            help="Value of unlabelled pixels in a class raster.",
            rich_help_panel=LABELS,
        ),
    ] = None,
    split: Annotated[
        str,
        typer.Option(
            "--split",
            metavar="HOW|FILE",
            help="What validates: blocks, shapes, scenes, or a raster that marks parts.",
            rich_help_panel=LABELS,
        ),
    ] = "",
    split_values: Annotated[
        list[str],
        typer.Option(
            "--split-values",
            metavar="train=1,…",
            help="Its values; train=1,test=2,validation=3 unless said otherwise.",
            rich_help_panel=LABELS,
        ),
    ] = [],  # noqa: B006 - typer copies it
    architecture: Annotated[
        str,
        typer.Option(
            "--architecture",
            metavar="NAME",
            help="A forest or a network of `landweave models --architectures`; fits the data by "
            "default.",
            rich_help_panel=TRAINING,
        ),
    ] = "",
    encoder: Annotated[
        str,
        typer.Option(
            "--encoder",
            metavar="NAME",
            help="A network's encoder, by segmentation-models-pytorch's name.",
            rich_help_panel=TRAINING,
        ),
    ] = "",
    weights: Annotated[
        str,
        typer.Option(
            "--weights",
            metavar="MODEL|imagenet|none",
            help="What to start from.",
            rich_help_panel=TRAINING,
        ),
    ] = "",
    settings: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="KEY=VALUE,…",
            help="Settings such as loss=ce+dice; `landweave models --settings` explains them.",
            rich_help_panel=TRAINING,
        ),
    ] = [],  # noqa: B006 - typer copies it
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            metavar="N",
            min=0,
            help="The same seed gives the same bundle.",
            rich_help_panel=TRAINING,
        ),
    ] = 0,
    name: Annotated[
        str,
        typer.Option(
            "--name",
            metavar="TEXT",
            help="What the bundle is called; its folder's name by default.",
        ),
    ] = "",
    licence: Annotated[
        str, typer.Option("--licence", metavar="TEXT", help="Under which others may use it.")
    ] = "not stated",
    *,
    options: SceneOptions,
) -> None:
    """Train a model on scenes and labels; leaves a bundle for `segment --segmenter DIR`.

    Stopped and called again it goes on from where it was. docs/training.md in the repository tells
    more.

    Examples:
    landweave train scene.tif --labels plots.gpkg \\
        --architecture random-forest --out my-forest
    landweave train scene.tif --labels landuse.tif --out my-network
    landweave train a.tif b.tif --labels a.gpkg --labels b.gpkg -o my-model
    """
    from flows.parsing import number, pairs, settings_of, validate
    from flows.requests.training import Training, group_by_scene
    from flows.training.train import recipe_from
    from flows.training.train import train as run

    sources = [options.source(paths) for paths in group_by_scene(scene, len(labels))]
    recipe = {"architecture": architecture, "seed": seed, **settings_of("--set", settings)}
    if encoder:
        recipe["encoder"] = encoder
    request = validate(
        Training,
        sources=sources,
        labels=labels,
        out=out,
        column=column,
        classes={
            number("--classes", key, int): text for key, text in pairs("--classes", classes, str)
        },
        regroup={
            number("--regroup", key, int): target
            for key, target in pairs("--regroup", regroup, int)
        },
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
        list[str],
        typer.Argument(
            metavar="[NAME|DIR|hf://OWNER/NAME]…", help="Bundles, or folders of bundles."
        ),
    ] = [],  # noqa: B006 - typer copies it
    architectures: Annotated[
        bool,
        typer.Option(
            "--architectures", help="List the networks and forests that `train` can make."
        ),
    ] = False,
    settings: Annotated[
        bool, typer.Option("--settings", help="Explain what --set of `train` takes.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List trained models; explain one: what it sees and says, how good it is, what it was trained
    on.

    Examples:
    landweave models
    landweave models my-model
    landweave models --architectures
    """
    from flows.training.bundles import (
        architectures_there_are,
        bundle_details,
        bundle_summary,
        find_bundles,
        recipes,
        record,
    )

    if architectures:
        known = architectures_there_are()
        if as_json:
            print_json(known)
        else:
            table(list(known.items()), ("architecture", "what it is"))
        return
    if settings:
        if as_json:
            print_json(recipes())
            return
        for what, rows in recipes().items():
            print(f"{what}:")
            show_settings(rows)
            print()
        return
    bundles = find_bundles(where)
    if as_json:
        print_json([record(bundle) for bundle in bundles])
    elif where and len(bundles) == 1:
        show_model(bundles[0].card, bundle_details(bundles[0]))
    else:
        rows = [bundle_summary(bundle) for bundle in bundles]
        table([tuple(row.values()) for row in rows], tuple(rows[0]), right=(3,))


def convert(
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT",
            help="Weights of PyTorch or Lightning, safetensors, or smp's save_pretrained (a "
            "folder or hf://OWNER/NAME).",
        ),
    ],
    out: BundleOut,
    as_json: Json = False,
    like: Annotated[
        str,
        typer.Option(
            "--like",
            metavar="MODEL|CARD.json",
            help="A model of the same nature.",
            rich_help_panel=NATURE,
        ),
    ] = "",
    architecture: Annotated[
        str,
        typer.Option(
            "--architecture",
            metavar="NAME",
            help="A network of `landweave models --architectures`.",
            rich_help_panel=NATURE,
        ),
    ] = "",
    encoder: Annotated[
        str,
        typer.Option(
            "--encoder",
            metavar="NAME",
            help="By segmentation-models-pytorch's name.",
            rich_help_panel=NATURE,
        ),
    ] = "",
    settings: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="KEY=VALUE,…",
            help="Settings of the architecture.",
            rich_help_panel=NATURE,
        ),
    ] = [],  # noqa: B006 - typer copies it
    bands: Annotated[
        list[str],
        typer.Option(
            "--bands",
            metavar="NAME,…",
            help="In the order of the input channels.",
            rich_help_panel=NATURE,
        ),
    ] = [],  # noqa: B006 - typer copies it
    classes: Annotated[
        list[str],
        typer.Option(
            "--classes",
            metavar="NAME,…",
            help="In the order of the output channels; also VALUE=NAME.",
            rich_help_panel=NATURE,
        ),
    ] = [],  # noqa: B006 - typer copies it
    mean: Annotated[
        list[str],
        typer.Option(
            "--mean",
            metavar="V,…",
            help="What was subtracted from each band.",
            rich_help_panel=NATURE,
        ),
    ] = [],  # noqa: B006 - typer copies it
    std: Annotated[
        list[str],
        typer.Option(
            "--std",
            metavar="V,…",
            help="What each band was then divided by.",
            rich_help_panel=NATURE,
        ),
    ] = [],  # noqa: B006 - typer copies it
    units: Annotated[
        Literal["reflectance", "dn"] | None,
        typer.Option(
            "--units", help="Of mean and std: 0–1 or the file's numbers.", rich_help_panel=NATURE
        ),
    ] = None,
    dtype: Annotated[
        str,
        typer.Option(
            "--dtype",
            metavar="TYPE",
            help="Of the files it was trained on, such as uint16.",
            rich_help_panel=NATURE,
        ),
    ] = "",
    gsd: Annotated[
        float | None,
        typer.Option(
            "--gsd", metavar="M", help="Pixel size it was trained at.", rich_help_panel=NATURE
        ),
    ] = None,
    name: Annotated[
        str, typer.Option("--name", metavar="TEXT", help="What the bundle is called.")
    ] = "",
    licence: Annotated[
        str, typer.Option("--licence", metavar="TEXT", help="Under which others may use it.")
    ] = "",
) -> None:
    """Make a bundle of weights that another program trained; nothing in them is run.

    Examples:
    landweave convert unet.ckpt --architecture unet --encoder resnet34 \\
        --bands red,green,blue,nir --classes Water,Trees,Town --gsd 10 \\
        --mean 0.1,0.1,0.1,0.3 --std 0.05,0.05,0.05,0.1 --out my-model
    landweave convert newer.ckpt --like my-model --out my-model-2
    """
    from flows.parsing import settings_of
    from flows.training.bundles import bundle_details, record
    from flows.training.foreign_card import card_for, source_of
    from segmentation.interchange.import_checkpoint import convert as make

    source = source_of(checkpoint)
    card = card_for(
        source, like=like, architecture=architecture, encoder=encoder, options=settings_of("--set",
        settings),
        bands=bands, classes=classes, mean=mean, std=std, units=units or "", dtype=dtype, gsd=gsd,
        name=name,
        licence=licence,
    )  # fmt: skip
    if not as_json:
        print("measuring how far the network looks …", file=sys.stderr)
    bundle = make(source, card, out)
    if as_json:
        print_json(record(bundle))
        return
    show_model(bundle.card, bundle_details(bundle))


def export(
    bundle: Annotated[str, typer.Argument(metavar="MODEL", help="A bundle's name, folder or id.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE.onnx", help="What to write.")],
    as_json: Json = False,
    scale: Scale = None,
    offset: Annotated[
        float,
        typer.Option(
            "--offset",
            metavar="O",
            help="Reflectance = pixel × scale + offset.",
            rich_help_panel=SCENE,
        ),
    ] = 0.0,
    tile: Annotated[
        int | None, typer.Option("--tile", metavar="PX", min=1, help="Size of a tile.")
    ] = None,
) -> None:
    """Write a network as ONNX, ready for the QGIS plug-in Deepness.

    Examples:
    landweave export demo --out demo.onnx
    """
    from flows.training.bundles import open_bundle
    from segmentation.interchange.export_onnx import export as write

    chosen = open_bundle(bundle)
    written = write(chosen, out, scale=scale, offset=offset, tile=tile)
    bands = list(zip(chosen.card.band_names, written.scale, written.offset, strict=True))
    if as_json:
        print_json(
            {
                "file": written.file,
                "tile": written.tiling.size,
                "overlap_percent": written.tiling.overlap,
                "gsd": chosen.card.gsd,
                "agreement": written.agreement,
                "bands": [
                    dict(zip(("name", "scale", "offset"), band, strict=True)) for band in bands
                ],
            }
        )
        return
    rows = [(band, f"{scale:g}", f"{offset:g}") for band, scale, offset in bands]
    table(rows, ("band, in this order", "scale", "offset"), right=(1, 2))
    print(
        f"{written.file}\n  tiles of {written.tiling.size} px that overlap by "
        f"{written.tiling.overlap} %, "
        f"pixels of {100 * chosen.card.gsd:g} cm; labels equal torch's on {written.agreement:.3%} "
        "of a check"
    )
