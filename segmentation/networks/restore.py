"""Weights back in their network: as it was trained, for inference, and folded into fewer
operations."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING

from segmentation.errors import InputError
from segmentation.models.bundle import Bundle
from segmentation.models.card import Card
from segmentation.networks.architectures import (
    REFUSALS,
    SMALLEST,
    build,
    make_one,
    stride_of,
    together,
)

if TYPE_CHECKING:
    import torch


_SAME = 1e-4
"""How far logits may move when norms are folded, as a share of the largest."""


def load_for_inference(bundle: Bundle) -> torch.nn.Module:
    """The bundle's network in float32, ready for inference on the CPU: it says a logit for each
    class."""
    import torch

    from segmentation.networks.outputs import as_class_logits

    card = bundle.card
    network = fuse_batch_norms(load_network(bundle).eval(), len(card.bands))
    return (
        as_class_logits(network, card.activation, len(card.legend))
        .eval()
        .to(memory_format=torch.channels_last)
    )


def load_network(bundle: Bundle) -> torch.nn.Module:
    """The bundle's network in float32, part by part as it was trained; `InputError` where its
    weights are of another.
    """
    try:
        return _build_for(bundle.card, bundle.weights())
    except RuntimeError as error:
        network = bundle.card.network
        raise InputError(
            f"the weights in {bundle.folder} do not fit {network.architecture} on "
            f"{network.encoder}, "
            "which its card says they are of; train it anew"
        ) from error


def _build_for(card: Card, weights: Mapping[str, torch.Tensor]) -> torch.nn.Module:
    """The card's network in float32 with these weights, none of them drawn by chance first.

    Its parts are made on the device that holds no numbers; networks that cannot be are built as
    `build` does. Raises `RuntimeError` for weights of another network.
    """
    import torch

    members = card.network.networks
    try:
        with torch.device("meta"):
            model = together(
                card, [make_one(one, len(card.bands), card.channels) for one in members]
            )
    except (*REFUSALS, NotImplementedError):
        model = build(card)
    kinds = {name: tensor.dtype for name, tensor in model.state_dict().items()}
    # Copied, as `load_state_dict` does: where numbers lie may decide how they are added up.
    given = {
        name: tensor.to(kinds.get(name, tensor.dtype), copy=True)
        for name, tensor in weights.items()
    }
    model.load_state_dict(given, assign=True)
    if any(tensor.is_meta for tensor in chain(model.parameters(), model.buffers())):
        model = build(card)  # something in it is no weight, and was made of numbers
        model.load_state_dict(given)
    return model


def fuse_batch_norms(model: torch.nn.Module, bands: int) -> torch.nn.Module:
    """A network with batch norms folded into the convolutions before them: a tenth faster on a CPU.

    Which convolution feeds which norm is seen by running the model once, not guessed from the order
    of its parts. Where the outcome is not the same, as with a convolution that is heard elsewhere
    too, the model is returned as it was.
    """
    import torch

    stride = stride_of(model)
    length = max(2, -(-SMALLEST // stride)) * stride
    chip = torch.randn(1, bands, length, length, generator=torch.Generator().manual_seed(0))
    folded = _fold_batch_norms(copy.deepcopy(model), chip)
    with torch.inference_mode():
        before, after = model(chip), folded(chip)
    same = (before - after).abs().max() <= _SAME * before.abs().max()
    return folded if same else model


def _fold_batch_norms(model: torch.nn.Module, chip: torch.Tensor) -> torch.nn.Module:
    import torch
    from timm.layers.conv2d_same import Conv2dSame
    from torch.nn.utils.fusion import fuse_conv_bn_weights

    made: dict[int, tuple[torch.nn.Conv2d, torch.Tensor]] = {}
    pairs: list[tuple[torch.nn.Conv2d, torch.nn.BatchNorm2d]] = []

    def note(part: torch.nn.Module, _: object, output: torch.Tensor) -> None:
        # Exactly these types: another subclass may treat its weights before it uses them.
        if isinstance(part, torch.nn.Conv2d) and type(part) in (torch.nn.Conv2d, Conv2dSame):
            made[id(output)] = part, output  # the tensor too, lest its id is given to another

    def match(part: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if isinstance(part, torch.nn.BatchNorm2d) and id(inputs[0]) in made:
            pairs.append((made[id(inputs[0])][0], part))

    hooks = [
        hook
        for part in model.modules()
        for hook in (part.register_forward_hook(note), part.register_forward_pre_hook(match))
    ]
    with torch.inference_mode():
        model(chip)
    for hook in hooks:
        hook.remove()
    name_of = {part: name for name, part in model.named_modules()}
    for conv, norm in pairs:
        if norm.running_mean is None or norm.running_var is None:
            continue  # it looks at each chip's own statistics
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight,
            conv.bias,
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.weight,
            norm.bias,
        )
        # timm's norms end in an activation.
        rest = [getattr(norm, part) for part in ("drop", "act") if hasattr(norm, part)]
        model.set_submodule(name_of[norm], torch.nn.Sequential(*rest))
    return model
