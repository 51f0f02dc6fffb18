"""Batches through a device whose streams are late: each test fails where memory is filled, computed
on or read too early. With a graphics card the same is asked of it: `pytest -m gpu`."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from segmentation.devices.cores import CoreSlot
from segmentation.devices.cuda import Cuda
from segmentation.devices.pipeline import Answers, Packed, Pipeline
from segmentation.devices.staged import SLOTS, StagedDevice, StagedSlot
from tests.segmentation.devices.stand_ins import (
    AtOnce,
    LateCard,
    LateEvent,
    LateStream,
    chance,
)

SIZE = 3
"""Chips in a batch."""

Chip = tuple[npt.NDArray[np.uint16], npt.NDArray[np.bool_]]

CARD = pytest.param(
    "cuda",
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no graphics card"),
    ],
)
DEVICES = ["late", "cores", CARD]


def summed(seen: Any) -> dict[str, torch.Tensor]:
    pixels = torch.as_tensor(seen["pixels"]).to(torch.int64)
    return {"sum": (pixels.sum(1) + 1) * torch.as_tensor(seen["valid"])}


def on_cores(seen: Any) -> dict[str, Any]:
    return {name: tensor.numpy() for name, tensor in summed(seen).items()}


def pipeline_of(kind: str, seed: int = 0, slots: int = SLOTS) -> tuple[Pipeline, int]:
    """A pipeline, and how many chips it takes in a batch."""
    if kind == "cores":
        pool = ThreadPoolExecutor(2)
        return Pipeline(CoreSlot(lambda: pool, on_cores) for _ in range(slots)), 1
    memory = Cuda(captures=True) if kind == "cuda" else LateCard(chance(seed))
    return Pipeline(StagedDevice(memory, summed, SIZE).slots(slots)), SIZE


def chips_of(count: int, seed: int = 0) -> list[Chip]:
    rng = np.random.default_rng(seed)
    return [
        (rng.integers(0, 60000, (2, 8, 8)).astype(np.uint16), rng.random((8, 8)) > 0.3)
        for _ in range(count)
    ]


def pack(batch: tuple[Chip, ...]) -> Packed:
    return {"pixels": [pixels for pixels, _ in batch], "valid": [valid for _, valid in batch]}


def read(batch: tuple[Chip, ...], answers: Answers | None) -> Iterator[npt.NDArray[np.int64]]:
    assert answers is not None
    yield from answers["sum"][: len(batch)]


def batched(chips: list[Chip], size: int) -> list[tuple[Chip, ...]]:
    return [tuple(chips[start : start + size]) for start in range(0, len(chips), size)]


def answers_of(line: Pipeline, size: int, chips: list[Chip]) -> list[npt.NDArray[np.int64]]:
    return list(line.run(batched(chips, size), pack, read))


def right(found: list[npt.NDArray[np.int64]], chips: list[Chip]) -> bool:
    expected = [(pixels.astype(np.int64).sum(0) + 1) * valid for pixels, valid in chips]
    return len(found) == len(chips) and all(map(np.array_equal, found, expected))


def free(line: Pipeline) -> int:
    return line._free.qsize()


@pytest.mark.parametrize("kind", DEVICES)
@pytest.mark.parametrize("seed", range(4))
def test_answers_are_those_of_each_chip_in_order(kind: str, seed: int) -> None:
    line, size = pipeline_of(kind, seed)
    for count in (31, 1, 0):
        chips = chips_of(count, seed)
        assert right(answers_of(line, size, chips), chips)


@pytest.mark.parametrize("kind", DEVICES)
def test_threads_share_the_slots_and_none_waits_for_ever(kind: str) -> None:
    line, size = pipeline_of(kind, 1, slots=3)
    work = [chips_of(count, count) for count in (1, 2, 17, 30, 5, 40, 9, 23)]
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda chips: answers_of(line, size, chips), work)
        assert all(map(right, found, work))
    assert free(line) == 3


@pytest.mark.parametrize("kind", DEVICES)
def test_whoever_stops_listening_leaves_the_slots(kind: str) -> None:
    line, size = pipeline_of(kind, 2)
    for _ in range(5):
        list(islice(line.run(batched(chips_of(20), size), pack, read), 2))
    gc.collect()
    assert free(line) == SLOTS
    assert right(answers_of(line, size, chips_of(7)), chips_of(7))


@pytest.mark.parametrize("kind", ["late", CARD])
def test_one_thread_has_two_runs_go_on_in_turns(kind: str) -> None:
    line, size = pipeline_of(kind, 5)
    chips = chips_of(19)
    one, other = (line.run(batched(chips, size), pack, read) for _ in range(2))
    both = list(zip(one, other, strict=True))
    assert right([first for first, _ in both], chips)
    assert right([second for _, second in both], chips)


def test_what_has_nothing_to_say_is_not_sent_and_keeps_its_place() -> None:
    line, _ = pipeline_of("late", 3)
    chips = chips_of(9)
    found = line.run(
        ((chip,) for chip in chips),
        pack,
        lambda batch, answers: [None] if answers is None else answers["sum"][:1],
        skip=lambda batch: batch[0] is not chips[4] and batch[0] is not chips[8],
    )
    assert [None if one is None else one.tolist() for one in found] == [
        one.tolist() if place in (4, 8) else None
        for place, one in enumerate(answers_of(line, SIZE, chips))
    ]


@pytest.mark.parametrize("make", [LateCard, AtOnce, None])
@pytest.mark.parametrize("where", ["pack", "compute", "read"])
def test_what_fails_is_raised_and_the_slots_stay(where: str, make: Any) -> None:
    """Also where an error comes while work is put into a stream."""
    failing = threading.Event()
    calls = iter(range(10**6))

    def fail(step: str) -> None:
        if step == where and failing.is_set() and next(calls) > 2:
            raise ValueError(step)

    def compute(seen: Any) -> dict[str, Any]:
        fail("compute")
        return on_cores(seen) if make is None else summed(seen)

    def packing(batch: tuple[Chip, ...]) -> Packed:
        fail("pack")
        return pack(batch)

    def reading(batch: tuple[Chip, ...], answers: Answers | None) -> Iterator[Any]:
        fail("read")
        return read(batch, answers)

    pool = ThreadPoolExecutor(2)
    size = 1 if make is None else SIZE
    line = Pipeline(
        [CoreSlot(lambda: pool, compute) for _ in range(SLOTS)]
        if make is None
        else StagedDevice(make(), compute, SIZE).slots()
    )
    assert right(answers_of(line, size, chips_of(13)), chips_of(13))
    failing.set()
    with pytest.raises(ValueError, match=where):
        list(line.run(batched(chips_of(20), size), packing, reading))
    failing.clear()
    assert free(line) == SLOTS
    assert right(answers_of(line, size, chips_of(9)), chips_of(9))


@pytest.mark.parametrize("kind", ["late", CARD])
def test_what_stays_on_the_device_is_good_until_the_next_is_asked_for(kind: str) -> None:
    memory = Cuda(captures=True) if kind == "cuda" else LateCard(chance(4))
    line = Pipeline(StagedDevice(memory, summed, SIZE, stay=("sum",)).slots())
    chips, totals = chips_of(20), torch.zeros(8, 8, dtype=torch.int64)
    totals = totals.to("cuda" if kind == "cuda" else "cpu")
    for one in line.run(batched(chips, SIZE), pack, read):
        assert isinstance(one, torch.Tensor)
        totals += one
    expected = sum((pixels.astype(np.int64).sum(0) + 1) * valid for pixels, valid in chips)
    assert np.array_equal(totals.cpu().numpy(), expected)


# ----------------------------------------------------------- mistakes show: else little is proved


def freed_when_it_is_sent(monkeypatch: pytest.MonkeyPatch, line: Pipeline) -> None:
    send = StagedSlot.send

    def early(self: StagedSlot, packing: Any) -> None:
        send(self, packing)
        line._free.put(self)

    monkeypatch.setattr(StagedSlot, "send", early)


def computed_before_it_arrived(monkeypatch: pytest.MonkeyPatch, line: Pipeline) -> None:
    put = LateStream.put
    monkeypatch.setattr(LateStream, "put", lambda self, work, after=None: put(self, work))


def read_before_it_is_back(monkeypatch: pytest.MonkeyPatch, line: Pipeline) -> None:
    monkeypatch.setattr(LateEvent, "wait", lambda self: None)


@pytest.mark.parametrize(
    "mistake", [freed_when_it_is_sent, computed_before_it_arrived, read_before_it_is_back]
)
def test_planted_mistakes_show(monkeypatch: pytest.MonkeyPatch, mistake: Any) -> None:
    """Two runs go on in turns: alone, none would meet itself."""
    for seed in range(3):
        line, size = pipeline_of("late", seed)
        chips = chips_of(31, seed)
        with monkeypatch.context() as patched:
            mistake(patched, line)
            runs = [line.run(batched(chips, size), pack, read) for _ in range(2)]
            try:
                found = list(zip(*runs, strict=True))
            except AssertionError:  # a slot that is read twice
                continue
            assert not all(right(list(one), chips) for one in zip(*found, strict=True))
