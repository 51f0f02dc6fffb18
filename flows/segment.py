"""The Prefect flow: the pipeline as an analyst meets it: a form, five steps with names, a bar, a picture, a table."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union

from prefect import flow, get_run_logger, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import FailedRun, ParameterTypeError
from prefect.logging import get_logger
from prefect.states import Completed, Failed
from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue

import segmentation.errors
import tiling.errors
from flows import cluster, pipeline
from flows.artifacts import Bar, outcome, publish_artifacts
from flows.plan import describe
from flows.report import Published
from flows.request import PRODUCTS, Product, Request, Source, checked, number, pairs
from flows.run import open_run
from segmentation.rules import Rules
from segmentation.segmenter import AnySegmenter, Segmenter, kinds, segmenter_class

T = TypeVar("T")

MISTAKES = (tiling.errors.Mistake, segmentation.errors.Mistake)


# --------------------------------------------------------------------------------------------------------------- form


class Group(BaseModel):
    """A part of the form. Text, numbers, lists and switches only: of an optional value it would ask the type first."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Bands(Group):
    """What the files do not say of themselves."""

    names: Annotated[
        str,
        Field(
            title="Band names",
            description="What each band is, such as blue=1, green=2, red=3, nir=4. Empty: the names in the file.",
        ),
    ] = ""
    no_data: Annotated[
        str, Field(title="No data", description="Pixel value that means no data. Empty: what the file declares.")
    ] = ""
    scale: Annotated[
        str, Field(title="Scale", description="Reflectance = pixel × scale + offset. Empty: found in the file.")
    ] = ""
    offset: Annotated[
        str, Field(title="Offset", description="Reflectance = pixel × scale + offset. Empty: found in the file.")
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
        str, Field(title="Date", description="Day of the image, such as 2024-06-30. Empty: what the file says.")
    ] = ""


class Output(Group):
    """What is made of the scene."""

    products: Annotated[
        list[Product],
        Field(title="Products", description="The classes always come; vectors are the polygons of the GeoPackage."),
    ] = list(PRODUCTS)
    smallest_area: Annotated[
        float,
        Field(ge=0, title="Smallest area", description="In m²: smaller regions go to a neighbour. 0 keeps them all."),
    ] = 0
    simplify: Annotated[
        bool,
        Field(title="Straight boundaries", description="Without the pixels' stairs; every polygon keeps its area."),
    ] = True
    index_means: Annotated[
        list[str],
        Field(title="Index means", description="Indices whose mean each polygon gets, such as NDVI."),
    ] = []
    area_of_interest: Annotated[
        str, Field(title="Area of interest", description="Path of a vector file whose polygons bound the products.")
    ] = ""
    reference: Annotated[
        str, Field(title="Reference", description="Path of a class raster to compare the map with.")
    ] = ""


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
            description="Which machines work: local, the address of a Dask scheduler such as tcp://host:8786, slurm, "
            "kubernetes, cuda, gateway, or a YAML file of settings.",
        ),
    ] = "local"
    start_afresh: Annotated[
        bool, Field(title="Start afresh", description="Compute everything again, reuse nothing from the folder.")
    ] = False


