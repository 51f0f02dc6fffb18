"""Images of a catalogue as one scene: the rasters of STAC items on one grid, each pixel from the
first that has it."""

from __future__ import annotations

import datetime
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from tiling.errors import InputError
from tiling.grid.geobox import Bounds, bounds_in, bounds_of, extend_to, finest, window_on
from tiling.grid.window import Window
from tiling.io.access import is_there
from tiling.scene.acquisition import Acquisition, Band, band_on, mask_on
from tiling.scene.band_names import common_name
from tiling.scene.file_bands import alpha_band, bands_by_number, bands_in_file
from tiling.scene.header import Header, read_header
from tiling.scene.masks import MASKS, MaskRule
from tiling.scene.scene import Scene
from tiling.scene.stac_item import Asset, BandMetadata, Item, mask_kind

DEGREES = CRS("EPSG:4326")

MOST_PIXELS = 2**38
"""Of a mosaic's grid: as many as one file may declare."""


class _Pick(NamedTuple):
    """A band of an item, chosen to be one of the scene."""

    name: str
    asset: Asset
    number: int
    """Of the band in its file, from 1."""
    said: BandMetadata


@dataclass(frozen=True)
class StacOptions:
    """What a person says of items' bands and masks; it goes before what items and files say."""

    bands: Mapping[str, int] | None = None
    """Numbers of bands, where an item has one raster."""
    nodata: float | None = None
    scale: float | None = None
    offset: float | None = None
    mask: str = ""
    """Key of an asset, path of a raster, or "none"; nothing means the asset that tells clouds, if
    there is one."""
    mask_values: tuple[int, ...] = ()
    mask_bits: tuple[int, ...] = ()
    date: datetime.date | None = None
    bbox: Bounds | None = None
    """West, south, east, north in degrees: the scene ends there."""
    assets: tuple[str, ...] = ()
    """Names of the bands, or keys of the assets, to open; nothing means all that have a common
    name."""


NO_WISHES = StacOptions()


def open_items(items: Sequence[Item], wishes: StacOptions = NO_WISHES) -> Scene:
    """The scene of one item, or the mosaic of several: each pixel from the first item that has it
    with all its bands.

    Reads headers only. A mosaic has the bands that all its items have, on the finest grid in the
    CRS of most; it is as large as they are together, or as `bbox`. Raises `InputError` for
    everything items and headers can show to be wrong.
    """
    picked = [_picks(item, wishes) for item in items]
    if not items:
        raise InputError("no item was given; name one, for example item.json")
    common = [
        pick.name
        for pick in picked[0]
        if all(any(p.name == pick.name for p in other) for other in picked)
    ]
    if not common:
        told = "; ".join(
            f"{item.id}: {', '.join(p.name for p in picks)}"
            for item, picks in zip(items, picked, strict=True)
        )
        raise InputError(
            f"these items have no band in common ({told}); search one collection at a time"
        )
    picked = [[next(p for p in picks if p.name == name) for name in common] for picks in picked]
    files = [
        [_file(item, pick) for pick in picks] for item, picks in zip(items, picked, strict=True)
    ]
    grid = _grid([[file.geobox for file in each] for each in files], wishes.bbox)
    images = [
        _acquisition(item, list(zip(picks, each, strict=True)), grid, extent, wishes)
        for item, picks, each in zip(items, picked, files, strict=True)
        if (extent := reduce(or_, (window_on(grid, file.geobox) for file in each)))
    ]
    _check_alike(images)
    top, *beneath = images
    return Scene(grid, (replace(top, date=wishes.date or top.date), *beneath))


