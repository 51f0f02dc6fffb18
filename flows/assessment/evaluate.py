"""A map against a reference: aligned explicitly, counted block by block.

Both are compared on the map's grid, or on that of a reference that is more than twice as fine,
unless a person says on which; `Accuracy.compared` says which it was. The other raster and the mask
are laid on it by nearest neighbour.

Every value found on either side is a class. Classes are regrouped first: `{1: 4, "forest": 2, 9:
None}` counts class 1 as 4, what is called forest as 2, and leaves 9 out; `{5: "Open land", 6: "Open
land"}` of a map makes one class of that name. A class of the map called Unknown is no answer: its
pixels are left out as those without data are, and a note says how many had a reference; to judge
it, name it: `{"Unknown": "Unknown"}`.

Two rasters whose classes are named are matched by name; where one side has bare numbers these are
taken for the other's, and `Accuracy.doubts` says so, as it does where the reference is one of the
labels that the map's model was trained on.

Boundaries are the same within a tolerance in metres: by default two pixels of the coarser raster; 0
compares none.

What is compared is decided first and becomes one small value, a `Comparison`. Counting a block
needs nothing else, so blocks may be counted anywhere and in any order: their counts are whole
numbers that add up to those of the whole.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial, reduce
from operator import add
from pathlib import Path

import numpy as np

from flows.assessment.block_counts import Comparison, Counts, count
from flows.assessment.comparison import (
    ComparisonPlan,
    check_numbers,
    confidence_of,
    plan_raster_comparison,
    plan_shape_comparison,
)
from flows.assessment.reclassify import (
    LegendRows,
    Regrouping,
    class_without_answer,
    legend_for,
    reclass_table,
    rename_classes,
    rows_with_names,
    unused_classes,
)
from flows.compute.progress import Progress, report_items, silent
from flows.requests.maps import On
from segmentation.accuracy.area_estimation import AreaEstimates
from segmentation.accuracy.boundary_f1 import BoundaryAccuracy
from segmentation.accuracy.confusion import Accuracy
from segmentation.accuracy.reliability import BINS, Reliability
from segmentation.legend import UNKNOWN
from segmentation.models.bundle import Bundle, load
from tiling.classmaps.raster import open_classes
from tiling.errors import InputError
from tiling.grid.pixel_area import PixelAreas
from tiling.io.access import allow_folder
from tiling.io.spill import Map
from tiling.labels.open_labels import is_raster

BLOCK = 1024
PIECE = 2 * BLOCK
"""Less than four squares of this side are counted before a worker has started."""


def evaluate(
    map_path: str | Path,
    reference: str | Path,
    *,
    legend: LegendRows = (),
    mask: str | Path | None = None,
    mask_value: int = 1,
    column: str = "",
    map_classes: Regrouping = {},  # noqa: B006 - only read
    reference_classes: Regrouping = {},  # noqa: B006 - only read
    on: On = "auto",
    tolerance: float | None = None,
    confidence: str | Path | None = None,
    taught: Sequence[str] | None = None,
    bins: int = BINS,
    block: int = BLOCK,
    map: Map = map,
    progress: Progress = silent,
) -> Accuracy:
    """Accuracy of a class raster against a reference: a class raster, or polygons or points with a
    `column` of classes.

    Pixels without data on either side are left out, and with a `mask` so are those where it is not
    `mask_value`. Names of classes are those of the `legend` or, without one, those that map and
    reference have themselves. `taught` are names of labels that the map's model was trained on, by
    default those of the run beside the map. The `confidence` is that beside a map called
    classes.tif unless another is named. `block` and `map` change no figure.
    """
    check_numbers(tolerance, bins)
    for path in (map_path, *([mask] if mask else [])):
        open_classes(path).close()  # a mistake is said now, and not by a worker
    comparison = Comparison(
        map=str(map_path),
        reference=str(reference),
        mask=str(mask or ""),
        mask_value=mask_value,
        confidence=str(confidence_of(map_path, confidence) or ""),
    )
    comparison, known, notes = _regroup_map(comparison, map_classes, legend)
    with tempfile.TemporaryDirectory(prefix="landweave-") as work, allow_folder(Path(work)):
        plan = _plan_comparison(
            comparison, reference_classes, known, column, on, tolerance, Path(work)
        )
        total = _count_blocks(plan, block, map, progress)
    _check_counted(total, comparison)
    labels = labels_behind(map_path) if taught is None else taught
    doubts = (*plan.doubts, *notes_on_training_labels(labels, reference))
    return accuracy_of(total, replace(plan, notes=(*notes, *plan.notes), doubts=doubts), bins)


def _regroup_map(
    comparison: Comparison, map_classes: Regrouping, legend: LegendRows
) -> tuple[Comparison, LegendRows, tuple[str, ...]]:
    """A comparison that regroups the map's classes, the legend after that, and what a person must
    be told of it."""
    own = legend or rows_with_names(comparison.map)
    known, slips = rename_classes("--map-classes", map_classes, own)
    groups = reclass_table("--map-classes", map_classes, own, known)
    unused = unused_classes("--map-classes", comparison.map, groups, own)
    unknown = class_without_answer(map_classes, known)
    return replace(comparison, map_groups=groups, unknown=unknown), known, (*slips, *unused)


def _count_blocks(plan: ComparisonPlan, block: int, map: Map, progress: Progress) -> Counts:
    """Counts of all blocks of this side, in pixels, added up."""
    blocks = [window for window in plan.where.blocks(block) if window]
    counts = map(partial(count, plan.comparison), blocks)
    return reduce(add, report_items(counts, "evaluate", len(blocks), progress), Counts.none())


def _check_counted(total: Counts, comparison: Comparison) -> None:
    """Raise `InputError` where a map and its reference share nothing."""
    if not total.matrix.any():
        if total.unanswered:
            raise InputError(
                f"{comparison.map} is {UNKNOWN} wherever {comparison.reference} has a class; lower "
                f"--unknown-below of the map, or judge it as a class with --map-classes "
                f"{UNKNOWN}={UNKNOWN}"
            )
        mask = comparison.mask
        where = f" where {mask} is {comparison.mask_value}" if mask else ""
        raise InputError(
            f"{comparison.map} and {comparison.reference} share no labelled pixel{where}; check "
            "that they show the same place and that each declares its no data"
        )


def _plan_comparison(
    comparison: Comparison,
    regrouping: Regrouping,
    own: LegendRows,
    column: str,
    on: On,
    tolerance: float | None,
    work: Path,
) -> ComparisonPlan:
    """How a map is compared with a raster or with shapes, whichever the reference is."""
    reference = comparison.reference
    if not is_raster(reference):
        return plan_shape_comparison(comparison, regrouping, own, column, on, tolerance, work)
    if column:
        raise InputError(f"{reference} is a raster and has no column {column}; leave --column out")
    return plan_raster_comparison(comparison, regrouping, own, on, tolerance)


def accuracy_of(total: Counts, decision: ComparisonPlan, bins: int) -> Accuracy:
    """What all counts say. A class that the map has, but nowhere with a reference, is in the areas
    alone."""
    comparison, notes = decision.comparison, list(decision.notes)
    if total.unanswered:
        notes.append(note_on_unknown(total))
    rows = legend_for(total.values, decision.legend)
    seen = total.matrix.any(0) | total.matrix.any(1)
    of_seen = [row for row, there in zip(rows, seen, strict=True) if there]
    if not (total.matrix.any(0) & total.matrix.any(1)).any():
        notes.append(
            "map and reference have no class in common; regroup with --map-classes or "
            "--reference-classes"
        )
    boundaries = areas = None
    if comparison.tolerance and total.boundaries[:, 0].any():
        boundaries = BoundaryAccuracy.from_counts(
            total.boundaries[seen], of_seen, comparison.tolerance
        )
    elif comparison.tolerance:
        notes.append(
            "boundaries are not compared: the reference nowhere shows two classes side by side"
        )
    if comparison.areas:
        square_metres = total.mapped * np.float64(PixelAreas(decision.grid).unit)
        try:
            areas = AreaEstimates.from_confusion(total.matrix, square_metres, rows)
        except ValueError as error:
            notes.append(f"no areas are estimated: {error}")
        else:
            notes += notes_on(areas, comparison)
    return replace(
        Accuracy.from_confusion(total.matrix[np.ix_(seen, seen)], of_seen),
        boundaries=boundaries,
        reliability=Reliability.from_counts(total.confidence, bins)
        if total.confidence.any()
        else None,
        areas=areas,
        compared=decision.compared,
        doubts=decision.doubts,
        notes=tuple(notes),
    )


def note_on_unknown(total: Counts) -> str:
    """What stands beside every figure where the map gives no answer."""
    asked = int(total.matrix.sum()) + total.unanswered
    return (
        f"where the map is {UNKNOWN} it gives no answer: {total.unanswered:,} of {asked:,} with a "
        f"reference, {100 * total.unanswered / asked:.1f} %, are left out of every figure"
    )


def notes_on(areas: AreaEstimates, comparison: Comparison) -> Iterator[str]:
    """What must be said beside estimated areas."""
    left = [one.name for one in areas.classes if one.mapped_m2 and one.samples < 2]
    if left:
        yield (
            f"areas speak of {100 * areas.covered:.2f} % of the map: {', '.join(left)} "
            f"{'have' if len(left) > 1 else 'has'} fewer than two reference samples"
        )
    yield "intervals hold for a random sample, or one stratified by the map's classes" + (
        ""
        if comparison.points is not None
        else "; pixels of one polygon are alike, so the true ones are wider"
    )


def work_pieces(map_path: str | Path) -> int:
    """How many pieces worth a worker's while a map has."""
    with open_classes(map_path) as source:
        return int(-(-source.height // PIECE) * -(-source.width // PIECE))


# --------------------------------------------------------------------------------- what is compared


def labels_behind(map_path: str | Path) -> Sequence[str]:
    """Names of the labels that the model of a run's map was trained on; none where no run or no
    model lies there."""
    try:
        record = json.loads(Path(map_path).with_name("run.json").read_text(encoding="utf-8"))
        return labels_of(load(record["segmenter"]["bundle"]))
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def labels_of(bundle: Bundle) -> Sequence[str]:
    """Names of the labels that a model was trained on, as its card says."""
    labels = bundle.card.training.get("labels")
    return [str(name) for name in labels] if isinstance(labels, list) else []


def notes_on_training_labels(labels: Sequence[str], reference: str | Path) -> tuple[str, ...]:
    """What stands beside every figure where the reference has the name of labels that the model was
    trained on."""
    name = Path(reference).name
    if name not in labels:
        return ()
    return (
        f"the model was trained on labels called {name}: against its own training data figures "
        "say how well it learnt, "
        "not how good the map is; compare with labels that it has not seen",
    )
