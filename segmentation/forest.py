"""Forests of decision trees on a chip: from a pixel's bands, their ratios and what lies within a few pixels.

They learn from a few polygons in a minute. Opening one runs no code from its bundle: only the types that scikit-learn's
trees are made of are let in, and every step a tree can take is checked before the first is taken.
"""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import xarray as xr
from pydantic import BaseModel, ConfigDict, Field

from segmentation.accuracy import Accuracy, confusion_matrix
from segmentation.bundle import Bundle, load
from segmentation.bundled import Bundled, BundleFolder
from segmentation.card import BandCard, Card, ForestModel
from segmentation.errors import Mistake
from segmentation.features import LARGEST_WINDOW, Feature, candidates, compute, margin_of
from segmentation.samples import PARTS, TEST, TRAIN, VALIDATION, Labelled, Samples
from segmentation.segmenter import Footprint, Measure, Prediction

_STRIP = 128
"""Rows whose features are in memory at once, in each thread."""
_BLOCK = 256
"""Side of the windows in which training looks at its pixels."""
_MOST_PIXELS = 120_000
"""Pixels that trees are grown from, all classes together, at most."""
_WINDOWS = ((3,), (3, 9), (3, 9, 27))
"""Windows that validation chooses among; without one, the first."""
_LARGEST = 2**30
"""Bytes in a file of trees once it is unpacked."""
_LEAST_SHARE = 1e-4
"""What a class without a single vote counts as, where a logarithm is taken."""

Told = Callable[[str, int, int], None]
"""Hears the name of a stage, how much of it is done, and how much there is."""

Shares = npt.NDArray[np.float32]


# ------------------------------------------------------------------------------------------------------------ segmenter


class Forest(Bundled):
    """Trained trees: from few labels, in little time, pixel by pixel with a little of what is around."""

    kind: Literal["forest"] = "forest"
    bundle: BundleFolder
    measures: Annotated[tuple[Measure, ...], Field(description="Filled in from the products asked for.")] = ()

    @property
    def footprint(self) -> Footprint:
        return Footprint(tile=1024, margin=margin_of(_features(self.opened.card)))

    @property
    def bytes_per_pixel(self) -> int:
        card = self.opened.card
        # Bands, features and trees of the strips in work, and what is known of each class.
        return 24 * len(card.bands) + 12 * len(card.legend) + threads() * 10 * (len(card.forest.features) + 12)

    @property
    def bytes_kept(self) -> int:
        return 2 + sum(len(self.legend) if name == "probabilities" else 1 for name in self.measures)

    def measuring(self, measures: Sequence[Measure]) -> Self:
        return self.model_copy(update={"measures": tuple(measures)})

    def fit(self, sample: xr.Dataset | None) -> Self:
        fitted = super().fit(sample)
        fitted._trees()  # what is wrong with them is said before the work starts
        return fitted

    def runtime(self) -> dict[str, str]:
        import sklearn

        return {"numpy": np.__version__, "sklearn": sklearn.__version__}

    def __call__(self, chip: xr.Dataset) -> Prediction:
        card = self.opened.card
        shares = probabilities(self._trees(), card, chip)
        index = shares.argmax(0)
        labels = np.array(card.legend.values, np.uint8)[index]
        return Prediction(
            labels=np.where(chip["valid"].values, labels, np.uint8(0)),
            confidence=_percent(shares.max(0)),
            measures={name: _percent(_MEASURES[name](shares)) for name in self.measures},
        )

    def _trees(self) -> Any:
        bundle = self.opened
        return _opened(bundle.digest, bundle.folder)


def _entropy(shares: Shares) -> Shares:
    """`(1, y, x)`: 0 where one class is certain, 1 where all are equally likely."""
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return -(shares * logs).sum(0, keepdims=True) / np.float32(np.log(max(2, len(shares))))


def _lead(shares: Shares) -> Shares:
    """`(1, y, x)`: the likeliest class less the second."""
    if len(shares) == 1:
        return shares
    two = np.partition(shares, -2, axis=0)[-2:]
    return two[1:] - two[:1]


