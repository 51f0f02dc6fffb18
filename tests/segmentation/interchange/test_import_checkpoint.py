"""Foreign weights become bundles if they are what they are said to be, and nothing in them runs."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from segmentation.errors import InputError
from segmentation.interchange.import_checkpoint import (
    convert,
    fitting,
    parameters,
    published_settings,
    stand_ins,
)
from segmentation.models.bundle import Bundle, Card, load
from segmentation.networks.architectures import build
from segmentation.networks.receptive_field import support
from tests.segmentation.small_networks import a_card, lively_state

State = dict[str, torch.Tensor]

CARD = a_card()
STATE = lively_state(CARD.model_dump_json())


def save_as(how: str, state: State, file: Path) -> Path:
    if how == "safetensors":
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, file)
    else:
        torch.save(WRITERS[how](state), file)
    return file


WRITERS: dict[str, Callable[[State], Any]] = {
    "a state_dict": lambda state: state,
    "an ordered one": OrderedDict,
    "data parallel": lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    "Lightning": lambda state: {
        "epoch": 3,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {f"model.{name}": tensor for name, tensor in state.items()}
        | {"criterion.weight": torch.ones(4)},
        "hyper_parameters": {"lr": 1e-3},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}}],
    },
    "Lightning over data parallel": lambda state: {
        "state_dict": {f"model.module.{name}": tensor for name, tensor in state.items()}
    },
    "without counters": lambda state: {
        n: t for n, t in state.items() if "num_batches_tracked" not in n
    },
}


@pytest.mark.parametrize("how", [*WRITERS, "safetensors"])
def test_the_same_parameters_come_out_however_they_were_saved(tmp_path: Path, how: str) -> None:
    file = save_as(
        how, STATE, tmp_path / ("weights.safetensors" if how == "safetensors" else "weights.ckpt")
    )
    fitted = fitting(parameters(file), build(CARD).state_dict(), file, CARD)
    assert list(fitted) == list(STATE)
    for name, tensor in STATE.items():
        assert torch.equal(fitted[name], tensor), name


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("converted")
    file = save_as("Lightning", STATE, folder / "epoch=3.ckpt")
    # What the card says of stride and margin is not believed.
    return convert(file, a_card(stride=16, margin=48, disagreement=0.5), folder / "bundle")


@pytest.mark.slow
def test_a_converted_bundle_is_the_network_and_says_how_far_it_looks(converted: Bundle) -> None:
    opened = load(converted.folder)
    opened.check()
    network = opened.card.network
    model = build(opened.card)
    model.load_state_dict(opened.weights())
    chip = torch.from_numpy(stand_ins(3, 1, 64)[0])[None]
    reference = build(CARD)
    reference.load_state_dict(STATE)
    with torch.inference_mode():
        assert torch.equal(model.eval()(chip), reference.eval()(chip))
    assert network.stride == 8
    assert network.support == support(reference, 3, stride=8)
    assert network.margin % 8 == 0
    assert network.disagreement < 0.5
    assert opened.card.training["converted from"] == "epoch=3.ckpt"


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        (lambda tensor: tensor.to(torch.float8_e4m3fn), "float8_e4m3fn, strided, on cpu"),
        (lambda tensor: tensor.to(torch.complex64), "complex64, strided, on cpu"),
        (lambda tensor: (100 * tensor).to(torch.int8), "int8, strided, on cpu"),
        (lambda tensor: tensor.to_sparse(), "float32, sparse_coo, on cpu"),
        (lambda tensor: tensor.to("meta"), "float32, strided, on meta"),
        (
            lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8),
            "qint8, strided, on cpu",
        ),
    ],
)
@pytest.mark.filterwarnings(
    "ignore:.*quantiz.*:UserWarning"
)  # what is deprecated are the ways to make such a file
def test_numbers_that_a_bundle_cannot_hold_are_refused(
    changed: Callable[[torch.Tensor], torch.Tensor], what: str
) -> None:
    name = next(name for name, tensor in STATE.items() if tensor.ndim == 4)
    state = STATE | {name: changed(STATE[name])}
    with pytest.raises(
        InputError,
        match=rf"best\.ckpt holds no plain numbers of 16 to 64 bits in {name} \({what}\)",
    ):
        fitting(state, STATE, Path("best.ckpt"), CARD)


def test_a_folder_of_save_pretrained_says_itself_what_it_is(tmp_path: Path) -> None:
    network = smp.FPN(
        "tu-tf_mobilenetv3_small_minimal_100", encoder_weights=None, in_channels=3, classes=4
    )
    network.save_pretrained(str(tmp_path))
    told = published_settings(tmp_path)
    assert (told["architecture"], told["bands"], told["classes"]) == ("fpn", 3, 4)
    card = a_card(**{name: told[name] for name in ("architecture", "encoder", "options")})
    fitted = fitting(parameters(tmp_path), build(card).state_dict(), tmp_path, card)
    assert all(torch.equal(fitted[name], tensor) for name, tensor in network.state_dict().items())


# ---------------------------------------------------------------------------------- what is refused


def without(state: State, name: str) -> State:
    return {key: tensor for key, tensor in state.items() if key != name}


HEAD = "segmentation_head.0.weight"


@pytest.mark.parametrize(
    ("state", "fact"),
    [
        (without(STATE, HEAD), rf"1 are missing \({HEAD}\)"),
        (STATE | {"extra.weight": torch.ones(1)}, r"1 are unknown \(extra.weight\)"),
        (
            STATE | {HEAD: torch.ones(9, 16, 3, 3)},
            rf"{HEAD} \(9, 16, 3, 3\) instead of \(4, 16, 3, 3\)",
        ),
        (STATE | {HEAD: torch.full((4, 16, 3, 3), torch.nan)}, rf"NaN or infinity in {HEAD}"),
        ({"fc.weight": torch.ones(2)}, r"are missing \(.*\), 1 are unknown \(fc.weight\)"),
    ],
)
def test_parameters_of_another_network_are_named_in_one_line(
    tmp_path: Path, state: State, fact: str
) -> None:
    file = save_as("a state_dict", state, tmp_path / "foreign.pth")
    with pytest.raises(InputError, match=fact) as mistake:
        convert(file, CARD, tmp_path / "bundle")
    assert str(file) in str(mistake.value)
    assert "\n" not in str(mistake.value)
    assert not (tmp_path / "bundle").exists()


class Malice:
    """Unpickled the usual way, it leaves a file."""

    def __init__(self, evidence: Path) -> None:
        self.evidence = evidence

    def __reduce__(self) -> Any:
        return Path.touch, (self.evidence,)


def pickled(value: Any, file: Path) -> None:
    file.write_bytes(pickle.dumps(value))


@pytest.mark.parametrize(
    ("write", "read", "fact"),
    [
        (
            torch.save,
            lambda file: torch.load(file, weights_only=False),
            "holds more than tensors, which could run",
        ),
        (
            pickled,
            lambda file: pickle.loads(file.read_bytes()),
            "is not a checkpoint that torch.save wrote",
        ),
    ],
)
def test_a_malicious_pickle_does_not_run(
    tmp_path: Path, write: Callable[[Any, Path], None], read: Callable[[Path], Any], fact: str
) -> None:
    evidence, file = tmp_path / "it ran", tmp_path / "weights.pt"
    write({"state_dict": STATE, "callbacks": Malice(evidence)}, file)
    with pytest.raises(InputError, match=rf"weights.pt {fact}") as mistake:
        convert(file, CARD, tmp_path / "bundle")
    assert "\n" not in str(mistake.value)
    assert not evidence.exists()

    read(file)
    assert evidence.exists(), "the file is not as dangerous as this test says"


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
@given(
    content=st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: b"\x80\x02" + tail)
)
@settings(max_examples=60)
def test_noise_is_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str, content: bytes
) -> None:
    file = tmp_path_factory.mktemp("noise") / name
    file.write_bytes(content)
    with pytest.raises(InputError):
        parameters(file)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    whole = save_as("a state_dict", STATE, tmp_path / "weights.pt").read_bytes()
    rng = np.random.default_rng(0)
    for cut in rng.integers(1, len(whole), 20):
        (tmp_path / "cut.pt").write_bytes(whole[:cut])
        with pytest.raises(InputError, match="damaged"):
            parameters(tmp_path / "cut.pt")


def test_what_holds_no_parameters_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "notes": "none"}, tmp_path / "log.pt")
    with pytest.raises(InputError, match=r"has no parameters under .*; it holds epoch, notes"):
        parameters(tmp_path / "log.pt")
    with pytest.raises(InputError, match=r"nothing\.pt is not there"):
        parameters(tmp_path / "nothing.pt")


@pytest.mark.parametrize("config", ["", "[]", "{}", '{"_model_class": "Unet"}'])
def test_a_config_that_says_nothing_is_refused(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(InputError, match=r"config\.json"):
        published_settings(tmp_path)


def test_a_network_of_one_channel_is_refused_with_the_mend(tmp_path: Path) -> None:
    card = CARD.model_copy(update={"legend": CARD.legend.subset(1)})
    with pytest.raises(
        InputError, match=r"has one channel, Water, .* name both: --classes Other,Water"
    ):
        convert(save_as("a state_dict", STATE, tmp_path / "binary.pt"), card, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_stand_ins_are_normalised_and_smooth() -> None:
    (chip,) = stand_ins(4, 1, 256)
    assert np.allclose(chip.mean((1, 2)), 0, atol=1e-5)
    assert np.allclose(chip.std((1, 2)), 1, atol=1e-5)
    # A 1/f amplitude: octaves of frequency hold about the same power; in white noise each holds
    # four times the last.
    power = np.abs(np.fft.fft2(chip[0])) ** 2
    radius = np.hypot(*np.meshgrid(*[np.fft.fftfreq(256) * 256] * 2))
    octaves = [power[(radius >= low) & (radius < 2 * low)].sum() for low in (4, 8, 16, 32)]
    assert max(octaves) < 1.5 * min(octaves)
    assert np.corrcoef(chip[0].ravel(), chip[1].ravel())[0, 1] > 0.5


@pytest.mark.slow
def test_the_card_given_is_not_changed(converted: Bundle) -> None:
    assert isinstance(converted.card, Card)
    assert a_card() == CARD
