import time
from collections.abc import Iterator

import pytest

from flows import cluster
from flows.cluster import Cluster
from flows.pools import DaskPool, Pool
from tiling.errors import Mistake


def double(x: int) -> int:
    return 2 * x


def slowest_first(x: int) -> int:
    time.sleep(0.05 if x == 0 else 0)
    return x


def fails_on_three(x: int) -> int:
    if x == 3:
        raise Mistake("three is not a number I like")
    return x


def processes() -> int:
    import os

    return os.getpid()


@pytest.fixture(scope="module", params=[0, 2])
def pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    with cluster.start(Cluster(workers=request.param)) as started:
        yield started


def test_results_come_in_the_order_of_the_items(pool: Pool) -> None:
    assert list(pool.map(slowest_first, range(9))) == list(range(9))


def test_every_item_comes_back_once(pool: Pool) -> None:
    assert sorted(pool.as_completed(double, range(20))) == [(i, 2 * i) for i in range(20)]


def test_no_items_no_results(pool: Pool) -> None:
    assert list(pool.map(double, [])) == list(pool.as_completed(double, [])) == []


def test_a_failure_does_not_stop_the_others(pool: Pool) -> None:
    outcomes = dict(pool.as_completed(fails_on_three, range(6)))
    assert {item: outcome for item, outcome in outcomes.items() if item != 3} == {i: i for i in (0, 1, 2, 4, 5)}
    assert isinstance(outcomes[3], Mistake)
    assert str(outcomes[3]) == "three is not a number I like"


def test_a_failure_in_order_is_raised(pool: Pool) -> None:
    with pytest.raises(Mistake, match="three"):
        list(pool.map(fails_on_three, range(6)))


def test_only_a_few_items_are_taken_ahead(pool: Pool) -> None:
    taken = []

    def items() -> Iterator[int]:
        for i in range(1000):
            taken.append(i)
            yield i

    results = pool.map(double, items())
    assert next(results) == 0
    assert len(taken) < 20


def test_everywhere_asks_each_worker(pool: Pool) -> None:
    answers = pool.everywhere(processes)
    assert len(answers) == len(set(answers.values())) == (2 if isinstance(pool, DaskPool) else 1)


def test_workers_that_differ_are_named() -> None:
    assert cluster.agree({"a": {"torch": "2"}, "b": {"torch": "2"}}, "runtime") == {"torch": "2"}
    with pytest.raises(Mistake, match=r"workers differ in runtime: a has .*'2'.*, b has .*'3'"):
        cluster.agree({"a": {"torch": "2"}, "b": {"torch": "3"}}, "runtime")


def test_work_that_does_not_fit_is_refused_before_it_starts() -> None:
    with pytest.raises(Mistake, match="smaller --shard"), cluster.start(Cluster(workers=1), worker_bytes=10**15):
        pass


def test_a_scheduler_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "SCHEDULER_TIMEOUT", 1)
    with (
        pytest.raises(Mistake, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"),
        cluster.start(Cluster(kind="tcp://127.0.0.1:9")),
    ):
        pass


def test_one_shard_needs_no_second_process() -> None:
    assert cluster.fitting(shards=1, worker_bytes=1) == 0
    assert cluster.fitting(shards=1000, worker_bytes=10**15) == 0