_MEASURES: Mapping[Measure, Callable[[Shares], Shares]] = {
    "probabilities": lambda shares: shares,
    "entropy": _entropy,
    "margin": _lead,
}


def _percent(shares: Shares) -> npt.NDArray[np.uint8]:
    return np.rint(100 * np.clip(shares, 0, 1)).astype(np.uint8)


def threads() -> int:
    """Strips at once: what the worker was given, else all cores. Changes no result."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _pool() -> ThreadPoolExecutor:
    """Threads that ask the trees; within each, OpenMP has one, as the strips share out the cores already."""
    from threadpoolctl import threadpool_limits

    return ThreadPoolExecutor(threads(), "forest", initializer=threadpool_limits, initargs=(1, "openmp"))


def probabilities(trees: Any, card: Card, chip: xr.Dataset) -> Shares:
    """`(class, y, x) float32` in the legend's order, 0 where a pixel is not valid; at most one per pixel in sum.

    A pixel's follow from what its features see, whatever else the chip holds and however many threads there are.
    """
    features, valid = _features(card), chip["valid"].values
    shares = np.zeros((len(card.legend), *valid.shape), np.float32)
    margin, height = margin_of(features), valid.shape[0]

    def strip(top: int) -> None:
        bottom = min(top + _STRIP, height)
        if not valid[top:bottom].any():
            return
        above = max(0, top - margin)
        seen = compute(chip.isel(y=slice(above, min(bottom + margin, height))), features, card.bands)
        here = valid[top:bottom]
        pixels = seen[:, top - above : bottom - above][:, here].T
        shares[:, top:bottom][:, here] = votes(trees, pixels, len(card.legend), card.forest.temperature).T

    for _ in _pool().map(strip, range(0, height, _STRIP)):
        pass
    return shares


def votes(trees: Any, pixels: npt.NDArray[np.float32], classes: int, temperature: float = 1.0) -> Shares:
    """`(n, class) float32`: what trees say of pixels `(n, feature)`; a class they never met gets 0.

    `temperature` is what the logarithms of the shares are divided by.
    """
    shares = np.zeros((len(pixels), classes))
    shares[:, trees.classes_] = trees.predict_proba(np.ascontiguousarray(pixels))
    if temperature != 1:
        shares **= 1 / temperature
        shares /= shares.sum(1, keepdims=True)
    return shares.astype(np.float32)


@cache
def _parsed(names: tuple[str, ...]) -> tuple[Feature, ...]:
    return tuple(Feature.named(name) for name in names)


def _features(card: Card) -> tuple[Feature, ...]:
    return _parsed(card.forest.features)


# ------------------------------------------------------------------------------------------------------- kinds of trees


class Forests(NamedTuple):
    """One way to grow trees."""

    what: str
    """What it is, in a few words."""
    trees: int
    """How many there are by default; of boosting, rounds."""
    make: Callable[[ForestRecipe, int], Any]
    """An estimator of scikit-learn, not fitted yet, with so many trees."""
    check: Callable[[Any, int, int], None]
    """Raises `_Unsafe` unless an estimator that was read has sound trees for so many features and classes."""


class _Unsafe(ValueError):
    """What is wrong with a file of trees."""


def _random_forest(recipe: ForestRecipe, trees: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(trees, min_samples_leaf=3, max_features=0.3, random_state=recipe.seed)


def _extra_trees(recipe: ForestRecipe, trees: int) -> Any:
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(trees, min_samples_leaf=3, max_features=0.3, random_state=recipe.seed)


def _gradient_boosting(recipe: ForestRecipe, trees: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        max_iter=trees, learning_rate=0.08, max_leaf_nodes=15, min_samples_leaf=30, l2_regularization=5.0,
        max_features=0.3, early_stopping=False, random_state=recipe.seed,
    )  # fmt: skip


def _check_voters(estimator: Any, features: int, classes: int) -> None:
    from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
    from sklearn.tree import DecisionTreeClassifier, ExtraTreeClassifier
    from sklearn.tree._tree import Tree

    _demand(type(estimator) in (RandomForestClassifier, ExtraTreesClassifier), "it holds something else")
    voters = estimator.estimators_
    _demand(isinstance(voters, list) and len(voters) > 0, "it has no trees")
    known = _check_classes(estimator, features, classes)
    for voter in voters:
        _demand(type(voter) in (DecisionTreeClassifier, ExtraTreeClassifier), "one of its trees is none")
        _demand(type(voter.tree_) is Tree, "one of its trees is none")
        _demand(voter.n_outputs_ == 1 and voter.n_features_in_ == features, "a tree sees other features")
        state = voter.tree_.__getstate__()
        nodes, values = state["nodes"], state["values"]
        _demand(voter.tree_.n_features == features, "a tree sees other features")
        _demand(values.shape == (len(nodes), 1, known) and bool(np.isfinite(values).all()), "its votes are none")
        leaf = nodes["left_child"] == -1
        _check_steps(nodes["left_child"], nodes["right_child"], nodes["feature"], leaf, features)


def _check_boosted(estimator: Any, features: int, classes: int) -> None:
    from sklearn._loss.loss import HalfBinomialLoss, HalfMultinomialLoss
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE
    from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor

    _demand(type(estimator) is HistGradientBoostingClassifier, "it holds something else")
    known = _check_classes(estimator, features, classes)
    columns = 1 if known == 2 else known
    _demand(type(estimator._loss) is (HalfBinomialLoss if known == 2 else HalfMultinomialLoss), "its loss is none")
    _demand(estimator._preprocessor is None and estimator.is_categorical_ is None, "it sees categories")
    _demand(estimator.n_trees_per_iteration_ == columns, "its rounds do not fit its classes")
    _demand(np.shape(estimator._baseline_prediction) == (1, columns), "its baseline is none")
    for trees in estimator._predictors:
        _demand(isinstance(trees, list) and len(trees) == columns, "its rounds do not fit its classes")
        for tree in trees:
            _demand(type(tree) is TreePredictor, "one of its trees is none")
            nodes = tree.nodes
            _demand(nodes.dtype == PREDICTOR_RECORD_DTYPE and nodes.ndim == 1, "the nodes of a tree are none")
            _demand(not nodes["is_categorical"].any(), "it sees categories")
            leaf = nodes["is_leaf"].astype(bool)
            left, right, which = (nodes[name].astype(np.int64) for name in ("left", "right", "feature_idx"))
            _check_steps(left, right, which, leaf, features)


def _check_classes(estimator: Any, features: int, classes: int) -> int:
    """How many classes its trees tell apart."""
    found = estimator.classes_
    _demand(isinstance(found, np.ndarray) and found.ndim == 1 and found.dtype.kind == "i", "its classes are none")
    _demand(len(set(found.tolist())) == len(found) > 1, "its classes are none")
    _demand(found.min() >= 0 and found.max() < classes, "it says classes that the card does not have")
    _demand(estimator.n_features_in_ == features, "it sees other features than the card says")
    return len(found)


def _check_steps(left: Any, right: Any, feature: Any, leaf: Any, features: int) -> None:
    """Every step leads on, to a node that is there, and looks at a feature that is there: no tree loops or strays.

    scikit-learn follows these numbers in C without a look at them: https://github.com/scikit-learn/scikit-learn/pull/34558
    """
    nodes, inner = np.arange(len(left)), ~leaf
    _demand(len(nodes) > 0, "a tree has no node")
    for child in (left[inner], right[inner]):
        _demand(bool(((child > nodes[inner]) & (child < len(nodes))).all()), "a step of a tree leads astray")
    seen = feature[inner]
    _demand(bool(((seen >= 0) & (seen < features)).all()), "a tree looks at a feature that is not there")


def _demand(fact: bool, else_wrong: str) -> None:
    if not fact:
        raise _Unsafe(else_wrong)


FORESTS: Mapping[str, Forests] = {
    "random-forest": Forests(
        "trees on samples of the pixels, that vote (Breiman 2001)", 48, _random_forest, _check_voters
    ),
    "extra-trees": Forests("trees with random thresholds, that vote (Geurts 2006)", 48, _extra_trees, _check_voters),
    "gradient-boosting": Forests(
        "small trees, each mending the last (Ke 2017)", 100, _gradient_boosting, _check_boosted
    ),
}
"""All kinds of trees, by the name that a card and `--architecture` have for them."""


# ------------------------------------------------------------------------------------------------------------ on disk

_TRUSTED = ("sklearn.tree._tree.Tree", "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor")
"""What skops does not let in by itself, because their numbers steer C code; ours are checked before they are used."""

_MODULES = re.compile(r"(sklearn|numpy|builtins|collections)(\.[\w.]+)?")
"""Modules whose types a forest may hold at all; skops would let in some of others."""


def packed(estimator: Any) -> bytes:
    """A fitted estimator as the bytes of a skops file; equal ones have equal bytes."""
    import skops.io

    # skops names things by where they lay in memory: here by the order in which they come.
    raw = zipfile.ZipFile(io.BytesIO(skops.io.dumps(estimator)))
    numbers: dict[str, str] = {}
    schema = re.sub(
        r'("__id__": |"file": ")(\d+)',
        lambda found: found[1] + numbers.setdefault(found[2], str(len(numbers))),
        raw.read("schema.json").decode(),
    )
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(zipfile.ZipInfo("schema.json"), schema, zipfile.ZIP_DEFLATED)
        for name in sorted(set(raw.namelist()) - {"schema.json"}, key=lambda name: int(numbers[Path(name).stem])):
            stem, suffix = Path(name).stem, Path(name).suffix
            file.writestr(zipfile.ZipInfo(numbers[stem] + suffix), raw.read(name), zipfile.ZIP_DEFLATED)
    return made.getvalue()


def unpacked(content: bytes, card: Card) -> Any:
    """The estimator in the bytes of a skops file; `_Unsafe` where it is not what the card says, whoever wrote it."""
    import skops.io

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            _demand(sum(entry.file_size for entry in file.infolist()) <= _LARGEST, "it is too large")
            strange = sorted(
                name for name in _modules(json.loads(file.read("schema.json"))) if not _MODULES.fullmatch(name)
            )
        _demand(not strange, f"it holds types of {', '.join(strange)}")
        strange = sorted(set(skops.io.get_untrusted_types(data=content)) - set(_TRUSTED))
        _demand(not strange, f"it holds {', '.join(strange)}")
        estimator = skops.io.loads(content, trusted=list(_TRUSTED))
        FORESTS[card.forest.estimator].check(estimator, len(card.forest.features), len(card.legend))
        # Nothing that votes at all can now stray; what does not fit together is seen from one vote.
        said = votes(estimator, np.zeros((1, len(card.forest.features)), np.float32), len(card.legend))
        _demand(abs(float(said.sum()) - 1) < 1e-3, "its votes are none")
    except _Unsafe:
        raise
    except Exception as error:  # a file of anyone's making: what zipfile, numpy and skops raise on it has no end
        raise _Unsafe(" ".join(f"{type(error).__name__}: {error}".split())[:200]) from error
    return estimator


def _modules(schema: Any) -> Iterator[str]:
    """All modules that a skops schema names, wherever in it."""
    waiting = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if "__module__" in value:
                yield str(value["__module__"])
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


@cache
def _opened(digest: str, folder: Path) -> Any:
    """The trees of a bundle, once per process and content; `Mistake` where they are not sound."""
    return opened(load(folder))


def opened(bundle: Bundle) -> Any:
    """The trees of a bundle, ready to vote; `Mistake` where they are not sound or another scikit-learn grew them."""
    import sklearn

    forest, file = bundle.card.forest, bundle.weights_file
    if forest.estimator not in FORESTS:
        raise Mistake(f"{file} holds a {forest.estimator}, and there are {', '.join(FORESTS)}; train it anew")
    strange = {band for feature in _features(bundle.card) for band in feature.bands} - set(bundle.card.band_names)
    if strange:
        raise Mistake(
            f"the forest in {bundle.folder} sees {', '.join(sorted(strange))}, no bands of its card; train it anew"
        )
    if forest.sklearn != sklearn.__version__:
        # https://scikit-learn.org/stable/model_persistence.html: "entirely unsupported and inadvisable"
        raise Mistake(
            f"the forest in {bundle.folder} was grown by scikit-learn {forest.sklearn}, and {sklearn.__version__} is "
            f"installed, which promises nothing for it; pip install scikit-learn=={forest.sklearn}, or train it anew"
        )
    try:
        return unpacked(bundle.content(), bundle.card)
    except _Unsafe as error:
        raise Mistake(f"{file} is no forest that can be trusted ({error}); train it anew") from error


# ------------------------------------------------------------------------------------------------------------- training


class ForestRecipe(BaseModel):
    """How a forest is trained. What is empty or 0 follows from the data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Literal["random-forest", "extra-trees", "gradient-boosting"] = "random-forest"
    trees: Annotated[int, Field(ge=0, le=2000, description="How many; 0: what the kind has by default.")] = 0
    windows: Annotated[
        tuple[Annotated[int, Field(ge=3, le=LARGEST_WINDOW)], ...] | None,
        Field(description="Odd lengths, in pixels, of the windows around a pixel; empty: what validates best."),
    ] = None
    features: Annotated[int, Field(ge=1, le=512, description="Of all candidates, how many are kept.")] = 80
    per_class: Annotated[int, Field(ge=10, description="Pixels of one class that trees grow from, at most.")] = 20_000
    rarity: Annotated[
        float, Field(ge=0, le=1, description="0: all pixels count alike; 1: all classes do, however rare.")
    ] = 0.15
    seed: Annotated[int, Field(ge=0, le=2**32 - 1, description="The same seed gives the same forest.")] = 0


