"""Networks by name: each is built for any bands and classes, and what cannot be built is said with
what can."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from segmentation.errors import InputError
from segmentation.networks.architectures import (
    ARCHITECTURES,
    RED_GREEN_BLUE,
    architectures,
    build,
    filters_for,
    initial_weights,
    stride_of,
)
from tests.segmentation.small_networks import DEMO_ENCODER, a_card

LIBRARY = (
    "unet", "unetplusplus", "manet", "linknet", "fpn", "pspnet", "pan", "deeplabv3",
    "deeplabv3plus", "upernet",
    "segformer", "dpt", "fcn",
)  # fmt: skip
"""Those that take encoders of segmentation-models-pytorch and timm."""

FAMILIES = (
    "resnet18", "se_resnet50", "densenet121", "vgg11", "dpn68", "efficientnet-b0", "mobilenet_v2",
    "mit_b0",
    "mobileone_s0", "inceptionv4", "tu-skresnet18", "tu-resnet18", "tu-convnext_atto",
    "tu-vit_tiny_patch16_224",
)  # fmt: skip
"""An encoder of each kind."""


@pytest.fixture
def any_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are whatever lay in memory: drawing them is most of the work of a network that is
    built to be asked for its shapes."""
    for name in ("kaiming_uniform_", "kaiming_normal_", "normal_", "uniform_", "xavier_uniform_"):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)


def test_there_is_a_line_on_each() -> None:
    assert list(architectures()) == list(ARCHITECTURES)
    assert set(LIBRARY) <= set(architectures())
    assert all(line and "\n" not in line and len(line) < 120 for line in architectures().values())


@pytest.mark.parametrize("bands", [1, 3, 7])
@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.usefixtures("any_weights")
def test_any_bands_come_out_as_the_classes_of_each_pixel(name: str, bands: int) -> None:
    names = [f"b{i}" for i in range(bands)]
    card = a_card(
        architecture=name,
        encoder=DEMO_ENCODER
        if ARCHITECTURES[name].encoder == "resnet18"
        else ARCHITECTURES[name].encoder,
        options={},
        bands=names,
        mean=[0.0] * bands,
        std=[1.0] * bands,
    )
    model = build(card)
    assert model.training
    stride = stride_of(model)
    with torch.inference_mode():
        logits = model.eval()(torch.zeros(2, bands, 2 * stride, 3 * stride))
    assert logits.shape == (2, len(card.legend), 2 * stride, 3 * stride)


@pytest.mark.slow
@pytest.mark.parametrize("name", LIBRARY)
@pytest.mark.usefixtures("any_weights")
def test_each_encoder_is_taken_or_refused_with_one_that_is_taken(name: str) -> None:
    taken = set()
    for encoder in FAMILIES:
        card = a_card(architecture=name, encoder=encoder, options={})
        try:
            build(card)
            taken.add(encoder)
        except InputError as refusal:
            said = str(refusal)
            assert said.startswith(f"cannot build the {name} on {encoder} of bundle test (")
            assert "\n" not in said
            _, _, instead = said.partition("the nearest encoder that works is ")
            build(a_card(architecture=name, encoder=instead, options={}))
    assert ("mit_b0" in taken) == (name not in ("unetplusplus", "linknet", "dpt"))
    assert ("vgg11" in taken) == (name not in ("deeplabv3", "deeplabv3plus", "pan", "fcn", "dpt"))
    assert ("tu-vit_tiny_patch16_224" in taken) == (name == "dpt")
    assert ("resnet18" in taken) == (name != "dpt")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"architecture": "Unet"},
            "there is no architecture 'Unet'; the nearest is unet, and there are ",
        ),
        (
            {"architecture": "linknet", "encoder": "mit_b0", "options": {}},
            r"cannot build the linknet on mit_b0 of bundle test \(.*\); the nearest encoder that "
            r"works is resnet18$",
        ),
        (
            {"architecture": "dpt", "encoder": "resnet18", "options": {}},
            "the nearest encoder that works is tu-vit_tiny_patch16_224$",
        ),
        (
            {"encoder": "resnet19", "options": {}},
            r"\(Wrong encoder name `resnet19`\); the nearest encoder that works is resnet18$",
        ),
        (
            {"options": {"decoder_taste": "sweet"}},
            r"on tu-.* of bundle test with decoder_taste=sweet \(.*decoder_taste.*; without these "
            r"settings it works$",
        ),
        (
            {"architecture": "fpn", "encoder": "resnet18", "options": {"upsampling": 2}},
            r"with upsampling=2 \(a chip of 64 × 96 px came out as 32 × 48\)",
        ),
    ],
)
def test_what_cannot_be_built_is_a_mistake_with_its_mend(
    changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said) as refusal:
        build(a_card(**changes))
    assert "\n" not in str(refusal.value)


