"""The way of images to their series: open ▸ measure ▸ write ▸ publish."""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy.typing as npt
import shapely
from odc.geo.geobox import GeoBox
from pydantic import BaseModel

from flows.composite.images import Images, open_images
from flows.compute.pool import Pool
from flows.compute.progress import Progress, silent
from flows.compute.work import Work
from flows.products.zones import read_zones, shapes_in
from flows.reports.html import render_html
from flows.reports.medium import Beside
from flows.reports.pieces import REPORT
from flows.requests.commandline import line_of
from flows.requests.dates.series import SeriesRequest
from flows.storage.kept_parts import keep_parts
from flows.storage.keys import versions
from flows.timeseries import pixel_rasters, zone_figures
from flows.timeseries.page import describe_series
from flows.timeseries.pixel_rasters import PixelPlan
from flows.timeseries.publish import write_zone_files
from flows.timeseries.zone_figures import ZoneFigures, measure_zones
from segmentation.spectral import indices
from tiling.errors import InputError
from tiling.grid.geobox import extend_to
from tiling.io.access import is_there
from tiling.io.files import check_folder, make_folder, scratch, write_text

RECORD = "series.json"
"""Written last: with it there, all other files are those it tells of."""


@dataclass(frozen=True, eq=False)
class SeriesPlan:
    """Images, indices and zones, each looked at once: nothing that a header shows goes wrong
    later."""

    request: SeriesRequest
    images: Images
    names: tuple[str, ...]
    """Of the indices, as the catalogue writes them."""
    frame: Any = None
    """The zones as they are; None without."""
    shapes: npt.NDArray[Any] | None = None
    """The zones in the CRS of the images."""

    @property
    def work(self) -> Work:
        """How much there is to do, and what a worker takes for a piece of it."""
        found = []
        if self.shapes is not None:
            found.append(zone_figures.work_of(self.images, self.names))
        if self.pixels is not None:
            found.append(self.pixels.work)
        return Work(sum(one.pieces for one in found), max(one.worker_bytes(1) for one in found))

    @property
    def pixels(self) -> PixelPlan | None:
        """What is computed of each pixel."""
        settings = self.request.each
        return PixelPlan(self.images, self.names, settings) if settings.wanted else None

    @property
    def zone_names(self) -> list[str] | None:
        """What each zone is called, where a column says."""
        column = self.request.column
        return None if self.frame is None or not column else [*map(str, self.frame[column])]


@dataclass(frozen=True, eq=False)
class Series:
    """What came of a series."""

    plan: SeriesPlan
    figures: ZoneFigures | None
    files: tuple[Path, ...] = ()
    charts: tuple[tuple[str, Path], ...] = ()
    """Title and file of each."""


def open_series(request: SeriesRequest, paths: Sequence[tuple[str, ...]] = ()) -> SeriesPlan:
    """The images of a request, or those at `paths`, what is computed of them, and the zones;
    `InputError` for what a person can mend."""
    check_folder(request.out)
    request = sort_words(request)
    if not request.names:
        raise InputError(
            "no index was named; name one, such as --index NDVI: `landweave indices` lists them"
        )
    if not (request.zones or request.each.wanted):
        raise InputError(
            "nothing was asked for; name a polygon layer, such as --zones fields.gpkg, or say "
            "--pixels for rasters"
        )
    names = tuple(dict.fromkeys(indices.find(name).name for name in request.names))

    def choose(common: Sequence[str]) -> Sequence[str]:
        asked = {band for name in names for band in indices.index_bands(name, common)}
        return [band for band in common if band in asked]

    frame = _read_zones(request) if request.zones else None

    def around_zones(first: GeoBox) -> GeoBox:
        bounds = shapely.total_bounds(_shapes_on(first, frame, request.zones))
        return extend_to(first, (bounds[0], bounds[1], bounds[2], bounds[3]))

    images = open_images(
        request.source,
        paths or request.scenes,
        request.like,
        choose=choose,
        dated="a series",
        # of images that were found one may show what another does not
        reach=around_zones if paths and frame is not None and not request.like else None,
    )
    _check_scales(images, names)
    plan = SeriesPlan(request, images, names, frame)
    if plan.pixels is not None:
        plan.pixels.check()
    if frame is None:
        return plan
    return replace(plan, shapes=_shapes_on(images.grid, frame, request.zones))