@dataclass(frozen=True)
class TrainedForest:
    """What came of it."""

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


def train_forest(samples: Samples, recipe: ForestRecipe, *, name: str, licence: str, told: Told) -> TrainedForest:
    """A forest grown on the train part, judged on the validation part and, where there is one, on the test part.

    Windows are those whose small forest validates best, features those that such a forest made most of. The last
    forest learns from the validation labels too; what the card says of validation is of the one before. At most
    `per_class` pixels of a class are in memory; equal seeds give equal bytes.
    """
    import sklearn

    from segmentation.training import band_cards

    cards, classes = band_cards(samples), len(samples.legend)
    trees = recipe.trees or FORESTS[recipe.architecture].trees
    counts = samples.counts(TRAIN)
    if np.count_nonzero(counts) < 2:
        raise Mistake("the training part has one class only; label another, or split otherwise with --split")
    validated = bool(samples.counts(VALIDATION).any())
    options = _WINDOWS if recipe.windows is None else (recipe.windows,)
    if recipe.windows is None and not validated:
        options = _WINDOWS[:1]
    stages = 4 + len(options)

    tried = candidates(samples.bands, sorted({window for option in options for window in option}))
    told("grow", 0, stages)
    grown_from = pixels_of(samples, (TRAIN,), tried, cards, recipe)
    judged_on = pixels_of(samples, (VALIDATION,), tried, cards, recipe) if validated else None
    told("grow", 1, stages)
    best: tuple[float, tuple[int, ...]] | None = None
    for number, option in enumerate(options):
        use = np.array([feature.window == 1 or feature.window in option for feature in tried])
        loss, ranked = _tried(grown_from.only(use), judged_on.only(use) if judged_on else None, classes, recipe)
        if best is None or loss < best[0]:
            best = loss, tuple(np.flatnonzero(use)[ranked][: recipe.features].tolist())
        told("grow", 2 + number, stages)
    assert best is not None
    kept = sorted(best[1])  # in the candidates' order, which says nothing of how useful each is but reads well
    features = tuple(tried[place] for place in kept)
    model = ForestModel(
        estimator=recipe.architecture, features=tuple(map(str, features)), sklearn=str(sklearn.__version__)
    )
    card = Card(
        name=name, bands=cards, gsd=samples.gsd, legend=samples.legend, model=model, training={}, metrics={},
        licence=licence,
    )  # fmt: skip

    estimator = _grown(grown_from.only(kept), classes, recipe, trees)
    validation = None
    if judged_on:
        heat = _temperature(votes(estimator, judged_on.only(kept).seen, classes), judged_on.classes)
        card = card.model_copy(update={"model": model.model_copy(update={"temperature": heat})})
        validation = accuracy(estimator, samples, card, VALIDATION)
        told("grow", stages - 2, stages)
        del grown_from, judged_on
        everything = pixels_of(samples, (TRAIN, VALIDATION), features, cards, recipe)
        estimator = _grown(everything, classes, recipe, trees)
    told("grow", stages - 1, stages)
    test = accuracy(estimator, samples, card, TEST) if samples.counts(TEST).any() else None
    told("grow", stages, stages)
    judged = {
        "validation": "a forest that had not seen these labels; the bundle's has" if validated else "nothing",
        "test": "the bundle itself",
    }
    facts = {
        **samples.facts,
        "program": "landweave train",
        "labelled pixels": {part: int(samples.counts(number).sum()) for part, number in PARTS.items()},
        "trees": trees,
        "recipe": recipe.model_dump(mode="json"),
        "validated": judged["validation"],
    }
    card = card.model_copy(update={"training": facts, "metrics": _metrics(validation, test)})
    notes = () if validated else ("no labels were left to validate on: nobody knows how good it is, nor how sure",)
    return TrainedForest(card, packed(estimator), validation, test, judged, notes)


