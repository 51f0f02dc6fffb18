"""A network on a graphics card: all of its way there and back, on a stand-in whose streams are
late. On a card the same is asked of it: `pytest -m gpu`."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segmentation.devices import check
from segmentation.errors import InputError
from segmentation.inference import engine, runtimes
from segmentation.inference.device import PLACES
from segmentation.inference.network import Network
from segmentation.models.bundle import Bundle
from tests.segmentation.devices.stand_ins import LateCard, chance
from tests.segmentation.joint_models import a_joint_bundle
from tests.segmentation.labelled import BANDS as JOINT_BANDS
from tests.segmentation.small_networks import a_bundle, same, scene_of

CARD = pytest.param(
    "card",
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no graphics card"),
    ],
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return a_bundle(tmp_path_factory.mktemp("card") / "b", temperature=1.7)


@pytest.fixture(params=["stand-in", CARD])
def card(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where networks with `device=auto` compute; batches are of three chips of 64 × 64."""
    monkeypatch.setattr(check, "BATCH_PIXELS", 3 * 64**2)
    if request.param == "stand-in":
        monkeypatch.setitem(PLACES, "cuda", "cpu")
        monkeypatch.setattr(engine, "Cuda", lambda captures: LateCard(chance(7)))
        for name, answer in (
            ("is_available", True),
            ("get_device_capability", (9, 0)),
            ("get_device_name", "a stand-in"),
        ):
            monkeypatch.setattr(torch.cuda, name, lambda answer=answer: answer)
        monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 99999)
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    # oneDNN adds up a batch in another order than a chip alone on some CPUs; torch's own does not
    with torch.backends.mkldnn.flags(enabled=request.param != "stand-in"):
        yield request.param
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
    for made in (runtimes._load_engine, engine._make_pipeline, engine._fitness):
        made.cache_clear()


def close(one: Any, other: Any, card: str) -> bool:
    """To the last bit on a stand-in; on a card in 999 labels of 1000."""
    if card == "stand-in":
        return same(one, other) and all(
            np.array_equal(values, other.measures[name]) for name, values in one.measures.items()
        )
    return bool(np.mean(one.labels != other.labels) <= 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{}, {"tta": True, "measures": ("probabilities", "entropy", "margin")}, {"zoom": 2}],
)
def test_a_card_says_what_a_cpu_says(bundle: Bundle, card: str, changes: dict[str, Any]) -> None:
    """Of chips without a valid pixel too, and of the last batch, which is short."""
    here, there = (
        Network(bundle=str(bundle.folder), device=device, **changes) for device in ("cpu", "cuda")
    )
    chips = [scene_of(64, 64, seed) for seed in range(7)]
    for empty in (0, 3):
        chips[empty]["valid"].values[:] = False
    expected = list(here.predict_many(chips))
    assert all(close(*pair, card) for pair in zip(there.predict_many(chips), expected, strict=True))
    with ThreadPoolExecutor(3) as pool:  # shards of one process share the card
        for found in pool.map(lambda _: list(there.predict_many(chips)), range(3)):
            assert all(close(*pair, card) for pair in zip(found, expected, strict=True))


def test_sums_of_scores_are_made_and_settled_there(bundle: Bundle, card: str) -> None:
    here, there = (Network(bundle=str(bundle.folder), device=name) for name in ("cpu", "cuda"))
    chips = [scene_of(64, 64, seed) for seed in range(7)]
    chips[2]["valid"].values[:] = False
    valid, settled = np.ones((64, 64), bool), []
    for network in (here, there):
        total = network.no_scores((4, 64, 64))
        for added in network.score_many(iter(chips)):
            if added is not None:
                total += added
        settled.append(network.predict_from_scores(total, valid))
    assert np.mean(settled[0].labels != settled[1].labels) <= 1e-3
    assert settled[0].confidence is not None
    assert settled[1].confidence is not None
    assert np.abs(settled[0].confidence.astype(int) - settled[1].confidence).max() <= 1


def test_trees_beside_a_network_are_heard(tmp_path: Path, card: str) -> None:
    both = a_joint_bundle(tmp_path / "joint")
    chips = [scene_of(64, 64, seed).assign_coords(band=list(JOINT_BANDS)) for seed in range(4)]
    here, there = (Network(bundle=str(both.folder), device=name) for name in ("cpu", "cuda"))
    pairs = zip(there.predict_many(chips), here.predict_many(chips), strict=True)
    assert all(close(*pair, card) for pair in pairs)


def test_the_facts_say_how_it_is_computed(bundle: Bundle, card: str) -> None:
    network = Network(bundle=str(bundle.folder), device="cuda", tile=64, margin=0)
    facts = network.runtime_facts()
    assert facts["batch"] in ("3 of 64 x 64", "1 of 64 x 64")
    assert facts["kernels"] in ("captured", "one by one")
    assert facts["precision"].startswith(("tf32, 1", "tf32, 9", "float32"))
    plain = network.model_copy(update={"precision": "float32"})
    assert plain.runtime_facts()["precision"].startswith("float32, ")
    assert plain.identity() != network.identity()
    assert "precision" not in network.identity(), "what was computed before stays known"


def test_what_is_no_number_is_a_fault_that_names_the_precision(bundle: Bundle, card: str) -> None:
    network = Network(bundle=str(bundle.folder), device="cuda", precision="float32")
    chip = scene_of(64, 64).assign_coords(scale=("band", [np.inf] * 3))
    with pytest.raises(RuntimeError, match=r"no number, computed in float32; .*--set precision="):
        list(network.predict_many([scene_of(64, 64), chip]))


def test_what_does_not_fit_into_the_memory_is_refused(
    bundle: Bundle, card: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.Cuda if card == "card" else LateCard, "free_bytes", lambda self: 99)
    with pytest.raises(InputError, match=r"a batch of 3 chips .* take a smaller --tile"):
        Network(bundle=str(bundle.folder), device="cuda", tile=64, margin=0).runtime_facts()


def test_precision_is_of_cards(bundle: Bundle) -> None:
    with pytest.raises(ValueError, match="device cpu computes in float32; leave precision"):
        Network(bundle=str(bundle.folder), device="cpu", precision="float16")
