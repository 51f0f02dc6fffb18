"""What is done to pixels before a network and after it, by NumPy alone: for runtimes that need no
torch.

Operation by operation in float32, as torch does it for its own networks. Pixels are the same to the
bit; exponentials and logarithms have another last bit here and there, and a percent is rounded
otherwise where it lies between two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, reduce
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from segmentation.inference.device import ArrayLogits
from segmentation.inference.joint import LEAST
from segmentation.inference.transfer import Ranges
from segmentation.inference.zoom import restore
from segmentation.models.card import Card
from segmentation.models.processing import LEAST_SHARE, MOST_ODDS, Activation
from segmentation.networks.receptive_field import taper
from segmentation.segmenter import Measure

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

_TINY = np.finfo(np.float32).tiny


class ArrayWork(NamedTuple):
    """What is computed of chips, and by what."""

    card: Card
    logits: ArrayLogits
    symmetries: bool
    measures: tuple[Measure, ...]
    ranges: Ranges
    zoom: int

    def label(self, seen: Mapping[str, Array]) -> dict[str, Bytes]:
        """What is decided of chips: `labels`, `confidence` and measures."""
        valid = seen.get("there", seen["valid"])
        strips = [
            decide_classes(self.card.legend.values, self.measures, shares, valid[:, rows])
            for rows, shares in self._strips(seen)
        ]
        return {name: np.concatenate([one[name] for one in strips], -2) for name in strips[0]}

    def score(self, seen: Mapping[str, Array], margin: int) -> dict[str, Floats]:
        """What chips add to the sums of scores, `scores (batch, class, y, x)`: logarithms of their
        probabilities, shifted so that their mean over the classes is 1, times weights that fall
        over `margin` on both sides of each core's edge."""
        shares = np.concatenate([strip for _, strip in self._strips(seen)], 2)
        # of nothing, where no pixel is valid, anything
        logs = np.log(np.maximum(np.nan_to_num(shares), _TINY))
        centred = logs - _sum(logs) / np.float32(logs.shape[1]) + 1
        return {"scores": centred * _weights(*logs.shape[2:], margin)}

    def _strips(self, seen: Mapping[str, Array]) -> Iterator[tuple[slice, Floats]]:
        pixels = standardise(seen, self.card, self.ranges)
        shares = eight_looks(self._look, pixels) if self.symmetries else self._look(pixels)
        if "beside" in seen:
            shares = join_shares(shares, seen["beside"])
        with np.errstate(invalid="ignore"):  # as above
            yield from restore(shares, seen["valid"], self.zoom)

    def _look(self, pixels: Floats) -> Floats:
        logits = self.logits(pixels).astype(np.float32, copy=False)
        return softmax(logits / np.float32(self.card.chips.temperature))


@lru_cache(4)
def _weights(height: int, width: int, margin: int) -> Floats:
    return np.multiply.outer(taper(height, margin), taper(width, margin))


def standardise(seen: Mapping[str, Array], card: Card, ranges: Ranges) -> Floats:
    """Chips as the network sees them, `(batch, band, y, x)`, of the arrays of `pack_chips`."""
    pixels = seen["pixels"].astype(np.float32)
    scaling = card.preprocessing
    pixels *= _each(seen["scale"])
    pixels += _each(seen["offset"])
    if scaling.of_scene:
        low, high = np.array(ranges, np.float64).T
        pixels -= _each(low)
        pixels /= _each(np.where(high > low, high - low, 1))
        np.clip(pixels, 0, 1, out=pixels)
    elif scaling.normalisation == "per-chip":
        mean, std = seen["statistics"].swapaxes(0, 1)
        pixels -= _each(mean)
        pixels /= _each(std)
    if (scaling.factor, scaling.offset) != (1, 0):
        pixels *= scaling.factor
        pixels += scaling.offset
    pixels -= _each([band.mean for band in card.bands])
    pixels /= _each([band.std for band in card.bands])
    return np.where(seen["valid"][:, None], pixels, _each(scaling.padding))


def _each(numbers: npt.ArrayLike) -> Floats:
    """Numbers `(…, band)` beside the pixels."""
    return np.asarray(numbers, np.float32)[..., None, None]


