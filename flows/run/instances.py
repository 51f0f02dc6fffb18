"""The objects of a scene, where a network has to look at it first: what that says of interior and
boundary is kept in the run's folder, beside the parts that its shards left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import rasterio
from odc.geo.geobox import GeoBox

from flows.compute import cluster
from flows.compute.cluster import HERE, Cluster
from flows.compute.progress import Progress, silent
from flows.compute.work import Work
from flows.partitions.instances import Instances
from flows.plan import describe
from flows.plan.part_key import FORMAT, scene_facts
from flows.plan.plan import Plan, facts_of, make_plan
from flows.products.rasters import write_parts
from flows.requests.objects import ObjectsRequest
from flows.requests.request import Request
from flows.requests.segmenters import choose_segmenter
from flows.run.pipeline import make_parts
from flows.storage.keys import content_key
from flows.storage.run_folder import PartLocation, RunFolder
from tiling.classmaps.raster import NO_CONFIDENCE
from tiling.errors import InputError
from tiling.formats.shard_tiff import Part
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset
from tiling.io.files import scratch
from tiling.io.profiles import plain_profile
from tiling.scene.acquisition import place_image
from tiling.scene.band_names import BOUNDARY, INTERIOR, SIDES
from tiling.scene.from_files import open_scene
from tiling.scene.scene import Scene

SHARD = int(Request.model_fields["shard"].default)
"""Pixels along the side of what a worker does at once; changes no result."""

_BLOCK = 2048


def look(
    request: ObjectsRequest, folder: RunFolder, on: Cluster = HERE, progress: Progress = silent
) -> tuple[ObjectsRequest, Scene]:
    """What is asked of the scene once the network of a request has looked at it, and that scene
    with bands more, of interior and boundaries, in percent.

    The same whatever the shards, the workers and the retries. Raises `InputError` for what a person
    can mend.
    """
    plan = plan_look(request, folder)
    return plan.objects, find_probabilities(plan, folder, on, progress)


@dataclass(frozen=True)
class LookPlan:
    """What a network says first, decided."""

    network: Plan
    roles: tuple[str, ...]
    """The classes that are interior and, if it has any, boundaries."""
    objects: ObjectsRequest
    """What follows: the method takes the bands that are made of these classes."""
    bands: tuple[str, ...]
    """What the bands of these classes are called."""

    def slot(self, folder: RunFolder) -> PartLocation:
        """Where their probabilities are kept, by all they follow from."""
        facts = {
            "format": FORMAT,
            "scene": scene_facts(self.network.scene, self.network.bands),
            "segmenter": self.network.segmenter.identity(),
            "classes": list(self.roles),
        }
        return folder.slot(f"probabilities-{content_key(facts)[:32]}.tif")


def plan_look(request: ObjectsRequest, folder: RunFolder | None = None) -> LookPlan:
    """How the network of a request is shown its scene; `InputError` where it has no class of the
    interior of objects."""
    if not isinstance(request.partition, Instances):
        raise InputError(
            f"--segmenter {request.network} is for --method instances, and this is "
            f"{request.partition.kind}; leave one of them out"
        )
    if request.source.has_model:
        request.source.open()  # says that this is not done here, before a network runs
    asked = ask_network(request, request.network)
    names = [name for _, name, _ in asked.segmenter.legend.rows]
    try:
        roles = request.partition.find_roles(names)
    except InputError as error:
        raise InputError(f"--segmenter {request.network}: {error}") from error
    sides = any(side in roles for side in SIDES)
    boundary = "" if sides else BOUNDARY if len(roles) > 1 else "none"
    bands = {INTERIOR: INTERIOR, BOUNDARY: boundary}
    objects = request.model_copy(update={"partition": request.partition.model_copy(update=bands)})
    plan = make_plan(asked, folder)
    if sides and asked.grid == "scene" and (getattr(plan.segmenter, "zoom", None) or 1) != 1:
        plan = make_plan(asked.model_copy(update={"grid": "model"}), folder)
        told = f"{asked.segmenter.kind} {request.network} tells sides of pixels of its own size"
        told += ", so objects have those (--grid model)"
        plan = replace(plan, warnings=(*plan.warnings, told))
    return LookPlan(plan, tuple(roles.values()), objects, tuple(roles))


def ask_network(request: ObjectsRequest, name: str) -> Request:
    """How likely each class of a model is on the scene of a request."""
    return Request(
        source=request.source,
        out=request.out,
        segmenter=choose_segmenter(name, {}),
        products=("classes", "probabilities"),
        min_area=0.0,
        grid=request.grid,
        licence=request.licence,
        shard=SHARD,
    )


def find_probabilities(
    plan: LookPlan,
    folder: RunFolder,
    on: Cluster = HERE,
    progress: Progress = silent,
    scene: Scene | None = None,
) -> Scene:
    """The scene, or the one given, with bands more, such as interior and boundary, in percent: what
    an earlier run in the folder found is not done again."""
    with folder.stage("segment"):
        slot = plan.slot(folder)
        if not slot.path.exists():
            with cluster.start(on, Work.of(plan.network)) as pool:
                keep(plan, make_parts(plan.network, folder, pool, progress, "segment"), folder)
    scene = _place(scene or plan.objects.source.open(), plan.network.scene.geobox)
    said = open_scene(
        [str(slot.path.absolute())],
        bands={name: number for number, name in enumerate(plan.bands, 1)},
        nodata=NO_CONFIDENCE,
    )
    added = said.acquisitions[0].bands
    images = tuple(replace(one, bands=(*one.bands, *added)) for one in scene.acquisitions)
    notes = tuple(dict.fromkeys((*scene.notes, *plan.network.warnings)))
    return replace(scene, acquisitions=images, notes=notes)


def _place(scene: Scene, grid: GeoBox) -> Scene:
    """The scene with its images on the grid of what a network said."""
    if scene.geobox == grid:
        return scene
    images = tuple(place_image(image, grid) for image in scene.acquisitions)
    return replace(scene, geobox=grid, acquisitions=images)


def keep(plan: LookPlan, parts: Sequence[Part], folder: RunFolder) -> None:
    """Write the probabilities of what a network was asked for into their slot."""
    names = [name for _, name, _ in plan.network.segmenter.legend.rows]
    numbers = [1 + names.index(role) for role in plan.roles]
    grid = plan.network.scene.geobox
    profile = plain_profile(grid, "uint8", NO_CONFIDENCE, count=len(numbers))
    with scratch(folder.path) as work:
        pixels = work / "probabilities-of-objects.tif"
        said = write_parts(plan.network, parts, "probabilities", work)
        with open_dataset(str(said)) as source, rasterio.open(pixels, "w", **profile) as out:
            for block in Window.of_shape(grid.height, grid.width).blocks(_BLOCK):
                out.write(source.read(numbers, window=block.ranges), window=block.ranges)
        pixels.replace(plan.slot(folder).path)


def describe_plan(plan: LookPlan) -> dict[str, str]:
    """What a person wants to know before a run, in words: the network's work, and what follows."""
    settings = plan.objects.partition.model_dump(mode="json", exclude={"fitted", "kind", "told"})
    words = ", ".join(f"{name}={value}" for name, value in settings.items())
    return {**describe.describe(plan.network), "then": f"{plan.objects.partition.kind}: {words}"}


def facts_of_plan(plan: LookPlan) -> dict[str, Any]:
    """The same for programs."""
    partition = plan.objects.partition.model_dump(mode="json")
    return {**facts_of(plan.network), "partition": partition, "tile": plan.objects.tile}
