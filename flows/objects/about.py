"""What the products of a partition say of themselves."""

from __future__ import annotations

from pathlib import Path

from flows.plan.aoi import crs_name
from flows.regions.plan import ObjectsPlan
from flows.storage.keys import versions
from tiling.formats.about import About


def title_objects(plan: ObjectsPlan) -> str:
    """What was made of what."""
    what = "Edges" if plan.partition.gives == "edges" else "Objects"
    return f"{what} of {plan.scene.name}"


def about_objects(plan: ObjectsPlan, scale: float | None = None) -> About:
    """Title, abstract and history, of a level where a scale is given; nothing of the clock, for the
    same regions have the same bytes."""
    scene = plan.scene
    day = f" of {scene.date}" if scene.date else ""
    return About(
        title=title_objects(plan) + ("" if scale is None else f", scale {scale:g}"),
        abstract=f"Made by the method {plan.partition.kind} with landweave",
        days=sorted({str(image.date) for image in scene.acquisitions if image.date}),
        history=(
            f"Source: {scene.title}{day}, bands {', '.join(plan.bands)}",
            f"Regions by {name_method(plan)} with landweave {versions()['landweave']}",
        ),
        licence=plan.request.licence,
    )


def name_method(plan: ObjectsPlan) -> str:
    """The method with its settings, in words."""
    asked = plan.partition.model_dump(mode="json", exclude={"fitted", "kind", "told"})
    shown = [
        f"{name} {', '.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in asked.items()
        if value not in (None, "", [])
    ]
    return f"{plan.partition.kind} ({', '.join(shown)})" if shown else plan.partition.kind


def list_origins(plan: ObjectsPlan) -> dict[str, str]:
    """What regions were made from and with, fact by fact; nothing of the clock or of the
    machine."""
    scene, request = plan.scene, plan.request
    facts = {
        "image": scene.title,
        "date": str(scene.date or ""),
        "bands": ", ".join(plan.bands),
        "grid": f"{scene.width:,} × {scene.height:,} px of about {scene.gsd:.3g} m, "
        f"{crs_name(scene)}",
        "area of interest": Path(request.aoi).name,
        "model": Path(request.network).name,
        "method": name_method(plan),
        "fit": plan.partition.fit_summary,
        **list_wishes(plan),
        "licence": request.licence,
        "made with": f"landweave {versions()['landweave']}",
    }
    return {name: fact for name, fact in facts.items() if fact}


def list_wishes(plan: ObjectsPlan) -> dict[str, str]:
    """What was asked of the objects that are shown, in words; "" where nothing was."""
    asked = plan.request
    return {
        "smallest shown": f"{asked.min_object:g} m²" if asked.min_object else "",
        "largest shown": f"{asked.max_object:g} m²" if asked.max_object else "",
        "filled holes": f"below {asked.fill_holes:g} m²" if asked.fill_holes else "",
        "right angles": f"within {asked.regularise:g} m" if asked.regularise else "",
    }
