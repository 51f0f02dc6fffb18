"""A setting is described once, on its field of a request; options, forms, command lines and the
reference read it here.

A field says its title, description, bounds and default as pydantic has them, and with a `Setting`
what is left: where it stands and how it is typed. A field without one is set in Python alone. A
field that is a model holds its settings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Self, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from flows.parsing import number, pairs, settings_of, validate, words
from tiling.errors import InputError

Model = TypeVar("Model", bound=BaseModel)
Key = tuple[type[BaseModel], str]
"""A field of a request."""

SCENE = "What the files of a scene do not say"
SEARCH = "Images from a STAC catalogue"
METHOD = "How land is told apart"
REGIONS = "How regions are made"
PRODUCTS = "What comes out"
WORK = "Where the work is done"
WATCHED = "What is watched, and what counts"
COMPARED = "What is compared"
CHANGES = "What counts as a change"
LABELS = "What the labels say"
TRAINING = "How it is trained"
DATES = "What is made of the dates"
PIXELS = "What is computed of each pixel"
FIELDS = "How fields are judged"
ZONING = "Management zones inside fields"
ALERTS = "Which drops are told of"
NATURE = "What the weights are"
PROCESSING = "What is done to pixels before them, and to their answers"
SECTIONS = (
    SCENE,
    METHOD,
    REGIONS,
    LABELS,
    TRAINING,
    COMPARED,
    CHANGES,
    WATCHED,
    DATES,
    PIXELS,
    FIELDS,
    ZONING,
    ALERTS,
    NATURE,
    PROCESSING,
    PRODUCTS,
    WORK,
    SEARCH,
)
"""Settings that go together, titles of the panels of `--help`. A form asks for one or two in a
group."""


@dataclass(frozen=True)
class Setting:
    """What a field of a request says beside its title, description, bounds and default."""

    section: str = ""
    option: str | None = ""
    """Names of the option, such as `--out -o`; empty: the field's own; None where only a form asks
    for it."""
    argument: bool = False
    """Whether it is typed by its place in the line, without a name."""
    metavar: str = ""
    typed: str = ""
    """What whoever types has to know besides, where a form has a switch."""
    form: str | None = ""
    """Name in forms, kept for what was saved by it; empty: the field's own; None where no form asks
    for it."""
    unset: str = ""
    """What holds where nothing is said, in words, if the default does not tell."""
    none: float | None = None
    """The number by which a form leaves an optional one out."""
    switch: tuple[Any, Any] | None = None
    """The values that a form has for off and on."""
    path: bool = False
    """Whether it names a file or folder: a form takes off quotes and blanks, and looks whether it
    is in reach."""
    repeat: bool = False
    """Whether an option is repeated for each entry of a list, in which commas mean nothing."""
    disk: bool = False
    """Whether it must name a folder on a disk."""


@dataclass(frozen=True)
class Part:
    """A model without some of its settings, or with only some, and with others described for this
    place."""

    without: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    other: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By name, what to replace of a `Question` or of its `Setting`."""


class Wording(BaseModel):
    """Settings by which a person says a value that is no setting itself."""

    def value(self) -> Any:
        """The value that is meant."""
        raise NotImplementedError

    @classmethod
    def of(cls, value: Any) -> Self:
        """How a person would say a value."""
        raise NotImplementedError


@dataclass(frozen=True)
class By:
    """A field that a person says by the settings of another model."""

    model: type[Wording]


@dataclass(frozen=True)
class Question:
    """What is asked of a person about one setting: all that options and forms are made from."""

    model: type[BaseModel]
    name: str
    kind: Any
    """Its type, without None."""
    optional: bool
    required: bool
    default: Any
    title: str
    description: str
    bounds: Mapping[str, float]
    """By pydantic's names: ge, gt, le, lt, min_length."""
    setting: Setting

    @property
    def key(self) -> Key:
        """By which `build` finds its value."""
        return self.model, self.name

    @property
    def options(self) -> tuple[str, ...]:
        """Names of its option, the long one first."""
        if self.setting.option is None or self.setting.argument:
            return ()
        return tuple(self.setting.option.split()) or (f"--{self.name.replace('_', '-')}",)

    @property
    def called(self) -> str:
        """What a mistake calls it on the command line."""
        return self.options[0] if self.options else self.setting.metavar

    def but(self, changes: Mapping[str, Any]) -> Question:
        """This question with some of what it or its setting says replaced."""
        of_setting = {one.name for one in fields(Setting)}
        setting = replace(
            self.setting, **{name: value for name, value in changes.items() if name in of_setting}
        )
        rest = {name: value for name, value in changes.items() if name not in of_setting}
        if "default" in rest:
            rest["required"] = False
        return replace(self, setting=setting, **rest)


def questions(model: type[BaseModel], part: Part | None = None) -> Iterator[Question]:
    """What a request asks, one by one, with the questions of the models it is made of."""
    part = part or Part()
    for name, info in model.model_fields.items():
        if name in part.without:
            continue
        if inner := model_in(info):
            own = next((one for one in info.metadata if isinstance(one, Part)), Part())
            for question in questions(inner, own):
                if question.name not in part.without and (
                    not part.only or question.name in part.only
                ):
                    whole = {} if info.is_required() else {"required": False}
                    yield question.but({**whole, **part.other.get(question.name, {})})
        elif (setting := setting_in(info)) and (not part.only or name in part.only):
            yield question_of(model, name, info, setting).but(part.other.get(name, {}))


def setting_in(info: FieldInfo) -> Setting | None:
    """What a field says of itself, if it is a setting."""
    return next((one for one in info.metadata if isinstance(one, Setting)), None)