class _Tabs:
    """Shows a segmenter as a choice of the installed kinds, each with its settings but without what a fit fills in."""

    def __get_pydantic_json_schema__(self, _: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        choice: Any = Annotated[Union[installed()], Field(discriminator="kind")]  # noqa: UP007 - known only now
        schema = handler(TypeAdapter(choice).core_schema)
        for alternative in schema["oneOf"]:
            settings = handler.resolve_ref_schema(alternative)
            settings["properties"].pop("fitted", None)
            settings["description"] = " ".join(settings.get("description", "").partition("\n\n")[0].split())
        return {"anyOf": schema["oneOf"]}  # the classic form knows only this word; of oneOf it shows the JSON


def installed() -> tuple[type[Segmenter], ...]:
    """The classes of all segmenters that load; one that does not fails with its reason where it is asked for."""
    found = []
    for kind in kinds():
        try:
            found.append(segmenter_class(kind))
        except segmentation.errors.Mistake as mistake:
            get_logger("landweave").warning("%s", mistake)
    return tuple(found)


if TYPE_CHECKING:
    Chosen = AnySegmenter
else:
    Chosen = Annotated[AnySegmenter, _Tabs()]


# --------------------------------------------------------------------------------------------------------------- flow


def news(record: logging.LogRecord) -> bool:
    """Whether a log record says more than a state's message: of a mistake Prefect logs 40 lines of its own calls."""
    return not (record.exc_info and isinstance(record.exc_info[1], (*MISTAKES, FailedRun, ParameterTypeError)))


for logger in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(logger).addFilter(news)


def run_name() -> str:
    """What the list of runs shows: the scene and the segmenter."""
    given = runtime.flow_run.parameters
    return f"{Path(given['scene'][0]).stem} · {given['segmenter'].kind}"


@flow(
    name="segment-scene",
    description="Make a land-cover map of a scene: a styled GeoPackage, a cloud-optimised GeoTIFF, the area of every "
    "class and a picture.",
    flow_run_name=run_name,
    persist_result=False,
)
def segment_scene(
    scene: Annotated[list[str], Field(min_length=1)],
    output_folder: Annotated[str, Field(min_length=1)],
    segmenter: Chosen = Rules(),  # noqa: B008 - frozen
    bands: Bands = Bands(),  # noqa: B008 - frozen
    output: Output = Output(),  # noqa: B008 - frozen
    advanced: Advanced = Advanced(),  # noqa: B008 - frozen
) -> Any:
    """Make a land-cover map of a scene.

    Args:
        scene: Path of a raster, or of each of its single-band files. Paths are those of the machine that does the work.
        output_folder: Folder for the products; made if need be. What an earlier run left there is not done again.
        segmenter: How land cover is told. Rules need green, red and near infrared, and no training.
        bands: What the bands are, where the files do not say it.
        output: What to make, of which area, and what to compare it with.
        advanced: How the work is cut and where it runs. Nothing here changes a result.
    """
    try:
        request = request_from(scene, output_folder, segmenter, bands, output, advanced)
        published = run(request, advanced)
    except MISTAKES as mistake:
        return Failed(message=str(mistake))
    publish_artifacts(published)
    return Completed(
        message=f"{outcome(published)}; in {published.folder.resolve()}", data=list(map(str, published.files))
    )


def request_from(
    scene: list[str], output_folder: str, segmenter: AnySegmenter, bands: Bands, output: Output, advanced: Advanced
) -> Request:
    """The request that the form says."""

    def figure(name: str, text: str) -> float | None:
        return number(name, text, float) if text.strip() else None

    source = checked(
        Source,
        paths=scene,
        bands=dict(pairs("bands", bands.names, int)),
        nodata=figure("no data", bands.no_data),
        scale=figure("scale", bands.scale),
        offset=figure("offset", bands.offset),
        mask=bands.mask,
        mask_values=bands.mask_values,
        date=bands.date or None,
    )
    return checked(
        Request,
        source=source,
        out=output_folder,
        segmenter=segmenter,
        aoi=output.area_of_interest,
        shard=advanced.shard,
        products=output.products,
        min_area=output.smallest_area,
        simplify=None if output.simplify else 0,
        indices=output.index_means,
        reference=output.reference,
        fresh=advanced.start_afresh,
    )


def run(request: Request, advanced: Advanced) -> Published:
    """What `pipeline.run` does, each stage a task run."""
    logging.getLogger("rasterio").setLevel(logging.ERROR)  # GDAL remarks on every odd tag, and raises what matters
    logger = get_run_logger()
    with open_run(request.out, fresh=request.fresh) as folder:
        plan = step(
            "plan", "Open the scene, fit the segmenter, cut the grid", partial(pipeline.prepare, request, folder)
        )
        for name, fact in describe(plan).items():
            logger.info("%s: %s", name, fact)
        on = cluster.cluster_from(advanced.cluster, advanced.workers or None, {})
        with (
            empty_main(),
            cluster.start(on, shards=len(plan.shards), worker_bytes=plan.worker_bytes) as pool,
        ):
            parts = step(
                "segment",
                "Tell the land cover of every shard, in parallel",
                partial(pipeline.segment, plan, folder, pool, Bar("shards")),
            )
            rasters = step(
                "join",
                "One raster out of all shards",
                partial(pipeline.join, plan, parts, folder, pool, Bar("rasters")),
            )
            polygons = step(
                "vectorise",
                "The polygons of that raster, as a GeoPackage",
                partial(pipeline.vectorise, plan, rasters, folder, pool, Bar("tiles")),
            )
            return step(
                "publish",
                "Areas, picture, record of the run",
                partial(pipeline.publish, plan, parts, rasters, polygons, folder, pool),
            )


def step(name: str, description: str, work: Callable[[], T]) -> T:
    """The result of `work`, which Prefect sees as a task run.

    The task takes no arguments: Prefect would search them for futures, down to the last of ten thousand shards.
    """

    @task(name=name, task_run_name=name, description=description, cache_policy=NO_CACHE, persist_result=False)
    def observed() -> T:
        return work()

    return observed()


@contextmanager
def empty_main() -> Iterator[None]:
    """Processes spawned within the block import nothing of Prefect.

    `multiprocessing` has each one import the main module again, which in a flow run is `prefect.engine`: 5 s and
    100 MB a worker.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
