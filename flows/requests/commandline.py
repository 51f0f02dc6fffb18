"""What was asked for as a line for the terminal: whatever a form was filled in with can be repeated
without it.

A line says what differs from the defaults. What makes no difference to the result (workers,
machines) is left to whoever repeats it. Where the command line has no words for a request there is
no line.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from flows.parsing import value_of
from flows.requests.change import ChangeRequest
from flows.requests.maps import Evaluation, IndexRequest, ZonesRequest
from flows.requests.objects import ObjectsRequest
from flows.requests.request import Request
from flows.requests.series import CollectionRequest, MonitorRequest
from flows.requests.source import Source
from flows.requests.training import Training
from flows.setting import Question, answers, is_lines
from tiling.errors import InputError, redact

_LONG = 80

_PLAIN = re.compile(r"[A-Za-z][\w.+/-]*")
"""A text that YAML reads as itself, unless it is a word for a switch."""


class _UnsayableError(Exception):
    """There is no option for this."""


def segment_line(request: Request) -> str:
    """The line that repeats a request, quoted for a shell and without secrets; "" where no line
    does.

    >>> from segmentation.classical.rules import Rules
    >>> segment_line(Request(source=Source(
    ...     paths=("my scene.tif",), bands={"red": 1}), out="run", segmenter=Rules()))
    "landweave segment 'my scene.tif' --bands red=1 --out run"
    """
    return _line("segment", _words(request))


def objects_line(request: ObjectsRequest) -> str:
    """The line that makes the same regions again."""
    return _line("objects", _words(request))


def collection_line(request: CollectionRequest) -> str:
    """The line that repeats a collection."""
    return _line("collection", _words(request))


def monitor_line(request: MonitorRequest) -> str:
    """The line that watches a place once more."""
    return _line("monitor", _words(request))


def line_of(command: str, request: BaseModel) -> str:
    """The line that asks the same of a command whose request says all of it."""
    return _line(command, _words(request))


def train_line(request: Training) -> str:
    """The line that repeats a training; "" where its scenes are not all alike."""
    return _line("train", _words(request))


def evaluate_line(request: Evaluation) -> str:
    """The line that compares a map with a reference."""
    return _line("evaluate", _words(request))


def index_line(source: Source, names: Sequence[str], out: str) -> str:
    """The line that computes indices of a scene; "" where the scene is several files."""
    if len(source.paths) != 1:
        return ""
    request = IndexRequest(
        scene=source.paths[0],
        names=tuple(names),
        out=Path(out),
        source=source.model_copy(update={"paths": ()}),
    )
    return _line("index", _words(request))


def change_line(request: ChangeRequest) -> str:
    """The line that compares two maps; "" where no line does."""
    return _line("change", _words(request))


def zones_line(map: str, zones: str, out: str) -> str:
    """The line that measures the classes of a map in zones, `out` the layer that is written."""
    return _line("zones", _words(ZonesRequest(map=map, zones=zones, out=Path(out))))


def use_line(bundle: Path) -> str:
    """The line that maps a scene with a trained model."""
    return _line("segment", ["SCENE", "--segmenter", str(bundle), "--out", "FOLDER"])


def in_lines(line: str) -> str:
    """A line as a person reads it: a long one goes on below, with an option in each line."""
    if len(line) <= _LONG:
        return line
    first, *words = map(shlex.quote, shlex.split(line))
    return first + "".join(
        f" \\\n  {word}" if word.startswith("-") else f" {word}" for word in words
    )


def _line(command: str, words: Iterable[str]) -> str:
    try:
        return shlex.join(["landweave", command, *(redact(word) for word in words)])
    except _UnsayableError:
        return ""


def _words(request: BaseModel) -> Iterator[str]:
    """A request as it is typed: what has no name first, then options, and where to write it
    last."""
    said = list(answers(_plain(request)))
    for question, value in said:
        if question and question.setting.argument:
            yield from _places(value if isinstance(value, tuple) else [value])
    yield from _options(
        (question, value) for question, value in said if not question or question.name != "out"
    )
    yield from _options(
        (question, value) for question, value in said if question and question.name == "out"
    )


def _plain(request: BaseModel) -> BaseModel:
    """A request without what follows by itself once it is typed."""
    if isinstance(request, CollectionRequest | MonitorRequest):
        return request.model_copy(update={"template": _plain(request.template)})
    if isinstance(request, Training):
        return request.model_copy(update={"sources": (_one_source(request.sources),)})
    if (
        isinstance(request, Request | ObjectsRequest)
        and (search := request.source.search)
        and search.aoi == request.aoi
    ):
        source = request.source.model_copy(update={"search": search.model_copy(update={"aoi": ""})})
        return request.model_copy(update={"source": source})
    return request


def _one_source(sources: Sequence[Source]) -> Source:
    """Scenes as one that has all their paths, if they are told apart again."""
    first, *others = sources
    alike = {**dict(first), "paths": ()}
    if any({**dict(other), "paths": ()} != alike for other in others):
        raise _UnsayableError
    if others and any("=" in path for source in sources for path in source.paths[:1]):
        raise _UnsayableError  # it would be taken for a part of the scene before
    if others and any("=" not in path for source in sources for path in source.paths[1:]):
        raise _UnsayableError  # it would be taken for a scene of its own
    return first.model_copy(
        update={"paths": tuple(path for source in sources for path in source.paths)}
    )


def _options(said: Iterable[tuple[Question | None, Any]]) -> Iterator[str]:
    """The options for settings that are not as they are by default."""
    for question, value in said:
        if question is None or not (question.options or question.setting.argument):
            raise _UnsayableError
        if question.options:
            yield from _option(question, value)


def _option(question: Question, value: Any) -> Iterator[str]:
    """An option with its value: pairs and lists between commas, which nothing in them may hold."""
    option = question.options[0]
    if is_lines(question):
        for key, one in value.items():
            yield from (option, f"{key}={_yaml(one)}")
        return
    if question.setting.repeat:
        for one in value:
            yield from (option, one)
        return
    if isinstance(value, Mapping):
        entries = [f"{key}={text}" for key, text in value.items()]
        if any(entry.count("=") > 1 for entry in entries):
            raise _UnsayableError
    elif isinstance(value, tuple | list):
        entries = list(map(str, value))
    else:
        yield from (option,) if value is True else (option, str(value))
        return
    if any("," in entry or entry != entry.strip() or not entry for entry in entries):
        raise _UnsayableError
    yield from (option, ",".join(entries))


def _places(paths: Iterable[str]) -> Iterator[str]:
    """Arguments, told from options where one looks like one."""
    for path in paths:
        yield f"./{path}" if path.startswith("-") else path


def _yaml(value: Any) -> str:
    """A value as `--set` reads it."""
    if isinstance(value, float) and "e" in (text := repr(value)) and "." not in text:
        return text.replace("e", ".0e")  # which YAML takes for a text otherwise
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        try:
            if value_of("", value) == value:
                return value
        except InputError:
            pass
    return json.dumps(value, ensure_ascii=False)
