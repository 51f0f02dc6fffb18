"""Models on the command line: listed, explained, converted, exported, and found by id."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch

from flows.requests.conversion import Conversion
from flows.requests.segmenters import choose_segmenter
from flows.training.foreign_card import card_for
from segmentation.legend import LAND_COVER
from segmentation.models.bundle import CARD, Bundle, ForestModel, load, names, write
from segmentation.models.stac_mlm import card_of
from tests.conftest import Run
from tests.segmentation.hubs import COMMIT, FakeHub, serving, with_model
from tests.segmentation.small_networks import DEMO_ENCODER, a_bundle, a_card, lively_state


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return a_bundle(tmp_path / "folder" / "fields", name="fields", training={"scenes": ["a", "b"]})


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub with the bundle in `made`; nothing is in the cache."""
    fake = with_model(a_bundle(tmp_path / "made"))
    with serving(fake) as port:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield fake


# ------------------------------------------------------------------------------------------- models


def test_models_lists_what_comes_with_the_package(landweave: Run) -> None:
    status, out, _ = landweave("models")
    assert status == 0
    for name in names():
        assert name in out


def test_models_lists_folders_of_bundles(landweave: Run, bundle: Bundle) -> None:
    a_bundle(bundle.folder.parent / "roads", name="roads")
    _, out, _ = landweave("models", bundle.folder.parent)
    assert "fields" in out
    assert "roads" in out


def test_a_model_is_explained(landweave: Run) -> None:
    card = load("demo").card
    status, out, _ = landweave("models", "demo")
    assert status == 0
    for band in card.bands:
        assert f"{band.mean:g}" in out
    for _, name, colour in card.legend.rows:
        assert name in out
        assert colour in out
    for fact in (
        "230 px up, 261 down",
        "1024 px and 64 px around it",
        "0.043%",
        "Apache-2.0",
        "0.8566",
        "100–163",
    ):
        assert fact in out


def test_a_forest_is_explained(landweave: Run, tmp_path: Path) -> None:
    forest = ForestModel(
        estimator="random-forest", features=("nir/red", "mean(nir, 9)"), sklearn="1.9.1"
    )
    write(tmp_path / "forest", a_card(name="hedges").model_copy(update={"model": forest}), b"bytes")
    _, out, _ = landweave("models", tmp_path / "forest")
    for fact in (
        "hedges",
        "random-forest",
        "nir/red",
        "mean(nir, 9)",
        "scikit-learn 1.9.1",
        "5 bytes",
    ):
        assert fact in out


def test_programs_get_the_item(landweave: Run, bundle: Bundle) -> None:
    _, out, _ = landweave("models", bundle.folder, "--json")
    (told,) = json.loads(out)
    assert card_of(told["item"]) == bundle.card
    assert told["item"] == json.loads((bundle.folder / CARD).read_text())
    assert told["digest"] == bundle.digest


def test_architectures_are_listed(landweave: Run) -> None:
    _, out, _ = landweave("models", "--architectures")
    assert "unet" in out
    assert "segformer" in out
    assert "deeplabv3plus" in json.loads(landweave("models", "--architectures", "--json")[1])


def test_a_place_without_models_is_a_mistake(landweave: Run, tmp_path: Path) -> None:
    status, _, err = landweave("models", tmp_path)
    assert status == 2
    assert "is no bundle, it has no model.json" in err
    assert err.count("\n") == 1


# -------------------------------------------------------------------------------------------- by id


def test_a_model_is_explained_by_id(landweave: Run, fake: FakeHub, tmp_path: Path) -> None:
    status, out, _ = landweave("models", f"hf://nobody/fields@{COMMIT}")
    assert status == 0
    assert load(tmp_path / "made").digest in out


@pytest.mark.parametrize("how", ["--segmenter", "--set", "YAML"])
def test_a_segmenter_by_id_is_a_folder_here(fake: FakeHub, tmp_path: Path, how: str) -> None:
    """Wherever the id is typed, what goes to the workers is a path, and a hash of what lies
    there."""
    if how == "YAML":
        (tmp_path / "fields.yaml").write_text("kind: network\nbundle: hf://nobody/fields\n")
        chosen = choose_segmenter(str(tmp_path / "fields.yaml"), {})
    elif how == "--set":
        chosen = choose_segmenter("network", {"bundle": "hf://nobody/fields"})
    else:
        chosen = choose_segmenter("hf://nobody/fields", {})
    fitted = chosen.fit(None).model_dump()
    assert Path(fitted["bundle"]).is_relative_to(tmp_path / "cache")
    assert fitted["fitted"] == load(tmp_path / "made").digest

    asked = len(fake.asked)
    type(chosen).model_validate(fitted)  # as a worker or a resumed run does
    assert len(fake.asked) == asked


