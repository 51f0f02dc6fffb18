"""A bundle's network as an ONNX file for other programs, with what the QGIS plug-in Deepness wants
to know of it.

Deepness (https://github.com/PUTvision/qgis-plugin-deepness,
src/deepness/processing/models/model_base.py) hands every model `pixels / 255` in float32, whatever
the raster's type; 0 is what it puts beyond the raster. All that turns this into what the network
was trained on is therefore part of the graph, and so is the softmax.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from segmentation.errors import InputError
from segmentation.interchange.import_checkpoint import stand_ins
from segmentation.models.bundle import Bundle
from segmentation.models.card import BandCard, Card, NetworkModel
from segmentation.models.processing import is_plain

if TYPE_CHECKING:
    import torch

OPSET = 18
"""Read by ONNX Runtime 1.14 and later; QGIS comes with old ones."""

ALIKE = 0.9999
"""Share of labels in which ONNX Runtime must agree with torch before a file is written."""

_CORE = 512
"""Least length of a tile in pixels, if nobody says otherwise."""

_TWICE = 1.6
"""How many pixels may be computed for each that Deepness keeps."""


class Tiling(NamedTuple):
    """Size and overlap of the tiles into which Deepness should cut a scene."""

    size: int
    """Length of a tile in pixels."""
    overlap: int
    """Percent of it that neighbours share."""


class Exported(NamedTuple):
    """The ONNX file that was written, with the tiles, scales and offsets it takes."""

    file: Path
    tiling: Tiling
    scale: tuple[float, ...]
    """For each band: what the raster's pixels are multiplied with."""
    offset: tuple[float, ...]
    agreement: float
    """Share of labels in which ONNX Runtime and torch agreed."""


def export(
    bundle: Bundle,
    file: Path,
    *,
    scale: float | None = None,
    offset: float = 0.0,
    tile: int | None = None,
) -> Exported:
    """Write the network of a bundle to `file`, float32 `(batch, band, size, size)` in,
    probabilities by class out.

    Reflectance = pixel × scale + offset in the rasters it will see; by default as is usual for the
    type of those it was trained on. `tile` is the size of a tile; by default one that wastes
    little, or for what looks at all of a chip, its chips' own. The file is there whole, and checked
    with ONNX Runtime, or not at all. Raises `InputError` for a network that cannot be exported.
    """
    _need_onnx()
    card = bundle.card
    network = card.network
    _check_file(file)
    if not is_plain(card.preprocessing):
        raise InputError(
            f"bundle {card.name} has a preprocessing of its own, and an exported graph does no "
            "more than (value - mean) / std; run it here instead"
        )
    if not (scale is None or 0 < scale < math.inf) or not math.isfinite(offset):
        raise InputError(
            f"pixels × {scale} + {offset} is no reflectance; say a --scale above 0 and an "
            "--offset, or neither"
        )
    if network.forest is not None:
        raise InputError(
            f"bundle {card.name} holds a forest beside its network, and ONNX has no place for it; "
            "train one alone, landweave train --architecture fullunet"
        )
    if tile is None and network.support is None:
        tiling = as_chips(network)
    else:
        tiling = tiling_for(network.margin, network.stride, tile)
    scales = tuple(_scale(card, band, scale) for band in card.bands)
    offsets = tuple(offset if band.units == "reflectance" else 0.0 for band in card.bands)
    graph = _graph(bundle, scales, offsets)
    content = _model_of(graph, card, tiling.size, _metadata(bundle, tiling, scales, offsets))
    agreement = _agreement(graph, content, card, tiling.size, scales, offsets)
    if agreement < ALIKE:
        raise InputError(
            f"{file} is not written: ONNX Runtime and torch agree on {agreement:.4%} of labels "
            f"alone, less than {ALIKE:.2%}; export another architecture"
        )
    _write(file, content)
    return Exported(file, tiling, scales, offsets, agreement)


