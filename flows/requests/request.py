"""What was asked for: one frozen value that the command line, the Prefect form and Python all make."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from reprlib import Repr
from typing import Annotated, Any, Literal, TypeVar, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flows.requests.access import reach_of_forms
from flows.settings import nearest, read_settings
from flows.stac.search import Search, find
from flows.storage.remote import Place
from segmentation.models.bundle import load, names
from segmentation.models.weights import refuse_checkpoint
from segmentation.registry import AnySegmenter, kinds, segmenter_class
from segmentation.segmenter import Measure, Segmenter
from segmentation.segmenter import settings as settings_of_kind
from tiling.errors import Mistake
from tiling.io.access import check_reach
from tiling.regions.adjacency import Rule
from tiling.scene.from_files import open_scene
from tiling.scene.from_stac import Wishes, open_items
from tiling.scene.scene import Scene
from tiling.scene.stac_item import Item, is_item, read_items

Product = Literal["classes", "confidence", "vectors", "probabilities", "entropy", "margin"]
PRODUCTS: tuple[Product, ...] = ("classes", "confidence", "vectors")
"""What is made unless someone says otherwise."""

Preflight = Literal["refuse", "warn"]

SMALLEST = 4
"""Pixels of the smallest region that the products show unless someone says otherwise."""


class Source(BaseModel):
    """A scene as a person names it: files, and what the files themselves do not say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    paths: Annotated[
        tuple[str, ...], Field(description="One raster, its single-band files, or STAC items; none where one searches.")
    ] = ()
    search: Annotated[Search | None, Field(description="What to look for in a STAC catalogue.")] = None
    bbox: Annotated[
        tuple[float, float, float, float] | None,
        Field(description="West, south, east, north in degrees: where a scene of STAC items ends."),
    ] = None
    assets: Annotated[
        tuple[str, ...], Field(description="Bands, or keys of assets, of STAC items to read; none means all.")
    ] = ()
    bands: Annotated[dict[str, int], Field(description="Band name to band number, where the file does not say.")] = {}
    nodata: Annotated[float | None, Field(description="Pixel value that means no data.")] = None
    scale: Annotated[
        float | None, Field(gt=0, allow_inf_nan=False, description="Reflectance = pixel × scale + offset.")
    ] = None
    offset: Annotated[float | None, Field(allow_inf_nan=False, description="Reflectance = pixel × scale + offset.")] = (
        None
    )
    mask: Annotated[
        str,
        Field(
            description="band=N or a raster whose values mark pixels to leave out. Of STAC items also an asset's key, "
            "or none; the asset that tells clouds by default."
        ),
    ] = ""
    mask_values: Annotated[tuple[int, ...], Field(description="Mask values to leave out; none means all but 0.")] = ()
    mask_bits: Annotated[
        tuple[Annotated[int, Field(ge=0, le=31)], ...],
        Field(description="Bits of the mask that leave a pixel out where one is set, counted from 0."),
    ] = ()
    date: Annotated[datetime.date | None, Field(description="Day of the image.")] = None

    def open(self) -> Scene:
        """The scene, checked: every mistake a header or a catalogue can show is raised here."""
        if self.search is not None or any(map(is_item, self.paths)):
            return open_items(self.items(), self._wishes)
        if not self.paths:
            raise Mistake("no scene was given; name a raster or a STAC item, or search for some with --stac")
        for option, given in (("--bbox", self.bbox), ("--assets", self.assets)):
            if given:
                raise Mistake(f"{option} is for STAC items; bound the products of a raster with --aoi")
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
                    raise Mistake(f"{path} stands among STAC items; give items alone, or the rasters themselves")
            return [item for path in self.paths for item in read_items(path)]
        if self.paths:
            raise Mistake(f"{self.paths[0]} and a search: give a scene, or what to look for in --stac")
        return find(self.search, self.bbox)

    @property
    def _wishes(self) -> Wishes:
        """What is said of the items, in the words of `open_items`."""
        return Wishes(
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


class Request(BaseModel):
    """One run: a source, a segmenter, an output folder, and what to make of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Source
    out: Place
    segmenter: AnySegmenter
    aoi: Annotated[str, Field(description="Vector file whose polygons bound the products.")] = ""
    shard: Annotated[int, Field(ge=1, description="Target length of a shard in pixels; changes no result.")] = 2048
    products: tuple[Product, ...] = PRODUCTS
    min_area: Annotated[
        float | None,
        Field(ge=0, allow_inf_nan=False, description="Smallest region the products show, in m²; 0 shows every pixel."),
    ] = None
    """None is four pixels (`SMALLEST`): nobody's map shows less."""
    min_area_rule: Annotated[Rule, Field(description="Which neighbour absorbs a smaller region.")] = "longest-border"
    indices: Annotated[tuple[str, ...], Field(description="Indices whose mean each polygon gets.")] = ()
    simplify: Annotated[
        float | None,
        Field(ge=0, allow_inf_nan=False, description="How far boundaries may move, in m; 0 keeps the pixels' outline."),
    ] = None
    """None is 0.75 pixel: the staircase goes, the shapes stay."""
    smooth: Annotated[int, Field(ge=0, le=5, description="How often the corners of boundaries are cut.")] = 0
    reference: Annotated[str, Field(description="Class raster to compare the map with.")] = ""
    preflight: Annotated[
        Preflight, Field(description="What to do where a scene's pixels are not what the model was trained on.")
    ] = "refuse"
    licence: Annotated[
        str, Field(description="Under which others may use the products: an SPDX identifier or a sentence.")
    ] = ""
    fresh: Annotated[bool, Field(description="Compute everything again, reuse no part.")] = False


def measures_among(products: Sequence[Product]) -> tuple[Measure, ...]:
    """What a segmenter has to say beside labels and confidence, always in the same order."""
    return tuple(name for name in get_args(Measure) if name in products)


def segmenter_from(kind: str, settings: Mapping[str, Any]) -> Segmenter:
    """A segmenter by kind and settings; `Mistake` in one line where they do not fit."""
    if kind not in kinds():
        models = ", ".join(names())
        raise Mistake(
            f"there is no segmenter {kind!r}; installed are {', '.join(kinds())}, and the model {models}"
            + nearest(kind, (*kinds(), *names()))
        )
    chosen = segmenter_class(kind)
    try:
        return chosen.model_validate({"kind": kind, **settings})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        fields = settings_of_kind(chosen)
        if first["type"] == "extra_forbidden":
            close = nearest(name, fields) or ";"
            raise Mistake(
                f"segmenter {kind} has no setting {name}{close} its settings are {', '.join(fields)}"
            ) from error
        if first["type"] == "missing":
            raise Mistake(f"segmenter {kind} needs {name}; say so with --set {name}=…") from error
        said = f"{name}={_shown(first['input'])}: " if name else ""
        raise Mistake(
            f"segmenter {kind}: {said}{first['msg']}; `landweave segmenters {kind}` explains its settings"
        ) from error


def choose_segmenter(name: str, settings: Mapping[str, Any]) -> Segmenter:
    """The segmenter a person named: a kind, a model (name, folder, id), or a YAML file; settings are laid over it."""
    if name.startswith("hf://"):
        from segmentation.models.hub import fetched

        name = str(fetched(name))
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        loaded = read_settings(path, "kind: rules")
        if "kind" not in loaded:
            raise Mistake(f"{name} must be a mapping with a kind, for example kind: rules")
        kind = str(loaded.pop("kind"))
        return segmenter_from(kind, {**loaded, **settings})
    if name in names() or path.is_dir():
        return segmenter_from(load(name).card.model.kind, {"bundle": name, **settings})
    refuse_checkpoint(path)
    return segmenter_from(name, settings)


Model = TypeVar("Model", bound=BaseModel)


def checked(model: type[Model], **values: Any) -> Model:
    """A request or a part of one; `Mistake` in one line where a value does not fit."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
            close = nearest(name, model.model_fields) or ";"
            raise Mistake(f"there is no setting {name}{close} there are {', '.join(model.model_fields)}") from error
        raise Mistake(f"{name}: {first['msg']}, not {_shown(first['input'])}") from error


def _shown(value: Any) -> str:
    """A value as Python writes it, cut short: a list of lists of lists would fill the memory before the terminal."""
    short = Repr()
    short.maxstring = short.maxother = 200
    return short.repr(value)


def check_machines(name: str) -> None:
    """Raise `Mistake` where a form names a cluster that only whoever runs the server may choose.

    What a scheduler sends is unpickled by whoever asked it, and a class of any name is code of any kind.
    """
    if "://" in name:
        host = urlsplit(name).hostname or ""
        if host not in ("127.0.0.1", "::1", "localhost", *(reach_of_forms().hosts or ())):
            raise Mistake(
                f"{name}: this server asks no scheduler on {host or 'no host'}; whoever runs it can add the host to "
                "LANDWEAVE_ALLOWED_HOSTS, or set LANDWEAVE_CLUSTER"
            )
    elif "." in name:
        raise Mistake(f"{name}: a form names local, cuda, slurm, kubernetes, gateway or a scheduler's address")


def check_places(request: Request) -> None:
    """Raise `Mistake` where a request names a place out of reach that no reader would stumble on before work starts."""
    named = (*request.source.paths, request.source.mask, request.aoi, request.reference, request.out)
    for path in filter(None, map(str, named)):  # an empty one is none at all
        name, equals, rest = path.partition("=")
        check_reach(rest if equals and name.replace(".", "_").isidentifier() else path)
    bundle = getattr(request.segmenter, "bundle", None)
    if bundle is not None and bundle not in names():
        check_reach(str(bundle))


def words(texts: str | Iterable[str]) -> tuple[str, ...]:
    """What a person listed: between commas, in several options, or both."""
    listed = [texts] if isinstance(texts, str) else texts
    return tuple(filter(None, (word.strip() for text in listed for word in text.split(","))))


def pairs(option: str, texts: str | Iterable[str], kind: Callable[[str], Any]) -> Iterator[tuple[str, Any]]:
    """The entries of NAME=VALUE,NAME=VALUE, in one text or several; no name stands for two."""
    seen: dict[str, str] = {}
    for entry in words(texts):
        name, equals, value = (part.strip() for part in entry.partition("="))
        if not equals:
            raise Mistake(f"{option} {entry} is no NAME=VALUE; write for example {option} red=1,green=2")
        if name in seen:
            raise Mistake(f"{option} {seen[name]},{entry} says two things of {name}; leave one out")
        seen[name] = entry
        yield name, number(option, value, kind)


def number(option: str, text: str, kind: Callable[[str], Any]) -> Any:
    """One number a person typed."""
    try:
        return kind(text.strip())
    except ValueError as error:
        raise Mistake(f"{option}: {_shown(text.strip())} is no number") from error
