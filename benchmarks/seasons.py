"""One season against two: how good a forest and a network are with either, by the same split.

    python -m benchmarks.seasons FOLDER --out results.json [--kinds random-forest] [--seeds 3]

FOLDER holds a tile of Chesapeake Bay land cover with Landsat composites of summer and winter;
docs/seasons.md says where it comes from. Each model is trained by `landweave train` as a person
would; a result that stands in the file already is not computed again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TILE = "m_3907833_nw_17_1"
SCENES = {
    "summer": {"on": "leaf-on"},
    "winter": {"off": "leaf-off"},
    "both": {"on": "leaf-on", "off": "leaf-off"},
}
"""Names of the sources of a scene, and the file of each."""

SETTINGS = {
    "random-forest": ("--set", "trees=50,windows=[3],features=20,per_class=3000"),
    "fullunet": ("--budget", "0.12", "--set", "refit=false"),
}


def command_of(folder: Path, scene: str, kind: str, seed: int, out: Path) -> list[str]:
    """The line that trains a model."""
    tile = folder / TILE
    return [
        *("train", *(f"{name}={tile}_landsat-{file}.tif" for name, file in SCENES[scene].items())),
        *("--bands", "blue=2,green=3,red=4,nir=5,swir16=6,swir22=7"),
        *("--scale", "0.0001", "--offset", "0", "--labels", f"{tile}_lc.tif"),
        *("--classes", "1=Water,2=Tree canopy,3=Low vegetation,5=Impervious", "--regroup", "6=5"),
        *("--split", str(folder / "split_blocks52_s0.tif")),
        *("--architecture", kind, *SETTINGS[kind]),
        *("--seed", str(seed), "--out", str(out), "--json"),
    ]


def judge(folder: Path, scene: str, kind: str, seed: int) -> dict[str, float]:
    """Scores of a model on the part of the labels that it did not see."""
    with tempfile.TemporaryDirectory() as work:
        run = subprocess.run(
            [
                sys.executable,
                "-m",
                "flows.cli",
                *command_of(folder, scene, kind, seed, Path(work) / "model"),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
    told: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    scores = {"mean IoU": told["test"]["mean_iou"], "accuracy": told["test"]["overall_accuracy"]}
    return scores | {one["name"]: one["iou"] for one in told["test"]["classes"]}


def print_table(results: dict[str, dict[str, float]]) -> None:
    """Mean and standard deviation over the seeds, a row for each kind and scene."""
    rows: dict[str, list[dict[str, float]]] = {}
    for name, scores in results.items():
        rows.setdefault(name.rpartition(" ")[0], []).append(scores)
    names = list(next(iter(results.values())))
    print(f"| model, dates | {' | '.join(names)} | n |\n|---|{'---|' * (len(names) + 1)}")
    for row, found in rows.items():
        cells = []
        for name in names:
            values = [scores[name] for scores in found]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{statistics.mean(values):.3f} ± {spread:.3f}")
        print(f"| {row} | {' | '.join(cells)} | {len(found)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kinds", default=",".join(SETTINGS))
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    results = json.loads(given.out.read_text()) if given.out.exists() else {}
    for kind in given.kinds.split(","):
        for seed in range(given.seeds):
            for scene in SCENES:
                name = f"{kind}, {scene} {seed}"
                if name not in results:
                    results[name] = judge(given.folder, scene, kind, seed)
                    given.out.write_text(json.dumps(results, indent=1) + "\n")
    print_table(results)


if __name__ == "__main__":
    main()
