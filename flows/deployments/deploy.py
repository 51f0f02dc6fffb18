"""The deployments of `landweave serve`: one for each flow, with a page to start from and lists that
stay true."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.runner import Runner
from prefect.types.entrypoint import EntrypointType
from prefect.utilities.callables import ParameterSchema, parameter_schema

from flows.deployments.definitions import FLOWS
from flows.forms.choices import data_folder
from flows.reports.blocks import Code, Facts, Heading, Strong, Text, Words, words_of
from flows.reports.markdown import render_markdown
from flows.requests.access import reach_of_forms

START = "demo"
"""The deployment whose description is the page to start from."""

LOOK = 60.0
"""Seconds between two looks for scenes, maps and models that forms do not list yet."""


async def deploy(runner: Runner) -> dict[Flow[..., Any], UUID]:
    """The deployment of each flow that is offered."""
    page = start_page()
    return {
        flow: await runner.aadd_deployment(
            await flow.ato_deployment(
                flow.name,
                tags=["landweave", tag],
                description=page if flow.name == START else None,
                entrypoint_type=EntrypointType.MODULE_PATH,
            )
        )
        for flow, tag in FLOWS.items()
    }


def start_page() -> str:
    """What is here, which flow is for what, and where data goes, in Markdown."""
    roots = reach_of_forms().roots
    place: Words = Code(str(roots[0] / "maps")) if roots else (Code("maps"), ", beside the scene")
    run = Strong("Run"), " ▸ ", Strong("Quick run")
    page = render_markdown(
        [
            Heading("Land-cover maps from your own images"),
            Text(
                (
                    *(Strong("See one first"), ": "), *run,
                    " on this page. A minute later the ", Strong("Artifacts"), " of the run hold "
                    "a picture of the map, the areas of its classes and links to its files, which "
                    "lie in ", Code(str(data_folder() / "demo")), ".",
                )
            ),
            Text(
                (
                    *(Strong("Then your own image"), ": ", Strong("Deployments"), " ▸ "),
                    *(Strong("inspect-scene"), " ▸ "), *run,
                    " tells what is in it, what looks wrong and how long a map takes, and links "
                    "to the form filled in.",
                )
            ),
            Facts(tuple((flow.name, flow.description or "") for flow in FLOWS)),
            Text(
                (
                    *(Strong("Where maps go"), ": unless the form says otherwise into "),
                    *words_of(place), ", a folder for each scene.",
                )
            ),
            Text(
                (
                    *(Strong("What stands in lists"), ": scenes, maps and models in the data "),
                    *("folders (", Code("LANDWEAVE_DATA_ROOTS"), "), a minute after they are "),
                    "there. A path does as well.",
                )
            ),
            Text(
                (
                    *("Runs work one at a time and the others wait. ", Strong("Cancel")),
                    " keeps what is finished; the same form goes on from there.",
                )
            ),
        ]
    )  # fmt: skip
    return page.strip()


async def keep_lists(
    client: PrefectClient, deployed: Mapping[Flow[..., Any], UUID], every: float = LOOK
) -> None:
    """Have the forms list what the data folders hold, for ever."""
    known = {flow: flow.parameters for flow in deployed}
    while True:
        await asyncio.sleep(every)
        with suppress(Exception):  # a server that is away is told of by whoever needs it
            await renew_lists(client, deployed, known)


async def renew_lists(
    client: PrefectClient,
    deployed: Mapping[Flow[..., Any], UUID],
    known: dict[Flow[..., Any], ParameterSchema],
) -> None:
    """Make those forms anew whose lists have changed since they were `known`."""
    for flow, deployment in deployed.items():
        form = await asyncio.to_thread(parameter_schema, flow)
        if form != known[flow]:
            await client.update_deployment(
                deployment, DeploymentUpdate(parameter_openapi_schema=form.model_dump_for_openapi())
            )
            known[flow] = form
