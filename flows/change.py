"""`landweave change`: what became of what between two maps: matrix, raster, polygons, pictures.

Two passes over blocks, anywhere and in any order: the first counts pairs of values as they are; then classes are
brought together by name; the second writes a code for every pixel. The matrix counts those codes, and the polygons
outline them, so all products say the same to the last pixel.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.errors
from pydantic import BaseModel, ConfigDict, Field

from flows.evaluate import (
    BLOCK,
    TWICE,
    LegendRows,
    confidence_of,
    geobox_of,
    is_whole,
    named_rows,
    on_grid,
    open_classes,
    overlap,
    read_confidence,
    same_grid,
    side,
)
from flows.evaluate import (
    pieces as pieces_of,
)
from flows.pools import Pool, ThisProcess
from flows.progress import Progress, counted, silent
from flows.run import held, versions, write_whole
from tiling.area import PixelAreas, sum_by
from tiling.errors import Mistake
from tiling.files import on_disk
from tiling.mosaic import scratch, write_cog
from tiling.parts import NO_CONFIDENCE
from tiling.patches import Patches, replaced
from tiling.style import completed
from tiling.window import Window

if TYPE_CHECKING:
    import pyarrow as pa

    from tiling.layer import Layer

BASE = 100
"""A code is 100 × class before + class now, so that a person can read it: 205 was class 2 and is 5; 202 stayed 2."""

LAYER = "change"
CODES = BASE * BASE
DENSE = 1 << 20
"""So many different pairs of values are counted in a table; more are sorted."""


class ChangeRequest(BaseModel):
    """What to compare, and what counts as a change."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    earlier: Annotated[
        str, Field(min_length=1, title="Earlier map", description="Folder of a run, or a raster of classes.")
    ]
    later: Annotated[
        str,
        Field(min_length=1, title="Later map", description="The same of a later day. Its pixels are those compared."),
    ]
    out: Annotated[Path, Field(title="Output folder", description="Folder for the products; made if need be.")]
    classes: Annotated[
        dict[str, str],
        Field(
            title="Classes",
            description="What classes of either map count as, by name: Built-up = Town. Nothing leaves a class out.",
        ),
    ] = {}
    nodata: Annotated[
        int | None,
        Field(title="No data", description="Value that means no data in both maps, beside what each file says."),
    ] = None
    min_area: Annotated[
        float,
        Field(
            ge=0,
            allow_inf_nan=False,
            title="Smallest change",
            description="In m²: a smaller patch of change is taken not to have happened. 0 shows every pixel.",
        ),
    ] = 0.0
    min_confidence: Annotated[
        float,
        Field(
            ge=0,
            le=100,
            title="Lowest confidence",
            description="In percent: pixels of which either map is less sure are left out.",
        ),
    ] = 0.0
    simplify: Annotated[
        float | None,
        Field(ge=0, allow_inf_nan=False, description="How far boundaries may move, in m; 0 keeps the pixels' outline."),
    ] = None


# ----------------------------------------------------------------------------------------------------- what is compared


@dataclass(frozen=True)
class Side:
    """One of two maps."""

    path: str
    name: str
    confidence: str = ""
    rows: LegendRows = ()
    """Values that have a name, with it."""
    date: str = ""

    @classmethod
    def of(cls, given: str) -> Side:
        """The map in a run's folder, or a class raster; `Mistake` where it is neither."""
        path, name, date = Path(given), Path(given).stem, ""
        if path.is_dir():
            record, path = path / "run.json", path / "classes.tif"
            if not path.exists():
                raise Mistake(f"{given} holds no classes.tif; name the folder of a finished run, or a class raster")
            if record.exists():
                scene = json.loads(record.read_text(encoding="utf-8"))["scene"]
                name, date = scene["name"], scene["date"] or ""
        open_classes(path).close()
        return cls(str(path), name, str(confidence_of(path, None) or ""), tuple(named_rows(path)), date)

    @property
    def title(self) -> str:
        return f"{self.name}, {self.date}" if self.date else self.name


