"""Does a scene hold what a model was trained on? Judged on pixels, before the work starts.

Metadata are not asked: names get mixed up, offsets applied twice and flags are wrong in public
catalogues. What counts is where the values of a sample lie, compared with the quantiles that the
card keeps of the training data.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from segmentation.chip import values
from segmentation.models.card import QUANTILES, BandCard, Card
from segmentation.models.processing import LARGEST_ZOOM
from segmentation.segmenter import Finding

COARSER, MUCH_COARSER = 1.5, 4.0
"""Factors between two ground sampling distances beyond which a model is warned about, and refused;
from the first a network sees pixels of its own size."""

_EXACT = 1.02
"""Factor between two sizes of pixels that nobody needs to be told."""

DRIFT = 0.5
"""Mean shift of a band's quantiles, as a share of the range the training data had, that is worth a
warning."""

_ALL_DRIFT = 0.35
"""The same of all bands together: photographs of one place from four years are up to 0.27 apart."""

_EXPLAINED = 0.35
"""Drift that remains when an explanation is right; it also has to be less than half of what there
was."""

_ENOUGH = 256
"""Valid pixels below which nothing is said about values."""

_BANDS_TO_TELL, _MUCH = 3, 0.01
"""Bands that have to agree on a pixel, and the share of such pixels, for it to look like no
data."""

_TOGETHER = 0.9
"""Part of such pixels that must have neighbours like them where fewer bands can agree: a frame's
do."""

_SCALES = (1e4, 1e-4, 255.0, 1 / 255, 65535.0, 1 / 65535, 1e2, 1e-2)
_SHIFTS = (0.1, -0.1, 1000.0, -1000.0)
"""Sentinel-2's offset since processing baseline 04.00, in reflectance and in digital numbers."""

Floats = npt.NDArray[np.float64]


def inspect(
    card: Card, sample: xr.Dataset, gsd: float, zoom: int | None = 1
) -> tuple[Finding, ...]:
    """What speaks against running a model on a scene, from a sample of its pixels and its
    resolution in metres; and what is done about the latter where `zoom` leaves that open.

    `sample` has the card's bands in its units. A wrong offset, scale or order of bands that can be
    told is refused; a scene merely unlike the training data is warned about.
    """
    return (*_resolution(card, gsd, zoom), *_values(card, sample))


def choose_zoom(card: Card, gsd: float) -> int:
    """The zoom that brings a scene of `gsd` metres nearest to the pixels of a model; 1 where they
    are alike, and where none comes near."""
    ratio = gsd / card.pixel
    off = max(ratio, 1 / ratio)
    factor = min(range(1, LARGEST_ZOOM + 1), key=lambda whole: max(off / whole, whole / off))
    if off < COARSER or off / factor >= COARSER:
        return 1
    return factor if ratio > 1 else -factor


def find_unmarked_nodata(sample: xr.Dataset) -> tuple[Finding, ...]:
    """A warning where much of a scene seems to be no image, and nothing says so: one and the same
    extreme everywhere.

    In the file's own numbers. One or two bands may well be 0 in places; there such pixels must also
    lie together.
    """
    pixels, valid = sample["pixels"].values, sample["valid"].values
    if np.count_nonzero(valid) < _ENOUGH:
        return ()
    seen = pixels[:, valid]
    alike = seen[0][(seen == seen[:1]).all(0)]
    value, count = max(
        ((v, np.count_nonzero(alike == v)) for v in (seen.min(), seen.max())),
        key=lambda pair: pair[1],
    )
    share = count / seen.shape[1]
    if share < _MUCH or share > 1 - _MUCH:
        return ()
    if len(pixels) < _BANDS_TO_TELL and _together(valid & (pixels == value).all(0)) < _TOGETHER:
        return ()
    bands = f"all {len(pixels)} bands" if len(pixels) > 1 else "its band"
    return (
        Finding(
            "warn",
            f"{share:.0%} of the pixels are {value:g} in {bands}, which looks like no image and "
            "is mapped as land; "
            f"if it is none, say --nodata {value:g}",
        ),
    )


def _together(chosen: npt.NDArray[np.bool_]) -> float:
    """The part of the chosen pixels `(y, x)` whose neighbours below and to the right are chosen
    too."""
    inside = chosen[:-1, :-1]
    return float((inside & chosen[1:, :-1] & chosen[:-1, 1:]).sum() / max(1, inside.sum()))


