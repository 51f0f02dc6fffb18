"""`landweave change`: what became of what between two maps: matrix, raster, polygons, pictures.

Two passes over blocks, anywhere and in any order: the first counts pairs of values as they are; then classes are
brought together by name; the second writes a code for every pixel. The matrix counts those codes, and the polygons
outline them, so all products say the same to the last pixel.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.errors
from pydantic import BaseModel, ConfigDict, Field

from flows.assessment.evaluate import BLOCK
from flows.assessment.evaluate import pieces as pieces_of
from flows.change.codes import BASE, CODES, Coding, Found, changed, code, count_codes, hiding, look, unite
from flows.change.map_pair import Pair, Side, align
from flows.compute.pool import Pool, ThisProcess
from flows.compute.progress import Progress, counted, silent
from flows.requests.overwriting import check_change
from flows.storage.run_folder import held, versions
from segmentation.legend import HIDING
from tiling.classmaps.raster import NO_CONFIDENCE, open_classes
from tiling.errors import Mistake
from tiling.formats.about import About
from tiling.formats.geotiff import write_cog
from tiling.grid.geobox import geobox_of
from tiling.grid.pixel_area import PixelAreas
from tiling.grid.window import Window
from tiling.io.datasets import open_dataset
from tiling.io.files import on_disk, scratch, write_text
from tiling.regions.relabel_small import Patches, replaced

if TYPE_CHECKING:
    import pyarrow as pa

    from tiling.formats.layer import Layer

LAYER = "change"


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
    hidden: Annotated[
        tuple[str, ...],
        Field(
            title="Classes that hide the ground",
            description="They are not compared, unless Classes speaks of them: Cloud = Cloud.",
        ),
    ] = HIDING
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
    fresh: Annotated[
        bool, Field(title="Start afresh", description="Replace the comparison of other maps that the folder holds.")
    ] = False


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
    if not request.fresh:
        check_change(request.out, request.earlier, request.later)
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
    hidden = hiding(request.hidden, request.classes, (earlier, later))
    classes = unite(earlier, later, {**dict.fromkeys(hidden, ""), **request.classes}, found)
    if not any(a in classes.earlier and b in classes.later for a, b in found.pairs):
        out = dict.fromkeys((*hidden, *(name for name, new in request.classes.items() if not new.strip())))
        raise Mistake(
            f"{earlier.path} and {later.path} nowhere both show a class to compare: {', '.join(out)} are left out"
        )
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
            (*classes.notes, *_hidden_notes(hidden, every, pixels), *pair.alignment.notes),
        )
        return _publish(result, request, final, confidence, work, pool, progress)


def _hidden_notes(hidden: Sequence[str], every: Sequence[int], pixels: npt.NDArray[np.int64]) -> tuple[str, ...]:
    """What hides the ground, and how to compare it, where some of it was left out."""
    if not hidden or every[0] == pixels.sum():
        return ()
    return (
        f"{' and '.join(hidden)} {'hide' if len(hidden) > 1 else 'hides'} the ground: not compared; "
        f"--classes '{hidden[0]}={hidden[0]}' compares it",
    )


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

    from flows.change import figures
    from tiling.formats.qgis_project import Backdrop, project
    from tiling.formats.qml import raster_qml

    out = request.out
    (out / "change.json").unlink(missing_ok=True)
    legend = code_legend(result)
    write_text(out / "change.qml", raster_qml(legend))
    write_text(out / "change.tif.aux.xml", figures.attribute_table(result, legend))
    write_text(out / "change.qmd", about(result).qmd)
    write_cog(codes, out / "change.tif", overviews="mode")
    polygons = write_polygons(
        result, request, only_changed(codes, work / "changed.tif"), confidence, work, pool, progress
    )
    result = replace(result, polygons=polygons)
    write_text(out / "transition.csv", figures.transition_table(result))
    write_text(out / "change.csv", figures.balance_table(result))
    figures.draw_flows(result, work / "flows.png")
    figures.draw_maps(result, out / "change.tif", legend, work / "quicklook.png")
    for name in ("flows.png", "quicklook.png"):
        (work / name).replace(out / name)
    outlines = (out / "change.gpkg", layer_of(result))
    backdrops = [
        Backdrop(side.title, Path(side.path), side.rows or tuple(result.classes))
        for side in (result.later, result.earlier)
    ]
    write_text(
        out / "change.qgs",
        project(about(result), out / "change.tif", legend, outlines, backdrops=backdrops),
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
    write_text(out / "change.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")
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
    with open_dataset(str(codes)) as source, rasterio.open(target, "w", **source.profile) as out:
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
    from flows.products.vectorise import polygons
    from tiling.formats.vector_writers import write_vectors

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


def about(result: Change) -> About:
    """What the products of a comparison say of themselves."""
    return About(
        title=f"Change from {result.earlier.title} to {result.later.title}",
        abstract=f"Regions whose class changed, compared {result.aligned}",
        days=[str(side.date) for side in (result.earlier, result.later) if side.date],
        history=(
            f"Source: {result.earlier.path} and {result.later.path}",
            f"Compared with landweave {versions()['landweave']}",
        ),
    )


def layer_of(result: Change) -> Layer:
    """The polygons of change, described."""
    import pyarrow as pa

    from tiling.formats.layer import Layer
    from tiling.formats.schema import SCHEMA

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
        about=about(result),
        fields={
            "class_id": ("Code", "100 × class before + class now"),
            "class_name": ("Change", "Class before → class now"),
            "confidence": ("Confidence (0–100)", "Mean of the lower confidence of both maps, 0 to 100"),
            "from_id": ("Was (value)", "Class before"),
            "from_name": ("Was", "Name of the class before"),
            "to_id": ("Is (value)", "Class now"),
            "to_name": ("Is", "Name of the class now"),
        },
    )
