"""Where a scene comes from: files, items, or a search, and what they do not say themselves; or a
drawing; and images of several dates."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from flows.parsing import words
from flows.setting import DATES, SCENE, SEARCH, Part, Setting
from flows.stac.query import Search
from tiling.errors import InputError

if TYPE_CHECKING:
    from tiling.scene.acquisition import Mask
    from tiling.scene.from_stac import StacOptions
    from tiling.scene.scene import Scene
    from tiling.scene.stac_item import Item


MODEL = "model:"
"""What a mask begins with that is the name or folder of a model."""


class MaskModel(NamedTuple):
    """A model by which pixels are left out, as a person names it."""

    name: str
    classes: tuple[str, ...] = ()
    """Names of the classes to leave out; none stand for clouds and their shadows."""


class MadeMask(NamedTuple):
    """What a model said of an image, and of which content of its files."""

    raster: Mask
    files: Sequence[Mapping[str, Any]]
    """Path, size and time of change, or ETag, of each file when the model looked."""


class Source(BaseModel):
    """A scene as a person names it: files, and what the files themselves do not say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    paths: Annotated[
        tuple[str, ...],
        Field(
            title="Scene",
            description="A raster, its single-band files (also blue=PATH), or STAC items "
            "(item.json); none with "
            "--stac.",
        ),
        Setting(argument=True, metavar="SCENE…", form=None),
    ] = ()
    bands: Annotated[
        dict[str, int],
        Field(
            title="Band names", description="What each band is, such as blue=1,green=2,red=3,nir=4."
        ),
        Setting(SCENE, metavar="NAME=N,…", form="names", unset="the names in the file"),
    ] = {}
    nodata: Annotated[
        float | None,
        Field(title="No data", description="Pixel value that means no data."),
        Setting(SCENE, metavar="V", form="no_data", unset="what the file declares"),
    ] = None
    scale: Annotated[
        float | None,
        Field(
            gt=0,
            allow_inf_nan=False,
            title="Scale",
            description="Reflectance = pixel × scale + offset.",
        ),
        Setting(SCENE, metavar="S", unset="found in the file"),
    ] = None
    offset: Annotated[
        float | None,
        Field(
            allow_inf_nan=False, title="Offset", description="Reflectance = pixel × scale + offset."
        ),
        Setting(SCENE, metavar="O", unset="found in the file"),
    ] = None
    mask: Annotated[
        str,
        Field(
            title="Mask",
            description="What marks clouds and other pixels to leave out: band=5 for a band of "
            "the scene, or the path "
            "of a raster; of STAC items an asset, or none; model:NAME runs that model first and "
            "leaves out its clouds and shadows (model:NAME=CLASS,… other classes).",
        ),
        Setting(
            SCENE,
            metavar="band=N|FILE|model:NAME",
            path=True,
            unset="none, or the cloud mask of STAC items",
        ),
    ] = ""
    mask_values: Annotated[
        tuple[int, ...],
        Field(title="Mask values", description="Values of the mask to leave out."),
        Setting(SCENE, metavar="V,…", unset="everything but 0"),
    ] = ()
    mask_bits: Annotated[
        tuple[Annotated[int, Field(ge=0, le=31)], ...],
        Field(
            title="Mask bits",
            description="Bits of the mask, counted from 0, that leave a pixel out where one is "
            "set, such as 3,4 of "
            "Landsat's QA_PIXEL.",
        ),
        Setting(SCENE, metavar="N,…"),
    ] = ()
    mask_grow: Annotated[
        int,
        Field(
            ge=0,
            le=500,
            exclude_if=lambda grow: grow == 0,
            title="Mask margin",
            description="Pixels around what a model of clouds leaves out that are left out too.",
        ),
        Setting(SCENE, metavar="PX"),
    ] = 0
    date: Annotated[
        datetime.date | None,
        Field(
            title="Date",
            description="Day of the image, such as 2024-06-30; of many scenes, of those that say "
            "none.",
        ),
        Setting(SCENE, metavar="YYYY-MM-DD", unset="what the file says"),
    ] = None
    windows: Annotated[
        dict[str, str],
        Field(
            title="Windows of time",
            description="Make the scene of many dated images: each window, such as "
            "early=2024-04/2024-05, is a composite of those in it, and its bands are early.red and "
            "so on.",
        ),
        Setting(
            SCENE, option="--window", metavar="NAME=FROM/TO", form=None, typed="Repeat it for each."
        ),
    ] = {}
    window_method: Annotated[
        str,
        Field(
            title="Composite of a window",
            description="What a pixel becomes of its valid dates in a window.",
        ),
        Setting(SCENE, metavar="METHOD", form=None),
    ] = "median"
    search: Annotated[Search | None, Field(description="What to look for in a STAC catalogue.")] = (
        None
    )
    bbox: Annotated[
        tuple[float, float, float, float] | None,
        Field(
            title="Bounds",
            description="West, south, east and north in degrees, such as 9.1,46,9.6,46.4, of the "
            "search and of each "
            "map of STAC items.",
        ),
        Setting(SEARCH, metavar="W,S,E,N", form="bounds", unset="the area of interest is searched"),
    ] = None
    assets: Annotated[
        tuple[str, ...],
        Field(title="Assets", description="Bands, or keys of assets, of STAC items to read."),
        Setting(SEARCH, metavar="NAME,…", form=None, unset="all"),
    ] = ()

    _composites: tuple[str, ...] = PrivateAttr(())
    _masks: Mapping[tuple[str, ...], Any] = PrivateAttr({})
    _notes: tuple[str, ...] = PrivateAttr(())

    @property
    def composites(self) -> tuple[str, ...]:
        """What windows of time became, each as `NAME=FILE`; none before they are made."""
        return self._composites

    def with_composites(self, files: Sequence[str]) -> Source:
        """The same, with what its windows of time became: it opens as a scene of these files, and
        is still told by the images and windows that a person named."""
        made = self.model_copy()
        made._composites = tuple(files)
        return made

    @property
    def masks(self) -> Mapping[tuple[str, ...], MadeMask]:
        """What a model said of each image of several dates, by the paths of the image; empty before
        it looked."""
        return self._masks

    def with_masks(self, masks: Mapping[tuple[str, ...], MadeMask]) -> Source:
        """The same, with what a model said of each image of several dates."""
        made = self.model_copy()
        made._masks = masks
        return made

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known of what was made for the scene before it is opened, such as masks."""
        return self._notes

    def with_notes(self, notes: Sequence[str]) -> Source:
        """The same with more to be known, which its scene tells too."""
        made = self.model_copy()
        made._notes = tuple(dict.fromkeys((*self.notes, *notes)))
        return made

    def open(self) -> Scene:
        """The scene, checked: every mistake a header or a catalogue can show is raised here."""
        scene = self._open()
        if not self.notes:
            return scene
        return replace(scene, notes=tuple(dict.fromkeys((*scene.notes, *self.notes))))

    def _open(self) -> Scene:
        from tiling.scene.from_files import open_scene
        from tiling.scene.from_stac import open_items
        from tiling.scene.stac_item import is_item

        if self.composites:
            return open_scene(self.composites)
        if self.windows:
            raise InputError(
                "--window makes composites first, which segment, plan, objects, index and train "
                "do; here make each with landweave composite, and name them as early=FILE late=FILE"
            )
        if self.has_model:
            raise InputError(
                f"--mask {self.mask} runs a model first, which is not done here; make the mask "
                f"with landweave segment --segmenter {self.mask[len(MODEL) :]} --min-area 0, and "
                "name its classes.tif and the --mask-values to leave out"
            )
        if self.mask_grow:
            raise InputError(
                f"--mask-grow {self.mask_grow} is for masks that a model makes, {MODEL}NAME; leave "
                "it out"
            )
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

    @property
    def has_model(self) -> bool:
        """Whether a model tells the pixels to leave out, which has to run first: composites of
        windows of time have left them out."""
        return self.mask.startswith(MODEL) and not self.composites

    @property
    def mask_model(self) -> MaskModel:
        """The model in `model:NAME` or `model:NAME=CLASS,CLASS`; a folder that exists may hold
        `=`."""
        text = self.mask.removeprefix(MODEL)
        name, _, classes = (text, "", "") if Path(text).is_dir() else text.rpartition("=")
        return MaskModel(name, words(classes)) if name else MaskModel(text)

    @property
    def unmasked(self) -> Source:
        """This scene with all its pixels, where a model tells those to leave out; else as it is."""
        if not self.has_model:
            return self
        plain = {"mask": "none", "mask_values": (), "mask_bits": (), "mask_grow": 0}
        return self.model_copy(update=plain)

    def items(self) -> list[Item]:
        """The STAC items that are named or found, the uppermost first."""
        from flows.stac.search import find
        from tiling.scene.stac_item import is_item, read_items

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
        """Bands, masks and scale that a person states for STAC items, for `open_items`."""
        from tiling.scene.from_stac import StacOptions

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


class DatedImages(BaseModel):
    """Images of one place and different dates, and the grid that they are put on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scenes: Annotated[
        tuple[str, ...],
        Field(
            title="Images",
            description="Rasters, folders of single-band files, or STAC items; one for each date.",
        ),
        Setting(argument=True, metavar="SCENE…", form=None),
    ]
    like: Annotated[
        str,
        Field(title="Grid", description="Raster on whose grid the images are put."),
        Setting(DATES, metavar="FILE", path=True, unset="that of the first image"),
    ] = ""
    source: Annotated[
        Source,
        Part(
            without=("paths", "search", "bbox", "assets", "windows", "window_method"),
            other={
                "date": {"description": "Day of the images whose files say none, as 2024-06-30."}
            },
        ),
    ] = Source()


class DrawnScene(BaseModel):
    """A landscape that is made up, and the folder for its scene, its truth and its map."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: Annotated[
        Path,
        Field(title="Output folder", description="Folder of the products; made if need be."),
        Setting(option="--out -o", metavar="DIR", form=None, disk=True),
    ] = Path("demo-run")
    size: Annotated[
        int,
        Field(
            ge=64,
            le=10**6,
            title="Size",
            description="Width and height of the scene in pixels of 10 m.",
        ),
        Setting(metavar="PX"),
    ] = 4096
    seed: Annotated[
        int, Field(ge=0, title="Seed", description="Which landscape."), Setting(metavar="N")
    ] = 0
    fresh: Annotated[
        bool,
        Field(title="Start afresh", description="Replace whatever run the folder holds."),
        Setting(form=None),
    ] = False
