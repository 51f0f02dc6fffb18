"""The bar that Prefect shows of a run: one from its start to its end, whatever its stages and
however many scenes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger

from flows.tasks.course import UNITS, Course, Pace, duration

PAUSE = 3.0
"""Seconds between two updates: each one is a request of about 60 ms, and the database takes one at
a time."""


class Bar:
    """How far a flow run is. Outside of one it is silent."""

    def __init__(self, key: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._key, self._clock = key, clock
        self._pace = Pace(clock)
        self._drawn = -PAUSE
        self._words = ""
        self._artifact: Any = None
        self._logger = get_run_logger() if FlowRunContext.get() else None

    def along(self, weights: Mapping[str, float]) -> Leg:
        """A `Progress` for the whole run, whose stages have these weights."""
        return Leg(self, Course(weights))

    def reach(self, fraction: float, words: str, *, of: str = "") -> None:
        """The run is so far, in these words."""
        self._pace.reach(fraction)
        left = self._pace.seconds_left
        rest = f", about {duration(left)} left" if left and self._pace.fraction < 1 else ""
        self._words = f"{of}: {words}{rest}" if of else f"{words}{rest}"
        if self._clock() - self._drawn >= PAUSE:
            self._draw()

    def wait(self, why: str) -> None:
        """The run waits: say why, here and in the log; or that it goes on."""
        if self._logger is not None:
            self._logger.info("%s", why)
        self._words = why
        self._draw()

    def finish(self, message: str) -> None:
        """The run is over, and this came of it."""
        self._pace.reach(1.0)
        self._words = f"done in {duration(self._clock() - self._pace.began)}: {message}"
        self._draw()

    def stop(self, why: str) -> None:
        """The run is over before its end."""
        self._words = f"{why}; {self._words}" if self._words else why
        self._draw()

    def _draw(self) -> None:
        if self._logger is None:
            return
        self._drawn, percent = self._clock(), round(100 * self._pace.fraction, 1)
        try:
            if self._artifact is None:
                self._artifact = create_progress_artifact(
                    percent, key=self._key, description=self._words
                )
            else:
                update_progress_artifact(self._artifact, percent, self._words)
        except httpx.HTTPError as error:  # the run is worth more than its bar
            self._logger.warning("The progress bar could not be drawn: %s", error)


class Leg:
    """A `Progress`: how far a run, or one piece of it, is along its course. `of` says of what."""

    def __init__(
        self, bar: Bar, course: Course, of: str = "", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.bar, self._course, self._of, self._clock = bar, course, of, clock
        self._here = "", 0, 1
        self._began = 0.0, 0

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = self._clock()
        if stage != self._here[0]:  # until then workers started, which says nothing of the rate
            self._began = now, done
        self._here = stage, done, total
        since, before = self._began
        parts = progress_text(done, total, UNITS.get(stage, "blocks"), now - since, before)
        words = f"{stage}: {parts}" if total > 1 else stage
        self.bar.reach(self._course.at(stage, done, total), words, of=self._of)

    def piece(self, weights: Mapping[str, float], of: str) -> Leg:
        """A `Progress` for the next piece of the stage that was last told of."""
        return Leg(self.bar, self._course.piece(*self._here, weights), of, self._clock)


def progress_text(done: int, total: int, units: str, seconds: float, before: int = 0) -> str:
    """Where a stage stands, such as `12/40 shards, 3.1/s`; so many were done `before` these
    seconds."""
    text = f"{done:,}/{total:,} {units}"
    return f"{text}, {(done - before) / seconds:.2g}/s" if done > before and seconds else text
