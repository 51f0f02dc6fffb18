"""How forests are grown: from labelled pixels, with features and windows that validation
chooses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from segmentation.accuracy.confusion import Accuracy, confusion_matrix
from segmentation.forests.estimators import FORESTS, predict_proba
from segmentation.forests.forest import threads
from segmentation.forests.pixel_features import Feature, candidates, parse_features
from segmentation.forests.skops_file import dump
from segmentation.models.card import BandCard, Card
from segmentation.models.forest_model import ForestModel
from segmentation.training.loop import Progress
from segmentation.training.recipe import ForestRecipe
from segmentation.training.samples import PARTS, TEST, TRAIN, VALIDATION, Labelled, Samples
from segmentation.training.validation import features_on, metrics_of, temperature

_BLOCK = 256
"""Side of the windows in which training looks at its pixels."""
_MOST_PIXELS = 120_000
"""Pixels that trees are grown from, all classes together, at most."""
_WINDOWS = ((3,), (3, 9), (3, 9, 27))
"""Windows that validation chooses among; without one, the first."""
_LEAST_SHARE = 1e-4
"""What a class without a single vote counts as, where a logarithm is taken."""
_EARLIER = "a forest that had not seen these labels; the bundle's has"
_UNKNOWN = "no labels were left to validate on: nobody knows how good it is, nor how sure"


@dataclass(frozen=True)
class TrainedForest:
    """A forest that was trained: its card, its file of trees, its accuracies."""

    card: Card
    content: bytes
    """The file of weights."""
    validation: Accuracy | None
    """Of a forest that had not seen the validation labels."""
    test: Accuracy | None
    """Of the bundle's own, on a test part that nobody looked at before."""
    judged: dict[str, str]
    """What was judged on each of these parts, in words."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class GrownForest:
    """A forest that has seen the training part alone, and how it fares on validation."""

    card: Card
    recipe: ForestRecipe
    trees: Any
    validation: Accuracy | None


def train_forest(
    samples: Samples, recipe: ForestRecipe, *, name: str, licence: str, progress: Progress
) -> TrainedForest:
    """Grow a forest on the train part; judge it on validation and, if there is one, test part.

    The last forest learns from the validation labels too; what the card says of validation is of
    the one before. Equal seeds give equal bytes.
    """
    grown = grow_forest(samples, recipe, name=name, licence=licence, progress=progress)
    return finish_forest(samples, grown, progress)


def grow_forest(
    samples: Samples, recipe: ForestRecipe, *, name: str, licence: str, progress: Progress
) -> GrownForest:
    """A forest of the train part, judged on the validation part.

    Windows are those whose small forest validates best, features those that such a forest made most
    of. At most `per_class` pixels of a class are in memory.
    """
    cards, classes = samples.band_cards(), len(samples.legend)
    samples.check_taught()
    validated = bool(samples.counts(VALIDATION).any())
    usual = _WINDOWS if validated else _WINDOWS[:1]
    options = usual if recipe.windows is None else (recipe.windows,)
    stages = 2 + len(options)
    tried = candidates(samples.bands, sorted({window for option in options for window in option}))
    progress("grow", 0, stages)
    grown_from = pixels_of(samples, (TRAIN,), tried, cards, recipe)
    judged_on = pixels_of(samples, (VALIDATION,), tried, cards, recipe) if validated else None
    progress("grow", 1, stages)
    rankings = []
    for number, option in enumerate(options):
        use = np.array([feature.window == 1 or feature.window in option for feature in tried])
        rankings.append(_rank_features(grown_from, judged_on, use, classes, recipe))
        progress("grow", 2 + number, stages)
    kept = sorted(min(rankings, key=lambda ranking: ranking[0])[1])  # of the best, the first
    card = _first_card(samples, recipe, tuple(tried[index] for index in kept), name, licence)
    trees = _fit_forest(grown_from.only(kept), classes, recipe)
    validation = None
    if judged_on:
        heat = _fit_temperature(trees, judged_on.only(kept), classes)
        model = card.forest.model_copy(update={"temperature": heat})
        card = card.model_copy(update={"model": model})
        validation = accuracy(trees, samples, card, VALIDATION)
    progress("grow", stages, stages)
    return GrownForest(card, recipe, trees, validation)


def finish_forest(samples: Samples, grown: GrownForest, progress: Progress) -> TrainedForest:
    """The forest of a bundle: it learns from the validation labels too, and is judged on the test
    part."""
    judged_again, trees = bool(samples.counts(TEST).any()), refit_trees(samples, grown, progress)
    test = accuracy(trees, samples, grown.card, TEST) if judged_again else None
    validation = grown.validation
    metrics = metrics_of("validation", validation) | metrics_of("test", test)
    judged = {"validation": _EARLIER if validation else "nothing", "test": "the bundle itself"}
    training = _training_facts(samples, grown.recipe) | {"validated": judged["validation"]}
    card = grown.card.model_copy(update={"training": training, "metrics": metrics})
    notes = () if validation else (_UNKNOWN,)
    return TrainedForest(card, dump(trees), validation, test, judged, notes)


def refit_trees(samples: Samples, grown: GrownForest, progress: Progress) -> Any:
    """The trees of a forest, grown from the validation labels too where there are some."""
    if grown.validation is None:
        return grown.trees
    progress("grow on all", 0, 1)
    features = parse_features(grown.card.forest.features)
    seen = pixels_of(samples, (TRAIN, VALIDATION), features, grown.card.bands, grown.recipe)
    trees = _fit_forest(seen, len(samples.legend), grown.recipe)
    progress("grow on all", 1, 1)
    return trees


def _fit_temperature(estimator: Any, judged_on: Pixels, classes: int) -> float:
    """By what to divide logarithms of shares so that they are probabilities."""
    shares = predict_proba(estimator, judged_on.features, classes)
    logs = np.log(np.maximum(shares, _LEAST_SHARE))
    return temperature(logs, judged_on.classes.astype(np.uint8))


def _first_card(
    samples: Samples, recipe: ForestRecipe, features: Sequence[Feature], name: str, licence: str
) -> Card:
    """The card of a forest that nobody has judged yet."""
    import sklearn

    return Card(
        name=name,
        bands=samples.band_cards(),
        gsd=samples.gsd,
        legend=samples.legend,
        model=ForestModel(
            estimator=recipe.architecture,
            features=tuple(map(str, features)),
            sklearn=str(sklearn.__version__),
        ),
        training={},
        metrics={},
        licence=licence,
    )


def _training_facts(samples: Samples, recipe: ForestRecipe) -> dict[str, Any]:
    """What a card tells of how its forest was grown."""
    pixels = {part: int(samples.counts(number).sum()) for part, number in PARTS.items()}
    return {
        **samples.facts,
        "program": "landweave train",
        "labelled pixels": pixels,
        "trees": _trees_of(recipe),
        "recipe": recipe.model_dump(mode="json"),
    }


@dataclass(frozen=True, eq=False)
class Pixels:
    """Labelled pixels, as trees are grown from them."""

    features: npt.NDArray[np.float32]
    """`(n, feature)`."""
    classes: npt.NDArray[np.intp]
    """`(n,)`: the index in the legend."""
    weights: npt.NDArray[np.float64]
    """`(n,)`: so that the drawn pixels stand for all."""

    def only(self, features: npt.NDArray[np.bool_] | Sequence[int]) -> Pixels:
        """These pixels with only some of their features."""
        return Pixels(self.features[:, features], self.classes, self.weights)


def pixels_of(
    samples: Samples,
    parts: Sequence[int],
    features: Sequence[Feature],
    cards: Sequence[BandCard],
    recipe: ForestRecipe,
) -> Pixels:
    """Pixels of some parts: all of a rare class, of a frequent one so many, drawn evenly from where
    it lies."""
    counts = sum((samples.counts(part) for part in parts), np.zeros(len(samples.legend), np.int64))
    most = min(recipe.per_class, _MOST_PIXELS // len(counts))
    rng = np.random.default_rng((recipe.seed, 3))
    drawn = [_draw_evenly(int(count), most, rng) for count in counts]
    passed = np.zeros(len(counts), np.int64)
    seen, classes = [], []
    for piece, rows, cols, index in _labels(samples, parts):
        places = []
        for number in np.flatnonzero(np.bincount(index[index >= 0], minlength=len(counts))):
            here = np.flatnonzero(index == number)
            start, stop = np.searchsorted(
                drawn[number], (passed[number], passed[number] + len(here))
            )
            places.append(here[drawn[number][start:stop] - passed[number]])
            passed[number] += len(here)
        if places and (chosen := np.concatenate(places)).size:
            seen.append(
                features_on(samples, piece, rows, cols, features, cards)
                .reshape(len(features), -1)[:, chosen]
                .T
            )
            classes.append(index.ravel()[chosen])
    found = np.concatenate(classes).astype(np.intp)
    each = np.maximum(np.bincount(found, minlength=len(counts)), 1)
    share = counts / each * np.maximum(counts, 1.0) ** -recipe.rarity
    weights = share[found]
    return Pixels(np.concatenate(seen), found, weights / weights.mean())


def _draw_evenly(count: int, most: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """At most `most` of the numbers below `count`, ascending: one from each stretch of equal
    length."""
    if count <= most:
        return np.arange(count, dtype=np.int64)
    return np.unique(((np.arange(most) + rng.random(most)) * (count / most)).astype(np.int64))


def _labels(
    samples: Samples, parts: Sequence[int]
) -> Iterator[tuple[Labelled, slice, slice, npt.NDArray[np.int16]]]:
    """The blocks that hold labels of some parts, and `(y, x)` the index of each label in the
    legend, −1 elsewhere."""
    lookup = np.full(256, -1, np.int16)
    lookup[list(samples.legend.values)] = np.arange(len(samples.legend))
    for piece in samples.pieces:
        for top in range(0, piece.shape[0], _BLOCK):
            for left in range(0, piece.shape[1], _BLOCK):
                rows, cols = slice(top, top + _BLOCK), slice(left, left + _BLOCK)
                index = np.where(
                    np.isin(piece.part[rows, cols], parts),
                    lookup[piece.labels[rows, cols]],
                    np.int16(-1),
                )
                if (index >= 0).any():
                    yield piece, rows, cols, index


def _rank_features(
    grown_from: Pixels,
    judged_on: Pixels | None,
    use: npt.NDArray[np.bool_],
    classes: int,
    recipe: ForestRecipe,
) -> tuple[float, list[int]]:
    """How unlikely a small forest with the features in `use` finds the validation labels, and those
    it made most of, as many as the recipe wants, most useful first."""
    from sklearn.ensemble import ExtraTreesClassifier

    small = ExtraTreesClassifier(
        32, min_samples_leaf=5, max_features=0.3, random_state=recipe.seed, n_jobs=threads()
    )
    small.fit(grown_from.features[:, use], grown_from.classes, grown_from.weights)
    ranked = np.argsort(-small.feature_importances_, kind="stable")
    most_useful = np.flatnonzero(use)[ranked][: recipe.features].tolist()
    if judged_on is None:
        return 0.0, most_useful
    shares = predict_proba(small, judged_on.features[:, use], classes)
    shares = np.maximum(shares, _LEAST_SHARE)
    own = shares[np.arange(len(shares)), judged_on.classes].astype(np.float64)
    return float(-np.average(np.log(own), weights=judged_on.weights)), most_useful


def _trees_of(recipe: ForestRecipe) -> int:
    return recipe.trees or FORESTS[recipe.architecture].trees


def _fit_forest(pixels: Pixels, classes: int, recipe: ForestRecipe) -> Any:
    """An estimator, fitted; each tree has its own seed, so threads change nothing."""
    estimator = FORESTS[recipe.architecture].make(_trees_of(recipe), recipe.seed)
    if "n_jobs" in estimator.get_params():
        estimator.set_params(n_jobs=threads())
    estimator.fit(pixels.features, pixels.classes, sample_weight=pixels.weights)
    if "n_jobs" in estimator.get_params():
        estimator.set_params(n_jobs=None)
    return estimator


def accuracy(trees: Any, samples: Samples, card: Card, part: int) -> Accuracy:
    """The accuracy of trees on all labels of a part."""
    values, features = np.array(samples.legend.values), parse_features(card.forest.features)
    matrix = np.zeros((len(values), len(values)), np.int64)
    for piece, rows, cols, index in _labels(samples, (part,)):
        at = index >= 0
        seen = features_on(samples, piece, rows, cols, features, card.bands)[:, at].T
        said = predict_proba(trees, seen, len(values)).argmax(1)
        matrix += confusion_matrix(values[index[at]], values[said], samples.legend.values)
    return Accuracy.from_confusion(matrix, samples.legend.rows)
