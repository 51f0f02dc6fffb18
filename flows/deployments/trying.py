"""Flows to begin with: a scene to try everything on, and a look at a scene of one's own."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.utilities.urls import url_for
from pydantic import Field

from flows.compute import cluster
from flows.compute.spawning import empty_main
from flows.compute.work import Work
from flows.demo import BLOCK, write_demo
from flows.deployments import segment_scene
from flows.forms.choices import AS_FILE_SAYS, USUAL_METHOD, bands_of, data_folder, segmenter_of
from flows.forms.dropdowns import MethodChoice, SceneChoice, SensorChoice
from flows.forms.groups import Advanced, Bands, Output
from flows.forms.paths import path_of
from flows.forms.requests import cluster_for, request_from, within_reach
from flows.pages.artifacts import key_of
from flows.pages.inspection import Inspection, band_rows, facts, inspect, picture
from flows.pages.medium import write_artifact
from flows.pages.results import inspection_page
from flows.requests.access import reach_of_forms
from flows.requests.request import Request
from flows.requests.segmenters import choose_segmenter
from flows.requests.source import DrawnScene, Source
from flows.tasks.bar import Bar
from flows.tasks.runs import Outcome, as_flow, run_task

SIZE = 1024
"""Width and height of the demo's scene in pixels: a map in less than a minute."""


@as_flow(
    "inspect-scene",
    "Look at a scene before it is mapped: its picture, bands and scale, what looks wrong, how "
    "much memory and time a "
    "map would take, and the form filled in.",
)
def inspect_scene(
    bar: Bar,
    scene: SceneChoice,
    method: MethodChoice = USUAL_METHOD,
    sensor: SensorChoice = AS_FILE_SAYS,
) -> Outcome:
    """Look at a scene before it is mapped. Nothing is written.

    Args:
        scene: Path of a raster on the machine that does the work, or one of the rasters in its data
            folders.
        method: How land cover would be told.
        sensor: How the bands follow each other, where the file does not say it.
    """
    segmenter, bands = segmenter_of(method), Bands.model_validate({"names": bands_of(sensor)})
    # in reach, and nothing is written
    nowhere = str(next(iter(reach_of_forms().roots or ()), Path()))
    request = request_from([scene], nowhere, segmenter, bands, Output(), Advanced())
    bar.reach(0, "look at the scene")
    found = run_task(
        "inspect", "Open the scene, look at a sample, plan a map", partial(inspect, request)
    )
    title = f"{found.scene.title}: {facts(found)['size']}"
    key = key_of(found.scene.name, Path(request.source.paths[0]).parent)
    here: dict[str, Any] = {"scene": scene, "method": method, "sensor": sensor}
    every = {
        "scene": [path_of(scene)],
        "segmenter": segmenter.model_dump(mode="json"),
        "bands": bands.model_dump(),
    }
    links = {
        "map-scene": form_url("map-scene", here),
        "segment-scene": form_url("segment-scene", every),
    }
    create_markdown_artifact(page(found, method, links), key=f"inspection-{key}", description=title)
    create_table_artifact(
        band_rows(found),
        key=f"bands-{key}",
        description=f"Bands of {found.scene.title}, values as in the file",
    )
    doubts = f"{len(found.findings)} things to know" if found.findings else "nothing looks wrong"
    return Outcome(f"{title}; {'cannot be mapped so' if found.refusal else doubts}", news=False)


def page(found: Inspection, method: str, links: Mapping[str, str]) -> str:
    """An inspection on one page of Markdown."""
    png = picture(found.scene)
    with tempfile.TemporaryDirectory() as folder:
        path = None if png is None else Path(folder) / "scene.png"
        if path is not None and png is not None:
            path.write_bytes(png)
        return write_artifact(inspection_page(found, method, links, path))


def form_url(flow: str, parameters: Mapping[str, Any]) -> str:
    """The address of a flow's form, filled in with parameters; "" where the flow is not
    deployed."""
    try:
        with get_client(sync_client=True) as client:
            deployment = client.read_deployment_by_name(f"{flow}/{flow}")
    except ObjectNotFound:
        return ""
    asked = quote(json.dumps(parameters, separators=(",", ":"), ensure_ascii=False), safe="")
    return f"{url_for('deployment', obj_id=deployment.id)}/run?parameters={asked}"


@as_flow(
    "demo",
    "Draw a scene with its truth, map it, and compare: everything there is to see, from nothing. "
    "Quick run it.",
    DrawnScene,
)
def demo(
    bar: Bar,
    output_folder: str = "",
    size: Annotated[int, Field(ge=64, le=16384)] = SIZE,
    seed: Annotated[int, Field(ge=0)] = 0,
) -> Outcome:
    """Draw a scene with its truth, map it, and compare.

    Args:
        output_folder: Folder for the scene and its map; made if need be. Empty: demo/ in the data
            folder.
    """
    folder = Path(path_of(output_folder) or data_folder() / "demo")
    within_reach(folder)
    bar.reach(0, "draw the scene")
    with (
        empty_main(),
        cluster.start(cluster_for(Advanced()), Work((-(-size // BLOCK)) ** 2, 2**30)) as pool,
    ):
        scene, truth = run_task(
            "draw",
            "A landscape that nobody has seen before",
            partial(write_demo, folder, size, seed, pool),
        )
    request = Request(
        source=Source(paths=(str(scene),)),
        out=folder,
        segmenter=choose_segmenter("demo", {}),
        reference=str(truth),
    )
    return segment_scene.publish_map(request, cluster_for(Advanced()), bar)
