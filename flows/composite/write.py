"""A composite as a raster: windows combined on the workers of a pool, joined into a COG."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import rasterio

from flows.composite.images import Images, open_composite
from flows.composite.item import item_of
from flows.compute.pool import Pool
from flows.compute.progress import Progress, report_items, silent
from flows.compute.work import Work
from flows.plan.part_key import scene_facts
from flows.requests.dates.composite import CompositeRequest
from flows.storage.kept_parts import keep_parts, make_missing, part_path, parts_beside
from flows.storage.keys import content_key, versions
from flows.storage.near_file import near_file
from flows.storage.remote import Place, Remote
from segmentation.spectral.composites import Method, combine, method_of
from tiling.cog.write import write_cog
from tiling.errors import InputError
from tiling.formats.about import About
from tiling.grid.window import Window
from tiling.io.files import make_folder, scratch, write_text
from tiling.io.profiles import BLOCK, plain_profile
from tiling.io.spill import load_arrays, save_arrays
from tiling.scene.acquisition import REFLECTANCE
from tiling.scene.file_bands import LOOKS

_BUDGET = 2**28
"""Bytes of the chips that a worker holds at once, unless a window of one block takes more."""
_LARGEST = 1024
"""Pixels of the side of a window."""
_FIXED = 2**28
"""Bytes of a worker for its libraries and GDAL's cache of blocks."""


class Written(NamedTuple):
    """The files of a composite."""

    raster: Place
    item: Place


def work_of(images: Images, method: Method) -> Work:
    """How many windows there are, and what a worker takes for one."""
    size = window_size(images, method)
    return Work(
        len(list(Window.of_shape(*images.grid.shape).blocks(size))),
        _FIXED + size**2 * _pixel_bytes(images, method),
    )


def window_size(images: Images, method: Method) -> int:
    """Pixels of the side of the windows that are combined at once: whole blocks of 512, and as many
    as the memory of a worker allows."""
    size = _LARGEST
    while size > BLOCK and size**2 * _pixel_bytes(images, method) > _BUDGET:
        size //= 2
    return size


def _pixel_bytes(images: Images, method: Method) -> int:
    """Bytes of a pixel at the peak: the median's stack, a few images in 64 bits, and what is read
    around."""
    stacked = len(images.scenes) if method.kind == "median" else 0
    around = ((BLOCK + 2 * method.reach) / BLOCK) ** 2
    return round(4 * len(images.bands) * (stacked + 8) * around)


def check_target(images: Images, out: Place) -> None:
    """Raise `InputError` where a composite cannot be written to that file."""
    name = PurePosixPath(out.name)
    is_bucket = isinstance(out, Remote) and not out.parent.name
    if is_bucket or name.suffix.lower() not in (".tif", ".tiff"):
        beside = out.parent / f"{name.stem or 'composite'}.tif"
        such = out / "composite.tif" if is_bucket else beside
        raise InputError(f"{out} is no GeoTIFF; name one, such as {such}")
    read = {file for scene in images.scenes for file in scene.sources(images.bands)}
    if isinstance(out, Remote):
        if str(out) in read:
            raise InputError(f"{out} is one of the images; write the composite to another file")
        return
    if out.is_dir():
        raise InputError(f"{out} is a folder; name a file in it, such as {out / 'composite.tif'}")
    if str(out.absolute()) in read or str(out.resolve()) in {str(Path(f).resolve()) for f in read}:
        raise InputError(f"{out} is one of the images; write the composite to another file")


def open_request(request: CompositeRequest) -> Images:
    """The images of a composite that is asked for; `InputError` for what a person can mend."""
    images = open_composite(request.source, request.scenes, method_of(request.method), request.like)
    check_target(images, request.out)
    return images


def write_composite(
    images: Images,
    method: Method,
    out: Place,
    pool: Pool,
    progress: Progress = silent,
    *,
    size: int | None = None,
) -> Written:
    """A COG of the images' bands under their names, float32 with NaN = no data, and the count of
    valid dates as the last band, `looks`; a STAC item and a `.qmd` beside it.

    Each window is combined by itself, so that pixels depend neither on `size`, its side in pixels,
    nor on the pool. The raster appears whole or not at all; windows that a run combined which did
    not come to its end are not combined again. On a store the item is there last.
    """
    check_target(images, out)
    if isinstance(out, Path):
        make_folder(out.parent)
        written = _write_here(images, method, out, pool, progress, size)
        return Written(out, written[-1])
    with near_file(out) as near:
        written = _write_here(images, method, near.path, pool, progress, size, near.keep)
        near.publish(written)
    return Written(out, out.parent / written[-1].name)


def _write_here(
    images: Images,
    method: Method,
    out: Path,
    pool: Pool,
    progress: Progress,
    size: int | None,
    keep: Callable[[Path], None] = lambda _: None,
) -> tuple[Path, Path, Path]:
    """Raster, style and item of a composite; `keep` hears of each part that is finished."""
    windows = list(Window.of_shape(*images.grid.shape).blocks(size or window_size(images, method)))
    key = key_of(images, method)
    names = (*images.bands, LOOKS)
    profile = plain_profile(images.grid, "float32", float("nan"), count=len(names))
    about = about_composite(images, method, out.stem)
    with keep_parts(parts_beside(out), out) as kept, scratch(out.parent) as work:
        plain = work / f"{out.stem}.plain.tif"
        with rasterio.open(plain, "w", **profile, predictor=3) as target:
            target.descriptions = names
            target.units = [REFLECTANCE if known else "" for known in images.is_reflectance] + [""]
            target.update_tags(**about.tags)
            parts = [(window, part_path(kept, key, window)) for window in windows]
            done = make_missing(partial(_combine_window, images, method), parts, pool.map)
            files = report_items(done, "composite", len(windows), progress)
            for window, file in zip(windows, files, strict=True):
                (pixels,) = load_arrays(file, 1)
                target.write(pixels, window=window.ranges)
                keep(file)
        item, details = out.with_suffix(".json"), out.with_suffix(".qmd")
        write_cog(plain, out, overviews="average", map=pool.map)
    write_text(details, about.qmd)
    write_text(item, json.dumps(item_of(out, images.scenes, str(method)), indent=2) + "\n")
    return out, details, item


def key_of(images: Images, method: Method) -> str:
    """What tells the pixels of a composite from any other's."""
    scenes = [scene_facts(scene, images.bands) for scene in images.scenes]
    days = [str(scene.date) for scene in images.scenes]
    return content_key({"scenes": scenes, "days": days, "method": str(method)})


def _combine_window(images: Images, method: Method, part: tuple[Window, Path]) -> None:
    """Write what a window becomes: `(band + 1, y, x) float32`, the last the count of valid
    dates."""
    window, path = part
    around = window.pad(method.reach) & Window.of_shape(*images.grid.shape)
    chips = (scene.read(around, images.bands) for scene in images.scenes)
    found = combine(chips, len(images.scenes), method, window.within(around))
    pixels = np.concatenate([found.pixels, found.looks[None].astype(np.float32)])
    save_arrays(path, pixels, lasting=True)


def about_composite(images: Images, method: Method, title: str) -> About:
    """What a composite says of itself."""
    names: Sequence[str] = [scene.name for scene in images.scenes]
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    return About(
        title=title,
        abstract=f"Composite of {len(names)} images, {method} of the valid dates of each "
        f"pixel; band {LOOKS} counts them",
        days=images.days,
        history=(f"Sources: {shown}", f"Computed with landweave {versions()['landweave']}"),
    )