def _model_of(graph: torch.nn.Module, card: Card, size: int, metadata: Mapping[str, Any]) -> bytes:
    """An ONNX file of a network with what it sees before it, for chips of `size`, checked."""
    import onnx
    import torch

    example = torch.zeros(1, len(card.bands), size, size)
    try:
        program = torch.onnx.export(
            graph,
            (example,),
            input_names=["pixels"],
            output_names=["probabilities"],
            opset_version=OPSET,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"{card.network.architecture} on {card.network.encoder} of bundle {card.name} has "
            f"parts that ONNX {OPSET} has no word for ({reason}); export another architecture"
        ) from error
    assert program is not None
    model: Any = program.model_proto
    # The exporter's own notes, with the folders of this machine in them, are nobody's business.
    for node in [*model.graph.node, *model.graph.value_info]:
        del node.metadata_props[:]
        node.doc_string = ""
    del model.metadata_props[:]
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=json.dumps(value))
    model.doc_string = (
        f"{card.name}. Bands in this order: {', '.join(card.band_names)}. Licence: {card.licence}."
    )
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def _write(file: Path, content: bytes) -> None:
    temporary = _beside(file)
    try:
        temporary.write_bytes(content)
        temporary.replace(file)
    except OSError as error:
        raise _unwritten(file, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _check_file(file: Path) -> None:
    """Say before the network is translated that its file cannot be written."""
    if file.is_dir():
        raise InputError(
            f"cannot write {file}: it is a folder; name a file with --out, such as "
            f"{file / 'model.onnx'}"
        )
    try:
        if not file.parent.exists():
            file.parent.mkdir(parents=True)
        _beside(file).touch()
        _beside(file).unlink()
    except OSError as error:
        raise _unwritten(file, error) from error


def _beside(file: Path) -> Path:
    """The temporary name beside a file under which its content is written."""
    return file.with_name(f".{file.name}.{os.getpid()}.tmp")


def _unwritten(file: Path, error: OSError) -> InputError:
    return InputError(f"cannot write {file}: {error.strerror}; name another file with --out")


def tiling_for(margin: int, stride: int, size: int | None = None) -> Tiling:
    """Tiles that overlap by two margins at least, and start at multiples of the stride as seen from
    the first one.

    Deepness gives half of an overlap to each neighbour, and takes overlaps in whole percents.
    Raises `InputError` where no overlap does for a tile of `size` px.
    """

    def fitting(length: int) -> list[Tiling]:
        return [
            Tiling(length, percent)
            for percent in range(100)
            if length * percent >= 200 * margin and length * (100 - percent) % (100 * stride) == 0
        ]

    if size is not None:
        if size % stride or not fitting(size):
            raise InputError(
                f"--tile {size}: Deepness cannot cut tiles of {size} px that overlap by "
                f"{2 * margin} px and start at "
                f"multiples of {stride}; leave it out, or try {tiling_for(margin, stride).size}"
            )
        return fitting(size)[0]
    least = -(-_CORE // stride) * stride
    most = 2 * (least + margin) + stride
    every = [tiling for length in range(least, most, stride) for tiling in fitting(length)[:1]]
    # The smallest that computes few pixels twice, else the one that computes fewest.
    thrifty = [tiling for tiling in every if (1 - tiling.overlap / 100) ** -2 <= _TWICE]
    return thrifty[0] if thrifty else min(every, key=lambda tiling: tiling.overlap)


def as_chips(network: NetworkModel) -> Tiling:
    """Tiles as long as the chips here, for what looks at all of a chip: larger ones would show it
    other sights.

    They start at multiples of the stride where an overlap of two margins in whole percents, or of
    half a tile at most, lets them.
    """
    length = network.tile + 2 * network.margin
    least = -(-200 * network.margin // length)
    whole = (p for p in range(least, 51) if length * (100 - p) % (100 * network.stride) == 0)
    return Tiling(length, next(whole, least))


def _scale(card: Card, band: BandCard, given: float | None) -> float:
    if band.units == "dn":
        return 1.0
    if given is not None:
        return given
    usual = {"uint8": 1 / 255, "uint16": 1e-4, "int16": 1e-4, "float32": 1.0, "float64": 1.0}
    if band.dtype not in usual:
        raise InputError(
            f"bundle {card.name} does not say what files it was trained on; say how pixels become "
            "reflectance, "
            "for example --scale 0.0001"
        )
    return usual[band.dtype]


def _graph(bundle: Bundle, scales: Sequence[float], offsets: Sequence[float]) -> torch.nn.Module:
    """Pixels / 255 → probabilities, in torch: the reference for what is exported."""
    import torch

    from segmentation.networks.outputs import as_class_logits
    from segmentation.networks.restore import load_network

    card = bundle.card
    model = as_class_logits(load_network(bundle), card.activation, len(card.legend))
    mean, std = (np.array([getattr(band, what) for band in card.bands]) for what in ("mean", "std"))
    # One multiplication and one addition, in double precision until here.
    factor, summand = np.array(scales) / std, (np.array(offsets) - mean) / std
    integers = all(band.dtype and not band.dtype.startswith("float") for band in card.bands)

    class Graph(torch.nn.Module):
        factor: torch.Tensor
        summand: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.model = model.eval()
            self.register_buffer(
                "factor", torch.tensor(factor.reshape(1, -1, 1, 1), dtype=torch.float32)
            )
            self.register_buffer(
                "summand", torch.tensor(summand.reshape(1, -1, 1, 1), dtype=torch.float32)
            )

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            values = pixels * 255
            if integers:
                values = values.round()  # exactly what the raster holds, up to 2²⁴
            # Beyond the raster Deepness says 0 in every band; a network here sees 0 there after
            # normalisation.
            there = (pixels != 0).any(1, keepdim=True)
            seen = (values * self.factor + self.summand) * there
            return (self.model(seen) / card.network.temperature).softmax(1)

    return Graph().eval()


def _metadata(
    bundle: Bundle, tiling: Tiling, scales: Sequence[float], offsets: Sequence[float]
) -> dict[str, Any]:
    """What Deepness reads, by its names, and under ours what a person may ask later."""
    card = bundle.card
    return {
        "model_type": "Segmentor",
        "class_names": {str(place): one.name for place, one in enumerate(card.legend.each())},
        "resolution": 100 * card.pixel,  # centimetres
        "tile_size": tiling.size,
        "tiles_overlap": tiling.overlap,
        # Its defaults would turn pixels without a class above one half into the first class, and
        # blur the map.
        "seg_thresh": 0.0,
        "seg_small_segment": 0,
        # Without these, versions that know them assume three bands.
        "standardization_mean": [0.0] * len(card.bands),
        "standardization_std": [1.0] * len(card.bands),
        "landweave": {
            "bundle": card.name,
            "digest": bundle.digest,
            "bands": list(card.band_names),
            "scale": list(scales),
            "offset": list(offsets),
            "classes": {str(one.value): [one.name, one.colour] for one in card.legend.each()},
            "licence": card.licence,
        },
    }


def _agreement(
    graph: torch.nn.Module,
    content: bytes,
    card: Card,
    size: int,
    scales: Sequence[float],
    offsets: Sequence[float],
) -> float:
    """Share of labels alike in torch and ONNX Runtime, in a batch of two chips like those of the
    training data."""
    import torch

    pixels = np.stack(
        [_as_pixels(chip, card, scales, offsets) for chip in stand_ins(len(card.bands), 2, size)]
    )
    pixels[0, :, : size // 4] = 0  # beyond a raster
    with torch.inference_mode():
        expected = graph(torch.from_numpy(pixels)).argmax(1).numpy()
    (found,) = session(content).run(None, {"pixels": pixels})
    return float(np.mean(np.asarray(found).argmax(1) == expected))


def _as_pixels(
    chip: npt.NDArray[np.float32], card: Card, scales: Sequence[float], offsets: Sequence[float]
) -> npt.NDArray[np.float32]:
    """A normalised chip as Deepness would hand it over: `(band, y, x)`, pixels / 255."""
    facts = [
        (band.mean, band.std, scale, offset)
        for band, scale, offset in zip(card.bands, scales, offsets, strict=True)
    ]
    mean, std, scale, offset = (
        np.reshape(column, (-1, 1, 1)) for column in zip(*facts, strict=True)
    )
    stored = (chip * std + mean - offset) / scale
    for band, told in zip(stored, card.bands, strict=True):
        if told.dtype and not told.dtype.startswith("float"):
            limits = np.iinfo(told.dtype)
            band[:] = band.round().clip(limits.min, limits.max)
    return (stored / 255).astype(np.float32)


def session(content: bytes) -> Any:
    """An ONNX Runtime session on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _need_onnx() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if find_spec(name) is None]
    if missing:
        raise InputError(
            f"exporting needs {', '.join(missing)}; install them: pip install 'landweave[onnx]'"
        )
