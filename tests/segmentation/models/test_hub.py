"""Models by id, from a hub on this machine that answers as the real one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from segmentation.errors import InputError
from segmentation.models import hub
from segmentation.models.bundle import CARD, load, write
from segmentation.models.card import OnnxModel
from segmentation.models.stac_mlm import item_of
from segmentation.reach import restrict_hosts
from tests.segmentation.hubs import COMMIT, WEIGHTS, FakeHub, serving, with_model
from tests.segmentation.small_networks import a_bundle, a_card


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub with the bundle in `made`; nothing is in the cache."""
    fake = with_model(a_bundle(tmp_path / "made"))
    with serving(fake) as port:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield fake


def left(tmp_path: Path) -> list[str]:
    return sorted(
        str(path.relative_to(tmp_path))
        for path in (tmp_path / "cache").rglob("*")
        if path.is_file()
    )


def test_a_bundle_comes_by_id_whole_and_alone(fake: FakeHub, tmp_path: Path) -> None:
    folder = hub.fetch_bundle("hf://nobody/fields")
    assert load(folder).card == load(tmp_path / "made").card
    assert load(folder).digest == load(tmp_path / "made").digest
    assert sorted(path.name for path in folder.iterdir()) == [CARD, WEIGHTS]
    # Nothing else was asked for: no code, no pickle.
    assert [path.rpartition("/")[2] for path in fake.asked] == ["main", CARD, WEIGHTS]
    assert len(left(tmp_path)) == 2


def test_a_revision_is_downloaded_once(fake: FakeHub) -> None:
    first = hub.fetch_bundle("hf://nobody/fields")
    assert hub.fetch_bundle("hf://nobody/fields") == first
    assert len(fake.asked) == 4, (
        "a branch may have moved: it is asked where it is, and nothing else"
    )
    assert hub.fetch_bundle(f"hf://nobody/fields@{COMMIT}") == first
    assert len(fake.asked) == 4, "a commit does not move"

    fake.commit = "d" * 40
    assert hub.fetch_bundle("hf://nobody/fields") != first
    assert load(first).check() is None


def test_a_damaged_copy_is_downloaded_again(fake: FakeHub) -> None:
    folder = hub.fetch_bundle("hf://nobody/fields")
    (folder / WEIGHTS).write_bytes(b"cut")
    assert hub.fetch_bundle(f"hf://nobody/fields@{COMMIT}") == folder
    load(folder).check()


