"""What is compared with what, on whose grid and by which classes: decided before a block is
counted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
import shapely
from odc.geo.geobox import GeoBox

from flows.assessment.block_counts import Comparison, Points
from flows.assessment.reclassify import (
    LegendRows,
    Regrouping,
    by_name,
    by_number,
    is_class_value,
    reclass_table,
    rows_with_names,
    shape_groups,
    unused_classes,
)
from flows.requests.maps import On
from segmentation.models.trained import TrainedSegmenter
from segmentation.registry import kinds, segmenter_class
from tiling.classmaps.alignment import MUCH_FINER, overlap, same_grid
from tiling.classmaps.raster import Groups, has_alpha, open_classes
from tiling.errors import InputError
from tiling.grid.geobox import geobox_of
from tiling.grid.pixel_size import PixelSpacing, middle_pixel_side
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset
from tiling.io.profiles import plain_profile
from tiling.labels.open_labels import open_labels
from tiling.labels.vector_labels import ShapeLabels

MOST_PIXELS = 256
"""Beyond this many pixels a tolerance would need more memory than a block should take, and is
none."""

NO_CLASS = np.iinfo(np.int64).min


@dataclass(frozen=True)
class ComparisonPlan:
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


def plan_raster_comparison(
    comparison: Comparison, regrouping: Regrouping, own: LegendRows, on: On, tolerance: float | None
) -> ComparisonPlan:
    """On which grid two rasters are compared.

    Nearest neighbour looks at one pixel under each of the grid's. On the finer grid of two that is
    every pixel of the other; on a much coarser one most would never be looked at, and that is
    refused.
    """
    theirs = rows_with_names(comparison.reference)
    given = reclass_table("--reference-classes", regrouping, theirs, own)
    notes = list(unused_classes("--reference-classes", comparison.reference, given, theirs))
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
        sides = {which: middle_pixel_side(geobox_of(source)) for which, source in sources.items()}
        chosen, other = _choose_grid(sides, names, on)
        compared = (
            f"compared on the grid of {names[chosen]} ({sides[chosen]:.3g} m), {names[other]} "
            f"({sides[other]:.3g} m) "
            "resampled by nearest neighbour"
        )
        if same_grid(found, truth):
            compared = f"compared on the grid that {names['map']} and {names['reference']} share"
        elif sides[chosen] < MUCH_FINER * sides[other]:
            times = (sides[other] / sides[chosen]) ** 2
            notes.append(
                f"each pixel of {names[other]} counts about {times:.0f} times, once for each "
                "finer one on it"
            )
        grid = geobox_of(sources[chosen])
        metres = tolerance_of(grid, geobox_of(sources[other]), tolerance)
        where = overlap(sources[other], sources[chosen])
    becomes = dict(given)
    moved = [(new, *row[1:]) for row in theirs if (new := becomes.get(row[0], row[0])) is not None]
    comparison = replace(comparison, on=chosen, tolerance=metres)
    return ComparisonPlan(comparison, grid, where, (*moved, *own), compared, tuple(notes), doubts)


Which = Literal["map", "reference"]


def _choose_grid(
    sides: Mapping[str, float], names: Mapping[str, str], on: On
) -> tuple[Which, Which]:
    """On whose grid to compare, by the sides of their pixels in metres, and whose it is not."""
    chosen: Which = on if on != "auto" else "map"
    other: Which = "reference" if chosen == "map" else "map"
    if sides[other] >= MUCH_FINER * sides[chosen]:
        return chosen, other
    if on == "auto":
        return other, chosen
    unseen = 1 - (sides[other] / sides[chosen]) ** 2
    raise InputError(
        f"{names[other]} has pixels of {sides[other]:.3g} m, {names[chosen]} of "
        f"{sides[chosen]:.3g} m: on the grid of {names[chosen]} nearest neighbour would never look "
        f"at {100 * unseen:.0f} % of {names[other]}; compare with --on {other}"
    )


def plan_shape_comparison(
    comparison: Comparison,
    regrouping: Regrouping,
    own: LegendRows,
    column: str,
    on: On,
    tolerance: float | None,
    work: Path,
) -> ComparisonPlan:
    """Shapes are compared on the map's grid: points are looked up one by one, polygons become a
    raster in `work`."""
    if on == "reference":
        raise InputError(f"{comparison.reference} holds shapes, which have no grid; leave --on out")
    with open_classes(comparison.map) as found:
        grid = geobox_of(found)
    labels = open_labels(comparison.reference, grid, column=column)
    assert isinstance(labels, ShapeLabels)  # whatever is no raster
    groups, unheld = shape_groups(labels, regrouping, own)
    name, reference = Path(comparison.map).name, Path(comparison.reference).name
    numbered = all(is_class_value(word) for _, word, _ in labels.rows)
    bare = own and not regrouping and not comparison.map_groups and numbered
    doubts = (by_number(own, (), name, reference),) if bare else ()
    points, of = shapely.get_parts(labels.shapes, return_index=True)
    if (shapely.get_type_id(points) == shapely.GeometryType.POINT).all():
        samples = _place_points(points, labels.values[of], groups, grid)
        comparison = replace(comparison, points=samples)
        compared = (
            f"compared at {samples.value.size:,} points of {reference}, each with the pixel of "
            f"{name} that holds it"
        )
    else:
        path = rasterise_labels(labels, work / "reference.tif")
        metres = tolerance_of(grid, grid, tolerance)
        comparison = replace(
            comparison, reference=str(path), reference_groups=groups, tolerance=metres
        )
        compared = (
            f"compared on the grid of {name}, where shapes of {reference} hold the centre "
            "of a pixel"
        )
    whole = Window.of_shape(*grid.shape)  # the map's own areas are those of all of it
    legend, notes = (*_name_groups(labels, groups), *own), (*unheld, *labels.notes)
    return ComparisonPlan(
        replace(comparison, areas=True), grid, whole, legend, compared, notes, doubts
    )


def _name_groups(labels: ShapeLabels, groups: Groups) -> LegendRows:
    """Rows of labels that have a word for their class, by the values they count as."""
    class_of = {old: new for old, new in groups if new is not None}
    return [
        (class_of[value], word, colour)
        for value, word, colour in labels.rows
        if value in class_of and not is_class_value(word)
    ]


def _place_points(points: Any, values: Any, becomes: Groups, grid: GeoBox) -> Points:
    """Points with a class, by the pixel of the grid that holds each."""
    col, row = ~grid.affine @ (shapely.get_x(points), shapely.get_y(points))
    class_of = {old: NO_CLASS if new is None else new for old, new in becomes}
    value = np.array([class_of[old] for old in values.tolist()], np.int64)
    kept = value != NO_CLASS
    row, col = (np.floor(place[kept]).astype(np.int64) for place in (row, col))
    return Points(row, col, value[kept])


def rasterise_labels(labels: ShapeLabels, path: Path) -> Path:
    """Write labels as a uint8 GeoTIFF on their grid, 0 = none; what holds no label takes no
    room."""
    with rasterio.open(
        path, "w", **plain_profile(labels.geobox, "uint8", 0), sparse_ok=True
    ) as target:
        for window in labels.windows():
            target.write(labels.read(window), 1, window=window.ranges)
    return path


def tolerance_of(grid: GeoBox, other: GeoBox, given: float | None) -> float:
    """Metres within which boundaries are the same: what was asked for, else two pixels of the
    coarser raster.

    No raster draws a boundary better than its pixels; the default is rounded to three digits.
    """
    side = PixelSpacing(grid).side
    if given is None:
        return float(f"{min(2 * max(side, PixelSpacing(other).side), MOST_PIXELS * side):.3g}")
    if given > MOST_PIXELS * side:
        raise InputError(
            f"--tolerance {given:g}: that is more than {MOST_PIXELS} pixels of {side:.3g} m; take "
            "less"
        )
    return given


def check_numbers(tolerance: float | None, bins: int) -> None:
    """Refuse numbers that mean nothing."""
    if tolerance is not None and not 0 <= tolerance < float("inf"):
        raise InputError(f"--tolerance {tolerance:g}: a tolerance is 0 or more metres")
    if not 1 <= bins <= 100:
        raise InputError(f"--bins {bins}: percents of confidence fall into 1 to 100 bins")


def is_probability(record: Path) -> bool:
    """Whether the confidence of a run is a model's probability; so it is taken to be where there is
    no record."""
    try:
        kind = json.loads(record.read_text(encoding="utf-8"))["segmenter"]["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        return True
    return kind not in kinds() or issubclass(segmenter_class(kind), TrainedSegmenter)


def confidence_of(map_path: str | Path, given: str | Path | None) -> Path | None:
    """The raster of confidence that was named, else that beside `classes.tif` if it has the map's
    pixels.

    Confidence of rules and thresholds is a distance, no probability: it is taken only if it is
    named.
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
            raise InputError(
                f"{path} holds {sure.dtypes[0]}; a confidence is uint8: 0 to 100 percent, 255 for "
                "none"
            )
    return path
