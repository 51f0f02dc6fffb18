"""The forms an analyst fills in: groups of settings in a GIS person's words, and the requests they become."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue

import segmentation.errors
from flows import choices
from flows.choices import AS_FILE_SAYS, METHODS, PRODUCT_WORDS, SENSORS, USUAL_PRODUCTS, index_of, indices_in_words
from flows.cluster import Cluster, cluster_from
from flows.collection import CollectionRequest
from flows.monitor import MonitorRequest
from flows.naming import stem
from flows.overwriting import holds_another
from flows.reach import reach_of_forms
from flows.request import Product, Request, Source, check_machines, check_places, checked, number, pairs
from flows.train import Training, grouped, recipe_from
from segmentation.architectures import architectures
from segmentation.indices import catalogue
from segmentation.segmenter import AnySegmenter, Segmenter, kinds, segmenter_class
from segmentation.trees import FORESTS
from tiling.bands import COMMON_NAMES
from tiling.errors import Mistake
from tiling.reach import check_reach


class Group(BaseModel):
    """A part of the form. Text, numbers, lists and switches only: of an optional value it would ask the type first."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class _Choices:
    """Shows a list of texts as a choice of some that are known when the form is made."""

    def __init__(self, known: Callable[[], Sequence[str]]) -> None:
        self._known = known

    def __get_pydantic_json_schema__(self, core: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(core) | {"items": {"type": "string", "enum": list(self._known())}}


class _Listed:
    """Shows a text as one of a list, with what is not in it on a tab of its own; where the list is empty, as a text."""

    def __init__(self, known: Callable[[], Sequence[str]], otherwise: str) -> None:
        self._known, self._otherwise = known, otherwise

    def __get_pydantic_json_schema__(self, core: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        asked = handler(core)
        if not (known := list(self._known())):
            return asked
        kind = {name: asked.pop(name) for name in ("type", "minLength") if name in asked}
        chosen = {"title": "From the list", "type": "string", "enum": known}
        return asked | {"anyOf": [chosen, kind | {"title": self._otherwise}]}


NUMBER = {"pattern": r"^\s*([-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|nan|NaN)?\s*$"}
"""What Submit takes where a number may be left out."""

DAY = {"pattern": r"^\s*(\d{4}-\d{2}-\d{2})?\s*$"}

PAIRS = {"pattern": r"^\s*([^=,]+=[^=,]*(,\s*[^=,]+=[^=,]*)*)?,?\s*$"}
"""What Submit takes where names and values are asked for: `blue=1, green=2`."""


class Bands(Group):
    """What the files do not say of themselves."""

    names: Annotated[
        str,
        Field(
            title="Band names",
            description="What each band is, such as blue=1, green=2, red=3, nir=4. Empty: the names in the file.",
            json_schema_extra=PAIRS,
        ),
    ] = ""
    no_data: Annotated[
        str,
        Field(
            title="No data",
            description="Pixel value that means no data. Empty: what the file declares.",
            json_schema_extra=NUMBER,
        ),
    ] = ""
    scale: Annotated[
        str,
        Field(
            title="Scale",
            description="Reflectance = pixel × scale + offset. Empty: found in the file.",
            json_schema_extra=NUMBER,
        ),
    ] = ""
    offset: Annotated[
        str,
        Field(
            title="Offset",
            description="Reflectance = pixel × scale + offset. Empty: found in the file.",
            json_schema_extra=NUMBER,
        ),
    ] = ""
    mask: Annotated[
        str,
        Field(
            title="Mask",
            description="What marks clouds and other pixels to leave out: band=5 for a band of the scene, or the path "
            "of a raster. Empty: none.",
        ),
    ] = ""
    mask_values: Annotated[
        list[int],
        Field(title="Mask values", description="Values of the mask to leave out. None: everything but 0."),
    ] = []
    date: Annotated[
        str,
        Field(
            title="Date",
            description="Day of the image, such as 2024-06-30. Empty: what the file says.",
            json_schema_extra=DAY,
        ),
    ] = ""


class Output(Group):
    """What is made of the scene."""

    products: Annotated[
        list[str],
        Field(
            title="Products",
            description="The classes always come; polygons fill the GeoPackage; the last three say how sure it is.",
            json_schema_extra={"items": {"type": "string", "enum": list(PRODUCT_WORDS)}},
        ),
    ] = USUAL_PRODUCTS
    smallest_area: Annotated[
        str,
        Field(
            title="Smallest area",
            description="In m²: smaller regions go to a neighbour. Empty: four pixels; 0 keeps them all.",
            json_schema_extra=NUMBER,
        ),
    ] = ""
    simplify: Annotated[
        bool,
        Field(title="Straight boundaries", description="Without the pixels' stairs; every polygon keeps its area."),
    ] = True
    index_means: Annotated[
        list[str],
        _Choices(indices_in_words),
        Field(title="Index means", description="Indices whose mean each polygon gets."),
    ] = []
    area_of_interest: Annotated[
        str, Field(title="Area of interest", description="Path of a vector file whose polygons bound the products.")
    ] = ""
    reference: Annotated[
        str, Field(title="Reference", description="Path of a class raster to compare the map with.")
    ] = ""
    despite_doubts: Annotated[
        bool,
        Field(
            title="Despite doubts",
            description="Map a scene, with a warning, even where its pixels are not what the network was trained on. "
            "The same as --preflight warn.",
        ),
    ] = False


class Advanced(Group):
    """How the work is done; nothing here changes a result."""

    shard: Annotated[
        int, Field(ge=1, title="Shard", description="Pixels along the side of a piece sent to a worker.")
    ] = 2048
    workers: Annotated[int, Field(ge=0, title="Workers", description="Processes; 0 fits them to the machine.")] = 0
    cluster: Annotated[
        str,
        Field(
            title="Cluster",
            description="Which machines work. Empty: those that whoever runs this has set up. Else local, cuda, slurm, "
            "kubernetes, gateway, or the address of a Dask scheduler such as tcp://host:8786.",
        ),
    ] = ""
    start_afresh: Annotated[
        bool, Field(title="Start afresh", description="Compute everything again, reuse nothing from the folder.")
    ] = False


class Labels(Group):
    """What the labels mean, and which of them are kept for judging."""

    column: Annotated[
        str, Field(title="Column", description="Column of the classes in a vector file. Empty: found by itself.")
    ] = ""
    classes: Annotated[
        str,
        Field(
            title="Class names",
            description="What the values mean, such as 1=Water, 2=Forest; others are unlabelled. Empty: all, by the "
            "names in the file.",
        ),
    ] = ""
    regroup: Annotated[
        str, Field(title="Regroup", description="Values to count as others, such as 5=4, 6=4. Empty: none.")
    ] = ""
    no_data: Annotated[
        str, Field(title="Unlabelled", description="Value of unlabelled pixels in class rasters. Empty: from the file.")
    ] = ""
    split: Annotated[
        str,
        Field(
            title="Kept for judging",
            description="How labels are parted into those to learn from and those to judge by: blocks, shapes, scenes, "
            "or the path of a raster that marks the parts. Empty: what suits the labels.",
        ),
    ] = ""


class Model(Group):
    """Which network or forest, and how long it learns. Whatever is empty or 0 follows from the data."""

    architecture: Annotated[
        str,
        Field(
            title="Architecture",
            description="Kind of network, or of forest. Empty: the one that suits the data.",
            json_schema_extra={"enum": ["", *architectures(), *FORESTS]},
        ),
    ] = ""
    encoder: Annotated[
        str, Field(title="Encoder", description="Its encoder, such as resnet34. Empty: the architecture's own.")
    ] = ""
    start_from: Annotated[
        str, Field(title="Start from", description="Folder of a bundle to go on from. Empty: from nothing.")
    ] = ""
    steps: Annotated[int, Field(ge=0, title="Steps", description="How long it learns; 0: from the data.")] = 0
    seed: Annotated[int, Field(ge=0, title="Seed", description="The same seed gives the same network.")] = 0
    name: Annotated[str, Field(title="Name", description="What the model is called. Empty: as its folder.")] = ""
    licence: Annotated[str, Field(title="Licence", description="Under which others may use it.")] = "not stated"
    start_afresh: Annotated[
        bool, Field(title="Start afresh", description="Begin again, do not go on with an interrupted training.")
    ] = False


class Comparison(Group):
    """What is compared with what."""

    column: Annotated[
        str, Field(title="Column", description="Column of the classes, where the reference is a vector file.")
    ] = ""
    map_classes: Annotated[
        str,
        Field(
            title="Map classes",
            description="Classes of the map that count as others, such as 5=4; 9= leaves class 9 out. Empty: none.",
        ),
    ] = ""
    reference_classes: Annotated[
        str, Field(title="Reference classes", description="The same for the reference. Empty: none.")
    ] = ""
    mask: Annotated[
        str, Field(title="Mask", description="Path of a raster that says where to compare. Empty: everywhere.")
    ] = ""
    mask_value: Annotated[int, Field(title="Mask value", description="Its value where pixels are compared.")] = 1
    grid: Annotated[
        Literal["auto", "map", "reference"],
        Field(
            title="Grid",
            description="Whose pixels are compared. Auto: the map's, unless the reference is more than twice as fine.",
        ),
    ] = "auto"
    tolerance: Annotated[
        str,
        Field(
            title="Tolerance",
            description="How many metres boundaries may lie apart and be the same. Empty: two pixels; 0: not compared.",
        ),
    ] = ""


class Series(Group):
    """Which files are scenes, and what their report is called."""

    file_names: Annotated[
        str, Field(title="File names", description="Which files of a folder are scenes, such as *_SR.tif. Empty: all.")
    ] = ""
    title: Annotated[str, Field(title="Title", description="What the report is called. Empty: as the folder.")] = ""
    search: Annotated[
        bool,
        Field(
            title="Search",
            description="The path above is the address of a STAC API or catalogue; what is found there is mapped, day "
            "by day.",
        ),
    ] = False
    collections: Annotated[
        list[str], Field(title="Collections", description="Ids of the collections to search in. None: all.")
    ] = []
    dates: Annotated[
        str, Field(title="Dates", description="What days to search, such as 2024-05/2024-09, or 2024. Empty: all.")
    ] = ""
    bounds: Annotated[
        str,
        Field(
            title="Bounds",
            description="West, south, east and north in degrees, such as 9.1, 46, 9.6, 46.4, of the search and of each "
            "map. Empty: the area of interest is searched.",
        ),
    ] = ""
    most_items: Annotated[
        int, Field(ge=1, title="Most items", description="If a search finds more, nothing is done.")
    ] = 1000
    cloudiest: Annotated[
        float,
        Field(
            ge=0,
            le=100,
            title="Cloudiest",
            description="In percent: items of more cloud are left out, and below 100 those that do not tell.",
        ),
    ] = 100


class Watch(Series):
    """What counts as an image, and what counts as a change."""

    most_cloud: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            title="Most cloud",
            description="Part of the area, 0 to 1, that may be cloud or without data; a worse image is not used.",
        ),
    ] = 0.3
    smallest_change: Annotated[
        float, Field(ge=0, title="Smallest change", description="In m²: a smaller patch is no change. 0 counts all.")
    ] = 0
    lowest_confidence: Annotated[
        float,
        Field(ge=0, le=100, title="Lowest confidence", description="In percent: less sure pixels are not compared."),
    ] = 0
    zones: Annotated[
        str,
        Field(
            title="Zones",
            description="Path of a polygon layer, such as parcels or districts: each class is measured in each. "
            "Empty: none.",
        ),
    ] = ""
    expected_every: Annotated[
        int,
        Field(ge=0, title="Expected every", description="Days after which a warning says imagery is late. 0: never."),
    ] = 0


