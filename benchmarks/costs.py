"""What a country, a continent and all land take: core-hours, workers for a day, tasks a second.

    python -m benchmarks.costs [--results benchmarks/results] [--out FILE.json]

Computed, not measured, from what `benchmarks.end_to_end`, `joining`, `coverages` and `scheduler`
measured and left in the folder: rates a pixel are taken to hold for any number of pixels.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tiling.grid.tiles import TileGrid

PIXELS = {"a country": 3.6e9, "a continent": 1.0e11, "all land": 1.5e12}
"""At 10 m: Germany, Europe, the Earth without its seas."""
SIDES = (2048, 8192)
"""Lengths of shards, in pixels."""
DAY = 86_400
SCENE = 10_980
"""Pixels along a Sentinel-2 tile."""


def rates(folder: Path) -> dict[str, float]:
    """Core-seconds of a gigapixel, by stage."""

    def read(name: str) -> Any:
        return json.loads((folder / f"{name}.json").read_text())

    figures = read("end_to_end")
    side = int(figures["machine"]["scene"].split()[0])
    stages = next(found for case, found in figures["rounds"][0].items() if "rules" in case)
    joins = list(read("joining")["sizes"].values())[-1]
    lines = read("coverages")["masks"]["smooth:2048"]["ours"]["simplified"]
    return {
        "segment, rules": 1e9 * stages["costs"]["segment"]["cpu"] / side**2,
        "join, two rasters": sum(
            one["core_s_per_gpx"] for name, one in joins.items() if name.endswith("cells")
        ),
        "vectorise, simplified": 1e9 * lines / 2048**2,
    }


def needs(pixels: float, seconds: dict[str, float], limit: float) -> dict[str, float]:
    """What so many pixels take at such rates, where client and scheduler sustain `limit` tasks a
    second."""
    total = sum(seconds.values())
    found = {
        "core_hours": pixels / 1e9 * total / 3600,
        "cores_for_a_day": pixels / 1e9 * total / DAY,
    }
    for side in SIDES:
        found[f"shards_of_{side}"] = pixels / side**2
        # as many workers as the client can keep busy while they segment
        found[f"most_workers_{side}"] = limit * side**2 / 1e9 * seconds["segment, rules"]
    return {name: round(value, 1) for name, value in found.items()}


def overlap(margin: int, tile: int) -> float:
    """How many times a Sentinel-2 tile's pixels are computed."""
    grid = TileGrid(SCENE, SCENE, tile, margin, 32)
    height, width = grid.chip_shape
    return round(len(grid) * height * width / SCENE**2, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--out", type=Path, help="write all figures to this JSON file")
    given = parser.parse_args()
    seconds = rates(given.results)
    rows = json.loads((given.results / "scheduler.json").read_text())["rows"]
    slowest = max(max(row["client_ms"], row["scheduler_ms"]) for row in rows)
    found = {
        "core_s_per_gpx": {name: round(value, 1) for name, value in seconds.items()},
        "tasks_per_s": round(1000 / slowest, 1),
        "needs": {name: needs(n, seconds, 1000 / slowest) for name, n in PIXELS.items()},
        "overlap": {
            str(tile): {str(margin): overlap(margin, tile) for margin in (0, 64, 128, 256)}
            for tile in (512, 1024, 2048)
        },
    }
    print(json.dumps(found, indent=1))
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
