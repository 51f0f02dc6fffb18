"""Why a run waits, and behind what: workers that are not there, or another run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun

LOOK = 10.0
"""Seconds between two looks at who works."""

Told = Callable[[str], None]
"""Hears why a run waits, and that it goes on."""


def unheard(_: str) -> None:
    """For nobody."""


@contextmanager
def workers_watched(
    count: Callable[[], int], cluster: str, told: Told, every: float = LOOK
) -> Iterator[None]:
    """While the block lasts, say where a cluster has no worker left, and where one is back."""
    over = threading.Event()

    def watch() -> None:
        before = 1
        while not over.wait(every):
            with suppress(Exception):  # whoever works with the cluster hears of it, and says so
                now = count()
                if before and not now:
                    told(f"waits: {cluster} has no worker; start some, the work goes on by itself")
                elif now and not before:
                    told(f"goes on: {cluster} has {now} worker{'s' if now > 1 else ''}")
                before = now

    thread = threading.Thread(target=watch, name="workers", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


async def tell_of_queue(
    client: PrefectClient, deployments: Sequence[UUID], every: float = LOOK
) -> None:
    """Say in the log and the state of each run that is due, again and again, which run it waits
    for."""
    said: dict[UUID, str] = {}
    while True:
        with suppress(Exception):  # a server that is away is told of by whoever needs it
            await tell_once(client, deployments, said)
        await asyncio.sleep(every)


async def tell_once(
    client: PrefectClient, deployments: Sequence[UUID], said: dict[UUID, str]
) -> None:
    """Tell each run that is due what it waits for, unless it was `said` before."""
    from prefect.client.schemas.objects import StateType

    working = await _runs(
        client, deployments, [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
    )
    if not working:
        return
    why = (
        f"waits for {' and '.join(sorted(run.name for run in working))}: one run works at a "
        "time here"
    )
    now = datetime.now(UTC)
    for run in await _runs(client, deployments, [StateType.SCHEDULED]):
        due = run.next_scheduled_start_time
        if (
            due is not None
            and due <= now
            and said.get(run.id) != why
            and run.id not in {one.id for one in working}
        ):
            await _tell(client, run, why)
            said[run.id] = why


async def _runs(
    client: PrefectClient, deployments: Sequence[UUID], types: Sequence[Any]
) -> list[FlowRun]:
    from prefect.client.schemas.filters import (
        DeploymentFilter,
        DeploymentFilterId,
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )

    return await client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(types)))
        ),
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=list(deployments))),
    )


async def _tell(client: PrefectClient, run: FlowRun, why: str) -> None:
    from prefect.client.schemas.actions import LogCreate
    from prefect.client.schemas.objects import State
    from prefect.states import Scheduled

    line = LogCreate(
        name="landweave", level=20, message=why, timestamp=datetime.now(UTC), flow_run_id=run.id
    )
    await client.create_logs([line])
    latest = await client.read_flow_run(run.id)
    # not one that was cancelled meanwhile
    if latest.state is not None and latest.state.is_scheduled():
        state: State[Any] = Scheduled(
            name="Waiting", scheduled_time=run.next_scheduled_start_time, message=why
        )
        await client.set_flow_run_state(run.id, state)
