"""How much of each class there is, from a map and a reference sample: areas and accuracies with
confidence intervals.

The mapped area of a class is biased by the map's own errors. A probability sample of reference
data, with the map's classes as strata, tells without bias how much there is: Olofsson et al.
(2014), Good practices for estimating area and assessing accuracy of land change, Remote Sensing of
Environment 148, doi:10.1016/j.rse.2014.02.015. Equation numbers below are theirs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import nan, sqrt

import numpy as np
import numpy.typing as npt

Z = 1.96
"""Half the width of a 95 % interval, in standard errors."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ClassEstimate:
    """One class; margins are half the width of the 95 % interval, NaN where nothing was sampled."""

    value: int
    name: str
    mapped_m2: float
    """Area the map gives it."""
    area_m2: float
    """Area it has, estimated."""
    area_margin_m2: float
    users: float
    """User's accuracy."""
    users_margin: float
    producers: float
    """Producer's accuracy, by area."""
    producers_margin: float
    samples: int
    """Reference samples on what the map calls so."""


@dataclass(frozen=True)
class AreaEstimates:
    """Areas and accuracies of a map as a whole, estimated from a sample."""

    overall_accuracy: float
    overall_margin: float
    covered: float
    """Part of the mapped area, 0–1, that the estimates speak of: the classes of the map with two
    samples or more."""
    classes: tuple[ClassEstimate, ...]

    @classmethod
    def from_confusion(
        cls, matrix: npt.NDArray[np.int64], mapped: Floats, rows: Iterable[tuple[int, str, str]]
    ) -> AreaEstimates:
        """Estimates from counts of a sample, true class along rows, and mapped areas in m².

        `ValueError` where no mapped class has two samples.
        """
        sampled = (matrix.sum(0) >= 2) & (mapped > 0)
        if not sampled.any():
            raise ValueError("no class of the map has two reference samples")
        area = np.where(sampled, mapped, 0.0)  # N_i, here in m²
        weight = area / (total := float(area.sum()))  # W_i
        # n_ij: the map's classes along rows, as in the paper
        counts = np.where(sampled, matrix, 0).T.astype(np.float64)
        samples = counts.sum(1)  # n_i.
        degrees = np.where(sampled, samples - 1, nan)
        # n_ij / n_i.
        share = np.divide(
            counts, samples[:, None], out=np.zeros_like(counts), where=sampled[:, None]
        )
        here = (part := weight[:, None] * share).sum(0)  # p_.j of p_ij, eq. 4
        users = np.where(sampled, np.diagonal(share), nan)  # eq. 2
        with np.errstate(invalid="ignore", divide="ignore"):
            producers = np.diagonal(part) / here  # eq. 3
            spread = share * (1 - share) / degrees[:, None]
            of_users = users * (1 - users) / degrees  # eq. 6
            estimated = area @ share  # estimated area of each reference class
            squares = area[:, None] ** 2 * spread
            beside = np.nansum(squares, axis=0) - np.nan_to_num(np.diagonal(squares))
            of_own = area**2 * (1 - producers) ** 2 * np.nan_to_num(of_users)
            of_producers = (of_own + producers**2 * beside) / estimated**2  # eq. 7
        of_overall = float(np.nansum(weight**2 * of_users))  # eq. 5
        of_share = np.nansum(weight[:, None] ** 2 * spread, axis=0)  # eq. 10
        columns = zip(
            [(value, name) for value, name, _ in rows],
            mapped.tolist(),
            (total * here).tolist(),  # eq. 9
            (Z * total * np.sqrt(of_share)).tolist(),  # eq. 11
            users.tolist(),
            (Z * np.sqrt(of_users)).tolist(),
            producers.tolist(),
            (Z * np.sqrt(np.maximum(of_producers, 0))).tolist(),
            matrix.sum(0).tolist(),
            strict=True,
        )
        return cls(
            overall_accuracy=float(np.diagonal(part).sum()),  # eq. 1
            overall_margin=Z * sqrt(of_overall),
            covered=total / float(mapped.sum()),
            classes=tuple(ClassEstimate(*name, *figures) for name, *figures in columns),
        )
