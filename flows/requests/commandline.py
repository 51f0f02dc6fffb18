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
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from flows.parsing import value_of
from flows.requests.request import PRODUCTS, Request
from flows.requests.source import Source
from tiling.errors import InputError, redact

if TYPE_CHECKING:
    from flows.requests.change import ChangeRequest
    from flows.requests.series import CollectionRequest, MonitorRequest
    from flows.requests.training import Training
    from segmentation.segmenter import Segmenter

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
    return _line("segment", _map_options(request, once=True))


def collection_line(request: CollectionRequest) -> str:
    """The same of a collection."""
    return _line("collection", _collection_options(request))


def monitor_line(request: MonitorRequest) -> str:
    """The same of a place that is watched."""
    return _line("monitor", _monitor_options(request))


def train_line(request: Training) -> str:
    """The same of a training."""
    return _line("train", _train_options(request))


def evaluate_line(map: str, reference: str, out: str, settings: Mapping[str, Any]) -> str:
    """The line that compares a map with a reference, by the keywords of `evaluate`."""
    return _line("evaluate", _evaluate_options(map, reference, out, settings))


def index_line(source: Source, names: Sequence[str], out: str) -> str:
    """The line that computes indices of a scene; "" where the scene is several files."""
    return _line("index", _index_options(source, names, out))


def change_line(request: ChangeRequest) -> str:
    """The line that compares two maps; "" where no line does."""
    return _line("change", _change_options(request))


def zones_line(map: str, zones: str, out: str) -> str:
    """The line that measures the classes of a map in zones, `out` the layer that is written."""
    return _line("zones", [*_places([map, zones]), "--out", out])


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


def _evaluate_options(
    map: str, reference: str, out: str, settings: Mapping[str, Any]
) -> Iterator[str]:
    usual = {
        "column": "",
        "map_classes": {},
        "reference_classes": {},
        "mask_value": 1,
        "on": "auto",
    }
    yield from _places([map, reference])
    for name, value in settings.items():
        if value is not None and value != usual.get(name):
            yield from _option(f"--{name.replace('_', '-')}", value)
    yield from ("--out", out)


def _change_options(request: ChangeRequest) -> Iterator[str]:
    if request.hidden != type(request).model_fields["hidden"].default:
        raise _UnsayableError
    yield from _places([request.earlier, request.later])
    yield from _non_default_options(
        request,
        {
            "classes": "--classes",
            "nodata": "--nodata",
            "min_area": "--min-change-area",
            "min_confidence": "--min-confidence",
            "simplify": "--simplify",
        },
    )
    if request.fresh:
        yield "--fresh"
    yield from ("--out", str(request.out))


def _index_options(source: Source, names: Sequence[str], out: str) -> Iterator[str]:
    if len(source.paths) != 1 or source.date is not None:
        raise _UnsayableError
    yield from _places([*source.paths, *names])
    yield from _scene(source)
    yield from ("--out", out)


def _map_options(request: Request, *, once: bool) -> Iterator[str]:
    """Scene and options of a map; of many scenes alike where it is not for `once`."""
    source = request.source
    if (source.date is not None or request.reference) and not once:
        raise _UnsayableError
    yield from _places(source.paths)
    yield from _scene(source)
    if source.date is not None:
        yield from ("--date", str(source.date))
    if search := source.search:
        if search.aoi != request.aoi:
            raise _UnsayableError
        yield from ("--stac", search.catalogue)
        yield from _non_default_options(
            search,
            {"collections": "--collection", "when": "--datetime", "max_cloud": "--max-cloud"},
        )
        yield from _non_default_options(search, {"most": "--max-items"})
    yield from _segmenter(request.segmenter)
    yield from _non_default_options(request, {"preflight": "--preflight", "aoi": "--aoi"})
    if request.products != PRODUCTS:
        yield from _option("--products", request.products)
    yield from _non_default_options(
        request,
        {
            "min_area": "--min-area",
            "min_area_rule": "--min-area-rule",
            "simplify": "--simplify",
            "smooth": "--smooth",
            "indices": "--index",
            "reference": "--reference",
            "licence": "--licence",
            "shard": "--shard",
        },
    )
    if request.fresh:
        yield "--fresh"
    yield from ("--out", str(request.out))


def _collection_options(request: CollectionRequest) -> Iterator[str]:
    yield from _map_options(request.template, once=False)
    yield from _non_default_options(request, {"pattern": "--pattern", "title": "--title"})
    if request.fit_each:
        yield "--fit-each"


