"""What tells land apart, as classes: `lw.segmenters.Otsu(index="NDWI")`.

A map is made with one of these or with its name, `lw.segment(scene, out, segmenter="otsu",
index="NDWI")`; those of other packages are named alike, by their kind.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segmentation.classical.adaptive import Adaptive as Adaptive
    from segmentation.classical.clustering import GaussianMixture as GaussianMixture
    from segmentation.classical.clustering import KMeans as KMeans
    from segmentation.classical.clustering import MiniBatchKMeans as MiniBatchKMeans
    from segmentation.classical.histogram_thresholds import Threshold as Threshold
    from segmentation.classical.rules import Rules as Rules
    from segmentation.classical.spectral_angle import SpectralAngle as SpectralAngle
    from segmentation.classical.thresholds import Otsu as Otsu
    from segmentation.forests.forest import Forest as Forest
    from segmentation.inference.network import Network as Network
    from segmentation.inference.onnx_graph import OnnxGraph as OnnxGraph

HOMES = {
    "Rules": "segmentation.classical.rules",
    "Otsu": "segmentation.classical.thresholds",
    "Threshold": "segmentation.classical.histogram_thresholds",
    "Adaptive": "segmentation.classical.adaptive",
    "KMeans": "segmentation.classical.clustering",
    "MiniBatchKMeans": "segmentation.classical.clustering",
    "GaussianMixture": "segmentation.classical.clustering",
    "SpectralAngle": "segmentation.classical.spectral_angle",
    "Forest": "segmentation.forests.forest",
    "Network": "segmentation.inference.network",
    "OnnxGraph": "segmentation.inference.onnx_graph",
}
"""In which module each class stands."""

__all__ = [
    "Adaptive",
    "Forest",
    "GaussianMixture",
    "KMeans",
    "MiniBatchKMeans",
    "Network",
    "OnnxGraph",
    "Otsu",
    "Rules",
    "SpectralAngle",
    "Threshold",
]


def __getattr__(name: str) -> Any:
    """A segmenter's class, loaded when it is first asked for."""
    if name not in HOMES:
        raise AttributeError(f"module 'landweave.segmenters' has no attribute {name!r}")
    value = getattr(import_module(HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
