"""Cards of this machine are shared out, and one that fails costs neither the run nor the others."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.compute import cluster, resources, worker_check
from flows.compute.cards import CardFailed, visible_cards
from flows.compute.cluster import Cluster
from flows.compute.pool import Pool
from flows.compute.work import Work
from tests.scenes import draw_scene
from tiling.errors import InputError


@pytest.mark.parametrize(
    ("visible", "said", "cards"),
    [
        ("GPU-1,GPU-2", "", ["GPU-1", "GPU-2"]),
        ("", "GPU 0: H200 (UUID: GPU-1)", []),
        (None, "GPU 0: H200 (UUID: GPU-1)\nGPU 1: H200 (UUID: GPU-2)\n", ["GPU-1", "GPU-2"]),
        (None,
        "GPU 0: H200 (UUID: GPU-1)\n  MIG 1g Device 0: (UUID: MIG-7)\n"
        "  MIG 1g Device 1: (UUID: MIG-8)\n",
         ["MIG-7", "MIG-8"]),
        (None, "", []),
    ],
)  # fmt: skip
def test_cards_are_those_of_the_environment_or_all_there_are(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    visible: str | None,
    said: str,
    cards: list[str],
) -> None:
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\ncat <<'END'\n{said}\nEND\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert visible_cards() == cards


def test_cuda_without_a_card_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with (
        pytest.raises(InputError, match="shows no NVIDIA graphics card"),
        cluster.start(Cluster(kind="cuda")),
    ):
        pass


def see_cards(_: int) -> tuple[str, str]:
    time.sleep(0.1)
    return os.environ["CUDA_VISIBLE_DEVICES"], os.environ["OMP_NUM_THREADS"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cuda", "local"])
def test_each_card_has_a_process_and_the_cores_have_others(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1,GPU-2")
    with cluster.start(Cluster(kind=kind, workers=1), Work(8, gpu=True)) as pool:
        cards = {outcome for _, outcome in pool.as_completed(see_cards, range(12), gpu=True)}
        cores = set(pool.map(see_cards, range(4)))
    each = str(max(1, resources.available_cores() // 2))
    assert cards == {("GPU-1", each), ("GPU-2", each)}
    assert ("", str(resources.available_cores())) in cores


class AcceleratorError(RuntimeError):
    """As torch raises it for a card that is lost to the process."""


class OutOfMemoryError(RuntimeError):
    """As torch raises it."""


@pytest.fixture
def two_cards(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1,GPU-2")
    with cluster.start(Cluster(kind="cuda", workers=0), Work(8, gpu=True)) as pool:
        yield pool


def card_of(_: object) -> str:
    time.sleep(0.05)
    return os.environ["CUDA_VISIBLE_DEVICES"]


def fails_on_the_first(failures: Path) -> str:
    """The second card works when the first one has failed in two processes, so that it meets the
    work again."""
    if (card := card_of(failures)) == "GPU-1":
        (failures / str(os.getpid())).touch()
        raise AcceleratorError("CUDA error: an illegal memory access was encountered")
    deadline = time.monotonic() + 60
    while len(list(failures.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    return card


def fails_once(marker: Path) -> str:
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return card_of(marker)
    raise AcceleratorError("CUDA error: unspecified launch failure")


def full_once(marker: Path) -> str:
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return card_of(marker)
    raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.slow
def test_a_sick_card_is_left_out_and_the_others_do_its_work(
    two_cards: Pool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "landweave"):
        outcomes = two_cards.as_completed(fails_on_the_first, [tmp_path] * 12, gpu=True)
        assert [outcome for _, outcome in outcomes] == ["GPU-2"] * 12
    assert "illegal memory access was encountered; the run goes on without it" in caplog.text
    assert len(two_cards.cards()) == 1


@pytest.mark.slow
def test_a_card_that_fails_once_has_a_new_process(two_cards: Pool, tmp_path: Path) -> None:
    before = set(two_cards.everywhere(os.getpid, gpu=True).values())
    items = [tmp_path / "failed", *(tmp_path / "failed" for _ in range(5))]
    outcomes = [outcome for _, outcome in two_cards.as_completed(fails_once, items, gpu=True)]
    assert len(outcomes) == 6
    assert set(outcomes) <= {"GPU-1", "GPU-2"}, "each was computed in the end"
    deadline = time.monotonic() + 30
    while len(two_cards.cards()) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    after = set(two_cards.everywhere(os.getpid, gpu=True).values())
    assert len(before & after) == 1, "one process ended, and another took its place"


@pytest.mark.slow
def test_the_last_card_that_fails_ends_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each piece of work would fail three times, one after the other."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1")
    with (
        cluster.start(Cluster(kind="cuda", workers=0), Work(8, gpu=True)) as pool,
        pytest.raises(CardFailed, match=r"the graphics card of worker .* failed: CUDA error"),
    ):
        list(pool.as_completed(fails_on_the_first, [tmp_path] * 100, gpu=True))


@pytest.mark.slow
def test_a_card_that_is_full_is_tried_again(two_cards: Pool, tmp_path: Path) -> None:
    (_, outcome), *_ = two_cards.as_completed(full_once, [tmp_path / "full"], gpu=True)
    assert outcome in ("GPU-1", "GPU-2")


@pytest.mark.slow
def test_a_worker_that_declares_a_card_and_has_none_is_named(
    two_cards: Pool, tmp_path: Path
) -> None:
    """It would compute on its cores, fifty times slower, and nobody would hear of it."""
    scene = str(draw_scene(tmp_path / "scene.tif", 8, 8))
    worker_check.check(two_cards, [scene], tmp_path)
    with pytest.raises(InputError, match=r"declares a graphics card .* with --set device=cpu"):
        worker_check.check(two_cards, [scene], tmp_path, gpu=True)


@pytest.mark.parametrize(("cards", "expected"), [(1, 4), (3, 3), (4, 2), (8, 1)])
def test_a_card_takes_as_many_shards_at_once_as_memory_allows(
    monkeypatch: pytest.MonkeyPatch, cards: int, expected: int
) -> None:
    monkeypatch.setattr(resources, "available_memory", lambda: 9 * 2**30)
    work = Work(1000, lambda cores, at_once: at_once * 2**30, gpu=True)
    assert resources.shards_at_once(cards, work) == expected
