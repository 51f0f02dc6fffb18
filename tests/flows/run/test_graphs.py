"""Published networks as ONNX graphs: what they say of a real scene, however the work is cut."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import torch

from flows.compute.cluster import Cluster
from flows.requests.request import Request
from flows.requests.segmenters import choose_segmenter
from flows.requests.source import Source
from flows.run import pipeline
from segmentation.inference.network import Network
from segmentation.inference.onnx_graph import OnnxGraph
from segmentation.interchange.fetch_known import fetch_known
from segmentation.interchange.keep_graph import keep_graph
from segmentation.models.bundle import Bundle
from segmentation.models.card import Card, OnnxModel
from segmentation.models.known_models import known_model
from segmentation.segmenter import Segmenter
from tests.chance import SEED
from tests.scenes import draw_pixels, write_scene
from tests.segmentation.chips import make_chip

pytestmark = pytest.mark.usefixtures("white_pictures")

onnxruntime = pytest.importorskip("onnxruntime")

Run = Callable[..., tuple[int, str, str]]

BANDS = {"red": 1, "green": 2, "blue": 3, "nir": 4}
SIZE = 256


@pytest.fixture(scope="module")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """DLR's network for clouds in four bands, kept as the graph that is published."""
    package = find_spec("ukis_csmask")
    if package is None or package.origin is None:
        pytest.skip("ukis-csmask is not installed")
    card = known_model("csmask-4b-l2a").card
    graph = OnnxModel(input="unknown", output="unknown", margin=0, stride=1, support=None)
    file = Path(package.origin).parent / "model_4b_l2a.onnx"
    return keep_graph(
        file,
        Card.model_validate({**card.model_dump(), "model": graph.model_dump()}),
        tmp_path_factory.mktemp("graphs") / "clouds",
    )


def scene_of(shared_data: Path) -> Path:
    return shared_data / "s2_l2a_openeo_sample" / "S2_L2A_sample.tif"


@pytest.fixture
def chips(shared_data: Path) -> list[npt.NDArray[np.uint16]]:
    """Six chips of Sentinel-2 near Bolzano, in the order of the card's bands; two brightened."""
    with rasterio.open(scene_of(shared_data)) as scene:
        pixels = scene.read([BANDS[name] for name in ("blue", "green", "red", "nir")])
    found = [pixels[:, y : y + SIZE, x : x + SIZE] for y in (0, 300) for x in (0, 300, 600)]
    found[0], found[5] = (np.clip(4 * found[at], 0, 15_000) for at in (0, 5))
    return found