@dataclass(frozen=True, eq=False)
class Pixels:
    """Labelled pixels, as trees are grown from them."""

    seen: npt.NDArray[np.float32]
    """`(n, feature)`."""
    classes: npt.NDArray[np.intp]
    """`(n,)`: the index in the legend."""
    weights: npt.NDArray[np.float64]
    """`(n,)`: so that the drawn pixels stand for all."""

    def only(self, features: npt.NDArray[np.bool_] | Sequence[int]) -> Pixels:
        """The same with some of the features."""
        return Pixels(self.seen[:, features], self.classes, self.weights)


def pixels_of(
    samples: Samples,
    parts: Sequence[int],
    features: Sequence[Feature],
    cards: Sequence[BandCard],
    recipe: ForestRecipe,
) -> Pixels:
    """Pixels of some parts: all of a rare class, of a frequent one so many, drawn evenly from where it lies."""
    counts = sum((samples.counts(part) for part in parts), np.zeros(len(samples.legend), np.int64))
    most = min(recipe.per_class, _MOST_PIXELS // len(counts))
    rng = np.random.default_rng((recipe.seed, 3))
    drawn = [_drawn(int(count), most, rng) for count in counts]
    passed = np.zeros(len(counts), np.int64)
    seen, classes = [], []
    for piece, rows, cols, index in _labels(samples, parts):
        places = []
        for number in np.flatnonzero(np.bincount(index[index >= 0], minlength=len(counts))):
            here = np.flatnonzero(index == number)
            start, stop = np.searchsorted(drawn[number], (passed[number], passed[number] + len(here)))
            places.append(here[drawn[number][start:stop] - passed[number]])
            passed[number] += len(here)
        if places and (chosen := np.concatenate(places)).size:
            seen.append(_looked(samples, piece, rows, cols, features, cards).reshape(len(features), -1)[:, chosen].T)
            classes.append(index.ravel()[chosen])
    found = np.concatenate(classes).astype(np.intp)
    each = np.maximum(np.bincount(found, minlength=len(counts)), 1)
    share = counts / each * np.maximum(counts, 1.0) ** -recipe.rarity
    weights = share[found]
    return Pixels(np.concatenate(seen), found, weights / weights.mean())


def _drawn(count: int, most: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """At most `most` of the numbers below `count`, ascending: one from each stretch of equal length."""
    if count <= most:
        return np.arange(count, dtype=np.int64)
    return np.unique(((np.arange(most) + rng.random(most)) * (count / most)).astype(np.int64))


def _labels(samples: Samples, parts: Sequence[int]) -> Iterator[tuple[Labelled, slice, slice, npt.NDArray[np.int16]]]:
    """The blocks that hold labels of some parts, and `(y, x)` the index of each label in the legend, −1 elsewhere."""
    lookup = np.full(256, -1, np.int16)
    lookup[list(samples.legend.values)] = np.arange(len(samples.legend))
    for piece in samples.pieces:
        for top in range(0, piece.shape[0], _BLOCK):
            for left in range(0, piece.shape[1], _BLOCK):
                rows, cols = slice(top, top + _BLOCK), slice(left, left + _BLOCK)
                index = np.where(np.isin(piece.part[rows, cols], parts), lookup[piece.labels[rows, cols]], np.int16(-1))
                if (index >= 0).any():
                    yield piece, rows, cols, index


def _looked(
    samples: Samples, piece: Labelled, rows: slice, cols: slice, features: Sequence[Feature], cards: Sequence[BandCard]
) -> npt.NDArray[np.float32]:
    """The features of a block, `(feature, y, x)`, with what lies around it in sight."""
    margin = margin_of(features)
    top, left = max(0, rows.start - margin), max(0, cols.start - margin)
    chip = samples.chip(piece, slice(top, rows.stop + margin), slice(left, cols.stop + margin))
    seen = compute(chip, features, cards)
    height, width = piece.labels[rows, cols].shape
    above, before = rows.start - top, cols.start - left
    return seen[:, above : above + height, before : before + width]


def _tried(
    grown_from: Pixels, judged_on: Pixels | None, classes: int, recipe: ForestRecipe
) -> tuple[float, npt.NDArray[np.intp]]:
    """How unlikely a small forest finds the validation labels, and its features, most useful first."""
    from sklearn.ensemble import ExtraTreesClassifier

    small = ExtraTreesClassifier(32, min_samples_leaf=5, max_features=0.3, random_state=recipe.seed, n_jobs=threads())
    small.fit(grown_from.seen, grown_from.classes, grown_from.weights)
    ranked = np.argsort(-small.feature_importances_, kind="stable")
    if judged_on is None:
        return 0.0, ranked
    shares = np.maximum(votes(small, judged_on.seen, classes), _LEAST_SHARE)
    own = shares[np.arange(len(shares)), judged_on.classes].astype(np.float64)
    return float(-np.average(np.log(own), weights=judged_on.weights)), ranked


def _grown(pixels: Pixels, classes: int, recipe: ForestRecipe, trees: int) -> Any:
    """An estimator, fitted; each tree has its own seed, so threads change nothing."""
    estimator = FORESTS[recipe.architecture].make(recipe, trees)
    if "n_jobs" in estimator.get_params():
        estimator.set_params(n_jobs=threads())
    estimator.fit(pixels.seen, pixels.classes, sample_weight=pixels.weights)
    if "n_jobs" in estimator.get_params():
        estimator.set_params(n_jobs=None)
    return estimator


def _temperature(shares: Shares, classes: npt.NDArray[np.intp]) -> float:
    from segmentation.training import temperature

    return temperature(np.log(np.maximum(shares, _LEAST_SHARE)), classes.astype(np.uint8))


def accuracy(trees: Any, samples: Samples, card: Card, part: int) -> Accuracy:
    """How trees fare on all labels of a part."""
    values, features = np.array(samples.legend.values), _features(card)
    matrix = np.zeros((len(values), len(values)), np.int64)
    for piece, rows, cols, index in _labels(samples, (part,)):
        at = index >= 0
        seen = _looked(samples, piece, rows, cols, features, card.bands)[:, at].T
        said = votes(trees, seen, len(values)).argmax(1)
        matrix += confusion_matrix(values[index[at]], values[said], samples.legend.values)
    return Accuracy.from_confusion(matrix, samples.legend.rows)


def _metrics(validation: Accuracy | None, test: Accuracy | None) -> dict[str, float]:
    from segmentation.training import metrics_of

    return metrics_of("validation", validation) | metrics_of("test", test)
