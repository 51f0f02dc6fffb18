"""Every kind of partition that is installed, ours and third parties' alike, by name."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from flows.parsing import nearest, validate
from flows.partitions.partition import Partition
from tiling.errors import InputError

ENTRY_POINTS = "landweave.partitions"


@cache
def _entry_points() -> dict[str, EntryPoint]:
    points = sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name)
    return {point.name: point for point in points}


def kinds() -> tuple[str, ...]:
    """Names of all installed partitions; loads none of them."""
    return tuple(_entry_points())


@cache
def partition_class(kind: str) -> type[Partition]:
    """The class registered under `kind`; `InputError` for an unknown kind or one whose package does
    not load."""
    point = _entry_points().get(kind)
    if point is None:
        raise InputError(
            f"there is no method {kind!r}; installed are {', '.join(kinds())}"
            + nearest(kind, kinds())
        )
    try:
        loaded = point.load()
    except (ImportError, AttributeError) as error:
        raise InputError(f"method {kind!r} of {point.value} does not load: {error}") from error
    if not (isinstance(loaded, type) and issubclass(loaded, Partition)):
        raise InputError(f"method {kind!r} of {point.value} is not a Partition")
    return loaded


def partition_from(kind: str, **settings: Any) -> Partition:
    """A partition by kind and settings; `InputError` in one line where they do not fit."""
    return validate(partition_class(kind), kind=kind, **settings)


def _resolve(value: Any) -> Any:
    if isinstance(value, Partition) or not isinstance(value, dict):
        return value
    if "kind" not in value:
        raise InputError(f"a partition needs a kind; installed are {', '.join(kinds())}")
    return partition_class(value["kind"]).model_validate(value)


AnyPartition = Annotated[SerializeAsAny[Partition], BeforeValidator(_resolve)]
"""A field that holds any installed partition, resolved by `kind` when it is validated and dumped
whole."""
