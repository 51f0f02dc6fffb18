"""Clusters of like pixels: k-means and Gaussian mixtures, fitted once on a sample of the scene."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from math import inf, log
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import xarray as xr
from pydantic import BaseModel, ConfigDict, Field

from segmentation.classical.class_list import List, make_legend, words_of
from segmentation.classical.cluster_fits import (
    Figures,
    choose_count,
    mean_spectra,
    one_thread,
    rank_clusters,
    true_colours,
    try_counts,
)
from segmentation.classical.features import (
    Matrix,
    Scaling,
    feature_bands,
    feature_names,
    fit_scaling,
    read_features,
)
from segmentation.classical.quantity import formula_facts
from segmentation.errors import InputError
from segmentation.legend import Legend
from segmentation.segmenter import FitCurve, Prediction, Segmenter

_FITTED_ON = 1 << 18
"""Pixels of the sample that clusters are fitted on: every n-th, so that a fit takes seconds."""

JUDGES = {
    "elbow": "sum of squared distances",
    "silhouette": "mean silhouette",
    "bic": "Bayesian information criterion",
}
"""What numbers of clusters are judged by, in words."""

_BLOCK = 1 << 13
"""Pixels judged at once: what lies in between stays in the processor's cache."""


class Clusters(BaseModel):
    """What was found in a sample: where clusters lie, in features of one scale, and how they
    look."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scaling: Scaling
    centres: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...] = ()
    """Of a mixture: the share of each cluster."""
    precisions: tuple[tuple[tuple[float, ...], ...], ...] = ()
    """Of a mixture: the Cholesky factor of each cluster's precision, upper triangular."""
    colours: tuple[str, ...]
    pixels: int
    figures: tuple[tuple[int, float], ...] = ()
    """Of each number of clusters that was tried, the figure it was judged by."""


