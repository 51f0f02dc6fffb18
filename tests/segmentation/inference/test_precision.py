"""A graphics card computes in the fastest precision that gives the labels of a CPU. None is there:
its stand-in is wrong in a share of pixels, which is smaller where TF32 is not allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from segmentation.errors import InputError
from segmentation.inference.device import PLACES
from segmentation.inference.runtimes import engine_on_card
from segmentation.models.card import Card
from tests.segmentation.small_networks import a_bundle


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Card:
    return a_bundle(tmp_path_factory.mktemp("bundle") / "b").card


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(PLACES, "cuda", "cpu")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a stand-in")
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def first_class(chip: torch.Tensor) -> torch.Tensor:
    logits = torch.zeros(1, 2, *chip.shape[2:])
    logits[:, 0] = 1
    return logits


def wrong_in(tf32: float, float32: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def logits(chip: torch.Tensor) -> torch.Tensor:
        said = first_class(chip)
        share = tf32 if torch.backends.cudnn.allow_tf32 else float32
        flat = said.view(2, -1)
        flat[1, : round(share * flat.shape[1])] = 2
        return said

    return logits


@pytest.mark.parametrize(
    ("tf32", "float32", "precision"), [(0, 0, "tf32"), (0.0005, 0, "tf32"), (0.01, 0, "float32")]
)
def test_tf32_where_its_labels_are_those_of_a_cpu(
    card: Card, tf32: float, float32: float, precision: str
) -> None:
    ready = engine_on_card(card, first_class, wrong_in(tf32, float32))
    assert (ready.device, ready.precision) == ("cuda", precision)
    expected = 1 - (tf32 if precision == "tf32" else float32)
    assert ready.agreement == pytest.approx(expected, abs=1e-4)
    allowed = precision == "tf32"
    assert torch.backends.cudnn.allow_tf32 is torch.backends.cuda.matmul.allow_tf32 is allowed


def test_a_card_that_says_something_else_is_refused(card: Card) -> None:
    with pytest.raises(Exception, match=r"gives 2\.00% other labels on this graphics card"):
        engine_on_card(card, first_class, wrong_in(0.5, 0.02))


def test_a_wish_is_kept_or_refused(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine_on_card(card, first_class, wrong_in(0, 0), "float32").precision == "float32"
    with pytest.raises(Exception, match=r"gives 1\.00% other labels in tf32 on this graphics card"):
        engine_on_card(card, first_class, wrong_in(0.01, 0), "tf32")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    assert engine_on_card(card, first_class, wrong_in(0.01, 0)).precision == "float32"
    with pytest.raises(InputError, match="a stand-in has none; leave precision out"):
        engine_on_card(card, first_class, wrong_in(0, 0), "tf32")


class InHalf(torch.nn.Module):
    """Tells what reached it; more than half the largest it may see is no number in float16."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels * self.weight)[:, :2]


def test_float16_is_of_a_copy_and_sees_no_pixel_that_it_has_no_number_for(card: Card) -> None:
    network = InHalf()
    ready = engine_on_card(card, network, network, "float16")
    assert (ready.precision, network.weight.dtype) == ("float16", torch.float32)
    assert ready.agreement >= 0.999
    seen = ready.logits(torch.full((1, 3, 2, 2), 1e6))
    assert seen.dtype is torch.float16
    assert torch.all(seen == 4096)
