"""What is fed to what: each target takes the bytes of a file, and either returns or raises a
`InputError` of one line.

Anything else (another error, a crash, a hang, a gigabyte) is a finding.
"""

from __future__ import annotations

import json
import random
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affine import Affine

from segmentation.errors import InputError as ModelMistake
from tiling.errors import InputError

Mutator = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class Target:
    """One way in for a file that somebody else made."""

    meet: Callable[[Path], None]
    """Does with the file at that path what the command line would do first."""
    suffix: str
    seeds: Callable[[], list[bytes]]
    """Small files that are in order."""
    mutate: Mutator | None = None
    """Changes what plain changes of bytes seldom hit."""


def check(target: Target, content: bytes) -> str | None:
    """What the person is told of a file with that content; None where it is taken. Raises what must
    not happen."""
    with tempfile.TemporaryDirectory(
        dir="/dev/shm" if Path("/dev/shm").is_dir() else None
    ) as folder:
        path = Path(folder) / f"x{target.suffix}"
        path.write_bytes(content)
        try:
            target.meet(path)
        except (InputError, ModelMistake) as mistake:
            sentence = str(mistake)
            if not sentence or not sentence.isprintable():
                raise AssertionError(f"not one line: {sentence!r}") from mistake
            return sentence
    return None


# ------------------------------------------------------------------------------------------ rasters


def meet_raster(path: Path) -> None:
    from tiling.grid.window import Window
    from tiling.scene.from_files import open_scene

    scene = open_scene([str(path)])
    chip = scene.read(Window(0, 0, 48, 48), scene.band_names[:8])
    assert chip["valid"].shape == (48, 48)
    assert not chip["valid"].values[min(48, scene.height) :].any()
    scene.identities()
    assert scene.gsd >= 0


def rasters() -> list[bytes]:
    from tests.tiling.rasters import noise, write

    kinds: list[dict[str, Any]] = [
        {},
        {"tiled": False, "compress": "lzw", "predictor": 2},
        {"compress": "deflate", "nodata": 3, "names": ("red", "green", "nir"), "scale": 0.1},
        {"bigtiff": "YES", "crs": "EPSG:4326", "transform": Affine(0.01, 0, 13, 0, -0.01, 50)},
        {"photometric": "YCBCR", "compress": "JPEG", "interleave": "pixel"},
        {"crs": "EPSG:32633+5773", "colours": ("red", "green", "alpha")},
    ]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tif"
        for kind in kinds:
            several = {"photometric", "names", "colours"} & kind.keys()
            found.append(
                Path(
                    write(path, noise(3, 20, 20) if several else noise(20, 20), **kind)
                ).read_bytes()
            )
        for dtype in ("float32", "uint16"):
            found.append(Path(write(path, noise(20, 20, dtype=dtype), nodata=0)).read_bytes())  # noqa: PERF401 - one file
    return found


def mutate_tiff(content: bytes, chance: random.Random) -> bytes:
    """Another type, count or value in an entry of the first directory; of a classic little-endian
    TIFF."""
    told = bytearray(content)
    if len(told) < 16 or told[:4] != b"II*\0":
        return content
    (start,) = struct.unpack_from("<I", told, 4)
    if start + 2 > len(told):
        return content
    (entries,) = struct.unpack_from("<H", told, start)
    odd = (0, 1, 2, 7, 255, 256, 65_535, 65_536, 2**31 - 1, 2**31, 2**32 - 1, len(told) - 1, start)
    for _ in range(chance.randint(1, 3)):
        at = start + 2 + 12 * chance.randrange(max(1, min(entries, 64)))
        if at + 12 > len(told):
            continue
        match chance.randrange(4):
            case 0:
                struct.pack_into(
                    "<H", told, at + 2, chance.choice((0, 1, 2, 3, 4, 5, 7, 11, 12, 13, 16, 99))
                )
            case 1:
                struct.pack_into("<I", told, at + 4, chance.choice(odd))
            case 2:
                struct.pack_into("<I", told, at + 8, chance.choice((*odd, chance.randrange(2**32))))
            case _:
                # what an entry points to: doubles, keys, texts
                (value,) = struct.unpack_from("<I", told, at + 8)
                if value + 8 <= len(told):
                    struct.pack_into(
                        "<d",
                        told,
                        value,
                        chance.choice((0.0, -1.0, 1e-300, 1e300, float("nan"), float("inf"))),
                    )
    return bytes(told)


def meet_vrt(path: Path) -> None:
    from tests.tiling.rasters import noise, write

    write(path.parent / "a.tif", noise(16, 16))
    meet_raster(path)


