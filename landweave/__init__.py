"""Land-use segmentation of large rasters: `import landweave as lw`.

    run = lw.segment("scene.tif", "run")
    run.areas, run.classes, run.polygons

Names are loaded when they are first used, so that the import itself takes no time. What a person
got wrong is an `InputError` of one line; an option of the command line that it names, such as
`--bands`, is the argument `bands`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from landweave import segmenters as segmenters
    from landweave.dates import Series as Series
    from landweave.dates import composite as composite
    from landweave.dates import series as series
    from landweave.inputs import Scene as Scene
    from landweave.inputs import open_scene as open_scene
    from landweave.layers import change as change
    from landweave.layers import vectorise as vectorise
    from landweave.layers import zones as zones
    from landweave.maps import plan as plan
    from landweave.maps import segment as segment
    from landweave.measures import Evaluation as Evaluation
    from landweave.measures import evaluate as evaluate
    from landweave.measures import evaluate_objects as evaluate_objects
    from landweave.measures import indices as indices
    from landweave.measures import list_indices as list_indices
    from landweave.regions import Objects as Objects
    from landweave.regions import objects as objects
    from landweave.results import Change as Change
    from landweave.results import Layer as Layer
    from landweave.results import Plan as Plan
    from landweave.results import Run as Run
    from landweave.results import open_run as open_run
    from landweave.training import Model as Model
    from landweave.training import models as models
    from landweave.training import train as train
    from segmentation.legend import LandClass as LandClass
    from segmentation.legend import Legend as Legend
    from tiling.errors import InputError as InputError

    __version__: str

HOMES = {
    "segment": "landweave.maps",
    "plan": "landweave.maps",
    "objects": "landweave.regions",
    "open_run": "landweave.results",
    "open_scene": "landweave.inputs",
    "train": "landweave.training",
    "models": "landweave.training",
    "evaluate": "landweave.measures",
    "evaluate_objects": "landweave.measures",
    "change": "landweave.layers",
    "vectorise": "landweave.layers",
    "zones": "landweave.layers",
    "composite": "landweave.dates",
    "series": "landweave.dates",
    "indices": "landweave.measures",
    "list_indices": "landweave.measures",
    "Legend": "segmentation.legend",
    "LandClass": "segmentation.legend",
    "InputError": "tiling.errors",
    "Scene": "landweave.inputs",
    "Series": "landweave.dates",
    "Run": "landweave.results",
    "Plan": "landweave.results",
    "Evaluation": "landweave.measures",
    "Change": "landweave.results",
    "Layer": "landweave.results",
    "Objects": "landweave.regions",
    "Model": "landweave.training",
}
"""In which module each name stands."""

__all__ = [
    "Change",
    "Evaluation",
    "InputError",
    "LandClass",
    "Layer",
    "Legend",
    "Model",
    "Objects",
    "Plan",
    "Run",
    "Scene",
    "Series",
    "__version__",
    "change",
    "composite",
    "evaluate",
    "evaluate_objects",
    "indices",
    "list_indices",
    "models",
    "objects",
    "open_run",
    "open_scene",
    "plan",
    "segment",
    "segmenters",
    "series",
    "train",
    "vectorise",
    "zones",
]


def __getattr__(name: str) -> Any:
    """A public name, loaded when it is first asked for."""
    if name == "__version__":
        from importlib.metadata import version

        return version("landweave")
    if name == "segmenters":
        return import_module("landweave.segmenters")
    if name not in HOMES:
        raise AttributeError(f"module 'landweave' has no attribute {name!r}")
    value = getattr(import_module(HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
