"""Prefect's server as `landweave serve` starts it: what the database was too busy for is asked
again.

SQLite takes one writer at a time. A request that has read before it writes is refused at once when
another one has written in between, however long the time-out; Prefect then answers 503 and a form
that was sent is gone. Whatever was refused so has been rolled back, so the same request can be made
again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from sqlalchemy.exc import DBAPIError
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flows.deployments.prefect_pages import Mended
from flows.forms import naming
from flows.pages.fileserver import WithFiles
from flows.tasks.words import update_parameters

UNAVAILABLE = 503

PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, *[2.0] * 25)
"""Seconds before each further attempt: for about a minute, which is what a person waits in front of
a form."""

SUBMIT = "/create_flow_run"
"""How the address ends that a form is sent to."""

READS = ("GET", "HEAD", "OPTIONS")

ASKED_ALIKE = (b"authorization", b"host")
"""Headers of a form that the question for its deployment is asked with."""

logger = logging.getLogger("landweave.prefect_app")


class Persistent:
    """An app that asks `app` again where it answers a change with 503."""

    def __init__(self, app: ASGIApp, pauses: Sequence[float] = PAUSES) -> None:
        self._app, self._pauses = app, pauses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in READS:
            await self._app(scope, receive, send)
            return
        body = await body_of(receive)
        if scope["path"].endswith(SUBMIT):
            body = name_run(body, await self._presets(scope))
        for attempt, pause in enumerate(self._pauses, start=1):
            answer = Answer(send)
            try:
                await self._app(dict(scope), replay_body(body, receive), answer)
            except DBAPIError:  # Prefect answers, then raises what it answered for
                if not answer.refused:
                    raise
            if not answer.refused:
                return
            logger.info(
                "%s %s: the database is busy, attempt %d", scope["method"], scope["path"], attempt
            )
            await asyncio.sleep(pause)
        await self._app(scope, replay_body(body, receive), send)

    async def _presets(self, scope: Scope) -> dict[str, Any] | None:
        """What the deployment of a form fills in where the form says nothing; None where the server
        does not say."""
        headers = {name: value for name, value in scope["headers"] if name in ASKED_ALIKE}
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(self._app, raise_app_exceptions=False)
        ) as client:
            answer = await client.get(
                f"http://server{scope['path'].removesuffix(SUBMIT)}", headers=headers
            )
        if answer.status_code != httpx.codes.OK:
            return None
        deployment = answer.json()
        fields = (deployment.get("parameter_openapi_schema") or {}).get("properties") or {}
        defaults = {name: field["default"] for name, field in fields.items() if "default" in field}
        return defaults | (deployment.get("parameters") or {})


class Answer:
    """Passes an answer on, unless it is a 503."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.refused = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.refused = message["status"] == UNAVAILABLE
        if not self.refused:
            await self._send(message)


def name_run(body: bytes, presets: Mapping[str, Any] | None) -> bytes:
    """What a form sends, in its words of today, with tags and a name that say what the run is of.

    The name is left where a person has given one.

    So the run is told from others while it waits, too. `presets` are the values of what the form
    leaves out; where they are not known the run is named once it starts.
    """
    if presets is None:
        return body
    try:
        asked = json.loads(body)
    except ValueError:  # Prefect says what is wrong with it
        return body
    if not isinstance(asked, dict) or not isinstance(asked.get("parameters"), dict):
        return body
    name, tags = asked.get("name") or "", asked.get("tags") or []
    asked["parameters"] = update_parameters(asked["parameters"])
    whole = {**presets, **asked["parameters"]}
    if not name or naming.MADE_UP.fullmatch(name):
        asked["name"] = naming.run_name(whole) or name or None
    asked["tags"] = list(dict.fromkeys([*tags, *naming.run_tags(whole)]))
    return json.dumps({key: value for key, value in asked.items() if value is not None}).encode()


async def body_of(receive: Receive) -> bytes:
    """All that a client sends."""
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def replay_body(body: bytes, receive: Receive) -> Receive:
    """Receives a body that has come already, then whatever else comes."""
    told = False

    async def next_message() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return next_message


def guard_app(app: ASGIApp, host: str, *, files: bool) -> ASGIApp:
    """The app with the files of runs, if wanted, for those alone who ask this machine by its own
    name.

    A page of the internet whose name is made to lead here (DNS rebinding) asks by that name, and is
    refused.
    """
    return TrustedHostMiddleware(
        WithFiles(app) if files else app, allowed_hosts=[host, "localhost"], www_redirect=False
    )


def main() -> None:
    """Serve until a signal asks to end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--files", action="store_true", help="show the files of runs too")
    asked = parser.parse_args()

    import prefect
    from prefect.server.api.server import create_app
    from prefect.settings import get_current_settings

    logging.basicConfig(level=logging.WARNING)
    # the second user interface asks an analytics service from the browser; where its files are not
    # found, the first one does not offer to switch to it
    prefect.__ui_v2_static_path__ = Path(prefect.__ui_v2_static_path__) / "not-offered"
    settings = get_current_settings().server
    uvicorn.run(
        guard_app(Mended(Persistent(create_app(final=True))), asked.host, files=asked.files),
        host=asked.host,
        port=asked.port,
        timeout_keep_alive=settings.api.keepalive_timeout,
        log_level=settings.logging_level.lower(),
    )


if __name__ == "__main__":
    main()
