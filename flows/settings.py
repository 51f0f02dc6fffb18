"""What a person wrote as YAML, in a file or on the command line: plain values of bounded size, or one line why not."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tiling.errors import Mistake

LARGEST = 2**20
"""Bytes of a file of settings."""

DEEPEST = 20
"""Lists in lists."""


def read_settings(path: Path, example: str) -> dict[str, Any]:
    """The mapping in a YAML file; `Mistake` where it is none, with what one begins with."""
    try:
        if path.stat().st_size > LARGEST:
            raise Mistake(f"{path} has more than {LARGEST:,} bytes; settings are short")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise Mistake(f"{path} cannot be read: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise Mistake(f"{path} is no text in UTF-8; write it again, for example {example}") from error
    loaded = value_of(str(path), text)
    if not isinstance(loaded, dict) or not all(isinstance(key, str) for key in loaded):
        raise Mistake(f"{path} must be a mapping, for example {example}")
    return loaded


def settings_of(option: str, texts: Iterable[str]) -> dict[str, Any]:
    """The values of a repeatable KEY=VALUE, read as YAML: numbers, lists and switches are what they look like."""
    given: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise Mistake(f"{option} {text} has no value; write {option} {key}=VALUE")
        given[key] = value_of(f"{option} {text}", value)
    return given


def value_of(name: str, text: str) -> Any:
    """What YAML text says: numbers, lists and switches are what they look like; `Mistake` where it is none."""
    import yaml

    try:
        _check_events(name, yaml.parse(text, Loader=yaml.SafeLoader))
        return yaml.safe_load(text)
    except Mistake:
        raise
    # YAML's own, and of what looks like a date or a number and is none: 2024-13-01, five thousand digits
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise Mistake(f"{name} is not valid YAML: {str(error)[:300]}") from error


def _check_events(name: str, events: Iterable[Any]) -> None:
    """Refuse what plain settings have no use for.

    References to references make ten lines a thousand million values, time grows with the square of the depth, and a
    tag (!!timestamp x) has PyYAML make of a text what it is not.
    """
    import yaml

    depth = 0
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            raise Mistake(f"{name} refers to an anchor (*{event.anchor}); write the value out")
        if getattr(event, "tag", None) not in (None, "!"):
            raise Mistake(f"{name} holds a tag ({event.tag[:60]}); write the value alone")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise Mistake(f"{name} is nested more than {DEEPEST} deep; settings are flat")
