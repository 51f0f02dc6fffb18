"""A mask that a model makes for work that is no map: it runs first, in a folder of its own, and the
scene is then opened with what it told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flows.composite.windows import images_in_windows
from flows.compute.cluster import HERE, Cluster
from flows.compute.progress import Progress, silent
from flows.products.mask import MASK
from flows.requests.request import Request
from flows.requests.segmenters import choose_segmenter
from flows.requests.source import Source
from flows.run.pipeline import make_mask
from flows.storage.keys import content_key
from flows.storage.run_folder import open_run
from tiling.errors import InputError
from tiling.scene.acquisition import Mask

_INSIST = ", or insist with --preflight warn"


def mask_first(
    source: Source, out: Path, *, on: Cluster = HERE, progress: Progress = silent, scene: int = 0
) -> Source:
    """The source with the file of a mask where it names a model; any other as it is.

    The model runs on the whole scene, as for a map, in a folder beside `out`, whose name ends in
    `-mask`: what an earlier run found there is not done again. `scene` counts from 1 where there
    are several. Of windows of time it runs on each image in one, in a folder called by its day.
    Raises `InputError` in one line for what a person can mend.
    """
    if not source.has_model:
        return source
    place = out.with_name(f"{out.name}-mask")
    place = place / str(scene) if scene else place
    if source.windows:
        images = images_in_windows(source).items()
        try:
            told = {one.paths: _make(one, place / name, on, progress) for name, one in images}
        finally:
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()
        return source.with_masks(told)
    raster = _make(source, place, on, progress)
    found = {"mask": str(place / MASK), "mask_values": raster.values}
    return source.model_copy(update={**found, "mask_grow": 0, "mask_bits": ()})


def mask_dates(
    source: Source,
    scenes: Sequence[str],
    out: Path,
    *,
    on: Cluster = HERE,
    progress: Progress = silent,
) -> Source:
    """The source of images of several dates with a mask of each where it names a model; any other
    as it is. The model runs on each image, in a folder of its own. Else as `mask_first`."""
    if not source.has_model:
        return source
    place = out.with_name(f"{out.name}-mask")
    told = {}
    for path in scenes:
        alone = source.model_copy(update={"paths": (path,)})
        name = f"{Path(path).stem}-{content_key({'paths': alone.paths})[:8]}"
        told[alone.paths] = _make(alone, place / name, on, progress)
    return source.with_masks(told)


def mask_windows(request: Request, *, on: Cluster = HERE, progress: Progress = silent) -> Request:
    """The request with a mask of each image of its windows of time, where it has these and a model;
    any other, and what is to lie on a store, as it is. Else as `mask_first`."""
    if not request.source.windows or not isinstance(request.out, Path):
        return request
    source = mask_first(request.source, request.out, on=on, progress=progress)
    return request.model_copy(update={"source": source})


def _make(source: Source, place: Path, on: Cluster, progress: Progress) -> Mask:
    """What the model of a scene left out, in a folder of its own; the raster that work reads, which
    later runs leave as it is."""
    request = Request(
        source=source,
        out=place,
        segmenter=choose_segmenter(source.mask_model.name, {}),
        products=("classes",),
        min_area=0.0,
    )
    with open_run(place) as folder:
        try:
            made = make_mask(request, folder, on, progress)
        except InputError as error:
            # who insists makes a map of the clouds, and looks at it
            if _INSIST not in str(error):
                raise
            raise InputError(
                f"{str(error).replace(_INSIST, '')}; make the mask with landweave segment "
                f"--segmenter {source.mask_model.name} --min-area 0 --preflight warn, and name "
                "its classes.tif as --mask"
            ) from error
        assert made is not None
        assert made.raster is not None
        return made.raster


def masks_first(
    sources: tuple[Source, ...], out: Path, *, progress: Progress = silent
) -> tuple[Source, ...]:
    """The same of each of several scenes, on this machine."""
    several = len(sources) > 1
    return tuple(
        mask_first(source, out, progress=progress, scene=several * number)
        for number, source in enumerate(sources, 1)
    )