def test_the_cache_works_without_a_hub_by_commit(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = hub.fetch_bundle("hf://nobody/fields")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert hub.fetch_bundle(f"hf://nobody/fields@{COMMIT}") == folder
    with pytest.raises(
        InputError, match=r"cannot be reached \(ConnectError\); .* by its full commit"
    ):
        hub.fetch_bundle("hf://nobody/fields")


def test_a_token_comes_from_the_environment_and_is_not_shown(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    fake.token = "hf_secret"
    with pytest.raises(InputError, match=r"not there for you \(401\).* set HF_TOKEN"):
        hub.fetch_bundle("hf://nobody/fields")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(InputError) as mistake:
        hub.fetch_bundle("hf://nobody/fields")
    assert "hf_wrong" not in str(mistake.value)
    monkeypatch.setenv("HF_TOKEN", fake.token)
    hub.fetch_bundle("hf://nobody/fields")
    assert "hf_" not in "".join(capfd.readouterr())


def test_a_token_is_not_sent_on_to_another_host(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files lie on storage elsewhere, which the hub redirects to."""
    storage = FakeHub(fake.files)
    with serving(storage) as port:
        fake.token, fake.redirect = "hf_secret", f"http://localhost:{port}"
        monkeypatch.setenv("HF_TOKEN", fake.token)
        load(hub.fetch_bundle("hf://nobody/fields")).check()
    assert len(storage.asked) == 2
    assert storage.seen_tokens == [None, None]


@pytest.mark.parametrize(
    "text",
    [
        "hf://fields",
        "hf://nobody/fields/main",
        "hf://../fields",
        "hf://nobody/..",
        "hf://nobody/fields@../../x",
        "hf://a b/c",
    ],
)
def test_what_is_no_id_is_refused_before_anyone_is_asked(fake: FakeHub, text: str) -> None:
    with pytest.raises(InputError, match="names no model; write hf://OWNER/NAME"):
        hub.fetch_bundle(text)
    assert fake.asked == []


def test_a_model_that_is_not_there(fake: FakeHub) -> None:
    with pytest.raises(InputError, match=r"hf://nobody/forests is not there for you \(404\)"):
        hub.fetch_bundle("hf://nobody/forests")
    with pytest.raises(InputError, match=r"hf://nobody/fields@v9 is not there for you \(404\)"):
        hub.fetch_bundle("hf://nobody/fields@v9")


def without(fake: FakeHub, *names: str) -> None:
    for name in names:
        del fake.files[name]


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        (
            lambda fake: without(fake, CARD),
            "model.safetensors has no card; make a bundle of it: landweave convert hf://nobody/",
        ),
        (lambda fake: without(fake, CARD, WEIGHTS, "optimizer.pt"), "ask its author for a folder"),
        (lambda fake: without(fake, WEIGHTS), "has no model.safetensors"),
        (lambda fake: fake.files.update({CARD: b"{}"}), "is not the card of a bundle"),
        (
            lambda fake: fake.files.update({CARD: bytes(5 * 2**20)}),
            "model.json is longer than 4,194,304 bytes",
        ),
        (
            lambda fake: fake.files.update({WEIGHTS: fake.files[WEIGHTS] + b"!"}),
            "model.safetensors is longer than",
        ),
        (lambda fake: fake.files.update({WEIGHTS: bytes(9)}), "its length or SHA-256 differs"),
        (lambda fake: setattr(fake, "endless", True), "model.safetensors is longer than"),
        (lambda fake: setattr(fake, "commit", "../../x"), "names no commit"),
    ],
)
def test_what_is_not_a_whole_bundle_leaves_nothing(
    fake: FakeHub, tmp_path: Path, change: object, fact: str
) -> None:
    assert callable(change)
    change(fake)
    with pytest.raises(InputError, match=fact) as mistake:
        hub.fetch_bundle("hf://nobody/fields")
    assert "\n" not in str(mistake.value)
    assert left(tmp_path) == []


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b'{"sha": 3}', b"[" * 100_000])
def test_another_kind_of_server_is_named(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    monkeypatch.setattr(json, "dumps", lambda *_: answer.decode())
    with pytest.raises(InputError, match="does not answer as a model hub; see HF_ENDPOINT"):
        hub.fetch_bundle("hf://nobody/fields")


def test_a_graph_comes_by_id_too(fake: FakeHub, tmp_path: Path) -> None:
    """It is looked through wherever it runs, so that its author need not be trusted."""
    model = OnnxModel(input="pixels", output="scores", margin=0, stride=1, support=None)
    made = write(tmp_path / "graph", a_card().model_copy(update={"model": model}), b"a graph")
    fake.files = {name: (made.folder / name).read_bytes() for name in (CARD, "model.onnx")}
    assert load(hub.fetch_bundle("hf://nobody/fields")).content() == b"a graph"
    assert [path.rpartition("/")[2] for path in fake.asked] == ["main", CARD, "model.onnx"]


def test_a_forest_is_not_taken(fake: FakeHub) -> None:
    from segmentation.models.forest_model import ForestModel

    card = a_card().model_copy(
        update={"model": ForestModel(estimator="random-forest", features=("nir",), sklearn="1.9.1")}
    )
    fake.files[CARD] = json.dumps(item_of(card)).encode()
    with pytest.raises(InputError, match="holds a forest; only networks are taken from elsewhere"):
        hub.fetch_bundle("hf://nobody/fields")


def test_a_slow_hub_is_given_up(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "SECONDS", -1.0)
    with pytest.raises(InputError, match="takes longer than"):
        hub.fetch_bundle("hf://nobody/fields")


def test_weights_of_save_pretrained_come_with_their_config(fake: FakeHub, tmp_path: Path) -> None:
    del fake.files[CARD]
    fake.files["config.json"] = b'{"_model_class": "Unet"}'
    with pytest.raises(InputError, match=r"say them: landweave convert hf://nobody/fields --bands"):
        hub.fetch_bundle("hf://nobody/fields")
    folder = hub.fetch_checkpoint("hf://nobody/fields")
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", WEIGHTS]


def test_a_bundle_is_not_converted(fake: FakeHub) -> None:
    with pytest.raises(InputError, match="hf://nobody/fields is a bundle as it is"):
        hub.fetch_checkpoint("hf://nobody/fields")


def test_nothing_heavy_is_needed(fake: FakeHub) -> None:
    program = """
import sys
from segmentation.models.bundle import load
from segmentation.models.hub import fetch_bundle
load(fetch_bundle("hf://nobody/fields")).check()
heavy = {"torch", "timm", "segmentation_models_pytorch", "safetensors", "rasterio"}
heavy &= set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("hf://a/b", hub.ModelId("a", "b")),
        ("hf://a/b@feature/x", hub.ModelId("a", "b", "feature/x")),
        ("hf://a/b/net.pth", hub.ModelId("a", "b", "main", "net.pth")),
        ("hf://a/b@v1/in/net.ckpt", hub.ModelId("a", "b", "v1", "in/net.ckpt")),
    ],
)
def test_an_id_may_name_a_file(text: str, parsed: hub.ModelId) -> None:
    assert hub.ModelId.parse(text) == parsed
    assert str(parsed) == text


@pytest.mark.parametrize("text", ["hf://a/b/../net.pth", "hf://a/b/c/net.txt"])
def test_an_id_that_leads_elsewhere_names_no_model(text: str) -> None:
    with pytest.raises(InputError, match="names no model"):
        hub.ModelId.parse(text)


def test_a_checkpoint_comes_by_its_name_or_where_it_is_the_only_one(fake: FakeHub) -> None:
    without(fake, CARD)
    file = hub.fetch_checkpoint("hf://nobody/fields/optimizer.pt")
    assert file.read_bytes() == b"never asked for"
    assert hub.fetch_checkpoint(f"hf://nobody/fields@{COMMIT}/optimizer.pt") == file
    with pytest.raises(InputError, match=r"has 2 files of weights.*name one: hf://nobody/fields/m"):
        hub.fetch_checkpoint("hf://nobody/fields")
    without(fake, WEIGHTS)
    assert hub.fetch_checkpoint("hf://nobody/fields").name == "optimizer.pt"
    with pytest.raises(InputError, match=r"has no net.pth"):
        hub.fetch_checkpoint("hf://nobody/fields/net.pth")


def test_a_file_of_weights_is_no_bundle_and_a_bundle_needs_no_conversion(fake: FakeHub) -> None:
    with pytest.raises(InputError, match="without a card; make a bundle of it"):
        hub.fetch_bundle("hf://nobody/fields/optimizer.pt")
    with pytest.raises(InputError, match="is a bundle as it is"):
        hub.fetch_checkpoint("hf://nobody/fields")
    assert not any(path.endswith("optimizer.pt") for path in fake.asked)


def test_a_file_at_an_address_comes_without_a_token(
    fake: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    place = f"{os.environ['HF_ENDPOINT']}/nobody/fields/resolve/{COMMIT}"
    file = hub.keep_address(f"{place}/optimizer.pt")
    assert file.read_bytes() == b"never asked for"
    assert set(fake.seen_tokens) == {None}
    for name, what in (("README.md", "no address of weights"), ("net.pth", r"\(404\)")):
        with pytest.raises(InputError, match=what):
            hub.keep_address(f"{place}/{name}")
    with pytest.raises(InputError, match="longer than 3 bytes"):
        hub.fetch_address(f"{place}/optimizer.pt", tmp_path, most=3)
    with pytest.raises(InputError, match="cannot be reached"):
        hub.fetch_address("http://127.0.0.1:1/net.pth", tmp_path)


def test_a_server_fetches_models_from_its_hosts_alone(fake: FakeHub) -> None:
    with restrict_hosts(("other.example",)):
        for fetch, text in (
            (hub.fetch_bundle, "hf://nobody/fields"),
            (hub.keep_address, "http://127.0.0.1:1/weights.safetensors"),
        ):
            with pytest.raises(InputError, match=r"add 127\.0\.0\.1 to LANDWEAVE_ALLOWED_HOSTS"):
                fetch(text)
        assert not fake.asked
    with restrict_hosts(("127.0.0.1",)):
        assert hub.fetch_bundle("hf://nobody/fields").is_dir()