@dataclass(frozen=True)
class Alignment:
    """How the earlier map is laid on the later one's pixels."""

    how: Literal["same", "shift", "nearest"]
    said: str
    rows: int = 0
    cols: int = 0
    """Where the pixels of a shifted map lie: that at (0, 0) of the later one is at (rows, cols) of the earlier."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pair:
    """Two maps, how they are laid on each other, and what is left out: all that is needed to read a block."""

    earlier: Side
    later: Side
    alignment: Alignment
    nodata: int | None = None
    min_confidence: float = 0.0


def align(earlier: Side, later: Side) -> Alignment:
    """How the pixels of two maps find each other, on the later one's grid.

    Where the grids are parallel with pixels of one size, each pixel of the earlier map has exactly one partner, at most
    half a pixel away along either axis: that is a shift. Anything else is resampled by nearest neighbour.
    """
    with open_classes(earlier.path) as before, open_classes(later.path) as now:
        if not overlap(before, now):
            raise Mistake(f"{earlier.path} and {later.path} lie apart; give two maps of one place")
        if same_grid(before, now):
            return Alignment("same", f"{earlier.name} and {later.name} share one grid")
        fine, coarse = side(before), side(now)
        if shift := _shift(before, now):
            rows, cols, down, across = shift
            metres = float(np.hypot(down, across)) * coarse
            return Alignment(
                "shift",
                f"on the grid of {later.name}: pixels of {earlier.name} pair one to one, moved by {metres:.2g} m "
                f"({abs(across):.2f} pixel across, {abs(down):.2f} down)",
                rows,
                cols,
                (f"along boundaries a shift of {metres:.2g} m alone looks like change; --min-area removes slivers",)
                if metres > 0.1 * coarse
                else (),
            )
        if fine < TWICE * coarse:
            raise Mistake(
                f"{earlier.path} has pixels of {fine:.3g} m and {later.path} of {coarse:.3g} m, so most of the former "
                "would never be looked at; make them alike first, for example with gdalwarp -r mode"
            )
        notes = []
        if coarse < TWICE * fine:
            notes.append(f"each pixel of {earlier.name} counts about {(fine / coarse) ** 2:.0f} times")
        return Alignment(
            "nearest",
            f"on the grid of {later.name} ({coarse:.3g} m), {earlier.name} ({fine:.3g} m) resampled by nearest "
            "neighbour",
            notes=tuple(notes),
        )


def _shift(before: Any, now: Any) -> tuple[int, int, float, float] | None:
    """Rows and columns between the pixels of two grids, and the rest, in pixels, by which their centres miss."""
    if before.crs != now.crs:
        return None
    height, width = now.shape
    corners = [(0.5, 0.5), (width - 0.5, 0.5), (0.5, height - 0.5), (width - 0.5, height - 0.5)]
    found = [np.subtract(~before.transform @ (now.transform @ corner), corner) for corner in corners]
    cols, rows = np.floor(np.array(found) + 0.5 + 1e-6).astype(int).T  # a tie is no matter of the last bit
    if len(set(rows)) > 1 or len(set(cols)) > 1:
        return None
    across, down = max(np.array(found) - (cols[0], rows[0]), key=lambda miss: float(np.hypot(*miss)))
    return int(rows[0]), int(cols[0]), float(down), float(across)


# -------------------------------------------------------------------------------------------------------------- reading


@dataclass(frozen=True)
class Seen:
    """A block of both maps, on the later one's grid: arrays `(y, x)`."""

    before: npt.NDArray[np.integer]
    now: npt.NDArray[np.integer]
    had: npt.NDArray[np.bool_]
    """Where the earlier map holds a class."""
    has: npt.NDArray[np.bool_]
    sure: npt.NDArray[np.bool_]
    """Where both maps are sure enough."""
    confidence: npt.NDArray[np.uint8] | None
    """The lower of both maps', 255 where one has none; None without the rasters."""