def class_logits(said: Floats, activation: Activation, classes: int) -> Floats:
    """A logit for each class of what a network says, as `segmentation.networks.outputs` makes
    them."""
    if activation.function == "softmax":
        return np.log(np.maximum(said, LEAST_SHARE)) if activation.in_network else said
    cuts = np.array(activation.cuts(classes))
    odds = _log_odds(np.clip(said, LEAST_SHARE, 1 - LEAST_SHARE)) if activation.in_network else said
    odds = odds - _each(_log_odds(cuts))
    if activation.has_layers:
        odds = np.clip(odds, -MOST_ODDS, MOST_ODDS)
    # Where all others lie below their thresholds, the first class's 0 is the largest.
    return np.concatenate([np.zeros_like(odds[:, :1]), odds], 1)


def _log_odds(shares: Array) -> Array:
    return np.log(shares / (1 - shares))


def softmax(logits: Floats) -> Floats:
    """Shares `(batch, class, y, x)` that sum up to one; each pixel's follow from its own logits
    alone, wherever it lies."""
    powers = logits - logits.max(1, keepdims=True)
    np.exp(powers, out=powers)
    powers /= _sum(powers)
    return powers


def _sum(values: Floats) -> Floats:
    """Over the classes, `(batch, 1, y, x)`, one after the other."""
    return reduce(np.add, np.split(values, values.shape[1], 1))


def eight_looks(look: Callable[[Floats], Floats], pixels: Floats) -> Floats:
    """The mean of what `look` says of chips in their eight turns and mirror images."""
    total: Floats | None = None
    for turns in range(4):
        for mirrored in (False, True):
            seen = np.rot90(pixels, turns, (2, 3))
            found = look(np.ascontiguousarray(seen[..., ::-1] if mirrored else seen))
            found = np.rot90(found[..., ::-1] if mirrored else found, -turns, (2, 3))
            total = found.copy() if total is None else total + found
    assert total is not None
    return total / np.float32(8)


def join_shares(one: Floats, other: Floats) -> Floats:
    """Probabilities of two: their geometric mean, which sums up to one."""
    logs = np.log(np.maximum(one, np.float32(LEAST)))
    logs += np.log(np.maximum(other, np.float32(LEAST)))
    logs /= np.float32(2)
    return softmax(logs)


def decide_classes(
    values: Sequence[int], measures: Sequence[Measure], shares: Floats, valid: npt.NDArray[np.bool_]
) -> dict[str, Bytes]:
    """What follows from probabilities `(batch, class, y, x)`: `labels` and `confidence
    (batch, y, x)`, and each of the measures `(batch, band, y, x)`, all uint8.

    `values` are those of the legend, and `valid (batch, y, x)` says where there is a label.
    """
    labels = np.full(valid.shape, values[0], np.uint8)
    best = shares[:, 0].copy()
    for number, value in enumerate(values[1:], 1):  # of equals the first
        labels[shares[:, number] > best] = value
        np.maximum(best, shares[:, number], out=best)
    labels[~valid] = 0
    found: dict[str, Bytes] = {"labels": labels, "confidence": percent(best)}
    return found | {name: _MEASURES[name](shares) for name in measures}


def percent(shares: Floats) -> Bytes:
    """Whole percents; 0 of what is no number."""
    return np.nan_to_num(np.round(np.float32(100) * shares)).astype(np.uint8)


def _entropy(shares: Floats) -> Floats:
    """`(batch, 1, y, x)`: 0 where one class is certain, 1 where all are equally likely."""
    parts = -shares * np.log(np.where(shares > 0, shares, np.float32(1)))
    total: Floats = np.maximum(_sum(parts), np.float32(0))
    total /= np.float32(math.log(max(2, shares.shape[1])))
    return total


def _lead(shares: Floats) -> Floats:
    """`(batch, 1, y, x)`: the likeliest class less the second."""
    if shares.shape[1] == 1:
        return shares
    first, second = shares[:, :1], np.full_like(shares[:, :1], -1)
    for number in range(1, shares.shape[1]):
        other = shares[:, number : number + 1]
        second = np.maximum(second, np.minimum(first, other))
        first = np.maximum(first, other)
    return first - second


def _layers(shares: Floats) -> Bytes:
    """`(batch, channel, y, x)`: 1 for each class but the first that is as likely as that: it
    reaches its threshold."""
    return (shares[:, 1:] >= shares[:, :1]).astype(np.uint8)


_MEASURES: dict[Measure, Callable[[Floats], Bytes]] = {
    "probabilities": percent,
    "entropy": lambda shares: percent(_entropy(shares)),
    "margin": lambda shares: percent(_lead(shares)),
    "layers": _layers,
}
