"""Windows of time as one scene: each a composite of the images in it, made first, and its bands
named by it: `early.red`, `late.red`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from flows.composite.images import Images, open_composite
from flows.composite.scenes import find_scenes
from flows.composite.write import key_of, work_of, write_composite
from flows.compute import cluster
from flows.compute.cluster import HERE, Cluster
from flows.compute.progress import Progress, silent
from flows.requests.source import Source
from flows.stac.query import Period, period_of, span_of
from flows.stac.search import by_day
from flows.storage.keys import content_key
from segmentation.spectral.composites import Method, method_of
from tiling.errors import InputError
from tiling.io.files import make_folder, own_scratch, write_text
from tiling.scene.band_names import LETTERS, full_band_name
from tiling.scene.folders import is_product
from tiling.scene.scene import Scene

FOLDER = "windows"
"""Of a run, in which its composites lie."""

_KEYS = "windows.json"


class _Window(NamedTuple):
    """Images of a window of time, and how they become one."""

    name: str
    images: Images
    method: Method

    @property
    def key(self) -> str:
        """What tells the composite from any other."""
        return key_of(self.images, self.method)


def stack_windows(
    source: Source, folder: Path, on: Cluster = HERE, progress: Progress = silent
) -> Source:
    """The source with composites, one for each window of time, that lie in a folder then: it opens
    as a scene of their bands. The source as it is where it has no windows, or has them already.

    What an earlier run left there is not made again, if it follows from the same images. Each file
    appears whole or not at all. `InputError` where a window has no image.
    """
    if not source.windows or source.composites:
        return source
    windows = list(_open_windows(source))
    keys = {window.name: window.key for window in windows}
    before, paths = _read_keys(folder), []
    for window in windows:
        path = folder / f"{window.name}.tif"
        if before.get(window.name) != keys[window.name] or not path.exists():
            make_folder(folder)
            with cluster.start(on, work_of(window.images, window.method)) as pool:
                write_composite(window.images, window.method, path, pool, progress)
            kept = {name: key for name, key in before.items() if name in keys}
            before = {**kept, window.name: keys[window.name]}
            write_text(folder / _KEYS, json.dumps(before, indent=2) + "\n")
        paths.append(f"{window.name}={path.absolute()}")
    return source.with_composites(paths)


def each_window(source: Source) -> Iterator[tuple[str, Source]]:
    """The composite of each window of time by its name, as a scene of its own; the source without a
    name where it has none."""
    if not source.composites:
        yield "", source
    for place in source.composites:
        name, _, path = place.partition("=")
        yield name, Source(paths=(path,))


@contextmanager
def windows_for_a_look(source: Source, progress: Progress = silent) -> Iterator[Source]:
    """`stack_windows` in a folder that goes when the block ends, for who only looks at a scene."""
    if not source.windows:
        yield source
        return
    with TemporaryDirectory(dir=own_scratch()) as folder:
        yield stack_windows(source, Path(folder), progress=progress)


def _read_keys(folder: Path) -> dict[str, str]:
    try:
        found = json.loads((folder / _KEYS).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def images_in_windows(source: Source) -> dict[str, Source]:
    """The images that lie in a window of time, each alone, by a name that no other has: its day and
    what its paths come to. Each is there once, in however many windows. Errors as of
    `stack_windows`."""
    method_of(source.window_method)
    plain, (_, inside) = _each_alone(source), _find_images(source)
    return {
        f"{day}-{content_key({'paths': paths})[:8]}": plain.model_copy(update={"paths": paths})
        for dated in inside.values()
        for day, paths in dated
    }


def _open_windows(source: Source) -> Iterator[_Window]:
    """The images of each window, in the order in which windows were named; all on one grid, that of
    the first image of all."""
    method = method_of(source.window_method)
    if source.has_model and not source.masks:
        raise InputError(
            f"--mask {source.mask} runs a model on each image of --window first, which segment, "
            "objects, train and index do and which is not done here; name the raster of a mask"
        )
    plain, (first, inside) = _each_alone(source), _find_images(source)
    for name, dated in inside.items():
        paths = [places for _, places in dated]
        yield _Window(name, open_composite(plain, paths, method, first), method)


def _each_alone(source: Source) -> Source:
    """What is said of each image, without where it is."""
    return source.model_copy(
        update={"windows": {}, "paths": (), "search": None, "bbox": None, "assets": ()}
    )


def _find_images(source: Source) -> tuple[str, dict[str, list[tuple[str, tuple[str, ...]]]]]:
    """The raster whose grid all images take, empty where it is that of a window's first; and of
    each window the days and places of its images."""
    periods = {name: _period(name, text) for name, text in source.windows.items()}
    dated, found = _dated(_each_alone(source).unmasked, _places(source)), {}
    for name, (period, text) in periods.items():
        found[name] = [(day, places) for day, places in dated if _holds(period, day)]
        if not found[name]:
            days = sorted({day for day, _ in dated})
            raise InputError(
                f"--window {name}={text}: none of the {len(dated)} images is of that time; they "
                f"are of {days[0]} to {days[-1]}"
            )
    return "" if source.search else dated[0][1][0], found


def _period(name: str, text: str) -> tuple[Period, str]:
    if (
        not (name.isascii() and name.isidentifier())
        or full_band_name(name)
        or name.casefold() in LETTERS
    ):
        raise InputError(
            f"--window {name}={text}: {name} names a band or is no name; call the window "
            "otherwise, such as early or june"
        )
    return period_of(span_of(text, "--window")), text


def _holds(period: Period, day: str) -> bool:
    return str(period.start.date()) <= day <= str(period.end.date())


def _places(source: Source) -> list[tuple[str, ...]]:
    """Where each image is: the rasters of folders one by one, the items of a search day by day."""
    if source.search is not None:
        return list(by_day(source.search, source.bbox).values())
    places: list[tuple[str, ...]] = []
    for path in source.paths:
        inside = [] if is_product(Path(path)) else list(find_scenes([path]))
        places += [one.paths for one in inside] or [(path,)]
    return places


def _dated(source: Source, places: Sequence[tuple[str, ...]]) -> list[tuple[str, tuple[str, ...]]]:
    """The day of each image and where it is, in the order in which they were named."""
    if not places:
        raise InputError("no image was named; name those of several dates, or a folder of them")
    found = []
    for paths in places:
        scene: Scene = source.model_copy(update={"paths": paths}).open()
        if scene.date is None:
            raise InputError(
                f"nothing says on which day {scene.name} was taken, and --window needs to know: "
                f"put the day into its name, such as {scene.name}_2024-06-30.tif"
            )
        found.append((str(scene.date), paths))
    return found
