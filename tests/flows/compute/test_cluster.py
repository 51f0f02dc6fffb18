"""Pools give back what they were given, on every kind of cluster; workers get what they are there
for."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from distributed.comm import CommClosedError

from flows.compute import cluster, resources
from flows.compute import pool as pools
from flows.compute.cluster import Cluster
from flows.compute.dask_pool import DaskPool, SchedulerLost
from flows.compute.pool import Pool, ThisProcess
from flows.compute.work import Work
from tests.server import wait_until
from tiling.errors import InputError

GIB = 2**30


def double(x: int) -> int:
    return 2 * x


def slowest_first(x: int) -> int:
    time.sleep(0.05 if x == 0 else 0)
    return x


def fails_on_three(x: int) -> int:
    if x == 3:
        raise InputError("three is not a number I like")
    return x


def processes() -> int:
    import os

    return os.getpid()


@pytest.fixture(scope="module")
def two_workers() -> Iterator[Pool]:
    """Processes of this machine, each watched by Dask's nanny."""
    with cluster.start(Cluster(workers=2)) as started:
        yield started


@pytest.fixture(params=["this process", "two_workers"])
def pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    if request.param == "two_workers":
        yield request.getfixturevalue("two_workers")
    else:
        with cluster.start(Cluster(workers=0)) as started:
            yield started


def test_results_come_in_the_order_of_the_items(pool: Pool) -> None:
    assert list(pool.map(slowest_first, range(9))) == list(range(9))


def test_every_item_comes_back_once(pool: Pool) -> None:
    assert sorted(pool.as_completed(double, range(20))) == [(i, 2 * i) for i in range(20)]


def test_no_items_no_results(pool: Pool) -> None:
    assert list(pool.map(double, [])) == list(pool.as_completed(double, [])) == []


def test_a_failure_does_not_stop_the_others(pool: Pool) -> None:
    outcomes = dict(pool.as_completed(fails_on_three, range(6)))
    assert {item: outcome for item, outcome in outcomes.items() if item != 3} == {
        i: i for i in (0, 1, 2, 4, 5)
    }
    assert isinstance(outcomes[3], InputError)
    assert str(outcomes[3]) == "three is not a number I like"


def test_a_failure_in_order_is_raised(pool: Pool) -> None:
    with pytest.raises(InputError, match="three"):
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


def test_threads_of_this_process_work_at_once() -> None:
    meeting = threading.Barrier(2, timeout=20)  # one alone would wait there in vain
    assert list(ThisProcess(2).map(lambda item: (meeting.wait(), item)[1], range(4))) == [
        0,
        1,
        2,
        3,
    ]


def test_whoever_stops_listening_stops_the_threads() -> None:
    begun: list[int] = []
    results = ThisProcess(2).map(begun.append, range(100))
    next(results)
    results.close()
    assert len(begun) < 10
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("map")]


def test_everywhere_asks_each_worker(pool: Pool) -> None:
    answers = pool.everywhere(processes)
    assert len(answers) == len(set(answers.values())) == (2 if isinstance(pool, DaskPool) else 1)


def test_workers_that_differ_are_named() -> None:
    assert resources.require_same_answer({"a": {"torch": "2"}, "b": {"torch": "2"}}, "runtime") == {
        "torch": "2"
    }
    with pytest.raises(InputError, match=r"workers differ in runtime: a has .*'2'.*, b has .*'3'"):
        resources.require_same_answer({"a": {"torch": "2"}, "b": {"torch": "3"}}, "runtime")
    with pytest.raises(InputError, match=r"declare those that have a graphics card .*GPU=1"):
        resources.require_same_answer({"a": {"device": "AVX512"}, "b": {"device": "L4"}}, "runtime")


def test_work_that_does_not_fit_is_refused_before_it_starts() -> None:
    with (
        pytest.raises(InputError, match="smaller --shard"),
        cluster.start(Cluster(workers=1), Work(1, 10**15)),
    ):
        pass


