"""What MLM has no fields for, in sentences and expressions that stand where it has room."""

from __future__ import annotations

from segmentation.models.card import Card
from segmentation.models.processing import Preprocessing, is_plain


def has_z_scores(card: Card) -> bool:
    """Whether (value − mean) / std of each band is all that is done to a model's pixels, for which
    MLM has a word."""
    plain = {"padding": card.preprocessing.padding, "percentiles": card.preprocessing.percentiles}
    return card.model.kind != "forest" and card.preprocessing == Preprocessing(**plain)


def describe_input(preprocessing: Preprocessing) -> str:
    """What is done to a band's values, in order, as expressions of one another."""
    low, high = preprocessing.range_percentiles
    first = {
        "fixed": "value",
        "per-chip": "(value - mean(valid values of the chip)) / std(valid values of the chip)",
    }.get(
        preprocessing.normalisation,
        f"clip((value - p{low:g}(scene)) / (p{high:g}(scene) - p{low:g}(scene)), 0, 1)",
    )
    return (
        f"value = {first}; value = value * {preprocessing.factor!r} + {preprocessing.offset!r}; "
        "value = (value - statistics.mean) / statistics.stddev"
    )


def describe_output(card: Card) -> str:
    """What the numbers are that a model says, and what becomes of them."""
    if card.model.kind == "forest":
        return (
            "Shares of votes; to the power of 1 / landweave:model.temperature they are "
            "probabilities."
        )
    if card.model.kind == "detector":
        return (
            "Objects of each class but the first, which is none of the others: box, score and a "
            "mask of 28 × 28 values within the box."
        )
    if card.beside is not None:
        return (
            f"{_describe_channels(card)} The trees in landweave:model.forest say probabilities "
            "too; the mean of both's logarithms decides."
        )
    return _describe_channels(card)


def _describe_channels(card: Card) -> str:
    activation = card.activation
    if is_plain(activation):
        return (
            "Logits; divided by landweave:model.temperature, their softmax is a probability. The "
            "largest wins."
        )
    what = "Probabilities" if activation.in_network else "Logits"
    if activation.function == "softmax":
        return f"{what} of the classes. The largest wins."
    cuts = ", ".join(f"{cut:g}" for cut in activation.thresholds)
    return (
        f"{what} of a sigmoid for each class but the first, which is what no other reaches its "
        f"threshold ({cuts}) for. Of those that do, the one with the largest odds against its "
        "threshold wins."
        + (" A pixel has each label that does: these are layers." if activation.has_layers else "")
    )
