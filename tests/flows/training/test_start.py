"""A training that starts from an encoder of others begins with the tensors of its file."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from flows.forms.groups import Bands, Labels, Model
from flows.forms.requests import training_from
from flows.requests.segmenters import choose_segmenter, fetch_encoder
from flows.requests.training import Training
from flows.training.start import open_start
from flows.training.train import train
from segmentation.errors import InputError as Refusal
from segmentation.interchange import encoder_weights
from segmentation.interchange.encoder_weights import cached_encoder, read_encoder
from segmentation.models.bundle import load
from segmentation.models.known_models import (
    ENCODERS,
    HubFile,
    KnownEncoder,
    encoder_names,
    known_encoder,
    known_names,
)
from segmentation.training import train_network
from segmentation.training.loop import Run
from segmentation.training.recipe import ForestRecipe, Recipe
from tests.conftest import Run as Command
from tests.flows.training.test_train import asked, truth_of, write_labels
from tests.scenes import draw_pixels, write_scene
from tests.segmentation.hubs import COMMIT, FakeHub, serving
from tiling.errors import InputError
from tiling.io.access import AccessPolicy, restrict_access
from tiling.scene.band_names import COMMON_NAMES

NAME = "ssl4eo-s12-resnet18-moco"
SMALL = Recipe(
    options={"encoder_depth": 3, "decoder_channels": (16, 8, 8)}, chip=32, batch=2, steps=2
)


def made_up(name: str) -> dict[str, torch.Tensor]:
    """An encoder of the names and shapes of a published one, and a head."""
    torchvision = pytest.importorskip("torchvision")
    known = known_encoder(name)
    torch.manual_seed(1)
    model = getattr(torchvision.models, known.encoder)()
    first = model.conv1
    model.conv1 = torch.nn.Conv2d(len(known.bands), first.out_channels, 7, 2, 3, bias=False)
    state: dict[str, torch.Tensor] = model.state_dict()
    return state


def saved(state: dict[str, torch.Tensor], prefix: str = "") -> bytes:
    stream = io.BytesIO()
    torch.save({prefix + name: tensor for name, tensor in state.items()}, stream)
    return stream.getvalue()


def published(content: bytes, monkeypatch: pytest.MonkeyPatch, digits: int = 64) -> KnownEncoder:
    """The known encoder, its file on the hub here, whose hash is known in so many digits."""
    told = known_encoder(NAME).model_copy(
        update={
            "origin": HubFile(id=f"hf://nobody/fields@{COMMIT}/fields.pth"),
            "sha256": hashlib.sha256(content).hexdigest()[:digits],
            "size": len(content),
        }
    )
    for module in ("flows.training.start", "flows.requests.segmenters"):
        monkeypatch.setattr(f"{module}.known_encoder", lambda _: told)
    return told


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return made_up(NAME)


@pytest.fixture
def hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: dict[str, torch.Tensor]
) -> Iterator[FakeHub]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    fake = FakeHub({"fields.pth": saved(state, "module.encoder_q.")})
    with serving(fake) as port:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
        yield fake


@pytest.mark.parametrize("name", encoder_names())
def test_what_is_known_is_whole_and_follows_one_format(name: str) -> None:
    known = known_encoder(name)
    assert {band.name for band in known.bands} <= {*COMMON_NAMES}
    assert known.licence
    assert known.about.startswith("https://")
    told = json.loads((ENCODERS / f"{name}.json").read_text("utf-8"))
    assert KnownEncoder.model_validate(told) == known
    # the authors' own name of the file holds the first digits of its hash
    assert f"-{known.sha256[:8]}." in str(known.origin)
    assert name not in known_names()


@pytest.mark.slow
def test_a_training_begins_with_the_tensors_of_the_file(
    tmp_path: Path,
    hub: FakeHub,
    monkeypatch: pytest.MonkeyPatch,
    state: dict[str, torch.Tensor],
) -> None:
    """From files to a bundle; one band was renamed to one that the encoder does not know."""
    published(hub.files["fields.pth"], monkeypatch)
    began: list[Any] = []
    plain = train_network.fit_on_device

    def noted(run: Run, *rest: Any) -> Any:
        began.append(run.start)
        return plain(run, *rest)

    monkeypatch.setattr(train_network, "fit_on_device", noted)
    pixels = draw_pixels(96, 128)
    names = ("green", "red", "nir", "pan")
    scene = write_scene(tmp_path / "scene.tif", pixels[1:5], names=names)
    labels = write_labels(tmp_path / "labels.tif", truth_of(pixels))
    finished = train(asked(scene, labels, tmp_path / "b", weights=NAME, recipe=SMALL))
    expected = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    filters = expected["conv1.weight"]
    order = [band.name for band in known_encoder(NAME).bands]
    chosen = [filters[:, order.index(name)] for name in names[:3]] + [filters.mean(1)]
    expected["conv1.weight"] = torch.stack(chosen, 1)
    found = {
        name.removeprefix("encoder."): tensor
        for name, tensor in began[0].items()
        if name.startswith("encoder.")
    }
    assert {name.partition(".")[0] for name in found} >= {"conv1", "bn1", "layer1", "layer2"}
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name
    card = load(tmp_path / "b").card
    assert (card.network.architecture, card.network.encoder) == ("unet", "resnet18")
    assert [(band.mean, band.std) for band in card.bands] == [(0, 1)] * 4
    started = card.training["started from"]
    assert (started["encoder"], started["licence"]) == (NAME, "CC-BY-4.0")
    assert any("has not learnt from pan" in note for note in finished.notes)


def test_it_is_fetched_once_and_no_other_is_taken(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, state: dict[str, torch.Tensor]
) -> None:
    told = published(hub.files["fields.pth"], monkeypatch, digits=8)
    file = fetch_encoder(NAME)
    asked_so_far = len(hub.asked)
    assert fetch_encoder(NAME) == file == cached_encoder(told)
    assert len(hub.asked) == asked_so_far, "it is here"
    taught = read_encoder(told, file)
    assert {name for name in state if not name.startswith("fc.")} == taught.state.keys()
    # what was damaged here is fetched again; another file is refused by the digits that are known
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(Refusal, match="is not the file that is known"):
        cached_encoder(told)
    assert fetch_encoder(NAME) == file
    file.unlink()
    hub.files["fields.pth"] = hub.files["fields.pth"][:-1] + b"?"
    with pytest.raises(Refusal, match="is not the file that is known"):
        fetch_encoder(NAME)
    hub.files["fields.pth"] += b"more"
    with pytest.raises(Refusal, match="longer than"):
        fetch_encoder(NAME)
    assert not file.exists()


def test_a_form_fetches_from_hosts_in_reach_alone(
    tmp_path: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(hub.files["fields.pth"], monkeypatch)

    def filled() -> Training:
        return training_from(
            [str(tmp_path / "a.tif")], [str(tmp_path / "l.tif")], str(tmp_path / "out"),
            Labels(), Model(start_from=NAME), Bands(),
        )  # fmt: skip

    with restrict_access(AccessPolicy(roots=(tmp_path,), hosts=())):
        assert filled().weights == NAME
        with pytest.raises(
            InputError, match=r"does not fetch it from 127\.0\.0\.1; whoever runs it"
        ):
            fetch_encoder(NAME)
    with restrict_access(AccessPolicy(roots=(tmp_path,), hosts=("127.0.0.1",))):
        assert fetch_encoder(NAME).is_file()


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        (Recipe(encoder="resnet34"), "are those of resnet18, and resnet34 was asked for"),
        (Recipe(architecture="fullunet"), "of resnet18, and the architecture fullunet was"),
        (ForestRecipe(), "grows from labels alone"),
    ],
)
def test_what_has_no_such_encoder_says_so_before_anything_is_fetched(
    tmp_path: Path, hub: FakeHub, recipe: Any, told: str
) -> None:
    with pytest.raises((InputError, Refusal), match=told):
        open_start(asked(tmp_path / "s", tmp_path / "l", tmp_path, weights=NAME, recipe=recipe))
    assert not hub.asked


def test_a_name_that_is_nearly_one_or_used_as_a_model_is_told(tmp_path: Path) -> None:
    asking = asked(tmp_path / "s", tmp_path / "l", tmp_path, weights=NAME[:-1], recipe=SMALL)
    with pytest.raises(InputError, match=f"did you mean {NAME}"):
        open_start(asking)
    with pytest.raises(InputError, match=f"knows no classes; .*--weights {NAME}"):
        choose_segmenter(NAME, {})


def test_weights_of_another_network_are_refused_in_one_line(
    tmp_path: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, state: dict[str, torch.Tensor]
) -> None:
    told = published(hub.files["fields.pth"], monkeypatch)
    (tmp_path / "w.pth").write_bytes(saved({"weight": torch.ones(2)}))
    with pytest.raises(Refusal, match="no resnet18 for 13 bands: its first convolution has 0"):
        read_encoder(told, tmp_path / "w.pth")
    (tmp_path / "w.pth").write_bytes(saved(state))
    taught = read_encoder(told, tmp_path / "w.pth")
    for odd, what in (({}, "is missing"), ({"bn1.bias": torch.ones(2)}, "has another shape")):
        changed = {name: t for name, t in taught.state.items() if name != "bn1.bias"} | odd
        with pytest.raises(Refusal, match=f"bn1.bias {what}"):
            encoder_weights.fill_encoder(
                {"bn1.bias": torch.ones(64)}, ["red"], taught._replace(state=changed)
            )


def test_digital_numbers_keep_their_own_mean_and_a_line_says_so() -> None:
    known = known_encoder(NAME)
    dn = known.bands[0].model_copy(update={"name": "red", "units": "dn", "mean": 5.0})
    assert encoder_weights.bands_as_taught([dn], known) == (dn,)
    (note,) = encoder_weights.notes_on([dn], known)
    assert "learnt from reflectance, and red is not" in note
    later = dn.model_copy(update={"name": "late.red", "units": "reflectance"})
    assert encoder_weights.bands_as_taught([later], known)[0].mean == 0
    assert not encoder_weights.notes_on([later], known)


def test_they_are_listed_and_fetched_by_name(
    landweave: Command, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(hub.files["fields.pth"], monkeypatch)
    _, out, _ = landweave("models", "--known")
    assert all(name in out for name in encoder_names())
    status, out, _ = landweave("models", "get", NAME, "--json")
    assert status == 0
    assert Path(json.loads(out)[NAME]).is_file()
