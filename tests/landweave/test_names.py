"""The names of the package: few, explained, and loaded when they are used."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys

import landweave as lw
from landweave.inputs import Scene
from segmentation.registry import kinds, segmenter_class

FUNCTIONS = [name for name in lw.__all__ if inspect.isfunction(getattr(lw, name))]
HEAVY = {"numpy", "rasterio", "torch", "dask", "prefect", "pandas", "xarray", "pydantic", "scipy"}


def test_the_import_loads_nothing_heavy() -> None:
    code = "import json, sys, landweave; dir(landweave); print(json.dumps(sorted(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert not HEAVY & {name.partition(".")[0] for name in json.loads(printed)}


def test_there_are_at_most_thirty_names_and_each_leads_somewhere() -> None:
    assert len(lw.__all__) <= 30
    assert dir(lw) == sorted(lw.__all__) == list(lw.__all__)
    assert set(lw.HOMES) == {*lw.__all__} - {"__version__", "segmenters"}
    assert all(getattr(lw, name) is not None for name in lw.__all__)


def test_another_name_is_none() -> None:
    assert not hasattr(lw, "segmnet")
    assert not hasattr(lw.segmenters, "Otus")


def test_every_installed_kind_of_segmenter_of_ours_has_its_name() -> None:
    classes = map(segmenter_class, kinds())
    ours = {one.__name__: one for one in classes if one.__module__.startswith("segmentation.")}
    assert {name: getattr(lw.segmenters, name) for name in lw.segmenters.__all__} == ours
    assert dir(lw.segmenters) == sorted(lw.segmenters.HOMES) == lw.segmenters.__all__


def test_types_are_seen_by_whoever_reads_the_source() -> None:
    for module in (lw, lw.segmenters):
        source = inspect.getsource(module)
        for name, home in module.HOMES.items():
            assert f"    from {home} import {name} as {name}\n" in source


def test_every_function_explains_each_argument_and_gives_an_example() -> None:
    assert len(FUNCTIONS) == 16
    for name in FUNCTIONS:
        function = getattr(lw, name)
        text = inspect.getdoc(function)
        assert text
        parts = ("Args", "Returns", "Raises", "Examples")
        assert all(f"\n\n{part}:\n" in text for part in parts)
        arguments = text.partition("\n\nArgs:\n")[2].partition("\n\nReturns:\n")[0]
        told = [
            line.strip().partition(":")[0] for line in arguments.splitlines() if line[4:5].strip()
        ]
        kinds = {inspect.Parameter.VAR_KEYWORD: "**", inspect.Parameter.VAR_POSITIONAL: "*"}
        asked = inspect.signature(function).parameters.values()
        assert told == [kinds.get(one.kind, "") + one.name for one in asked]


def test_what_comes_back_is_explained() -> None:
    for name in (
        "Run",
        "Plan",
        "Evaluation",
        "Change",
        "Layer",
        "Model",
        "Objects",
        "Scene",
        "Series",
    ):
        assert inspect.getdoc(getattr(lw, name))
    assert lw.Scene is Scene