@given(st.permutations(["red", "green", "blue"]), st.integers(0, 4))
def test_grey_light_is_answered_as_before(order: list[str], others: int) -> None:
    """Red, green and blue of ImageNet and the same value in all bands: the response keeps its
    size."""
    filters = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 3, 7, 7)))
    bands = [*order, *(f"swir{i}" for i in range(others))]
    assert torch.allclose(filters_for(bands, filters).sum(1), filters.sum(1))


def test_bands_get_the_filters_of_their_names() -> None:
    filters = torch.tensor([1.0, 2.0, 6.0])[None, :, None, None]
    assert filters_for(RED_GREEN_BLUE, filters).flatten().tolist() == [1, 2, 6]
    assert filters_for(("blue", "leaf_on.red"), filters).flatten().tolist() == [6 * 1.5, 1 * 1.5]
    assert filters_for(("nir", "green", "red"), filters).flatten().tolist() == [3, 2, 1]


class Hub(BaseHTTPRequestHandler):
    """A model hub that has one file. As on the real one it lies elsewhere, where whoever asks is
    sent."""

    content: ClassVar[bytes] = b""
    asked: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        here = self.path.startswith("/store/")
        self.send_response(200 if here else 302)
        if not here:
            self.send_header("Location", "/store/model.safetensors")
        self.send_header("Content-Length", str(len(self.content) if here else 0))
        self.send_header("X-Linked-Size", str(len(self.content)))
        self.send_header("ETag", '"0123456789abcdef0123456789abcdef"')
        self.send_header("X-Repo-Commit", "f" * 40)
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        if self.path.startswith("/store/"):
            self.wfile.write(self.content)

    def log_message(self, *_: object) -> None:
        """Nothing: tests are quiet."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    """A model hub on this machine, and an empty cache."""
    from huggingface_hub import constants

    server = HTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    Hub.content, Hub.asked = b"", []
    yield Hub
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("encoder", "first"), [("resnet18", "conv1.weight"), (DEMO_ENCODER, "model.conv_stem.weight")]
)
def test_pretrained_filters_go_to_bands_by_name(
    hub: type[Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: str, first: str
) -> None:
    card = a_card(encoder=encoder)
    encoder_of: Any = build(card).encoder
    published = {
        name: torch.randn_like(tensor) if tensor.is_floating_point() else tensor
        for name, tensor in encoder_of.state_dict().items()
    }
    on_hub = {
        name.removeprefix("model."): tensor.contiguous() for name, tensor in published.items()
    }
    save_file(on_hub, tmp_path / "model.safetensors")
    hub.content = (tmp_path / "model.safetensors").read_bytes()

    model = build(card, "imagenet")
    loaded = model.encoder.state_dict()
    assert any(path.startswith("GET") and path.endswith("/model.safetensors") for path in hub.asked)
    assert torch.equal(loaded[first], filters_for(card.band_names, published[first]))
    assert all(torch.equal(loaded[name], published[name]) for name in loaded if name != first)

    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    again = build(card)
    assert initial_weights(again, card) == ""  # from the cache
    assert torch.equal(again.encoder.state_dict()[first], loaded[first])


def test_where_no_weights_can_be_had_a_line_says_so(
    hub: type[Hub], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    torch.manual_seed(0)
    plain = build(a_card()).state_dict()
    torch.manual_seed(0)
    began = time.monotonic()
    with caplog.at_level(logging.WARNING):
        model = build(a_card(), "imagenet")
    assert time.monotonic() - began < 6
    (line,) = caplog.messages
    assert line.startswith(
        f"{DEMO_ENCODER} starts from random weights: those from ImageNet are not in the cache, and "
    )
    assert all(torch.equal(tensor, plain[name]) for name, tensor in model.state_dict().items())
    assert not hub.asked
    never = a_card(encoder="tu-lcnet_035", options={})
    assert initial_weights(build(never), never).endswith(
        "nobody has published any from ImageNet for it"
    )


def test_a_hub_that_does_not_answer_is_given_up(
    hub: type[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segmentation.networks.architectures.PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes connections and says nothing
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{mute.getsockname()[1]}")
        said = initial_weights(build(a_card()), a_card())
    assert said.startswith(f"{DEMO_ENCODER} starts from random weights: ")
    assert "timed out" in said


def test_a_network_is_built_without_asking_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("somebody wanted to be online")

    monkeypatch.setattr(socket.socket, "connect", refused)
    build(a_card(encoder="resnet18"))
    build(a_card())