def read(pair: Pair, window: Window) -> Seen:
    """The pixels of a window of the later map's grid."""
    with ExitStack() as stack:
        now = stack.enter_context(open_classes(pair.later.path))

        def laid(path: str, *, earlier: bool) -> Any:
            source = stack.enter_context(open_classes(path))
            if not earlier or pair.alignment.how == "same":
                return source
            if pair.alignment.how == "shift":
                return Shifted(source, pair.alignment.rows, pair.alignment.cols)
            return stack.enter_context(on_grid(source, now))

        before, had = _classes(laid(pair.earlier.path, earlier=True), window, pair.nodata)
        after, has = _classes(now, window, pair.nodata)
        lower = None
        if pair.earlier.confidence and pair.later.confidence:
            one = read_confidence(laid(pair.earlier.confidence, earlier=True), window)
            other = read_confidence(laid(pair.later.confidence, earlier=False), window)
            lower = np.where((one == NO_CONFIDENCE) | (other == NO_CONFIDENCE), NO_CONFIDENCE, np.minimum(one, other))
    sure = np.ones(window.shape, bool)
    if pair.min_confidence and lower is not None:
        sure = (lower >= pair.min_confidence) & (lower != NO_CONFIDENCE)
    return Seen(before, after, had, has, sure, lower)


class Shifted:
    """A raster read as if its pixels lay `rows` further up and `cols` further left; beyond it there is no data."""

    def __init__(self, source: rasterio.DatasetReader, rows: int, cols: int) -> None:
        self.src_dataset, self._rows, self._cols = source, rows, cols
        self.name, self.nodata = source.name, source.nodata

    def read(self, band: int, *, window: Any) -> npt.NDArray[Any]:
        return self._filled(window, self.src_dataset.dtypes[band - 1], partial(self.src_dataset.read, band))

    def read_masks(self, band: int, *, window: Any) -> npt.NDArray[np.uint8]:
        return self._filled(window, "uint8", partial(self.src_dataset.read_masks, band))

    def _filled(self, ranges: Any, dtype: str, read: Any) -> npt.NDArray[Any]:
        (row, row_stop), (col, col_stop) = ranges
        wanted = Window(row, col, row_stop - row, col_stop - col).moved(self._rows, self._cols)
        there = wanted & Window.of_shape(*self.src_dataset.shape)
        values = np.zeros(wanted.shape, dtype)
        if there:
            values[there.within(wanted)] = read(window=there.ranges)
        return values


def _classes(source: Any, window: Window, nodata: int | None) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Values as they are, and where they hold."""
    try:
        values = source.read(1, window=window.ranges)
        valid = source.read_masks(1, window=window.ranges) > 0
        return values, valid if nodata is None else valid & (values != nodata)
    except rasterio.errors.RasterioIOError as error:
        path = getattr(source, "src_dataset", source).name
        raise Mistake(f"{path} cannot be read at {window}: {error}; make or download the file again") from error


# ------------------------------------------------------------------------------------------------------------- counting


@dataclass(frozen=True)
class Found:
    """What the first pass saw: pixels and units of `PixelAreas`, Python's integers, exact in any order."""

    pairs: Mapping[tuple[int, int], tuple[int, int]]
    """Of each pair of values, earlier and later, where both are sure."""
    unsure: tuple[int, int] = (0, 0)
    only_earlier: tuple[int, int] = (0, 0)
    only_later: tuple[int, int] = (0, 0)

    def __add__(self, other: Found) -> Found:
        pairs = dict(self.pairs)
        for key, counts in other.pairs.items():
            pairs[key] = _plus(pairs.get(key, (0, 0)), counts)
        return Found(
            pairs,
            _plus(self.unsure, other.unsure),
            _plus(self.only_earlier, other.only_earlier),
            _plus(self.only_later, other.only_later),
        )


def _plus(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]


def look(pair: Pair, window: Window) -> Found:
    """First pass over a block: which values meet, and on how much of the Earth."""
    seen = read(pair, window)
    with open_classes(pair.later.path) as now:
        units = PixelAreas(geobox_of(now)).read(window)

    def measured(where: npt.NDArray[np.bool_]) -> tuple[int, int]:
        return int(np.count_nonzero(where)), int(units[where].sum())

    both = seen.had & seen.has
    counted = both & seen.sure
    return Found(
        _pairs(seen.before[counted], seen.now[counted], units[counted]),
        measured(both & ~seen.sure),
        measured(seen.had & ~seen.has),
        measured(seen.has & ~seen.had),
    )


