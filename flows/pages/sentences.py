"""What came of a run in a sentence, as names of runs and lists of artifacts have it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flows.reports.catalogue import Catalogue
from flows.tasks.words import in_form_words

if TYPE_CHECKING:
    from flows.run.record import Published


def outcome(published: Published) -> str:
    """What came out of a map, in one sentence."""
    hectares = sum(area.hectares for area in published.areas)
    text = f"{hectares:,.0f} ha in {len(published.areas)} classes"
    if published.polygons is not None:
        text += f", {published.polygons:,} polygons"
    if published.accuracy is not None:
        text += (
            f"; against the reference: overall accuracy {published.accuracy.overall_accuracy:.3f}, "
            f"mean IoU {published.accuracy.mean_iou:.3f}"
        )
        text += "".join(f"; but {in_form_words(doubt)}" for doubt in published.accuracy.doubts)
    return text


def count_scenes(count: int) -> str:
    """A number of scenes in words: `1 scene`, `3 scenes`."""
    return "1 scene" if count == 1 else f"{count} scenes"


def news(made: Sequence[str], catalogue: Catalogue, compared: Sequence[str]) -> str:
    """What a call found new, in a few words: `+1 scene, 40,182 ha changed`; "no news" where there
    is none."""
    known = {change.name: change for change in catalogue.changes}
    changed = sum(
        known[name].changed_m2 for name in compared if name in known and not known[name].message
    )
    parts = [f"+{count_scenes(len(made))}"] if made else []
    failed = sum(entry.status == "failed" for entry in catalogue.entries if entry.name in made)
    parts += [f"{failed} failed"] if failed else []
    parts += [f"{changed / 1e4:,.0f} ha changed"] if compared else []
    return ", ".join(parts) or "no news"
