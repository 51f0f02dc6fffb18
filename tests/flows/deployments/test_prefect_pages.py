"""Prefect's pages with their drop-downs mended; nothing else is touched."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.responses import HTMLResponse, JSONResponse, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from flows.deployments.prefect_pages import SCRIPT, Mended

PAGE = "<!doctype html><html><head><title>Prefect</title></head><body>§</body></html>"
AS_BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8", "if-none-match": '"old"'}

client = TestClient(
    Mended(
        Starlette(
            routes=[
                Route("/runs", lambda _: HTMLResponse(PAGE, headers={"etag": '"old"'})),
                Route(
                    "/parts",
                    lambda _: StreamingResponse(
                        iter([PAGE[:40], PAGE[40:]]), media_type="text/html"
                    ),
                ),
                Route("/api/x", lambda _: JSONResponse({"html": "</head>"})),
            ]
        )
    )
)


def test_a_page_has_the_script_once_and_says_its_length() -> None:
    for path in ("/runs", "/parts"):
        answer = client.get(path, headers=AS_BROWSER)
        assert answer.content == PAGE.encode().replace(b"</head>", SCRIPT)
        assert int(answer.headers["content-length"]) == len(answer.content)
        assert "etag" not in answer.headers


def test_the_api_answers_as_it_did() -> None:
    for headers in ({}, AS_BROWSER):
        assert client.get("/api/x", headers=headers).json() == {"html": "</head>"}
    assert client.get("/runs", headers={"accept": "*/*"}).text == PAGE
