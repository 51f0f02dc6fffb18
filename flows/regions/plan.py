"""What will be done, decided before the first tile is looked at: scene, fitted method, keys,
memory and disk."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from odc.geo.geobox import GeoBox

from flows.compute.pool import MOST_THREADS
from flows.compute.resources import available_memory
from flows.compute.work import Work
from flows.machine import available_cores
from flows.partitions.partition import Partition
from flows.plan.aoi import area_of_interest, crs_name
from flows.plan.fit import bands_without_units, sample_facts
from flows.plan.part_key import FORMAT, scene_facts
from flows.plan.plan import PROCESS_BYTES
from flows.requests.objects import ObjectsRequest
from flows.storage.keys import content_key
from flows.storage.run_folder import RunFolder
from segmentation.spectral.indices import index_bands
from tiling.errors import InputError
from tiling.grid.geobox import crop
from tiling.grid.window import Window
from tiling.scene.scene import Scene

SEAM_BYTES = 1024
"""What the calling process holds of each pixel along a seam between tiles, at most: tables of
regions and borders, three times over while they are sorted."""

WRITER_BYTES = 128 * 2**20
"""What the libraries that write layers and draw pictures take in the calling process, about."""

SPILL_BYTES = 48
"""What waits on the disk of each pixel beside its values, about: heights, markers, and the labels
that engines leave."""


@dataclass(frozen=True)
class ObjectsPlan:
    """A partition, decided."""

    request: ObjectsRequest
    scene: Scene
    partition: Partition
    """Fitted."""
    window: Window
    """The pixels that the products show: the whole scene, or the bounds of the area of interest."""
    outline: Any = None
    """The area of interest in the scene's CRS, a shapely geometry, if there is one."""
    warnings: tuple[str, ...] = ()

    @cached_property
    def bands(self) -> tuple[str, ...]:
        """The bands that the method looks at."""
        return self.partition.bands(self.scene.band_names)

    @cached_property
    def geobox(self) -> GeoBox:
        """The grid of the products."""
        return crop(self.scene.geobox, self.window)

    @property
    def sources(self) -> tuple[str, ...]:
        """The rasters a worker has to open."""
        return self.scene.sources(self.bands)

    @cached_property
    def key(self) -> str:
        """Content key of the regions: everything they follow from, and nothing else. How the work
        is cut is not part of it."""
        return content_key(
            {
                "format": FORMAT,
                "scene": scene_facts(self.scene, self.bands),
                "partition": self.partition.identity(),
            }
        )

    @property
    def tiles(self) -> int:
        """How many tiles a pass has."""
        tile = self.request.tile
        return -(-self.scene.height // tile) * -(-self.scene.width // tile)

    @property
    def work(self) -> Work:
        """A pass over the tiles."""
        return Work(self.tiles, self.worker_bytes)

    def worker_bytes(self, cores: int, at_once: int = 1) -> int:
        """Projected peak of a worker on so many cores that works on so many tiles at once; this
        process alone works on one for each core."""
        side = self.request.tile + 2 * (self.partition.reach + 1)
        height, width = min(side, self.scene.height + 2), min(side, self.scene.width + 2)
        pixel = self.partition.bytes_per_pixel + 5 * self.scene.pixel_bytes(self.bands)
        tasks = max(at_once, min(MOST_THREADS, cores))
        return PROCESS_BYTES + tasks * (height * width * pixel + self.partition.chip_bytes)

    @property
    def client_bytes(self) -> int:
        """Projected peak of the calling process, which unites what seams cut."""
        down, across = (
            -(-n // self.request.tile) - 1 for n in (self.scene.height, self.scene.width)
        )
        seams = down * self.scene.width + across * self.scene.height
        held = self.scene.height * self.scene.width * self.partition.held_bytes
        return PROCESS_BYTES + WRITER_BYTES + 2 * seams * SEAM_BYTES + round(held)

    @property
    def spill_bytes(self) -> int:
        """What waits on the disk of the output folder while regions are made, about."""
        pixel = SPILL_BYTES + self.scene.pixel_bytes(self.bands)
        if self.request.statistics:
            pixel += 2 * 2 * 4 * len(self.bands)  # two figures of a band, before and after packing
        return self.scene.height * self.scene.width * pixel


def make_plan(request: ObjectsRequest, folder: RunFolder | None = None) -> ObjectsPlan:
    """Open the scene, fit the method, see whether memory and disk suffice.

    With a run folder, what was fitted there before is taken from it; without one, nothing is
    written. Raises `InputError` for what a person can mend.
    """
    return plan_scene(request, request.source.open(), folder)


def plan_scene(
    request: ObjectsRequest, scene: Scene, folder: RunFolder | None = None
) -> ObjectsPlan:
    """The plan of a scene that is open, whatever source the request names; as `make_plan`."""
    outline, window = area_of_interest(request.aoi, scene) if request.aoi else (None, scene.window)
    for name in request.indices:
        index_bands(name, scene.band_names)
    try:
        request.partition.check(scene)
    except InputError as error:
        raise InputError(f"{scene.name}: {error}") from error
    scene, partition = fit(scene, request.partition, folder)
    plan = ObjectsPlan(request, scene, partition, window, outline, scene.notes)
    check_room(plan)
    return plan


def fit(scene: Scene, partition: Partition, folder: RunFolder | None) -> tuple[Scene, Partition]:
    """The scene with known units, where its pixels show them, and the partition with what must be
    equal on every tile. Both follow from one sample and are never redone on resume."""
    bands = partition.bands(scene.band_names)
    key = content_key(
        {"format": FORMAT, "scene": scene_facts(scene, bands), "partition": partition.identity()}
    )
    known = folder.load_cached("partition", key) if folder else None
    unknown, claimed = bands_without_units(scene, partition.image_bands(scene.band_names))
    if known is None:
        facts = sample_facts(scene, bands, unknown, claimed)
        if not facts.sample["valid"].values.any():
            raise InputError(
                f"{scene.name} has no valid pixel to make regions of; check its no data and mask"
            )
        known = {
            "calibration": facts.calibration,
            "partition": partition.fit(facts.sample).model_dump(mode="json"),
        }
        if folder:
            folder.save_cached("partition", key, known)
    if known["calibration"]:
        scale, offset = known["calibration"]
        scene = scene.calibrate(scale, offset, [*unknown, *claimed])
    return scene, type(partition).model_validate(known["partition"])


def check_room(plan: ObjectsPlan) -> None:
    """Raise `InputError` where this process or the disk would not hold what waits there."""
    free = available_memory()
    if plan.client_bytes > free:
        raise InputError(
            f"{plan.scene.name}: this process would need about {gib(plan.client_bytes)} for what "
            f"crosses tiles, and {gib(free)} are free; take a larger --tile"
        )
    out = plan.request.out.absolute()
    there = next(place for place in (out, *out.parents) if place.exists())
    room = shutil.disk_usage(there).free
    if plan.spill_bytes > room:
        raise InputError(
            f"{plan.request.out}: about {gib(plan.spill_bytes)} wait on its disk while regions are "
            f"made, and {gib(room)} are free; make room, or name a folder elsewhere with --out"
        )


def gib(count: int) -> str:
    """Bytes as a person says them."""
    return f"{count / 2**30:.2f} GiB"


def describe(plan: ObjectsPlan) -> dict[str, str]:
    """What a person wants to know before a run, in words."""
    scene, tile = plan.scene, plan.request.tile
    asked = plan.partition.model_dump(mode="json", exclude={"fitted", "kind", "told"})
    settings = ", ".join(f"{name}={value}" for name, value in asked.items())
    cores = available_cores()
    facts = {
        "scene": f"{scene.title}: {scene.width:,} × {scene.height:,} px of about "
        f"{scene.gsd:.3g} m, {crs_name(scene)}",
        "bands": ", ".join(plan.bands),
        "method": f"{plan.partition.kind}: {settings}",
        "fit": plan.partition.fit_summary,
        "area of interest": Path(plan.request.aoi).name,
        "tiles": f"{plan.tiles:,} of up to {tile} × {tile} px",
        "memory": f"{gib(plan.worker_bytes(1))} per worker of one core, "
        f"{gib(plan.worker_bytes(cores))} of {cores}; {gib(plan.client_bytes)} for this process",
        "disk": f"{gib(plan.spill_bytes)} while regions are made",
        "warnings": "; ".join(plan.warnings),
    }
    return {name: fact for name, fact in facts.items() if fact}


def facts_of(plan: ObjectsPlan) -> dict[str, Any]:
    """The plan for programs: sizes in pixels, memory in bytes."""
    scene = plan.scene
    return {
        "scene": scene.title,
        "width": scene.width,
        "height": scene.height,
        "crs": crs_name(scene),
        "used": list(plan.bands),
        "partition": plan.partition.model_dump(mode="json"),
        "tile": plan.request.tile,
        "tiles": plan.tiles,
        "worker_bytes": plan.worker_bytes(available_cores()),
        "client_bytes": plan.client_bytes,
        "spill_bytes": plan.spill_bytes,
        "warnings": list(plan.warnings),
    }