def _pairs(
    before: npt.NDArray[np.integer], now: npt.NDArray[np.integer], units: npt.NDArray[np.int64]
) -> dict[tuple[int, int], tuple[int, int]]:
    if not before.size:
        return {}
    one, other = before.astype(np.int64), now.astype(np.int64)
    low, lowest = int(one.min()), int(other.min())
    span = int(other.max()) - lowest + 1
    key = (one - low) * span + (other - lowest)
    if int(key.max()) < DENSE:
        pixels, square = np.bincount(key), sum_by(key, units, int(key.max()) + 1)
        keys = np.flatnonzero(pixels)
        pixels, square = pixels[keys], square[keys]
    else:
        keys, place = np.unique(key, return_inverse=True)
        pixels, square = np.bincount(place), sum_by(place, units, keys.size)
    return {
        (int(k) // span + low, int(k) % span + lowest): (int(n), int(a))
        for k, n, a in zip(keys, pixels, square, strict=True)
    }


# -------------------------------------------------------------------------------------------------------------- classes


@dataclass(frozen=True)
class Classes:
    """The classes that both maps are compared in, and what the values of either become."""

    rows: tuple[tuple[int, str, str], ...]
    """Number 1 … 99, name and colour of each."""
    earlier: Mapping[int, int]
    """The number of each value; a value without one is left out."""
    later: Mapping[int, int]
    notes: tuple[str, ...] = ()


def unite(earlier: Side, later: Side, regrouping: Mapping[str, str], found: Found) -> Classes:
    """The classes of two maps, brought together by name.

    A map without names takes the other's, value by value. Raises `Mistake` where one map shows a class that the other
    does not know. Classes keep the later map's values where these are 1 … 99, else they are numbered.
    """
    notes = []
    rows, sides = {"earlier": list(earlier.rows), "later": list(later.rows)}, {"earlier": earlier, "later": later}
    for one, other in (("earlier", "later"), ("later", "earlier")):
        if rows[other] and not rows[one]:
            rows[one] = rows[other]
            notes.append(f"{sides[one].name} names no classes; its values are taken for those of {sides[other].name}")
    values = {"earlier": {a for a, _ in found.pairs}, "later": {b for _, b in found.pairs}}
    known = {which: {value: name for value, name, _ in rows[which]} for which in rows}
    names = {which: {v: known[which].get(v, str(v)) for v in values[which] | set(known[which])} for which in rows}
    counted_as = _regrouped(regrouping, names)
    for which, called in names.items():
        names[which] = {v: new for v, name in called.items() if (new := counted_as(v, name))}
    for one, other in (("earlier", "later"), ("later", "earlier")):
        theirs = {name.casefold() for name in names[other].values()}
        shown = {names[one][value] for value in values[one] if value in names[one]}
        if strange := sorted(name for name in shown if name.casefold() not in theirs):
            knows = ", ".join(dict.fromkeys(names[other].values())) or "no classes"
            raise Mistake(
                f"{sides[one].path} shows {', '.join(strange)}, which {sides[other].path} does not know (it has "
                f"{knows}); say what they count as on both maps: --classes '{strange[0]}=NAME', or leave them out: "
                f"'{strange[0]}='"
            )
    # Only what occurs, in the later map's order.
    shown_keys = {names[w][v].casefold() for w in names for v in values[w] if v in names[w]}
    spelt: dict[str, str] = {}
    for which in ("later", "earlier"):
        for value in sorted(names[which]):
            spelt.setdefault(names[which][value].casefold(), names[which][value])
    order = [key for key in spelt if key in shown_keys]
    own = {key: next((v for v in sorted(names["later"]) if names["later"][v].casefold() == key), 0) for key in order}
    kept = all(0 < value < BASE for value in own.values())
    number = own if kept else {key: place for place, key in enumerate(order, start=1)}
    if len(order) >= BASE:
        raise Mistake(f"{earlier.path} and {later.path} show {len(order)} classes; bring them to 99 with --classes")
    coloured = {names[w][v].casefold(): c for w in ("earlier", "later") for v, _, c in rows[w] if v in names[w]}
    spare = {value: colour for value, _, colour in completed((), number.values())}

    def numbers_of(which: str) -> dict[int, int]:
        return {v: number[name.casefold()] for v, name in names[which].items() if name.casefold() in number}

    return Classes(
        tuple(sorted((number[key], spelt[key], coloured.get(key, spare[number[key]])) for key in order)),
        numbers_of("earlier"),
        numbers_of("later"),
        tuple(notes),
    )


def _regrouped(regrouping: Mapping[str, str], names: Mapping[str, Mapping[int, str]]) -> Callable[[int, str], str]:
    """A function from a class, by value and name, to the name it counts as; empty where it is left out."""
    by_name: dict[str, str] = {}
    by_value: dict[int, str] = {}
    everyone = {name.casefold() for called in names.values() for name in called.values()}
    later = names["later"]
    for key, given in regrouping.items():
        new = given.strip()
        if is_whole(new) and int(new) in later:
            new = later[int(new)]
        if key.strip().casefold() in everyone:
            by_name[key.strip().casefold()] = new
        elif is_whole(key) and any(int(key) in called for called in names.values()):
            by_value[int(key)] = new
        else:
            has = ", ".join(dict.fromkeys(name for called in names.values() for name in called.values()))
            raise Mistake(f"--classes: neither map has a class {key}; there are {has or 'none'}")
    return lambda value, name: by_name.get(name.casefold(), by_value.get(value, name))


# ------------------------------------------------------------------------------------------------------------ the codes


@dataclass(frozen=True)
class Coding:
    """What the second pass has to know."""

    pair: Pair
    classes: Classes


def code(coding: Coding, window: Window) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8] | None]:
    """Second pass over a block: the code of each pixel, 0 where it is not compared; and the lower confidence."""
    seen = read(coding.pair, window)
    before = _numbers(seen.before, coding.classes.earlier)
    now = _numbers(seen.now, coding.classes.later)
    there = seen.had & seen.has & seen.sure & (before > 0) & (now > 0)
    codes = np.where(there, before * BASE + now, 0).astype(np.uint16)
    confidence = None
    if seen.confidence is not None:
        confidence = np.where(changed(codes), seen.confidence, NO_CONFIDENCE).astype(np.uint8)
    return codes, confidence


