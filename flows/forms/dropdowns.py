"""What a form lets choose from, where that is known only when the form is made: kinds, models,
scenes, maps."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    TypeAdapter,
)
from pydantic.json_schema import JsonSchemaValue

from flows.errors import INPUT_ERRORS
from flows.forms import choices
from flows.forms.choices import AS_FILE_SAYS, SENSORS
from flows.forms.looking import Looking
from flows.partitions import registry as partitions
from flows.partitions.instances import Instances
from flows.partitions.partition import Partition
from flows.partitions.registry import AnyPartition
from flows.requests import segmenters
from segmentation.registry import AnySegmenter, kinds, segmenter_class
from segmentation.segmenter import FITTED, Segmenter
from segmentation.spectral.indices import catalogue
from tiling.scene.band_names import COMMON_NAMES

M = TypeVar("M", bound=BaseModel)


class OneOf:
    """Shows a list of texts as a choice of some that are known when the form is made."""

    def __init__(self, known: Callable[[], Sequence[str]]) -> None:
        self._known = known

    def __get_pydantic_json_schema__(
        self, core: Any, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(core) | {"items": {"type": "string", "enum": list(self._known())}}


class Listed:
    """Shows a text as one of a list, with what is not in it on a tab of its own; where the list is
    empty, as a text."""

    def __init__(self, known: Callable[[], Sequence[str]], otherwise: str) -> None:
        self._known, self._otherwise = known, otherwise

    def __get_pydantic_json_schema__(
        self, core: Any, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        asked = handler(core)
        if not (known := list(self._known())):
            return asked
        kind = {name: asked.pop(name) for name in ("type", "minLength") if name in asked}
        chosen = {"title": "From the list", "type": "string", "enum": known}
        return asked | {"anyOf": [chosen, kind | {"title": self._otherwise}]}


FOUND = (*FITTED, "measures", "told")
"""Settings of a method that a fit or the products fill in."""


TITLES = {
    **{kind: kind.replace("-", " ").capitalize() for kind in partitions.kinds()},
    **segmenters.KINDS,
    "mask-rcnn": "Mask R-CNN",
}
"""What tabs of methods are called, where it is not the name of their class."""


class _Tabs:
    """Shows a method as a choice of the installed kinds, each with its settings but without what a
    fit fills in."""

    def __init__(self, load: Callable[[], tuple[type[BaseModel], ...]]) -> None:
        self._load = load

    def __get_pydantic_json_schema__(
        self, _: Any, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        kinds = self._load()
        if not kinds:
            return {"type": "object"}
        choice: Any = kinds[0]
        if len(kinds) > 1:
            choice = Annotated[Union[kinds], Field(discriminator="kind")]  # noqa: UP007 - known only now
        schema = handler(TypeAdapter(choice).core_schema)
        tabs = schema.get("oneOf", [schema])
        for alternative in tabs:
            settings = handler.resolve_ref_schema(alternative)
            for name in FOUND:
                settings["properties"].pop(name, None)
            # no field, and yet part of the default that the form sends when nobody touches it
            settings["patternProperties"] = {f"^({'|'.join(FOUND)})$": {"enum": [None, []]}}
            kind = settings["properties"]["kind"]
            kind["enum"] = [kind.pop("const")]  # of a const the form says that it cannot be changed
            kind["title"] = "Method"
            settings["title"] = TITLES.get(kind["enum"][0], settings["title"])
            for one in settings["properties"].values():
                if unit := one.pop("unit", ""):
                    one["description"] = f"{one.get('description', '')} ({unit})".strip()
            if "index" in settings["properties"]:
                settings["properties"]["index"]["enum"] = [*catalogue(), *COMMON_NAMES]
            for name, of in (("bundle", kind["enum"][0]), *MODELS.items()):
                if name in settings["properties"]:
                    _list_models(settings["properties"][name], choices.models(of))
            settings["description"] = " ".join(
                settings.get("description", "").partition("\n\n")[0].split()
            )
        # the classic form knows only this word; of oneOf it shows the JSON
        return {"anyOf": tabs}


MODELS = {"detector": "", "semantic": "", "segmenter": ""}
"""Settings of methods that are models, and of which kind; any where none is said."""


def _list_models(bundle: dict[str, Any], known: Sequence[str]) -> None:
    """Offer models that there are beside the path of another; what may be left out can be empty."""
    if known:
        bundle.pop("type", None)
        empty = [""] if bundle.get("default") == "" else []
        bundle["anyOf"] = [
            {"title": "From the list", "type": "string", "enum": [*empty, *known]},
            {"title": "Another folder", "type": "string"},
        ]


def load_segmenters() -> tuple[type[Segmenter], ...]:
    """The classes of all segmenters that load; one that does not fails with its reason where it is
    asked for."""
    return _load_all(kinds(), segmenter_class)


def load_partitions() -> tuple[type[Partition], ...]:
    """The classes of all kinds of partitions that load."""
    loaded = _load_all(partitions.kinds(), partitions.partition_class)
    return tuple(Looking if one is Instances else one for one in loaded)


def resolve_asked(value: Any) -> Any:
    """A method as a form has it: that of instances may name who looks first."""
    if isinstance(value, dict) and value.get("kind") == "instances":
        return Looking.model_validate(value)
    return value


def _load_all(names: Iterable[str], load: Callable[[str], type[M]]) -> tuple[type[M], ...]:
    loaded = []
    for name in names:
        try:
            loaded.append(load(name))
        except INPUT_ERRORS as mistake:
            logging.getLogger("landweave").warning("%s", mistake)
    return tuple(loaded)


if TYPE_CHECKING:
    Chosen = AnySegmenter
    ChosenPartition = AnyPartition
    Indices = list[str]
    SceneChoice = str
    MapChoice = str
    ComparedChoice = str
    MethodChoice = str
    SensorChoice = str
else:
    Chosen = Annotated[AnySegmenter, _Tabs(load_segmenters)]
    ChosenPartition = Annotated[
        AnyPartition, BeforeValidator(resolve_asked), _Tabs(load_partitions)
    ]
    Indices = Annotated[list[str], Field(min_length=1), OneOf(catalogue)]
    SceneChoice = Annotated[str, Field(min_length=1), Listed(choices.scenes, "Path")]
    MapChoice = Annotated[str, Field(min_length=1), Listed(choices.maps, "Path")]
    ComparedChoice = Annotated[str, Field(min_length=1), Listed(choices.compared, "Path")]
    MethodChoice = Annotated[str, Field(min_length=1), Listed(choices.methods, "Folder of a model")]
    SensorChoice = Annotated[str, Field(json_schema_extra={"enum": [AS_FILE_SAYS, *SENSORS]})]

Text = Annotated[str, Field(min_length=1)]
Paths = Annotated[list[str], Field(min_length=1)]
