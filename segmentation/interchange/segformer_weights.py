"""SegFormer of the library transformers → the network of that name here: its parameters by our
names, and what its folder says of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from segmentation.errors import InputError
from segmentation.models.weights import PROCESSOR_CONFIG, SMP_CONFIG

if TYPE_CHECKING:
    from torch import Tensor

MODEL_TYPE = "segformer"
"""What such a folder's `config.json` calls it."""

_ENCODERS = {
    ((32, 64, 160, 256), (2, 2, 2, 2)): "mit_b0",
    ((64, 128, 320, 512), (2, 2, 2, 2)): "mit_b1",
    ((64, 128, 320, 512), (3, 4, 6, 3)): "mit_b2",
    ((64, 128, 320, 512), (3, 4, 18, 3)): "mit_b3",
    ((64, 128, 320, 512), (3, 8, 27, 3)): "mit_b4",
    ((64, 128, 320, 512), (3, 6, 40, 3)): "mit_b5",
}
"""By widths and depths of the four stages: table 6 of Xie et al. 2021 (arXiv:2105.15203)."""

_FIXED = {
    "num_attention_heads": [1, 2, 5, 8],
    "sr_ratios": [8, 4, 2, 1],
    "mlp_ratios": [4, 4, 4, 4],
    "patch_sizes": [7, 3, 3, 3],
    "strides": [4, 2, 2, 2],
    "hidden_act": "gelu",
    "reshape_last_stage": True,
}
"""What all six have in common, and what the library takes where a config leaves it out."""

_NAMES = (
    (r"segformer\.encoder\.patch_embeddings\.(\d)\.layer_norm\.", r"encoder.patch_embed{}.norm."),
    (r"segformer\.encoder\.patch_embeddings\.(\d)\.", r"encoder.patch_embed{}."),
    (r"segformer\.encoder\.layer_norm\.(\d)\.", r"encoder.norm{}."),
    (r"segformer\.encoder\.block\.(\d)\.", r"encoder.block{}."),
)
"""Of what has a stage in its name; they count stages from 1."""

_INNER_NAMES = (
    ("attention.self.query.", "attn.q."),
    ("attention.self.layer_norm.", "attn.norm."),
    ("attention.self.sr.", "attn.sr."),
    ("attention.output.dense.", "attn.proj."),
    ("layer_norm_1.", "norm1."),
    ("layer_norm_2.", "norm2."),
    ("mlp.dense1.", "mlp.fc1."),
    ("mlp.dense2.", "mlp.fc2."),
    ("decode_head.linear_fuse.", "decoder.fuse_stage.0."),
    ("decode_head.batch_norm.", "decoder.fuse_stage.1."),
    ("decode_head.classifier.", "segmentation_head.0."),
)

_FUSE = "decode_head.linear_fuse.weight"
"""Every such network has it; what a training program put before its name stands before all."""

_KEY, _VALUE = "attention.self.key.", "attention.self.value."


def rename_segformer(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters of transformers' `SegformerForSemanticSegmentation` by the names of
    segmentation-models-pytorch's `Segformer`; those of any other network as they are.

    Keys and values of an attention are one matrix there. The head counts its stages from the
    coarsest.
    """
    import torch

    prefix = next((n.removesuffix(_FUSE) for n in given if n.endswith(_FUSE)), None)
    if prefix is None:
        return dict(given)
    given = {n.removeprefix(prefix): t for n, t in given.items() if n.startswith(prefix)}
    renamed = {}
    for name, tensor in given.items():
        if _VALUE in name:
            continue
        if _KEY in name and (value := name.replace(_KEY, _VALUE)) in given:
            pair = torch.cat([tensor, given[value]])
            renamed[_rename(name.replace(_KEY, "attn.kv."))] = pair
        else:
            renamed[_rename(name)] = tensor
    return renamed


def _rename(name: str) -> str:
    if linear := re.fullmatch(r"decode_head\.linear_c\.(\d)\.proj\.(\w+)", name):
        return f"decoder.mlp_stage.{3 - int(linear[1])}.linear.{linear[2]}"
    for pattern, ours in _NAMES:
        if stage := re.match(pattern, name):
            name = ours.format(int(stage[1]) + 1) + name[stage.end() :]
            break
    for theirs, ours in _INNER_NAMES:
        name = name.replace(theirs, ours)
    return name


def segformer_settings(folder: Path, told: Mapping[str, Any]) -> dict[str, Any]:
    """What `config.json` of a SegFormer, and `preprocessor_config.json` beside it, say of the
    network in a card's words: architecture, encoder, options, `classes` and `bands` as counts,
    their names as far as they are told, `tile`, and `mean` and `std` in the numbers of the file.

    Raises `InputError` where it is a network that is not built here.
    """
    file = folder / SMP_CONFIG
    other = [name for name, value in _FIXED.items() if told.get(name, value) != value]
    stages = tuple(told.get("hidden_sizes", ())), tuple(told.get("depths", ()))
    if stages not in _ENCODERS or other:
        what = other[0] if other else "hidden_sizes and depths"
        raise InputError(
            f"{file} tells of a SegFormer whose {what} are of none of mit_b0 to mit_b5; only "
            "those are built here; export it as ONNX and convert that"
        )
    labels = told.get("id2label", {"0": "", "1": ""})
    # in the words of a list: a comma stands between two of them, = after a number
    names = [re.sub(r"\s*[,=]\s*", "; ", str(labels[n])).strip() for n in sorted(labels, key=int)]
    bands = told.get("num_channels", 3)
    return {
        "architecture": "segformer",
        "encoder": _ENCODERS[stages],
        "options": {
            "decoder_segmentation_channels": told.get("decoder_hidden_size", 256),
            "decoder_transformers": True,
        },
        "bands": bands,
        "band_names": ("red", "green", "blue") if bands == 3 else (),
        "classes": len(names),
        "class_names": tuple(names) if _are_names(names) else (),
        **_processing(folder / PROCESSOR_CONFIG),
    }


def _are_names(names: list[str]) -> bool:
    """Whether they tell classes apart: the library makes LABEL_0, LABEL_1 … where nobody named
    them."""
    plain = all(re.fullmatch(r"(LABEL_\d+)?", name) for name in names)
    return not plain and all(names) and len(set(names)) == len(names)


def _processing(file: Path) -> dict[str, Any]:
    """What is done to pixels before the network sees them: normalisation in the file's numbers of 8
    bits, and the length of a tile, three quarters of the images that it was trained on."""
    try:
        told = from_json(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        first = " ".join(str(error).split())[:100]
        raise InputError(f"{file} cannot be read as JSON: {first}") from error
    if not isinstance(told, dict):
        return {}
    found: dict[str, Any] = {}
    factor = told.get("rescale_factor", 1 / 255) if told.get("do_rescale", True) else 1.0
    if told.get("do_normalize", True) and {"image_mean", "image_std"} <= told.keys():
        for ours, theirs in (("mean", "image_mean"), ("std", "image_std")):
            found[ours] = tuple(f"{value / factor:.6g}" for value in told[theirs])
    size = told.get("size")
    length = size.get("height", 0) if isinstance(size, dict) else size
    if isinstance(length, int) and length >= 128:
        found["tile"] = length * 3 // 4 // 32 * 32
    return found
