"""What a busy database refuses is asked again, and arrives once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from starlette.types import Message, Receive, Scope, Send

from flows.deployments.prefect_app import PAUSES, Persistent, name_run
from flows.forms.choices import PRODUCT_WORDS
from flows.tasks.words import RENAMED

BODY = [b'{"parameters": ', b'{"scene": "a.tif"}}']


class Busy:
    """An app that answers 503 so many times, as Prefect does, and then says what it was sent."""

    def __init__(self, times: int, raises: bool) -> None:
        self.left, self.raises, self.asked = times, raises, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        parts, more = [], True
        while more:
            message = await receive()
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        if self.left:
            self.left -= 1
            await send({"type": "http.response.start", "status": 503, "headers": []})
            await send({"type": "http.response.body", "body": b"Service Unavailable"})
            if self.raises:
                raise OperationalError("INSERT", {}, Exception("database is locked"))
            return
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": b"".join(parts)})


def asked(
    app: Callable[[Scope, Receive, Send], Awaitable[None]],
    method: str,
    path: str = "/api/x",
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> list[Message]:
    """What a client gets that sends `BODY` once."""
    sent: list[Message] = []
    coming = [
        {"type": "http.request", "body": part, "more_body": part != BODY[-1]} for part in BODY
    ]

    async def receive() -> Any:
        return coming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(
        app({"type": "http", "method": method, "path": path, "headers": headers}, receive, send)
    )
    return sent


@pytest.mark.parametrize("raises", [False, True])
def test_a_change_that_a_busy_database_refuses_is_made_later_with_the_same_body(
    raises: bool,
) -> None:
    busy = Busy(3, raises)
    answer = asked(Persistent(busy, (0, 0, 0)), "POST")
    assert [message.get("status") for message in answer] == [201, None]
    assert answer[1]["body"] == b"".join(BODY)
    assert busy.asked == 4


def test_a_database_that_stays_busy_is_told_of_in_the_end() -> None:
    answer = asked(Persistent(Busy(9, raises=False), (0, 0)), "POST")
    assert answer[0]["status"] == 503
    assert sum(PAUSES) > 50


def test_what_only_reads_is_passed_on() -> None:
    busy = Busy(1, raises=False)
    assert asked(Persistent(busy, (0, 0)), "GET")[0]["status"] == 503
    assert busy.asked == 1


def test_another_fault_is_no_busy_database() -> None:
    async def torn(scope: Scope, receive: Receive, send: Send) -> None:
        raise OperationalError("INSERT", {}, Exception("no such table"))

    with pytest.raises(OperationalError):
        asked(Persistent(torn, (0, 0)), "POST")


def sent(presets: dict[str, Any] | None = None, **asked: Any) -> dict[str, Any]:
    """What the server is sent for a form."""
    return dict(json.loads(name_run(json.dumps(asked).encode(), presets or {})))


def test_products_in_the_words_of_an_earlier_form_mean_what_they_did() -> None:
    asked = sent(
        parameters={
            "scene": ["a.tif"],
            "output": {"products": ["vectors", "entropy", 7], "simplify": False},
        }
    )
    assert asked["parameters"]["output"] == {
        "products": ["polygons", "evenness of the classes", 7],
        "simplify": False,
    }
    assert all(PRODUCT_WORDS[new] == old for old, new in RENAMED.items())
    for odd in ({"output": None}, {"output": {"products": "vectors"}}, {"output": ["vectors"]}):
        assert sent(parameters=odd)["parameters"] == odd


def test_a_run_is_named_by_what_it_is_of_from_the_start() -> None:
    parameters = {"scene": ["/data/valley.tif"], "segmenter": {"kind": "otsu"}}
    for made_up in (None, "", "alpha987-scurus", "epsilon3-ruah-field"):
        assert sent(name=made_up, parameters=parameters)["name"] == "valley · otsu"
    whole = sent(
        name="Upper valley", parameters=parameters, tags=["mine"], enforce_parameter_schema=True
    )
    assert whole == {
        "name": "Upper valley",
        "parameters": parameters,
        "tags": ["mine", "valley", "otsu"],
        "enforce_parameter_schema": True,
    }
    for other in (b"", b"[]", b"{", b'{"parameters": []}'):
        assert name_run(other, {}) == other


def test_what_a_form_leaves_to_its_deployment_is_part_of_the_name() -> None:
    presets = {"scene": None, "segmenter": {"kind": "rules"}}
    whole = sent(presets, parameters={"scene": ["/data/valley.tif"]})
    assert whole["name"] == "valley · rules"
    assert whole["tags"] == ["valley", "rules"]
    assert whole["parameters"] == {"scene": ["/data/valley.tif"]}


class Deployments:
    """An app of one deployment that keeps what it is sent; it says 401 to whoever has no key."""

    def __init__(self) -> None:
        self.sent: dict[str, Any] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        known = dict(scope["headers"]).get(b"authorization") == b"Basic key"
        answer = {
            "parameters": {"method": "oaks"},
            "parameter_openapi_schema": {
                "properties": {"scene": {}, "method": {"default": "Rules"}}
            },
        }
        if scope["method"] == "GET":
            assert scope["path"] == "/api/deployments/7"
        else:
            self.sent = json.loads((await receive())["body"])
        await send({"type": "http.response.start", "status": 200 if known else 401, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


@pytest.mark.parametrize(("key", "name"), [(b"Basic key", "a · oaks"), (b"Basic guess", None)])
def test_the_deployment_is_asked_what_it_fills_in(key: bytes, name: str | None) -> None:
    deployments = Deployments()
    asked(
        Persistent(deployments, ()),
        "POST",
        "/api/deployments/7/create_flow_run",
        [(b"authorization", key)],
    )
    assert deployments.sent.get("name") == name
    assert deployments.sent["parameters"] == {"scene": "a.tif"}
