"""The bar of a run: one from its start to its end, with its stage, rate and the time that is
left."""

from __future__ import annotations

from typing import Any

import pytest

from flows.tasks import bar
from flows.tasks.bar import PAUSE, Bar, Leg, progress_text
from flows.tasks.course import Course
from tests.flows.tasks.test_course import Clock

Drawn = list[tuple[float, str]]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """What bars send to Prefect, each as one artifact."""
    sent: Drawn = []

    def create(progress: float, key: str, description: str) -> str:
        assert key == "progress-map"
        assert not sent
        sent.append((progress, description))
        return "the artifact"

    def update(artifact: str, progress: float, description: str) -> None:
        assert artifact == "the artifact"
        sent.append((progress, description))

    class Logger:
        def info(self, *_: Any) -> None: ...

    monkeypatch.setattr(bar, "create_progress_artifact", create)
    monkeypatch.setattr(bar, "update_progress_artifact", update)
    monkeypatch.setattr(bar.FlowRunContext, "get", lambda: "a run")
    monkeypatch.setattr(bar, "get_run_logger", Logger)
    return sent


def started(clock: Clock, **weights: float) -> tuple[Bar, Leg]:
    whole = Bar("progress-map", clock)
    return whole, Leg(whole, Course(weights), clock=clock)


def test_a_bar_counts_all_stages_moves_at_most_every_few_seconds_and_is_done_with_the_run(
    drawn: Drawn,
) -> None:
    clock = Clock()
    whole, progress = started(clock, segment=8, join=2)
    for done in range(1, 41):  # four shards a second
        clock.now = done / 4
        progress("segment", done, 40)
    assert [percent for percent, _ in drawn] == [2, 26, 50, 74]
    assert drawn[1][1] == "segment: 13/40 shards, 4/s, about 9 s left"
    clock.now = 30.0
    progress("join", 1, 1)
    clock.now = 30.5
    whole.finish("9 ha in 2 classes")
    assert drawn[-2][0] == 100
    assert drawn[-1] == (100, "done in 30 s: 9 ha in 2 classes")


def test_a_bar_of_many_scenes_goes_on_where_one_scene_ends_and_never_back(drawn: Drawn) -> None:
    clock = Clock()
    _, progress = started(clock, scenes=9, report=1)
    for scene in range(3):
        progress("scenes", scene, 3)
        piece = progress.piece({"segment": 2, "vectorise": 1}, of=f"valley {scene}")
        for stage in ("segment", "vectorise"):
            for done in (1, 2):
                clock.now += PAUSE
                piece(stage, done, 2)
    percents = [percent for percent, _ in drawn]
    assert percents == sorted(percents)
    assert drawn[1] == (10, "valley 0: segment: 1/2 shards")
    assert drawn[-1][0] == 90
    assert drawn[-1][1].startswith("valley 2: vectorise: 2/2 tiles")


def test_a_run_with_nothing_to_do_is_done_and_one_that_stopped_says_where(drawn: Drawn) -> None:
    Bar("progress-map", Clock()).finish("2 scenes, 0 done now")
    assert drawn == [(100, "done in 0.0 s: 2 scenes, 0 done now")]
    drawn.clear()
    clock = Clock()
    whole, progress = started(clock, segment=1)
    progress("segment", 1, 4)
    whole.stop("cancelled")
    assert drawn[-1] == (25, "cancelled; segment: 1/4 shards")


def test_a_run_that_waits_says_why_at_once(drawn: Drawn) -> None:
    whole, progress = started(Clock(), segment=1)
    progress("segment", 1, 4)
    whole.wait("waits: the scheduler has no worker")
    assert drawn[-1] == (25, "waits: the scheduler has no worker")


@pytest.mark.parametrize(
    ("done", "total", "seconds", "text"),
    [
        (0, 40, 3, "0/40 shards"),
        (12, 40, 3.87, "12/40 shards, 3.1/s"),
        (1, 40_000, 8, "1/40,000 shards, 0.12/s"),
        (40, 40, 0, "40/40 shards"),
    ],
)
def test_the_bar_says_how_much_and_how_fast(
    done: int, total: int, seconds: float, text: str
) -> None:
    assert progress_text(done, total, "shards", seconds) == text
