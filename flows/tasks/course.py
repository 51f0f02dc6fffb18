"""How far a run is: its stages in their order, each with its share of the time, as one fraction of
the whole."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from segmentation.models.trained import TrainedSegmenter

if TYPE_CHECKING:
    from flows.plan.plan import Plan

LATELY = 60.0
"""Seconds by which the rest of a run is judged: longer ago another stage was at work, or finished
parts were found."""

SECONDS = {
    "plan": 0.05,
    "segment": 0.1,
    "regions": 1.5,
    "sieve": 0.03,
    "fill holes": 0.03,
    "join": 0.09,
    "vectorise": 0.14,
    "publish": 0.1,
}
"""What a megapixel takes in each stage on one core, measured with rules on the demo's scene."""

TRAINED = 15
"""How many times as long a model that was trained takes to segment a pixel, at least."""

UNITS = {
    "segment": "shards",
    "mask": "shards",
    "regions": "tiles",
    "index": "shards",
    "sieve": "tiles",
    "fill holes": "tiles",
    "cut": "tiles",
    "vectorise": "tiles",
    "join": "rasters",
    "scenes": "scenes",
    "changes": "changes",
    "train": "steps",
    "train on all": "steps",
}
"""What the parts of a stage are; of all others blocks."""


@dataclass(frozen=True)
class Course:
    """Stages in their order with what each weighs, from one fraction of a run to another."""

    weights: Mapping[str, float]
    """Any unit, such as seconds."""
    start: float = 0.0
    end: float = 1.0

    def at(self, stage: str, done: float, total: float) -> float:
        """The fraction of the run that is over when so much of a stage is done; nothing of a stage
        nobody planned."""
        if stage not in self.weights:
            return self.start
        over = list(accumulate(self.weights.values(), initial=0.0))
        place = list(self.weights).index(stage)
        part = min(1.0, done / total) if total else 1.0
        within = (over[place] + part * (over[place + 1] - over[place])) / over[-1]
        return min(self.end, self.start + (self.end - self.start) * within)

    def piece(self, stage: str, done: int, total: int, weights: Mapping[str, float]) -> Course:
        """The course of the next of `total` pieces of a stage, of which so many are done."""
        return Course(weights, self.at(stage, done, total), self.at(stage, done + 1, total))


def weights_of(plan: Plan) -> dict[str, float]:
    """What each stage of a map weighs: about the seconds it takes one core."""
    from flows.plan.plan import pixels_computed

    asked, megapixels = plan.request, plan.window.area / 1e6
    weights = {stage: seconds * megapixels for stage, seconds in SECONDS.items()}
    trained = TRAINED if isinstance(plan.segmenter, TrainedSegmenter) else 1
    weights["segment"] = SECONDS["segment"] * trained * pixels_computed(plan) / 1e6
    weights["regions"] = SECONDS["regions"] * plan.scene.window.area / 1e6
    unasked = {
        "regions": not asked.objects,
        "sieve": asked.min_area == 0,
        "fill holes": not asked.fill_holes,
        "vectorise": "vectors" not in asked.products,
    }
    return {stage: weight for stage, weight in weights.items() if not unasked.get(stage)}


class Pace:
    """How far a run is, which never grows less, and how long the rest takes at the pace it went
    lately."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self.began = clock, clock()
        self.fraction = 0.0
        self._seen: deque[tuple[float, float]] = deque()

    def reach(self, fraction: float) -> None:
        """Take note of where the run is."""
        # until then workers started, which says nothing of the rest
        if fraction > self.fraction == 0:
            self._seen.clear()
        self.fraction = max(self.fraction, min(1.0, fraction))
        now = self._clock()
        self._seen.append((now, self.fraction))
        while len(self._seen) > 2 and now - self._seen[1][0] >= LATELY:
            self._seen.popleft()

    @property
    def seconds_left(self) -> float | None:
        """Seconds; None while nothing tells."""
        if not self._seen:
            return None
        (before, less), (now, more) = self._seen[0], self._seen[-1]
        if more <= less or now <= before:
            return None
        return (1 - more) * (now - before) / (more - less)


def duration(seconds: float) -> str:
    """A length of time as a person says it: `0.4 s`, `9 s`, `4 min 5 s`, `2 h 10 min`."""
    if seconds < 1:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
