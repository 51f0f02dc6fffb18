"""What a run is called in Prefect's lists, from what its form says: no import of Prefect, for its
server asks too."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

MADE_UP = re.compile(r"[a-z]+\d*(-[a-z]+)+")
"""Names that Prefect and its form make up where nobody gave one: `wise-otter`,
`alpha987-scurus`."""


def run_name(parameters: Mapping[str, Any]) -> str:
    """The scene and the method, or whatever else says most of a run; "" where its parameters say
    nothing.

    >>> run_name({"scene": ["/data/valley_2024.tif"], "segmenter": {"kind": "rules"}})
    'valley_2024 · rules'
    >>> run_name({"map": "/runs/valley/classes.tif", "reference": "/data/truth.gpkg"})
    'classes · truth'
    >>> run_name({"earlier": "/runs/2019/classes.tif", "later": "/runs/2024"})
    '2019 to 2024'
    """
    return " · ".join(filter(None, _words(parameters)))


def run_tags(parameters: Mapping[str, Any]) -> list[str]:
    """Tags by which runs of one scene, or of one segmenter, are found."""
    tags = [stem(parameters.get("scene")), method(parameters)]
    return [tag for tag in tags if tag]


def _words(given: Mapping[str, Any]) -> list[str]:
    if "earlier" in given:
        return [f"{place(given['earlier'])} to {place(given.get('later'))}"]
    if "zones" in given:
        return [place(given.get("map")), stem(given["zones"])]
    if "size" in given:
        return ["demo", stem(given.get("output_folder"))]
    if "map" in given or "reference" in given:
        return [stem(given.get("map")), stem(given.get("reference"))]
    if "labels" in given:
        return ["training", stem(given.get("output_folder"))]
    if "folders_or_catalogue" in given or "folders" in given:
        what = "crops" if "fields" in given else "monitor"
        return [what, stem(given.get("output_folder"))]
    if "images" in given:
        what = "series" if "indices" in given else "composite"
        return [what, stem(given.get("output_folder"))]
    if "scenes" in given:
        return [stem(given.get("scenes")), stem(given.get("output_folder"))]
    if "indices" in given:
        return [stem(given.get("scene")), ", ".join(map(str, given["indices"] or ()))[:60]]
    return [stem(given.get("scene")), method(given)]


def place(path: object) -> str:
    """What a map is called: the folder of its run, or itself."""
    name = stem(path)
    return stem(str(PurePosixPath(str(path)).parent)) if name == "classes" else name


def method(parameters: Mapping[str, Any]) -> str:
    """How land cover is told, in a word: a segmenter's kind, or the name of a model."""
    chosen = parameters.get("segmenter", parameters.get("method", ""))
    if isinstance(chosen, Mapping):
        bundle = chosen.get("bundle") or chosen.get("segmenter") or chosen.get("detector")
        return f"{chosen.get('kind', '')} {stem(bundle)}".strip()
    if isinstance(chosen, str):  # a method in words, or the folder of a model
        return re.split(r"[:,(]", stem(chosen))[0].strip()
    return str(getattr(chosen, "kind", ""))


def stem(path: object) -> str:
    """The last part of a path, or of the first of several, without its suffix; "" of anything
    else."""
    if isinstance(path, list | tuple):
        path = path[0] if path else ""
    if not isinstance(path, str):
        return ""
    last = PurePosixPath(path.strip().strip("\"'").partition("?")[0].rpartition("=")[2]).name
    return re.sub(r"\.[A-Za-z]\w{0,5}$", "", last)
