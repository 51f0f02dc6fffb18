"""What `landweave objects` takes as a scene grows: memory of a worker and of the calling process,
and time, stage by stage and side by side.

    python -m benchmarks.objects [--sizes 4096 16384] [--tile 1024] [--workers 1]

Each size is measured in processes of their own, on the same drawn square again and again; what is
printed last are ratios to the smallest size. A worker should hold as much at every size, the
calling process what follows the lines between tiles. Run it with `--workers 1` and `--workers 2`
where nothing else runs to compare seconds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.scale import MIB, Figures, patchwork, scratch, show


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[4096, 16384], metavar="PX")
    parser.add_argument("--tile", type=int, default=1024, metavar="PX")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--method", default="objects")
    asked = parser.parse_args()
    measured = []
    for size in sorted(asked.sizes):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            task = process.submit(measure, size, asked.tile, asked.workers, asked.method)
            measured.append(task.result())
        show(measured[-1])
    for figures in measured[1:]:
        print(f"{figures['size']:.0f}² px as a multiple of {measured[0]['size']:.0f}²:")
        show({name: value / measured[0][name] for name, value in figures.items()})


def measure(size: int, tile: int, workers: int, method: str) -> Figures:
    """Peak memory and seconds after each stage, on a scene of `size` px squared."""
    from flows.compute import cluster
    from flows.objects import run as stages
    from flows.partitions.registry import partition_from
    from flows.plan.shard import peak_memory
    from flows.requests.objects import ObjectsRequest
    from flows.requests.source import Source
    from flows.storage.run_folder import open_run

    figures: Figures = {"size": size}
    with scratch() as place:
        scene = draw(place / "scene.tif", size)
        request = ObjectsRequest(
            source=Source(paths=(str(scene),)),
            out=place / "out",
            partition=partition_from(method),
            tile=tile,
        )
        with open_run(request.out) as folder:
            plan = stages.prepare(request, folder)
            with cluster.start(cluster.Cluster(workers=workers), plan.work) as pool:

                def note(stage: str) -> None:
                    answers = pool.everywhere(peak_memory).values()
                    held = [one for one in answers if isinstance(one, int)]
                    figures[f"{stage}: MiB of a worker"] = max(held) / MIB
                    figures[f"{stage}: MiB of the calling process"] = peak_memory() / MIB
                    figures[f"{stage}: seconds"] = folder.seconds[stage]

                levels = stages.partition(plan, folder, pool)
                note("regions")
                rasters = stages.join(plan, levels, folder, pool)
                note("join")
                stages.vectorise(plan, levels, rasters, folder, pool)
                note("vectorise")
        figures["MiB projected for a worker"] = plan.worker_bytes(1) / MIB
        figures["MiB projected for the calling process"] = plan.client_bytes / MIB
        figures["seconds of this process"] = time.process_time()
        figures["regions"] = sum(level.n for level in levels)
    return figures


def draw(path: Path, size: int) -> Path:
    """The scene; what drawing it takes is not counted."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(patchwork, path, size).result()


if __name__ == "__main__":
    # Under its own name, not as __main__, so that other processes find what is pickled.
    from benchmarks.objects import main as named_main

    named_main()