def test_a_scheduler_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "SCHEDULER_TIMEOUT", 1)
    with (
        pytest.raises(InputError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"),
        cluster.start(Cluster(kind="tcp://127.0.0.1:9")),
    ):
        pass


def test_one_shard_needs_no_second_process() -> None:
    assert resources.worker_count(Work(1, 1)) == 0
    assert resources.worker_count(Work(1000, 10**15)) == 0


def test_as_many_processes_are_started_as_fit_with_the_cores_each_then_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resources, "available_cores", lambda: 8)
    monkeypatch.setattr(resources, "available_memory", lambda: 30 * GIB)
    assert resources.worker_count(Work(1000, 2 * GIB)) == 8
    # of one core each; 8 would take 32
    assert resources.worker_count(Work(1000, lambda cores, at_once: GIB * (3 + cores))) == 7
    assert resources.worker_count(Work(20, 2 * GIB)) == 5


# ----------------------------------------------------------------------------------- other clusters


@pytest.mark.parametrize(
    ("name", "workers", "settings", "kind"),
    [
        ("local", None, {}, "local"),
        ("local", 3, {}, "local"),
        ("tcp://10.0.0.1:8786", None, {}, "tcp://10.0.0.1:8786"),
        ("slurm", 4, {"queue": "gpu"}, "slurm"),
        ("distributed.LocalCluster", 1, {}, "distributed.LocalCluster"),
    ],
)
def test_a_cluster_is_named_in_one_word(
    name: str, workers: int | None, settings: dict[str, str], kind: str
) -> None:
    found = cluster.cluster_from(name, workers, settings)
    assert (found.kind, found.workers, found.settings) == (kind, workers, settings)


def test_a_file_says_the_same_and_settings_lie_over_it(tmp_path: Path) -> None:
    file = tmp_path / "hpc.yaml"
    file.write_text("kind: slurm\nworkers: 8\nsettings:\n  queue: gpu\n  cores: 8\n")
    found = cluster.cluster_from(str(file), 2, {"queue": "cpu"})
    assert found == Cluster(kind="slurm", workers=2, settings={"queue": "cpu", "cores": 8})


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("slrm", "there is no cluster 'slrm'; say local, cuda, kubernetes, slurm, gateway"),
        ("nowhere.yaml", "nowhere.yaml"),
    ],
)
def test_a_cluster_that_does_not_exist_is_a_mistake(name: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        cluster.cluster_from(name, None, {})


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("no_such_package.Cluster", "no_such_package.Cluster is not installed here"),
        ("distributed.NoSuchCluster", "distributed has no class NoSuchCluster"),
        (
            "gateway",
            r"dask_gateway\.GatewayCluster is not installed here .* pip install "
            r"'landweave\[gateway\]'",
        ),
    ],
)
def test_a_class_that_is_not_there_is_named_with_its_package(kind: str, told: str) -> None:
    with pytest.raises(InputError, match=told), cluster.start(Cluster(kind=kind)):
        pass


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("builtins.print", "builtins.print is no class of Dask clusters"),
        ("collections.OrderedDict", "is no class of Dask clusters"),
        ("tls://127.0.0.1:1", r"needs certificates; name them with --cluster-set ca_file=FILE"),
        ("slurm", "submits jobs with sbatch, and this machine has no such command"),
    ],
)
def test_what_cannot_start_a_cluster_is_a_mistake_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str, told: str
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match=told), cluster.start(Cluster(kind=kind)):
        pass
    assert capsys.readouterr().out == "", "print was not called"


def test_settings_a_class_does_not_take_are_named() -> None:
    with (
        pytest.raises(
            InputError, match=r"cluster distributed\.LocalCluster does not start: .*colour"
        ),
        cluster.start(Cluster(kind="distributed.LocalCluster", settings={"colour": "red"})),
    ):
        pass


def test_any_class_of_dasks_interface_works() -> None:
    settings = {"processes": False, "dashboard_address": "127.0.0.1:0", "n_workers": 0}
    with cluster.start(
        Cluster(kind="distributed.LocalCluster", workers=2, settings=settings)
    ) as pool:
        assert list(pool.map(double, range(5))) == [0, 2, 4, 6, 8]


