"""How far a run is: one fraction over all its stages, which never goes back and ends at 1."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.plan.plan import make_plan
from flows.requests.request import Request
from flows.requests.source import Source
from flows.tasks.course import LATELY, Course, Pace, duration, weights_of
from segmentation.classical.rules import Rules
from tests.scenes import draw_scene

weights = st.dictionaries(st.text(max_size=3), st.floats(0.001, 1000), min_size=1, max_size=6)


@given(weights, st.integers(1, 40))
def test_a_course_never_goes_back_begins_at_0_and_ends_at_1(
    weights: dict[str, float], parts: int
) -> None:
    course = Course(weights)
    way = [course.at(stage, done, parts) for stage in weights for done in range(parts + 1)]
    assert way == sorted(way)
    assert way[0] == 0
    assert way[-1] == 1


@given(weights, weights, st.integers(1, 12), st.data())
def test_the_pieces_of_a_stage_follow_each_other_without_a_gap(
    outer: dict[str, float], inner: dict[str, float], total: int, data: st.DataObject
) -> None:
    course, stage = Course(outer), data.draw(st.sampled_from(list(outer)))
    pieces = [course.piece(stage, done, total, inner) for done in range(total)]
    last = list(inner)[-1]
    for done, piece in enumerate(pieces):
        assert piece.at(next(iter(inner)), 0, 1) == course.at(stage, done, total)
        assert piece.at(last, 1, 1) == pytest.approx(course.at(stage, done + 1, total), abs=1e-12)
        assert piece.at(last, 1, 1) <= piece.end


def test_stages_count_by_their_weight_and_an_empty_one_is_over() -> None:
    course = Course({"segment": 6, "join": 1, "vectorise": 3})
    assert course.at("segment", 1, 2) == pytest.approx(0.3)
    assert course.at("join", 1, 1) == pytest.approx(0.7)
    assert course.at("vectorise", 1, 3) == pytest.approx(0.8)
    assert course.at("vectorise", 0, 0) == 1
    assert course.at("unplanned", 1, 2) == 0


def test_a_plan_weighs_its_stages_by_what_it_asks_for(tmp_path: Path) -> None:
    scene = draw_scene(tmp_path / "scene.tif", 256, 256)

    def weighed(**wishes: object) -> dict[str, float]:
        source = Source(paths=(str(scene),))
        return weights_of(
            make_plan(
                Request(source=source, out=tmp_path / "out", **{"segmenter": Rules(), **wishes})
            )
        )

    usual = weighed()
    assert list(usual) == ["plan", "segment", "sieve", "join", "vectorise", "publish"]
    assert list(weighed(objects=8)) == ["plan", "segment", "regions", *list(usual)[2:]]
    assert list(weighed(products=("classes",), min_area=0)) == [
        "plan",
        "segment",
        "join",
        "publish",
    ]


class Clock:
    """A clock that stands where it is put."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_time_left_is_that_of_the_whole_run_at_the_pace_it_went_lately() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert pace.seconds_left is None
    # a hundredth a second after 24 s
    for clock.now, fraction in (
        (0, 0.0),
        (24, 0.01),
        (29, 0.06),
        (44, 0.21),
    ):
        pace.reach(fraction)
    assert pace.seconds_left == pytest.approx(79)
    slower = 44 + 2 * LATELY
    for clock.now, fraction in ((slower - LATELY, 0.21), (slower, 0.21 + LATELY / 1000)):
        pace.reach(fraction)
    assert pace.seconds_left == pytest.approx((1 - pace.fraction) * 1000)


def test_a_run_that_tells_of_less_stays_where_it_was() -> None:
    pace = Pace(Clock())
    for told, shown in ((0.5, 0.5), (0.2, 0.5), (1.5, 1)):
        pace.reach(told)
        assert pace.fraction == shown


def test_a_length_of_time_is_said_in_one_or_two_units() -> None:
    assert [duration(seconds) for seconds in (0.04, 0.99, 59.4, 59.6, 245, 7800)] == [
        "0.0 s",
        "1.0 s",
        "59 s",
        "1 min 0 s",
        "4 min 5 s",
        "2 h 10 min",
    ]