@pytest.mark.slow
def test_clouds_by_hand_by_their_graph_and_by_our_network_are_alike(
    clouds: Bundle,
    chips: list[npt.NDArray[np.uint16]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    card = clouds.card
    mean, std = (
        np.array([getattr(band, what) for band in card.bands], np.float32)[:, None, None]
        for what in ("mean", "std")
    )
    session = onnxruntime.InferenceSession(clouds.weights_file)
    ways: dict[str, Segmenter] = {
        "graph": OnnxGraph(bundle=str(clouds.folder), device="cpu"),
        "network": Network(bundle=str(fetch_known(known_model("csmask-4b-l2a"))), device="cpu"),
    }
    same: dict[str, list[float]] = {name: [] for name in ways}
    seen: set[int] = set()
    for pixels in chips:
        given = (pixels.astype(np.float32) * np.float32(1e-4) - mean) / std
        (said,) = session.run(None, {"input": given[None]})
        expected = np.array(card.legend.values)[said[0].argmax(0)]
        seen |= set(np.unique(expected).tolist())
        for name, way in ways.items():
            labels = way(make_chip(pixels, card.band_names, scale=1e-4)).labels
            same[name].append(float(np.mean(labels == expected)))
    print(same)
    assert min(same["graph"]) == 1
    assert np.mean(same["network"]) >= 0.999
    assert len(seen) > 1


@pytest.mark.slow
def test_clouds_are_the_same_bytes_for_any_shards_and_workers(
    clouds: Bundle, shared_data: Path, tmp_path: Path, two_workers: str
) -> None:
    source = Source(paths=(str(scene_of(shared_data)),), bands=BANDS, mask="none")
    made = []
    for shard, on in ((256, Cluster(kind=two_workers)), (2048, None), (256, None)):
        out = tmp_path / str(len(made))
        request = Request(
            source=source, out=out, shard=shard, preflight="warn",
            segmenter=OnnxGraph(bundle=str(clouds.folder), device="cpu"),
        )  # fmt: skip
        pipeline.run(request, on=on) if on else pipeline.run(request)
        with (
            rasterio.open(out / "classes.tif") as classes,
            rasterio.open(out / "confidence.tif") as confidence,
        ):
            made.append((classes.read().tobytes(), confidence.read().tobytes()))
    assert made[0] == made[1] == made[2]


# ----------------------------------------------------------- architectures that smp does not have


class Output(torch.nn.Module):
    """A network of torchvision without the dictionary around its answer."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.network(pixels)["out"]
        return answer


class Patches(torch.nn.Module):
    """A plain vision transformer of timm, with a class for each patch that is brought to its
    pixels."""

    def __init__(self, size: int, classes: int) -> None:
        import timm

        super().__init__()
        self.encoder = timm.create_model(
            "vit_tiny_patch16_224", pretrained=False, img_size=size, num_classes=0, depth=2
        )
        self.head = torch.nn.Linear(192, classes)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        tokens = self.head(self.encoder.forward_features(pixels)[:, 1:])
        rows = pixels.shape[2] // 16
        coarse = tokens.mT.reshape(1, -1, rows, rows)
        return torch.nn.functional.interpolate(
            coarse, scale_factor=16, mode="bilinear", align_corners=False
        )


def lraspp() -> torch.nn.Module:
    models = pytest.importorskip("torchvision").models.segmentation
    network = models.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=4)
    return Output(network)


def exported(network: torch.nn.Module, size: int, file: Path) -> Path:
    """The network as torch exports it by default: for the size of the example alone."""
    torch.onnx.export(
        network.eval(), (torch.zeros(1, 3, size, size),), file, dynamo=True, external_data=False,
        input_names=["image"], output_names=["out"], verbose=False,
    )  # fmt: skip
    return file


@pytest.mark.slow
@pytest.mark.parametrize("make", [lraspp, lambda: Patches(64, 4)], ids=["lraspp", "vit"])
def test_a_graph_of_any_architecture_becomes_a_map_that_no_cut_changes(
    make: Callable[[], torch.nn.Module], landweave: Run, tmp_path: Path
) -> None:
    torch.manual_seed(SEED)
    network = make()
    file = exported(network, 64, tmp_path / "net.onnx")
    status, out, err = landweave(
        "convert", file, "--bands", "red,green,blue", "--classes", "A,B,C,D",
        "--mean", "0.1", "--std", "0.05", "--gsd", "10", "--out", tmp_path / "net",
    )  # fmt: skip
    assert status == 0, err
    assert "chips of 64 px at image, answers at out" in out
    assert "blended with its neighbours" in out
    chosen = choose_segmenter(str(tmp_path / "net"), {})
    assert isinstance(chosen, OnnxGraph)
    scene = write_scene(tmp_path / "scene.tif", draw_pixels(150, 190))
    made: list[Any] = []
    for shard in (1, 4096):
        request = Request(
            source=Source(paths=(str(scene),)), out=tmp_path / f"run{shard}", shard=shard,
            segmenter=chosen, preflight="warn",
        )  # fmt: skip
        pipeline.run(request)
        with rasterio.open(tmp_path / f"run{shard}" / "classes.tif") as classes:
            made.append(classes.read(1))
    assert made[0].tobytes() == made[1].tobytes()
    assert len(np.unique(made[0])) > 1
