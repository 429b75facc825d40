"""The HTTP side: a page, `v1/see`, `about`, `health` and `metrics`; errors are one line of JSON."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from ispkit.serve.asked import asked
from ispkit.serve.limits import RefusedError, check_head
from ispkit.serve.service import Service, refusal

_LOG = logging.getLogger("ispkit.serve")
_FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
}
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_GONE = 499
_LINGER_S, _LINGER_BYTES = 1.0, 16 << 20
_DOC = """The body is the file itself: a RAW file (DNG and what LibRaw opens), a JPEG or a PNG, or a headerless dump
with its geometry in the query (width, height, bits, cfa, black_level, packing, ... as `ispkit render --geometry`).
`as` is json, jpeg, png or both (else Accept decides); `lux` makes a picture a dark RAW first, with noise of `seed`.
Errors are {"error": "..."}: 400 and 422 what is wrong with request or file, 408 too slow, 413 too large, 503 busy
(Retry-After), 504 not done in time."""


class Refusal(JSONResponse):
    """An error as JSON. Of an `unread` body the rest is thrown away for a moment, so that the client reads the answer.

    A client that has sent all it wanted would else meet a closed connection, and never the reason.
    """

    def __init__(self, refused: RefusedError, *, unread: bool) -> None:
        headers = {"Connection": "close"} if unread else {}
        self.unread = unread
        if refused.retry_after_s is not None:
            headers["Retry-After"] = str(refused.retry_after_s)
        super().__init__({"error": str(refused)}, refused.status, headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send, linger, close."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        if self.unread and (b"expect", b"100-continue") not in scope["headers"]:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LINGER_S):
                    await _thrown_away(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Body:
    """A request's body, which knows whether all of it was read."""

    def __init__(self, request: Request) -> None:
        self.request, self.read = request, False

    async def chunks(self) -> AsyncIterator[bytes]:
        async for chunk in self.request.stream():
            yield chunk
        self.read = True


async def _thrown_away(receive: Receive) -> None:
    taken = 0
    while taken < _LINGER_BYTES:
        message = await receive()
        taken += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body", False):
            return


class Doors:
    """What is behind each address."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.files = {
            path: (files("ispkit.serve").joinpath(name).read_bytes(), kind) for path, (name, kind) in _FILES.items()
        }

    async def see(self, request: Request) -> Response:
        """The one that works."""
        began = time.perf_counter()
        metrics, body = self.service.metrics, _Body(request)
        try:
            wishes = asked(request.query_params.multi_items(), request.headers.get("accept", ""))
            check_head(request.headers, self.service.limits)
            answer = await self.service.answer(wishes, body.chunks())
        except ClientDisconnect:
            metrics.answered("see", _GONE)
            return Response(status_code=_GONE)
        except Exception as error:
            refused = _told(error)
            metrics.answered("see", refused.status)
            return Refusal(refused, unread=not body.read)
        metrics.answered("see", 200, time.perf_counter() - began)
        headers = {"Server-Timing": answer.timing, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        return Response(answer.body, media_type=answer.kind, headers=headers)

    async def about(self) -> Response:
        """What is served."""
        return JSONResponse(self.service.about())

    async def health(self) -> Response:
        """Whether requests would be answered."""
        alive, metrics = self.service.alive, self.service.metrics
        facts = {"status": "ok" if alive else "ending", "uptime_s": round(time.time() - metrics.began, 1)}
        facts |= {"answered": metrics.count, "in_progress": self.service.gate.used}
        return JSONResponse(facts, 200 if alive else 503)

    async def metrics(self) -> Response:
        """For Prometheus."""
        return Response(self.service.metrics.text(), media_type="text/plain; version=0.0.4")

    async def page(self, request: Request) -> Response:
        """The page and its parts."""
        body, kind = self.files[request.url.path]
        return Response(body, media_type=kind, headers=_PAGE_HEADERS)


def _told(error: Exception) -> RefusedError:
    """What the client hears; the traceback of a bug stays in the log."""
    refused = refusal(error)
    if refused is None:
        _LOG.error("a bug, please report it", exc_info=error)
        return RefusedError(500, "a bug of the server; its log says more")
    return refused


def make_app(service: Service) -> FastAPI:
    """The application; it closes the service when it ends."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.close)

    async def failed(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 400
        text = error.detail if isinstance(error, HTTPException) else "the request cannot be read"
        service.metrics.answered("other", status)
        return Refusal(RefusedError(status, f"{text}; POST files to /v1/see"), unread=request.method != "GET")

    # the pages that FastAPI makes of its own accord load their scripts from elsewhere
    app = FastAPI(title="ispkit serve", version=version("ispkit"), docs_url=None, redoc_url=None, lifespan=lifespan)
    app.add_exception_handler(HTTPException, failed)
    doors = Doors(service)
    file: dict[str, Any] = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
    app.add_api_route(
        "/v1/see",
        doors.see,
        methods=["POST"],
        description=_DOC,
        response_model=None,
        openapi_extra={"requestBody": {"required": True, **file}},
    )
    for path, door in (("/about", doors.about), ("/health", doors.health), ("/metrics", doors.metrics)):
        app.add_api_route(path, door, methods=["GET"], response_model=None)
    for path in doors.files:
        app.add_api_route(path, doors.page, methods=["GET"], response_model=None, include_in_schema=False)
    return app
