"""What segmenters that were trained have in common: settings beside a bundle, bound to its
content."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Self

import xarray as xr
from pydantic import AfterValidator, Field

from segmentation.errors import InputError
from segmentation.legend import Legend
from segmentation.models.bundle import Bundle, load, names
from segmentation.models.hub import fetch_bundle, is_id
from segmentation.models.known_models import cached_known, known_names
from segmentation.segmenter import Finding, Segmenter
from segmentation.spectral.indices import mend


def _here(bundle: str) -> str:
    """Workers may start in another folder, and ask no hub; a packaged bundle has only its name."""
    if is_id(bundle):
        return str(fetch_bundle(bundle))
    if bundle in known_names() and not Path(bundle).exists():
        return str(cached_known(bundle))
    return bundle if bundle in names() else str(Path(bundle).expanduser().absolute())


BundleFolder = Annotated[
    str,
    AfterValidator(_here),
    Field(
        description="Folder of the trained model, its hf:// id, or the name of one that comes "
        "with the package."
    ),
]


class TrainedSegmenter(Segmenter):
    """A trained model and the settings it runs with."""

    needs_reflectance: ClassVar[bool] = True
    inspects: ClassVar[bool] = True

    bundle: BundleFolder = "demo"
    fitted: Annotated[str | None, Field(description="Hash of the bundle; filled in by fit.")] = None

    def reflectance_bands(self, bands: Sequence[str]) -> Sequence[str]:
        """The bands learnt as reflectance; those learnt as digital numbers stay that."""
        units = {band.name: band.units for band in self.loaded_bundle.card.bands}
        return [band for band in bands if units[band] == "reflectance"]

    def bands(self, available: Collection[str]) -> tuple[str, ...]:
        card = self.loaded_bundle.card
        missing = [band for band in card.band_names if band not in available]
        if missing:
            sources = {band.partition(".")[0] for band in missing if "." in band}
            absent = sorted(sources - {band.partition(".")[0] for band in available if "." in band})
            add = " and ".join(f"{source}=FILE" for source in absent)
            mended = f"add {add} to the scene" if absent else mend(card.band_names, available)
            raise InputError(
                f"{card.model.kind} {card.name} also needs {', '.join(missing)}, and the scene has "
                f"{', '.join(available)}; {mended} or choose another --segmenter"
            )
        return card.band_names

    @property
    def legend(self) -> Legend:
        return self.loaded_bundle.card.legend

    def fit(self, sample: xr.Dataset | None) -> Self:
        """This model bound to the content of its bundle: a worker that finds another one there
        refuses."""
        bundle = self.loaded_bundle
        bundle.check()
        return self.model_copy(update={"fitted": bundle.digest})

    def inspect(self, sample: xr.Dataset, gsd: float) -> tuple[Finding, ...]:
        from segmentation.models.preflight import inspect

        return inspect(self.loaded_bundle.card, sample, gsd)

    @property
    def loaded_bundle(self) -> Bundle:
        """The bundle; `InputError` where it is not the one this segmenter was fitted to."""
        bundle = load(self.bundle)
        if self.fitted not in (None, bundle.digest):
            raise InputError(
                f"bundle {self.bundle} has changed: this run began with {self.fitted} and finds "
                f"{bundle.digest}; "
                "bring the old one back or start the run afresh"
            )
        return bundle