def _numbers(values: npt.NDArray[np.integer], number: Mapping[int, int]) -> npt.NDArray[np.int32]:
    known = np.array(sorted(number), np.int64)
    numbers = np.array([number[value] for value in known.tolist()], np.int32)
    place = np.minimum(np.searchsorted(known, values), known.size - 1)
    return np.where(known[place] == values, numbers[place], 0).astype(np.int32)


def changed(codes: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Where a code tells of a change."""
    differs: npt.NDArray[np.bool_] = codes % (BASE + 1) != 0
    return differs


def count_codes(raster: Path, window: Window) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The codes that occur in a block, and `(2, codes)` pixels and area units of each."""
    with rasterio.open(raster) as source:
        codes = source.read(1, window=window.ranges)
        units = PixelAreas(geobox_of(source)).read(window)
    counts = np.stack([np.bincount(codes.ravel(), minlength=CODES), sum_by(codes.ravel(), units.ravel(), CODES)])
    there = np.flatnonzero(counts[0])
    return there, counts[:, there]


# --------------------------------------------------------------------------------------------------------------- result


@dataclass(frozen=True, eq=False)
class Change:
    """What became of what: the figures, and where the products are."""

    earlier: Side
    later: Side
    aligned: str
    classes: tuple[tuple[int, str, str], ...]
    """Number, name and colour of each of the k classes."""
    pixels: npt.NDArray[np.int64]
    """`(k, k)`, earlier class along rows."""
    units: npt.NDArray[np.int64]
    """The same in units of `unit` m²: sums of these are exact."""
    unit: float
    left_out: Mapping[str, tuple[int, float]]
    """Pixels and m² that are not in the matrix, and those set aside as too small, by reason."""
    notes: tuple[str, ...] = ()
    polygons: int = 0
    files: tuple[Path, ...] = ()

    @property
    def square_metres(self) -> npt.NDArray[np.float64]:
        """`(k, k)`, earlier class along rows; sums are exact below 2⁵³ units, some four thousand million pixels."""
        return self.units * np.float64(self.unit)

    @property
    def changed_m2(self) -> float:
        return float((self.units.sum() - np.trace(self.units)) * np.float64(self.unit))

    @property
    def compared_m2(self) -> float:
        return float(self.units.sum() * np.float64(self.unit))

    def transitions(self) -> Iterator[tuple[int, int, int, float]]:
        """Place of the class before, of that now, pixels and m²: the changes that occur, the largest first."""
        metres = self.square_metres
        pairs = [(i, j) for i, j in zip(*np.nonzero(self.pixels), strict=True) if i != j]
        for i, j in sorted(pairs, key=lambda pair: (-self.units[pair], pair)):
            yield int(i), int(j), int(self.pixels[i, j]), float(metres[i, j])

    def to_dict(self) -> dict[str, Any]:
        """Every figure, ready for JSON."""
        return {
            "earlier": {"path": self.earlier.path, "name": self.earlier.name, "date": self.earlier.date},
            "later": {"path": self.later.path, "name": self.later.name, "date": self.later.date},
            "aligned": self.aligned,
            "classes": [{"class_id": v, "class_name": name, "colour": colour} for v, name, colour in self.classes],
            "pixels": self.pixels.tolist(),
            "area_m2": self.square_metres.tolist(),
            "compared_m2": self.compared_m2,
            "changed_m2": self.changed_m2,
            "left_out": {why: {"pixels": n, "area_m2": area} for why, (n, area) in self.left_out.items()},
            "polygons": self.polygons,
            "notes": list(self.notes),
        }


def change(
    request: ChangeRequest, pool: Pool | None = None, progress: Progress = silent, *, block: int = BLOCK
) -> Change:
    """Compare two maps on the later one's grid and write what became of what into `request.out`.

    A pixel is compared where both maps hold a class and both are sure enough. A patch of change below the smallest area
    is taken not to have happened: its pixels keep the class they had. `pool` and `block` change nothing. Raises
    `Mistake` for what a person can mend.
    """
    pool = pool or ThisProcess()
    earlier, later = Side.of(request.earlier), Side.of(request.later)
    if request.min_confidence and (lacking := [one.path for one in (earlier, later) if not one.confidence]):
        raise Mistake(
            f"{lacking[0]} has no confidence.tif beside it; leave --min-confidence out, or make the map with it"
        )
    pair = Pair(earlier, later, align(earlier, later), request.nodata, request.min_confidence)
    with open_classes(later.path) as now:
        blocks = list(Window.of_shape(*now.shape).blocks(block))
        unit = PixelAreas(geobox_of(now)).unit
    looked = counted(pool.map(partial(look, pair), blocks), "compare", len(blocks), progress)
    found = reduce(add, looked, Found({}))
    if not found.pairs:
        raise Mistake(
            f"{earlier.path} and {later.path} share no pixel with data on both"
            + (f" of which they are {request.min_confidence:g} % sure" if found.unsure[0] else "")
            + "; check that they show the same place and that each declares its no data"
        )
    classes = unite(earlier, later, request.classes, found)
    with held(request.out), on_disk(request.out), scratch(request.out) as work:
        codes, confidence = _write_codes(Coding(pair, classes), blocks, work, pool, progress)
        raw = count_all(codes, blocks, pool)
        final = codes
        if request.min_area:
            unmade = {i * BASE + j: i * (BASE + 1) for i, _, _ in classes.rows for j, _, _ in classes.rows if i != j}
            final = replaced(Patches(codes, request.min_area, unmade), work / "kept.tif", tile=block, map=pool.map)
        counts = count_all(final, blocks, pool) if request.min_area else raw
        numbers = np.array([value for value, _, _ in classes.rows])
        grid = numbers[:, None] * BASE + numbers
        pixels, units = counts[0][grid], counts[1][grid]
        small = [_off_diagonal(raw[which][grid]) - _off_diagonal(counts[which][grid]) for which in (0, 1)]
        # what both maps hold, less what is coded: classes that were left out on purpose
        every = [sum(counts[which] for counts in found.pairs.values()) for which in (0, 1)]
        left_out = {
            "no data in the later map": found.only_earlier,
            "no data in the earlier map": found.only_later,
            "not sure enough": found.unsure,
            "classes left out": (every[0] - int(pixels.sum()), every[1] - int(units.sum())),
            "changes too small, counted as unchanged": (small[0], small[1]),
        }
        result = Change(
            earlier,
            later,
            pair.alignment.said,
            classes.rows,
            pixels,
            units,
            unit,
            {why: (n, float(a * np.float64(unit))) for why, (n, a) in left_out.items() if n},
            (*classes.notes, *pair.alignment.notes),
        )
        return _publish(result, request, final, confidence, work, pool, progress)


def pieces(request: ChangeRequest) -> int:
    """How many pieces worth a worker's while the comparison has."""
    path = Path(request.later)
    return pieces_of(path / "classes.tif" if path.is_dir() else path)


def count_all(raster: Path, blocks: Iterable[Window], pool: Pool) -> npt.NDArray[np.int64]:
    """`(2, 10000)` pixels and area units of each code."""
    total = np.zeros((2, CODES), np.int64)
    for codes, counts in pool.map(partial(count_codes, raster), blocks):
        total[:, codes] += counts
    return total


def _off_diagonal(counts: npt.NDArray[np.int64]) -> int:
    return int(counts.sum() - np.trace(counts))


def _write_codes(
    coding: Coding, blocks: Sequence[Window], work: Path, pool: Pool, progress: Progress
) -> tuple[Path, Path | None]:
    """The codes, and the lower confidence of changed pixels where both maps have one, as plain rasters."""
    pair = coding.pair
    with open_classes(pair.later.path) as now:
        profile = {
            "driver": "GTiff",
            "height": now.height,
            "width": now.width,
            "count": 1,
            "crs": now.crs,
            "transform": now.transform,
            "tiled": True,
            "blockxsize": 512,
            "blockysize": 512,
            "compress": "ZSTD",
            "zstd_level": 1,
            "bigtiff": "IF_SAFER",
        }
    sure = bool(pair.earlier.confidence and pair.later.confidence)
    with ExitStack() as stack:
        codes = stack.enter_context(rasterio.open(work / "codes.tif", "w", **profile, dtype="uint16", nodata=0))
        confidence = None
        if sure:
            settings = {**profile, "dtype": "uint8", "nodata": NO_CONFIDENCE}
            confidence = stack.enter_context(rasterio.open(work / "confidence.tif", "w", **settings))
        worked = counted(pool.map(partial(code, coding), blocks), "change", len(blocks), progress)
        for window, (pixels, lower) in zip(blocks, worked, strict=True):
            codes.write(pixels, 1, window=window.ranges)
            if confidence is not None:
                confidence.write(lower, 1, window=window.ranges)
    return work / "codes.tif", work / "confidence.tif" if sure else None


def _publish(
    result: Change,
    request: ChangeRequest,
    codes: Path,
    confidence: Path | None,
    work: Path,
    pool: Pool,
    progress: Progress,
) -> Change:
    """Write the products. `change.json` goes first and comes last: with it there, all others are those it tells of."""
    from dataclasses import replace

    from flows import transitions
    from tiling.project import Backdrop, project
    from tiling.style import raster_qml

    out = request.out
    (out / "change.json").unlink(missing_ok=True)
    legend = code_legend(result)
    write_whole(out / "change.qml", raster_qml(legend))
    write_whole(out / "change.tif.aux.xml", transitions.attribute_table(result, legend))
    write_cog(codes, out / "change.tif", overviews="mode")
    polygons = write_polygons(
        result, request, only_changed(codes, work / "changed.tif"), confidence, work, pool, progress
    )
    result = replace(result, polygons=polygons)
    write_whole(out / "transition.csv", transitions.transition_table(result))
    write_whole(out / "change.csv", transitions.balance_table(result))
    transitions.draw_flows(result, work / "flows.png")
    transitions.draw_maps(result, out / "change.tif", legend, work / "quicklook.png")
    for name in ("flows.png", "quicklook.png"):
        (work / name).replace(out / name)
    title = f"Change from {result.earlier.title} to {result.later.title}"
    backdrops = [
        Backdrop(side.title, Path(side.path), side.rows or tuple(result.classes))
        for side in (result.later, result.earlier)
    ]
    write_whole(
        out / "change.qgs",
        project(title, out / "change.tif", legend, (out / "change.gpkg", layer_of(result)), backdrops=backdrops),
    )
    names = (
        "change.tif", "change.gpkg", "change.qgs", "transition.csv", "change.csv", "flows.png", "quicklook.png",
        "change.json",
    )  # fmt: skip
    result = replace(result, files=tuple(out / name for name in names))
    record = {
        "landweave": versions()["landweave"],
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "request": request.model_dump(mode="json"),
        **result.to_dict(),
        "code": f"{BASE} × class before + class now; 0 = not compared",
    }
    write_whole(out / "change.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    return result


# ------------------------------------------------------------------------------------------------ raster and polygons


def code_legend(result: Change) -> tuple[tuple[int, str, str], ...]:
    """A row for each code that occurs: what stayed is pale, what changed has most of the colour of what it became."""
    rows = []
    for i, (before, was, colour) in enumerate(result.classes):
        for j, (now, name, new) in enumerate(result.classes):
            if result.pixels[i, j]:
                label = f"{was}, unchanged" if i == j else f"{was} → {name}"
                shade = mixed("#ffffff", colour, 0.3) if i == j else mixed(colour, new, 0.75)
                rows.append((before * BASE + now, label, shade))
    return tuple(rows)


def mixed(one: str, other: str, part: float) -> str:
    """A colour between two, `part` of the way."""
    pairs = zip(bytes.fromhex(one[1:]), bytes.fromhex(other[1:]), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * part):02x}" for a, b in pairs)


def only_changed(codes: Path, target: Path) -> Path:
    """The codes without what stayed: the polygons are made of these."""
    with rasterio.open(codes) as source, rasterio.open(target, "w", **source.profile) as out:
        for window in Window.of_shape(*source.shape).blocks(2048):
            values = source.read(1, window=window.ranges)
            out.write(np.where(changed(values), values, 0).astype(values.dtype), 1, window=window.ranges)
    return target


def write_polygons(
    result: Change,
    request: ChangeRequest,
    raster: Path,
    confidence: Path | None,
    work: Path,
    pool: Pool,
    progress: Progress,
) -> int:
    """`change.gpkg`, and how many polygons it holds."""
    from flows.vectorise import polygons
    from tiling.vectors import write_vectors

    batches = polygons(raster, pool, progress, nodata=0, confidence=confidence, simplify=request.simplify, scratch=work)
    return write_vectors(request.out / "change.gpkg", _named(batches, result), layer_of(result))


def _named(batches: Iterable[pa.RecordBatch], result: Change) -> Iterator[pa.RecordBatch]:
    """The same batches; each feature tells what it was and what it is."""
    import pyarrow as pa

    names = {value: name for value, name, _ in result.classes}
    for batch in batches:
        codes = batch["class_id"].to_numpy()
        was, now = codes // BASE, codes % BASE
        for name, column in (
            ("from_id", pa.array(was, pa.int32())),
            ("from_name", pa.array([names[value] for value in was.tolist()], pa.string())),
            ("to_id", pa.array(now, pa.int32())),
            ("to_name", pa.array([names[value] for value in now.tolist()], pa.string())),
        ):
            batch = batch.append_column(name, column)
        yield batch


def layer_of(result: Change) -> Layer:
    """The polygons of change, described."""
    import pyarrow as pa

    from tiling.layer import Layer
    from tiling.polygons import SCHEMA

    added = [("from_id", pa.int32()), ("from_name", pa.string()), ("to_id", pa.int32()), ("to_name", pa.string())]
    schema = SCHEMA
    for name, kind in added:
        schema = schema.append(pa.field(name, kind, nullable=False))
    with open_classes(result.later.path) as now:
        crs = now.crs.to_wkt()
    return Layer(
        crs=crs,
        schema=schema,
        legend=tuple(row for row in code_legend(result) if row[0] % (BASE + 1)),
        name=LAYER,
        title=f"Change from {result.earlier.title} to {result.later.title}",
        description=f"Regions whose class changed, compared {result.aligned}",
        fields={
            "class_id": ("Code", "100 × class before + class now"),
            "class_name": ("Change", "Class before → class now"),
            "confidence": ("Confidence (%)", "Mean of the lower confidence of both maps, 0 to 100"),
            "from_id": ("Was (value)", "Class before"),
            "from_name": ("Was", "Name of the class before"),
            "to_id": ("Is (value)", "Class now"),
            "to_name": ("Is", "Name of the class now"),
        },
    )
