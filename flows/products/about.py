"""What the products of a run say of themselves."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from flows.plan.aoi import crs_name
from flows.plan.plan import Plan
from flows.requests.request import smallest
from flows.storage.keys import versions
from segmentation.legend import UNKNOWN
from segmentation.models.trained import TrainedSegmenter
from segmentation.segmenter import Segmenter
from tiling.formats.about import About
from tiling.scene.scene import Scene


def about_raster(plan: Plan, product: str) -> About:
    """Title, abstract and history of a run's raster, for its metadata."""
    about = about_map(plan)
    if product == "classes":
        return about
    title = {
        "confidence": f"How sure the land cover of {plan.scene.name} is, 0 to 100",
        "probabilities": f"Probability of every class on {plan.scene.name}, in percent",
        "entropy": f"Entropy of the classes on {plan.scene.name}, in percent of the most there "
        "can be",
        "margin": f"Margin between the two likeliest classes on {plan.scene.name}, in percent",
        "layers": f"Labels on {plan.scene.name}, a band each: 1 where there, 0 where not",
    }[product]
    return replace(about, title=title, history=origin_of(plan))


def about_map(plan: Plan) -> About:
    """What the products of a run say of themselves; nothing of the clock, for the same map has the
    same bytes."""
    return About(
        title=f"Land cover of {plan.scene.name}",
        abstract=f"Segmented by {model_name(plan.segmenter)} with landweave",
        days=sorted({str(image.date) for image in plan.scene.acquisitions if image.date}),
        history=history_of(plan),
        licence=plan.request.licence,
    )


def origin_of(plan: Plan) -> tuple[str, ...]:
    """What a product was made of and with, a sentence each."""
    day = f" of {plan.scene.date}" if plan.scene.date else ""
    name, kind = model_name(plan.segmenter), plan.segmenter.kind
    return (
        f"Source: {plan.scene.title}{day}, bands {', '.join(plan.bands)}",
        f"Segmented by {name if name == kind else f'{name}, a {kind},'} with landweave "
        f"{versions()['landweave']}",
    )


def history_of(plan: Plan) -> tuple[str, ...]:
    """What a map was made of and with, and what became of objects, of pixels that it is not sure of
    and of its small regions; percents are not touched by the last two."""
    minimum, unit = smallest(plan.request.min_area)
    small = (
        f"Regions below {minimum:g} {'pixels' if unit == 'pixels' else 'm²'} went to a neighbour"
    )
    below = plan.request.unknown_below
    filled = f"Holes below {plan.request.fill_holes:g} m² went to what is around them"
    unsure = f"Pixels below {below:g} % confidence became {UNKNOWN}"
    scale = plan.request.objects
    whole = f"Pixels of each object of scale {scale:g} have the class that it is of"
    return (
        *origin_of(plan),
        *([whole] if scale else []),
        *([unsure] if below else []),
        *([small] if minimum else []),
        *([filled] if plan.request.fill_holes else []),
    )


def list_origins(plan: Plan) -> dict[str, str]:
    """What a map was made from and with, fact by fact; nothing of the clock or of the machine."""
    scene, request = plan.scene, plan.request
    images = [
        f"{image.name} {image.date or ''}".strip() for image in scene.acquisitions if image.origin
    ]
    minimum, unit = smallest(request.min_area)
    facts = {
        "image": scene.title,
        "date": str(scene.date or ""),
        "images": ", ".join(images),
        "bands": ", ".join(plan.bands),
        "grid": f"{scene.width:,} × {scene.height:,} px of about {scene.gsd:.3g} m, "
        f"{crs_name(scene)}",
        "area of interest": Path(request.aoi).name,
        "segmenter": model_name(plan.segmenter),
        "left out": plan.mask.words if plan.mask else "",
        "objects": f"scale {request.objects:g}" if request.objects else "",
        "unknown below": f"{request.unknown_below:g} % confidence" if request.unknown_below else "",
        "smallest region": f"{minimum:g} {'pixels' if unit == 'pixels' else 'm²'}"
        if minimum
        else "",
        "filled holes": f"{request.fill_holes:g} m²" if request.fill_holes else "",
        "reference": Path(request.reference).name,
        "licence": request.licence,
        "made with": f"landweave {versions()['landweave']}",
    }
    return {name: fact for name, fact in facts.items() if fact}


def model_name(segmenter: Segmenter) -> str:
    """What a person calls a segmenter: the name on its bundle's card, else its kind."""
    return (
        segmenter.loaded_bundle.card.name
        if isinstance(segmenter, TrainedSegmenter)
        else segmenter.kind
    )


def describe_scene(scene: Scene, bands: Collection[str]) -> dict[str, Any]:
    """A scene as the record of a run has it: where it lies, its images, bands that were used,
    files."""
    return {
        "name": scene.name,
        "date": scene.date,
        "height": scene.height,
        "width": scene.width,
        "crs": crs_name(scene),
        "images": [
            {"name": image.name, "date": image.date, "item": image.origin}
            for image in scene.acquisitions
            if image.origin
        ],
        "bands": [asdict(band) for band in scene.bands if band.name in bands],
        "files": scene.identities(),
    }