def _resolution(card: Card, gsd: float, zoom: int | None) -> tuple[Finding, ...]:
    chosen = choose_zoom(card, gsd) if zoom is None else zoom
    seen = gsd / chosen if chosen > 0 else gsd * -chosen
    factor = max(seen / card.pixel, card.pixel / seen)
    if zoom is None and chosen != 1:
        how = f"each as {chosen} × {chosen}" if chosen > 1 else f"{-chosen} × {-chosen} as one"
        left = f", which are {seen / card.pixel:.2g} × as long" if factor > _EXACT else ""
        return (
            Finding(
                "warn",
                f"{card.name} wants pixels of {card.pixel:.3g} m and these are {gsd:.3g} m: it "
                f"sees them {how}, of {seen:.3g} m{left}; --set zoom=1 leaves them as they are",
            ),
        )
    if factor <= COARSER:
        return ()
    if zoom is not None and chosen != 1:
        return (
            Finding(
                "refuse" if factor > MUCH_COARSER else "warn",
                f"{card.name} wants pixels of {card.pixel:.3g} m, and with zoom {chosen} it sees "
                f"{seen:.3g} m; leave zoom out",
            ),
        )
    return (
        Finding(
            "refuse" if factor > MUCH_COARSER else "warn",
            f"{card.name} was trained on pixels of {card.gsd:.3g} m and these are {gsd:.3g} m; "
            "resample the scene, for "
            f"example with gdalwarp -tr {card.gsd:.3g} {card.gsd:.3g}, or train on this resolution",
        ),
    )


def _values(card: Card, sample: xr.Dataset) -> tuple[Finding, ...]:
    known = [band for band in card.bands if band.quantiles]
    valid = sample["valid"].values
    if not known or np.count_nonzero(valid) < _ENOUGH:
        return ()
    chip = sample.sel(band=[band.name for band in known])
    pixels = values(chip, [band.units for band in known]).values[:, valid]
    found = np.quantile(pixels, QUANTILES, axis=1).T.astype(np.float64)
    trained = np.array([band.quantiles for band in known], np.float64)
    drift = drifts(found, trained)
    odd = np.flatnonzero(drift > DRIFT)
    if not odd.size and drift.mean() <= _ALL_DRIFT:
        return ()
    if odd.size and (told := _explanation(known, found, trained, float(drift.mean()))):
        return (Finding("refuse", f"{card.name}: {told}"),)
    worst, moved = int(drift.argmax()), odd.size or drift.size
    here, there = found[worst], trained[worst]
    others = f" and {moved - 1} more" if moved > 1 else ""
    return (
        Finding(
            "warn",
            f"{known[worst].name}{others} lie elsewhere than in the training data of {card.name}: "
            "half of the values "
            f"are {_span(here)}, there they were {_span(there)}; look closely at the result, or "
            "train on such a scene",
        ),
    )


def drifts(found: Floats, trained: Floats) -> Floats:
    """How far each band's quantiles `(band, quantile)` lie from those of the training data, in
    ranges of the latter."""
    spread = np.maximum(trained[:, -1] - trained[:, 0], 1e-12)
    return np.abs(found - trained).mean(axis=1) / spread


def _explanation(
    bands: Sequence[BandCard], found: Floats, trained: Floats, before: float
) -> str | None:
    """The one mistake that would explain the values, as a sentence with its mend; None where none
    does."""
    from scipy.optimize import linear_sum_assignment

    candidates: list[tuple[float, str]] = []
    for scale in _SCALES:
        sentence = (
            f"its values would fit if they were multiplied by {scale:g}; correct --scale"
            if all(band.units == "reflectance" for band in bands)
            else f"its digital numbers would fit if they were multiplied by {scale:g}; convert "
            "the scene"
        )
        candidates.append((float(drifts(found * scale, trained).mean()), sentence))
    for shift in _SHIFTS:
        sentence = (
            f"its values lie {abs(shift):g} too {'low' if shift > 0 else 'high'} in every band, "
            "as where an offset is "
            f"{'applied twice' if shift > 0 else 'not applied'}; correct --offset"
        )
        candidates.append((float(drifts(found + shift, trained).mean()), sentence))
    cost = np.array([drifts(np.broadcast_to(here, trained.shape), trained) for here in found])
    rows, columns = linear_sum_assignment(cost)
    moved = [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if r != c]
    if moved:
        taken = ", ".join(f"{bands[r].name} looks like {bands[c].name}" for r, c in moved)
        candidates.append(
            (float(cost[rows, columns].mean()), f"bands are mixed up: {taken}; correct --bands")
        )
    after, sentence = min(candidates)
    return sentence if after < _EXPLAINED and after < before / 2 else None


def _span(quantiles: Floats) -> str:
    return f"{quantiles[1]:.3g} to {quantiles[3]:.3g}"
