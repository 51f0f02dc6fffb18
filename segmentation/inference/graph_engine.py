"""What computes a bundle's ONNX graph: checked, then ONNX Runtime; made once per process."""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path

from segmentation.errors import InputError
from segmentation.graphs.onnx_file import check_graph, check_sizes, parse_model
from segmentation.graphs.run_graph import GraphRun
from segmentation.graphs.session import Provider
from segmentation.inference.arrays import class_logits
from segmentation.inference.compiled import on_tensors
from segmentation.inference.device import Engine, Pixels
from segmentation.models.bundle import Bundle, load

_making = threading.RLock()


def graph_engine(bundle: Bundle, provider: Provider) -> Engine:
    """The bundle's graph, ready to run: made once per process and content.

    Pixels go to it from the CPU and its answers come back there, wherever it computes. Raises
    `InputError` where the graph is not the card's, does more than is allowed, or cannot be run.
    """
    with _making:  # or two threads would load it twice
        return _load_engine(bundle.digest, bundle.folder, provider)


@lru_cache(4)  # as of networks
def _load_engine(digest: str, folder: Path, provider: Provider) -> Engine:
    bundle = load(folder)
    card, file, content = bundle.card, bundle.weights_file, bundle.content()
    graph, bands = card.graph, len(card.bands)
    model = parse_model(content, file)
    facts = check_graph(model, file, bands, card.channels, graph.output)
    if (facts.input, facts.size) != (graph.input, graph.size):
        raise InputError(
            f"{file} takes chips of {facts.size or 'any'} px at {facts.input!r}, and its card says "
            f"{graph.size or 'any'} px at {graph.input!r}; convert the graph anew"
        )
    check_sizes(model, file, bands, graph.size or graph.tile + 2 * graph.margin)
    graph_run = GraphRun(content, file, facts, card.channels, provider)

    def logits(pixels: Pixels) -> Pixels:
        return class_logits(graph_run(pixels), card.activation, len(card.legend))

    return Engine(card, "cpu", on_tensors(logits), arrays=logits)