def test_a_checkpoint_is_no_segmenter(landweave: Run, tmp_path: Path) -> None:
    (tmp_path / "epoch=9.ckpt").write_bytes(b"never opened")
    status, _, err = landweave(
        "plan", tmp_path / "scene.tif", "--segmenter", tmp_path / "epoch=9.ckpt"
    )
    assert status == 2
    assert f"landweave convert {tmp_path / 'epoch=9.ckpt'} --like BUNDLE --out DIR" in err
    assert err.count("\n") == 1


# ------------------------------------------------------------------------------------------ convert


def checkpoint(folder: Path) -> Path:
    state = {
        f"model.{name}": tensor for name, tensor in lively_state(a_card().model_dump_json()).items()
    }
    torch.save({"state_dict": state}, folder / "best.ckpt")
    return folder / "best.ckpt"


@pytest.mark.slow
def test_a_checkpoint_becomes_a_bundle_like_another(
    landweave: Run, bundle: Bundle, tmp_path: Path
) -> None:
    status, out, err = landweave(
        "convert", checkpoint(tmp_path), "--like", bundle.folder, "--out", tmp_path / "new"
    )
    assert status == 0, err
    made = load(tmp_path / "new")
    assert made.card.bands == bundle.card.bands
    assert made.card.legend == bundle.card.legend
    assert made.card.network.support is not None
    assert (made.card.training, made.card.metrics, made.card.licence) != (
        bundle.card.training,
        {},
        "CC0-1.0",
    )
    assert made.card.name == "best"
    assert made.digest in out


def conversion(**settings: Any) -> Conversion:
    return Conversion(checkpoint="x.pt", out=Path("made"), **settings)


def test_a_card_says_what_the_person_says(tmp_path: Path) -> None:
    source = tmp_path / "best.ckpt"
    card = card_for(
        source, conversion(
            architecture="unet", encoder="resnet18", options={"encoder_depth": 4},
            bands=("t2.nir, red",), gsd=0.6, classes=("7=Roof,Water",), mean=("120, 90.5",),
            std=("40,30",), units="dn", dtype="uint8", licence="CC-BY-4.0",
        ),
    )  # fmt: skip
    assert card.band_names == ("t2.nir", "red")
    assert [(band.mean, band.std, band.units, band.dtype) for band in card.bands] == [
        (120, 40, "dn", "uint8"),
        (90.5, 30, "dn", "uint8"),
    ]
    assert [(value, name) for value, name, _ in card.legend.rows] == [(7, "Roof"), (2, "Water")]
    assert (card.gsd, card.licence, card.network.options) == (
        0.6,
        "CC-BY-4.0",
        {"encoder_depth": 4},
    )


def test_a_card_says_how_scenes_come_to_the_pixels_that_it_sees(tmp_path: Path) -> None:
    said = {"architecture": "unet", "encoder": "resnet18", "bands": ("red",), "classes": ("a,b",)}
    said |= {"mean": ("0",), "std": ("1",), "gsd": 10.0}
    assert card_for(Path("x.pt"), conversion(**said)).network.zoom == 1
    halved = card_for(Path("x.pt"), conversion(**said, zoom=2))
    assert (halved.network.zoom, halved.gsd, halved.pixel) == (2, 10, 5)
    like = {"like": str(a_bundle(tmp_path / "b", zoom=2).folder)}
    assert card_for(Path("y.pt"), conversion(**like)).network.zoom == 2
    assert card_for(Path("y.pt"), conversion(**like, zoom=1)).network.zoom == 1
    with pytest.raises(ValueError, match="1 is no zoom"):
        conversion(**said, zoom=-1)


def test_a_card_like_another_takes_what_is_said_besides(bundle: Bundle) -> None:
    like, classes = str(bundle.folder / CARD), ("Water,Roof,Road,Rest",)
    card = card_for(Path("x.pt"), conversion(like=like, classes=classes, dtype="uint16"))
    assert [band.dtype for band in card.bands] == ["uint16"] * 3
    assert [band.mean for band in card.bands] == [band.mean for band in bundle.card.bands]
    assert [name for _, name, _ in card.legend.rows] == ["Water", "Roof", "Road", "Rest"]
    assert card.network.encoder == DEMO_ENCODER
    # They were of other weights.
    assert (card.training, card.metrics, card.licence) == ({}, {}, "not stated")


