"""Pictures and tables of how good a map is: the confusion matrix, the reliability diagram, and
their figures as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from flows.reports.drawing import blank_figure, short
from flows.reports.pieces import REPORT
from flows.reports.tables import csv_text, json_text
from tiling.errors import InputError
from tiling.io.files import scratch, write_text

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from segmentation.accuracy.confusion import Accuracy
    from segmentation.accuracy.instances import ObjectAccuracy
    from segmentation.accuracy.reliability import Reliability

LEGIBLE = 24
"""More classes than this are drawn without numbers in the cells."""


def write_accuracy(accuracy: Accuracy, folder: Path) -> tuple[Path, ...]:
    """Write accuracy.json, accuracy.csv, confusion.csv, report.html, confusion.png and, with a
    confidence, reliability.png."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "accuracy.json", json_text(accuracy))
        write_text(folder / "accuracy.csv", csv_text(*class_table(accuracy)))
        write_text(folder / "confusion.csv", csv_text(*confusion_table(accuracy)))
        pictures = {"confusion.png": draw_confusion(accuracy)}
        if accuracy.reliability:
            pictures["reliability.png"] = draw_reliability(accuracy.reliability)
        else:
            (folder / "reliability.png").unlink(missing_ok=True)  # of an earlier comparison
        with scratch(folder) as work:
            for name, figure in pictures.items():
                figure.savefig(work / name, metadata={"Software": "landweave"}, format="png")
                (work / name).replace(folder / name)
        names = ("accuracy.json", "accuracy.csv", "confusion.csv", REPORT, *pictures)
        _write_page(accuracy, folder, [folder / name for name in names if name != REPORT])
    except OSError as error:
        raise InputError(
            f"cannot write to {folder}: {error.strerror}; name another folder with --out"
        ) from error
    return tuple(folder / name for name in names)


def write_object_accuracy(accuracy: ObjectAccuracy, folder: Path) -> tuple[Path, ...]:
    """Write object_accuracy.json and object_accuracy.csv."""
    facts = accuracy.to_dict()
    names = "object_accuracy.json", "object_accuracy.csv"
    rows = [list(row.values()) for row in (*facts["classes"], facts["mean"])]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / names[0], json_text(accuracy))
        write_text(folder / names[1], csv_text(list(facts["mean"]), rows))
    except OSError as error:
        raise InputError(
            f"cannot write to {folder}: {error.strerror}; name another folder with --out"
        ) from error
    return tuple(folder / name for name in names)


def _write_page(accuracy: Accuracy, folder: Path, files: Sequence[Path]) -> None:
    """Write `report.html`, on which the figures stand with the pictures."""
    from flows.reports.accuracy_report import describe_accuracy
    from flows.reports.html import render_html
    from flows.reports.medium import Beside

    blocks = describe_accuracy(accuracy.to_dict(), files, Beside(folder))
    write_text(folder / REPORT, render_html("Accuracy against the reference", blocks))


def class_table(accuracy: Accuracy) -> tuple[list[str], list[list[Any]]]:
    """One row per class with every figure there is of it; what is undefined is empty."""
    facts = accuracy.to_dict()
    rows = {row["value"]: dict(row) for row in facts["classes"]}
    for row in rows.values():
        del row["colour"]
    for row in facts.get("boundaries", {}).get("classes", ()):
        rows[row["value"]] |= {
            "boundary_f1": row["f1"],
            "boundary_precision": row["precision"],
            "boundary_recall": row["recall"],
        }
    for row in facts.get("areas", {}).get("classes", ()):
        rows.setdefault(row["value"], {"value": row["value"], "name": row["name"]}).update(row)
    header = list(dict.fromkeys(name for row in rows.values() for name in row))
    return header, [[row.get(name) for name in header] for row in rows.values()]


def confusion_table(accuracy: Accuracy) -> tuple[list[str], list[list[Any]]]:
    """The counts, true class along rows."""
    names = [one.name for one in accuracy.classes]
    return ["true \\ map", *names], [
        [name, *row] for name, row in zip(names, accuracy.matrix, strict=True)
    ]


