"""Classes by the angle between the spectrum of a pixel and given ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import isfinite
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import xarray as xr
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from segmentation.chip import values
from segmentation.classical.cluster_fits import true_colours
from segmentation.classical.clustering import KMeans
from segmentation.classical.quantity import find_band
from segmentation.errors import InputError
from segmentation.legend import LandClass, Legend
from segmentation.segmenter import Prediction, Segmenter
from segmentation.spectral.indices import mend

Matrix = npt.NDArray[np.float64]

_BLOCK = 1 << 13
"""Pixels judged at once: what lies in between stays in the processor's cache."""

_UNLIKE = "Unclassified"
_EXAMPLE = "spectra='Water green=0.06 nir=0.02; Crops green=0.08 nir=0.45'"


def _write_out(value: Any) -> Any:
    """A mapping of names to mappings of bands to numbers, as YAML and JSON have it, as text."""
    if not isinstance(value, Mapping):
        return value
    if not all(isinstance(bands, Mapping) for bands in value.values()):
        raise InputError("spectra maps each name to its bands: Water: {green: 0.06, nir: 0.02}")
    return "; ".join(
        " ".join([str(name), *(f"{band}={number}" for band, number in bands.items())])
        for name, bands in value.items()
    )


class Spectra(BaseModel):
    """Spectra with a name and a colour each, in the units of the scene's bands."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bands: tuple[str, ...]
    names: tuple[str, ...]
    spectra: tuple[tuple[float, ...], ...]
    colours: tuple[str, ...]


class SpectralAngle(Segmenter):
    """Classes by spectra: a pixel has the class whose spectrum lies at the least angle to its own,
    whatever the light.

    The spectral angle mapper of Kruse et al. (1993), doi:10.1016/0034-4257(93)90013-N: the angle in
    radians between two spectra as vectors, which shadow and slope, that make both shorter alike, do
    not change. Spectra are given, in the units of the scene's bands, or, where none are, the means
    of k clusters by `kmeans` in a sample of the scene. A pixel further than `angle` from all of
    them is unclassified, and so is one that is 0 in all bands. Confidence is 100 at a spectrum and
    0 at `angle` from it; it is no probability.
    """

    needs_sample: ClassVar[bool] = True
    one_fit: ClassVar[bool] = True
    meanings: ClassVar[Mapping[str, str]] = {
        "the names of spectra": "pixels whose spectrum points there; Spectrum 1, 2, … of clusters, "
        "from the least green up",
        _UNLIKE: "further than angle from every spectrum",
    }

    kind: Literal["spectral-angle"] = "spectral-angle"

    spectra: Annotated[
        str,
        BeforeValidator(_write_out),
        Field(
            title="Spectra",
            description="A name and the value of each band, between semicolons: Water green=0.06 "
            "nir=0.02; Crops green=0.08 nir=0.45. If empty, means of clusters.",
        ),
    ] = ""
    angle: Annotated[
        float,
        Field(
            gt=0,
            le=3.2,
            json_schema_extra={"unit": "rad"},
            title="Widest angle",
            description="A pixel further than this from every spectrum is unclassified.",
        ),
    ] = 0.1
    k: Annotated[
        int,
        Field(ge=2, le=30, title="Clusters", description="Where no spectra are given: how many."),
    ] = 6
    fitted: Annotated[
        Spectra | None, Field(title="Spectra", description="Found in the scene; leave it empty.")
    ] = None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        _ = self.legend
        return self

    def bands(self, available: Collection[str]) -> tuple[str, ...]:
        given = _parse(self.spectra)
        if not given:
            if len(available) < 2:
                raise InputError(
                    f"an angle needs two bands; there are {', '.join(available) or 'no bands'}"
                )
            return tuple(available)
        needed = next(iter(given.values()))
        read = [find_band(band, available) for band in needed]
        if None in read:
            raise InputError(
                f"spectral-angle needs {', '.join(needed)}, the bands of its spectra; there are "
                f"{', '.join(available) or 'no bands'}: {mend(tuple(needed), available)}"
            )
        return tuple(band for band in read if band is not None)

    @property
    def legend(self) -> Legend:
        names = self._names
        colours = self.fitted.colours if self.fitted else ("#808080",) * len(names)
        classes = zip((*names, _UNLIKE), (*colours, "#b06fc0"), strict=True)
        return Legend(
            classes=tuple(
                LandClass(value=value, name=name, colour=colour)
                for value, (name, colour) in enumerate(classes, start=1)
            )
        )

    def fit(self, sample: xr.Dataset | None) -> Self:
        """With spectra: given ones, or the means of clusters of the sample."""
        if self.fitted is not None:
            return self
        if sample is None:
            raise RuntimeError("spectral-angle is fitted on a sample")
        bands = tuple(str(name) for name in sample["band"].values)
        if given := _parse(self.spectra):
            spectra = np.array([list(one.values()) for one in given.values()])
            names = tuple(given)
        else:
            clusters = KMeans(k=self.k).fit(sample).fitted
            assert clusters is not None
            spectra = clusters.scaling.undo(np.array(clusters.centres).T).T
            names = tuple(f"Spectrum {number}" for number in range(1, len(spectra) + 1))
        fitted = Spectra(
            bands=bands,
            names=names,
            spectra=tuple(tuple(map(float, one)) for one in spectra),
            colours=true_colours(spectra, bands, sample),
        )
        return self.model_copy(update={"fitted": fitted})

    @property
    def fit_summary(self) -> str:
        """Which spectra are looked for, and how far a pixel may be from them."""
        if self.fitted is None:
            return ""
        return f"{', '.join(self.fitted.names)}, each within {self.angle:g} rad"

    def __call__(self, chip: xr.Dataset) -> Prediction:
        if self.fitted is None:
            raise RuntimeError("spectral-angle has no spectra yet: fit it on a sample first")
        valid = chip["valid"].values
        pixels = values(chip).values.reshape(len(self.fitted.bands), -1)
        labels, confidence = np.zeros((2, valid.size), np.uint8)
        for start in range(0, valid.size, _BLOCK):
            block = slice(start, start + _BLOCK)
            angles = _angles(pixels[:, block].astype(np.float64), self.fitted.spectra)
            least = angles.min(axis=0)
            unlike = ~(least <= self.angle)
            labels[block] = np.where(unlike, len(angles), angles.argmin(axis=0)) + 1
            share = np.where(unlike, 0, 1 - least / self.angle)
            confidence[block] = 100 * share
        return Prediction(labels.reshape(valid.shape) * valid, confidence.reshape(valid.shape))

    @property
    def _names(self) -> tuple[str, ...]:
        if self.fitted:
            return self.fitted.names
        given = tuple(_parse(self.spectra))
        return given or tuple(f"Spectrum {number}" for number in range(1, self.k + 1))


def _angles(pixels: Matrix, spectra: Collection[Collection[float]]) -> Matrix:
    """`(spectrum, pixel)` in radians, NaN where a pixel `(band, pixel)` has no length; bands are
    summed in their order."""
    length = np.sqrt(sum(band**2 for band in pixels))
    angles = np.empty((len(spectra), pixels.shape[1]))
    with np.errstate(invalid="ignore", divide="ignore"):
        for row, spectrum in zip(angles, spectra, strict=True):
            along = sum(band * part for band, part in zip(pixels, spectrum, strict=True))
            size = np.sqrt(sum(part**2 for part in spectrum))
            row[:] = np.arccos(np.clip(along / (length * size), -1, 1))
    return angles


def _parse(text: str) -> dict[str, dict[str, float]]:
    """Each spectrum by its name: the value of each band; `InputError` where they do not fit each
    other."""
    spectra: dict[str, dict[str, float]] = {}
    for one in filter(None, (part.strip() for part in text.split(";"))):
        words = one.split()
        name = " ".join(word for word in words if "=" not in word)
        try:
            bands = {band: float(number) for band, _, number in map(_split, words) if number}
        except ValueError as error:
            raise InputError(f"spectra: {one} has a value that is no number") from error
        if not name or len(bands) < 2 or not all(map(isfinite, bands.values())):
            raise InputError(
                f"spectra: {one} is no name with the values of two bands or more; write for "
                f"example {_EXAMPLE}"
            )
        if name in spectra:
            raise InputError(f"spectra has {name} twice; give each its own name")
        if not any(bands.values()):
            raise InputError(f"spectra: {name} is 0 in every band and points nowhere")
        spectra[name] = bands
    first = next(iter(spectra.values()), {})
    for name, bands in spectra.items():
        if bands.keys() != first.keys():
            raise InputError(
                f"spectra: {name} has {', '.join(bands)} and the first {', '.join(first)}; give "
                "all of them the same bands"
            )
    return {name: {band: bands[band] for band in first} for name, bands in spectra.items()}


def _split(word: str) -> tuple[str, str, str]:
    return word.partition("=")