SBATCH = """#!/bin/sh
cp "$1" "$1.job"  # the script goes when this one returns
setsid sh "$1.job" >/dev/null 2>&1 &
echo $! >> "$(dirname "$0")/jobs"
echo Submitted batch job $!
"""
QUEUE = {"sbatch": SBATCH, "scancel": '#!/bin/sh\nkill -- "-$1"\n'}
"""A queue that runs every job at once, in a session of its own."""


def test_slurm_starts_workers_through_its_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dask_jobqueue")
    for name, script in QUEUE.items():
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    settings: dict[str, Any] = {"interface": "lo", "memory": "1GB", "log_directory": str(tmp_path)}
    with cluster.start(Cluster(kind="slurm", workers=1, settings=settings)) as pool:
        assert list(pool.map(double, range(5))) == [0, 2, 4, 6, 8]
    assert (tmp_path / "jobs").read_text().strip()


# --------------------------------------------------------------------------------- where things run


def say_where(_: int) -> str:
    from distributed import get_worker

    time.sleep(0.02)
    return str(get_worker().name)


@pytest.fixture
def mixed() -> Iterator[DaskPool]:
    """Two workers with a graphics card, as they say, and one without."""
    from distributed import Client, Scheduler, SpecCluster, Worker

    card = {"cls": Worker, "options": {"nthreads": 1, "resources": {"GPU": 1}}}
    workers = {"gpu-0": card, "gpu-1": card, "cpu-0": {"cls": Worker, "options": {"nthreads": 2}}}
    scheduler = {
        "cls": Scheduler,
        "options": {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"},
    }
    with (
        SpecCluster(workers, scheduler=scheduler, silence_logs=50) as started,
        Client(started) as client,
    ):
        client.wait_for_workers(3)
        yield DaskPool(client)


def test_gpus_get_what_asks_for_them_and_nothing_else(mixed: DaskPool) -> None:
    networks = {worker for _, worker in mixed.as_completed(say_where, range(12), gpu=True)}
    assert networks == {"gpu-0", "gpu-1"}
    assert set(mixed.map(say_where, range(12))) == {"cpu-0"}
    assert len(mixed.everywhere(processes)) == 3
    assert len(mixed.everywhere(processes, gpu=True)) == 2


def runs_on_main_thread() -> bool:
    import threading

    return threading.current_thread() is threading.main_thread()


def test_who_is_asked_goes_on_giving_signs_of_life(two_workers: Pool) -> None:
    """A scheduler gives up workers that are silent while they import torch."""
    assert list(two_workers.everywhere(runs_on_main_thread).values()) == [False, False]


def test_workers_with_too_little_memory_are_named(
    mixed: DaskPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_core(*_: object, **__: object) -> dict[str, int]:
        return dict.fromkeys(sizes, 1)

    sizes = {"tcp://10.0.0.7:1": (GIB, 1)}
    monkeypatch.setattr(mixed, "sizes", lambda gpu: sizes)
    monkeypatch.setattr(mixed, "everywhere", one_core)
    assert resources.check_workers(mixed, Work(1, 2**29)) is mixed
    with pytest.raises(
        InputError, match=r"worker tcp://10\.0\.0\.7:1 would take 2\.0 GiB on its 1 cores, 1 pieces"
    ):
        resources.check_workers(mixed, Work(1, 2 * GIB))
    sizes = {"tcp://10.0.0.7:1": (GIB, 4)}
    with pytest.raises(
        InputError, match=r"would take 2\.0 GiB on its 1 cores, 4 pieces of work at once"
    ):
        resources.check_workers(mixed, Work(1, GIB // 2))


def test_a_worker_is_asked_for_the_memory_of_its_own_cores(
    mixed: DaskPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This machine may have many more, and then every ordinary network seemed too large for small
    workers."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # the workers of `mixed` are threads of this process
    asked = set()

    def piece_bytes(cores: int, at_once: int) -> int:
        asked.add((cores, at_once))
        return 0

    resources.check_workers(mixed, Work(1, piece_bytes))
    assert asked == {(2, 1), (2, 2)}
    asked.clear()
    resources.check_workers(mixed, Work(1, piece_bytes, gpu=True))
    assert asked == {(2, 1)}, "the worker without a card gets none of it"


# ------------------------------------------------------------------------ workers that are not well


def slow_where_first(mark: Path) -> int:
    """The first process that gets here takes its time, from then on."""
    with suppress(FileExistsError), mark.open("x") as file:
        file.write(str(os.getpid()))
    time.sleep(1.5 if mark.read_text() == str(os.getpid()) else 0.01)
    return os.getpid()


def dies_the_first_time(item: tuple[int, Path]) -> int:
    number, mark = item
    if number == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.slow
def test_a_cluster_leaves_the_variables_of_this_process_as_they_were() -> None:
    before = dict(os.environ)
    with cluster.start(Cluster(workers=1)) as pool:
        assert len(pool.everywhere(processes)) == 1
    assert dict(os.environ) == before


def test_a_slow_worker_holds_up_nobody(two_workers: Pool, tmp_path: Path) -> None:
    done = Counter(
        pid for _, pid in two_workers.as_completed(slow_where_first, [tmp_path / "mark"] * 40)
    )
    assert done.total() == 40
    slow = int((tmp_path / "mark").read_text())
    assert done[slow] <= 10, "the other one takes what it does not come to"


@pytest.mark.slow
def test_a_worker_that_dies_comes_back_and_its_work_is_done(
    two_workers: Pool, tmp_path: Path
) -> None:
    before = set(two_workers.everywhere(os.getpid).values())
    items = [(number, tmp_path / "mark") for number in range(8)]
    outcomes = [outcome for _, outcome in two_workers.as_completed(dies_the_first_time, items)]
    assert sorted(outcomes) == list(range(8))
    wait_until(lambda: len(set(two_workers.everywhere(os.getpid).values())) == 2, 60)
    after = set(two_workers.everywhere(os.getpid).values())
    assert len(after & before) == 1, "one was started anew"


# ------------------------------------------------------------------------------------- second tries

tries: Counter[int] = Counter()


def works_the_second_time(item: int) -> int:
    tries[item] += 1
    if tries[item] == 1:
        raise ConnectionError("the storage did not answer")
    return item


def never_works(item: int) -> int:
    tries[item] += 1
    raise OSError(errno.ENOSPC if item else errno.EIO, "what a disk says")


@pytest.fixture(params=["this process", "a cluster"])
def retrying(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    monkeypatch.setattr("flows.compute.dask_pool.BACKOFF", 0.05)
    tries.clear()
    settings = {"processes": False, "dashboard_address": "127.0.0.1:0"}
    kind = "local" if request.param == "this process" else "distributed.LocalCluster"
    with cluster.start(
        Cluster(kind=kind, workers=0 if kind == "local" else 1, settings=settings)
    ) as pool:
        yield pool


def test_what_may_pass_is_tried_again(retrying: Pool) -> None:
    assert sorted(retrying.as_completed(works_the_second_time, range(3))) == [
        (0, 0),
        (1, 1),
        (2, 2),
    ]
    assert set(tries.values()) == {2}


def test_what_stays_is_not_tried_again_and_nothing_for_ever(retrying: Pool) -> None:
    outcomes = dict(retrying.as_completed(never_works, [0, 1]))
    assert all(isinstance(outcome, OSError) for outcome in outcomes.values())
    assert tries == {0: pools.ATTEMPTS, 1: 1}


@pytest.mark.parametrize("asked", ["scheduler_info", "run"])
@pytest.mark.parametrize(
    "said", [CommClosedError("reset by peer"), OSError("timed out trying to connect")]
)
def test_whatever_is_asked_of_a_scheduler_that_is_gone_the_run_is_told_so(
    asked: str, said: Exception
) -> None:
    class Client:
        loop = None

        def scheduler_info(self, **_: object) -> dict[str, Any]:
            return self.answer("scheduler_info", {"workers": {"tcp://1": {"nthreads": 1}}})

        def run(self, *_: object, **__: object) -> dict[str, Any]:
            return self.answer("run", {})

        def answer(self, name: str, answer: dict[str, Any]) -> dict[str, Any]:
            if name == asked:
                raise said
            return answer

    pool = DaskPool(Client())  # type: ignore[arg-type] # it has all that is asked of a client here
    with pytest.raises(SchedulerLost, match="the same command goes on from there"):
        pool.everywhere(processes), list(pool.map(double, []))