def _picks(item: Item, wishes: StacOptions) -> list[_Pick]:
    """The bands of an item, each from the asset that holds it best."""
    assets = [asset for asset in item.assets if mask_kind(asset) is None]
    if not assets:
        raise InputError(
            f"{item.place}: {item.id} has no asset that is a raster; give an item of imagery"
        )
    best: dict[str, _Pick] = {}
    for asset in sorted(assets, key=lambda asset: asset.rank):
        for number, said in enumerate(asset.bands, 1):
            if name := _name(said, item.sensor):
                best.setdefault(name, _Pick(name, asset, number, said))
    picks = sorted(best.values(), key=lambda pick: (assets.index(pick.asset), pick.number))
    if wishes.bands or not picks:
        if len(assets) > 1:
            keys = ", ".join(asset.key for asset in assets)
            what = (
                "--bands numbers the bands of one raster"
                if wishes.bands
                else "nothing tells which asset is which band"
            )
            raise InputError(
                f"{item.place}: {what}, and {item.id} has the assets {keys}; give their files: "
                "red=PATH …"
            )
        (asset,) = assets
        file = read_header(asset.href)
        numbers = bands_by_number(file, wishes.bands) if wishes.bands else bands_in_file(file)
        each = asset.bands if len(asset.bands) == file.count else asset.bands[:1] * file.count
        picks = [_Pick(name, asset, number, each[number - 1]) for name, number in numbers]
    return _select_picks(item, picks, wishes.assets)


def _select_picks(item: Item, picks: list[_Pick], wished: Sequence[str]) -> list[_Pick]:
    """The bands that a person wants; `InputError` where an item lacks one."""
    known = {pick.name for pick in picks} | {pick.asset.key for pick in picks}
    for word in wished:
        if (common_name(word, item.sensor) or word) not in known and word not in known:
            raise InputError(
                f"{item.id} has no band {word}; it has {', '.join(pick.name for pick in picks)}"
            )
    names = {*wished, *(common_name(word, item.sensor) for word in wished)}
    return [pick for pick in picks if not wished or names & {pick.name, pick.asset.key}]


def _name(said: BandMetadata, sensor: str | None) -> str | None:
    """The common name of a band. What catalogues call rededge may be one of four bands, whose code
    says which."""
    known = [name for text in said.texts if (name := common_name(text, sensor))]
    return next((name for name in known if name != "rededge"), known[0] if known else None)


def _file(item: Item, pick: _Pick) -> Header:
    file = read_header(pick.asset.href)
    if pick.number > file.count or (
        len(pick.asset.bands) > 1 and len(pick.asset.bands) != file.count
    ):
        raise InputError(
            f"{item.place}: {item.id} says that {pick.asset.key} has {len(pick.asset.bands)} "
            "bands, and "
            f"{file.path} holds {file.count}; correct the item"
        )
    return file


def _grid(grids: Sequence[Sequence[GeoBox]], bbox: Bounds | None) -> GeoBox:
    """The grid of a scene made of items with these files."""
    own = [finest(each) for each in grids]
    if len(own) == 1 and bbox is None:
        return own[0]
    crs = Counter(box.crs for box in own).most_common(1)[0][0]
    anchor = finest([box for box in own if box.crs == crs])
    west, south, east, north = zip(
        *(bounds_in(crs, bounds_of(box), box.crs) for box in own), strict=True
    )
    bounds = min(west), min(south), max(east), max(north)
    if bbox is not None:
        asked = bounds_in(crs, bbox, DEGREES)
        bounds = (
            max(bounds[0], asked[0]),
            max(bounds[1], asked[1]),
            min(bounds[2], asked[2]),
            min(bounds[3], asked[3]),
        )
        if not (bounds[0] < bounds[2] and bounds[1] < bounds[3]):
            raise InputError(
                f"--bbox {','.join(f'{v:g}' for v in bbox)} lies beside the rasters that were "
                "found; check it"
            )
    if not all(map(math.isfinite, bounds)):
        raise InputError(f"these items do not lie on one map in {crs}; bound the scene with --bbox")
    grid = extend_to(anchor, bounds)
    if grid.height * grid.width > MOST_PIXELS:
        raise InputError(
            f"these items make a mosaic of {grid.width:,} × {grid.height:,} pixels, more than one "
            "scene may have; "
            "bound it with --bbox"
        )
    return grid


