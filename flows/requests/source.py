"""Where a scene comes from: files, items, or a search, and what they do not say themselves."""

from __future__ import annotations

import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from flows.stac.query import Search
from flows.stac.search import find
from tiling.errors import InputError
from tiling.scene.from_files import open_scene
from tiling.scene.from_stac import StacOptions, open_items
from tiling.scene.scene import Scene
from tiling.scene.stac_item import Item, is_item, read_items


class Source(BaseModel):
    """A scene as a person names it: files, and what the files themselves do not say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    paths: Annotated[
        tuple[str, ...],
        Field(
            description="One raster, its single-band files, or STAC items; none where one searches."
        ),
    ] = ()
    search: Annotated[Search | None, Field(description="What to look for in a STAC catalogue.")] = (
        None
    )
    bbox: Annotated[
        tuple[float, float, float, float] | None,
        Field(description="West, south, east, north in degrees: where a scene of STAC items ends."),
    ] = None
    assets: Annotated[
        tuple[str, ...],
        Field(description="Bands, or keys of assets, of STAC items to read; none means all."),
    ] = ()
    bands: Annotated[
        dict[str, int], Field(description="Band name to band number, where the file does not say.")
    ] = {}
    nodata: Annotated[float | None, Field(description="Pixel value that means no data.")] = None
    scale: Annotated[
        float | None,
        Field(gt=0, allow_inf_nan=False, description="Reflectance = pixel × scale + offset."),
    ] = None
    offset: Annotated[
        float | None,
        Field(allow_inf_nan=False, description="Reflectance = pixel × scale + offset."),
    ] = None
    mask: Annotated[
        str,
        Field(
            description="band=N or a raster whose values mark pixels to leave out. Of STAC items "
            "also an asset's key, "
            "or none; the asset that tells clouds by default."
        ),
    ] = ""
    mask_values: Annotated[
        tuple[int, ...], Field(description="Mask values to leave out; none means all but 0.")
    ] = ()
    mask_bits: Annotated[
        tuple[Annotated[int, Field(ge=0, le=31)], ...],
        Field(
            description="Bits of the mask that leave a pixel out where one is set, counted from 0."
        ),
    ] = ()
    date: Annotated[datetime.date | None, Field(description="Day of the image.")] = None

    def open(self) -> Scene:
        """The scene, checked: every mistake a header or a catalogue can show is raised here."""
        if self.search is not None or any(map(is_item, self.paths)):
            return open_items(self.items(), self._wishes)
        if not self.paths:
            raise InputError(
                "no scene was given; name a raster or a STAC item, or search for some with --stac"
            )
        for option, given in (("--bbox", self.bbox), ("--assets", self.assets)):
            if given:
                raise InputError(
                    f"{option} is for STAC items; bound the products of a raster with --aoi"
                )
        return open_scene(
            self.paths,
            bands=self.bands or None,
            nodata=self.nodata,
            scale=self.scale,
            offset=self.offset,
            mask=self.mask or None,
            mask_values=self.mask_values,
            mask_bits=self.mask_bits,
            date=self.date,
        )

    def items(self) -> list[Item]:
        """The STAC items that are named or found, the uppermost first."""
        if self.search is None:
            for path in self.paths:
                if not is_item(path):
                    raise InputError(
                        f"{path} stands among STAC items; give items alone, or the rasters "
                        "themselves"
                    )
            return [item for path in self.paths for item in read_items(path)]
        if self.paths:
            raise InputError(
                f"{self.paths[0]} and a search: give a scene, or what to look for in --stac"
            )
        return find(self.search, self.bbox)

    @property
    def _wishes(self) -> StacOptions:
        """What is said of the items, in the words of `open_items`."""
        return StacOptions(
            bands=self.bands,
            nodata=self.nodata,
            scale=self.scale,
            offset=self.offset,
            mask=self.mask,
            mask_values=self.mask_values,
            mask_bits=self.mask_bits,
            date=self.date,
            bbox=self.bbox,
            assets=self.assets,
        )