def question_of(model: type[BaseModel], name: str, info: FieldInfo, setting: Setting) -> Question:
    """A field as a question."""
    kind, optional = without_none(info.annotation)
    bounds = {
        bound: getattr(one, bound)
        for one in info.metadata
        for bound in ("ge", "gt", "le", "lt", "min_length")
        if getattr(one, bound, None) is not None
    }
    return Question(
        model=model,
        name=name,
        kind=kind,
        optional=optional,
        required=info.is_required(),
        default=None if info.is_required() else info.get_default(call_default_factory=True),
        title=info.title or name.replace("_", " ").capitalize(),
        description=info.description or "",
        bounds=bounds,
        setting=setting,
    )


def model_in(info: FieldInfo) -> type[BaseModel] | None:
    """The model whose settings a field holds, if it is no setting itself."""
    for one in info.metadata:
        if isinstance(one, By):
            return one.model
    kind, _ = without_none(info.annotation)
    if get_origin(kind) is tuple:
        kind = get_args(kind)[0]
    if setting_in(info) is None and isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    return None


def without_none(annotation: Any) -> tuple[Any, bool]:
    """A type without None and `Annotated`, and whether None was part of it."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        kinds = [one for one in get_args(annotation) if one is not NoneType]
        if len(kinds) == 1 and len(get_args(annotation)) == 2:
            return without_none(kinds[0])[0], True
    return annotation, False


def build(model: type[Model], values: Mapping[Key, Any]) -> Model:
    """A request of answers to its questions; what nobody answered is what it is by default.

    There may also be a value for a field that holds a model. `InputError` in one line where one
    does not fit.
    """
    given: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        inner = model_in(info)
        if (model, name) in values:
            given[name] = values[model, name]
        elif inner and (info.is_required() or any(one.key in values for one in questions(inner))):
            if not info.is_required():
                check_whole(inner, values)
            made = build(inner, values)
            whole = get_origin(without_none(info.annotation)[0]) is tuple
            said = made.value() if isinstance(made, Wording) else made
            given[name] = (said,) if whole else said
    return validate(model, **given)


def answers_for(model: type[BaseModel], **values: Any) -> dict[Key, Any]:
    """Values of fields of a request, as `build` takes them."""
    return {(model, name): value for name, value in values.items()}


def answers(request: BaseModel, part: Part | None = None) -> Iterator[tuple[Question | None, Any]]:
    """What a request says that is not so by default, each with its question; None with what nothing
    asks here."""
    part = part or Part()
    for name, info in type(request).model_fields.items():
        value = getattr(request, name)
        if (inner := model_in(info)) and name not in part.without:
            if issubclass(inner, Wording):
                value = inner.of(value)
            own = next((one for one in info.metadata if isinstance(one, Part)), Part())
            for one in value if isinstance(value, tuple) else [value]:
                if one is not None:
                    without = (*part.without, *own.without)
                    yield from answers(one, Part(without, other={**own.other, **part.other}))
        elif info.is_required() or value != info.get_default(call_default_factory=True):
            setting = None if name in part.without else setting_in(info)
            question = question_of(type(request), name, info, setting) if setting else None
            yield question and question.but(part.other.get(name, {})), value


def check_whole(model: type[BaseModel], values: Mapping[Key, Any]) -> None:
    """Raise `InputError` where something is said of what is not asked for, such as dates of no
    search."""
    asked = list(questions(model))
    needed = [one for one in asked if one.required and one.key not in values]
    given = [one for one in asked if one.key in values]
    if needed and given:
        raise InputError(
            f"{given[0].called} is for a {model.__name__.lower()}; say where with "
            f"{needed[0].called}"
        )


def is_lines(question: Question) -> bool:
    """Whether it is settings of any kind, typed one by one as YAML: `--set loss=ce`."""
    return get_origin(question.kind) is dict and get_args(question.kind)[1] not in (str, int, float)


def choices_of(kind: Any) -> tuple[Any, ...]:
    """The values of a literal, or of a list of it; nothing of any other type."""
    if get_origin(kind) is tuple:
        kind = get_args(kind)[0]
    return get_args(kind) if get_origin(kind) is Literal else ()


def usual(request: BaseModel, name: str) -> Any:
    """The default of a field as `model_dump(mode="json")` has it; None where there is none."""
    info = type(request).model_fields[name]
    return (
        None
        if info.is_required()
        else json.loads(json.dumps(info.get_default(call_default_factory=True)))
    )


def read_texts(question: Question, name: str, texts: Sequence[str]) -> Any:
    """The value of what a person typed for a setting: lists between commas, pairs, YAML, numbers.

    `InputError` in one line, in which the setting is called `name`.
    """
    kinds = get_args(question.kind)
    if is_lines(question):
        return settings_of(name, texts)
    if get_origin(question.kind) is dict:
        return {number(name, key, kinds[0]): value for key, value in pairs(name, texts, kinds[1])}
    if get_origin(question.kind) is not tuple:
        return number(name, texts[0], float) if question.kind in (int, float) else texts[0]
    if question.setting.repeat:
        return tuple(texts)
    inner = without_none(kinds[0])[0]
    if Ellipsis in kinds:
        return tuple(number(name, text, int) if inner is int else text for text in words(texts))
    numbers = tuple(number(name, text, inner) for text in ",".join(texts).split(","))
    if len(numbers) != len(kinds):
        order = (
            question.description.partition(" in ")[0]
            .lower()
            .replace(" and ", ", ")
            .replace(" ", "")
        )
        colon = "" if name.startswith("-") else ":"
        raise InputError(
            f"{name}{colon} {','.join(texts)} has {len(numbers)} numbers; write {order}"
        )
    return numbers
