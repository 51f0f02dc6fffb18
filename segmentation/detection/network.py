"""Mask R-CNN for any number of bands: He et al. 2017, arXiv:1703.06870, of torchvision's parts.

Norms are group norms (Wu & He 2018, arXiv:1803.08494): they learn from nothing and from few chips
at once, and a chip's features do not depend on the others of its batch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from segmentation.errors import InputError
from segmentation.inference.device import Device
from segmentation.models.bundle import Bundle, load
from segmentation.models.card import Card, DetectorModel

if TYPE_CHECKING:
    import torch
    from torchvision.models.detection import MaskRCNN

MASK = 28
"""Side of the masks that the network says, whatever the size of a box."""
MOST = 400
"""Objects of one chip, at most."""
LEAST_SCORE = 0.05
"""Below it an object is not looked at."""
GROUP = 8
"""Channels of a group norm's group."""


def build(card: Card) -> MaskRCNN:
    """The network of a card, with weights of chance."""
    from torch import nn
    from torchvision.models import resnet
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection.backbone_utils import BackboneWithFPN
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
    from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

    model, classes, bands = card.detector, len(card.legend), len(card.bands)
    body = getattr(resnet, model.encoder)(norm_layer=_norm_of(model))
    body.conv1 = nn.Conv2d(bands, 64, 7, stride=model.stem, padding=3, bias=False)
    deep = len(model.anchors) - 1  # the last level is the one before it, thinned out
    layers = {f"layer{n}": str(n - 1) for n in range(1, deep + 1)}
    sizes = [body.inplanes // 2 ** (4 - n) for n in range(1, deep + 1)]
    pyramid = BackboneWithFPN(body, layers, sizes, model.width)
    side = model.tile + 2 * model.margin
    return MaskRCNN(
        pyramid,
        min_size=side,
        max_size=side,
        image_mean=[0.0] * bands,
        image_std=[1.0] * bands,
        rpn_anchor_generator=_anchors(model),
        rpn_pre_nms_top_n_train=1000,
        rpn_post_nms_top_n_train=500,
        rpn_pre_nms_top_n_test=1000,
        rpn_post_nms_top_n_test=MOST,
        box_head=TwoMLPHead(model.width * 49, 4 * model.width),
        box_predictor=FastRCNNPredictor(4 * model.width, classes),
        box_score_thresh=LEAST_SCORE,
        box_nms_thresh=0.7,  # one suppression over the whole raster decides; this only thins out
        box_detections_per_img=MOST,
        box_batch_size_per_image=128,
        mask_head=MaskRCNNHeads(model.width, (model.width,) * 3, 1),
        mask_predictor=MaskRCNNPredictor(model.width, model.width, classes),
    )


def _norm_of(model: DetectorModel) -> Callable[[int], torch.nn.Module]:
    """What makes the norm of so many channels; weights of COCO know frozen batch norms."""
    from torch import nn
    from torchvision.ops import FrozenBatchNorm2d

    if model.norm == "frozen":
        return FrozenBatchNorm2d
    return lambda channels: nn.GroupNorm(max(1, channels // GROUP), channels)


def _anchors(model: DetectorModel) -> torch.nn.Module:
    """Boxes that each level begins from: two sizes, three shapes."""
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    sizes = tuple((side, side * 2**0.5) for side in model.anchors)
    return AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))


@lru_cache(maxsize=2)
def loaded(bundle: str, digest: str, device: Device) -> MaskRCNN:
    """The network of a bundle, ready to look, once for each process; `InputError` where its weights
    are of another."""
    found = load(bundle)
    if found.digest != digest:
        raise InputError(f"{bundle} is another model than when the work began; begin anew")
    return restore(found).to(device)


def restore(bundle: Bundle) -> MaskRCNN:
    """The network of a bundle, ready to look, on the CPU; `InputError` where its weights are of
    another."""
    model = build(bundle.card)
    try:
        model.load_state_dict({name: tensor.float() for name, tensor in bundle.weights().items()})
    except RuntimeError as error:
        raise InputError(
            f"the weights in {bundle.folder} do not fit {bundle.card.detector.architecture} on "
            f"{bundle.card.detector.encoder}, which its card says they are of; train it anew"
        ) from error
    return model.eval()