@pytest.mark.parametrize(
    ("said", "fact"),
    [
        (
            {},
            "add --architecture, --encoder, --bands, --classes, --mean, --std, --gsd, or --like a "
            "bundle",
        ),
        ({"like": "demo", "bands": ("red,nir",)}, "add --mean, --std, or"),
        ({"like": "demo", "mean": ("1,2",)}, "--mean 1,2: 2 numbers for 6 bands"),
        ({"like": "demo", "mean": ("a,b",)}, "--mean: 'a' is no number"),
        ({"like": "demo", "classes": ("Water,Water",)}, "names each name once"),
        ({"like": "demo", "classes": ("x=Water",)}, "--classes: 'x' is no number"),
        ({"like": "demo", "gsd": -1.0}, "gsd: Input should be greater than 0, not '-1.0'"),
        ({"like": "demo", "encoder": "hf-hub:me/it"}, "encoder: String should match pattern"),
        ({"like": "demo", "options": {"checkpoint_path": "x"}}, "String should match pattern"),
    ],
)
def test_what_is_not_or_wrongly_said_is_one_line(said: dict[str, object], fact: str) -> None:
    with pytest.raises(ValueError, match=re.escape(fact)) as mistake:
        card_for(Path("x.pt"), conversion(**said))
    assert type(mistake.value).__name__ == "InputError"  # either room's
    assert "\n" not in str(mistake.value)


@pytest.mark.slow
def test_save_pretrained_is_converted_when_its_bands_and_classes_are_named(
    landweave: Run, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = smp.Unet(DEMO_ENCODER, encoder_weights=None, in_channels=3, classes=2,
    encoder_depth=3,
                       decoder_channels=(16, 8, 8))  # fmt: skip
    network.save_pretrained(str(tmp_path / "roofs"))
    how = (
        "--mean",
        "120,110,100",
        "--std",
        "50,50,50",
        "--units",
        "dn",
        "--gsd",
        "0.3",
        "--out",
        tmp_path / "new",
    )
    status, _, err = landweave(
        "convert", tmp_path / "roofs", "--bands", "red,green,blue", "--classes", "Rest,Roof", *how
    )
    assert status == 0, err
    made = load(tmp_path / "new")
    assert all(
        torch.equal(made.weights()[name], tensor) for name, tensor in network.state_dict().items()
    )
    assert made.card.name == "roofs"

    status, _, err = landweave(
        "convert", tmp_path / "roofs", "--bands", "red,green", "--classes", "Rest,Roof", *how
    )
    assert status == 2
    assert "tells of 3 bands and 2 classes, and 2 bands and 2 classes are named" in err


@pytest.mark.slow
def test_foreign_weights_come_by_id(landweave: Run, fake: FakeHub, tmp_path: Path) -> None:
    network = smp.Unet(DEMO_ENCODER, encoder_weights=None, in_channels=3, classes=4,
    encoder_depth=3,
                       decoder_channels=(16, 8, 8))  # fmt: skip
    network.save_pretrained(str(tmp_path / "there"))
    fake.files = {path.name: path.read_bytes() for path in (tmp_path / "there").iterdir()}
    legend = ",".join(f"{value}={name}" for value, name, _ in LAND_COVER.subset(1, 2, 3, 4).rows)
    status, _, err = landweave(
        "convert", "hf://nobody/fields", "--bands", "red,green,blue", "--classes", legend, "--mean",
        "0,0,0",
        "--std", "1,1,1", "--gsd", "10", "--name", "fields", "--out", tmp_path / "new",
    )  # fmt: skip
    assert status == 0, err
    assert load(tmp_path / "new").card.name == "fields"


# ------------------------------------------------------------------------------------------- export


@pytest.mark.slow
def test_a_bundle_is_exported(landweave: Run, bundle: Bundle, tmp_path: Path) -> None:
    file = tmp_path / "fields.onnx"
    status, out, err = landweave(
        "export", bundle.folder, "--out", file, "--scale", "0.0001", "--tile", 160
    )
    assert status == 0, err
    assert file.is_file()
    for fact in ("green", "0.0001", "tiles of 160 px that overlap by 40 %", "1000 cm"):
        assert fact in out
