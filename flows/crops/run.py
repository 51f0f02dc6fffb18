"""The way of images to what is told of fields: open ▸ measure ▸ judge ▸ write."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flows.composite.images import Images
from flows.compute.pool import Pool
from flows.compute.progress import Progress, silent
from flows.compute.work import Work
from flows.crops.judge import Fields, Judgement, judge
from flows.crops.page import describe_crops, stress_index
from flows.crops.picture import Panel, draw_map, draw_zones
from flows.crops.publish import VIGOUR, write_files
from flows.crops.zone_pixels import window_bytes
from flows.crops.zones import write_zones
from flows.reports.html import render_html
from flows.reports.medium import Beside
from flows.reports.pieces import REPORT
from flows.requests.commandline import line_of
from flows.requests.crops.request import INDICES, CropsRequest
from flows.requests.dates.series import SeriesRequest
from flows.storage.kept_parts import keep_parts
from flows.timeseries.run import SeriesPlan, open_series, put, record_of, sort_words
from flows.timeseries.zone_figures import measure_zones
from segmentation.spectral import indices, water_stress
from tiling.classmaps.zonal_areas import Outlines
from tiling.errors import InputError
from tiling.io.files import check_folder, make_folder, scratch, write_text

RECORD = "crops.json"
"""Written last: with it there, all other files are those it tells of."""

STRESS = tuple(
    zip(
        range(1, 7),
        (*water_stress.CLASSES, "not seen"),
        ("#8c6d31", "#b2182b", "#ef8a62", "#fddbc7", "#4393c3", "#bdbdbd"),
        strict=True,
    )
)
"""The legend of water stress."""


@dataclass(frozen=True, eq=False)
class CropsPlan:
    """Images, indices and fields, each looked at once: nothing that a header shows goes wrong
    later."""

    request: CropsRequest
    series: SeriesPlan
    fields: Fields
    notes: tuple[str, ...] = ()
    paths: tuple[tuple[str, ...], ...] = ()
    """Of each image, where they are not those of the request; several are a mosaic."""
    lasting: Path | None = None
    """A folder in which what is measured of each date stays for a later run."""

    @property
    def images(self) -> Images:
        return self.series.images

    @property
    def work(self) -> Work:
        """How much there is to do, and what a worker takes for a piece of it."""
        measured = self.series.work
        if not self.request.zoning.zones:
            return measured
        size = window_bytes(len(self.images.scenes))
        return Work(3 * measured.pieces, max(measured.worker_bytes(1), size))


@dataclass(frozen=True, eq=False)
class Crops:
    """What came of a run."""

    plan: CropsPlan
    judged: Judgement
    files: tuple[Path, ...]


def open_crops(request: CropsRequest, paths: Sequence[tuple[str, ...]] = ()) -> CropsPlan:
    """The images of a request and its fields; `InputError` for what a person can mend. Other images
    are those at `paths`, several in one place being a mosaic."""
    check_folder(request.out)
    if request.zoning.table and not request.zoning.zones:
        raise InputError("rates are for zones; say how many, such as --zones 3")
    names: tuple[str, ...] = request.names
    notes: tuple[str, ...] = ()
    asked = _series_of(request)
    typed = asked.names[len(names or INDICES) :]
    if not names:
        names, notes = _choose_indices(request, paths[0] if paths else asked.scenes[:1])
    series = open_series(
        asked.model_copy(
            update={
                "names": (*names, *typed),
                "zones": request.fields,
                "column": request.column,
                "like": request.like,
                "source": request.source.model_copy(update={"search": None}),
            }
        ),
        paths,
    )
    assert series.shapes is not None  # zones were asked for
    outlines = Outlines(series.shapes, series.images.grid.affine)
    if not _overlap(series):
        raise InputError(
            f"no field of {request.fields} lies on {series.images.scenes[0].name}; check that both "
            "show the same place"
        )
    fields = Fields(outlines.sizes, crops_of(series.frame, request))
    if fields.crops is None:
        notes = (*notes, "no column of crops was named: all fields are compared with each other")
    if len(set(series.images.dates)) == 1:
        notes = (*notes, f"all images are of {series.images.days[0]}: nothing is told of changes")
    return CropsPlan(request, series, fields, notes, tuple(paths))


def images_of(request: CropsRequest) -> tuple[str, ...]:
    """The paths of the images, without what is an index that was typed behind the first."""
    return _series_of(request).scenes


def _series_of(request: CropsRequest) -> SeriesRequest:
    """The images and the indices: those that were typed, or the usual ones."""
    names = request.names or INDICES
    return sort_words(SeriesRequest(scenes=request.scenes, names=names, out=request.out))


def _choose_indices(
    request: CropsRequest, scenes: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The indices where none is named, by what the first image has; and what to say of it."""
    if not scenes:
        return INDICES, ()
    first, *others = INDICES
    about = {"paths": tuple(scenes), "search": None}
    bands = request.source.model_copy(update=about).unmasked.open().band_names
    known = [name for name in others if not indices.find(name).missing(bands)]
    if known:
        return (first, *known), ()
    return (first,), (
        "the images have no short-wave infrared band of 1.6 µm, so that water stress is not told",
    )


