"""Prefect's pages as `landweave serve` shows them: with the drop-downs mended, which a mouse could
not open."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SCRIPT = b"""<script>
addEventListener("click", event => {
  const button = event.isTrusted && event.target.closest?.(".p-select-button__control");
  if (!button) return;
  event.stopImmediatePropagation();
  button.closest(".p-select-button").dispatchEvent(new MouseEvent("click", {
    bubbles: true, cancelable: true,
    clientX: event.clientX, clientY: event.clientY}));
}, true);
</script></head>"""
"""In the pages of Prefect 3.8.8 (`PBaseInput`) a drop-down's listener sits on its button and on
what is around that, so that a click opens and closes it at once. Here what is around it hears of
the click, and the button does not."""


class Mended:
    """An app whose pages have the script in their head."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asks_for_page = scope["type"] == "http" and "text/html" in Headers(scope=scope).get(
            "accept", ""
        )
        if not asks_for_page or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        # what a browser has kept may be from a time before; and half a page cannot be changed
        without = (b"if-none-match", b"if-modified-since", b"range", b"accept-encoding")
        headers = [(name, value) for name, value in scope["headers"] if name not in without]
        await self._app({**scope, "headers": headers}, receive, Page(send))


class Page:
    """Passes an answer on, a page of HTML with the script."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if Headers(raw=message["headers"]).get("content-type", "").startswith("text/html"):
                self._start = message
                return
        elif message["type"] == "http.response.body" and self._start is not None:
            self._body += message.get("body", b"")
            if message.get("more_body", False):
                return
            start, self._start = self._start, None
            body = self._body.replace(b"</head>", SCRIPT, 1)
            headers = MutableHeaders(raw=list(start["headers"]))
            headers["content-length"] = str(len(body))
            del headers["etag"]
            del headers["last-modified"]
            await self._send({**start, "headers": headers.raw})
            message = {"type": "http.response.body", "body": body}
        await self._send(message)
