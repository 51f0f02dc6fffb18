"""Bundles on disk: what is written is what is opened, and nothing else is."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from segmentation.errors import InputError
from segmentation.legend import LAND_COVER
from segmentation.models.bundle import (
    CARD,
    BandCard,
    Bundle,
    Card,
    ForestModel,
    Support,
    load,
    names,
    save,
)
from segmentation.models.stac_mlm import FORMAT, item_of
from segmentation.models.weights import CHECKPOINTS, LARGEST
from tests.segmentation.small_networks import a_card

STATE = {
    "conv.weight": torch.linspace(-3, 3, 24)
    .reshape(2, 3, 2, 2)
    .to(memory_format=torch.channels_last),
    "norm.running_var": torch.tensor([1e-9, 1e9]),  # neither fits into float16
    "norm.num_batches_tracked": torch.tensor(7),
}


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return save(tmp_path / "bundle", a_card(), STATE)


def vouched(bundle: Bundle, content: bytes) -> Bundle:
    """The bundle with other weights, and a card that was written for them."""
    card = bundle.card.model_copy(
        update={"sha256": sha256(content).hexdigest(), "size": len(content)}
    )
    bundle.weights_file.write_bytes(content)
    (bundle.folder / CARD).write_text(json.dumps(item_of(card)))
    return load(bundle.folder)


def test_a_bundle_opens_as_it_was_saved(bundle: Bundle) -> None:
    opened = load(bundle.folder)
    content = opened.weights_file.read_bytes()
    assert opened.card == a_card(sha256=sha256(content).hexdigest(), size=len(content))
    weights = opened.weights()
    assert weights.keys() == STATE.keys()
    for name, tensor in STATE.items():
        assert torch.equal(weights[name], tensor)


def test_half_precision_rounds_kernels_and_leaves_statistics(tmp_path: Path) -> None:
    weights = save(tmp_path / "half", a_card(), STATE, half=True).weights()
    assert weights["conv.weight"].dtype == torch.float16
    assert torch.allclose(weights["conv.weight"].float(), STATE["conv.weight"], rtol=2**-11)
    assert torch.equal(weights["norm.running_var"], STATE["norm.running_var"])


def test_the_digest_follows_content_alone(bundle: Bundle, tmp_path: Path) -> None:
    assert save(tmp_path / "elsewhere", a_card(), STATE).digest == bundle.digest
    (bundle.folder / CARD).write_text(json.dumps(json.loads((bundle.folder / CARD).read_text())))
    assert load(bundle.folder).digest == bundle.digest

    other = STATE | {"norm.num_batches_tracked": torch.tensor(8)}
    assert save(tmp_path / "other", a_card(), other).digest != bundle.digest


@pytest.mark.parametrize(
    "change",
    [
        {"name": "else"},
        {"encoder": "resnet18"},
        {"options": {"encoder_depth": 4}},
        {"bands": ("red", "nir", "green")},
        {"mean": (0.1, 0.2, 0.31)},
        {"legend": LAND_COVER.subset(1, 3)},
        {"margin": 96},
        {"support": Support(1, 2, 3, 4)},
    ],
)
def test_every_field_of_the_card_counts_in_the_digest(
    bundle: Bundle, tmp_path: Path, change: dict[str, object]
) -> None:
    assert save(tmp_path / "changed", a_card(**change), STATE).digest != bundle.digest


def test_a_bundle_that_changes_on_disk_is_read_again(bundle: Bundle) -> None:
    save(bundle.folder, a_card(name="a later one"), STATE)
    assert load(bundle.folder).card.name == "a later one"


def test_tampered_weights_are_refused(bundle: Bundle) -> None:
    weights = bundle.weights_file
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    for use in (bundle.check, bundle.weights):
        with pytest.raises(
            InputError, match=rf"{weights} is not the file .* copy the whole bundle again"
        ):
            use()


def test_weights_cut_short_are_noticed_before_they_are_needed(bundle: Bundle) -> None:
    content = bundle.weights_file.read_bytes()
    bundle.weights_file.write_bytes(content[:100])
    with pytest.raises(InputError, match=r"model\.safetensors is not the file"):
        load(bundle.folder)


def test_weights_that_are_a_pickle_are_not_opened(tmp_path: Path) -> None:
    """Even where the card vouches for them."""
    bundle = save(tmp_path / "bundle", a_card(), STATE)
    with pytest.raises(InputError, match="is not a safetensors file"):
        vouched(bundle, pickle.dumps({"conv.weight": [0.0]})).weights()


def test_weights_are_as_long_as_the_card_says_before_they_are_read(bundle: Bundle) -> None:
    """A sparse file of a terabyte takes no room on a disk, and would take all the memory there
    is."""
    with bundle.weights_file.open("r+b") as stream:
        stream.truncate(2**40)
    with pytest.raises(InputError, match="its length or SHA-256 differs"):
        bundle.check()
    card = bundle.card.model_copy(update={"size": 2**40})
    assert card.size > LARGEST
    (bundle.folder / CARD).write_text(json.dumps(item_of(card)))
    with pytest.raises(InputError, match="its length or SHA-256 differs"):
        load(bundle.folder).check()


def test_a_card_of_a_terabyte_is_not_read(bundle: Bundle) -> None:
    with (bundle.folder / CARD).open("r+b") as stream:
        stream.truncate(2**40)
    with pytest.raises(InputError, match="it is longer than 4,194,304 bytes"):
        load(bundle.folder)


def in_one_line(act: Callable[[], Any]) -> Any:
    """What `act` returns, or None where it raised a `InputError`, and no other error, of one
    line."""
    try:
        return act()
    except InputError as mistake:
        told = str(mistake)
    assert "\n" not in told
    return None


def header_and_numbers(content: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5)
    | st.sampled_from(["F64", "F16", "F4", "BOOL", "I64"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner,
    max_size=2),
    max_leaves=5,
)  # fmt: skip


@given(data=st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_header_that_was_tampered_with_is_read_or_refused(
    bundle: Bundle, data: st.DataObject
) -> None:
    """Even where the card vouches for the file."""
    whole = save(bundle.folder, a_card(), STATE).weights_file.read_bytes()
    header, numbers = header_and_numbers(whole)
    for _ in range(data.draw(st.integers(1, 2))):
        tensor = data.draw(st.sampled_from(sorted(header)))
        if isinstance(header[tensor], dict) and data.draw(st.booleans()):
            header[tensor][
                data.draw(st.sampled_from(["dtype", "shape", "data_offsets", "more"]))
            ] = data.draw(values)
        else:
            header[data.draw(st.sampled_from([tensor, "another", "__metadata__"]))] = data.draw(
                values
            )
    told = json.dumps(header).encode()
    length = data.draw(st.sampled_from([len(told), 0, 1, 2**24, 2**63, len(told) + len(numbers)]))
    opened = vouched(bundle, length.to_bytes(8, "little") + told + numbers)
    weights = in_one_line(opened.weights)
    assert weights is None or sum(tensor.nbytes for tensor in weights.values()) == len(numbers)


@given(content=st.binary(max_size=300))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_noise_is_no_bundle(bundle: Bundle, content: bytes) -> None:
    with pytest.raises(InputError, match="is not a safetensors file"):
        vouched(bundle, content).weights()
    (bundle.folder / CARD).write_bytes(content)
    with pytest.raises(InputError, match="is not the card of a bundle"):
        load(bundle.folder)


@given(data=st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_card_with_bytes_changed_is_a_card_or_a_mistake(
    bundle: Bundle, data: st.DataObject
) -> None:
    told = bytearray(json.dumps(item_of(bundle.card)).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(told) - 1))
        told[place : place + data.draw(st.integers(0, 3))] = data.draw(
            st.binary(max_size=3)
            | st.sampled_from([b"[" * 5000, b"9" * 5000, b"1e999", b"NaN", b"\\ud800"])
        )
    (bundle.folder / CARD).write_bytes(told)
    in_one_line(lambda: load(bundle.folder))


@pytest.mark.parametrize("suffix", CHECKPOINTS)
def test_weights_without_a_card_are_refused_with_the_command_that_makes_a_bundle(
    tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"epoch=7{suffix}"
    file.write_bytes(b"never opened")
    with pytest.raises(
        InputError, match=rf"landweave convert {file} --like BUNDLE --out DIR"
    ) as mistake:
        load(file)
    assert ("can run code" in str(mistake.value)) == (suffix not in (".safetensors", ".onnx"))


def newer(folder: Path) -> None:
    item = json.loads((folder / CARD).read_text())
    item["properties"]["landweave:format"] = FORMAT + 1
    (folder / CARD).write_text(json.dumps(item))


@pytest.mark.parametrize(
    ("spoil", "fact"),
    [
        (lambda folder: (folder / CARD).unlink(), f"it has no {CARD}"),
        (lambda folder: (folder / "model.safetensors").unlink(), "it has no model.safetensors"),
        (lambda folder: (folder / CARD).write_text("{"), "is not the card of a bundle"),
        (
            lambda folder: (folder / CARD).write_text('{"format": 2}'),
            "is not the card of a bundle (it has no properties)",
        ),
        (newer, f"a newer Landweave wrote it (format {FORMAT + 1}, this one reads up to {FORMAT})"),
    ],
)
def test_what_is_no_bundle_is_named_in_one_line(
    bundle: Bundle, spoil: Callable[[Path], None], fact: str
) -> None:
    spoil(bundle.folder)
    with pytest.raises(InputError) as mistake:
        load(bundle.folder)
    assert str(bundle.folder) in str(mistake.value)
    assert fact in str(mistake.value)
    assert "\n" not in str(mistake.value)


def test_a_missing_folder_is_a_mistake_that_names_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere is no bundle.*demo"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "smuggled",
    [
        {"encoder": "tu-hf-hub:someone/something"},
        {"encoder": "tu-local-dir:/tmp/something"},
        {"options": {"checkpoint_path": "/tmp/something.pth"}},
        {"options": {"encoder_weights": "imagenet"}},
        {"options": {"pretrained": True}},
    ],
)
def test_a_card_cannot_name_a_file_or_a_download(smuggled: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        a_card(**smuggled)


def test_a_card_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(ValidationError, match="band red has 2 quantiles instead of 5"):
        BandCard(name="red", mean=0.1, std=0.1, quantiles=(0.1, 0.2))
    with pytest.raises(ValidationError, match="margin 40 is no multiple of stride 32"):
        a_card(margin=40, stride=32)


def test_saving_replaces_a_bundle_and_nothing_else(bundle: Bundle, tmp_path: Path) -> None:
    replaced = save(bundle.folder, a_card(name="new"), STATE)
    assert load(bundle.folder).card.name == "new" == replaced.card.name

    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter1.tex").write_text("irreplaceable")
    with pytest.raises(InputError, match=r"thesis holds other files"):
        save(thesis, a_card(), STATE)
    assert (thesis / "chapter1.tex").read_text() == "irreplaceable"
    assert {path.name for path in tmp_path.iterdir()} == {"bundle", "thesis"}


@pytest.mark.parametrize("beside", ["weights.h5", "notes/draft.txt", "model.onnx"])
def test_a_bundle_with_other_files_beside_it_is_not_replaced(bundle: Bundle, beside: str) -> None:
    (bundle.folder / beside).parent.mkdir(exist_ok=True)
    (bundle.folder / beside).write_text("irreplaceable")
    with pytest.raises(
        InputError,
        match=rf"bundle holds other files than a bundle's, {beside.split('/')[0]} for one",
    ):
        save(bundle.folder, a_card(name="new"), STATE)
    assert (bundle.folder / beside).read_text() == "irreplaceable"
    assert load(bundle.folder).digest == bundle.digest


def test_a_folder_with_the_name_of_one_of_a_bundles_files_is_anothers(bundle: Bundle) -> None:
    (bundle.folder / "curves.csv").mkdir()
    (bundle.folder / "curves.csv" / "mine.txt").write_text("irreplaceable")
    with pytest.raises(
        InputError, match=r"bundle holds other files than a bundle's, curves\.csv for one"
    ):
        save(bundle.folder, a_card(name="new"), STATE)
    assert (bundle.folder / "curves.csv" / "mine.txt").read_text() == "irreplaceable"


def test_a_header_is_looked_at_before_weights_are_taken_apart(bundle: Bundle) -> None:
    """By our own reader, which knows how much memory they will ask for, and not only by the
    library's."""
    longer = vouched(bundle, bundle.weights_file.read_bytes() + b"\0")
    with pytest.raises(
        InputError, match=r"its header speaks of [\d,]+ bytes, and [\d,]+ follow it"
    ):
        longer.weights()


