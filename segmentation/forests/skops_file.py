"""Forests in skops files that nobody has to trust: a fixed list of types, and a limit on what they
unpack to."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from segmentation.errors import InputError
from segmentation.forests.estimators import FORESTS, UnsafeFileError, demand, predict_proba
from segmentation.forests.pixel_features import parse_features
from segmentation.models.bundle import Bundle
from segmentation.models.card import Card

_LARGEST = 2**30
"""Bytes in a file of trees once it is unpacked."""

_TRUSTED = (
    "sklearn.tree._tree.Tree",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
)
"""What skops does not let in by itself, because their numbers steer C code; ours are checked before
they are used."""

_MODULES = re.compile(r"(sklearn|numpy|builtins|collections)(\.[\w.]+)?")
"""Modules whose types a forest may hold at all; skops would let in some of others."""


def dump(estimator: Any) -> bytes:
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
        for name in sorted(
            set(raw.namelist()) - {"schema.json"}, key=lambda name: int(numbers[Path(name).stem])
        ):
            stem, suffix = Path(name).stem, Path(name).suffix
            file.writestr(
                zipfile.ZipInfo(numbers[stem] + suffix), raw.read(name), zipfile.ZIP_DEFLATED
            )
    return made.getvalue()


def load(content: bytes, card: Card) -> Any:
    """The estimator in the bytes of a skops file; `UnsafeFileError` where it is not what the card
    says, whoever wrote it."""
    import skops.io

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            demand(sum(entry.file_size for entry in file.infolist()) <= _LARGEST, "it is too large")
            strange = sorted(
                name
                for name in _modules(json.loads(file.read("schema.json")))
                if not _MODULES.fullmatch(name)
            )
        demand(not strange, f"it holds types of {', '.join(strange)}")
        strange = sorted(set(skops.io.get_untrusted_types(data=content)) - set(_TRUSTED))
        demand(not strange, f"it holds {', '.join(strange)}")
        estimator = skops.io.loads(content, trusted=list(_TRUSTED))
        FORESTS[card.forest.estimator].check(estimator, len(card.forest.features), len(card.legend))
        # Nothing that votes at all can now stray; what does not fit together is seen from one vote.
        said = predict_proba(
            estimator, np.zeros((1, len(card.forest.features)), np.float32), len(card.legend)
        )
        demand(abs(float(said.sum()) - 1) < 1e-3, "its votes are none")
    except UnsafeFileError:
        raise
    except (
        Exception
    ) as error:  # a file of anyone's making: what zipfile, numpy and skops raise on it has no end
        raise UnsafeFileError(" ".join(f"{type(error).__name__}: {error}".split())[:200]) from error
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


def load_forest(bundle: Bundle) -> Any:
    """The trees of a bundle, ready to vote; `InputError` where they are not sound or another
    scikit-learn grew them."""
    import sklearn

    forest, file = bundle.card.forest, bundle.weights_file
    if forest.estimator not in FORESTS:
        raise InputError(
            f"{file} holds a {forest.estimator}, and there are {', '.join(FORESTS)}; train it anew"
        )
    seen = {band for feature in parse_features(forest.features) for band in feature.bands}
    strange = seen - set(bundle.card.band_names)
    if strange:
        raise InputError(
            f"the forest in {bundle.folder} sees {', '.join(sorted(strange))}, no bands of its "
            "card; train it anew"
        )
    if forest.sklearn != sklearn.__version__:
        # https://scikit-learn.org/stable/model_persistence.html: "entirely unsupported and
        # inadvisable"
        raise InputError(
            f"the forest in {bundle.folder} was grown by scikit-learn {forest.sklearn}, and "
            f"{sklearn.__version__} is "
            "installed, which promises nothing for it; pip install "
            f"scikit-learn=={forest.sklearn}, or train it anew"
        )
    try:
        return load(bundle.trees(), bundle.card)
    except UnsafeFileError as error:
        raise InputError(
            f"{file} is no forest that can be trusted ({error}); train it anew"
        ) from error
