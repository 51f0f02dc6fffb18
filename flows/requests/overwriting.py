"""A folder of results holds one thing: that of another scene or model is not written over unless a
person asks for it.

What decides is what a person named, not what it held that day: a scene that was delivered again, or
other settings of the same segmenter, make the same map anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.requests.request import Request
from flows.storage.run_folder import RunFolder
from tiling.errors import InputError, redact
from tiling.io.urls import is_local

if TYPE_CHECKING:
    from flows.requests.objects import ObjectsRequest

MEND = "name another folder with --out, or replace it with --fresh"


Facts = tuple[Any, dict[str, str]]
"""A scene, by its paths or its search, and a segmenter or the method of a partition, by its kind
and its bundle."""


def check_map(folder: RunFolder, request: Request | ObjectsRequest) -> None:
    """Raise `InputError` where a run's folder holds the map or the regions of another scene, or by
    another method."""
    if request.fresh:
        return
    known = folder.read_record()
    held, asked = _facts(known.get("request")), _facts(request.model_dump(mode="json"))
    if held is None or asked is None or _same(held, asked):
        return
    raise InputError(
        f"{folder.place} holds a map of {_describe_facts(held)}, and this is "
        f"{_describe_facts(asked)}; {MEND}"
    )


def check_series(place: Path, runs: Path, request: Request) -> None:
    """Raise `InputError` where the runs of a folder are by another segmenter than `request`'s; one
    of them tells."""
    if request.fresh:
        return
    for record in sorted(runs.glob("*/run.json")):
        held, asked = _facts(_read(record).get("request")), _facts(request.model_dump(mode="json"))
        if held is not None and asked is not None and not _same_model(held[1], asked[1]):
            raise InputError(
                f"{place} holds maps by {_model(held[1])}, and these are by {_model(asked[1])}; "
                f"{MEND}"
            )
        return


def check_collection(
    place: Path, held: Iterable[str], found: Iterable[str], request: Request
) -> None:
    """Raise `InputError` where a folder holds a collection with which this one shares no folder of
    scenes.

    `held` are the paths of the scenes that are there, `found` those of the scenes to map.
    """
    if request.fresh:
        return
    there, asked = ({_folder(path) for path in paths} for paths in (held, found))
    if there and asked and there.isdisjoint(asked):
        raise InputError(
            f"{place} holds a collection of {min(there)}, and this is one of {min(asked)}; {MEND}"
        )


def holds_another(request: Request) -> bool:
    """Whether the folder of a request, on this machine, holds the map of another scene or by
    another segmenter."""
    if not isinstance(request.out, Path):
        return False
    held, asked = (
        _facts(_read(request.out / "run.json").get("request")),
        _facts(request.model_dump(mode="json")),
    )
    return held is not None and asked is not None and not _same(held, asked)


def check_change(out: Path, earlier: str, later: str) -> None:
    """Raise `InputError` where a folder holds the comparison of other maps."""
    known = _read(out / "change.json").get("request")
    if not isinstance(known, Mapping):
        return
    held = [str(known.get("earlier", "")), str(known.get("later", ""))]
    if not _same_places(held, [earlier, later]):
        raise InputError(
            f"{out} holds the change from {held[0]} to {held[1]}, and this is from {earlier} to "
            f"{later}; {MEND}"
        )


def check_model(out: Path, scenes: Sequence[str], labels: Sequence[str], architecture: str) -> None:
    """Raise `InputError` where a folder holds a model of other scenes or labels, or of another
    architecture.

    `scenes` are names of scenes and `labels` names of files, as a card keeps them. An empty
    architecture is any.
    """
    from segmentation.models.bundle import CARD, load

    if not (out / CARD).exists():
        return
    card = load(out).card
    held = getattr(card.model, "architecture", "") or getattr(card.model, "estimator", "")
    if card.training.get("scenes") != list(scenes) or card.training.get("labels") != list(labels):
        said = [", ".join(map(str, one)) for one in (_list(card.training.get("labels")), labels)]
        raise InputError(
            f"{out} holds a model of {said[0] or 'other labels'}, and this is one of {said[1]}; "
            f"{MEND}"
        )
    if architecture and architecture != held:
        raise InputError(
            f"{out} holds a model of architecture {held}, and this is {architecture}; {MEND}"
        )


def _facts(request: Any) -> Facts | None:
    """The scene and the method of a request's JSON; None where that is none of ours."""
    if not isinstance(request, Mapping) or "source" not in request:
        return None
    source, segmenter = request["source"], request.get("segmenter") or request.get("partition")
    if not segmenter:
        return None
    if source.get("search"):
        scene: Any = {"search": source["search"], "bbox": source.get("bbox")}
    else:
        scene = [_file(redact(path)) for path in source.get("paths", ())]
    bundle = segmenter.get("bundle") or request.get("network") or ""
    return scene, {"kind": segmenter["kind"], "bundle": str(bundle)}


def _same(held: Facts, asked: Facts) -> bool:
    """Whether two requests ask for a map of one scene by one segmenter."""
    if isinstance(held[0], dict) or isinstance(asked[0], dict):
        return bool(held == asked)
    return _same_places(held[0], asked[0]) and _same_model(held[1], asked[1])


def _same_model(held: Mapping[str, str], asked: Mapping[str, str]) -> bool:
    return held["kind"] == asked["kind"] and _same_places([held["bundle"]], [asked["bundle"]])


def _same_places(held: Sequence[str], asked: Sequence[str]) -> bool:
    """Whether these are the same files in any order.

    A record tells a path as it was typed: one that began in another folder is taken for the one
    that ends alike.
    """
    if len(held) != len(asked):
        return False
    pairs = zip(
        sorted(held, key=os.path.basename), sorted(asked, key=os.path.basename), strict=True
    )
    return all(one == other or _absolute(other).endswith(_end(one)) for one, other in pairs)


def _file(path: str) -> str:
    """A path without the band's name that may stand before it."""
    name, equals, rest = path.partition("=")
    return rest if equals and name.replace(".", "_").isidentifier() else path


def _end(path: str) -> str:
    """What the absolute form of a path ends with: all of it where it begins at the root."""
    if Path(path).is_absolute() or not is_local(path):
        return path
    return "/" + os.path.normpath(path).lstrip("./")


def _absolute(path: str) -> str:
    return os.path.normpath(Path.cwd() / path) if is_local(path) else path


def _folder(path: str) -> str:
    return _absolute(path).rpartition("/")[0]


def _describe_facts(facts: Facts) -> str:
    scene, segmenter = facts
    if isinstance(scene, dict):
        about = (
            f"what {scene['search']['catalogue']} has for "
            f"{scene['search'].get('when') or 'any day'}"
        )
    else:
        about = scene[0] + (f" and {len(scene) - 1} more" if len(scene) > 1 else "")
    return f"{about} by {_model(segmenter)}"


def _model(segmenter: Mapping[str, str]) -> str:
    return segmenter["bundle"] or segmenter["kind"]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _read(record: Path) -> dict[str, Any]:
    """A record on disk; empty where there is none, or none of ours."""
    try:
        facts = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}
