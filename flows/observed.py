"""Work as Prefect sees it: a run ends in one sentence, its stages are task runs, its products are assets."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from prefect import State, task
from prefect.assets import Asset, AssetProperties, materialize
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import FailedRun, ParameterTypeError
from prefect.states import Completed, Failed
from prefect.types.names import RESTRICTED_ASSET_CHARACTERS

import segmentation.errors
import tiling.errors
from flows.pools import may_pass
from flows.request import reach_of_forms
from tiling.cache import CACHE
from tiling.errors import Away
from tiling.reach import confined

if TYPE_CHECKING:
    from flows.storage import Remote

T = TypeVar("T")

MISTAKES = (tiling.errors.Mistake, segmentation.errors.Mistake)

PAUSES = [10, 60]
"""Seconds before a stage is tried again that failed for a reason which may pass, such as a storage that was away."""

ON_GPU = "gpu"
"""Tag of task runs that use this machine's graphics cards; a concurrency limit of this name makes them queue."""


def ended(work: Callable[[], tuple[str, Sequence[object]]]) -> State[Any]:
    """The state in which a flow run ends: completed, with a sentence and the files; or failed, with a person's mistake.

    The work reaches no farther than whoever runs this allows.
    """
    try:
        with confined(reach_of_forms()):
            message, files = work()
    except MISTAKES as mistake:
        return Failed(message=str(mistake))
    return Completed(message=message, data=list(map(str, files)))


def step(
    name: str, description: str, work: Callable[[], T], *, tags: Sequence[str] = (), assets: Sequence[Asset] = ()
) -> T:
    """The result of `work`, which Prefect sees as a task run that makes these assets.

    It is done again where its failure may pass. The task takes no arguments: Prefect would search them for futures,
    down to the last of ten thousand shards.
    """
    settings: dict[str, Any] = {
        "name": name.partition(" · ")[0],
        "task_run_name": name,
        "description": description,
        "tags": list(tags),
        "cache_policy": NO_CACHE,
        "persist_result": False,
        "retries": len(PAUSES),
        "retry_delay_seconds": PAUSES,
        "retry_condition_fn": worth_another,
    }

    def observed() -> T:
        return work()

    return (materialize(*assets, **settings) if assets else task(**settings))(observed)()


def worth_another(_: Any, __: Any, state: State[Any]) -> bool:
    """Whether another attempt at a task could succeed: a mistake stays one, a storage may come back."""
    chain = list(causes(state.result(raise_on_failure=False)))
    if any(isinstance(error, Away) for error in chain):  # below the mistake that counts the shards it failed
        return True
    causes_of_ours = takewhile(lambda error: not isinstance(error, MISTAKES), chain)
    return any(map(may_pass, causes_of_ours))


def causes(error: object) -> Iterator[BaseException]:
    """An error, what it came from, what that came from."""
    while isinstance(error, BaseException):
        yield error
        error = error.__cause__


def asset(file: Path | Remote, description: str) -> Asset:
    """A product as an asset, known by its address: the same in every run that writes it."""
    address = f"file://{file.resolve()}" if isinstance(file, Path) else str(file)
    for character in RESTRICTED_ASSET_CHARACTERS:
        address = address.replace(character, "_")
    return Asset(key=address, properties=AssetProperties(name=file.name, description=description))


@contextmanager
def empty_main() -> Iterator[None]:
    """Processes spawned within the block import nothing of Prefect.

    `multiprocessing` has each one import the main module again, which in a flow run is `prefect.engine`: 5 s and
    100 MB a worker.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def news(record: logging.LogRecord) -> bool:
    """Whether a log record says more than a state's message: of a mistake Prefect logs 40 lines of its own calls."""
    return not (record.exc_info and isinstance(record.exc_info[1], (*MISTAKES, FailedRun, ParameterTypeError)))


for logger in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(logger).addFilter(news)
logging.getLogger("rasterio").setLevel(logging.ERROR)  # GDAL remarks on every odd tag, and raises what matters
os.environ.setdefault("GDAL_CACHEMAX", str(CACHE >> 20))  # MB, before GDAL's first use, as on the command line
