"""The method of instances as a form asks for it: with the network that looks at the scene first."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field

from flows.partitions.instances import Instances
from flows.partitions.partition import Partition
from flows.requests.objects import ObjectsRequest
from flows.requests.request import Grid

_NETWORK, _GRID = (ObjectsRequest.model_fields[name] for name in ("network", "grid"))


def _network_first(schema: dict[str, Any]) -> None:
    """Ask for the network and its pixels before what follows from them."""
    asked = schema["properties"]
    first = {name: asked.pop(name) for name in ("kind", "segmenter", "grid")}
    schema["properties"] = first | asked


class Looking(Instances):
    """Objects from probabilities of their interior and their boundary: those of a segmenter that
    looks at the scene first, or of bands of the scene, as `segment --products probabilities` writes
    them for a network that learnt both."""

    model_config = ConfigDict(json_schema_extra=_network_first)

    segmenter: str = Field("", title=_NETWORK.title, description=_NETWORK.description)
    grid: Grid = Field("scene", title=_GRID.title, description=_GRID.description)

    @property
    def plain(self) -> Instances:
        """The method alone."""
        return Instances.model_validate(self.model_dump(exclude={"segmenter", "grid"}))


def split_look(method: Partition) -> tuple[Partition, dict[str, Any]]:
    """The method of a form, and what a request says beside it of who looks first."""
    if isinstance(method, Looking):
        return method.plain, {"network": method.segmenter, "grid": method.grid}
    return method, {}
