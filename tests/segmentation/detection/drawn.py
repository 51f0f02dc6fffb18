"""Small detectors, and scenes of discs and rectangles that they learn."""

from __future__ import annotations

from segmentation.legend import LandClass, Legend
from segmentation.models.card import BandCard, Card, DetectorModel

BANDS = ("red", "nir")


def card_of(bands: int = 2, tile: int = 64, margin: int = 32, **more: object) -> Card:
    """A detector of one class."""
    model = DetectorModel.model_validate(
        {"encoder": "resnet18", "width": 16, "tile": tile, "margin": margin, "support": None,
         "anchors": (8.0, 16.0, 32.0), "stem": 2} | more
    )  # fmt: skip
    names = [*BANDS, *(f"b{n}" for n in range(2, bands))][:bands]
    return Card(
        name="drawn",
        bands=tuple(BandCard(name=name, units="dn", mean=100, std=50) for name in names),
        gsd=10,
        legend=Legend(
            classes=(
                LandClass(value=1, name="Background", colour="#d9d9d9"),
                LandClass(value=2, name="Object", colour="#e0c766"),
            )
        ),
        model=model,
        training={},
        metrics={},
        licence="not stated",
    )