class Clustering(Segmenter):
    """What all methods of clusters have in common: features, their number, order and colours."""

    needs_sample: ClassVar[bool] = True
    one_fit: ClassVar[bool] = True
    meanings: ClassVar[Mapping[str, str]] = {
        "Cluster 1, Cluster 2, …": "pixels that are alike; from the least green up where red and "
        "nir are there, else from the darkest up; call them by names",
    }

    k: Annotated[
        int,
        Field(ge=2, le=30, title="Clusters", description="How many, or at most with choose."),
    ] = 6
    choose: str = "none"
    features: Annotated[
        List,
        Field(
            title="Bands and indices",
            description="What is looked at, between commas, for example red,nir,NDVI; if empty, "
            "every band.",
        ),
    ] = ""
    seed: Annotated[
        int, Field(ge=0, le=999_999, title="Seed", description="Another one starts elsewhere.")
    ] = 0
    names: Annotated[
        List,
        Field(
            title="Names",
            description="Clusters in their order, between commas; if empty, Cluster 1, Cluster 2.",
        ),
    ] = ""
    fitted: Annotated[
        Clusters | None, Field(title="Clusters", description="Found in the scene; leave it empty.")
    ] = None

    def bands(self, available: Collection[str]) -> tuple[str, ...]:
        return feature_bands(self.features, available)

    def bytes_per_pixel(self, threads: int) -> int:
        count = len(self.fitted.scaling.features) if self.fitted else 8
        return 32 + 8 * count

    @property
    def legend(self) -> Legend:
        count = len(self.fitted.centres) if self.fitted else self.k
        colours = self.fitted.colours if self.fitted else ["#808080"] * count
        usual = [f"Cluster {number}" for number in range(1, count + 1)]
        return make_legend(self.names, "", usual, colours)

    def fit(self, sample: xr.Dataset | None) -> Self:
        """With clusters of the sample; one that has some keeps them."""
        if self.fitted is not None:
            return self
        if sample is None:
            raise RuntimeError(f"{self.kind} is fitted on a sample")
        bands = [str(name) for name in sample["band"].values]
        names = feature_names(self.features, bands)
        raw = read_features(names, sample)[:, sample["valid"].values].astype(np.float64)
        pixels = slice(None, None, max(1, -(-raw.shape[1] // _FITTED_ON)))
        scaling = fit_scaling(names, raw[:, pixels])
        points = np.ascontiguousarray(scaling.apply(raw[:, pixels]).T)
        if (distinct := len(np.unique(points, axis=0))) < 2:
            raise InputError(f"{self.kind} finds one value in the whole scene, nothing to part")
        count = min(self.k, distinct)
        figures: Figures = ()
        with one_thread():
            if self.choose != "none" and count > 2:
                figures = try_counts(self._estimator, points, count, self.choose)
                count = choose_count(figures, self.choose)
            estimator = self._estimator(count).fit(points)
            labels = estimator.predict(points)
        spectra, model = mean_spectra(sample, pixels, labels, count), self._model(estimator)
        order = rank_clusters(spectra, bands, model["centres"])
        fitted = Clusters(
            scaling=scaling,
            **{name: _as_tuples(part[order]) for name, part in model.items()},
            colours=true_colours(spectra[order], bands, sample),
            pixels=len(points),
            figures=figures,
        )
        return self.model_copy(update={"fitted": fitted})

    @abstractmethod
    def _estimator(self, count: int) -> Any:
        """What of scikit-learn fits so many clusters."""

    @abstractmethod
    def _model(self, estimator: Any) -> dict[str, Matrix]:
        """Of an estimator that is fitted, what is kept of each cluster."""

    @abstractmethod
    def _judge(self, clusters: Clusters, points: Matrix) -> tuple[npt.NDArray[Any], Matrix]:
        """The cluster, from 0, of each point of `(feature, pixel)`, and how sure it is, 0–1."""

    @property
    def fit_summary(self) -> str:
        """How many clusters of how many pixels, and the figures their number was chosen by."""
        if self.fitted is None:
            return ""
        text = f"{len(self.fitted.centres)} clusters of {self.fitted.pixels:,} pixels"
        figures = ", ".join(f"{count}: {figure:.4g}" for count, figure in self.fitted.figures)
        return f"{text}; {self.choose} of each number: {figures}" if figures else text

    @property
    def fit_curve(self) -> FitCurve | None:
        """How each number of clusters was judged, where one was chosen."""
        if self.fitted is None or not self.fitted.figures:
            return None
        judged = JUDGES[self.choose]
        return FitCurve(judged, "clusters", self.fitted.figures, len(self.fitted.centres))

    def identity(self) -> dict[str, Any]:
        """Settings and revision; of indices that packages bring also what they compute."""
        return {**super().identity(), **formula_facts(words_of(self.features))}

    def __call__(self, chip: xr.Dataset) -> Prediction:
        if self.fitted is None:
            raise RuntimeError(f"{self.kind} has no clusters yet: fit it on a sample first")
        valid = chip["valid"].values
        labels, confidence = np.zeros((2, valid.size), np.uint8)
        raw = read_features(self.fitted.scaling.features, chip)
        raw = raw.reshape(len(raw), -1)
        for start in range(0, valid.size, _BLOCK):
            block = slice(start, start + _BLOCK)
            points = self.fitted.scaling.apply(raw[:, block].astype(np.float64))
            nearest, sure = self._judge(self.fitted, points)
            labels[block], confidence[block] = nearest + 1, 100 * sure
        shape = valid.shape
        return Prediction(labels.reshape(shape) * valid, confidence.reshape(shape))


class KMeans(Clustering):
    """Clusters of pixels that are alike, by k-means: each pixel goes to the nearest of k centres.

    Bands and indices are brought to one scale by the mean and the deviation of a sample of the
    whole scene; where an index is undefined it counts as the mean. Centres are scikit-learn's, of
    four starts, by Lloyd (1982), doi:10.1109/TIT.1982.1056489, from starts of Arthur and
    Vassilvitskii (2007), on every n-th pixel of the sample, 262,144 at most; a pixel's cluster is
    the one that scikit-learn's predict says. With choose, k is the most that is tried, each on
    every n-th of these, 32,768 at most. Confidence is 100 at a centre and 0 as far from it as from
    the next; it is no probability.
    """

    kind: Literal["kmeans"] = "kmeans"
    choose: Annotated[
        Literal["none", "elbow", "silhouette"],
        Field(
            title="Choose the number",
            description="By the elbow of squared distances, or the best silhouette; none: k as "
            "it is.",
        ),
    ] = "none"

    def _estimator(self, count: int) -> Any:
        from sklearn import cluster

        return cluster.KMeans(count, n_init=4, random_state=self.seed)

    def _model(self, estimator: Any) -> dict[str, Matrix]:
        return {"centres": estimator.cluster_centers_}

    def _judge(self, clusters: Clusters, points: Matrix) -> tuple[npt.NDArray[Any], Matrix]:
        squares = np.zeros((len(clusters.centres), points.shape[1]))
        for total, centre in zip(squares, clusters.centres, strict=True):
            for values, middle in zip(points, centre, strict=True):
                total += (values - middle) ** 2
        first, second = np.partition(squares, 1, axis=0)[:2]
        ratio = np.divide(first, second, out=np.ones_like(first), where=second > 0)
        return squares.argmin(axis=0), 1 - np.sqrt(ratio)


class MiniBatchKMeans(KMeans):
    """Clusters by k-means whose centres move with small batches of pixels: as `kmeans`, for large
    samples, and a little looser.

    As in Sculley (2010), doi:10.1145/1772690.1772862, by scikit-learn, in batches of 1024. What is
    said of `kmeans` holds here too.
    """

    kind: Literal["minibatch-kmeans"] = "minibatch-kmeans"  # type: ignore[assignment]  # a kind of its own

    def _estimator(self, count: int) -> Any:
        from sklearn import cluster

        return cluster.MiniBatchKMeans(count, n_init=4, random_state=self.seed)


class GaussianMixture(Clustering):
    """Clusters of pixels by a mixture of Gaussians: long, flat or of unlike size, each with a
    covariance of its own.

    Bands and indices are brought to one scale by the mean and the deviation of a sample of the
    whole scene; where an index is undefined it counts as the mean. The mixture is scikit-learn's,
    by expectation-maximisation of Dempster et al. (1977) from k-means, 200 rounds at most, on every
    n-th pixel of the sample, 262,144 at most; a pixel's cluster is the one that scikit-learn's
    predict says. With choose, k is the most that is tried, each on every n-th of these, 32,768 at
    most. Confidence is the cluster's posterior probability, true as far as the mixture is.
    """

    kind: Literal["gaussian-mixture"] = "gaussian-mixture"
    choose: Annotated[
        Literal["none", "silhouette", "bic"],
        Field(
            title="Choose the number",
            description="By the best silhouette or the Bayesian information criterion; none: k "
            "as it is.",
        ),
    ] = "none"

    def _estimator(self, count: int) -> Any:
        from sklearn import mixture

        return mixture.GaussianMixture(count, max_iter=200, random_state=self.seed)

    def _model(self, estimator: Any) -> dict[str, Matrix]:
        return {
            "centres": estimator.means_,
            "weights": estimator.weights_,
            "precisions": estimator.precisions_cholesky_,
        }

    def _judge(self, clusters: Clusters, points: Matrix) -> tuple[npt.NDArray[Any], Matrix]:
        logs = mixture_logs(clusters.centres, clusters.weights, clusters.precisions, points)
        return logs.argmax(axis=0), 1 / np.exp(logs - logs.max(axis=0)).sum(axis=0)


def mixture_logs(centres: Any, weights: Any, precisions: Any, points: Matrix) -> Matrix:
    """`(cluster, pixel)` the logarithm of each cluster's part of a mixture's density, but for a
    constant, at points `(feature, pixel)`; each is computed by itself."""
    logs = np.empty((len(centres), points.shape[1]))
    for at, (centre, weight, precision) in enumerate(
        zip(centres, weights, precisions, strict=True)
    ):
        offsets = [values - middle for values, middle in zip(points, centre, strict=True)]
        square = np.zeros(points.shape[1])
        for column in range(len(centre)):
            # The factor is upper triangular: what stands below its diagonal is 0.
            rows = range(column + 1)
            square += sum(offsets[row] * precision[row][column] for row in rows) ** 2
        spread = sum(log(precision[one][one]) for one in range(len(centre)))
        logs[at] = spread - 0.5 * square + (log(weight) if weight > 0 else -inf)
    return logs


def _as_tuples(values: npt.NDArray[Any]) -> Any:
    """An array as tuples of tuples of floats."""
    return tuple(map(_as_tuples, values)) if values.ndim else float(values)
