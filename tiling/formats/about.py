"""What a product says of itself: title, abstract, day, lineage and licence, in the words of QGIS
and of GDAL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from tiling.formats.qml import QGIS, document


@dataclass(frozen=True)
class About:
    """What a person who opens a file later wants to know of it."""

    title: str = ""
    abstract: str = ""
    days: Sequence[str] = ()
    """Of the images it was made of, as 2024-06-30, the first first."""
    history: Sequence[str] = ()
    """What it was made of and with, a sentence each: its lineage."""
    licence: str = ""
    """Under which others may use it; empty where nobody said."""

    @property
    def tags(self) -> dict[str, str]:
        """Tags of a GeoTIFF: those of TIFF 6.0 under GDAL's names, and two of our own."""
        tags = {
            "TIFFTAG_IMAGEDESCRIPTION": ". ".join(filter(None, (self.title, self.abstract))),
            "TIFFTAG_COPYRIGHT": self.licence,
            "ACQUIRED": "/".join(dict.fromkeys((self.days[0], self.days[-1]))) if self.days else "",
            "LINEAGE": ". ".join(self.history),
        }
        return {name: text for name, text in tags.items() if text}

    def add_to(self, parent: ET.Element) -> None:
        """Put the elements that QGIS reads, the same in `.qmd` files, projects, their layers and
        GeoPackages."""
        for tag, text in (("type", "dataset"), ("title", self.title), ("abstract", self.abstract)):
            ET.SubElement(parent, tag).text = text
        if self.licence:
            ET.SubElement(parent, "license").text = self.licence
        if self.days:
            time = ET.SubElement(ET.SubElement(parent, "extent"), "temporal")
            if self.days[0] == self.days[-1]:
                ET.SubElement(time, "instant").text = f"{self.days[0]}T00:00:00"
            else:
                period = ET.SubElement(time, "period")
                ET.SubElement(period, "start").text = f"{self.days[0]}T00:00:00"
                ET.SubElement(period, "end").text = f"{self.days[-1]}T23:59:59"
        for sentence in self.history:
            ET.SubElement(parent, "history").text = sentence

    @property
    def qmd(self) -> str:
        """Text of the `.qmd` beside a raster, from which QGIS fills the layer's metadata."""
        root = ET.Element("qgis", version=QGIS)
        self.add_to(root)
        return document(root)

    @property
    def credits(self) -> str:
        """A line for the foot of a sheet."""
        return " · ".join(
            filter(None, (*self.history, f"Licence: {self.licence}" if self.licence else ""))
        )
