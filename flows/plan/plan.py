"""What will be done, decided before the first pixel moves: every mistake that can be seen early is
raised here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import lcm
from typing import Any

from odc.geo.geobox import GeoBox

from flows.errors import INPUT_ERRORS
from flows.machine import available_cores
from flows.plan.aoi import area_of_interest, crs_name
from flows.plan.fit import fit
from flows.plan.mask import hidden_values, mask_legend, mask_request
from flows.plan.model_grid import ModelScene, on_model_grid, pixels_in_one
from flows.plan.part_key import FORMAT, scene_facts, window_facts
from flows.plan.shard import ShardJob
from flows.requests.request import Request, measures_among, warn_of_large_min_area
from flows.storage.keys import content_key
from flows.storage.run_folder import PartLocation, RunFolder
from segmentation.legend import Legend
from segmentation.segmenter import Segmenter
from segmentation.spectral.indices import index_bands
from tiling.classmaps.raster import open_classes
from tiling.errors import InputError, redact
from tiling.grid.geobox import crop
from tiling.grid.tiles import Shard, Shards, TileGrid
from tiling.grid.window import Window
from tiling.labels.open_labels import is_raster
from tiling.labels.vector_labels import read_shapes
from tiling.scene.acquisition import Mask
from tiling.scene.from_stac import coverage_of
from tiling.scene.prefetch import common_block, fetch_ahead
from tiling.scene.scene import Scene

RESAMPLING_BYTES = 96 * 2**20
"""What the readers of a worker take beside that where they bring pixels onto another grid."""


PROCESS_BYTES = 400 * 2**20
"""What a worker process takes before it holds a pixel, beside libraries of its segmenter alone."""


@dataclass(frozen=True)
class MaskPlan:
    """A run that comes first and tells which pixels are left out."""

    plan: Plan
    values: tuple[int, ...]
    """Values of its classes that are left out."""
    grow: int = 0
    """Pixels around them that are left out too."""
    raster: Mask | None = None
    """What it told, once it has run."""

    @property
    def legend(self) -> Legend:
        """The classes of the mask."""
        return mask_legend(self.plan.legend, self.grow)

    @property
    def words(self) -> str:
        """What is left out by what, in words."""
        legend, segmenter = self.plan.legend, self.plan.segmenter
        names = ", ".join(name for value, name, _ in legend.rows if value in self.values)
        around = f" and {self.grow} px around" if self.grow else ""
        bundle = getattr(segmenter, "loaded_bundle", None)
        return f"{names}{around} by {bundle.card.name if bundle else segmenter.kind}"

    def slot(self, folder: RunFolder) -> PartLocation:
        """Where it is kept, by all it follows from."""
        facts = {
            "format": FORMAT,
            "scene": self.plan.scene_facts,
            "segmenter": self.plan.segmenter.identity(),
            "left out": [list(self.values), self.grow],
        }
        return folder.slot(f"mask-{content_key(facts)[:32]}.tif")

    def check(self) -> None:
        """Raise `InputError` where the scene is not the one any more that its run looked at."""
        if self.plan.scene.identities() != self.plan.scene_facts["files"]:
            raise InputError(
                f"{self.plan.scene.name} was replaced while a model looked for what to leave out "
                "of it; start again"
            )

    def made(self, folder: RunFolder) -> MaskPlan:
        """The same after its run in `folder`: workers read it where they find parts."""
        slot = self.slot(folder)
        hidden = tuple(
            value for value in self.legend.values if value not in self.plan.legend.values
        )
        raster = Mask(str(slot.remote or slot.path.absolute()), 1, (*self.values, *hidden))
        return replace(self, raster=raster)


@dataclass(frozen=True)
class Plan:
    """A run, decided: scene, fitted segmenter, cut, and the keys under which its parts are kept."""

    request: Request
    scene: Scene
    segmenter: Segmenter
    legend: Legend
    """The classes of the map: those of the segmenter, and Unknown where pixels may become it."""
    lattice: TileGrid
    window: Window
    """The pixels the products show: the whole scene, or the bounds of the area of interest."""
    outline: Any = None
    """The area of interest in the scene's CRS, a shapely geometry, if there is one."""
    warnings: tuple[str, ...] = ()
    """What a person should know of this segmenter on this scene."""
    opened: Scene | None = None
    """The scene as its files have it, before a sample said what its numbers mean."""
    mask: MaskPlan | None = None
    """The run that tells which pixels are left out, where a model does."""

    @cached_property
    def bands(self) -> tuple[str, ...]:
        return self.segmenter.bands(self.scene.band_names)

    @cached_property
    def geobox(self) -> GeoBox:
        """The grid of the products."""
        return crop(self.scene.geobox, self.window)

    @property
    def shards(self) -> Shards:
        """The shards to run. An area of interest picks whole shards, so that their parts serve
        every other area too; not so where pixels outside it have a say in the class of an object.
        """
        return self.lattice.shards(self.scene.window if self.request.objects else self.window)

    @property
    def sources(self) -> tuple[str, ...]:
        """The rasters a worker has to open."""
        return self.scene.sources(self.bands)

    @cached_property
    def scene_facts(self) -> dict[str, Any]:
        """What the scene was when it was first asked for: files that are replaced later get no part
        of these."""
        return scene_facts(self.scene, self.bands)

    def part_key(self, shard: Shard, runtime: dict[str, str]) -> str:
        """Content key of a shard's part: everything its pixels follow from, and nothing else.

        `runtime` is what the workers compute with; they are asked once, when they are there.
        """
        return content_key(
            {
                "format": FORMAT,
                "scene": self.scene_facts,
                "core": window_facts(shard.core),
                "chips": [window_facts(tile.chip) for tile in shard.tiles],
                "segmenter": self.segmenter.identity(),
                "runtime": runtime,
            }
        )

    def job(self, shard: Shard, runtime: dict[str, str], folder: RunFolder) -> ShardJob:
        """What a worker needs to make the part of `shard` in `folder`."""
        slot = folder.slot(f"{shard.name}-{self.part_key(shard, runtime)[:32]}.tif")
        return ShardJob(self.scene, self.bands, self.segmenter, shard, slot)

    def worker_bytes(self, threads: int, at_once: int = 1) -> int:
        """Projected peak memory of a worker that computes on `threads` cores, `at_once` shards at a
        time.

        It follows from the shard, never from the raster.
        """
        segmenter = self.segmenter
        # One amid others computes more chips than one in a corner, where chips are blended.
        shards = self.shards
        shard = max((shards[0], shards[len(shards) // 2]), key=lambda shard: shard.window.area)
        pixel = self.scene.pixel_bytes(self.bands) + 1
        pixel *= 2 if self.scene.is_mosaic else 1  # an image is read beside what it fills
        moved = isinstance(self.scene, ModelScene) or any(
            image.band(name).resampled for image in self.scene.acquisitions for name in self.bands
        )
        chip = self.lattice.chip_shape[0] * self.lattice.chip_shape[1]
        kept = shard.core.area * segmenter.bytes_kept
        fixed = PROCESS_BYTES + segmenter.library_bytes + RESAMPLING_BYTES * moved
        shared = at_once * (shard.window.area * pixel + kept)
        return fixed + shared + chip * segmenter.bytes_per_pixel(threads)


def plan_mask(request: Request, folder: RunFolder | None = None) -> MaskPlan | None:
    """The run that tells which pixels a request leaves out, where a model does."""
    source = request.source
    if not source.has_model:
        return None
    asked = mask_request(request)
    # before anything is written
    values = hidden_values(source, asked.segmenter.legend)
    return MaskPlan(make_plan(asked, folder), values, source.mask_grow)


def make_plan(
    request: Request,
    folder: RunFolder | None = None,
    *,
    ahead: bool = False,
    mask: MaskPlan | None = None,
) -> Plan:
    """Open the scene, find out what its numbers mean, fit the segmenter, cut the grid.

    With a run folder, what was fitted there before is taken from it; without one, nothing is
    written. With `ahead` remote files are fetched whole where that costs fewer bytes than sample
    and shards would one by one. `mask` is what a model left out in a run that came first; without
    it the plan says of such a run what it takes.
    """
    mask = mask or plan_mask(request, folder)
    scene = request.source.unmasked.open()
    if mask and mask.raster:
        scene = scene.with_mask(mask.raster)
    if request.reference:
        check_reference(request.reference)
    if request.unknown_below and not (request.segmenter.has_confidence or request.objects):
        raise not_sure(request.segmenter.kind)
    check_grid(request)
    outline, window = shown(request, scene)
    to_read, opened = window if ahead else None, scene
    scene, segmenter, warnings = fit(scene, request.segmenter, folder, request.preflight, to_read)
    # What is missing is said now, not when the polygons are made and their bands read a second
    # time.
    again = [band for name in request.indices for band in index_bands(name, scene.band_names)]
    if to_read and again:
        fetch_ahead(scene, tuple({*segmenter.bands(scene.band_names), *again}), to_read)
    if request.grid == "model":
        opened, _ = on_model_grid(opened, segmenter)
        scene, segmenter = on_model_grid(scene, segmenter)
        outline, window = shown(request, scene)
    # after the fit, which products leave alone
    segmenter = with_measures(segmenter, request)
    lattice = cut(request, scene, segmenter)
    told = mask.plan.warnings if mask else ()
    warnings = (
        *warnings,
        *(f"of the mask: {warning}" for warning in told if warning not in warnings),
        *warn_of_large_min_area(request.min_area or 0.0, window.area * scene.gsd**2, scene.name),
    )
    own = segmenter.legend
    legend = own.with_unknown() if request.unknown_below else own
    return Plan(request, scene, segmenter, legend, lattice, window, outline, warnings, opened, mask)


def check_grid(request: Request) -> None:
    """Raise `InputError` where pixels of a network's size are asked of what has none: before a
    pixel is read."""
    if request.grid == "model":
        request.segmenter.at_own_pixels()


def shown(request: Request, scene: Scene) -> tuple[Any, Window]:
    """What the products show: the outline of the area of interest, if there is one, and their
    pixels."""
    return area_of_interest(request.aoi, scene) if request.aoi else (None, scene.window)


def cut(request: Request, scene: Scene, segmenter: Segmenter) -> TileGrid:
    """The tiles of a scene and the shards that they are worked on in."""
    tile, margin, stride, blend = segmenter.footprint
    # as much of the ground where pixels are larger than the scene's own
    shard = max(1, request.shard // pixels_in_one(scene))
    if (margin, stride, blend) == (0, 1, False):
        # one pixel at a time: tiles change nothing, and small shards are small
        tile = min(tile, shard)
        stride = whole_blocks(scene, segmenter.bands(scene.band_names), shard)
    return TileGrid(scene.height, scene.width, tile, margin, stride, shard, blend)


def with_measures(segmenter: Segmenter, request: Request) -> Segmenter:
    """The segmenter, saying what the products ask for; where objects are to be classified also the
    probabilities of classes, if it has any."""
    if request.objects:
        try:
            return segmenter.with_measures(measures_among((*request.products, "probabilities")))
        except INPUT_ERRORS:
            # pixels vote for their class then
            pass
    return segmenter.with_measures(measures_among(request.products))


def not_sure(name: str) -> InputError:
    """The refusal of a class for unsure pixels where the segmenter of that name has no
    confidence."""
    return InputError(f"{name} does not say how sure it is of a pixel; leave --unknown-below out")


def check_reference(path: str) -> None:
    """Raise `InputError` where nothing can be compared with a file: said before the map is made,
    not after."""
    if is_raster(path):
        open_classes(path).close()
    else:
        read_shapes(path)


def whole_blocks(scene: Scene, bands: Sequence[str], shard: int) -> int:
    """What shards that cut no block of the source in two are multiples of; 1 where there are none
    of that size."""
    if max(scene.height, scene.width) <= shard:
        return 1
    sides = [side for side in common_block(scene, bands) if side <= shard]
    return lcm(*sides) if lcm(*sides) <= shard else max(sides)


def area_shown(plan: Plan) -> Any:
    """What the products show, as a polygon in the scene's CRS."""
    import shapely

    window, transform = plan.window, plan.scene.transform
    (west, north), (east, south) = (
        transform @ corner
        for corner in ((window.col, window.row), (window.col_stop, window.row_stop))
    )
    return plan.outline or shapely.box(
        min(west, east), min(south, north), max(west, east), max(south, north)
    )


def facts_of(plan: Plan) -> dict[str, Any]:
    """The plan for programs: sizes in pixels, memory in bytes, areas as parts of 1."""
    scene, lattice, shards, first = plan.scene, plan.lattice, plan.shards, plan.shards[0]
    west, north = scene.transform.c, scene.transform.f
    images = (
        [{"name": image.name, "date": image.date} for image in scene.acquisitions]
        if scene.acquisitions[0].origin
        else []
    )
    return {
        "scene": scene.title,
        "width": scene.width,
        "height": scene.height,
        "crs": crs_name(scene),
        "date": scene.date,
        "pixel_size": [abs(scene.transform.a), abs(scene.transform.e)],
        "first_pixel": [west, north],
        **({"images": images, "covered": coverage_of(scene, area_shown(plan))} if images else {}),
        "bands": [
            {"name": band.name, "file": redact(band.path), "number": band.index,
            "dtype": band.dtype,
             "units": band.units, "scale": band.scale, "offset": band.offset, "nodata": band.nodata}
            for band in scene.bands
        ],
        "used": list(plan.bands),
        "segmenter": plan.segmenter.model_dump(mode="json"),
        "window": dict(zip(("row", "col", "height", "width"), window_facts(plan.window),
        strict=True)),
        "tiles": len(lattice),
        "tile": {"width": lattice.core_shape[1], "height": lattice.core_shape[0]},
        "chip": {"width": lattice.chip_shape[1], "height": lattice.chip_shape[0]},
        "shards": len(shards),
        "shard": {"width": first.core.width, "height": first.core.height},
        "computed_pixels": pixels_computed(plan),
        "product_pixels": plan.window.area,
        "worker_bytes": plan.worker_bytes(available_cores()),
        **({"mask": _mask_facts(plan.mask)} if plan.mask else {}),
        "warnings": list(plan.warnings),
    }  # fmt: skip


def _mask_facts(mask: MaskPlan) -> dict[str, Any]:
    rows = mask.legend.rows
    return {
        "segmenter": mask.plan.segmenter.model_dump(mode="json"),
        "left_out": [name for value, name, _ in rows if value in mask.values],
        "grow": mask.grow,
        "shards": len(mask.plan.shards),
        "computed_pixels": pixels_computed(mask.plan),
        "worker_bytes": mask.plan.worker_bytes(available_cores()),
    }


def pixels_computed(plan: Plan) -> int:
    """About how many pixels the segmenter sees, margins included."""
    height, width = plan.lattice.chip_shape
    return len(plan.shards) * len(plan.shards[0].tiles) * height * width