def test_nor_is_a_model_json_of_another_program(tmp_path: Path) -> None:
    keras = tmp_path / "keras"
    keras.mkdir()
    (keras / "model.json").write_text('{"class_name": "Sequential"}')
    with pytest.raises(InputError, match="keras holds other files, not a bundle"):
        save(keras, a_card(), STATE)
    assert [path.name for path in keras.iterdir()] == ["model.json"]


def test_what_a_training_left_beside_the_card_is_replaced_with_it(bundle: Bundle) -> None:
    (bundle.folder / "curves.csv").write_text("old")
    save(bundle.folder, a_card(name="new"), STATE)
    assert not (bundle.folder / "curves.csv").exists()


def test_neither_a_file_nor_the_folder_one_is_in_becomes_a_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "map.tif").write_text("map")
    with pytest.raises(InputError, match=r"map\.tif is a file"):
        save(tmp_path / "map.tif", a_card(), STATE)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(InputError, match="is the folder you are in"):
        save(Path(), a_card(), STATE)


def test_a_save_that_fails_leaves_the_old_bundle(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(
        InputError,
        match=r"cannot write to .*: No space left on device; name another folder with --out",
    ):
        save(bundle.folder, a_card(name="new"), STATE)
    assert load(bundle.folder).digest == bundle.digest
    assert [path.name for path in bundle.folder.parent.iterdir()] == ["bundle"]


def test_a_save_that_is_stopped_between_old_and_new_leaves_the_old_bundle(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def stopped(self: Path, target: Path) -> Path:
        if self.name.endswith(".new"):
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        save(bundle.folder, a_card(name="new"), STATE)
    assert load(bundle.folder).digest == bundle.digest
    assert [path.name for path in bundle.folder.parent.iterdir()] == ["bundle"]


def test_a_forest_where_a_network_is_wanted_is_told_with_the_mend() -> None:
    forest = ForestModel(estimator="random-forest", features=("nir",), sklearn="1.9.1")
    with pytest.raises(
        InputError, match="bundle test holds a forest, not a network; name one that does"
    ):
        _ = a_card().model_copy(update={"model": forest}).network


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        InputError, match=r"cannot write to .*file: .*; name another folder with --out"
    ):
        save(tmp_path / "file" / "bundle", a_card(), STATE)


def test_the_demo_bundle_is_whole_and_small() -> None:
    assert "demo" in names()
    demo = load("demo")
    demo.check()
    assert demo.weights_file.stat().st_size < 4e6
    assert demo.card.legend == LAND_COVER.subset(1, 2, 3, 4, 5, 6)


def test_the_demo_bundle_keeps_what_its_card_must_promise() -> None:
    """Few labels differ from the untiled result, and the margin costs little."""
    card: Card = load("demo").card
    network = card.network
    assert network.disagreement <= 0.001
    assert (network.tile + 2 * network.margin) ** 2 / network.tile**2 <= 1.35
    assert card.metrics["network: overall accuracy"] > card.metrics["rules: overall accuracy"]
    assert card.metrics["network: mean IoU"] > card.metrics["rules: mean IoU"]


def test_the_readme_states_the_figures_of_the_demo_card() -> None:
    card = load("demo").card
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    for row, who in (
        ("demo network, eight landscapes it was not trained on", "network"),
        ("`rules`, the same", "rules"),
    ):
        stated = re.search(
            rf"^\| {re.escape(row)}[^|]*\| ([\d.]+) \| ([\d.]+) \|$", readme, re.MULTILINE
        )
        assert stated is not None
        assert stated.groups() == tuple(
            f"{card.metrics[f'{who}: {figure}']:.3f}" for figure in ("overall accuracy", "mean IoU")
        )
    of_rules = [value for name, value in card.metrics.items() if name.startswith("rules: IoU")]
    assert len(of_rules) == 6
    assert card.metrics["rules: mean IoU"] == pytest.approx(sum(of_rules) / 6, abs=1e-4)


def test_cards_are_read_without_torch(bundle: Bundle) -> None:
    program = f"""
import sys
from segmentation.models.bundle import load
from segmentation.inference.network import Network
card = load({str(bundle.folder)!r}).card
network = Network(bundle={str(bundle.folder)!r})
assert network.footprint[:3] == (card.model.tile, card.model.margin, card.model.stride)
assert network.bands(card.band_names) == card.band_names
assert network.legend == card.legend
assert network.fit(None).fitted
heavy = {{"torch", "timm", "segmentation_models_pytorch", "safetensors", "rasterio"}}
heavy &= set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program], check=True)