def _acquisition(
    item: Item,
    picked: Sequence[tuple[_Pick, Header]],
    grid: GeoBox,
    extent: Window,
    wishes: StacOptions,
) -> Acquisition:
    """One item on the scene's grid."""
    indexes: dict[str, list[int]] = {}
    for pick, file in picked:
        indexes.setdefault(file.place, []).append(pick.number)
    mask = None
    if found := _mask_of(item, wishes):
        href, hidden = found
        mask = mask_on(grid, _single(href), 1, *hidden)
    whole = Window.of_shape(*grid.shape)
    return Acquisition(
        name=item.id,
        bands=tuple(
            _band(grid, pick, file, alpha_band(file, indexes[file.place]), wishes)
            for pick, file in picked
        ),
        mask=mask,
        date=item.date,
        extent=None if extent == whole else extent,
        footprint=item.footprint,
        origin=item.place,
    )


def _band(grid: GeoBox, pick: _Pick, file: Header, alpha: int | None, wishes: StacOptions) -> Band:
    """A band as its file, its item and a person say, from the least to the last word."""
    at, said = pick.number - 1, pick.said
    nodata = said.nodata if wishes.nodata is None and file.nodata[at] is None else wishes.nodata
    scale, offset = wishes.scale, wishes.offset
    declared = file.scales[at] != 1 or file.offsets[at] != 0
    claim = (1.0 if said.scale is None else said.scale), (said.offset or 0.0)
    claimed = scale is None and offset is None and not declared and claim != (1.0, 0.0)
    if claimed:
        scale, offset = claim
    return replace(
        band_on(grid, pick.name, file, pick.number, alpha, nodata, scale, offset), claimed=claimed
    )


def _mask_of(item: Item, wishes: StacOptions) -> tuple[str, MaskRule] | None:
    """The raster that hides pixels of an item, and what it hides."""
    given = MaskRule(wishes.mask_values, wishes.mask_bits)
    if wishes.mask == "none":
        return None
    if wishes.mask:
        for asset in item.assets:
            if asset.key == wishes.mask:
                return asset.href, given if any(given) else MASKS.get(
                    mask_kind(asset) or "", MaskRule()
                )
        if "://" not in wishes.mask and not is_there(wishes.mask):
            keys = ", ".join(asset.key for asset in item.assets)
            raise InputError(
                f"--mask {wishes.mask} is no file and no asset of {item.id}, which has {keys}"
            )
        return wishes.mask, given
    masks = sorted(
        (asset for asset in item.assets if mask_kind(asset)), key=lambda asset: asset.rank
    )
    if not masks:
        return None
    return masks[0].href, given if any(given) else MASKS[str(mask_kind(masks[0]))]


def _single(href: str) -> Header:
    file = read_header(href)
    if file.count > 1:
        raise InputError(
            f"{href} holds {file.count} bands where a mask has one; leave it out with --mask none"
        )
    return file


def _check_alike(images: Sequence[Acquisition]) -> None:
    """Refuse items whose numbers mean different things: one chip has one scale for each band."""
    first = images[0]
    for other in images[1:]:
        for one, two in zip(first.bands, other.bands, strict=True):
            here, there = (f"{b.dtype} × {b.scale:g} {b.offset:+g} ({b.units})" for b in (one, two))
            if here != there:
                raise InputError(
                    f"{one.name} is {here} in {first.name} and {there} in {other.name}, which "
                    "makes no mosaic; narrow "
                    "the dates, or say what holds for all with --scale and --offset"
                )


def coverage_of(scene: Scene, area: Any) -> float:
    """The part, 0–1, of an area in the scene's CRS that its footprints cover; an image without one
    covers its extent."""
    import shapely

    shapes = [_outline(scene, image) for image in scene.acquisitions]
    return float(shapely.union_all(shapes).intersection(area).area / area.area)


def _outline(scene: Scene, image: Acquisition) -> Any:
    import shapely

    if not image.footprint:
        window = image.extent or scene.window
        west, north = scene.transform @ (window.col, window.row)
        east, south = scene.transform @ (window.col_stop, window.row_stop)
        return shapely.box(min(west, east), min(south, north), max(west, east), max(south, north))
    to_scene = Transformer.from_crs(DEGREES, scene.crs, always_xy=True)

    def moved(xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.stack(to_scene.transform(*xy.T), axis=1)

    return shapely.make_valid(
        shapely.transform(shapely.segmentize(shapely.from_wkt(image.footprint), 0.01), moved)
    )
