"""Groups of a form, made from the settings of requests; a group that was filled in gives the values
of those settings.

Prefect's form asks the type first of whatever may be one of several, so an optional number, a day
or pairs are a text with a pattern, and an empty one stands for what holds by default.
"""

from __future__ import annotations

import datetime
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    TypeVar,
    cast,
    get_args,
    get_origin,
)

from pydantic import BaseModel, ConfigDict, Field, create_model

from flows.forms.choices import PRODUCT_WORDS, USUAL_PRODUCTS, index_of, indices_in_words
from flows.forms.dropdowns import OneOf
from flows.forms.paths import path_of
from flows.requests.crops.request import CropsRequest
from flows.requests.method import Learning
from flows.requests.objects import ObjectsRequest
from flows.requests.request import Product, Request
from flows.setting import Key, Question, choices_of, questions, read_texts
from segmentation.forests.estimators import FORESTS
from segmentation.networks.architectures import architectures
from tiling.errors import InputError

NUMBER = {"pattern": r"^\s*([-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|nan|NaN)?\s*$"}
"""What Submit takes where a number may be left out."""

DAY = {"pattern": r"^\s*(\d{4}-\d{2}-\d{2})?\s*$"}

PAIRS = {"pattern": r"^\s*([^=,]+=[^=,]*(,\s*[^=,]+=[^=,]*)*)?,?\s*$"}
"""What Submit takes where names and values are asked for: `blue=1, green=2`."""

BOUNDS = ("ge", "gt", "le", "lt")


