"""What a person hands over: a scene, a segmenter, machines; and which mistakes come back."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar

from flows.compute.spawning import empty_main
from flows.parsing import validate
from flows.requests.source import Source
from flows.stac.query import Search
from flows.storage.remote import Remote, place_of
from segmentation.segmenter import Segmenter
from tiling.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

    from flows.compute.cluster import Cluster
    from flows.compute.pool import Pool
    from tiling.scene.scene import Scene as Opened

P = ParamSpec("P")
T = TypeVar("T")

Progress = Callable[[str, int, int], None]
"""Told the name of a stage, how much of it is done, and how much there is."""


def unify_errors(function: Callable[P, T]) -> Callable[P, T]:
    """The function; a person's mistakes are all `landweave.InputError`, whoever found them."""
    from segmentation.errors import InputError as OfSegmentation

    @wraps(function)
    def unified(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except OfSegmentation as error:
            raise InputError(str(error)) from error

    return unified


@dataclass(frozen=True, repr=False)
class Scene:
    """Bands by name on one grid: what the files are, and what a person says of them.

    Made by `open_scene`. Headers are read; pixels when `data` is computed or a map is made.
    """

    source: Source

    @cached_property
    def opened(self) -> Opened:
        """The scene as the pipeline sees it."""
        return self.source.open()

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands, in order."""
        return self.opened.band_names

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.opened.height, self.opened.width

    @property
    def crs(self) -> Any:
        """The coordinate reference system, an `odc.geo.crs.CRS`."""
        return self.opened.crs

    @property
    def geobox(self) -> Any:
        """The grid, an `odc.geo.geobox.GeoBox`."""
        return self.opened.geobox

    @property
    def date(self) -> datetime.date | None:
        """Day of the image, where it is known."""
        return self.opened.date

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of how the scene was put together."""
        return self.opened.notes

    @property
    def data(self) -> xr.DataArray:
        """Values `(band, y, x) float32` in the bands' units, NaN = no data; read when computed."""
        from landweave.rasters import scene_array

        return scene_array(self.opened)

    def __repr__(self) -> str:
        height, width = self.shape
        scene = self.opened
        day = f", {scene.date}" if scene.date else ""
        return f"<Scene {scene.title}: {width} × {height} px, {', '.join(self.bands)}{day}>"

    def _repr_html_(self) -> str:
        from landweave.pages import scene_page

        return scene_page(self.opened)


PathLike: TypeAlias = str | os.PathLike[str]
SceneLike: TypeAlias = PathLike | Sequence[PathLike] | Mapping[str, PathLike] | Scene


@unify_errors
def open_scene(
    scene: SceneLike = (),
    *,
    search: Search | Mapping[str, Any] | None = None,
    bbox: Sequence[float] | None = None,
    assets: Sequence[str] | None = None,
    bands: Mapping[str, int] | None = None,
    nodata: float | None = None,
    scale: float | None = None,
    offset: float | None = None,
    mask: str | None = None,
    mask_values: Sequence[int] | None = None,
    mask_bits: Sequence[int] | None = None,
    mask_grow: int | None = None,
    date: datetime.date | str | None = None,
) -> Scene:
    """Open a scene: bands by name on one grid, whatever files lie behind it. Only headers are read.

    Args:
        scene: Path or URL of a raster, of a folder of single-band files or of a STAC item; a list
            of such; or a mapping such as `{"blue": "B02.tif", "nir": "B08.tif"}`.
        search: What to look for in a STAC catalogue instead, such as
            `{"catalogue": "https://…", "collections": ["sentinel-2-l2a"], "when": "2024-06"}`.
        bbox: West, south, east, north in degrees: where a scene of STAC items ends.
        assets: Bands or assets of STAC items to read; all by default.
        bands: Band name to band number from 1, where the file does not say: `{"red": 1, "nir": 4}`.
        nodata: Pixel value that means no data; by default what the file says.
        scale: Reflectance = pixel × scale + offset; by default what the file or its pixels say.
        offset: See `scale`.
        mask: `"band=N"`, or the path of a raster, whose values mark pixels to leave out; `"none"`
            keeps also what a cloud mask that was found would hide.
        mask_values: Values of the mask to leave out; all but 0 by default.
        mask_bits: Bits of the mask, from 0, that leave a pixel out where one is set.
        mask_grow: Pixels left out around what a model of clouds leaves out.
        date: Day of the image, as a date or `"2024-07-31"`; by default that in the file's name.

    Returns:
        The scene, which `segment`, `plan`, `train` and `indices` take.

    Raises:
        InputError: Where a header shows that no scene can come of it.

    Examples:
        >>> import landweave as lw
        >>> scene = lw.open_scene("naip.tif", bands={"red": 1, "green": 2, "blue": 3, "nir": 4})
        >>> scene.bands, scene.shape
        (('red', 'green', 'blue', 'nir'), (512, 512))
    """
    source = source_of(
        scene, search=search, bbox=bbox, assets=assets, bands=bands, nodata=nodata, scale=scale,
        offset=offset, mask=mask, mask_values=mask_values, mask_bits=mask_bits,
        mask_grow=mask_grow, date=date,
    )  # fmt: skip
    opened = Scene(source)
    _ = opened.opened
    return opened


def source_of(scene: SceneLike, **settings: Any) -> Source:
    """The source of a request, from a scene and those settings that are not None."""
    if isinstance(scene, Scene):
        return validate(Source, **(dict(scene.source) | drop_none(settings)))
    return validate(Source, paths=paths_of(scene), **drop_none(settings))


def paths_of(scene: PathLike | Sequence[PathLike] | Mapping[str, PathLike]) -> tuple[str, ...]:
    """Files as the pipeline writes them: `blue=B02.tif` where they have names.

    >>> paths_of({"blue": "B02.tif"})
    ('blue=B02.tif',)
    """
    if isinstance(scene, str | os.PathLike):
        return (os.fspath(scene),)
    if isinstance(scene, Mapping):
        return tuple(f"{name}={os.fspath(path)}" for name, path in scene.items())
    if isinstance(scene, Sequence) and all(isinstance(path, str | os.PathLike) for path in scene):
        return tuple(os.fspath(path) for path in scene)
    raise InputError(
        f"a scene is a path, a list of paths, a mapping of band names to paths or what open_scene "
        f"returns, not {type(scene).__name__}; segment also takes an xarray"
    )


def drop_none(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without None, for which the request's own defaults stand; paths as text."""
    return {
        name: os.fspath(value) if isinstance(value, os.PathLike) else value
        for name, value in settings.items()
        if value is not None
    }


def segmenter_of(segmenter: PathLike | Segmenter, settings: Mapping[str, Any]) -> Segmenter:
    """The segmenter of that kind, of that model, or itself."""
    from flows.requests.segmenters import choose_segmenter

    if isinstance(segmenter, Segmenter):
        if settings:
            kind = type(segmenter).__name__
            raise InputError(
                f"{', '.join(settings)}: settings stand beside a name; give them to {kind}(…)"
            )
        return segmenter
    if not isinstance(segmenter, str):
        segmenter = str(Path(segmenter).absolute())  # a folder, though it be called as a kind
    return choose_segmenter(segmenter, settings)


def cluster_of(cluster: str | Cluster, workers: int | None) -> Cluster:
    """Which machines work."""
    from flows.compute.cluster import cluster_from

    return cluster_from(cluster, workers, {}) if isinstance(cluster, str) else cluster


@contextmanager
def pool_of(workers: int | None, pieces: int, piece_bytes: int) -> Iterator[Pool]:
    """Processes of this machine for so much work, for the time of a `with` block."""
    from flows.compute import cluster
    from flows.compute.work import Work

    work = Work(pieces, piece_bytes)
    with empty_main(), cluster.start(cluster_of("local", workers), work) as pool:
        yield pool


def place_at(path: PathLike) -> Path | Remote:
    """A folder on a disk, or on an object store where a URL says so."""
    place = place_of(os.fspath(path))
    return place if isinstance(place, Remote) else Path(place)


def raster_of(place: PathLike) -> str:
    """The class raster of a run, or of its folder, or the raster that was named."""
    path = os.fspath(place)
    if isinstance(place_at(path), Remote) and not path.endswith((".tif", ".tiff")):
        return f"{path}/classes.tif"
    return str(Path(path) / "classes.tif") if Path(path).is_dir() else path
