"""What do numbers mean? The scale and offset that make them reflectance, decided from pixels.

Flags in metadata are not trusted: public catalogues carry Sentinel-2 scenes whose
`boa_offset_applied` is wrong.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr

from segmentation.chip import values
from segmentation.segmenter import Finding

_DARK_IN_NATURE = ("nir", "nir08", "nir09", "swir16", "swir22")
"""Haze hardly reaches these, and water and deep shadow reflect next to nothing in them."""
REFLECTIVE = (
    *(
        "coastal",
        "blue",
        "green05",
        "green",
        "yellow",
        "red",
        "rededge071",
        "rededge075",
        "rededge078",
    ),
    *_DARK_IN_NATURE,
)
"""Bands that measure reflected light; the others are not spoken of."""

_DARKEST_SCENE, _BRIGHTEST_SCENE = 0.02, 1.6
"""Reflectance that the brightest band of any scene exceeds in one pixel of a hundred, and that none
does: even deep water is seen through haze, and fresh snow that faces the sun does not come near the
latter."""

_DARKEST_PICTURE = 0.05
"""The same of eight bits, of which 0.0001 for each, the usual scale of sixteen, makes 0.0255 at
most."""

_DARKEST_PIXEL = 0.1
"""Reflectance below which a thousandth of nearly every scene lies in some band."""

STRETCHED = (
    "eight bits are mostly a picture, stretched for the eye band by band, and no --scale "
    "undoes that"
)
"""What is true of eight bits."""

_INSTEAD = (
    f"{STRETCHED}: train a model on it (landweave train), or split it in two (--segmenter otsu)"
)

_ENOUGH = 1024
"""Valid pixels below which nothing is inferred."""


def infer(sample: xr.Dataset) -> tuple[float, float] | None:
    """`(scale, offset)` with which the digital numbers of a sample become reflectance; None where
    that is not certain.

    Looks at the bands in "dn" whose names say what they see. Known encodings:

    - reflectance 0–1 as floating point: (1, 0), or (1, -0.1) where Sentinel-2's offset is still in
      it,
    - reflectance × 10 000 (Sentinel-2, Landsat, Planet): (0.0001, 0),
    - the same + 1000, Sentinel-2 since processing baseline 04.00: (0.0001, -0.1),
    - Landsat Collection 2 Level 2, USGS LSDS-1619: (0.0000275, -0.2).

    What is darkest in the scene decides between them. A scene without anything dark, a small
    sample, eight bits, or 11 and 12 bits (nothing above 4095) remain unknown: better a question
    than a wrong map.
    """
    # A full name may carry its source: t2.nir.
    names = [str(name).rpartition(".")[2] for name in sample["band"].values]
    units = sample["units"].values
    use = [i for i, name in enumerate(names) if units[i] == "dn" and name in REFLECTIVE]
    pixels = sample["pixels"].values
    if not use or pixels.dtype.itemsize == 1:
        return None
    # Zero in any band is no data in every encoding here, whether a file declares it or not.
    valid = sample["valid"].values & np.all(pixels[use] != 0, axis=0)
    if np.count_nonzero(valid) < _ENOUGH:
        return None

    bands = [names[place] for place in use]
    counts = pixels[use][:, valid]
    # Not the extremes: a thousandth of the pixels may be broken.
    floor, middle, ceiling = np.percentile(counts, (0.1, 50, 99.9), axis=1)

    if np.issubdtype(counts.dtype, np.floating) and ceiling.max() <= 2:
        if not _is_fraction(counts, floor, ceiling):
            return None
        return (1.0, -0.1) if _is_offset_by_1000(bands, floor * 10_000) else (1.0, 0.0)
    if counts.max() <= 4095:
        return None
    if _is_collection_2(bands, floor, middle, ceiling):
        return 0.0000275, -0.2
    # beyond any reflectance
    if middle.max() > 12_000 or ceiling.max() > 20_000 or floor.min() < -2000:
        return None
    if floor.min() < 500:
        return 0.0001, 0.0
    if _is_offset_by_1000(bands, floor):
        return 0.0001, -0.1
    return None


def doubts(sample: xr.Dataset) -> tuple[Finding, ...]:
    """What speaks against the reflectance of a sample, whoever said how its numbers become one.

    Refused is a scale that makes the whole scene darker than water or brighter than snow. Warned
    about is an offset left in, a scene in which nothing at all is dark, and eight bits under one
    scale for all bands: such pictures are stretched for the eye, each band for itself, and no scale
    undoes that.
    """
    names = [str(name).rpartition(".")[2] for name in sample["band"].values]
    units = sample["units"].values
    use = [i for i, name in enumerate(names) if units[i] == "reflectance" and name in REFLECTIVE]
    valid = sample["valid"].values
    bits = sample["pixels"].dtype.itemsize * 8
    # of eight bits much is known beforehand
    if not use or np.count_nonzero(valid) < (1 if bits == 8 else _ENOUGH):
        return ()
    seen = values(sample.isel(band=use)).values[:, valid]
    floor, ceiling = np.percentile(seen, (0.1, 99), axis=1)
    calibrations = {(sample["scale"].values[i], sample["offset"].values[i]) for i in use}
    formulas = " and ".join(sorted(f"× {scale:g} {offset:+g}" for scale, offset in calibrations))
    brightest, darkest = float(ceiling.max()), float(floor.min())
    least = _DARKEST_PICTURE if bits == 8 else _DARKEST_SCENE
    if not least <= brightest <= _BRIGHTEST_SCENE:
        what = "no more than that of deep water" if brightest < least else "more than snow reflects"
        mend = _INSTEAD if bits == 8 else "correct --scale and --offset"
        text = (
            f"pixels {formulas} give a reflectance of {brightest:.3g} in its brightest band (99 of "
            f"100 pixels are below), {what}; {mend}"
        )
        return (Finding("refuse", text),)
    if bits == 8 and len(calibrations) == 1:
        text = f"pixels {formulas} are taken for reflectance because you say so; {_INSTEAD}"
    elif _is_offset_by_1000([names[i] for i in use], floor * 10_000):
        text = (
            f"its darkest pixels reflect {darkest:.2f} in every band, as where the offset of "
            "Sentinel-2 since January 2022 is still in them; say --offset -0.1 with the --scale "
            "that holds"
        )
    elif darkest > _DARKEST_PIXEL:
        text = (
            f"no pixel reflects less than {darkest:.2f} in any band, though water and shadow do; "
            "look closely at the result, and check --scale and --offset"
        )
    else:
        return ()
    return (Finding("warn", text),)


def _is_fraction(
    counts: npt.NDArray[np.generic],
    floor: npt.NDArray[np.float64],
    ceiling: npt.NDArray[np.float64],
) -> bool:
    """Whether floating point is reflectance, and not eight bits divided by 255."""
    sample = counts[:, : 1 << 16].astype(np.float64) * 255
    stretched = np.allclose(sample, np.round(sample), atol=1e-3)
    return bool(floor.min() > -0.2 and ceiling.max() > 0.05 and not stretched)


def _is_collection_2(
    bands: list[str],
    floor: npt.NDArray[np.float64],
    middle: npt.NDArray[np.float64],
    ceiling: npt.NDArray[np.float64],
) -> bool:
    """Whether the darkest pixels lie where Collection 2 puts no reflectance, 0.2 / 0.0000275 =
    7273.

    The same counts × 10 000 would be a scene of nothing but cloud, so something must be too bright
    for that. Landsat's uncorrected Level 1 also starts near there; but in it haze lifts the darkest
    blue above the darkest green.
    """
    if not {"blue", "green"} <= set(bands):
        return False
    blue, green = floor[bands.index("blue")], floor[bands.index("green")]
    dark = (floor >= 6400) & (floor <= 9500)
    return bool(
        floor.min() >= 6400
        and 2 * dark.sum() >= len(bands)
        and blue <= green + 500
        and (middle.max() >= 12_500 or ceiling.max() >= 20_000)
    )


def _is_offset_by_1000(bands: list[str], floor: npt.NDArray[np.float64]) -> bool:
    """Whether the darkest pixels of several bands stop just above 1000, an infrared one without
    haze among them.

    Bright soil also has nothing below 1000, but is then brighter towards the infrared: water and
    shadow are not.
    """
    infrared = [dark for name, dark in zip(bands, floor, strict=True) if name in _DARK_IN_NATURE]
    visible = [dark for name, dark in zip(bands, floor, strict=True) if name not in _DARK_IN_NATURE]
    near = (floor >= 900) & (floor <= 1500)
    return bool(
        floor.min() >= 900
        and 2 * near.sum() >= len(bands)
        and infrared
        and visible
        and 900 <= min(infrared) <= 1400
        and min(infrared) <= max(visible) + 100
    )
