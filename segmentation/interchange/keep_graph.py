"""An ONNX graph that another program exported → a bundle that runs it as it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from segmentation.errors import InputError
from segmentation.graphs.onnx_file import GraphFacts, check_graph, check_sizes, read_model
from segmentation.graphs.reach import as_handing_on, stride_of_graph
from segmentation.interchange.import_checkpoint import stand_ins
from segmentation.models.bundle import Bundle, check_folder, write
from segmentation.models.card import Card, OnnxModel, Support

if TYPE_CHECKING:
    import onnx
    import torch

_MOVES = 1e-3
"""How far an answer may change when the scene moves by a stride, as a share of the largest: sums
are added up in another order there."""


def keep_graph(
    source: Path, card: Card, out: Path, *, output: str = "", tile: int | None = None
) -> Bundle:
    """The bundle, in `out`, of the graph in `source`, whose nature `card` tells.

    The graph is looked through before it runs. Names of input and output, the size of its chips
    where it has one, stride, support, margin and disagreement are found out; what the card says of
    them is replaced. `output` names the one that is meant, where there are several; `tile` is the
    length of a tile of a graph whose chips have one size, by default three quarters of it. Raises
    `InputError` in one line where the graph may not be run, or is none of the card's bands and
    classes.
    """
    from segmentation.graphs.network import GraphNetwork
    from segmentation.networks.outputs import as_class_logits

    check_folder(out)
    if not source.is_file():
        raise InputError(f"{source} is not there; name an ONNX file")
    told, bands = card.graph, len(card.bands)
    model = read_model(source)
    facts = check_graph(model, source, bands, card.channels, output)
    content = source.read_bytes()
    length = facts.size or told.tile + 2 * told.margin
    check_sizes(model, source, bands, length)
    network = as_class_logits(
        GraphNetwork(content, source, facts, card.channels), card.activation, len(card.legend)
    )
    if facts.size is None:
        graph = _measure(network.eval(), model, source, card, facts)
    else:
        network(_stand_in(bands, facts.size))
        graph = told.model_copy(update=_cut_for(facts.size, tile, source))
    graph = graph.model_copy(update={"input": facts.input, "output": facts.output})
    training = {**card.training, "converted from": source.name}
    if facts.size is None:
        training["margin measured on"] = "random chips with 1/f spectrum"
    return write(
        out,
        Card.model_validate(
            card.model_copy(update={"model": graph, "training": training}).model_dump()
        ),
        content,
    )


def _cut_for(size: int, tile: int | None, source: Path) -> dict[str, int | None]:
    """How a scene is cut for chips of one size, which are blended."""
    margin = size // 8 if tile is None else (size - tile) // 2
    if tile is not None and (tile > size or (size - tile) % 2):
        raise InputError(
            f"{source} takes chips of {size} px alone, and --tile {tile} leaves no even rest for "
            "the margins; leave it out, or take another"
        )
    return {
        "size": size,
        "tile": size - 2 * margin,
        "margin": margin,
        "stride": 1,
        "support": None,
        "disagreement": None,
    }


def _measure(
    network: torch.nn.Module, model: onnx.ModelProto, source: Path, card: Card, facts: GraphFacts
) -> OnnxModel:
    """Stride, support, margin and disagreement of a graph that takes chips of any size."""
    from segmentation.networks.receptive_field import choose_margin

    stride, bands = stride_of_graph(model, facts.input), len(card.bands)
    network(_stand_in(bands, -(-256 // stride) * stride))
    reach = _support(network, model, source, card, facts, stride)
    chips = stand_ins(bands, 2, -(-512 // stride) * stride)
    margin = choose_margin(
        network, chips, tile=card.graph.tile, stride=stride, support=reach, gradients=False
    )
    return card.graph.model_copy(
        update={
            "stride": stride,
            "support": reach,
            "margin": margin.margin,
            "disagreement": round(margin.disagreement, 6),
        }
    )


def _support(
    network: torch.nn.Module,
    model: onnx.ModelProto,
    source: Path,
    card: Card,
    facts: GraphFacts,
    stride: int,
) -> Support | None:
    """How far a graph looks, found by a NaN in a copy of it that hands NaN on.

    None where it looks at the whole chip, knows where in the chip it looks, or has an operator of
    which nobody can say what becomes of a NaN.
    """
    from segmentation.graphs.network import GraphNetwork
    from segmentation.networks.receptive_field import support

    if card.preprocessing.normalisation == "per-chip":
        return None
    spread = as_handing_on(model, facts.input)
    if spread is None:
        return None
    probe = GraphNetwork(spread.SerializeToString(), source, facts, card.channels, plain=True)
    reach = support(probe, len(card.bands), stride=stride)
    return reach if reach and _moves_along(network, len(card.bands), stride, reach) else None


def _moves_along(network: torch.nn.Module, bands: int, stride: int, reach: Support) -> bool:
    """Whether answers move with a scene by a stride, away from the edges of a chip: not where a
    graph adds something of the place in the chip."""
    import torch

    far = -(-max(reach) // stride) * stride
    length = 2 * far + 8 * stride
    scene = torch.from_numpy(stand_ins(bands, 1, length + stride)[0])[None]
    with torch.inference_mode():
        first = network(scene[..., :length, :length].contiguous())
        moved = network(scene[..., stride:, stride:].contiguous())
    inner = np.s_[..., far : length - far - stride, far : length - far - stride]
    before = first[..., stride:, stride:][inner]
    apart = (before - moved[inner]).abs().max()
    return bool(apart <= _MOVES * before.abs().max())


def _stand_in(bands: int, length: int) -> torch.Tensor:
    import torch

    return torch.from_numpy(stand_ins(bands, 1, length)[0])[None]
