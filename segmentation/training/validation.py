"""How good a model is on labels it has not learnt from, and how sure it may be."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from segmentation.accuracy.confusion import Accuracy, confusion_matrix
from segmentation.forests.estimators import predict_proba
from segmentation.forests.pixel_features import Feature, compute, margin_of, parse_features
from segmentation.inference.joint import join
from segmentation.models.card import BandCard, Card, brief
from segmentation.training.chip_sampler import read_normalised, read_targets
from segmentation.training.losses import IGNORED
from segmentation.training.samples import Labelled, Samples

if TYPE_CHECKING:
    import torch

BLOCK, AROUND = 128, 32
"""Side of the windows that are judged at once, and what is seen around them, in pixels."""


def accuracy(
    model: torch.nn.Module, samples: Samples, card: Card, part: int, most: int = 0
) -> Accuracy:
    """How a network fares on the labels of a part, or on `most` windows of them."""
    values = samples.legend.values
    index = np.array(values)
    matrix = np.zeros((len(values), len(values)), np.int64)
    for logits, targets in logits_on(model, samples, card, part, most):
        matrix += confusion_matrix(index[targets], index[logits.argmax(1)], values)
    return Accuracy.from_confusion(matrix, samples.legend.rows)


def accuracy_with_trees(
    model: torch.nn.Module, trees: Any, samples: Samples, card: Card, part: int
) -> Accuracy:
    """How a network fares on the labels of a part with the trees that stand beside it."""
    import torch

    values, features = samples.legend.values, parse_features(card.forest.features)
    index = np.array(values)
    matrix = np.zeros((len(values), len(values)), np.int64)
    block = _block(card)
    places = _windows_of(samples, part, block)
    said = logits_on(model, samples, card, part)
    for (number, row, col), (logits, targets) in zip(places, said, strict=True):
        piece = samples.pieces[number]
        labelled = read_targets(piece, samples, (part,), row, col, block, block) != IGNORED
        rows, cols = slice(row, row + block), slice(col, col + block)
        seen = features_on(samples, piece, rows, cols, features, card.bands)
        seen = seen[:, labelled[: seen.shape[1], : seen.shape[2]]].T
        shares = predict_proba(trees, seen, len(values), card.forest.temperature)
        network = torch.from_numpy(logits / card.network.temperature).softmax(1)
        both = join(network, torch.from_numpy(shares)).argmax(1).numpy()
        matrix += confusion_matrix(index[targets], index[both], values)
    return Accuracy.from_confusion(matrix, samples.legend.rows)


def features_on(
    samples: Samples,
    piece: Labelled,
    rows: slice,
    cols: slice,
    features: Sequence[Feature],
    cards: Sequence[BandCard],
) -> npt.NDArray[np.float32]:
    """What trees see in a block, `(feature, y, x)`, with what lies around it in sight."""
    margin = margin_of(features)
    top, left = max(0, rows.start - margin), max(0, cols.start - margin)
    chip = samples.chip(piece, slice(top, rows.stop + margin), slice(left, cols.stop + margin))
    seen = compute(chip, features, cards)
    height, width = piece.labels[rows, cols].shape
    above, before = rows.start - top, cols.start - left
    return seen[:, above : above + height, before : before + width]


def logits_on(
    model: torch.nn.Module, samples: Samples, card: Card, part: int, most: int = 0
) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]]:
    """`(n, class)` logits and `(n,)` indices of the true classes at the labels of a part, window by
    window.

    With `most`, only so many windows, spread over all.
    """
    import torch

    device = next(model.parameters()).device
    stride, block = card.network.stride, _block(card)
    around = -(-AROUND // stride) * stride
    places = list(_windows_of(samples, part, block))
    chosen = (
        places
        if not most or len(places) <= most
        else [places[n * len(places) // most] for n in range(most)]
    )
    length = block + 2 * around
    model.eval()
    for number, row, col in chosen:
        piece = samples.pieces[number]
        targets = read_targets(piece, samples, (part,), row, col, block, block)
        pixels, _ = read_normalised(piece, card, row - around, col - around, length, length)
        with torch.inference_mode():
            chip = torch.from_numpy(pixels)[None].to(device, memory_format=torch.channels_last)
            logits = (
                model(chip)[0, :, around : around + block, around : around + block]
                .float()
                .cpu()
                .numpy()
            )
        labelled = targets != IGNORED
        yield logits[:, labelled].T, targets[labelled]


def _block(card: Card) -> int:
    """Side of the windows that a network is judged on: it takes multiples of its stride."""
    stride = card.network.stride
    return -(-BLOCK // stride) * stride


def _windows_of(samples: Samples, part: int, block: int) -> Iterator[tuple[int, int, int]]:
    """Piece, row and column of the windows that hold a label of a part."""
    for number, piece in enumerate(samples.pieces):
        for row in range(0, piece.shape[0], block):
            rows = slice(row, row + block)
            there = (piece.part[rows] == part).any(0)
            for col in range(0, piece.shape[1], block):
                if there[col : col + block].any():
                    yield number, row, col


def temperature(logits: npt.NDArray[np.float32], targets: npt.NDArray[np.uint8]) -> float:
    """What logits `(n, class)` are divided by so that their softmax is how often they are right.

    Guo et al. 2017, arXiv:1706.04599: the one with the least negative log likelihood, between 0.25
    and 10.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    rows = np.arange(len(targets))
    exact = logits.astype(np.float64)

    def unlikely(power: float) -> float:
        cooled = exact / math.exp(power)
        return float(np.mean(logsumexp(cooled, axis=1) - cooled[rows, targets]))

    found = minimize_scalar(unlikely, bounds=(math.log(0.25), math.log(10)), method="bounded")
    return brief(math.exp(found.x))


def metrics_of(part: str, found: Accuracy | None) -> dict[str, float]:
    if found is None:
        return {}
    plain = {"overall accuracy": found.overall_accuracy, "mean IoU": found.mean_iou}
    plain |= {f"IoU {one.name}": one.iou for one in found.classes if one.support}
    return {f"{part}: {what}": round(value, 4) for what, value in plain.items()}
