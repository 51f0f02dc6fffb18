"""How good a map or a model is, on a page: figures, doubts, classes, pictures, files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flows.reports.blocks import Block, Figures, Heading, Text
from flows.reports.medium import Medium, Place
from flows.reports.pieces import (
    link_line,
    list_accuracies,
    list_files,
    show_picture,
    warn,
)

PICTURES = {
    "confusion.png": "Which class was taken for which",
    "reliability.png": "How much is right of what the map is so sure of",
    "curves.png": "Loss and accuracy as it learned",
}
"""What each picture shows."""

FIGURES = {"overall_accuracy": "overall accuracy", "mean_iou": "mean IoU", "kappa": "kappa"}


def describe_accuracy(
    facts: Mapping[str, Any], files: Sequence[Place], medium: Medium
) -> list[Block]:
    """What `Accuracy.to_dict` says, and the files that say it."""
    figures = [(_say(facts.get(name)), label) for name, label in FIGURES.items()]
    compared = facts.get("compared", "")
    pictures = [path for path in files if path.name.endswith(".png")]
    return [
        Figures(tuple(figures)),
        *(warn(doubt, medium) for doubt in facts.get("doubts", ())),
        *(warn(note, medium, "Note") for note in facts.get("notes", ())),
        *([Text(f"{compared[:1].upper()}{compared[1:]}.")] if compared else []),
        Heading("Classes"),
        list_accuracies(facts["classes"]),
        *(
            block
            for path in pictures
            for block in show_picture(
                PICTURES.get(path.name, path.name), path, medium, share=1 / len(pictures)
            )
        ),
        Heading("Files"),
        *(block for path in files[:1] for block in link_line({"all files": path.parent}, medium)),
        *list_files(files, medium),
    ]


def _say(figure: float | None) -> str:
    return "–" if figure is None else f"{figure:.3f}"
