"""A mask that a model makes for work that is no map: it runs first, in a folder of its own, and the
scene is then opened with what it told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple, Protocol, Self, TypeVar

from flows.composite.windows import images_in_windows
from flows.compute import cluster
from flows.compute.cluster import HERE, Cluster
from flows.compute.pool import Pool
from flows.compute.progress import Progress, silent
from flows.compute.work import Work
from flows.requests.request import Request
from flows.requests.segmenters import choose_segmenter
from flows.requests.source import MadeMask, Source
from flows.run.pipeline import Start, make_mask
from flows.storage.keys import content_key
from flows.storage.remote import Place
from flows.storage.run_folder import open_run
from tiling.errors import InputError

_INSIST = ", or insist with --preflight warn"

T = TypeVar("T")


class Dated(Protocol):
    """A request for images of several dates."""

    @property
    def source(self) -> Source: ...
    @property
    def scenes(self) -> tuple[str, ...]: ...
    @property
    def out(self) -> Place: ...
    def model_copy(self, *, update: Mapping[str, object]) -> Self: ...


D = TypeVar("D", bound=Dated)


class _Told(NamedTuple):
    """What a model left out of a scene, and what is to be known of that."""

    mask: MadeMask
    name: str
    notes: tuple[str, ...]


def mask_first(
    source: Source,
    out: Path,
    *,
    on: Cluster = HERE,
    progress: Progress = silent,
    scene: int = 0,
    fresh: bool = False,
) -> Source:
    """The source with the file of a mask where it names a model; any other as it is.

    The model runs on the whole scene, as for a map, in a folder beside `out`, whose name ends in
    `-mask`: what an earlier run found there is not done again, but where it is to be `fresh`.
    `scene` counts from 1 where there are several. Of windows of time it runs on each image in one,
    in a folder called by its day. What is to be known of its runs are notes of the source. Raises
    `InputError` in one line for what a person can mend.
    """
    if not source.has_model:
        return source
    if source.windows:
        return _mask_each(source, images_in_windows(source), out, on, progress, fresh)
    place = _beside(out)
    place = place / str(scene) if scene else place
    told = _make(source, place, on, progress, fresh)
    # the raster that is kept, as of windows: `mask.tif` is written anew, and is another file then
    found = {"mask": told.mask.raster.path, "mask_values": told.mask.raster.values}
    masked = source.model_copy(update={**found, "mask_grow": 0, "mask_bits": ()})
    return masked.with_notes(_notes_of([told]))


def open_masked(
    request: D,
    open: Callable[[D], T],
    *,
    images: Sequence[str] | Sequence[tuple[str, ...]] = (),
    on: Cluster = HERE,
    progress: Progress = silent,
    fresh: bool = False,
) -> T:
    """What `open` makes of a request for images of several dates; where their mask names a model,
    once it ran on each image, in a folder of its own. Else as `mask_first`.

    What a header shows is wrong is raised before the model looks. `images` are the paths of each,
    those of the request by default; several in one place are a mosaic.
    """
    source = request.source
    if not source.has_model:
        return open(request)
    open(request.model_copy(update={"source": source.unmasked}))
    alone = {}
    for place in images or request.scenes:
        paths = (place,) if isinstance(place, str) else tuple(place)
        name = f"{Path(paths[0]).stem}-{content_key({'paths': paths})[:8]}"
        alone[name] = source.model_copy(update={"paths": paths, "search": None})
    masked = _mask_each(source, alone, request.out, on, progress, fresh)
    return open(request.model_copy(update={"source": masked}))


def mask_windows(request: Request, *, on: Cluster = HERE, progress: Progress = silent) -> Request:
    """The request with a mask of each image of its windows of time, where it has these and a model;
    any other, and what is to lie on a store, as it is. Else as `mask_first`."""
    if not request.source.windows or not isinstance(request.out, Path):
        return request
    source = mask_first(request.source, request.out, on=on, progress=progress, fresh=request.fresh)
    return request.model_copy(update={"source": source})


def masks_first(
    sources: tuple[Source, ...], out: Path, *, progress: Progress = silent, fresh: bool = False
) -> tuple[Source, ...]:
    """The same of each of several scenes, on this machine."""
    several = len(sources) > 1
    return tuple(
        mask_first(source, out, progress=progress, scene=several * number, fresh=fresh)
        for number, source in enumerate(sources, 1)
    )


def _beside(out: Place) -> Place:
    return out.parent / f"{out.name}-mask"


def _mask_each(
    source: Source,
    images: Mapping[str, Source],
    out: Place,
    on: Cluster,
    progress: Progress,
    fresh: bool,
) -> Source:
    """The source of images of several dates with a mask of each, made in a folder of its name."""
    place = _beside(out)
    try:
        with _start_once() as start:
            told = {
                one.paths: _make(one, place / name, on, progress, fresh, start)
                for name, one in images.items()
            }
    finally:
        if isinstance(place, Path) and place.is_dir() and not any(place.iterdir()):
            place.rmdir()
    masked = source.with_masks({paths: one.mask for paths, one in told.items()})
    return masked.with_notes(_notes_of(told.values()))


@contextmanager
def _start_once() -> Iterator[Start]:
    """Machines that are started for the first image that needs any, and serve all others."""
    with ExitStack() as stack:
        pools: list[Pool] = []

        def start(on: Cluster, work: Work) -> AbstractContextManager[Pool]:
            if not pools:
                pools.append(stack.enter_context(cluster.start(on, work)))
            return nullcontext(pools[0])

        yield start


def _make(
    source: Source,
    place: Place,
    on: Cluster,
    progress: Progress,
    fresh: bool,
    start: Start = cluster.start,
) -> _Told:
    """What the model of a scene left out, in a folder of its own; the raster that work reads, which
    later runs leave as it is."""
    request = Request(
        source=source,
        out=place,
        segmenter=choose_segmenter(source.mask_model.name, {}),
        products=("classes",),
        min_area=0.0,
    )
    with open_run(place, fresh=fresh) as folder:
        try:
            made = make_mask(request, folder, on, progress, start=start)
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
        scene = made.plan.scene
        own = tuple(note for note in made.plan.warnings if note not in scene.notes)
        mask = MadeMask(made.raster, made.plan.scene_facts["files"])
        return _Told(mask, scene.name, own)


def _notes_of(told: Iterable[_Told]) -> list[str]:
    """What is to be known of masks, each said once, with the scenes that it is of."""
    names: dict[str, list[str]] = {}
    for one in told:
        for note in one.notes:
            names.setdefault(note, []).append(one.name)
    return [
        f"of the mask of {first}{f' and {len(others)} more' if others else ''}: {note}"
        for note, (first, *others) in names.items()
    ]
