"""The images of a composite: opened each by itself, in the order of their dates, on one grid."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from odc.geo.geobox import GeoBox

from flows.plan.fit import calibrate
from flows.requests.source import Source
from segmentation.spectral.composites import Method, check_bands
from tiling.errors import InputError
from tiling.grid.geobox import lies_apart
from tiling.scene.acquisition import place_image
from tiling.scene.header import read_header
from tiling.scene.scene import Scene


@dataclass(frozen=True)
class Images:
    """Images of one place on one grid. A small value: it travels."""

    scenes: tuple[Scene, ...]
    """By date, then by name; those without a date first."""
    bands: tuple[str, ...]
    """Those that all have and that are read, in the order of the image that was named first."""
    notes: tuple[str, ...] = ()

    @property
    def grid(self) -> GeoBox:
        return self.scenes[0].geobox

    @property
    def dates(self) -> list[datetime.date]:
        """The day of each; there are none but known ones."""
        return [scene.date for scene in self.scenes if scene.date]

    @property
    def days(self) -> list[str]:
        """The days that are known, the first first."""
        return [str(scene.date) for scene in self.scenes if scene.date]

    @property
    def is_reflectance(self) -> tuple[bool, ...]:
        """Of each band whether it is reflectance."""
        return tuple(self.scenes[0].band(name).units == "reflectance" for name in self.bands)


def open_composite(
    source: Source, paths: Sequence[str] | Sequence[tuple[str, ...]], method: Method, like: str = ""
) -> Images:
    """The images of a composite: all bands that they share. Else as `open_images`."""

    def all_bands(common: Sequence[str]) -> Sequence[str]:
        check_bands(method, common)
        return common

    dated = "--method latest" if method.kind == "latest" else ""
    return open_images(source, paths, like, choose=all_bands, dated=dated)


def open_images(
    source: Source,
    paths: Sequence[str] | Sequence[tuple[str, ...]],
    like: str = "",
    *,
    choose: Callable[[Sequence[str]], Sequence[str]],
    dated: str = "",
    reach: Callable[[GeoBox], GeoBox] | None = None,
) -> Images:
    """The images at some paths, each with what `source` says of them all; reads headers, and a
    sample of those whose scale no file says. Several paths in one place are those of a mosaic.

    `choose` picks from the bands that all have those to read, or raises. A date that `source` says
    is that of images whose files say none. The grid is that of the raster `like`, or of the first
    image, or what `reach` makes of that: images beside it are left out then, and told of. Raises
    `InputError` where images share no band, lie apart, mean different things by their
    numbers, or lack the date that `dated`, an option or a command, needs.
    """
    if not paths:
        raise InputError("no image was named; name those of several dates, such as a.tif b.tif")
    opened = [_open(source, path) for path in paths]
    common = _common_bands(opened)
    bands = tuple(choose(common))
    grid = read_header(like).geobox if like else opened[0].geobox
    beside: list[str] = []
    if reach is not None:
        grid = reach(grid)
        opened, beside = _leave_out(opened, grid)
    scenes = [_place(calibrate(scene, bands), grid) for scene in opened]
    _check_twice(scenes)
    _check_units(scenes, bands)
    if dated:
        _check_dates(scenes, dated)
    dropped = sorted({name for scene in opened for name in scene.band_names} - {*common})
    notes = [f"{', '.join(dropped)}: not in every image, and left out"] if dropped else []
    notes += [f"{name} shows none of the polygons, and is left out" for name in beside]
    notes += [note for scene in opened for note in scene.notes]
    return Images(tuple(sorted(scenes, key=_order)), bands, tuple(dict.fromkeys(notes)))


def _open(source: Source, path: str | tuple[str, ...]) -> Scene:
    paths = (path,) if isinstance(path, str) else path
    told = source.masks.get(paths)
    alone = (source.unmasked if told else source).model_copy(update={"paths": paths, "date": None})
    scene = alone.open()
    if told:
        if scene.identities() != told.files:
            raise InputError(
                f"{scene.name} was replaced after a model looked for what to leave out of it; "
                "start again, and it looks at what is there now"
            )
        scene = scene.with_mask(told.raster)
    if scene.date or source.date is None:
        return scene
    top, *beneath = scene.acquisitions
    return replace(scene, acquisitions=(replace(top, date=source.date), *beneath))


def _place(scene: Scene, grid: GeoBox) -> Scene:
    if scene.geobox == grid:
        return scene
    images = tuple(place_image(image, grid) for image in scene.acquisitions)
    return replace(scene, geobox=grid, acquisitions=images)


def _leave_out(scenes: Sequence[Scene], grid: GeoBox) -> tuple[list[Scene], list[str]]:
    """The scenes without images that lie beside a grid, and the names of those of which nothing is
    left. `InputError` where that is each."""
    found, beside = [], []
    for scene in scenes:
        near = tuple(
            image
            for image in scene.acquisitions
            if not lies_apart(path := image.bands[0].path, read_header(path).geobox, grid)
        )
        if near:
            found.append(replace(scene, acquisitions=near))
        else:
            beside.append(scene.name)
    if not found:
        raise InputError(
            f"no polygon lies on {beside[0]}, or on another of the {len(beside)} images; check "
            "that both show the same place"
        )
    return found, beside


def _order(scene: Scene) -> tuple[datetime.date, str, str]:
    return scene.date or datetime.date.min, scene.name, scene.bands[0].path


def _common_bands(scenes: Sequence[Scene]) -> tuple[str, ...]:
    first = scenes[0].band_names
    bands = tuple(name for name in first if all(name in scene.band_names for scene in scenes))
    if bands:
        return bands
    other = next(scene for scene in scenes if not {*first} & {*scene.band_names})
    raise InputError(
        f"{scenes[0].name} has {', '.join(first)} and {other.name} {', '.join(other.band_names)}: "
        "no band in common; if they are the same, name them with --bands"
    )


def _check_twice(scenes: Sequence[Scene]) -> None:
    seen = set()
    for scene in scenes:
        place = scene.bands[0].path, scene.bands[0].index
        if place in seen:
            raise InputError(f"{scene.bands[0].path} is given twice; name each image once")
        seen.add(place)


def _check_units(scenes: Sequence[Scene], bands: Sequence[str]) -> None:
    for name in bands:
        units = {scene.band(name).units: scene for scene in scenes}
        if len(units) > 1:
            known, unknown = units["reflectance"], units["dn"]
            raise InputError(
                f"{name} of {known.name} is reflectance and that of {unknown.name} digital numbers "
                "of unknown scale; say how they all scale, for example --scale 0.0001, or write "
                f"it into {unknown.name}: gdal_edit.py -scale 0.0001 FILE"
            )


def _check_dates(scenes: Sequence[Scene], dated: str) -> None:
    for scene in scenes:
        if scene.date is None:
            raise InputError(
                f"nothing says on which day {scene.name} was taken, and {dated} needs to "
                f"know: put the day into its name, such as {scene.name}_2024-06-30.tif, or say it "
                "with --date, which is that of all images without one"
            )