def draw_confusion(accuracy: Accuracy) -> Figure:
    """Each row shows where the pixels of a true class went: percent of the row, and their
    number."""
    import numpy as np

    matrix = np.array(accuracy.matrix)
    k = len(matrix)
    side = max(3.2, min(14, 0.85 * k))
    figure = blank_figure(side + 3, side + 2)
    axes = figure.subplots()
    _draw_cells(axes, matrix)
    names = [one.name for one in accuracy.classes]
    axes.set_xticks(range(k), names, rotation=40, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(k), names, fontsize=8)
    axes.tick_params(length=0, pad=14)
    _draw_colours(axes, [one.colour for one in accuracy.classes], 0.12 * k / side)
    _draw_gaps(axes, k)
    axes.set_xlabel("map")
    axes.set_ylabel("reference")
    figure.suptitle(
        f"overall accuracy {accuracy.overall_accuracy:.3f} · mean IoU {accuracy.mean_iou:.3f} · "
        f"{short(int(matrix.sum()))} pixels"
        + "".join(f"\n{fill(doubt, 11 * int(side + 3))}" for doubt in accuracy.doubts),
        fontsize=10,
    )
    return figure


def _draw_cells(axes: Axes, matrix: npt.NDArray[np.int64]) -> None:
    """Each cell in a blue for its share of the row, with share and count where they are legible."""
    import numpy as np

    totals = matrix.sum(1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(matrix) > LEGIBLE:
        return
    for row, col in np.argwhere(matrix):
        share = shares[row, col]
        axes.text(
            col,
            row,
            f"{100 * share:.1f} %\n{short(int(matrix[row, col]))}",
            ha="center",
            va="center",
            fontsize=7,
            color="white" if share > 0.6 else "black",
        )


def _draw_colours(axes: Axes, colours: Sequence[str], thick: float) -> None:
    """Squares of the classes' colours below the columns and left of the rows, `thick` cells
    wide."""
    from matplotlib.patches import Rectangle

    k = len(colours)
    for place, colour in enumerate(colours):
        for corner, size in (
            ((place - 0.5, k - 0.5), (1, thick)),
            ((-0.5 - thick, place - 0.5), (thick, 1)),
        ):
            axes.add_patch(
                Rectangle(corner, *size, facecolor=colour, edgecolor="white", lw=1, clip_on=False)
            )


def _draw_gaps(axes: Axes, k: int) -> None:
    """White lines between cells, and no frame around them."""
    edges = [place - 0.5 for place in range(k + 1)]
    axes.set_xticks(edges, minor=True)
    axes.set_yticks(edges, minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="minor", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def draw_reliability(reliability: Reliability) -> Figure:
    """Above, how much of each bin of confidence is right; below, how many pixels it holds."""
    figure = blank_figure(5, 6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    there = [one for one in reliability.bins if one.pixels]
    middles, widths = (
        [(one.low + one.high) / 2 for one in there],
        [one.high - one.low for one in there],
    )
    right = [one.accuracy for one in there]
    gaps = [one.confidence - one.accuracy for one in there]
    upper.bar(middles, right, widths, color="#3b7dd8", edgecolor="white", label="right")
    upper.bar(
        middles,
        gaps,
        widths,
        right,
        color="#d6453d",
        alpha=0.35,
        edgecolor="#d6453d",
        label="gap to confidence",
    )
    upper.plot([0, 1], [0, 1], color="#555555", linestyle="--", linewidth=1)
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="part that is right")
    upper.legend(frameon=False, fontsize=8, loc="upper left")
    lower.bar(
        middles,
        [one.pixels / reliability.pixels for one in there],
        widths,
        color="#999999",
        edgecolor="white",
    )
    lower.set(xlabel="confidence", ylabel="part of pixels")
    figure.suptitle(
        f"expected calibration error {reliability.expected_calibration_error:.3f}: on average "
        f"{100 * reliability.mean_confidence:.0f} % sure, {100 * reliability.accuracy:.0f} % right",
        fontsize=9,
    )
    return figure