class Group(BaseModel):
    """A part of a form: text, numbers, lists and switches."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    questions: ClassVar[Mapping[str, Question]] = {}
    """What it asks for, by the names of its fields."""

    def values(self) -> dict[Key, Any]:
        """What a person said of each setting; None of what is left as it is by default is left
        out."""
        read = {one.key: value_of(one, getattr(self, name)) for name, one in self.questions.items()}
        return {key: value for key, value in read.items() if value is not None}


def products_of(words: Sequence[str]) -> list[Product]:
    """The products that a form names in words, or by their own names; the classes are always among
    them."""
    known: dict[str, Product] = {
        **PRODUCT_WORDS,
        **{product: product for product in PRODUCT_WORDS.values()},
    }
    for word in words:
        if word not in known:
            raise InputError(f"products: there is no {word}; there are {', '.join(PRODUCT_WORDS)}")
    asked = {"classes", *(known[word] for word in words)}
    return [product for product in PRODUCT_WORDS.values() if product in asked]


class Words(NamedTuple):
    """How a form shows the values of a setting that are names."""

    about: Any
    """What its type has besides."""
    default: Any
    value: Callable[[Any], Any]
    """The value of what was chosen."""


WORDS: Mapping[Key, Words] = {
    (Request, "products"): Words(
        Field(json_schema_extra={"items": {"type": "string", "enum": list(PRODUCT_WORDS)}}),
        USUAL_PRODUCTS,
        products_of,
    ),
    **dict.fromkeys(
        ((Request, "indices"), (ObjectsRequest, "indices"), (CropsRequest, "names")),
        Words(OneOf(indices_in_words), [], lambda chosen: list(map(index_of, chosen))),
    ),
    (Learning, "architecture"): Words(
        Field(json_schema_extra={"enum": ["", *architectures(), *FORESTS]}),
        "",
        lambda chosen: chosen,
    ),
}

G = TypeVar("G", bound=Group)


def asks(*asked: tuple[Any, ...] | str) -> Callable[[type[G]], type[G]]:
    """Makes a class the group that asks for these: (request, section or name of a setting, …), or a
    field of its own.

    The last of a tuple may say by name what of a setting is otherwise in this form.
    """

    def made(group: type[G]) -> type[G]:
        asked_by_name: dict[str, Question] = {}
        types: dict[str, Any] = {}
        for item in asked:
            if isinstance(item, str):
                types[item] = (group.model_fields[item].annotation, group.model_fields[item])
                continue
            new = {one.setting.form or one.name: one for one in pick(*item)}
            asked_by_name |= new
            types |= {name: field_of(one) for name, one in new.items()}
        base: Any = group.__base__
        about: dict[str, Any] = {
            "__base__": base,
            "__module__": group.__module__,
            "__doc__": group.__doc__,
        }
        create: Any = create_model  # mypy's plugin knows it with literal fields only
        whole = create(group.__name__, **about, **types)
        whole.questions = {**base.questions, **asked_by_name}
        return cast(type[G], whole)

    return made


def pick(model: type[BaseModel], *which: Any) -> list[Question]:
    """The settings of a request that a form asks for: those of a section, or of a name, in this
    order."""
    other = which[-1] if isinstance(which[-1], Mapping) else {}
    whole = [
        one.but(other.get(one.name, {})) for one in questions(model) if one.setting.form is not None
    ]
    return [one for item in which for one in whole if item in (one.setting.section, one.name)]


def field_of(question: Question) -> tuple[Any, Any]:
    """A setting as a field of a form: its type, and its default with its title and what it
    means."""
    kind, default, about = form_type(question)
    unset = question.setting.unset.rstrip(".")
    left_out = (
        f"{question.setting.none:g}" if question.setting.none is not None
        else "None" if isinstance(default, list)
        else "Empty" if default == "" else ""
    )  # fmt: skip
    described = (
        f"{question.description} {left_out}: {unset}."
        if unset and left_out
        else question.description
    )
    if words := WORDS.get(question.key):
        kind, default, about = Annotated[kind, words.about], words.default, {}
    bounds: dict[str, Any] = {
        name: question.bounds[name] for name in BOUNDS if name in question.bounds
    }
    numeric = kind in (int, float)
    return kind, Field(
        default, title=question.title, description=described, **about, **(bounds if numeric else {})
    )


def form_type(question: Question) -> tuple[Any, Any, dict[str, Any]]:
    """The type that a form asks for, its default, and what Submit checks by a pattern."""
    kind, default, kinds = question.kind, question.default, get_args(question.kind)
    if question.setting.switch:
        return bool, default == question.setting.switch[1], {}
    if question.setting.none is not None:
        return kind, question.setting.none, {}
    if kind is datetime.date:
        return str, "", {"json_schema_extra": DAY}
    if get_origin(kind) is dict:
        return str, "", {"json_schema_extra": PAIRS}
    if get_origin(kind) is tuple:
        if Ellipsis not in kinds:
            return str, "", {}
        if names := choices_of(kind):
            return (
                list[str],
                list(default),
                {"json_schema_extra": {"items": {"type": "string", "enum": list(names)}}},
            )
        return list.__class_getitem__(kinds[0]), list(default), {}
    if question.optional and kind in (int, float):
        return str, "", {"json_schema_extra": NUMBER}
    if kind is Path or (question.optional and kind is str):
        return str, str(default or ""), {}
    return kind, default, {}


def value_of(question: Question, filled: Any) -> Any:
    """The value of what stands in a form's field; None where nothing is said."""
    about = question.setting
    name = question.title.lower()
    if words := WORDS.get(question.key):
        return words.value(filled)
    if about.switch:
        return about.switch[bool(filled)]
    if about.none is not None:
        return None if filled == about.none else filled
    if about.path:
        return path_of(filled)
    texts = get_origin(question.kind) is dict or question.kind is datetime.date or question.optional
    if isinstance(filled, str) and texts and get_origin(question.kind) is not Literal:
        return read_texts(question, name, [filled.strip()]) if filled.strip() else None
    return filled


def describe_arguments(text: str, names: Iterable[str], request: type[BaseModel]) -> str:
    """The docstring of a form whose `Args:` leave out what a request says of parameters itself."""
    head, args, own = inspect.cleandoc(text).partition("Args:\n")
    asked = {
        one.setting.form or one.name: one.description
        for one in questions(request)
        if one.setting.form is not None
    }
    described = {line.strip().partition(":")[0] for line in own.splitlines()}
    lines = [f"    {name}: {asked[name]}\n" for name in names if name in asked.keys() - described]
    return head + args + "".join(lines) + own