def _read_zones(request: SeriesRequest) -> Any:
    frame = read_zones(Path(request.zones))
    if request.column and request.column not in frame.columns:
        known = ", ".join(str(name) for name in frame.columns if name != frame.geometry.name)
        raise InputError(
            f"{request.zones} has no column {request.column}; it has {known or 'none'}"
        )
    return frame


def _shapes_on(grid: GeoBox, frame: Any, zones: str) -> npt.NDArray[Any]:
    """The zones in the CRS of a grid."""
    assert grid.crs is not None  # no header without one becomes a scene
    return shapes_in(grid.crs.to_wkt(), "the images", frame, zones)


def sort_words(request: SeriesRequest) -> SeriesRequest:
    """The request, with indices that were typed after the first with blanks between them, as in
    `--index NDVI NDMI`, taken from the images: no file is called so."""
    known = {name.lower() for name in indices.catalogue()} if request.names else set()
    named = [one for one in request.scenes if one.lower() in known and not is_there(one)]
    scenes = tuple(one for one in request.scenes if one not in named)
    return request.model_copy(update={"scenes": scenes, "names": (*request.names, *named)})


def _check_scales(images: Images, names: Sequence[str]) -> None:
    """Raise `InputError` where an index needs reflectance and no image says its scale."""
    if all(images.is_reflectance):
        return
    for name in names:
        if not indices.find(name).scale_invariant:
            raise InputError(
                f"{name} is not the same at every scale, and nothing tells that of "
                f"{images.scenes[0].name}; say it, for example --scale 0.0001"
            )


def run_series(plan: SeriesPlan, pool: Pool, progress: Progress = silent) -> Series:
    """The files of a series in the output folder. Each appears whole or not at all; a run that was
    killed leaves those of the run before, and the dates and windows it finished: they are not
    computed again."""
    out = make_folder(plan.request.out)
    with keep_parts(out / ".parts", out) as kept:
        with scratch(out) as work:
            made = work / "made"
            made.mkdir()
            figures, charts = _write_zones(plan, made, work, kept, pool, progress)
            if plan.pixels is not None:
                pixel_rasters.write_rasters(plan.pixels, made, work, kept, pool, progress)
            (out / RECORD).unlink(missing_ok=True)
            files = [put(path, out) for path in sorted(made.iterdir())]
        files = [path for path in files if path.is_file()]
        charts = [(title, out / "charts" / path.name) for title, path in charts]
        line = line_of("series", plan.request)
        blocks = describe_series(plan.images, figures, out, charts, files, Beside(out), line)
        title = f"{', '.join(plan.names)}, {plan.images.days[0]} to {plan.images.days[-1]}"
        write_text(out / REPORT, render_html(title, blocks))
        record = record_of(plan.request, plan.images, plan.names, [*files, out / REPORT])
        write_text(out / RECORD, record)
    return Series(plan, figures, (*files, out / REPORT, out / RECORD), tuple(charts))


def _write_zones(
    plan: SeriesPlan, made: Path, work: Path, kept: Path, pool: Pool, progress: Progress
) -> tuple[ZoneFigures | None, list[tuple[str, Path]]]:
    """The figures of the zones, whose files lie in `made` then, and the title and file of each
    chart; nothing where there are no zones."""
    if plan.shapes is None:
        return None, []
    figures = measure_zones(plan.images, plan.names, plan.shapes, work, kept, pool, progress)
    names = plan.zone_names
    return figures, write_zone_files(plan.images, figures, plan.frame, names, made, progress)


def put(path: Path, out: Path) -> Path:
    """Where a file or folder that is made comes to lie; what lay there is gone."""
    target = out / path.name
    if target.is_dir():
        shutil.rmtree(target)
    return path.replace(target)


def record_of(
    request: BaseModel, images: Images, names: Sequence[str], files: Sequence[Path]
) -> str:
    """What was asked and from what, as JSON."""
    record = {
        "landweave": versions()["landweave"],
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "request": request.model_dump(mode="json"),
        "indices": names,
        "images": [
            {"name": scene.name, "date": str(scene.date), "file": scene.bands[0].path}
            for scene in images.scenes
        ],
        "notes": images.notes,
        "files": [path.name for path in files],
    }
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"
