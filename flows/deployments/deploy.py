"""The deployments of `landweave serve`: one for each flow, with a page to start from and lists that
stay true."""

from __future__ import annotations

import asyncio
import re
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
    flows = "\n".join(f"- **{flow.name}**: {flow.description}" for flow in FLOWS)
    roots = reach_of_forms().roots
    goes = f"`{roots[0] / 'maps'}`" if roots else "`maps`, beside the scene"
    # these pages break lines where Markdown does not
    text = re.sub(r"(?<!\n)\n(?!\n)", " ", _START)
    return text.format(demo=data_folder() / "demo", flows=flows, goes=goes)


_START = """
## Land-cover maps from your own images

**See one first**: *Run* ▸ *Quick run* on this page. A minute later the *Artifacts* of the run hold
a picture of the
map, the areas of its classes and links to its files, which lie in `{demo}`.

**Then your own image**: *Deployments* ▸ *inspect-scene* ▸ *Run* ▸ *Quick run* tells what is in it,
what looks wrong
and how long a map takes, and links to the form filled in.

{flows}

**Where maps go**: unless the form says otherwise into {goes}, a folder for each scene.

**What stands in lists**: scenes, maps and models in the data folders (`LANDWEAVE_DATA_ROOTS`), a
minute after they are
there. A path does as well.

Runs work one at a time and the others wait. *Cancel* keeps what is finished; the same form goes on
from there.
""".strip()


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
