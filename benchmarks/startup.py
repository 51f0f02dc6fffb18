"""What starting up takes: imports, the first labels of each runtime, and a whole command beside a
loop over windows as one writes it by hand.

Each line is a process of its own: processor seconds with those of its children, and seconds by the
clock. Graphs are kept in a folder of this bench: "first" finds none there, "again" finds them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

FIRST_LABELS = """
import sys
import numpy as np
import xarray as xr
from segmentation.inference.network import Network
network = Network(bundle=sys.argv[1], runtime=sys.argv[2], device="cpu").fit(None)
names = list(network.loaded_bundle.card.band_names)
shape = (len(names), 640, 640)
pixels = np.random.default_rng(0).integers(0, 5000, shape).astype(np.uint16)
known = {
    "band": names,
    "scale": ("band", [1e-4] * len(names)),
    "offset": ("band", [0.0] * len(names)),
    "units": ("band", ["reflectance"] * len(names)),
}
network(
    xr.Dataset(
        {"pixels": (("band", "y", "x"), pixels), "valid": (("y", "x"), np.ones(shape[1:], bool))},
        coords=known,
    )
)
"""

BY_HAND = """
import sys
import numpy as np
import rasterio
import torch
from rasterio.windows import Window
from segmentation.models.bundle import load
from segmentation.networks.restore import load_for_inference
scene, bundle, out = sys.argv[1:]
opened = load(bundle)
card, model = opened.card, load_for_inference(opened)
tile, margin = card.network.tile, card.network.margin
mean, std = (
    torch.tensor([getattr(band, name) for band in card.bands])[:, None, None]
    for name in ("mean", "std")
)
with rasterio.open(scene) as source:
    indexes = [source.descriptions.index(name) + 1 for name in card.band_names]
    profile = source.profile | {"count": 1, "dtype": "uint8", "predictor": 1}
    with rasterio.open(out, "w", **profile) as target, torch.inference_mode():
        for row in range(0, source.height, tile):
            for col in range(0, source.width, tile):
                length = tile + 2 * margin
                seen = Window(col - margin, row - margin, length, length)
                pixels = source.read(indexes, window=seen, boundless=True).astype(np.float32)
                chip = (torch.from_numpy(pixels) * 1e-4 - mean) / std
                labels = model(chip[None]).argmax(1)[0].to(torch.uint8).numpy() + 1
                height, width = min(tile, source.height - row), min(tile, source.width - col)
                core = labels[margin : margin + height, margin : margin + width]
                target.write(core, 1, window=Window(col, row, width, height))
"""


class Cost(NamedTuple):
    """Of a process and its children."""

    cpu: float
    wall: float


def cost(command: Sequence[str], environment: Mapping[str, str]) -> Cost:
    """What a command takes; it must succeed."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"status {process.returncode}: {' '.join(command)[:200]}")
    return Cost(used.ru_utime + used.ru_stime, time.perf_counter() - began)


def cases(scene: Path, bundle: str, folder: Path) -> dict[str, list[str]]:
    """Commands by what they measure; "first" empties the folder of graphs."""
    python = [sys.executable, "-c"]
    found = {
        "import landweave": [*python, "import landweave"],
        "landweave --help": [sys.executable, "-m", "flows.cli", "--help"],
        "import torch": [*python, "import torch"],
        "import the networks' library": [*python, "import segmentation_models_pytorch"],
        "import the pipeline": [*python, "import flows.run.pipeline"],
    }
    for name in ("torch", "openvino first", "openvino again", "onnx first", "onnx again"):
        runtime = name.split()[0]
        found[f"first labels, {name}"] = [*python, FIRST_LABELS, bundle, runtime]
    segment = [sys.executable, "-m", "flows.cli", "segment", str(scene), "--segmenter", bundle]
    segment += ["--workers", "0", "--fresh"]
    found["a loop by hand"] = [*python, BY_HAND, str(scene), bundle, str(folder / "hand.tif")]
    for name in ("torch", "openvino first", "openvino again"):
        runtime, out = name.split()[0], str(folder / name.replace(" ", "-"))
        found[f"landweave segment, {name}"] = [*segment, "--set", f"runtime={runtime}", "-o", out]
        found[f"landweave segment --products classes, {name}"] = [
            *found[f"landweave segment, {name}"],
            *("--products", "classes"),
        ]
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    parser.add_argument("--size", type=int, default=2048, help="width and height of the scene")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    parser.add_argument(
        "--cases", nargs="+", default=[""], help="only cases whose name holds one of these words"
    )
    given = parser.parse_args()

    from benchmarks.end_to_end import random_network
    from flows.compute.pool import ThisProcess
    from flows.demo import write_demo

    with tempfile.TemporaryDirectory(prefix="landweave-startup-") as temporary:
        folder = Path(temporary)
        scene, _ = write_demo(folder / "scene", given.size, 0, ThisProcess())
        bundle = random_network(folder / "unet-resnet18")
        graphs = folder / "graphs"
        environment = {**os.environ, "LANDWEAVE_GRAPHS": str(graphs)}
        measured: dict[str, list[Cost]] = {}
        for _ in range(given.rounds):
            for name, command in cases(scene, bundle, folder).items():
                if not any(word in name for word in given.cases):
                    continue
                if "first" in name.split(", ")[-1]:
                    for file in graphs.glob("*.graph"):
                        file.unlink()
                measured.setdefault(name, []).append(cost(command, environment))
    by_hand = measured.get("a loop by hand")
    print(f"{given.size} × {given.size} px, {given.rounds} rounds, load {os.getloadavg()[0]:.1f}\n")
    print("| | CPU seconds | seconds | CPU ÷ by hand |\n|---|---|---|---|")
    for name, costs in measured.items():
        cpu = statistics.median(one.cpu for one in costs)
        wall = statistics.median(one.wall for one in costs)
        ratio = "–"
        if by_hand and "segment" in name:
            pairs = zip(costs, by_hand, strict=True)
            ratio = f"{statistics.median(one.cpu / hand.cpu for one, hand in pairs):.2f}"
        print(f"| {name} | {cpu:.2f} | {wall:.2f} | {ratio} |")


if __name__ == "__main__":
    main()
