"""What `landweave serve` deploys: a page to start from, and forms whose lists stay true."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from flows.deployments.definitions import FLOWS
from flows.deployments.deploy import renew_lists, start_page
from flows.deployments.segment_scene import map_scene, segment_scene
from tests.scenes import draw_scene
from tests.server import call


def test_the_page_to_start_from_names_every_flow_and_where_data_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LANDWEAVE_DATA_ROOTS", "/data:/more")
    page = start_page()
    assert all(f"- **{flow.name}**: {flow.description}" in page for flow in FLOWS)
    assert "*Quick run*" in page
    assert "`/data/maps`" in page
    assert "`/data/demo`" in page
    monkeypatch.delenv("LANDWEAVE_DATA_ROOTS")
    assert "beside the scene" in start_page()


def test_a_scene_that_arrives_is_listed_and_forms_without_news_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[UUID, Any]] = []

    class Client:
        async def update_deployment(self, deployment: UUID, update: Any) -> None:
            told.append((deployment, update.model_dump(exclude_unset=True)))

    monkeypatch.setenv("LANDWEAVE_DATA_ROOTS", str(tmp_path))
    deployed = {map_scene: uuid4(), segment_scene: uuid4()}
    known = {flow: flow.parameters for flow in deployed}
    scene = draw_scene(tmp_path / "new.tif", 32, 32)
    for _ in range(2):
        asyncio.run(renew_lists(Client(), deployed, known))  # type: ignore[arg-type]  # all it asks of a client
    ((deployment, update),) = told
    assert deployment == deployed[map_scene]
    assert list(update) == ["parameter_openapi_schema"]
    assert update["parameter_openapi_schema"]["properties"]["scene"]["anyOf"][0]["enum"] == [
        str(scene)
    ]


@pytest.mark.slow
@pytest.mark.timeout(580)
def test_the_demo_is_deployed_with_that_page_and_needs_no_parameter(address: str) -> None:
    demo = call(address, "deployments/name/demo/demo")
    assert demo["description"] == start_page()
    assert demo["parameter_openapi_schema"].get("required", []) == []
