"""What transformers calls SegFormer becomes the network here: the same logits."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from flows.requests.conversion import Conversion
from flows.training.foreign_card import card_for
from segmentation.errors import InputError
from segmentation.interchange.import_checkpoint import fitting, parameters
from segmentation.interchange.segformer_weights import rename_segformer
from segmentation.models.card import Card
from segmentation.networks.architectures import build

CONFIG = {
    "architectures": ["SegformerForSemanticSegmentation"],
    "model_type": "segformer",
    "decoder_hidden_size": 256,
    "depths": [2, 2, 2, 2],
    "hidden_sizes": [32, 64, 160, 256],
    "id2label": {"0": "background", "1": "tree, crown", "2": "roof"},
    "num_attention_heads": [1, 2, 5, 8],
}
PROCESSOR = {
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "size": {"height": 512, "width": 512},
}


def shapes_there(classes: int = 3) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a b0 with so many classes as transformers 5.24.0 saves it."""
    shapes: dict[str, tuple[int, ...]] = {}

    def layer(name: str, *shape: int, bias: bool = True) -> None:
        shapes[f"{name}.weight"] = shape
        if bias:
            shapes[f"{name}.bias"] = shape[:1]

    before, encoder = 3, "segformer.encoder"
    for stage, (width, reduction) in enumerate(zip((32, 64, 160, 256), (8, 4, 2, 1), strict=True)):
        length = 7 if stage == 0 else 3
        layer(f"{encoder}.patch_embeddings.{stage}.proj", width, before, length, length)
        layer(f"{encoder}.patch_embeddings.{stage}.layer_norm", width)
        for place in range(2):
            block = f"{encoder}.block.{stage}.{place}"
            for norm in ("layer_norm_1", "layer_norm_2"):
                layer(f"{block}.{norm}", width)
            for part in ("self.query", "self.key", "self.value", "output.dense"):
                layer(f"{block}.attention.{part}", width, width)
            if reduction > 1:
                layer(f"{block}.attention.self.sr", width, width, reduction, reduction)
                layer(f"{block}.attention.self.layer_norm", width)
            layer(f"{block}.mlp.dense1", 4 * width, width)
            layer(f"{block}.mlp.dwconv.dwconv", 4 * width, 1, 3, 3)
            layer(f"{block}.mlp.dense2", width, 4 * width)
        layer(f"{encoder}.layer_norm.{stage}", width)
        layer(f"decode_head.linear_c.{stage}.proj", 256, width)
        before = width
    layer("decode_head.linear_fuse", 256, 1024, 1, 1, bias=False)
    layer("decode_head.batch_norm", 256)
    for name in ("running_mean", "running_var"):
        shapes[f"decode_head.batch_norm.{name}"] = (256,)
    shapes["decode_head.batch_norm.num_batches_tracked"] = ()
    layer("decode_head.classifier", classes, 256, 1, 1)
    return shapes


def drawn_weights(classes: int = 3) -> dict[str, torch.Tensor]:
    """Numbers for all of them that anyone can draw again: sines, of a size that layers keep."""
    drawn = {}
    for number, (name, shape) in enumerate(sorted(shapes_there(classes).items())):
        if name.endswith("num_batches_tracked"):
            drawn[name] = torch.tensor(1)
            continue
        count = int(np.prod(shape))
        waves = np.sin(0.7 * np.arange(count, dtype=np.float64) ** 1.1 + number).reshape(shape)
        wide = np.sqrt(count / shape[0]) if len(shape) > 1 else 12.0
        near_one = "norm" in name and name.endswith((".weight", "running_var"))
        drawn[name] = torch.from_numpy(3 * waves / wide + near_one).float()
    return drawn


def drawn_chip(length: int) -> torch.Tensor:
    rows, columns = np.mgrid[:length, :length]
    waves = [np.sin(rows / (3 + n)) + np.cos(columns / (5 + n)) for n in range(3)]
    return torch.from_numpy(np.stack(waves)[None]).float()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    save_file(drawn_weights(), tmp_path / "model.safetensors")
    return tmp_path


def described(folder: Path, **said: object) -> Card:
    return card_for(folder, Conversion(checkpoint=str(folder), out=folder / "out", gsd=0.1, **said))


def test_the_folder_says_all_but_the_pixel_size(folder: Path) -> None:
    card = described(folder)
    network = card.network
    assert (network.architecture, network.encoder, network.tile) == ("segformer", "mit_b0", 384)
    assert card.band_names == ("red", "green", "blue")
    assert [one.name for one in card.legend.each()] == ["background", "tree; crown", "roof"]
    assert [band.mean for band in card.bands] == pytest.approx([123.675, 116.28, 103.53])
    assert [band.std for band in card.bands] == pytest.approx([58.395, 57.12, 57.375])
    assert {band.units for band in card.bands} == {"dn"}
    assert [one.name for one in described(folder, classes=("a,b,c",)).legend.each()] == [*"abc"]


EXPECTED = [
    *(7.602025, 0.026415, -10.579127),
    *(7.750717, -1.584448, -4.752448),
    *(20.59119, -8.006192, -11.076757),
]
"""Logits that transformers 5.24.0 gives in double precision for `drawn_weights` and
`drawn_chip(96)`, brought to its size by bilinear interpolation without aligned corners: each class
at (0, 0), (48, 31), (95, 95)."""


def test_logits_are_those_of_transformers(folder: Path) -> None:
    card = described(folder)
    model = build(card).eval()
    model.load_state_dict(fitting(parameters(folder), model.state_dict(), folder, card))
    with torch.inference_mode():
        logits = model.double()(drawn_chip(96).double())[0]
    found = [float(logits[:, y, x][n]) for y, x in ((0, 0), (48, 31), (95, 95)) for n in range(3)]
    assert found == pytest.approx(EXPECTED, abs=2e-6)


def test_what_a_training_program_put_before_the_names_goes() -> None:
    given = drawn_weights()
    wrapped = {f"model.{name}": tensor for name, tensor in given.items()} | {
        "criterion.weight": torch.ones(3)
    }
    renamed, plain = rename_segformer(wrapped), rename_segformer(given)
    assert renamed.keys() == plain.keys()
    assert all(re.match(r"(encoder|decoder|segmentation_head)\.", name) for name in plain)


def test_other_networks_keep_their_names() -> None:
    given = {"encoder.conv1.weight": torch.ones(1)}
    assert rename_segformer(given) == given


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({"depths": [1, 1, 1, 1]}, "hidden_sizes and depths are of none of mit_b0 to mit_b5"),
        ({"sr_ratios": [4, 4, 2, 1]}, "sr_ratios are of none"),
    ],
)
def test_another_kind_of_segformer_is_refused(folder: Path, change: dict, fact: str) -> None:
    (folder / "config.json").write_text(json.dumps(CONFIG | change))
    with pytest.raises(InputError, match=rf"config\.json .*{fact}.*ONNX"):
        described(folder)


def test_a_damaged_preprocessor_is_named(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text("{")
    with pytest.raises(InputError, match=r"preprocessor_config\.json cannot be read as JSON"):
        described(folder)
