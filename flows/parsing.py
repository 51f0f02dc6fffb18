"""Words of a person as values: pairs, numbers, YAML files, and what is said of a mistake in
them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from reprlib import Repr
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from tiling.errors import InputError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


Model = TypeVar("Model", bound=BaseModel)


def validate(model: type[Model], **values: Any) -> Model:
    """A request or a part of one; `InputError` in one line where a value does not fit."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
            close = nearest(name, model.model_fields) or ";"
            raise InputError(
                f"there is no setting {name}{close} there are {', '.join(model.model_fields)}"
            ) from error
        if not name and first["type"] == "value_error":  # settings that do not agree say so
            raise InputError(str(first["ctx"]["error"])) from error
        raise InputError(f"{name}: {first['msg']}, not {short_repr(first['input'])}") from error


def short_repr(value: Any) -> str:
    """A value as Python writes it, cut short: a list of lists of lists would fill the memory before
    the terminal."""
    short = Repr()
    short.maxstring = short.maxother = 200
    return short.repr(value)


def words(texts: str | Iterable[str]) -> tuple[str, ...]:
    """What a person listed: between commas, in several options, or both."""
    listed = [texts] if isinstance(texts, str) else texts
    return tuple(filter(None, (word.strip() for text in listed for word in text.split(","))))


def pairs(
    option: str, texts: str | Iterable[str], kind: Callable[[str], Any]
) -> Iterator[tuple[str, Any]]:
    """The entries of NAME=VALUE,NAME=VALUE, in one text or several; no name stands for two."""
    seen: dict[str, str] = {}
    for entry in words(texts):
        name, equals, value = (part.strip() for part in entry.partition("="))
        if not equals:
            raise InputError(
                f"{option} {entry} is no NAME=VALUE; write for example {option} red=1,green=2"
            )
        if name in seen:
            raise InputError(
                f"{option} {seen[name]},{entry} says two things of {name}; leave one out"
            )
        seen[name] = entry
        yield name, number(option, value, kind)


def number(option: str, text: str, kind: Callable[[str], Any]) -> Any:
    """One number a person typed."""
    try:
        return kind(text.strip())
    except ValueError as error:
        raise InputError(f"{option}: {short_repr(text.strip())} is no number") from error


LARGEST = 2**20
"""Bytes of a file of settings."""

DEEPEST = 20
"""Lists in lists."""

_NEXT = re.compile(r",(?=\s*[A-Za-z_][\w.]*\s*=)")
"""A comma before KEY=."""


def read_settings(path: Path, example: str) -> dict[str, Any]:
    """The mapping in a YAML file; `InputError` where it is none, with what one begins with."""
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path} has more than {LARGEST:,} bytes; settings are short")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is no text in UTF-8; write it again, for example {example}"
        ) from error
    loaded = value_of(str(path), text)
    if not isinstance(loaded, dict) or not all(isinstance(key, str) for key in loaded):
        raise InputError(f"{path} must be a mapping, for example {example}")
    return loaded


def settings_of(option: str, texts: Iterable[str]) -> dict[str, Any]:
    """The values of KEY=VALUE,KEY=VALUE in any number of texts, read as YAML: numbers are what they
    look like.

    A comma parts two settings where KEY= follows it and no bracket or quotation mark is open.
    """
    given: dict[str, Any] = {}
    for text in (one for several in texts for one in _split_settings(several)):
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"{option} {text} has no value; write {option} {key}=VALUE")
        if not key.strip():
            raise InputError(f"{option} {text} has no name before its =; write {option} KEY{text}")
        given[key.strip()] = value_of(f"{option} {text}", value)
    return given


def _split_settings(text: str) -> Iterator[str]:
    """The settings in one text."""
    setting = ""
    for piece in _NEXT.split(text):
        setting = f"{setting},{piece}" if setting else piece
        quoted = any(setting.count(mark) % 2 for mark in "'\"")
        if not quoted and all(
            setting.count(mark) == setting.count(end) for mark, end in ("[]", "{}")
        ):
            yield setting
            setting = ""
    if setting:
        yield setting  # YAML says what is wrong with it


def nearest(name: str, names: Iterable[str]) -> str:
    """`; did you mean …?` where some of the names look like one that is not among them, else
    nothing.

    >>> nearest("randomforest", ["unet", "random-forest"]), nearest("xyz", ["unet"])
    ('; did you mean random-forest?', '')
    """
    plain = {"".join(c for c in other.lower() if c.isalnum()): other for other in names}
    asked = "".join(c for c in name.lower() if c.isalnum())
    close = get_close_matches(asked, plain, 2, 0.7)
    if close and close[0] == asked:
        close = close[:1]
    return f"; did you mean {' or '.join(plain[one] for one in close)}?" if close else ""


def explain_settings(fields: Mapping[str, FieldInfo]) -> list[dict[str, Any]]:
    """What settings mean, one by one: name, default, what they may be, unit and meaning; nothing
    where none is said."""
    return [
        {
            "name": name,
            "default": None if one.is_required() else one.get_default(call_default_factory=True),
            "required": one.is_required(),
            "allowed": _value_range(one),
            "unit": (one.json_schema_extra or {}).get("unit", "")
            if isinstance(one.json_schema_extra, dict)
            else "",
            "meaning": one.description or one.title or "",
        }
        for name, one in fields.items()
    ]


def _value_range(one: FieldInfo) -> str:
    """The values a setting may have: `0 to 1`, `above 0`, `auto, cpu or cuda`; empty for any."""
    choices = [str(value) for value in _choices(one.annotation)]
    if choices:
        return " or ".join(filter(None, (", ".join(choices[:-1]), choices[-1])))
    if one.annotation is bool:
        return "true or false"
    bounds = {
        name: getattr(part, name)
        for part in one.metadata
        for name in _BOUNDS
        if hasattr(part, name)
    }
    if "ge" in bounds and "le" in bounds:
        return f"{bounds['ge']:g} to {bounds['le']:g}"
    return ", ".join(f"{word} {bounds[name]:g}" for name, word in _BOUNDS.items() if name in bounds)


_BOUNDS = {"gt": "above", "ge": "from", "lt": "below", "le": "up to"}


def _choices(annotation: Any) -> Iterator[Any]:
    """The values of all literals in a type."""
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
        return
    for part in get_args(annotation):
        yield from _choices(part)


def value_of(name: str, text: str) -> Any:
    """What YAML text says: numbers, lists and switches are what they look like; `InputError` where
    it is none."""
    import yaml

    try:
        _check_events(name, yaml.parse(text, Loader=yaml.SafeLoader))
        return yaml.safe_load(text)
    except InputError:
        raise
    # YAML's own, and of what looks like a date or a number and is none: 2024-13-01, five thousand
    # digits
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise InputError(f"{name} is not valid YAML: {str(error)[:300]}") from error


def _check_events(name: str, events: Iterable[Any]) -> None:
    """Refuse what plain settings have no use for.

    References to references make ten lines a thousand million values, time grows with the square of
    the depth, and a tag (!!timestamp x) has PyYAML make of a text what it is not.
    """
    import yaml

    depth = 0
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            raise InputError(f"{name} refers to an anchor (*{event.anchor}); write the value out")
        if getattr(event, "tag", None) not in (None, "!"):
            raise InputError(f"{name} holds a tag ({event.tag[:60]}); write the value alone")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(
            event, yaml.CollectionEndEvent
        )
        if depth > DEEPEST:
            raise InputError(f"{name} is nested more than {DEEPEST} deep; settings are flat")
