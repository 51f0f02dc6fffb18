"""Where the training of a detector starts: from nothing, from another one, or from COCO's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from segmentation.errors import InputError
from segmentation.models.bundle import Bundle
from segmentation.models.card import Card

if TYPE_CHECKING:
    import torch
    from torchvision.models.detection import MaskRCNN

Start = Bundle | Literal["coco"] | None

COCO = "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth"
"""File in torch's cache that torchvision's `maskrcnn_resnet50_fpn` is kept as."""


def coco_file() -> Path:
    """COCO's weights in the cache of torch; `InputError` where they are not there: nothing is
    fetched."""
    import torch

    file = Path(torch.hub.get_dir()) / "checkpoints" / COCO
    if not file.is_file():
        raise InputError(
            f"--weights coco takes {COCO} from torch's cache, and {file.parent} does not have it; "
            "copy it there, or leave --weights out to start from nothing"
        )
    return file


def check_start(start: Start) -> None:
    """Raise `InputError`, before a scene is read, where weights to start from are not there or no
    detector's."""
    if start == "coco":
        coco_file()
    elif start is not None:
        _ = start.card.detector


def starting_weights(network: MaskRCNN, card: Card, start: Start) -> list[str]:
    """Give a network the weights to start from, as far as they fit; tells what did not."""
    if start is None:
        return []
    if start == "coco":
        import torch

        known: dict[str, Any] = torch.load(coco_file(), map_location="cpu", weights_only=True)
        name = "COCO's weights"
    else:
        if start.card.band_names != card.band_names:
            raise InputError(
                f"{start.folder} looks at {', '.join(start.card.band_names)}, and the scene has "
                f"{', '.join(card.band_names)}; choose its bands with --bands, or start from "
                "nothing"
            )
        known, name = start.weights(), start.card.name
    return [*_lay_over(network, known, name)]


def _lay_over(network: MaskRCNN, known: dict[str, Any], name: str) -> list[str]:
    own = network.state_dict()
    first = "backbone.body.conv1.weight"
    if first in known and known[first].shape != own[first].shape:
        known = {**known, first: _spread(known[first], own[first])}
    fits = {key: one for key, one in known.items() if key in own and one.shape == own[key].shape}
    network.load_state_dict({**own, **{key: one.float() for key, one in fits.items()}})
    new = len(own) - len(fits)
    return [f"of {name} {new} of {len(own)} parts do not fit and start anew"] if new else []


def _spread(known: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """A first layer for other bands: each has the mean of those that are known, and all together
    weigh as much."""
    if known.shape[2:] != own.shape[2:] or known.shape[0] != own.shape[0]:
        return known
    mean = known.float().mean(1, keepdim=True) * known.shape[1] / own.shape[1]
    return mean.expand_as(own).contiguous()
