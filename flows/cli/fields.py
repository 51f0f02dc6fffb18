"""Commands that look at fields: how crops stand, and zones inside fields."""

from __future__ import annotations

from typing import Annotated

from flows.cli import requests
from flows.cli.options import Json
from flows.cli.show import print_json, progress_bar, show_files, show_warnings


def crops(
    request: requests.CropsRequest,
    on: Annotated[requests.Cluster, requests.Part(only=("workers",))],
    as_json: Json = False,
) -> None:
    """Tell how crops stand, field by field, on images of several dates: vigour, anomalies, water
    stress.

    Each field is compared with its own pixels, with the others of its crop on the same day, and
    with itself at the same time of earlier years.

    Examples:
    landweave crops S2*_2024*.tif --fields fields.gpkg --crop crop --out season
    landweave crops S2*.tif --fields fields.gpkg --index NDVI,NDMI,MSI -o years
    """
    from flows.compute import cluster
    from flows.crops.run import images_of, open_crops, run_crops
    from flows.run.mask_first import open_masked

    with progress_bar(quiet=as_json) as progress:
        plan = open_masked(request, open_crops, images=images_of(request), on=on, progress=progress)
        show_warnings((*plan.images.notes, *plan.notes))
        with cluster.start(on, plan.work) as pool:
            made = run_crops(plan, pool, progress)
    if as_json:
        print_json({"files": made.files, "images": len(plan.images.scenes)})
        return
    show_files(made.files)
