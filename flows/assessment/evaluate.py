"""A map against a reference: aligned explicitly, counted block by block.

What is compared is decided first and becomes one small value, a `Comparison`. Counting a block needs nothing else, so
blocks may be counted anywhere and in any order: their counts are whole numbers that add up to those of the whole.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import add
from pathlib import Path
from typing import Literal

import numpy as np
import rasterio
import shapely
from odc.geo.geobox import GeoBox

from flows.assessment.block_counts import Comparison, Counts, Points, count
from flows.assessment.reclassify import (
    LegendRows,
    Regrouping,
    by_name,
    by_number,
    groups,
    is_whole,
    named,
    named_rows,
    not_held,
    renamed,
    shape_groups,
)
from flows.compute.progress import Map, Progress, counted, silent
from segmentation.accuracy.area_estimation import AreaEstimates
from segmentation.accuracy.boundary_f1 import BoundaryAccuracy
from segmentation.accuracy.confusion import Accuracy
from segmentation.accuracy.reliability import BINS, Reliability
from segmentation.models.bundle import Bundle, load
from segmentation.models.trained import Bundled
from segmentation.registry import kinds, segmenter_class
from tiling.classmaps.alignment import TWICE, overlap, same_grid, side
from tiling.classmaps.raster import has_alpha, open_classes
from tiling.errors import Mistake
from tiling.grid.geobox import geobox_of
from tiling.grid.pixel_area import PixelAreas
from tiling.grid.pixel_size import PixelSpacing
from tiling.grid.window import Window
from tiling.io.access import reaching
from tiling.io.datasets import open_dataset
from tiling.labels.open_labels import is_raster, open_labels
from tiling.labels.vector_labels import ShapeLabels

BLOCK = 1024
PIECE = 2 * BLOCK
"""Less than four squares of this side are counted before a worker has started."""

MOST_PIXELS = 256
"""Beyond this many pixels a tolerance would need more memory than a block should take, and is none."""

NO_CLASS = np.iinfo(np.int64).min
On = Literal["auto", "map", "reference"]


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
    """Accuracy of a class raster against a reference: a class raster, or polygons or points with a `column` of classes.

    Both are compared on the map's grid, or on that of a reference that is more than twice as fine; `on` says otherwise,
    and `Accuracy.compared` says which it was. The other raster and the mask are laid on it by nearest neighbour. Pixels
    without data on either side are left out, and with a `mask` so are those where it is not `mask_value`.

    Every value found on either side is a class; its name is the legend's or, without one, that of the map's or of the
    reference's own legend. Classes are regrouped first: `{1: 4, "forest": 2, 9: None}` counts class 1 as 4, what is
    called forest as 2, and leaves 9 out; `{5: "Open land", 6: "Open land"}` of a map makes one class of that name.

    Two rasters whose classes are named are matched by name; where one side has bare numbers these are taken for the
    other's, and `Accuracy.doubts` says so, as it does where the reference is one of the labels that the map's model was
    `taught` with: by their names, by default those of the run beside the map.

    Boundaries are the same within `tolerance` metres: by default two pixels of the coarser raster; 0 compares none. The
    `confidence` is that beside a map called classes.tif unless another is named. `block` and `map` change no figure.
    """
    check_numbers(tolerance, bins)
    own = legend or named_rows(map_path)
    target, slips = renamed("--map-classes", map_classes, own)
    for path in (map_path, *([mask] if mask else [])):
        open_classes(path).close()  # a mistake is said now, and not by a worker
    comparison = Comparison(
        map=str(map_path),
        reference=str(reference),
        mask=str(mask or ""),
        mask_value=mask_value,
        confidence=str(confidence_of(map_path, confidence) or ""),
        map_groups=groups("--map-classes", map_classes, own, target),
    )
    notes = (*slips, *not_held("--map-classes", map_path, comparison.map_groups, own))
    own = target
    with tempfile.TemporaryDirectory(prefix="landweave-") as work, reaching(Path(work)):
        if is_raster(reference):
            if column:
                raise Mistake(f"{reference} is a raster and has no column {column}; leave --column out")
            decision = rasters_decided(comparison, reference_classes, own, on, tolerance)
        else:
            decision = shapes_decided(comparison, reference_classes, own, column, on, tolerance, Path(work))
        labels = labels_behind(map_path) if taught is None else taught
        doubts = (*decision.doubts, *learnt_from(labels, reference))
        decision = replace(decision, notes=(*notes, *decision.notes), doubts=doubts)
        blocks = [window for window in decision.where.blocks(block) if window]
        parts = counted(map(partial(count, decision.comparison), blocks), "evaluate", len(blocks), progress)
        total = reduce(add, parts, Counts.none())
    if not total.matrix.any():
        where = f" where {mask} is {mask_value}" if mask else ""
        raise Mistake(
            f"{map_path} and {reference} share no labelled pixel{where}; check that they show the same place and that "
            "each declares its no data"
        )
    return accuracy_of(total, decision, bins)


def accuracy_of(total: Counts, decision: Decision, bins: int) -> Accuracy:
    """What all counts say. A class that the map has, but nowhere with a reference, is in the areas alone."""
    comparison, notes = decision.comparison, list(decision.notes)
    rows = named(total.values, decision.legend)
    seen = total.matrix.any(0) | total.matrix.any(1)
    of_seen = [row for row, there in zip(rows, seen, strict=True) if there]
    if not (total.matrix.any(0) & total.matrix.any(1)).any():
        notes.append("map and reference have no class in common; regroup with --map-classes or --reference-classes")
    boundaries = areas = None
    if comparison.tolerance and total.boundaries[:, 0].any():
        boundaries = BoundaryAccuracy.from_counts(total.boundaries[seen], of_seen, comparison.tolerance)
    elif comparison.tolerance:
        notes.append("boundaries are not compared: the reference nowhere shows two classes side by side")
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
        reliability=Reliability.from_counts(total.confidence, bins) if total.confidence.any() else None,
        areas=areas,
        compared=decision.compared,
        doubts=decision.doubts,
        notes=tuple(notes),
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
        "" if comparison.points is not None else "; pixels of one polygon are alike, so the true ones are wider"
    )


def pieces(map_path: str | Path) -> int:
    """How many pieces worth a worker's while a map has."""
    with open_classes(map_path) as source:
        return int(-(-source.height // PIECE) * -(-source.width // PIECE))


# ------------------------------------------------------------------------------------------------- what is compared


@dataclass(frozen=True)
class Decision:
    """What will be counted, where, and what a person must be told of it."""

    comparison: Comparison
    grid: GeoBox
    where: Window
    """The pixels of the grid to look at."""
    legend: LegendRows
    """Names and colours known of either side; of two for one class the last counts."""
    compared: str
    notes: tuple[str, ...]
    doubts: tuple[str, ...] = ()
    """What may make every figure wrong."""


def rasters_decided(
    comparison: Comparison, regrouping: Regrouping, own: LegendRows, on: On, tolerance: float | None
) -> Decision:
    """On which grid two rasters are compared.

    Nearest neighbour looks at one pixel under each of the grid's. On the finer grid of two that is every pixel of the
    other; on a much coarser one most would never be looked at, and that is refused.
    """
    theirs = named_rows(comparison.reference)
    given = groups("--reference-classes", regrouping, theirs, own)
    notes = list(not_held("--reference-classes", comparison.reference, given, theirs))
    doubts: tuple[str, ...] = ()
    called = Path(comparison.map).name, Path(comparison.reference).name
    if own and theirs:
        given, strange = by_name(given, own, theirs, *called)
        notes += strange
    elif (own or theirs) and not (given or comparison.map_groups):
        doubts = (by_number(own, theirs, *called),)
    comparison = replace(comparison, reference_groups=given)
    with open_classes(comparison.map) as found, open_classes(comparison.reference) as truth:
        sources = {"map": found, "reference": truth}
        names = {"map": Path(comparison.map).name, "reference": Path(comparison.reference).name}
        sides = {which: side(source) for which, source in sources.items()}
        chosen: Literal["map", "reference"] = on if on != "auto" else "map"
        other: Literal["map", "reference"] = "reference" if chosen == "map" else "map"
        if sides[other] < TWICE * sides[chosen]:
            if on != "auto":
                unseen = 1 - (sides[other] / sides[chosen]) ** 2
                raise Mistake(
                    f"{names[other]} has pixels of {sides[other]:.3g} m, {names[chosen]} of {sides[chosen]:.3g} m: on "
                    f"the grid of {names[chosen]} nearest neighbour would never look at {100 * unseen:.0f} % of "
                    f"{names[other]}; compare with --on {other}"
                )
            chosen, other = other, chosen
        compared = (
            f"compared on the grid of {names[chosen]} ({sides[chosen]:.3g} m), {names[other]} ({sides[other]:.3g} m) "
            "resampled by nearest neighbour"
        )
        if same_grid(found, truth):
            compared = f"compared on the grid that {names['map']} and {names['reference']} share"
        elif sides[chosen] < TWICE * sides[other]:
            times = (sides[other] / sides[chosen]) ** 2
            notes.append(f"each pixel of {names[other]} counts about {times:.0f} times, once for each finer one on it")
        grid = geobox_of(sources[chosen])
        metres = tolerance_of(grid, geobox_of(sources[other]), tolerance)
        where = overlap(sources[other], sources[chosen])
    becomes = dict(given)
    moved = [(new, *row[1:]) for row in theirs if (new := becomes.get(row[0], row[0])) is not None]
    comparison = replace(comparison, on=chosen, tolerance=metres)
    return Decision(comparison, grid, where, (*moved, *own), compared, tuple(notes), doubts)


def shapes_decided(
    comparison: Comparison,
    regrouping: Regrouping,
    own: LegendRows,
    column: str,
    on: On,
    tolerance: float | None,
    work: Path,
) -> Decision:
    """Shapes are compared on the map's grid: points are looked up one by one, polygons become a raster in `work`."""
    if on == "reference":
        raise Mistake(f"{comparison.reference} holds shapes, which have no grid; leave --on out")
    with open_classes(comparison.map) as found:
        grid = geobox_of(found)
    labels = open_labels(comparison.reference, grid, column=column)
    assert isinstance(labels, ShapeLabels)  # whatever is no raster
    becomes, unheld = shape_groups(labels, regrouping, own)
    name, reference = Path(comparison.map).name, Path(comparison.reference).name
    points, of = shapely.get_parts(labels.shapes, return_index=True)
    if (shapely.get_type_id(points) == shapely.GeometryType.POINT).all():
        col, row = ~grid.affine @ (shapely.get_x(points), shapely.get_y(points))
        class_of = {old: NO_CLASS if new is None else new for old, new in becomes}
        value = np.array([class_of[old] for old in labels.values[of].tolist()], np.int64)
        kept = value != NO_CLASS
        samples = Points(np.floor(row[kept]).astype(np.int64), np.floor(col[kept]).astype(np.int64), value[kept])
        comparison = replace(comparison, points=samples)
        compared = f"compared at {kept.sum():,} points of {reference}, each with the pixel of {name} that holds it"
    else:
        path = burnt(labels, work / "reference.tif")
        metres = tolerance_of(grid, grid, tolerance)
        comparison = replace(comparison, reference=str(path), reference_groups=becomes, tolerance=metres)
        compared = f"compared on the grid of {name}, where shapes of {reference} hold the centre of a pixel"
    known = {old: new for old, new in becomes if new is not None}
    theirs = [(known[v], word, colour) for v, word, colour in labels.rows if v in known and not is_whole(word)]
    whole = Window.of_shape(*grid.shape)  # the map's own areas are those of all of it
    bare = own and not regrouping and not comparison.map_groups and all(is_whole(word) for _, word, _ in labels.rows)
    doubts = (by_number(own, (), name, reference),) if bare else ()
    notes = (*unheld, *labels.notes)
    return Decision(replace(comparison, areas=True), grid, whole, (*theirs, *own), compared, notes, doubts)


def burnt(labels: ShapeLabels, path: Path) -> Path:
    """Write labels as a uint8 GeoTIFF on their grid, 0 = none; what holds no label takes no room."""
    assert labels.geobox.crs is not None  # the map has one
    height, width = labels.geobox.shape
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": "uint8", "nodata": 0}
    profile |= {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "ZSTD", "zstd_level": 1}
    profile |= {"crs": labels.geobox.crs.to_wkt(), "transform": labels.geobox.affine}
    with rasterio.open(path, "w", **profile, sparse_ok=True, bigtiff="IF_SAFER") as target:
        for window in labels.windows():
            target.write(labels.read(window), 1, window=window.ranges)
    return path


def tolerance_of(grid: GeoBox, other: GeoBox, given: float | None) -> float:
    """Metres within which boundaries are the same: what was asked for, else two pixels of the coarser raster.

    No raster draws a boundary better than its pixels; the default is rounded to three digits.
    """
    side = PixelSpacing(grid).side
    if given is None:
        return float(f"{min(2 * max(side, PixelSpacing(other).side), MOST_PIXELS * side):.3g}")
    if given > MOST_PIXELS * side:
        raise Mistake(f"--tolerance {given:g}: that is more than {MOST_PIXELS} pixels of {side:.3g} m; take less")
    return given


def check_numbers(tolerance: float | None, bins: int) -> None:
    """Refuse numbers that mean nothing."""
    if tolerance is not None and not 0 <= tolerance < float("inf"):
        raise Mistake(f"--tolerance {tolerance:g}: a tolerance is 0 or more metres")
    if not 1 <= bins <= 100:
        raise Mistake(f"--bins {bins}: percents of confidence fall into 1 to 100 bins")


def labels_behind(map_path: str | Path) -> Sequence[str]:
    """Names of the labels that the model of a run's map was trained on; none where no run or no model lies there."""
    try:
        record = json.loads(Path(map_path).with_name("run.json").read_text(encoding="utf-8"))
        return labels_of(load(record["segmenter"]["bundle"]))
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def labels_of(bundle: Bundle) -> Sequence[str]:
    """Names of the labels that a model was trained on, as its card says."""
    labels = bundle.card.training.get("labels")
    return [str(name) for name in labels] if isinstance(labels, list) else []


def learnt_from(labels: Sequence[str], reference: str | Path) -> tuple[str, ...]:
    """What stands beside every figure where the reference has the name of labels that the model was trained on."""
    name = Path(reference).name
    if name not in labels:
        return ()
    return (
        f"the model was trained on labels called {name}: against its own training data figures say how well it learnt, "
        "not how good the map is; compare with labels that it has not seen",
    )


def is_probability(record: Path) -> bool:
    """Whether the confidence of a run is a model's probability; so it is taken to be where there is no record."""
    try:
        kind = json.loads(record.read_text(encoding="utf-8"))["segmenter"]["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        return True
    return kind not in kinds() or issubclass(segmenter_class(kind), Bundled)


def confidence_of(map_path: str | Path, given: str | Path | None) -> Path | None:
    """The raster of confidence that was named, else that beside `classes.tif` if it has the map's pixels.

    Confidence of rules and thresholds is a distance, no probability: it is taken only if it is named.
    """
    path = Path(given) if given else Path(map_path).with_name("confidence.tif")
    if not given and (Path(map_path).name != "classes.tif" or not path.exists()):
        return None
    if not given and not is_probability(path.with_name("run.json")):
        return None
    with open_dataset(str(path)) as sure, open_dataset(str(map_path)) as found:
        if not given:
            return path if sure.dtypes == ("uint8",) and same_grid(sure, found) else None
        has_alpha(path, sure)
        if sure.dtypes[0] != "uint8":
            raise Mistake(f"{path} holds {sure.dtypes[0]}; a confidence is uint8: 0 to 100 percent, 255 for none")
    return path
