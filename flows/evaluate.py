"""A map against a reference: aligned explicitly, counted block by block.

What is compared is decided first and becomes one small value, a `Comparison`. Counting a block needs nothing else, so
blocks may be counted anywhere and in any order: their counts are whole numbers that add up to those of the whole.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import add
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.errors
import shapely
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds

from flows.progress import Map, Progress, counted, silent
from segmentation.accuracy import Accuracy, confusion_matrix
from segmentation.boundaries import BoundaryAccuracy, Spacing, count_boundaries, reach
from segmentation.estimation import AreaEstimates
from segmentation.reliability import BINS, Reliability, count_confidence
from tiling.area import PixelAreas, sum_by
from tiling.errors import Mistake
from tiling.labels import ShapeLabels, has_alpha, is_vector, open_labels
from tiling.palette import legend_of
from tiling.parts import NO_CONFIDENCE
from tiling.project import sorted_bounds
from tiling.reading import open_dataset
from tiling.spacing import PixelSpacing
from tiling.style import completed
from tiling.window import Window

BLOCK = 1024
PIECE = 2 * BLOCK
"""Less than four squares of this side are counted before a worker has started."""

MOST_PIXELS = 256
"""Beyond this many pixels a tolerance would need more memory than a block should take, and is none."""

MOST_NAMED = 20
"""An error lists so many classes, at most."""

MOST_CLASSES = 1024
"""More values than this are measurements, and their matrix would need more memory than it tells."""

TWICE = 0.495
"""A raster is much finer than another where its pixels are less than half as long, a percent forgiven."""

NO_CLASS = np.iinfo(np.int64).min
LegendRows = Sequence[tuple[int, str, str]]
Groups = tuple[tuple[int, int | None], ...]
"""Pairs of a class and the one it becomes; None leaves its pixels out."""

Regrouping = Mapping[Any, int | str | None]
"""What classes, by value or name, become, by value or name; None or nothing leaves them out."""
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
    called forest as 2, and leaves 9 out.

    Boundaries are the same within `tolerance` metres: by default two pixels of the coarser raster; 0 compares none. The
    `confidence` is that beside a map called classes.tif unless another is named. `block` and `map` change no figure.
    """
    check_numbers(tolerance, bins)
    own = legend or named_rows(map_path)
    for path in (map_path, *([mask] if mask else [])):
        open_classes(path).close()  # a mistake is said now, and not by a worker
    comparison = Comparison(
        map=str(map_path),
        reference=str(reference),
        mask=str(mask or ""),
        mask_value=mask_value,
        confidence=str(confidence_of(map_path, confidence) or ""),
        map_groups=groups("--map-classes", map_classes, own, own),
    )
    notes = not_held("--map-classes", map_path, comparison.map_groups, own)
    with tempfile.TemporaryDirectory(prefix="landweave-") as work:
        if is_raster(reference):
            if column:
                raise Mistake(f"{reference} is a raster and has no column {column}; leave --column out")
            decision = rasters_decided(comparison, reference_classes, own, on, tolerance)
        else:
            decision = shapes_decided(comparison, reference_classes, own, column, on, tolerance, Path(work))
        decision = replace(decision, notes=(*notes, *decision.notes))
        blocks = [window for window in decision.where.blocks(block) if window]
        parts = counted(map(partial(count, decision.comparison), blocks), "evaluate", len(blocks), progress)
        total = reduce(add, parts, Counts.none())
    if not total.matrix.any():
        raise Mistake(
            f"{map_path} and {reference} share no labelled pixel; check that they show the same place and that "
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


def is_raster(path: str | Path) -> bool:
    """Whether GDAL opens a file as a raster, or it looks like none of the vector formats."""
    try:
        open_dataset(str(path)).close()
    except Mistake:
        return not is_vector(path)
    return True


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


def rasters_decided(
    comparison: Comparison, regrouping: Regrouping, own: LegendRows, on: On, tolerance: float | None
) -> Decision:
    """On which grid two rasters are compared.

    Nearest neighbour looks at one pixel under each of the grid's. On the finer grid of two that is every pixel of the
    other; on a much coarser one most would never be looked at, and that is refused.
    """
    theirs = named_rows(comparison.reference)
    comparison = replace(comparison, reference_groups=groups("--reference-classes", regrouping, theirs, own))
    unheld = not_held("--reference-classes", comparison.reference, comparison.reference_groups, theirs)
    notes = [*unheld, *names_that_differ(own, theirs, comparison)]
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
    return Decision(
        replace(comparison, on=chosen, tolerance=metres), grid, where, (*theirs, *own), compared, tuple(notes)
    )


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
    return Decision(replace(comparison, areas=True), grid, whole, (*theirs, *own), compared, (*unheld, *labels.notes))


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


def side(source: rasterio.DatasetReader) -> float:
    """Metres along a side of the pixel in the middle; of a square as large where it is none."""
    down, across = PixelSpacing(geobox_of(source)).read(Window(source.height // 2, source.width // 2, 1, 1))
    return float(np.sqrt(down * across)[0, 0])


def overlap(other: rasterio.DatasetReader, grid: rasterio.DatasetReader) -> Window:
    """The pixels of `grid` that `other` may reach; all of them where that cannot be told."""
    whole = Window.of_shape(*grid.shape)
    if same_grid(other, grid):
        return whole
    try:
        bounds = transform_bounds(other.crs, grid.crs, *sorted_bounds(other), densify_pts=64)
    except rasterio.errors.CRSError:
        return whole
    if not np.isfinite(bounds).all() or bounds[0] > bounds[2]:  # beyond the Earth, or across the antimeridian
        return whole
    west, south, east, north = bounds
    cols, rows = zip(
        *(~grid.transform @ corner for corner in ((west, north), (east, north), (east, south), (west, south))),
        strict=True,
    )
    row, col = int(np.floor(min(rows))) - 2, int(np.floor(min(cols))) - 2
    return Window(row, col, int(np.ceil(max(rows))) + 2 - row, int(np.ceil(max(cols))) + 2 - col) & whole


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


def confidence_of(map_path: str | Path, given: str | Path | None) -> Path | None:
    """The raster of confidence that was named, else that beside `classes.tif` if it has the map's pixels."""
    path = Path(given) if given else Path(map_path).with_name("confidence.tif")
    if not given and (Path(map_path).name != "classes.tif" or not path.exists()):
        return None
    try:
        with rasterio.open(path) as sure, rasterio.open(map_path) as found:
            if not given:
                return path if sure.dtypes == ("uint8",) and same_grid(sure, found) else None
            has_alpha(path, sure)
            if sure.dtypes[0] != "uint8":
                raise Mistake(f"{path} holds {sure.dtypes[0]}; a confidence is uint8: 0 to 100 percent, 255 for none")
    except rasterio.errors.RasterioIOError as error:
        raise Mistake(f"{path} cannot be read as a raster of confidence: {error}") from error
    return path


# -------------------------------------------------------------------------------------------------------------- classes


def groups(option: str, given: Regrouping, own: LegendRows, target: LegendRows) -> Groups:
    """What classes become: keys are values or names of the legend `own`, values those of `target` or None."""
    values = {name.casefold(): value for value, name, _ in own}
    found = {}
    for key, value in given.items():
        if is_whole(key):
            old = int(key)
        elif str(key).casefold() in values:
            old = values[str(key).casefold()]
        else:
            has = ", ".join(f"{v}={name}" for v, name, _ in own)
            raise Mistake(f"{option}: there is no class {key}; {f'known are {has}' if has else 'give its value'}")
        found[old] = value_of(option, value, target)
    return tuple(found.items())


def not_held(option: str, path: str | Path, given: Groups, legend: LegendRows) -> tuple[str, ...]:
    """A note on classes to regroup that a raster has neither in its legend nor in its pixels.

    Pixels are looked at for what the legend does not know, and only until all of it is found. Raises `Mistake` where
    none of the classes is there: one table may serve many maps, but not be of none.
    """
    missing, held = {old for old, _ in given} - {value for value, _, _ in legend}, set[int]()
    if not missing:
        return ()
    with open_classes(path) as source:
        missing -= {old for old, new in given if new is None and old == source.nodata}  # is left out as it is
        for window in Window.of_shape(*source.shape).blocks(BLOCK):
            if not missing:
                return ()
            values, valid = read_classes(source, window, ())
            held.update(np.unique(values[valid]).tolist())
            missing -= held
    there = map(str, sorted({value for value, _, _ in legend} | held))
    return no_class(option, path, map(str, sorted(missing)), list(there), len(given))


def no_class(option: str, path: str | Path, missing: Iterable[str], held: Sequence[str], given: int) -> tuple[str, ...]:
    """A note on the classes to regroup that a file does not have; `Mistake` where they are all that was `given`."""
    named = list(missing)
    if not named:
        return ()
    listed = ", ".join([*held[:MOST_NAMED], *(["…"] if len(held) > MOST_NAMED else [])]) or "none"
    said = (
        f"{option} {', '.join(f'{name}=…' for name in named[:MOST_NAMED])}: {path} has no such class; it has {listed}"
    )
    if len(named) == given:
        raise Mistake(said)
    return (said,)


def shape_groups(labels: ShapeLabels, given: Regrouping, own: LegendRows) -> tuple[Groups, tuple[str, ...]]:
    """What the values of shapes become, and notes. Theirs are numbers of their own: what stands in the column counts.

    A number there is the class itself, a word the class of the map with that name, unless `given` says otherwise.
    """
    known: dict[str, int | None] = {name.casefold(): value for value, name, _ in own}
    names = [name for _, name, _ in labels.rows]
    missing = []
    for key, value in given.items():
        word = str(int(key)) if is_whole(key) else str(key).strip().casefold()  # 01 in a column of text is 1
        if word not in map(str.casefold, names):
            missing.append(str(key))
        known[word] = value_of("--reference-classes", value, own)
    notes = no_class("--reference-classes", labels.path, missing, names, len(given))
    found: dict[int, int | None] = {}
    lost = []
    for value, name, _ in labels.rows:
        if name.casefold() in known:
            found[value] = known[name.casefold()]
        elif is_whole(name):
            found[value] = int(name)
        else:
            lost.append(name)
    if lost:
        has = ", ".join(f"{value}={name}" for value, name, _ in own)
        raise Mistake(
            f"{labels.path}: {', '.join(lost)} {'are no classes' if len(lost) > 1 else 'is no class'} of the map"
            f"{f', which has {has}' if has else ''}; say which they are with --reference-classes "
            + ",".join(f"'{name}=VALUE'" if " " in name else f"{name}=VALUE" for name in lost)
        )
    return tuple(found.items()), notes


def value_of(option: str, given: int | str | None, target: LegendRows) -> int | None:
    """The class that a value or a name of a legend means; None for none."""
    if given is None or str(given).strip() == "":
        return None
    if is_whole(given):
        return int(given)
    named = next((value for value, name, _ in target if name.casefold() == str(given).strip().casefold()), None)
    if named is None:
        has = ", ".join(f"{v}={name}" for v, name, _ in target)
        raise Mistake(f"{option}: the map has no class {given}; {f'it has {has}' if has else 'give a value'}")
    return named


def is_whole(text: int | str) -> bool:
    """Whether something names a class by its value."""
    return str(text).strip().lstrip("-").isdecimal()


def named_rows(path: str | Path) -> LegendRows:
    """The rows of a raster's own legend that give a name."""
    return [row for row in legend_of(path) if row[1] != str(row[0])]


def named(values: Iterable[int], legend: LegendRows) -> LegendRows:
    """A row for each value, by its number where the legend does not know it."""
    rows = {value: (value, name, colour) for value, name, colour in legend}
    colours = {value: colour for value, _, colour in completed((), values)}
    return [rows.get(value, (value, f"Class {value}", colours[value])) for value in values]


def names_that_differ(own: LegendRows, theirs: LegendRows, comparison: Comparison) -> list[str]:
    """A warning for each value that is compared as it is, though map and reference call it differently."""
    moved = {old for old, _ in (*comparison.map_groups, *comparison.reference_groups)}
    called = {value: name for value, name, _ in own}
    map_name, reference = Path(comparison.map).name, Path(comparison.reference).name
    return [
        f"{value} is {called[value]} in {map_name} and {name} in {reference}; if they are not the same, regroup with "
        "--reference-classes"
        for value, name, _ in theirs
        if value in called and value not in moved and called[value].casefold() != name.casefold()
    ]


# ---------------------------------------------------------------------------------------------------------- comparison


@dataclass(frozen=True)
class Points:
    """Reference samples on the map's pixels: three arrays of one length."""

    row: npt.NDArray[np.int64]
    col: npt.NDArray[np.int64]
    value: npt.NDArray[np.int64]

    def within(self, window: Window) -> tuple[Any, npt.NDArray[np.int64]]:
        """Index of those in an array that holds the pixels of `window`, and their values."""
        row, col = self.row - window.row, self.col - window.col
        inside = (row >= 0) & (row < window.height) & (col >= 0) & (col < window.width)
        return (row[inside], col[inside]), self.value[inside]


@dataclass(frozen=True)
class Comparison:
    """Which rasters are compared, on whose grid, and what is counted."""

    map: str
    reference: str
    """A class raster; unused where there are points."""
    on: Literal["map", "reference"] = "map"
    points: Points | None = None
    mask: str = ""
    mask_value: int = 1
    confidence: str = ""
    map_groups: Groups = ()
    reference_groups: Groups = ()
    tolerance: float = 0.0
    """Metres within which boundaries are the same; 0 where none are compared."""
    areas: bool = False
    """Whether the map's own area of each class is wanted."""


@dataclass(frozen=True, eq=False)
class Counts:
    """What was counted of some blocks; counts of different blocks add up."""

    values: tuple[int, ...] = ()
    """The k classes found, ascending."""
    matrix: Any = None
    """`(k, k) int64`, true class along rows."""
    boundaries: Any = None
    """`(k, 4) int64`, see `count_boundaries`."""
    mapped: Any = None
    """`(k,) int64` units of `PixelAreas`."""
    confidence: Any = None
    """`(101, 2) int64`, see `count_confidence`."""

    @classmethod
    def none(cls, values: Sequence[int] = ()) -> Counts:
        k = len(values)
        if k > MOST_CLASSES:
            raise Mistake(
                f"map and reference hold more than {MOST_CLASSES} classes between them; are both class rasters?"
            )
        zeros = [np.zeros(shape, np.int64) for shape in ((k, k), (k, 4), (k,), (101, 2))]
        return cls(tuple(values), *zeros)

    def on(self, values: Sequence[int]) -> Counts:
        """The same counts with classes of which there is nothing."""
        wider, here = Counts.none(values), np.searchsorted(values, self.values)
        wider.matrix[np.ix_(here, here)] = self.matrix
        wider.boundaries[here] = self.boundaries
        wider.mapped[here] = self.mapped
        return replace(wider, confidence=self.confidence)

    def __add__(self, other: Counts) -> Counts:
        values = sorted({*self.values, *other.values})
        one, two = self.on(values), other.on(values)
        return Counts(
            tuple(values),
            one.matrix + two.matrix,
            one.boundaries + two.boundaries,
            one.mapped + two.mapped,
            one.confidence + two.confidence,
        )


def count(comparison: Comparison, core: Window) -> Counts:
    """What one block of the grid holds."""
    with ExitStack() as stack:
        grid = stack.enter_context(open_classes(comparison.map if comparison.on == "map" else comparison.reference))

        def layer(path: str) -> Any:
            return stack.enter_context(on_grid(stack.enter_context(open_classes(path)), grid))

        spacing = PixelSpacing(geobox_of(grid))
        window = core
        if comparison.tolerance:
            rows, cols = reach(Spacing(*spacing.read(core)), comparison.tolerance)
            # and one, because what a boundary is depends on the pixel beyond
            sides = core.moved(-rows - 1, -cols - 1) | core.moved(rows + 1, cols + 1)
            window = sides & Window.of_shape(*grid.shape)
        inside = core.within(window)
        if comparison.points is None:
            truth, counts = read_classes(layer(comparison.reference), window, comparison.reference_groups)
            if not (counts[inside].any() or comparison.areas):
                return Counts.none()
        found, mapped = read_classes(layer(comparison.map), window, comparison.map_groups)
        if comparison.mask:
            mapped &= is_value(layer(comparison.mask), window, comparison.mask_value)
        if comparison.points is None:
            counts &= mapped
            chosen: Any = counts[inside]
            expected = truth[inside][chosen]
        else:
            chosen, expected = comparison.points.within(core)
            there = mapped[inside][chosen]
            chosen, expected = tuple(places[there] for places in chosen), expected[there]
        predicted = found[inside][chosen]
        held = found[inside][mapped[inside]] if comparison.areas else predicted
        values = np.union1d(expected, held).tolist()
        tally = Counts.none(values)
        if expected.size:
            tally = replace(tally, matrix=confusion_matrix(expected, predicted, values))
        if comparison.tolerance and expected.size:
            apart = Spacing(*spacing.read(window))
            tally = replace(
                tally, boundaries=count_boundaries(truth, found, counts, inside, apart, values, comparison.tolerance)
            )
        if comparison.areas and values:
            units = PixelAreas(spacing.geobox).read(core)[mapped[inside]]
            tally = replace(tally, mapped=sum_by(np.searchsorted(values, held), units, len(values)))
        if comparison.confidence and expected.size:
            percent = read_confidence(layer(comparison.confidence), core)[chosen]
            tally = replace(tally, confidence=count_confidence(percent, expected == predicted))
        return tally


# ------------------------------------------------------------------------------------------------------------- reading


def open_classes(path: str | Path) -> rasterio.DatasetReader:
    """A class raster, open, of one band or one and alpha; `Mistake` where it is none."""
    source = open_dataset(str(path))
    has_alpha(path, source)
    if not np.issubdtype(np.dtype(source.dtypes[0]), np.integer):
        raise Mistake(f"{path} holds {source.dtypes[0]} values; a class raster holds integers")
    if source.crs is None:
        raise Mistake(f"{path} has no CRS, so it cannot be laid over another map; add one with rio edit-info --crs")
    return source


def on_grid(source: rasterio.DatasetReader, grid: rasterio.DatasetReader) -> Any:
    """`source` on the pixels of `grid`, nearest neighbour; pixels it does not reach have no data."""
    if same_grid(source, grid):
        return source
    return WarpedVRT(
        source,
        crs=grid.crs,
        transform=grid.transform,
        height=grid.height,
        width=grid.width,
        resampling=Resampling.nearest,
        add_alpha=source.nodata is None and source.count == 1,  # GDAL refuses a second alpha
        tolerance=1e-9,  # exact: with 0 rasterio 1.4 makes no WarpedVRT on a given grid
    )


def same_grid(one: rasterio.DatasetReader, other: rasterio.DatasetReader) -> bool:
    """Whether two rasters have the same pixels."""
    return bool(
        one.shape == other.shape and one.crs == other.crs and one.transform.almost_equals(other.transform, 1e-12)
    )


def read_classes(source: Any, window: Window, groups: Groups) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Classes `(y, x)`, regrouped, and where they hold."""
    try:
        values, valid = source.read(1, window=window.ranges), source.read_masks(1, window=window.ranges) > 0
    except rasterio.errors.RasterioIOError as error:
        path = getattr(source, "src_dataset", source).name
        raise Mistake(f"{path} cannot be read at {window}: {error}; make or download the file again") from error
    if not groups:
        return values, valid
    regrouped = values.astype(np.int64)
    for old, new in groups:
        here = values == old
        if new is None:
            valid &= ~here
        else:
            regrouped[here] = new
    return regrouped, valid


def is_value(source: Any, window: Window, value: int) -> npt.NDArray[np.bool_]:
    """`(y, x)`: where a mask holds `value`."""
    held: npt.NDArray[np.bool_] = source.read(1, window=window.ranges) == value
    return held & (source.read_masks(1, window=window.ranges) > 0) if source.nodata is None else held


def read_confidence(source: Any, window: Window) -> npt.NDArray[np.uint8]:
    """Percent `(y, x)`, 255 where there is none."""
    percent: npt.NDArray[np.uint8] = source.read(1, window=window.ranges)
    percent[source.read_masks(1, window=window.ranges) == 0] = NO_CONFIDENCE
    odd = percent[(percent > 100) & (percent != NO_CONFIDENCE)]
    if odd.size:
        path = getattr(source, "src_dataset", source).name
        raise Mistake(f"{path} holds {odd[0]} at {window}; a confidence is 0 to 100, or 255 for none")
    return percent


def geobox_of(source: rasterio.DatasetReader) -> GeoBox:
    return GeoBox(source.shape, source.transform, source.crs.to_wkt())