def crops_of(frame: Any, request: CropsRequest) -> tuple[str, ...] | None:
    """What grows in each field, "" where its column holds nothing; None without a column."""
    if not request.crop:
        return None
    if request.crop not in frame.columns:
        known = ", ".join(str(name) for name in frame.columns if name != frame.geometry.name)
        raise InputError(
            f"{request.fields} has no column {request.crop} for --crop; it has {known or 'none'}"
        )
    column = frame[request.crop]
    return tuple(
        "" if missing else str(value).strip()
        for value, missing in zip(column, column.isna(), strict=True)
    )


def _overlap(series: SeriesPlan) -> bool:
    """Whether a field lies on the images at all."""
    import shapely

    box = shapely.box(*series.images.grid.boundingbox.bbox)
    return bool(shapely.intersects(series.shapes, box).any())


def run_crops(plan: CropsPlan, pool: Pool, progress: Progress = silent) -> Crops:
    """The files of fields in the output folder. Each appears whole or not at all; a run that was
    killed leaves those of the run before, and the dates it finished: they are not measured
    again."""
    out, images = make_folder(plan.request.out), plan.images
    series, names = plan.series, plan.series.zone_names
    assert series.shapes is not None
    lasting = plan.lasting and nullcontext(plan.lasting)
    with lasting or keep_parts(out / ".parts", out) as kept:
        with scratch(out) as work:
            made = work / "made"
            made.mkdir()
            figures = measure_zones(images, series.names, series.shapes, work, kept, pool, progress)
            judged = judge(figures, images, plan.fields, plan.request.judging)
            zones = None
            if plan.request.zoning.zones:
                zones = write_zones(
                    series, judged, plan.request.zoning, made, work, kept, pool, progress
                )
                draw_zones(images, series.shapes, zones.classes, zones.legend, made / "zones.png")
            charts = write_files(images, judged, series.frame, names, made)
            title = f"{', '.join(series.names)}, {images.days[0]} to {images.days[-1]}"
            draw_map(images, series.shapes, panels_of(judged), title, made / "map.png")
            (out / RECORD).unlink(missing_ok=True)
            files = [put(path, out) for path in sorted(made.iterdir())]
        files = [path for path in files if path.is_file()]
        charts = [(title, out / "charts" / path.name) for title, path in charts]
        blocks = describe_crops(
            images, judged, names, out, charts, files, Beside(out),
            line_of_crops(plan), plan.notes, zones.table if zones else None,
        )  # fmt: skip
        write_text(out / REPORT, render_html(f"Fields: {title}", blocks))
        record = record_of(plan.request, images, series.names, [*files, out / REPORT])
        write_text(out / RECORD, record)
    return Crops(plan, judged, (*files, out / REPORT, out / RECORD))


def line_of_crops(plan: CropsPlan) -> str:
    """The line that makes the same of the same images by hand; "" where one is a mosaic, for
    which no line has words."""
    request = plan.request
    if not plan.paths:
        return line_of("crops", request)
    if any(len(paths) > 1 for paths in plan.paths):
        return ""
    alone = {"paths": (), "search": None, "bbox": None, "assets": ()}
    source = request.source.model_copy(update=alone)
    scenes = tuple(path for (path,) in plan.paths)
    return line_of("crops", request.model_copy(update={"scenes": scenes, "source": source}))


def panels_of(judged: Judgement) -> list[Panel]:
    """The maps of a picture: vigour, and anomalies and water stress where something is told of
    them."""
    first = judged.figures.names[0]
    whom = "all fields" if judged.fields.crops is None else "the fields of its crop"
    panels: list[Panel] = []
    for title, codes in (
        (f"Vigour: {first} against {whom}", judged.vigour),
        (f"Anomaly: {first} against earlier years", judged.anomaly),
    ):
        last = judged.at_last(codes)[0].astype(np.int64)
        if last.any() or not panels:
            panels.append(Panel(title, np.where(last == 0, 6, last), VIGOUR))
    if (number := stress_index(judged)) is not None:
        last = judged.at_last(judged.stress)[number].astype(np.int64)
        title = f"Water stress by {judged.figures.names[number]}"
        panels.append(Panel(title, np.where(last == 0, 6, last), STRESS))
    return panels
