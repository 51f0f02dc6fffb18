"""What will be done, decided before the first pixel moves: every mistake that can be seen early is raised here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import lcm
from typing import Any

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox

from flows.compute.pool import available_cores
from flows.plan.shard import ShardJob
from flows.products.vectorise import swallowed
from flows.requests.request import Preflight, Request, measures_among
from flows.storage.run_folder import RunFolder, content_key
from segmentation.models.preflight import unmarked
from segmentation.registry import kinds
from segmentation.segmenter import Finding, Segmenter
from segmentation.spectral.indices import required_bands
from segmentation.spectral.reflectance import REFLECTIVE, STRETCHED, doubts, infer
from tiling.classmaps.raster import open_classes
from tiling.errors import Mistake, redacted
from tiling.grid.tiles import Lattice, Shard, Shards
from tiling.grid.window import Window
from tiling.labels.open_labels import is_raster
from tiling.labels.vector_labels import read_shapes
from tiling.scene.from_stac import covered
from tiling.scene.prefetch import common_block, fetch_ahead
from tiling.scene.scene import Scene

FORMAT = 3
"""Version of what a part holds; raised when older parts can no longer be read as they are."""

RESAMPLING_BYTES = 96 * 2**20
"""What the readers of a worker take beside that where they bring pixels onto another grid."""

_LISTED = 20
"""Images of a catalogue that a plan lists by name."""

PROCESS_BYTES = 400 * 2**20
"""What a worker process takes before it holds a pixel, its libraries included."""


@dataclass(frozen=True)
class Plan:
    """A run, decided: scene, fitted segmenter, cut, and the keys under which its parts are kept."""

    request: Request
    scene: Scene
    segmenter: Segmenter
    lattice: Lattice
    window: Window
    """The pixels the products show: the whole scene, or the bounds of the area of interest."""
    outline: Any = None
    """The area of interest in the scene's CRS, a shapely geometry, if there is one."""
    warnings: tuple[str, ...] = ()
    """What a person should know of this segmenter on this scene."""

    @cached_property
    def bands(self) -> tuple[str, ...]:
        return self.segmenter.bands(self.scene.band_names)

    @cached_property
    def geobox(self) -> GeoBox:
        """The grid of the products."""
        window = self.window
        return self.scene.geobox[window.row : window.row_stop, window.col : window.col_stop]

    @property
    def shards(self) -> Shards:
        """The shards to run. An area of interest picks whole shards, so that their parts serve every other area too."""
        return self.lattice.shards(self.window)

    @property
    def sources(self) -> tuple[str, ...]:
        """The rasters a worker has to open."""
        mask = [self.scene.mask.path] if self.scene.mask else []
        below = {layer.band(self.bands[0]).path for layer in self.scene.beneath}  # one of each image tells enough
        return tuple(sorted({self.scene.band(name).path for name in self.bands} | set(mask) | below))

    @cached_property
    def _scene_facts(self) -> dict[str, Any]:
        return scene_facts(self.scene, self.bands)

    def part_key(self, shard: Shard, runtime: dict[str, str]) -> str:
        """Content key of a shard's part: everything its pixels follow from, and nothing else.

        `runtime` is what the workers compute with; they are asked once, when they are there.
        """
        return content_key(
            {
                "format": FORMAT,
                "scene": self._scene_facts,
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
        """Projected peak memory of a worker that computes on `threads` cores, `at_once` shards at a time.

        It follows from the shard, never from the raster.
        """
        segmenter = self.segmenter
        # One amid others computes more chips than one in a corner, where chips are blended.
        shards = self.shards
        shard = max((shards[0], shards[len(shards) // 2]), key=lambda shard: shard.window.area)
        pixel = sum(np.dtype(band.dtype).itemsize for band in self.scene.bands if band.name in self.bands) + 1
        pixel *= 2 if self.scene.beneath else 1  # a layer is read beside what it fills
        moved = any(layer.band(name).resampled for layer in self.scene.layers for name in self.bands)
        chip = self.lattice.chip_shape[0] * self.lattice.chip_shape[1]
        kept = shard.core.area * segmenter.bytes_kept
        fixed = PROCESS_BYTES + RESAMPLING_BYTES * moved
        shared = at_once * (shard.window.area * pixel + kept)
        return fixed + shared + chip * segmenter.bytes_per_pixel(threads)


def window_facts(window: Window) -> list[int]:
    return [window.row, window.col, window.height, window.width]


def scene_facts(scene: Scene, bands: Sequence[str]) -> dict[str, Any]:
    """What the pixels a segmenter sees follow from: files, grid, band map, calibration, masks."""
    return {
        "files": scene.identities(),
        "grid": [scene.height, scene.width, *map(float, scene.transform[:6]), scene.crs.to_wkt()],
        # Signatures are renewed, pixels are not.
        "bands": [redacted(repr(scene.band(name))) for name in bands],
        "mask": redacted(repr(scene.mask)),
        "beneath": [
            redacted(repr(([layer.band(name) for name in bands], layer.mask, layer.extent))) for layer in scene.beneath
        ],
    }


def make_plan(request: Request, folder: RunFolder | None = None, *, ahead: bool = False) -> Plan:
    """Open the scene, find out what its numbers mean, fit the segmenter, cut the grid.

    With a run folder, what was fitted there before is taken from it; without one, nothing is written. With `ahead`
    remote files are fetched whole where that costs fewer bytes than sample and shards would one by one.
    """
    scene = request.source.open()
    if request.reference:
        check_reference(request.reference)
    outline, window = area_of_interest(request.aoi, scene) if request.aoi else (None, scene.window)
    to_read = window if ahead else None
    scene, segmenter, warnings = fit(scene, request.segmenter, folder, request.preflight, to_read)
    segmenter = segmenter.measuring(measures_among(request.products))  # after the fit, which products leave alone
    tile, margin, stride, blend = segmenter.footprint
    if (margin, stride, blend) == (0, 1, False):
        tile = min(tile, request.shard)  # one pixel at a time: tiles change nothing, and small shards are small
        stride = whole_blocks(scene, segmenter.bands(scene.band_names), request.shard)
    lattice = Lattice(scene.height, scene.width, tile, margin, stride, request.shard, blend)
    # What is missing is said now, not when the polygons are made and their bands read a second time.
    again = [band for name in request.indices for band in required_bands(name, scene.band_names)]
    if to_read and again:
        fetch_ahead(scene, tuple({*segmenter.bands(scene.band_names), *again}), to_read)
    warnings = (*warnings, *swallowed(request.min_area or 0.0, window.area * scene.gsd**2, scene.name))
    return Plan(request, scene, segmenter, lattice, window, outline, warnings)


def check_reference(path: str) -> None:
    """Raise `Mistake` where nothing can be compared with a file: said before the map is made, not after."""
    if is_raster(path):
        open_classes(path).close()
    else:
        read_shapes(path)


def whole_blocks(scene: Scene, bands: Sequence[str], shard: int) -> int:
    """What shards that cut no block of the source in two are multiples of; 1 where there are none of that size."""
    if max(scene.height, scene.width) <= shard:
        return 1
    sides = [side for side in common_block(scene, bands) if side <= shard]
    return lcm(*sides) if lcm(*sides) <= shard else max(sides)


def fit(
    scene: Scene,
    segmenter: Segmenter,
    folder: RunFolder | None,
    preflight: Preflight,
    to_read: Window | None = None,
) -> tuple[Scene, Segmenter, tuple[str, ...]]:
    """The scene with known units, the segmenter with what must be equal on every tile, and warnings.

    All follow from one sample of the scene and its size, have a key of their own, and are never redone on resume.
    `to_read` is what processes of this machine will read besides.
    """
    bands = usable_bands(scene, segmenter)
    unknown, claimed = units_to_ask(scene, segmenter.calibrates(bands))
    asked = [*unknown, *claimed]
    if not segmenter.needs_sample:
        segmenter = segmenter.fit(None)
        if not (segmenter.inspects or segmenter.undecided or asked):
            return scene, segmenter, scene.notes
    key = content_key({"format": FORMAT, "scene": scene_facts(scene, bands), "segmenter": segmenter.identity()})
    known = folder.remembered("fit", key) if folder else None
    if known is None:
        if to_read:
            fetch_ahead(scene, bands, to_read)
        sample = scene.sample(bands)
        calibration = shown(sample, asked)
        odd = contradicted(scene, claimed, calibration)
        if calibration:
            scene = scene.calibrated(*calibration, asked)
            sample = scene.meaning(sample)
        elif unknown and segmenter.needs_reflectance:
            raise uncalibrated(scene, segmenter, unknown)
        if segmenter.needs_sample and not sample["valid"].values.any():
            raise Mistake(f"{scene.name} has no valid pixel to fit {segmenter.kind} on; check its no data and mask")
        fitted = segmenter.fit(sample) if segmenter.needs_sample else segmenter
        odd += doubts(sample) if segmenter.needs_reflectance else ()
        findings = [*odd, *unmarked(sample), *(fitted.inspect(sample, scene.gsd) if fitted.inspects else ())]
        if not sample["valid"].values.any():
            findings.append(Finding("warn", f"{scene.name} shows no valid pixel; check its no data and mask"))
        heeded(scene, findings, preflight)  # before anything is written
        if fitted.undecided:
            # The whole scene's, whatever the area of interest: parts serve every other area too.
            fitted, told = fitted.decided(scene.window.area)
            findings += told
        known = {"calibration": calibration, "segmenter": fitted.model_dump(mode="json"), "findings": findings}
        if folder:
            folder.remember("fit", key, known)
    elif known["calibration"]:
        scale, offset = known["calibration"]
        scene = scene.calibrated(scale, offset, asked)
    warnings = heeded(scene, [Finding(*finding) for finding in known["findings"]], preflight)
    return scene, type(segmenter).model_validate(known["segmenter"]), (*scene.notes, *warnings)


def heeded(scene: Scene, findings: Sequence[Finding], preflight: Preflight) -> tuple[str, ...]:
    """The warnings among the findings; what speaks against the work is a `Mistake` unless a person insists."""
    for severity, message in findings:
        if severity == "refuse" and preflight == "refuse":
            raise Mistake(f"{scene.name}: {message}, or insist with --preflight warn")
    return tuple(message for _, message in findings)


def calibrated(scene: Scene, bands: Sequence[str]) -> Scene:
    """The scene, the digital numbers of these bands turned into reflectance where the pixels show how."""
    unknown, claimed = units_to_ask(scene, bands)
    asked = [*unknown, *claimed]
    calibration = shown(scene.sample(asked), asked) if asked else None
    return scene.calibrated(*calibration, asked) if calibration else scene


def units_to_ask(scene: Scene, bands: Sequence[str]) -> tuple[list[str], list[str]]:
    """Those of these bands that hold digital numbers; and those whose scale a catalogue says and pixels can confirm."""
    known = [scene.band(name) for name in bands]
    return (
        [band.name for band in known if band.units == "dn"],
        [band.name for band in known if band.claimed and band.name.rpartition(".")[2] in REFLECTIVE],
    )


def shown(sample: xr.Dataset, bands: Sequence[str]) -> tuple[float, float] | None:
    """The scale and offset that the pixels of these bands show, whatever they are said to be."""
    if not bands:
        return None
    return infer(sample.sel(band=list(bands)).assign_coords(units=("band", ["dn"] * len(bands))))


def contradicted(scene: Scene, claimed: Sequence[str], calibration: tuple[float, float] | None) -> list[Finding]:
    """A warning where pixels show another scale or offset than a catalogue says."""
    said = {(scene.band(name).scale, scene.band(name).offset) for name in claimed}
    if calibration is None or all(np.allclose(claim, calibration, rtol=1e-6, atol=0) for claim in said):
        return []
    words = " and ".join(f"× {scale:g} {offset:+g}" for scale, offset in sorted(said))
    return [
        Finding(
            "warn",
            f"its catalogue says that reflectance is the pixel {words}, the pixels show × {calibration[0]:g} "
            f"{calibration[1]:+g}, and are believed; insist on the former with --scale and --offset",
        )
    ]


def usable_bands(scene: Scene, segmenter: Segmenter) -> tuple[str, ...]:
    """The bands a segmenter will read; where they do not suffice, the mistake says what would work instead."""
    try:
        return segmenter.bands(scene.band_names)
    except ValueError as error:
        raise Mistake(f"{scene.name}: {error}. {alternatives(scene, segmenter)}") from error


def uncalibrated(scene: Scene, segmenter: Segmenter, bands: Sequence[str]) -> Mistake:
    dtype = scene.band(bands[0]).dtype
    if np.dtype(dtype).itemsize == 1:
        return Mistake(
            f"{scene.name}: {segmenter.kind} needs reflectance, and these are 8-bit values; {STRETCHED}. "
            f"{alternatives(scene, segmenter)}"
        )
    return Mistake(
        f"{scene.name}: {segmenter.kind} needs reflectance, and its {dtype} values are of unknown scale; "
        f"say how they scale (for example --scale 0.0001). {alternatives(scene, segmenter)}"
    )


def alternatives(scene: Scene, refused: Segmenter) -> str:
    """Which segmenters would work on a scene, as commands."""
    usable = []
    if refused.kind != "otsu":
        names = set(scene.band_names)
        if {"red", "nir"} <= names or {"red", "nir08"} <= names:
            usable.append("--segmenter otsu --set index=NDVI")
        elif {"green", "nir"} <= names:
            usable.append("--segmenter otsu --set index=NDWI")
        else:
            usable.append(f"--segmenter otsu --set index={scene.band_names[0]}")
    if all(np.dtype(band.dtype).itemsize == 1 for band in scene.bands):
        usable.append("a model of your own: landweave train … --labels FILE")
    return f"What works on it as it is: {' or '.join(usable)}" if usable else f"Installed are {', '.join(kinds())}"


def area_of_interest(path: str, scene: Scene) -> tuple[Any, Window]:
    """The polygons of a vector file in the scene's CRS, united, and the smallest window that holds their pixels."""
    from tiling.io.vector_files import read_frame

    frame = read_frame(path)
    frame = frame[frame.geometry.geom_type.isin(["Polygon", "MultiPolygon"])]
    if frame.empty:
        raise Mistake(f"{path} holds no polygon; an area of interest is one polygon or several")
    outline = frame.to_crs(scene.crs.to_wkt()).geometry.make_valid().union_all()
    if not np.all(np.isfinite(outline.bounds)):
        raise Mistake(f"{path} has corners that are nowhere in {crs_name(scene)}; check its coordinates and its CRS")
    west, south, east, north = outline.bounds
    corners = [~scene.transform @ corner for corner in ((west, north), (east, north), (east, south), (west, south))]
    cols, rows = zip(*corners, strict=True)
    row, col = int(np.floor(min(rows))), int(np.floor(min(cols)))
    window = Window(row, col, int(np.ceil(max(rows))) - row, int(np.ceil(max(cols))) - col) & scene.window
    if not window:
        raise Mistake(
            f"{path} lies outside {scene.name}: its bounds there are {outline.bounds}, the scene's are "
            f"{tuple(scene.geobox.extent.boundingbox)}"
        )
    return outline, window


def area_shown(plan: Plan) -> Any:
    """What the products show, as a polygon in the scene's CRS."""
    import shapely

    window, transform = plan.window, plan.scene.transform
    (west, north), (east, south) = (
        transform @ corner for corner in ((window.col, window.row), (window.col_stop, window.row_stop))
    )
    return plan.outline or shapely.box(min(west, east), min(south, north), max(west, east), max(south, north))


def described_images(plan: Plan) -> dict[str, str]:
    """Which images of a catalogue the scene shows, on which grid, and how much of the area they cover."""
    scene, layers = plan.scene, plan.scene.layers
    listed = [f"{layer.name} ({layer.date})" if layer.date else layer.name for layer in layers[:_LISTED]]
    listed += [f"and {len(layers) - _LISTED} more"] if len(layers) > _LISTED else []
    return {
        "images": f"{len(layers)}, the first that has a pixel shows it: {', '.join(listed)}",
        "grid": f"pixels of {abs(scene.transform.a):g} × {abs(scene.transform.e):g} in {crs_name(scene)}, the first at "
        f"{scene.transform.c:.10g}, {scene.transform.f:.10g}",
        "covered": f"{100 * covered(scene, area_shown(plan)):.1f} % of the "
        f"{'area of interest' if plan.outline else 'scene'}, by the catalogue's footprints",
    }


def crs_name(scene: Scene) -> str:
    """The CRS as a person names it: its EPSG code, else its own name."""
    return f"EPSG:{scene.crs.epsg}" if scene.crs.epsg else str(scene.crs.proj.name)


def facts_of(plan: Plan) -> dict[str, Any]:
    """The plan for programs: sizes in pixels, memory in bytes, areas as parts of 1."""
    scene, lattice, shards, first = plan.scene, plan.lattice, plan.shards, plan.shards[0]
    west, north = scene.transform.c, scene.transform.f
    images = [{"name": layer.name, "date": layer.date} for layer in scene.layers] if scene.origin else []
    return {
        "scene": scene.title,
        "width": scene.width,
        "height": scene.height,
        "crs": crs_name(scene),
        "date": scene.date,
        "pixel_size": [abs(scene.transform.a), abs(scene.transform.e)],
        "first_pixel": [west, north],
        **({"images": images, "covered": covered(scene, area_shown(plan))} if images else {}),
        "bands": [
            {"name": band.name, "file": redacted(band.path), "number": band.index, "dtype": band.dtype,
             "units": band.units, "scale": band.scale, "offset": band.offset, "nodata": band.nodata}
            for band in scene.bands
        ],
        "used": list(plan.bands),
        "segmenter": plan.segmenter.model_dump(mode="json"),
        "window": dict(zip(("row", "col", "height", "width"), window_facts(plan.window), strict=True)),
        "tiles": len(lattice),
        "tile": {"width": lattice.core_shape[1], "height": lattice.core_shape[0]},
        "chip": {"width": lattice.chip_shape[1], "height": lattice.chip_shape[0]},
        "shards": len(shards),
        "shard": {"width": first.core.width, "height": first.core.height},
        "computed_pixels": pixels_computed(plan),
        "product_pixels": plan.window.area,
        "worker_bytes": plan.worker_bytes(available_cores()),
        "warnings": list(plan.warnings),
    }  # fmt: skip


def pixels_computed(plan: Plan) -> int:
    """About how many pixels the segmenter sees, margins included."""
    height, width = plan.lattice.chip_shape
    return len(plan.shards) * len(plan.shards[0].tiles) * height * width


def describe(plan: Plan) -> dict[str, Any]:
    """What a person wants to know before a run, in words."""
    scene, lattice, shards, first = plan.scene, plan.lattice, plan.shards, plan.shards[0]
    used = {band.name: band for band in scene.bands}
    return {
        "scene": f"{scene.title}: {scene.width:,} × {scene.height:,} px, {crs_name(scene)}",
        **(described_images(plan) if scene.origin else {}),
        "bands": ", ".join(scene.band_names),
        "used": ", ".join(
            f"{name} ({used[name].units}, × {used[name].scale:g} {used[name].offset:+g})" for name in plan.bands
        ),
        "segmenter": ", ".join(f"{k}={v}" for k, v in plan.segmenter.model_dump(mode="json").items()),
        "tiles": f"{len(lattice):,} of {lattice.core_shape[1]} × {lattice.core_shape[0]} px, chips of "
        f"{lattice.chip_shape[1]} × {lattice.chip_shape[0]} px",
        "computed": f"about {pixels_computed(plan) / plan.window.area:.2f} × the pixels of the products",
        "shards": f"{len(shards):,} of up to {first.core.width} × {first.core.height} px",
        "memory": f"{plan.worker_bytes(1) / 2**30:.2f} GiB per worker of one core, "
        f"{plan.worker_bytes(available_cores()) / 2**30:.2f} of {available_cores()}",
        **({"warnings": "; ".join(plan.warnings)} if plan.warnings else {}),
    }
