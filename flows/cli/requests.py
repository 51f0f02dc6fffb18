"""What commands take, by name: each is imported when a command that takes it is made, so that
`--help` need not."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.compute.cluster import Cluster as Cluster
    from flows.requests.change import ChangeRequest as ChangeRequest
    from flows.requests.conversion import Conversion as Conversion
    from flows.requests.conversion import Export as Export
    from flows.requests.crops.request import CropsRequest as CropsRequest
    from flows.requests.dates.composite import CompositeRequest as CompositeRequest
    from flows.requests.dates.series import SeriesRequest as SeriesRequest
    from flows.requests.maps import Evaluation as Evaluation
    from flows.requests.maps import IndexRequest as IndexRequest
    from flows.requests.maps import Vectorising as Vectorising
    from flows.requests.maps import ZonesRequest as ZonesRequest
    from flows.requests.method import Method as Method
    from flows.requests.objects import ObjectsRequest as ObjectsRequest
    from flows.requests.request import Request as Request
    from flows.requests.series import CollectionRequest as CollectionRequest
    from flows.requests.series import MonitorRequest as MonitorRequest
    from flows.requests.source import DrawnScene as DrawnScene
    from flows.requests.source import Source as Source
    from flows.requests.training import Training as Training
    from flows.setting import Part as Part

MODULES = {
    "Cluster": "flows.compute.cluster",
    "ChangeRequest": "flows.requests.change",
    "Conversion": "flows.requests.conversion",
    "CropsRequest": "flows.requests.crops.request",
    "DrawnScene": "flows.requests.source",
    "Evaluation": "flows.requests.maps",
    "Export": "flows.requests.conversion",
    "IndexRequest": "flows.requests.maps",
    "Part": "flows.setting",
    "Method": "flows.requests.method",
    "ObjectsRequest": "flows.requests.objects",
    "Request": "flows.requests.request",
    "CollectionRequest": "flows.requests.series",
    "CompositeRequest": "flows.requests.dates.composite",
    "MonitorRequest": "flows.requests.series",
    "SeriesRequest": "flows.requests.dates.series",
    "Source": "flows.requests.source",
    "Training": "flows.requests.training",
    "Vectorising": "flows.requests.maps",
    "ZonesRequest": "flows.requests.maps",
}


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"no command takes {name}")
    return getattr(import_module(MODULES[name]), name)
