"""What becomes of a form that was filled in: the request, and where it leads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from flows.compute.cluster import Cluster, cluster_from
from flows.forms.groups import (
    Advanced,
    Bands,
    Changes,
    Comparison,
    Compositing,
    Fields,
    Labels,
    Machines,
    Model,
    Output,
    Passes,
    Pixels,
    Series,
    Shapes,
    Watch,
)
from flows.forms.looking import split_look
from flows.forms.naming import stem
from flows.forms.paths import path_of
from flows.parsing import validate
from flows.partitions.registry import AnyPartition
from flows.requests.access import check_machines, check_mask, check_places, reach_of_forms
from flows.requests.change import ChangeRequest
from flows.requests.dates.composite import CompositeRequest
from flows.requests.dates.series import SeriesRequest
from flows.requests.maps import Evaluation
from flows.requests.objects import ObjectsRequest
from flows.requests.overwriting import holds_another
from flows.requests.request import Request
from flows.requests.series import CollectionRequest, MonitorRequest
from flows.requests.source import Source
from flows.requests.training import Training, group_by_scene
from flows.setting import Key, answers_for, build
from flows.stac.query import Search
from segmentation.models.known_models import encoder_names
from segmentation.registry import AnySegmenter
from tiling.errors import InputError
from tiling.io.access import check_access


class Searching(Protocol):
    """A group that says whether images are searched for."""

    @property
    def search(self) -> bool: ...
    def values(self) -> Mapping[Key, Any]: ...


def within_reach(*paths: str | Path) -> None:
    """Raise `InputError` where one of these leads farther than whoever runs this allows; an empty
    path leads nowhere.

    For what is written, or read late: whatever opens a scene looks by itself.
    """
    for path in filter(None, map(str, paths)):
        check_access(path)


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
    return build(Source, bands.values() | answers_for(Source, paths=paths))


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
    out = path_of(output_folder)
    own = answers_for(
        Request, source=source, out=out or folder_of(list(source.paths)), segmenter=segmenter
    )
    request = build(Request, output.values() | advanced.values() | own)
    if not out and not request.fresh and holds_another(request):
        # the map that is there, of another scene of this name or by another method, stays
        model = stem(getattr(segmenter, "bundle", "")) or segmenter.kind
        request = request.model_copy(update={"out": Path(f"{request.out}-{model}")})
    check_places(request)
    return request


def with_search(template: Request, series: Series) -> Request:
    """The request whose scenes are looked for, where the form says so."""
    source = search_in(template.source, series, template.aoi)
    return template.model_copy(update={"source": source})


def search_in(source: Source, series: Searching, aoi: str = "") -> Source:
    """The source whose scenes are looked for in a catalogue, where the form says so."""
    if not series.search:
        return source
    paths = source.paths
    if len(paths) != 1:
        raise InputError(
            f"a search is in one STAC catalogue and {len(paths)} paths are given; leave one"
        )
    values = series.values()
    search = build(Search, {**values} | answers_for(Search, catalogue=paths[0], aoi=aoi))
    about = source.model_dump() | {
        "paths": (),
        "search": search,
        "bbox": values.get((Source, "bbox")),
    }
    return validate(Source, **about)


def collection_from(template: Request, series: Series) -> CollectionRequest:
    """The request that the form of a collection says."""
    own = answers_for(CollectionRequest, template=with_search(template, series))
    return build(CollectionRequest, series.values() | own)


def monitor_from(template: Request, watch: Watch) -> MonitorRequest:
    """The request that the form of a place to watch says."""
    request = build(
        MonitorRequest,
        watch.values() | answers_for(MonitorRequest, template=with_search(template, watch)),
    )
    within_reach(request.zones)
    return request


def training_from(
    scenes: list[str],
    labels: list[str],
    output_folder: str,
    meaning: Labels,
    model: Model,
    bands: Bands,
) -> Training:
    """The training that the form says."""
    labels, output_folder = list(map(path_of, labels)), path_of(output_folder)
    sources = [source_from(paths, bands) for paths in group_by_scene(scenes, len(labels))]
    values = meaning.values() | model.values()
    start = values[Training, "weights"]
    # one with a name is fetched from hosts in reach alone
    by_name = start in ("imagenet", "none", *encoder_names())
    within_reach(*labels, output_folder, "" if by_name else start)
    own = answers_for(Training, sources=sources, labels=labels, out=output_folder)
    return build(Training, values | own)


def evaluation_from(
    map: str, reference: str, output_folder: str, comparison: Comparison
) -> Evaluation:
    """The comparison of a map with a reference that the form says."""
    map, reference, output_folder = path_of(map), path_of(reference), path_of(output_folder)
    within_reach(output_folder)
    own = answers_for(Evaluation, map=map, reference=reference, out=output_folder)
    return build(Evaluation, comparison.values() | own)


def changes_from(
    earlier: str, later: str, output_folder: str, changes: Changes, advanced: Advanced
) -> ChangeRequest:
    """The comparison of two maps that the form says."""
    earlier, later, output_folder = path_of(earlier), path_of(later), path_of(output_folder)
    within_reach(earlier, later, output_folder)
    fresh = advanced.values()[Request, "fresh"]
    own = answers_for(ChangeRequest, earlier=earlier, later=later, out=output_folder, fresh=fresh)
    return build(ChangeRequest, changes.values() | own)


def objects_from(
    scene: list[str],
    output_folder: str,
    method: AnyPartition,
    bands: Bands,
    shapes: Shapes,
    advanced: Passes,
) -> ObjectsRequest:
    """The partition of a scene that the form says."""
    source = source_from(scene, bands)
    out = path_of(output_folder) or f"{folder_of(list(source.paths))}-{method.kind}"
    partition, looks = split_look(method)
    looks = {name: path_of(value) for name, value in looks.items()}
    own = answers_for(ObjectsRequest, source=source, out=out, partition=partition, **looks)
    request = build(ObjectsRequest, shapes.values() | advanced.values() | own)
    check_places(request)
    return request


def composite_from(
    images: list[str], output_folder: str, name: str, how: Compositing, bands: Bands
) -> CompositeRequest:
    """The composite of several dates that the form says, a file of that name."""
    folder = path_of(output_folder)
    if "://" in folder:
        raise InputError(
            f"{folder} is on a store, to which landweave composite writes and forms do not; name a "
            "folder"
        )
    out = Path(folder) / name
    scenes = _dated(images, how.values().get((CompositeRequest, "like")), str(out))
    own = answers_for(CompositeRequest, scenes=scenes, out=out, source=about_files(bands))
    return build(CompositeRequest, how.values() | own)


def series_from(
    images: list[str],
    names: list[str],
    output_folder: str,
    fields: Fields,
    pixels: Pixels,
    bands: Bands,
) -> SeriesRequest:
    """The series of indices through several dates that the form says."""
    out, values = path_of(output_folder), fields.values() | pixels.values()
    others = [values.get((SeriesRequest, name)) for name in ("like", "zones")]
    scenes = _dated(images, *others, out)
    about = {"names": names, "out": out, "source": about_files(bands)}
    own = answers_for(SeriesRequest, scenes=scenes, **about)
    return build(SeriesRequest, values | own)


def _dated(images: list[str], *others: str | None) -> list[str]:
    """The paths of images of several dates; all of them and others lead where they may."""
    paths = [path_of(path) for path in images]
    if not all(paths):
        raise InputError("a path of the images is empty; fill it in")
    within_reach(*paths, *(other or "" for other in others))
    return paths


def about_files(bands: Bands) -> Source:
    """What a form says of all images alike."""
    source = build(Source, bands.values() | answers_for(Source, paths=()))
    check_mask(source)
    return source


def cluster_for(advanced: Machines) -> Cluster:
    """The machines that the form names, or those `LANDWEAVE_CLUSTER` does, or this one."""
    values = advanced.values()
    name = values[Cluster, "kind"]
    check_machines(name)
    return default_cluster(name, values.get((Cluster, "workers")))


def default_cluster(name: str = "", workers: int | None = None) -> Cluster:
    """The machines of that name, or those `LANDWEAVE_CLUSTER` names, or this one."""
    return cluster_from(name or os.environ.get("LANDWEAVE_CLUSTER", "local"), workers, {})
