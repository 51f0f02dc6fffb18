"""Flows of images of one place and different dates: one image of them all, and indices through
them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TypeVar

from prefect import get_run_logger

from flows.composite.images import Images
from flows.composite.write import Written, open_request, work_of, write_composite
from flows.compute import cluster
from flows.compute.cluster import Cluster
from flows.compute.spawning import empty_main
from flows.forms.dropdowns import Indices, Paths, Text
from flows.forms.groups import Bands, Compositing, Fields, Pixels, Workers
from flows.forms.requests import cluster_for, composite_from, series_from
from flows.pages.artifacts import publish_page
from flows.pages.inspection import picture
from flows.pages.results import dates_page, files_page
from flows.reports.blocks import Block
from flows.requests.commandline import line_of
from flows.run.mask_first import Dated, open_masked
from flows.tasks.bar import Bar
from flows.tasks.runs import ON_GPU, Outcome, as_flow, asset, name_outcome, run_task
from flows.tasks.words import in_form_words
from flows.timeseries.run import RECORD, open_series, run_series, sort_words
from segmentation.spectral.composites import method_of
from tiling.scene.from_files import open_scene

D = TypeVar("D", bound=Dated)
T = TypeVar("T")

NAME = "composite.tif"
"""The raster in the folder that a form names: what else lies there is shown with it."""


@as_flow(
    "make-composite",
    "Make one image of several dates: each pixel from those on which it is valid, without clouds "
    "where any date is.",
)
def make_composite(
    bar: Bar,
    images: Paths,
    output_folder: Text,
    compositing: Compositing = Compositing(),  # noqa: B008 - frozen
    bands: Bands = Bands(),  # noqa: B008 - frozen
    advanced: Workers = Workers(),  # noqa: B008 - frozen
) -> Outcome:
    """Make one image of several dates.

    Args:
        images: Path of each image: a raster, a folder of single-band files, or a STAC item; one for
            each date.
        output_folder: Folder of its own for composite.tif and its STAC item; made if need be.
        compositing: What a pixel becomes of its dates, and on which grid.
        bands: What the files do not say of themselves, of all images alike.
        advanced: Where the work is done. Nothing here changes a result.
    """
    request = composite_from(images, output_folder, NAME, compositing, bands)
    method, on = method_of(request.method), cluster_for(advanced)
    bar.reach(0, "open the images")
    opened = open_dates(
        request, open_request, "Open every image, find the bands that they share", on
    )
    tell_notes(opened)
    progress = bar.along({"composite": 1})
    with empty_main(), cluster.start(on, work_of(opened, method), bar.wait) as pool:
        written = run_task(
            "combine",
            "Combine the dates of every window, join them as a GeoTIFF",
            partial(write_composite, opened, method, request.out, pool, progress),
            assets=[asset(request.out, f"Composite ({method}) of {len(opened.scenes)} images")],
        )
    folder = Path(str(request.out)).parent.resolve()  # a form writes to no store
    told = tell_dates(opened, str(method))
    name_outcome(told)
    page = composite_page(written, folder, line_of("composite", request))
    publish_page("composite", folder.name, folder, f"{folder.name}: {told}", page)
    return Outcome(f"{told}; in {folder}", written)


def composite_page(written: Written, folder: Path, command: str) -> list[Block]:
    """The picture of a composite, its files, and the line that makes it again."""
    png = picture(open_scene([str(written.raster)]))
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "composite.png"
        if png is not None:
            file.write_bytes(png)
        files = [folder / one.name for one in written]
        return files_page(folder, files, [file] if png is not None else [], command)


@as_flow(
    "follow-indices",
    "Follow spectral indices through images of several dates, field by field and pixel by pixel: "
    "charts, tables, layers that QGIS plays in time, trends and seasons.",
)
def follow_indices(
    bar: Bar,
    images: Paths,
    indices: Indices,
    output_folder: Text,
    fields: Fields = Fields(),  # noqa: B008 - frozen
    pixels: Pixels = Pixels(),  # noqa: B008 - frozen
    bands: Bands = Bands(),  # noqa: B008 - frozen
    advanced: Workers = Workers(),  # noqa: B008 - frozen
) -> Outcome:
    """Follow spectral indices through images of several dates. A layer of fields or a raster of
    each pixel has to be asked for.

    Args:
        images: Path of each image: a raster, a folder of single-band files, or a STAC item; one for
            each date.
        indices: Spectral indices to follow, such as NDVI.
        output_folder: Folder for tables, layers, charts and rasters; made if need be.
        fields: Polygons in which the indices are measured, and the grid.
        pixels: What is computed of each pixel, such as trends, smooth curves and seasons.
        bands: What the files do not say of themselves, of all images alike.
        advanced: Where the work is done. Nothing here changes a result.
    """
    request = series_from(images, indices, output_folder, fields, pixels, bands)
    on = cluster_for(advanced)
    bar.reach(0, "open the images")
    plan = open_dates(
        sort_words(request), open_series, "Open every image, read the zones, look for room", on
    )
    tell_notes(plan.images)
    told = tell_dates(plan.images, ", ".join(plan.names))
    parts = {"series": 3, "charts": 1} if request.zones else {}
    progress = bar.along(parts | ({"pixels": 5} if plan.pixels else {}))
    with empty_main(), cluster.start(on, plan.work, bar.wait) as pool:
        made = run_task(
            "follow",
            "Measure every index on every date, draw the charts",
            partial(run_series, plan, pool, progress),
            assets=[asset(request.out / RECORD, told)],
        )
    folder = request.out.resolve()
    name_outcome(told)
    publish_page("series", folder.name, folder, f"{folder.name}: {told}", dates_page(made))
    return Outcome(f"{told}; in {folder}", made.files)


def open_dates(
    request: D,
    open: Callable[[D], T],
    description: str,
    on: Cluster,
    images: Sequence[tuple[str, ...]] = (),
) -> T:
    """What `open` makes of a request, as a task run; where its mask names a model, once it looked
    at each image, on the machines of the flow. Else as `open_masked`."""
    masks = request.source.has_model
    with empty_main() if masks else nullcontext():
        return run_task(
            "open",
            f"{description}; the mask's model looks at each" if masks else description,
            partial(open_masked, request, open, images=images, on=on),
            tags=[ON_GPU] if masks and on.kind == "cuda" else [],
        )


def tell_notes(images: Images) -> None:
    """Log what is to be known of the images."""
    for note in images.notes:
        get_run_logger().warning("%s", in_form_words(note))


def tell_dates(images: Images, what: str) -> str:
    """What was made of how many images and of which days, in a few words."""
    days = images.days
    span = f", {days[0]} to {days[-1]}" if days else ""
    return f"{what} of {len(images.scenes)} images{span}"
