"""`landweave segmenters`: the ways to tell land apart, and what each of their settings means."""

from __future__ import annotations

import inspect
from typing import Any

from flows.parsing import explain_settings, nearest
from segmentation.models.bundle import names
from segmentation.registry import kinds, segmenter_class
from segmentation.segmenter import settings
from tiling.errors import InputError

__all__ = ["kind_facts", "kinds"]


def kind_facts(kind: str) -> dict[str, Any]:
    """A kind of segmenter: what it is in a sentence and at length, its classes, and each of its
    settings.

    `InputError` where there is no such kind.
    """
    if kind in names():
        raise InputError(
            f"{kind} is a trained model, no kind of segmenter; landweave models {kind} explains it"
        )
    if kind not in kinds():
        raise InputError(
            f"there is no segmenter {kind!r}; installed are "
            f"{', '.join(kinds())}{nearest(kind, kinds())}"
        )
    chosen = segmenter_class(kind)
    described = inspect.cleandoc(chosen.__doc__ or "")
    return {
        "kind": kind,
        "summary": " ".join(described.partition("\n\n")[0].split()),
        "description": described,
        "classes": [
            {"name": name, "meaning": meaning} for name, meaning in chosen.meanings.items()
        ],
        "settings": explain_settings(settings(chosen)),
    }
