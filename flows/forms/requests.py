"""What becomes of a form that was filled in: the request, and where it leads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from flows.compute.cluster import Cluster, cluster_from
from flows.forms.choices import PRODUCT_WORDS, index_of
from flows.forms.groups import (
    Advanced,
    Bands,
    Changes,
    Comparison,
    Labels,
    Model,
    Output,
    Series,
    Watch,
)
from flows.forms.naming import stem
from flows.parsing import number, pairs, settings_of, validate
from flows.requests.access import check_machines, check_places, reach_of_forms
from flows.requests.change import ChangeRequest
from flows.requests.overwriting import holds_another
from flows.requests.request import Product, Request
from flows.requests.series import CollectionRequest, MonitorRequest
from flows.requests.source import Source
from flows.requests.training import Training, group_by_scene
from flows.training.train import recipe_from
from segmentation.registry import AnySegmenter
from tiling.errors import InputError
from tiling.io.access import check_access


def within_reach(*paths: str | Path) -> None:
    """Raise `InputError` where one of these leads farther than whoever runs this allows; an empty
    path leads nowhere.

    For what is written, or read late: whatever opens a scene looks by itself.
    """
    for path in filter(None, map(str, paths)):
        check_access(path)


def path_of(typed: str) -> str:
    """A path as a person means it who typed or pasted it: without quotes and blanks around it, `~`
    as the home folder.

    >>> path_of(' "/data/my scene.tif"\\n')
    '/data/my scene.tif'
    """
    path = typed.strip()
    while len(path) > 1 and path[0] == path[-1] and path[0] in "\"'":
        path = path[1:-1].strip()
    name, equals, rest = path.partition("=")
    if (
        equals and name.replace(".", "_").isidentifier()
    ):  # a band of a scene in single files: red=B04.tif
        return f"{name}={path_of(rest)}"
    return str(Path(path).expanduser()) if path.startswith("~") else path


def folder_of(scene: list[str]) -> str:
    """Where the products of a scene go if nobody says where: `maps` and its name, in the first data
    folder or beside it."""
    first = scene[0].rpartition("=")[2]
    name = PurePosixPath(first.rstrip("/")).stem
    roots = reach_of_forms().roots
    if not roots and "://" in first:
        raise InputError(f"{first} lies on another machine; say in --out where its products go")
    return str((roots[0] if roots else Path(first).parent) / "maps" / name)


def source_from(paths: list[str], bands: Bands) -> Source:
    """A scene as the form says it."""
    paths = [path_of(path) for path in paths]
    if not all(paths):
        raise InputError("a path of the scene is empty; fill it in")
    return validate(
        Source,
        paths=paths,
        bands=dict(pairs("band names", bands.names, int)),
        nodata=_figure("no data", bands.no_data),
        scale=_figure("scale", bands.scale),
        offset=_figure("offset", bands.offset),
        mask=path_of(bands.mask),
        mask_values=bands.mask_values,
        mask_bits=bands.mask_bits,
        date=bands.date.strip() or None,
    )


def request_from(
    scene: list[str],
    output_folder: str,
    segmenter: AnySegmenter,
    bands: Bands,
    output: Output,
    advanced: Advanced,
) -> Request:
    """The request that the form of a scene, or of many alike, says."""
    source = source_from(scene, bands)
    request = validate(
        Request,
        source=source,
        out=path_of(output_folder) or folder_of(list(source.paths)),
        segmenter=segmenter,
        aoi=path_of(output.area_of_interest),
        shard=advanced.shard,
        products=products_of(output.products),
        min_area=_figure("smallest area", output.smallest_area),
        simplify=None if output.simplify else 0,
        smooth=output.smooth,
        indices=list(map(index_of, output.index_means)),
        reference=path_of(output.reference),
        licence=output.licence,
        preflight="warn" if output.despite_doubts else "refuse",
        fresh=advanced.start_afresh,
    )
    if not path_of(output_folder) and not request.fresh and holds_another(request):
        # the map that is there, of another scene of this name or by another method, stays
        model = stem(getattr(segmenter, "bundle", "")) or segmenter.kind
        request = request.model_copy(update={"out": Path(f"{request.out}-{model}")})
    check_places(request)
    return request


def products_of(words: Sequence[str]) -> list[Product]:
    """The products that a form names in words, or by their own names; the classes are always among
    them."""
    known: dict[str, Product] = {
        **PRODUCT_WORDS,
        **{product: product for product in PRODUCT_WORDS.values()},
    }
    for word in words:
        if word not in known:
            raise InputError(f"products: there is no {word}; there are {', '.join(PRODUCT_WORDS)}")
    asked = {"classes", *(known[word] for word in words)}
    return [product for product in PRODUCT_WORDS.values() if product in asked]


def with_search(template: Request, series: Series) -> Request:
    """The request whose scenes are looked for, where the form says so."""
    from flows.stac.query import Search

    if not series.search:
        return template
    paths = template.source.paths
    if len(paths) != 1:
        raise InputError(
            f"a search is in one STAC catalogue and {len(paths)} paths are given; leave one"
        )
    bounds = (
        tuple(number("bounds", part, float) for part in series.bounds.split(","))
        if series.bounds
        else None
    )
    if bounds is not None and len(bounds) != 4:
        raise InputError(
            f"bounds: {series.bounds} has {len(bounds)} numbers; write west, south, east, north"
        )
    search = validate(
        Search,
        catalogue=paths[0],
        collections=series.collections,
        when=series.dates,
        aoi=template.aoi,
        max_cloud=series.cloudiest if series.cloudiest < 100 else None,
        most=series.most_items,
    )
    about = template.source.model_dump() | {"paths": (), "search": search, "bbox": bounds}
    return template.model_copy(update={"source": validate(Source, **about)})


def collection_from(template: Request, series: Series) -> CollectionRequest:
    """The request that the form of a collection says."""
    template = with_search(template, series)
    return validate(
        CollectionRequest,
        template=template,
        pattern=series.file_names,
        title=series.title,
        fit_each=series.fit_each,
    )


def monitor_from(template: Request, watch: Watch) -> MonitorRequest:
    """The request that the form of a place to watch says."""
    zones = path_of(watch.zones)
    within_reach(zones)
    return validate(
        MonitorRequest,
        template=with_search(template, watch),
        title=watch.title,
        pattern=watch.file_names,
        zones=zones,
        max_invalid=watch.most_cloud,
        min_change_area=watch.smallest_change,
        min_confidence=watch.lowest_confidence,
        expect_days=watch.expected_every,
        fit_each=watch.fit_each,
    )


def training_from(
    scenes: list[str],
    labels: list[str],
    output_folder: str,
    meaning: Labels,
    model: Model,
    bands: Bands,
) -> Training:
    """The training that the form says."""
    labels, output_folder, start_from = (
        list(map(path_of, labels)),
        path_of(output_folder),
        path_of(model.start_from),
    )
    sources = [source_from(paths, bands) for paths in group_by_scene(scenes, len(labels))]
    within_reach(*labels, output_folder, start_from)
    asked = {name: getattr(model, name) for name in ("architecture", "encoder", "steps", "seed")}
    chosen = {
        name: value for name, value in asked.items() if value
    }  # the rest follows from the data
    return validate(
        Training,
        sources=sources,
        labels=labels,
        out=output_folder,
        column=meaning.column,
        classes={
            number("class names", value, int): name
            for value, name in pairs("class names", meaning.classes, str)
        },
        regroup={
            number("regroup", value, int): to
            for value, to in pairs("regroup", meaning.regroup, int)
        },
        labels_nodata=_figure("unlabelled", meaning.no_data),
        split=path_of(meaning.split),
        recipe=recipe_from(
            chosen | settings_of("more settings", filter(str.strip, [model.settings]))
        ),
        weights=start_from,
        name=model.name,
        licence=model.licence,
        fresh=model.start_afresh,
    )


def comparison_from(comparison: Comparison) -> dict[str, Any]:
    """The settings of `evaluate` that the form says."""
    return {
        "column": comparison.column,
        "map_classes": dict(pairs("map classes", comparison.map_classes, str)),
        "reference_classes": dict(pairs("reference classes", comparison.reference_classes, str)),
        "mask": path_of(comparison.mask) or None,
        "mask_value": comparison.mask_value,
        "on": comparison.grid,
        "tolerance": _figure("tolerance", comparison.tolerance),
    }


def changes_from(
    earlier: str, later: str, output_folder: str, changes: Changes, advanced: Advanced
) -> ChangeRequest:
    """The comparison of two maps that the form says."""
    earlier, later, output_folder = path_of(earlier), path_of(later), path_of(output_folder)
    within_reach(earlier, later, output_folder)
    return validate(
        ChangeRequest,
        earlier=earlier,
        later=later,
        out=output_folder,
        classes=dict(pairs("classes", changes.classes, str)),
        nodata=_figure("no data", changes.no_data),
        min_area=changes.smallest_change,
        min_confidence=changes.lowest_confidence,
        simplify=None if changes.simplify else 0,
        fresh=advanced.start_afresh,
    )


def cluster_for(advanced: Advanced) -> Cluster:
    """The machines that the form names, or those `LANDWEAVE_CLUSTER` does, or this one."""
    check_machines(advanced.cluster)
    chosen = advanced.cluster or os.environ.get("LANDWEAVE_CLUSTER", "local")
    return cluster_from(chosen, advanced.workers or None, {})


def _figure(name: str, text: str) -> float | None:
    return number(name, text, float) if text.strip() else None