def vrts() -> list[bytes]:
    size, place = (
        'rasterXSize="16" rasterYSize="16"',
        "<GeoTransform>5e5,10,0,5e6,0,-10</GeoTransform>",
    )
    head = f"<VRTDataset {size}><SRS>EPSG:32633</SRS>{place}"
    name = '<SourceFilename relativeToVRT="1">a.tif</SourceFilename>'
    plain = f"<SimpleSource>{name}<SourceBand>1</SourceBand></SimpleSource>"
    scaled = plain.replace("Simple", "Complex").replace(
        "</Comp", "<ScaleOffset>1</ScaleOffset><NODATA>2</NODATA></Comp"
    )
    return [
        f'{head}<VRTRasterBand dataType="Byte" '
        f'band="1">{source}</VRTRasterBand></VRTDataset>'.encode()
        for source in (plain, scaled, plain * 3, "<NoDataValue>1</NoDataValue>")
    ]


def meet_item(path: Path) -> None:
    """A STAC item, or something else of that name, beside a raster."""
    from tests.tiling.rasters import noise, write
    from tiling.scene.from_files import open_scene

    open_scene([write(path.with_suffix(".tif"), noise(2, 8, 8))])


def items() -> list[bytes]:
    bands = [{"name": "a", "common_name": "red"}, {"eo:common_name": "nir"}]
    told: list[Any] = [
        {"assets": {"data": {"href": "./x.tif", "bands": bands}}},
        {"properties": {"eo:bands": bands}},
        {"bands": bands, "assets": {}},
    ]
    return [json.dumps(item).encode() for item in told]


def meet_shapes(path: Path) -> None:
    """An area of interest on a scene."""

    from flows.plan.aoi import area_of_interest
    from tests.tiling.rasters import noise, write
    from tiling.scene.from_files import open_scene

    scene = open_scene(
        [
            write(
                path.with_suffix(".tif"),
                noise(8, 8),
                crs="EPSG:4326",
                transform=Affine(1, 0, 10, 0, -1, 54),
            )
        ]
    )
    outline, window = area_of_interest(str(path), scene)
    assert outline.is_valid
    assert scene.window & window == window


