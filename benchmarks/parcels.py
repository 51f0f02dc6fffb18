"""How well parcels of the drawn landscape are found: a network learns objects of one place, makes
those of another, and they are judged one by one.

    python -m benchmarks.parcels [--learnt 11] [--judged 5 …] [--side 1536] [--budget MINUTES]

All that is not said is what `train --instances` and `objects --method instances` do by default.
Truth are the pieces in which parcels lie between hedges, tracks and roads; pieces of fewer pixels
than `--least` are background, on both sides of the comparison objects of their own. Printed are the
processor seconds of each step, children included, and the scores.
"""

from __future__ import annotations

import argparse
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox

from benchmarks.scale import scratch


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--learnt", type=int, default=11, metavar="SEED", help="Place learnt.")
    parser.add_argument("--judged", type=int, default=[5], nargs="+", metavar="SEED")
    parser.add_argument("--side", type=int, default=1536, metavar="PX", help="Of what is learnt.")
    parser.add_argument("--budget", type=float, metavar="MINUTES")
    parser.add_argument("--least", type=int, default=8, metavar="PX")
    asked = parser.parse_args()
    with scratch() as place:
        measure(place, asked)


def measure(place: Path, asked: argparse.Namespace) -> None:
    """Draw, learn, make objects, judge them."""
    import landweave as lw

    with spend("draw"):
        draw(place / "learnt", asked.learnt, asked.side, asked.least)
        for seed in asked.judged:
            draw(place / f"judged-{seed}", seed, 1024, asked.least)
    more = {} if asked.budget is None else {"budget": asked.budget}
    with spend("train"):
        model = lw.train(
            place / "learnt" / "scene.tif",
            place / "learnt" / "parcels.tif",
            place / "model",
            instances=True,
            **more,
        )
    for seed in asked.judged:
        judged, out = place / f"judged-{seed}", place / f"objects-{seed}"
        with spend(f"objects of seed {seed}"):
            found = lw.objects(
                judged / "scene.tif", out, method="instances", segmenter=model, workers=0
            )
        for file in ("objects.tif", "objects.gpkg"):
            print(lw.evaluate_objects(found.folder / file, judged / "parcels.tif").mean)


def draw(folder: Path, seed: int, side: int, least: int) -> None:
    """A scene, and its parcels as numbers of what hangs together by sides."""
    from skimage import measure as skimage

    from flows.compute.pool import ThisProcess
    from flows.demo import write_demo
    from segmentation.synthetic.landscape import Landscape
    from tiling.grid.geobox import geobox_of
    from tiling.io.profiles import plain_profile

    scene, _ = write_demo(folder, side, seed, ThisProcess())
    parcels = Landscape(seed, side, side).parcels(0, 0, side, side)
    _, numbers = np.unique(parcels, return_inverse=True)
    label: Any = skimage.label
    pieces = label(numbers.reshape(parcels.shape), background=0, connectivity=1)
    pieces[np.bincount(pieces.ravel())[pieces] < least] = 0
    with rasterio.open(scene) as source:
        grid: GeoBox = geobox_of(source)
    with rasterio.open(folder / "parcels.tif", "w", **plain_profile(grid, "uint32", 0)) as out:
        out.write(pieces.astype(np.uint32), 1)
    print(f"{np.unique(pieces).size - 1:,} parcels on {side} × {side} px")


@contextmanager
def spend(what: str) -> Iterator[None]:
    """Print the processor seconds of what is done meanwhile."""
    before = processor_seconds()
    yield
    print(f"{what}: {processor_seconds() - before:.0f} CPU s", flush=True)


def processor_seconds() -> float:
    """Of this process and its children that ended."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, kinds))


if __name__ == "__main__":
    main()
