"""What a scene says of itself to rules: its haze, how green its forests are, whether it has
clouds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

Values = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]

ENOUGH = 1024
"""Valid pixels below which a sample says nothing of its scene."""

# Where these come from: what has a paper behind it names it. The rest was set by hand with labelled
# scenes in view: Landsat 7 of Chiapas and Landsat 8 of Maryland, as surface reflectance and as the
# sensor saw them, and Sentinel-2 of Bolzano for its roofs. Figures on those scenes say nothing of
# how good the rules are elsewhere.

_DARK = {"blue": 0.015, "green": 0.03, "red": 0.015}
"""Surface reflectance of a scene's darkest hundredth, water or leaves in shade. That something in
it reflects about 0.01 is Chavez (1996), doi:10.14358/PERS.62.9.1025; these were set by hand, green
highest as leaves may be darkest."""

_THINNEST = {"green": 0.8, "red": 0.6, "nir": 0.25}
"""Haze of a band as a part of blue's, at most. That it falls with the wavelength, as a power
between −0.5 and −4, is Chavez (1988), doi:10.1016/0034-4257(88)90019-3; these parts, of powers −1.4
to −2.5, were set by hand."""

_THICKEST = 0.12
"""Haze in blue, the most that is taken off: a pixel under more is not seen through it. Set by
hand."""

_FORESTS = 0.04, 0.066
"""Green reflectance between which the threshold of trees may lie, set by hand. No paper has these
numbers: conifers are darker than the former and meadows brighter than the latter among the
materials of `segmentation.synthetic.landscape` (0.030 and
0.074) and on the labelled scenes; broadleaved forest lies between, and so does maize (0.048 and
0.047)."""

_TREES_GREEN = 0.054
"""Between them where a scene does not say: tuned on the labelled pixels of Chiapas and Maryland."""

_VALLEY, _PEAK = 0.1, 0.03
"""Part by which a valley in a histogram is lower than the lower of the peaks beside it, to be one;
and part of the highest peak that this must come to. Set by hand."""

_WHOLE, _PATCHY = 5, 0.1
"""A cloud is a patch: where fewer than this part of the pixels as bright as cloud have a square of
so many pixels a side like them, they are roofs. Set by hand, on the roofs of Bolzano."""


class Levels(BaseModel):
    """What a scene says of itself: where its dark lies, how green its forests are, whether it has
    clouds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    haze: dict[str, float] = {}
    """Reflectance that each band has too much, by common name."""
    trees_green: float = _TREES_GREEN
    """Green reflectance below which dense vegetation is trees, haze taken off."""
    cloudy: bool = True
    """Whether what is as bright as cloud lies in patches."""
    shortwave: bool | None = None
    """Whether there is a swir16; None where nobody has looked."""


def haze_of(bands: Mapping[str, Values]) -> dict[str, float]:
    """How much each band `(pixel,)` has too much, by the scene's darkest hundredth."""
    dark = {name: float(np.percentile(values, 1)) for name, values in bands.items()}
    first = "blue" if "blue" in dark else "red"
    if dark["red"] > dark.get("blue", dark["green"]) + 0.02:
        # even the darkest is the colour of soil: no water, no leaves, nothing whose colour is known
        return {}
    most = min(
        max(dark[first] - _DARK[first], 0.0),
        _THICKEST * (1 if first == "blue" else _THINNEST["red"]),
    )
    blue = most if first == "blue" else most / _THINNEST["red"]
    haze = {"blue": blue}
    for name in ("green", "red"):
        haze[name] = max(0.0, min(dark[name] - _DARK[name], _THINNEST[name] * blue))
    haze["nir"] = min(haze["red"] * 0.5, _THINNEST["nir"] * blue, max(0.0, dark["nir"] - 0.01))
    return {name: round(value, 4) for name, value in haze.items() if name in bands and value > 0}


def forest_green(green: Values, pixels: int) -> float:
    """The threshold of trees from the green of dense vegetation `(pixel,)` in a sample of so many
    pixels.

    The valley of the histogram, between a forest's peak and the next, that is nearest to where it
    mostly lies: conifers and broadleaves may have a peak each. Of a forest
    alone, whose spread is seen on its dark side, where nothing else is, twice that spread beyond
    its peak.
    """
    from scipy.signal import find_peaks

    low, high = _FORESTS
    if green.size < max(ENOUGH // 4, pixels // 1000):
        return _TREES_GREEN
    width = 0.001
    counts, edges = np.histogram(green, np.arange(0, 0.2001, width))
    at = edges[:-1] + width / 2
    smooth = np.convolve(counts, np.array([1, 2, 3, 4, 5, 4, 3, 2, 1]) / 25, "same")
    bottoms, shape = find_peaks(-smooth, prominence=_PEAK * smooth.max())
    deep = shape["prominences"] >= _VALLEY * (smooth[bottoms] + shape["prominences"])
    valleys = bottoms[deep & (at[bottoms] >= low) & (at[bottoms] <= high)]
    if valleys.size:
        return round(float(min(at[valleys], key=lambda green: abs(green - _TREES_GREEN))), 4)
    peak = float(at[int(smooth.argmax())])
    darker = green[green < peak]
    spread = float(np.sqrt(np.mean((darker - peak) ** 2))) if darker.size else 0.0
    if peak + spread >= _TREES_GREEN:
        return _TREES_GREEN  # it may be of forest as well as of crops
    return round(float(np.clip(peak + 2 * spread, _TREES_GREEN, high)), 4)


def lies_in_patches(bright: Mask) -> bool:
    """Whether pixels `(y, x)` lie together in squares as clouds do, and not apart as roofs."""
    count = int(np.count_nonzero(bright))
    if count == 0:
        return True  # elsewhere there may be some
    side = _WHOLE
    sums = np.pad(np.cumsum(np.cumsum(bright, 0, dtype=np.int64), 1), ((1, 0), (1, 0)))
    if min(bright.shape) < side:
        return True
    squares = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return bool(np.count_nonzero(squares == side * side) >= _PATCHY * count)
