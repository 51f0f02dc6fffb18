"""The workers of a Dask cluster as a pool."""

from __future__ import annotations

import logging
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from flows.compute.cards import CardFailed, OnCard
from flows.compute.pool import ATTEMPTS, BACKOFF, GPU, R, T, may_pass

if TYPE_CHECKING:
    from distributed import Client, Future


FRESH = 3.0
"""Seconds for which what the scheduler said of its workers is believed."""

SICK = 2
"""Processes of one worker in which its graphics card failed, before the worker is left out."""


class SchedulerLost(RuntimeError):
    """The scheduler went away while work was under way."""


@contextmanager
def alive() -> Iterator[None]:
    """Turn what Dask says when the scheduler is gone into `SchedulerLost`; a closed connection is
    an `OSError`."""
    try:
        yield
    except (CancelledError, OSError) as lost:
        raise SchedulerLost(
            "the Dask scheduler went away; what is finished is kept, and the same command goes on "
            "from there"
        ) from lost


class DaskPool:
    """The workers of a Dask cluster. Settings and paths travel; pixels do not."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: dict[str, Any] = {}
        self._seen = 0.0
        self._failed: defaultdict[str, set[int]] = defaultdict(set)

    def as_completed(
        self, function: Callable[[T], R], items: Iterable[T], *, gpu: bool = False
    ) -> Iterator[tuple[T, R | Exception]]:
        from distributed import as_completed

        where = self._placement(gpu)
        called = OnCard(function) if "resources" in where else function
        waiting, under_way = iter(items), dict[Any, tuple[T, int]]()
        # when to try again, what, for the how-manieth time
        resting: list[tuple[float, T, int]] = []
        finished = as_completed(loop=self._client.loop)

        def submit(item: T, attempt: int) -> None:
            future = self._client.submit(called, item, pure=False, **where)
            under_way[future.key] = item, attempt
            finished.add(future)

        def fill() -> None:
            for due in [rest for rest in resting if rest[0] <= time.monotonic()]:
                resting.remove(due)
                submit(*due[1:])
            most = self._in_flight(gpu)
            while len(under_way) + len(resting) < most:
                for item in waiting:
                    submit(item, 1)
                    break
                else:
                    return

        try:
            fill()
            while under_way or resting:
                if not under_way:
                    due = min(rest[0] for rest in resting)
                    time.sleep(max(0.0, due - time.monotonic()))
                    fill()
                    continue
                future = next(finished)
                item, attempt = under_way.pop(future.key)
                outcome = self._outcome(future)
                if isinstance(outcome, Exception) and attempt < ATTEMPTS and may_pass(outcome):
                    resting.append(
                        (time.monotonic() + BACKOFF * 2 ** (attempt - 1), item, attempt + 1)
                    )
                    fill()
                else:
                    fill()
                    yield item, outcome
        finally:
            finished.clear()

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        where = self._placement(gpu=False)
        under_way: deque[Future[Any]] = deque()
        waiting = iter(items)

        def fill() -> None:
            most = self._in_flight(gpu=False)
            while len(under_way) < most:
                for item in waiting:
                    under_way.append(self._client.submit(function, item, pure=False, **where))
                    break
                else:
                    return

        fill()
        while under_way:
            outcome = self._outcome(under_way.popleft())
            if isinstance(outcome, Exception):
                raise outcome
            fill()
            yield outcome

    def everywhere(
        self, function: Callable[[], R], *, gpu: bool = False
    ) -> dict[str, R | Exception]:
        with_card = self.cards()
        chosen = list(with_card) if gpu and with_card else None
        with alive():
            return dict(self._client.run(_beside(function), workers=chosen, on_error="return"))

    def cards(self) -> dict[str, float]:
        found = {
            address: worker.get("resources", {}).get(GPU, 0)
            for address, worker in self._workers().items()
        }
        return {address: cards for address, cards in found.items() if cards}

    def sizes(self, *, gpu: bool = False) -> dict[str, tuple[int, int]]:
        """Bytes each worker may use, 0 for no limit, and how many pieces of work it takes at once,
        by address.

        With `gpu` of those alone that have a graphics card, where there are any.
        """
        cards = self.cards() if gpu else {}
        return {
            address: (
                int(worker["memory_limit"] or 0),
                max(1, int(cards.get(address, worker["nthreads"]))),
            )
            for address, worker in self._workers().items()
            if address in cards or not cards
        }

    def _leave_out_if_sick(self, failure: CardFailed) -> None:
        """Retire a worker whose card failed in two processes; raise what failed where no other
        worker has one."""
        self._failed[failure.worker].add(failure.process)
        if len(self._failed[failure.worker]) < SICK:
            return
        self._seen = 0.0
        sick = [
            address
            for address, worker in self._workers().items()
            if failure.worker in (address, worker.get("nanny"))
        ]
        if not self.cards().keys() - set(sick):
            raise failure
        logging.getLogger("landweave").warning("%s; the run goes on without it", failure)
        with alive():
            self._client.retire_workers(sick)
        self._seen = 0.0

    def _outcome(self, future: Future[Any]) -> Any:
        """A future's result or its failure; `SchedulerLost` where nobody knows any more."""
        with alive():
            error = future.exception()  # waits
            result = error if error is not None else future.result()
        future.release()
        if isinstance(result, CardFailed):
            self._leave_out_if_sick(result)
        return result

    def _in_flight(self, gpu: bool) -> int:
        """Enough that no worker waits for the scheduler, few enough that a cancelled run ends at
        once."""
        cards = self.cards()
        if gpu and cards:
            return max(2, 2 * int(sum(cards.values())))
        # asked anew for each piece, the scheduler's answer would be what a large cluster waits for
        return max(2, 2 * sum(int(worker["nthreads"]) for worker in self._workers().values()))

    def _placement(self, gpu: bool) -> dict[str, Any]:
        """Where pieces of work may run: on a graphics card, or rather on workers without one."""
        cards = self.cards()
        if not cards:
            return {}
        if gpu:
            return {"resources": {GPU: 1}}
        without = [address for address in self._workers() if address not in cards]
        return {"workers": without, "allow_other_workers": True} if without else {}

    def _workers(self) -> dict[str, Any]:
        """The scheduler's view of its workers, at most a few seconds old."""
        if time.monotonic() - self._seen > FRESH or not self._known:
            with alive():
                self._known, self._seen = (
                    dict(self._client.scheduler_info(n_workers=-1)["workers"]),
                    time.monotonic(),
                )
        return self._known


def _beside(function: Callable[[], R]) -> Callable[[], Any]:
    """The function as a worker runs it while its heart goes on beating: to import torch and open
    a card takes longer than a scheduler waits for a silent worker. It travels by value."""

    async def beside() -> R:
        import asyncio

        return await asyncio.to_thread(function)

    return beside