class _Tabs:
    """Shows a segmenter as a choice of the installed kinds, each with its settings but without what a fit fills in."""

    def __get_pydantic_json_schema__(self, _: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        choice: Any = Annotated[Union[installed()], Field(discriminator="kind")]  # noqa: UP007 - known only now
        schema = handler(TypeAdapter(choice).core_schema)
        for alternative in schema["oneOf"]:
            settings = handler.resolve_ref_schema(alternative)
            settings["properties"].pop("fitted", None)
            settings["properties"].pop("measures", None)  # they follow from the products
            kind = settings["properties"]["kind"]
            kind["enum"] = [kind.pop("const")]  # of a const the form says that it cannot be changed
            kind["title"] = "Method"
            if "index" in settings["properties"]:
                settings["properties"]["index"]["enum"] = [*catalogue(), *COMMON_NAMES]
            if "bundle" in settings["properties"]:
                _list_models(settings["properties"]["bundle"], kind["enum"][0])
            settings["description"] = " ".join(settings.get("description", "").partition("\n\n")[0].split())
        return {"anyOf": schema["oneOf"]}  # the classic form knows only this word; of oneOf it shows the JSON


def _list_models(bundle: dict[str, Any], kind: str) -> None:
    """Offer the models of a kind that there are beside the path of another."""
    known = choices.models(kind)
    if known:
        bundle.pop("type", None)
        bundle["anyOf"] = [
            {"title": "From the list", "type": "string", "enum": known},
            {"title": "Another folder", "type": "string"},
        ]


def installed() -> tuple[type[Segmenter], ...]:
    """The classes of all segmenters that load; one that does not fails with its reason where it is asked for."""
    found = []
    for kind in kinds():
        try:
            found.append(segmenter_class(kind))
        except segmentation.errors.Mistake as mistake:
            logging.getLogger("landweave").warning("%s", mistake)
    return tuple(found)


if TYPE_CHECKING:
    Chosen = AnySegmenter
    Indices = list[str]
    SceneChoice = str
    MethodChoice = str
    SensorChoice = str
else:
    Chosen = Annotated[AnySegmenter, _Tabs()]
    Indices = Annotated[list[str], Field(min_length=1), _Choices(catalogue)]
    SceneChoice = Annotated[str, Field(min_length=1), _Listed(choices.scenes, "Path")]
    MethodChoice = Annotated[
        str, Field(min_length=1), _Listed(lambda: [*METHODS, *choices.models()], "Folder of a model")
    ]
    SensorChoice = Annotated[str, Field(json_schema_extra={"enum": [AS_FILE_SAYS, *SENSORS]})]

Text = Annotated[str, Field(min_length=1)]
Paths = Annotated[list[str], Field(min_length=1)]


# ------------------------------------------------------------------------------------------------------------ requests


def within_reach(*paths: str | Path) -> None:
    """Raise `Mistake` where one of these leads farther than whoever runs this allows; an empty path leads nowhere.

    For what is written, or read late: whatever opens a scene looks by itself.
    """
    for path in filter(None, map(str, paths)):
        check_reach(path)


def path_of(typed: str) -> str:
    """A path as a person means it who typed or pasted it: without quotes and blanks around it, `~` as the home folder.

    >>> path_of(' "/data/my scene.tif"\\n')
    '/data/my scene.tif'
    """
    path = typed.strip()
    while len(path) > 1 and path[0] == path[-1] and path[0] in "\"'":
        path = path[1:-1].strip()
    name, equals, rest = path.partition("=")
    if equals and name.replace(".", "_").isidentifier():  # a band of a scene in single files: red=B04.tif
        return f"{name}={path_of(rest)}"
    return str(Path(path).expanduser()) if path.startswith("~") else path


def folder_of(scene: list[str]) -> str:
    """Where the products of a scene go if nobody says where: `maps` and its name, in the first data folder or beside
    it."""
    first = scene[0].rpartition("=")[2]
    name = PurePosixPath(first.rstrip("/")).stem
    roots = reach_of_forms().roots
    if not roots and "://" in first:
        raise Mistake(f"{first} lies on another machine; say in --out where its products go")
    return str((roots[0] if roots else Path(first).parent) / "maps" / name)


def source_from(paths: list[str], bands: Bands) -> Source:
    """A scene as the form says it."""
    paths = [path_of(path) for path in paths]
    if not all(paths):
        raise Mistake("a path of the scene is empty; fill it in")
    return checked(
        Source,
        paths=paths,
        bands=dict(pairs("band names", bands.names, int)),
        nodata=_figure("no data", bands.no_data),
        scale=_figure("scale", bands.scale),
        offset=_figure("offset", bands.offset),
        mask=path_of(bands.mask),
        mask_values=bands.mask_values,
        date=bands.date.strip() or None,
    )


def request_from(
    scene: list[str], output_folder: str, segmenter: AnySegmenter, bands: Bands, output: Output, advanced: Advanced
) -> Request:
    """The request that the form of a scene, or of many alike, says."""
    source = source_from(scene, bands)
    request = checked(
        Request,
        source=source,
        out=path_of(output_folder) or folder_of(list(source.paths)),
        segmenter=segmenter,
        aoi=path_of(output.area_of_interest),
        shard=advanced.shard,
        products=products_of(output.products),
        min_area=_figure("smallest area", output.smallest_area),
        simplify=None if output.simplify else 0,
        indices=list(map(index_of, output.index_means)),
        reference=path_of(output.reference),
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
    """The products that a form names in words, or by their own names; the classes are always among them."""
    known: dict[str, Product] = {**PRODUCT_WORDS, **{product: product for product in PRODUCT_WORDS.values()}}
    for word in words:
        if word not in known:
            raise Mistake(f"products: there is no {word}; there are {', '.join(PRODUCT_WORDS)}")
    asked = {"classes", *(known[word] for word in words)}
    return [product for product in PRODUCT_WORDS.values() if product in asked]


def searched(template: Request, series: Series) -> Request:
    """The request whose scenes are looked for, where the form says so."""
    from flows.stac import Search

    if not series.search:
        return template
    paths = template.source.paths
    if len(paths) != 1:
        raise Mistake(f"a search is in one STAC catalogue and {len(paths)} paths are given; leave one")
    bounds = tuple(number("bounds", part, float) for part in series.bounds.split(",")) if series.bounds else None
    if bounds is not None and len(bounds) != 4:
        raise Mistake(f"bounds: {series.bounds} has {len(bounds)} numbers; write west, south, east, north")
    search = checked(
        Search,
        catalogue=paths[0],
        collections=series.collections,
        when=series.dates,
        aoi=template.aoi,
        max_cloud=series.cloudiest if series.cloudiest < 100 else None,
        most=series.most_items,
    )
    about = template.source.model_dump() | {"paths": (), "search": search, "bbox": bounds}
    return template.model_copy(update={"source": checked(Source, **about)})


def collection_from(template: Request, series: Series) -> CollectionRequest:
    """The request that the form of a collection says."""
    template = searched(template, series)
    return checked(CollectionRequest, template=template, pattern=series.file_names, title=series.title)


def monitor_from(template: Request, watch: Watch) -> MonitorRequest:
    """The request that the form of a place to watch says."""
    zones = path_of(watch.zones)
    within_reach(zones)
    return checked(
        MonitorRequest,
        template=searched(template, watch),
        title=watch.title,
        pattern=watch.file_names,
        zones=zones,
        max_invalid=watch.most_cloud,
        min_change_area=watch.smallest_change,
        min_confidence=watch.lowest_confidence,
        expect_days=watch.expected_every,
    )


def training_from(
    scenes: list[str], labels: list[str], output_folder: str, meaning: Labels, model: Model, bands: Bands
) -> Training:
    """The training that the form says."""
    labels, output_folder, start_from = list(map(path_of, labels)), path_of(output_folder), path_of(model.start_from)
    sources = [source_from(paths, bands) for paths in grouped(scenes, len(labels))]
    within_reach(*labels, output_folder, start_from)
    return checked(
        Training,
        sources=sources,
        labels=labels,
        out=output_folder,
        column=meaning.column,
        classes={number("class names", value, int): name for value, name in pairs("class names", meaning.classes, str)},
        regroup={number("regroup", value, int): to for value, to in pairs("regroup", meaning.regroup, int)},
        labels_nodata=_figure("unlabelled", meaning.no_data),
        split=path_of(meaning.split),
        recipe=recipe_from(
            {
                name: value
                for name in ("architecture", "encoder", "steps", "seed")
                if (value := getattr(model, name))  # the rest follows from the data, or is not for a forest to say
            }
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


def cluster_for(advanced: Advanced) -> Cluster:
    """The machines that the form names, or those `LANDWEAVE_CLUSTER` does, or this one."""
    check_machines(advanced.cluster)
    chosen = advanced.cluster or os.environ.get("LANDWEAVE_CLUSTER", "local")
    return cluster_from(chosen, advanced.workers or None, {})


def _figure(name: str, text: str) -> float | None:
    return number(name, text, float) if text.strip() else None
