"""A plan in words."""

from __future__ import annotations

from typing import Any

from flows.machine import available_cores
from flows.plan.aoi import crs_name
from flows.plan.model_grid import ModelScene
from flows.plan.plan import MaskPlan, Plan, area_shown, pixels_computed
from tiling.scene.from_stac import coverage_of

_LISTED = 20
"""Images of a catalogue that a plan lists by name."""


def describe_images(plan: Plan) -> dict[str, str]:
    """Which images of a catalogue the scene shows, on which grid, and how much of the area they
    cover."""
    scene, layers = plan.scene, plan.scene.acquisitions
    listed = [
        f"{layer.name} ({layer.date})" if layer.date else layer.name for layer in layers[:_LISTED]
    ]
    listed += [f"and {len(layers) - _LISTED} more"] if len(layers) > _LISTED else []
    return {
        "images": f"{len(layers)}, the first that has a pixel shows it: {', '.join(listed)}",
        "grid": f"pixels of {abs(scene.transform.a):g} × {abs(scene.transform.e):g} in "
        f"{crs_name(scene)}, the first at "
        f"{scene.transform.c:.10g}, {scene.transform.f:.10g}",
        "covered": f"{100 * coverage_of(scene, area_shown(plan)):.1f} % of the "
        f"{'area of interest' if plan.outline else 'scene'}, by the catalogue's footprints",
    }


def describe_pixels(scene: ModelScene) -> dict[str, str]:
    """How large the pixels of the map are where they are not those of the scene."""
    return {
        "map": f"{scene.width:,} × {scene.height:,} px of about {scene.gsd:.3g} m, as the network "
        "sees them"
    }


def describe_mask(mask: MaskPlan) -> dict[str, str]:
    """What a model leaves out, and what it takes to find out."""
    made = mask.plan
    return {
        "mask": f"{mask.words} left out, found first: {len(made.shards):,} shards, about "
        f"{pixels_computed(made) / made.scene.window.area:.2f} × the pixels of the scene, "
        f"{made.worker_bytes(1) / 2**30:.2f} GiB per worker of one core",
    }


def describe(plan: Plan) -> dict[str, Any]:
    """What a person wants to know before a run, in words."""
    scene, lattice, shards, first = plan.scene, plan.lattice, plan.shards, plan.shards[0]
    plain = scene.plain if isinstance(scene, ModelScene) else scene
    used = {band.name: band for band in scene.bands}
    return {
        "scene": f"{plain.title}: {plain.width:,} × {plain.height:,} px, {crs_name(scene)}",
        **(describe_pixels(scene) if isinstance(scene, ModelScene) else {}),
        **(describe_images(plan) if scene.acquisitions[0].origin else {}),
        "bands": ", ".join(scene.band_names),
        "used": ", ".join(
            f"{name} ({used[name].units}, × {used[name].scale:g} {used[name].offset:+g})"
            for name in plan.bands
        ),
        "segmenter": ", ".join(
            f"{k}={v}" for k, v in plan.segmenter.model_dump(mode="json").items()
        ),
        "tiles": f"{len(lattice):,} of {lattice.core_shape[1]} × {lattice.core_shape[0]} px, "
        "chips of "
        f"{lattice.chip_shape[1]} × {lattice.chip_shape[0]} px",
        "computed": f"about {pixels_computed(plan) / plan.window.area:.2f} × the pixels of the "
        "products",
        "shards": f"{len(shards):,} of up to {first.core.width} × {first.core.height} px",
        "memory": f"{plan.worker_bytes(1) / 2**30:.2f} GiB per worker of one core, "
        f"{plan.worker_bytes(available_cores()) / 2**30:.2f} of {available_cores()}",
        **(describe_mask(plan.mask) if plan.mask else {}),
        **({"warnings": "; ".join(plan.warnings)} if plan.warnings else {}),
    }