def shapes() -> list[bytes]:
    ring = [[13, 50], [14, 50], [14, 51], [13, 50]]
    feature = {
        "type": "Feature",
        "properties": {"a": 1},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
    return [
        json.dumps({"type": "FeatureCollection", "features": [feature] * n}).encode()
        for n in (1, 2)
    ]


# ------------------------------------------------------------------------------------------- models


def meet_card(path: Path) -> None:
    from segmentation.models.bundle import read_card

    card = read_card(path)
    assert card.band_names
    assert card.model_dump_json()


def cards() -> list[bytes]:
    from segmentation.models.bundle import CARD, PACKAGED

    return [file.read_bytes() for file in sorted(PACKAGED.glob(f"*/{CARD}"))]


def meet_weights(path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load

    from segmentation.models.weights import tensor_facts

    content = path.read_bytes()
    with path.open("rb") as stream:
        facts = tensor_facts(stream, len(content), path)
    try:
        tensors = load(content)
    except SafetensorError:
        return  # refused by the library, as `Bundle.weights` tells
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == {
        n: f.shape for n, f in facts.items()
    }


def weights() -> list[bytes]:
    import torch
    from safetensors.torch import save

    return [
        save({"a": torch.zeros(2, 3), "b": torch.ones(4).half()}, metadata={"format": "pt"}),
        save({"n": torch.ones(())}),
    ]


def meet_graph(path: Path) -> None:
    """All that is done to a graph before ONNX Runtime has it."""
    from segmentation.graphs.onnx_file import check_graph, check_sizes, read_model
    from segmentation.graphs.reach import as_handing_on, stride_of_graph

    model = read_model(path)
    facts = check_graph(model, path, 3, 4)
    check_sizes(model, path, 3, facts.size or 64)
    assert 1 <= stride_of_graph(model, facts.input) <= 4096
    spread = as_handing_on(model, facts.input)
    assert spread is None or len(spread.graph.node) == len(model.graph.node)


def graphs() -> list[bytes]:
    from tests.segmentation.small_graphs import a_network

    kinds: list[dict[str, Any]] = [{}, {"size": 32}, {"squeezes": True}]
    return [a_network(**kind).SerializeToString() for kind in kinds]


_OPERATORS = """
Loop If Reshape Expand Tile Pad Slice ConstantOfShape Range Resize ConvTranspose Gather Transpose
Concat Split MaxPool Conv Cast DepthToSpace Einsum OneHot Unsqueeze BatchNormalization MatMul Shape
"""


def mutate_graph(content: bytes, chance: random.Random) -> bytes:
    """Another operator, attribute, name, type or length somewhere in a graph."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(content)
        _change_graph(model.graph, chance)
        return model.SerializeToString()
    except (DecodeError, ValueError):  # what was changed before is no graph any more, or no text
        return content


def _change_graph(graph: Any, chance: random.Random) -> None:
    odd = (-1, 0, 1, 2, 3, 255, 2**20, 10**9, 2**31, 2**62, -(2**63))
    for _ in range(chance.randint(1, 3)):
        node = chance.choice(graph.node) if graph.node else graph.node.add()
        tensor = chance.choice(graph.initializer) if graph.initializer else graph.initializer.add()
        match chance.randrange(9):
            case 0:
                node.op_type = chance.choice(_OPERATORS.split())
            case 1:
                for attribute in node.attribute:
                    if attribute.ints:
                        attribute.ints[chance.randrange(len(attribute.ints))] = chance.choice(odd)
                    attribute.i = chance.choice((attribute.i, *odd))
            case 2:
                names = [tensor.name, *(name for other in graph.node for name in other.output)]
                node.input.append(chance.choice(names))
            case 3:
                if node.input:
                    node.input[chance.randrange(len(node.input))] = tensor.name
            case 4:
                tensor.dims[:] = [chance.choice(odd) for _ in range(chance.randrange(6))]
            case 5:
                tensor.data_type = chance.randrange(25)
            case 6:
                tensor.external_data.add(key="location", value="../x")
            case 7:
                ends = [*graph.input, *graph.output] or [graph.input.add()]
                shape = chance.choice(ends).type.tensor_type.shape
                shape.dim.add(dim_value=chance.choice(odd))
            case _:
                tensor.raw_data = chance.randbytes(chance.choice((0, 4, 8, 32)))
                tensor.dims[:] = [len(tensor.raw_data) // 8]
                tensor.data_type = 7


# ----------------------------------------------------------------------------------------- settings


def meet_segmenter(path: Path) -> None:
    from flows.requests.segmenters import choose_segmenter

    choose_segmenter(str(path), {}).identity()


def segmenters() -> list[bytes]:
    return [
        b"kind: otsu\nindex: NDWI\nabove: Wet\n",
        b"kind: rules\nwater: 0.1\n",
        b"kind: network\nbundle: demo\ntile: 512\n",
    ]


def meet_request(path: Path) -> None:
    from flows.parsing import read_settings, validate
    from flows.requests.request import Request

    validate(Request, **read_settings(path, "out: run"))


def requests() -> list[bytes]:
    return [
        b"source: {paths: [a.tif], bands: {red: 1}, nodata: 0, date: 2024-05-06}\nout: "
        b"run\nsegmenter: {kind: otsu}\n",
        b"source: {paths: [a.tif]}\nout: s3://bucket/run\nsegmenter: {kind: rules}\nproducts: "
        b"[classes]\nmin_area: 5\n",
    ]


def meet_cluster(path: Path) -> None:
    from flows.compute.cluster import cluster_from

    cluster_from(str(path), None, {})


def clusters() -> list[bytes]:
    return [
        b"kind: slurm\nworkers: 3\nsettings: {cores: 4, memory: 8GB}\n",
        b"kind: tcp://localhost:8786\n",
    ]


def mutate_text(content: bytes, chance: random.Random) -> bytes:
    """Numbers, dates, references and nesting that parsers stumble over."""
    at, length = chance.randint(0, len(content)), chance.choice((0, 0, 1, 4, 12))
    return content[:at] + chance.choice(ODD_TEXTS) + content[at + length :]


ODD_TEXTS = (
    *(b"9" * 5000, b"[" * 3000, b"{" * 3000, b"1e999", b"-0", b"NaN", b".nan", b"2024-13-45"),
    *(b"&a [*a]", b"*a", b"<<: *a", b"!!python/object/apply:os.system [id]"),
    *(b"\0", b"\xff\xfe", b"\\ud800", b"\n\x1b[2J", b"null", b"[]", b"{}", b'""', b"true"),
)


TARGETS = {
    "raster": Target(meet_raster, ".tif", rasters, mutate_tiff),
    "vrt": Target(meet_vrt, ".vrt", vrts, mutate_text),
    "item": Target(meet_item, ".json", items, mutate_text),
    "shapes": Target(meet_shapes, ".geojson", shapes, mutate_text),
    "card": Target(meet_card, ".json", cards, mutate_text),
    "weights": Target(meet_weights, ".safetensors", weights),
    "graph": Target(meet_graph, ".onnx", graphs, mutate_graph),
    "segmenter": Target(meet_segmenter, ".yaml", segmenters, mutate_text),
    "request": Target(meet_request, ".yaml", requests, mutate_text),
    "cluster": Target(meet_cluster, ".yaml", clusters, mutate_text),
}
