"""What memory a worker takes that computes a network, by the library that runs it.

    python -m benchmarks.worker_memory [--size 2048] [--out FILE.json]

The demo network maps a drawn scene with two workers of one core each, in shards of one tile; each
run's `run.json` says the most that any of its workers took. "first" makes the graph, "again" finds
it kept.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

RUNS = ("torch", "openvino first", "openvino again", "onnx first", "onnx again")


def measure(scene: Path, name: str, folder: Path) -> dict[str, int]:
    """Bytes that the largest worker and the calling process took at most."""
    out = folder / name.replace(" ", "-")
    command = [sys.executable, "-m", "flows.cli", "segment", str(scene), "--segmenter", "demo"]
    command += ["--workers", "2", "--shard", "1024", "--set", f"runtime={name.split()[0]}"]
    graphs = {**os.environ, "LANDWEAVE_GRAPHS": str(folder / "graphs")}
    subprocess.run([*command, "-o", str(out)], env=graphs, check=True, stdout=subprocess.DEVNULL)
    found: dict[str, int] = json.loads((out / "run.json").read_text())["peak_bytes"]
    return found


def main() -> None:
    """Measure, print, and leave the figures in a file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker_memory", description=__doc__)
    parser.add_argument("--size", type=int, default=2048, help="width and height of the scene")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    given = parser.parse_args()

    from flows.compute.pool import ThisProcess
    from flows.demo import write_demo

    with tempfile.TemporaryDirectory(prefix="landweave-memory-") as temporary:
        folder = Path(temporary)
        scene, _ = write_demo(folder / "scene", given.size, 0, ThisProcess())
        figures: dict[str, Any] = {"size": given.size, "peak_bytes": {}}
        for name in RUNS:
            figures["peak_bytes"][name] = peak = measure(scene, name, folder)
            print(
                f"{name}: worker {peak['worker'] / 1e9:.2f} GB, client {peak['client'] / 1e9:.2f}"
            )
    if given.out:
        given.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