def _monitor_options(request: MonitorRequest) -> Iterator[str]:
    if request.cloud_classes != type(request).model_fields["cloud_classes"].default:
        raise _UnsayableError
    yield from _map_options(request.template, once=False)
    yield from _non_default_options(
        request,
        {
            "pattern": "--pattern",
            "title": "--title",
            "zones": "--zones",
            "max_invalid": "--max-invalid",
            "min_change_area": "--min-change-area",
            "min_confidence": "--min-confidence",
            "expect_days": "--expect-days",
            "settle_seconds": "--settle",
        },
    )
    if request.fit_each:
        yield "--fit-each"


def _train_options(request: Training) -> Iterator[str]:
    first, *others = request.sources
    alike = {**dict(first), "paths": ()}
    if (
        any({**dict(other), "paths": ()} != alike for other in others)
        or first.search
        or first.date is not None
    ):
        raise _UnsayableError
    if others and any("=" in path for source in request.sources for path in source.paths[:1]):
        raise _UnsayableError  # it would be taken for a part of the scene before
    if others and any("=" not in path for source in request.sources for path in source.paths[1:]):
        raise _UnsayableError  # it would be taken for a scene of its own
    yield from _places([path for source in request.sources for path in source.paths])
    yield from _scene(first)
    for path in request.labels:
        yield from ("--labels", path)
    yield from _non_default_options(
        request,
        {
            "column": "--column",
            "classes": "--classes",
            "regroup": "--regroup",
            "labels_nodata": "--labels-nodata",
            "split": "--split",
            "split_values": "--split-values",
        },
    )
    recipe = request.recipe
    yield from ("--architecture", recipe.architecture) if recipe.architecture else ()
    yield from _settings(recipe, {"architecture", "seed"})
    yield from _non_default_options(recipe, {"seed": "--seed"})
    yield from _non_default_options(
        request, {"weights": "--weights", "name": "--name", "licence": "--licence"}
    )
    if request.fresh:
        yield "--fresh"
    yield from ("--out", str(request.out))


def _scene(source: Source) -> Iterator[str]:
    yield from _non_default_options(
        source,
        {
            "bbox": "--bbox",
            "assets": "--assets",
            "bands": "--bands",
            "nodata": "--nodata",
            "scale": "--scale",
            "offset": "--offset",
            "mask": "--mask",
            "mask_values": "--mask-values",
            "mask_bits": "--mask-bits",
        },
    )


def _segmenter(segmenter: Segmenter) -> Iterator[str]:
    """The segmenter by its kind, or by its model, with the settings that are not its defaults."""
    kind = str(getattr(segmenter, "kind", ""))
    bundle = getattr(segmenter, "bundle", None)
    settings = list(_settings(segmenter, {"kind", "bundle"}))
    if bundle is not None or kind != "rules":
        yield from ("--segmenter", str(bundle or kind))
    yield from settings


def _settings(model: BaseModel, but: set[str]) -> Iterator[str]:
    for name, value in model.model_dump(mode="json").items():
        if name not in but and value != _default(model, name):
            yield from ("--set", f"{name}={_yaml(value)}")


def _non_default_options(model: BaseModel, options: Mapping[str, str]) -> Iterator[str]:
    """The options for those fields that are not what they are by default."""
    for name, option in options.items():
        value = getattr(model, name)
        if value != type(model).model_fields[name].get_default(call_default_factory=True):
            yield from _option(option, value)


def _default(model: BaseModel, name: str) -> Any:
    """The default of a field as `model_dump(mode="json")` has it."""
    field = type(model).model_fields[name]
    return (
        None
        if field.is_required()
        else json.loads(json.dumps(field.get_default(call_default_factory=True)))
    )


def _option(option: str, value: Any) -> Iterator[str]:
    """An option with its value: pairs and lists between commas, which nothing in them may hold."""
    if isinstance(value, Mapping):
        entries = [f"{key}={text}" for key, text in value.items()]
        if any(entry.count("=") > 1 for entry in entries):
            raise _UnsayableError
    elif isinstance(value, tuple | list):
        entries = list(map(str, value))
    else:
        yield from (option, str(value))
        return
    if any("," in entry or entry != entry.strip() or not entry for entry in entries):
        raise _UnsayableError
    yield from (option, ",".join(entries))


def _places(paths: Sequence[str]) -> Iterator[str]:
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
