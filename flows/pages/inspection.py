"""What there is to know of a scene before it is mapped: its bands, what looks wrong, what a method
will take."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from flows.compute.resources import available_memory, worker_count
from flows.compute.work import Work
from flows.errors import INPUT_ERRORS
from flows.machine import available_cores
from flows.plan.aoi import crs_name
from flows.plan.plan import Plan, make_plan
from flows.reports.quicklook import natural_colours, thumbnail
from flows.requests.request import Request
from flows.tasks.course import SECONDS, duration, weights_of
from segmentation.models.preflight import find_unmarked_nodata
from tiling.io.urls import is_local
from tiling.scene.acquisition import Band
from tiling.scene.scene import Scene

PICTURE = 900
"""Pixels along the longer side of the picture."""

START = 8.0
"""Seconds until processes have started and imported their libraries."""

AT_MOST = 4
"""How many times as long as estimated a run may take on another machine, or with a large
network."""


@dataclass(frozen=True)
class Inspection:
    """A scene that was looked at, and how a method would go about it."""

    scene: Scene
    """With the scale that its pixels show, where a method asked."""
    sample: xr.Dataset
    findings: tuple[str, ...]
    """What a person should know, each a sentence."""
    plan: Plan | None
    refusal: str = ""
    """Why the method does not work on it as it is."""


def inspect(request: Request) -> Inspection:
    """The scene of a request, looked at with its method; nothing is written. `InputError` where it
    does not open."""
    scene = request.source.unmasked.open()
    sample, plan, refusal = scene.sample(scene.band_names), None, ""
    findings = [*scene.notes, *(finding.message for finding in find_unmarked_nodata(sample))]
    try:
        plan = make_plan(request.model_copy(update={"preflight": "warn"}))
    except INPUT_ERRORS as mistake:
        refusal = str(mistake)
    else:
        scene = plan.scene
        findings += plan.warnings
    if not sample["valid"].values.any():
        findings.append(f"{scene.name} shows no valid pixel; check its no data and mask")
    return Inspection(scene, sample, tuple(dict.fromkeys(findings)), plan, refusal)


def facts(found: Inspection) -> dict[str, str]:
    """The scene in a few words each."""
    scene, shown = found.scene, valid_share(found.scene)
    metres = scene.height * scene.width * scene.gsd**2
    return {
        "size": f"{scene.width:,} × {scene.height:,} px of about {scene.gsd:.3g} m, "
        f"{metres / 1e4:,.0f} ha",
        "place": crs_name(scene),
        "date": str(scene.date or "not told; it can be put into the file's name, like 2024-06-30"),
        **(
            {}
            if shown is None
            else {"image": f"on {100 * shown:.0f} % of its pixels, the rest is no data"}
        ),
    }


def valid_share(scene: Scene) -> float | None:
    """The part of a scene, 0–1, on which its first band has a value; None where that would cost too
    much."""
    band = scene.bands[0]
    if scene.is_mosaic or band.resampled or band.at != (0, 0) or not is_local(band.path):
        return None
    pixels = thumbnail(band, scene.geobox.extent.boundingbox, shape_of(scene))
    return None if pixels is None else float(np.isfinite(pixels).mean())


def shape_of(scene: Scene) -> tuple[int, int]:
    """Rows and columns of a picture of a scene."""
    shrink = min(1.0, PICTURE / max(scene.height, scene.width))
    return max(1, round(scene.height * shrink)), max(1, round(scene.width * shrink))


def estimates(plan: Plan) -> dict[str, str]:
    """What the run of a plan takes on this machine: pieces, memory, about how long."""
    work = Work.of(plan)
    workers = worker_count(work)
    cores = available_cores()
    each = plan.worker_bytes(max(1, cores // max(1, workers))) / 2**30
    free = available_memory() / 2**30
    said = f"{each:.1f} GiB of the {free:.1f} GiB that are free"
    about = seconds_on(plan, max(1, workers))
    return {
        "work": f"{len(plan.lattice):,} tiles in {len(plan.shards):,} "
        f"shard{'s' if len(plan.shards) > 1 else ''}",
        "memory": f"{workers} workers of {said}" if workers > 1 else said,
        "time": f"about {duration(about)} to {duration(AT_MOST * about)}; large networks longer "
        "without a "
        "graphics card",
    }


def seconds_on(plan: Plan, workers: int) -> float:
    """About how long a run takes with so many processes on one core each."""
    weights = weights_of(plan)
    alone = SECONDS["publish"] * plan.window.area / 1e6
    return START + alone + (sum(weights.values()) - alone) / workers


def band_rows(found: Inspection) -> list[dict[str, Any]]:
    """Every band: where it is, what its numbers mean, and which there are."""
    valid = found.sample["valid"].values
    return [_band_row(band, found.sample, valid) for band in found.scene.bands]


def _band_row(band: Band, sample: xr.Dataset, valid: Any) -> dict[str, Any]:
    seen = sample["pixels"].sel(band=band.name).values[valid]
    low, middle, high = (
        (f"{q:g}" for q in np.quantile(seen, (0.02, 0.5, 0.98))) if seen.size else ("–",) * 3
    )
    scaled = (
        f"{band.units}: pixel × {band.scale:g} {band.offset:+g}"
        if band.units != "dn"
        else "digital numbers"
    )
    return {
        "band": band.name,
        "number in its file": band.index,
        "type": band.dtype,
        "meaning": scaled,
        "no data": "–" if band.nodata is None else f"{band.nodata:g}",
        "2 %": low,
        "half": middle,
        "98 %": high,
    }


def picture(scene: Scene) -> bytes | None:
    """A PNG of the whole scene in the colours that it has; None where that would cost too much."""
    from PIL import Image

    pixels = natural_colours(scene, scene.geobox.extent.boundingbox, shape_of(scene))
    if pixels is None:
        return None
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
