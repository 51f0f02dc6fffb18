"""What a mistake says, in the words of the form: rooms below speak of the command line's
options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

SWITCHES = {
    "with --fresh": "with “Start afresh”, which segment-scene has under Advanced",
    "--preflight warn": "switch on Despite doubts (among the settings of segment-scene)",
}
"""An option with the value that a sentence gives it, and what a form has instead."""

RENAMED = {
    "vectors": "polygons",
    "probabilities": "probability of each class",
    "entropy": "evenness of the classes",
    "margin": "lead of the likeliest class",
}
"""Products as forms called them once, and as they do now: saved schedules and runs that are sent
again have them."""


ELSEWHERE = {
    "--segmenter": "Segmenter",
    "--stac": "Search",
    "--tile": "Tile",
    "--margin": "Margin",
}
"""Options for which a form has a field that is no setting of a request."""


@cache
def titles() -> Mapping[str, str]:
    """Options of the command line, and what forms call the same setting."""
    from flows.compute.cluster import Cluster
    from flows.requests.change import ChangeRequest
    from flows.requests.dates.composite import CompositeRequest
    from flows.requests.dates.series import SeriesRequest
    from flows.requests.maps import Evaluation
    from flows.requests.objects import ObjectsRequest
    from flows.requests.request import Request
    from flows.requests.series import CollectionRequest, MonitorRequest
    from flows.requests.training import Training
    from flows.setting import REGIONS, questions

    requests = (
        Cluster,
        Evaluation,
        ChangeRequest,
        Request,
        CollectionRequest,
        MonitorRequest,
        Training,
        CompositeRequest,
        SeriesRequest,
    )
    asked = [
        one
        for request in requests
        for one in questions(request)
        if one.setting.form is not None and one.options
    ]
    asked += [
        one
        for one in questions(ObjectsRequest)
        # those of methods stand in the tabs of a form
        if one.options and (one.setting.form is not None or one.setting.section == REGIONS)
    ]
    return {one.options[0]: one.title for one in reversed(asked)} | ELSEWHERE


_OPTION = re.compile(r"(with )?(--[a-z][a-z-]*)")


def update_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What a form was filled in with, in its words of today.

    >>> update_parameters({"scene": ["a.tif"], "output": {"products": ["vectors", "confidence"]}})
    {'scene': ['a.tif'], 'output': {'products': ['polygons', 'confidence']}}
    """
    output = parameters.get("output")
    if not isinstance(output, Mapping) or not isinstance(output.get("products"), list):
        return dict(parameters)
    products = [
        RENAMED.get(word, word) if isinstance(word, str) else word for word in output["products"]
    ]
    return {**parameters, "output": {**output, "products": products}}


def in_form_words(mistake: object) -> str:
    """A sentence about options as one about fields.

    >>> in_form_words("out is in use by process 7; wait for it or name another folder with --out")
    'out is in use by process 7; wait for it or name another folder under “Output folder”'
    >>> in_form_words("name the bands, for example --bands green=2,red=3")
    'name the bands, for example “Band names” green=2,red=3'
    >>> in_form_words(
    ...     "what works on it is --segmenter otsu --set index=NDVI, "
    ...     "or landweave train … --labels FILE")
    'what works on it is “Segmenter” otsu with index=NDVI, or landweave train … --labels FILE'
    """
    sentence, command = _until_command(str(mistake))
    for option, words in SWITCHES.items():
        sentence = sentence.replace(f"use {option}", words).replace(option, words)
    sentence = re.sub(r" --set (\S+=\S+)", r" with \1", sentence)
    return _OPTION.sub(_field, sentence) + command


def _until_command(sentence: str) -> tuple[str, str]:
    """A sentence up to a command line that it gives, and from there."""
    command = re.search(r"landweave [a-z]", sentence)
    return (sentence[: command.start()], sentence[command.start() :]) if command else (sentence, "")


def _field(option: re.Match[str]) -> str:
    words = titles().get(option[2])
    if words is None:
        return option[0]
    return f"under “{words}”" if option[1] else f"“{words}”"
