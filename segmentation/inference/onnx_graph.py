"""A trained network as an ONNX graph on a chip: whatever its architecture, run by ONNX Runtime."""

from __future__ import annotations

from typing import ClassVar, Literal

from segmentation.errors import InputError
from segmentation.graphs.session import provider_of
from segmentation.inference.device import Device
from segmentation.inference.labelling import InferenceOptions
from segmentation.inference.network import ChipSegmenter
from segmentation.models.card import OnnxModel
from segmentation.segmenter import Footprint


class OnnxGraph(ChipSegmenter):
    """A trained network as an ONNX graph, of any architecture; needs ONNX Runtime."""

    revision: ClassVar[int] = 1

    kind: Literal["onnx"] = "onnx"

    @property
    def _chips(self) -> OnnxModel:
        return self.loaded_bundle.card.graph

    @property
    def footprint(self) -> Footprint:
        """In pixels of the scene; `InputError` where chips of one size are no whole number of
        them."""
        plain, size, zoom = super().footprint, self._chips.size, self.zoom or 1
        if size is None or zoom < 2:
            return plain
        if size % zoom:
            raise InputError(
                f"{self.loaded_bundle.card.name} takes chips of {size} px alone, which zoom {zoom} "
                "does not divide; --set zoom=1 shows it the pixels of the scene"
            )
        margin = min(plain.margin, (size // zoom - 1) // 2)
        return plain._replace(tile=size // zoom - 2 * margin, margin=margin)

    @property
    def _own_footprint(self) -> Footprint:
        """As the card says; of a graph that takes chips of one size, such that these are what it
        gets.

        Raises `InputError` where a tile and a margin are asked for that make other chips.
        """
        size = self._chips.size
        plain = super()._own_footprint
        if size is None:
            return plain
        margin = plain.margin
        if self.margin is None and self.tile is not None:
            margin = max(0, size - self.tile) // 2
        tile = max(1, size - 2 * margin) if self.tile is None else self.tile
        if tile + 2 * margin != size:
            raise InputError(
                f"{self.loaded_bundle.card.name} takes chips of {size} px alone, and tile {tile} "
                f"with margin {margin} makes {tile + 2 * margin}; leave both out, or name one that "
                "leaves an even rest"
            )
        return plain._replace(tile=tile, margin=margin)

    @property
    def _computing(self) -> tuple[Device, InferenceOptions]:
        wish = InferenceOptions("onnx", self.tta, self.measures, self.ranges)
        return "cpu", wish._replace(provider=provider_of(self.device), zoom=self.zoom or 1)
