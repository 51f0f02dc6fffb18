"""Commands about models: what there is, and how one is trained, brought in and given away."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from flows.cli import requests
from flows.cli.options import Json
from flows.cli.show import (
    print_json,
    progress_bar,
    show_accuracy,
    show_files,
    show_model,
    show_settings,
    show_warnings,
    table,
)


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
    from flows.requests.segmenters import kind_facts
    from segmentation.registry import kinds

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
    request: requests.Training,
    on: Annotated[requests.Cluster, requests.Part(without=("workers",))],
    as_json: Json = False,
) -> None:
    """Train a model on scenes and labels; leaves a bundle for `segment --segmenter DIR`.

    Without --architecture that is a forest, a network or both: what validates best. Stopped and
    called again it goes on from where it was. docs/training.md in the repository tells more.
    With --cluster a network goes to a worker that has a graphics card, where one has.

    Examples:
    landweave train scene.tif --labels plots.gpkg \\
        --architecture random-forest --out my-forest
    landweave train scene.tif --labels landuse.tif --out my-model
    landweave train a.tif b.tif --labels a.gpkg --labels b.gpkg -o my-model
    """
    from flows.compute.cluster import cluster_from
    from flows.run.mask_first import masks_first
    from flows.training.where import train_on

    on, request = cluster_from(on.kind, on.workers, on.settings), request.by_scene()
    with progress_bar(quiet=as_json) as progress:
        sources = masks_first(request.sources, request.out, progress=progress, fresh=request.fresh)
        show_warnings(note for source in sources for note in source.notes)
        finished = train_on(on, request.model_copy(update={"sources": sources}), progress)
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
    how = "segment SCENE --segmenter"
    if finished.bundle.card.model.kind == "detector":
        how = "objects SCENE --method mask-rcnn --detector"
    print(f"\nUse it: landweave {how} {finished.bundle.folder} --out DIR")


def models(
    where: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME|DIR|hf://OWNER/NAME]…",
            help="Bundles, or folders of bundles; after `get`, known models to fetch.",
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
    known: Annotated[
        bool, typer.Option("--known", help="List published models that can be fetched by name.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List trained models; explain one: what it sees and says, how good it is, what it was trained
    on.

    Examples:
    landweave models
    landweave models my-model
    landweave models --known
    landweave models get csmask-6b-l2a
    landweave models --architectures
    """
    if known:
        _show_known(as_json)
    elif where[:1] == ["get"] and where[1:]:
        _get_known(where[1:], as_json)
    elif architectures:
        _show_architectures(as_json)
    elif settings:
        _show_recipes(as_json)
    else:
        _show_bundles(where, as_json)


def _show_known(as_json: bool) -> None:
    """Print the published models that can be fetched by name."""
    from flows.training.bundles import encoder_summary, known_record, known_summary
    from segmentation.models.known_models import encoder_names, known_encoder, known_names

    if as_json:
        models = [known_record(name) for name in known_names()]
        encoders = [known_encoder(name).model_dump(mode="json") for name in encoder_names()]
        print_json([*models, *encoders])
        return
    rows = [known_summary(name) for name in known_names()]
    table([tuple(row.values()) for row in rows], tuple(rows[0]), right=(3, 5))
    print("\nUse one: landweave segment SCENE --segmenter NAME --out DIR; it is fetched once.\n")
    rows = [encoder_summary(name) for name in encoder_names()]
    table([tuple(row.values()) for row in rows], tuple(rows[0]), right=(4,))
    print("\nStart from one: landweave train SCENE --labels FILE --weights NAME --out DIR")


def _get_known(wanted: Sequence[str], as_json: bool) -> None:
    """Fetch known models into the cache, and print where they are."""
    from flows.requests.segmenters import fetch_encoder, fetch_known
    from segmentation.models.known_models import encoder_names

    encoders = encoder_names()
    with progress_bar(quiet=as_json) as progress:
        places = {
            name: str((fetch_encoder if name in encoders else fetch_known)(name, progress))
            for name in wanted
        }
    if as_json:
        print_json(places)
        return
    table(list(places.items()), ("model", "where it is"))
    use = (
        "train SCENE --labels FILE --weights"
        if wanted[0] in encoders
        else "segment SCENE --segmenter"
    )
    print(f"\nUse one: landweave {use} {wanted[0]} --out DIR")


def _show_architectures(as_json: bool) -> None:
    """Print the networks and forests that `train` can make."""
    from flows.requests.method import architectures_there_are

    summaries = architectures_there_are()
    if as_json:
        print_json(summaries)
    else:
        table(list(summaries.items()), ("architecture", "what it is"))


def _show_recipes(as_json: bool) -> None:
    """Print what --set of `train` takes."""
    from flows.requests.method import recipes

    if as_json:
        print_json(recipes())
        return
    for recipe, rows in recipes().items():
        print(f"{recipe}:")
        show_settings(rows)
        print()


def _show_bundles(where: Sequence[str], as_json: bool) -> None:
    """Print the bundles there are; one that is named alone, with all that is known of it."""
    from flows.training.bundles import bundle_details, bundle_summary, find_bundles, record

    bundles = find_bundles(where)
    if as_json:
        print_json([record(bundle) for bundle in bundles])
    elif where and len(bundles) == 1:
        show_model(bundles[0].card, bundle_details(bundles[0]))
    else:
        rows = [bundle_summary(bundle) for bundle in bundles]
        table([tuple(row.values()) for row in rows], tuple(rows[0]), right=(3,))


def convert(request: requests.Conversion, as_json: Json = False) -> None:
    """Make a bundle of a network that another program trained: weights, or an ONNX graph.

    Weights run no code. A graph is looked through before ONNX Runtime has it.

    Examples:
    landweave convert unet.ckpt --architecture unet --encoder resnet34 \\
        --bands red,green,blue,nir --classes Water,Trees,Town --gsd 10 \\
        --mean 0.1,0.1,0.1,0.3 --std 0.05,0.05,0.05,0.1 --out my-model
    landweave convert newer.ckpt --like my-model --out my-model-2
    landweave convert any-network.onnx --bands red,green,blue \\
        --classes Other,Building --activation sigmoid --gsd 0.3 \\
        --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --out buildings
    """
    from flows.training.bundles import bundle_details, record
    from flows.training.foreign_card import card_for, make_bundle, source_of

    source = source_of(request.checkpoint)
    card = card_for(source, request)
    if not as_json:
        print("measuring how far the network looks …", file=sys.stderr)
    bundle = make_bundle(source, card, request)
    if as_json:
        print_json(record(bundle))
        return
    show_model(bundle.card, bundle_details(bundle))


def export(request: requests.Export, as_json: Json = False) -> None:
    """Write a network as ONNX, ready for the QGIS plug-in Deepness.

    Examples:
    landweave export demo --out demo.onnx
    """
    from flows.training.bundles import open_bundle
    from segmentation.interchange.export_onnx import export as write

    chosen = open_bundle(request.bundle)
    written = write(
        chosen, request.out, scale=request.scale, offset=request.offset, tile=request.tile
    )
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
