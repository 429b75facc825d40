"""A client of `ispkit serve` with the standard library alone; one connection that is kept open."""

from __future__ import annotations

import http.client
import io
import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
from numpy.typing import NDArray

from ispkit.core.errors import FileError, IspkitError, ParamError
from ispkit.io.geometry import Facts

Body = str | os.PathLike[str] | bytes
_LOST = (http.client.HTTPException, ConnectionError)


class ServerError(IspkitError):
    """The server refused, or is not there; `status` is its answer's, 0 where there was none."""

    def __init__(self, text: str, status: int = 0, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.status, self.retry_after_s = status, retry_after_s


@dataclass(frozen=True)
class Reply:
    """One answer."""

    kind: str
    """MIME type"""
    body: bytes
    timing_ms: Mapping[str, float]
    """where the server's time went"""


class Client:
    """Talks to one server; use one for each thread.

    ```python
    with Client("http://127.0.0.1:8000") as server:
        print(server.see("IMG_0001.dng")["classes"][0])
        picture = server.picture("dump.raw", geometry=Geometry(width=640, height=480, bits=10, cfa="RGGB"))
    ```
    """

    def __init__(self, address: str, *, timeout_s: float = 60.0, context: ssl.SSLContext | None = None) -> None:
        """`context` tells which certificates are trusted, for https. Raises `ParamError` for no address."""
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ParamError(f"address {address!r} should be as http://127.0.0.1:8000")
        self._base = parts.path.rstrip("/")
        self._connection: http.client.HTTPConnection
        if parts.scheme == "https":
            self._connection = http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=timeout_s, context=context
            )
        else:
            self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def see(self, file: Body, *, geometry: Facts | None = None, lux: float | None = None, seed: int = 0) -> Any:
        """What is seen in a RAW file, a dump, a JPEG or a PNG, as the server's JSON: classes, boxes, latency.

        `lux` makes a picture a dark RAW first. Raises `ServerError`, `FileError`.
        """
        return json.loads(self.ask(file, as_="json", geometry=geometry, lux=lux, seed=seed).body)

    def picture(
        self, file: Body, *, geometry: Facts | None = None, lux: float | None = None, seed: int = 0
    ) -> NDArray[np.uint8]:
        """The developed picture, (H, W, 3) uint8 encoded sRGB, upright. Raises as `see`."""
        from PIL import Image

        reply = self.ask(file, as_="png", geometry=geometry, lux=lux, seed=seed)
        return np.asarray(Image.open(io.BytesIO(reply.body)).convert("RGB"))

    def ask(
        self, file: Body, *, as_: str = "json", geometry: Facts | None = None, lux: float | None = None, seed: int = 0
    ) -> Reply:
        """The answer as it came: `as_` is json, jpeg, png or both. Raises as `see`."""
        query: dict[str, Any] = {"as": as_, **_plain(geometry)}
        if lux is not None:
            query |= {"lux": lux, "seed": seed}
        return self._request("POST", f"/v1/see?{urlencode(query)}", _bytes(file))

    def health(self) -> Any:
        """The server's state. Raises `ServerError`."""
        return json.loads(self._request("GET", "/health").body)

    def about(self) -> Any:
        """What is served, and the limits. Raises `ServerError`."""
        return json.loads(self._request("GET", "/about").body)

    def _request(self, method: str, path: str, body: bytes | None = None) -> Reply:
        fresh = self._connection.sock is None
        try:
            response = self._once(method, path, body)
        except _LOST as error:
            self.close()
            if fresh:
                text = "the server hung up; perhaps the file is larger than it takes (`about` tells)"
                raise ServerError(text) from error
            return self._request(method, path, body)  # an idle connection that the server has closed meanwhile
        except OSError as error:
            self.close()
            raise ServerError(f"no answer from {self._connection.host}:{self._connection.port} ({error})") from error
        return response

    def _once(self, method: str, path: str, body: bytes | None) -> Reply:
        connection = self._connection
        headers = {"Content-Type": "application/octet-stream"} if body is not None else {}
        connection.request(method, self._base + path, body, headers)
        response = connection.getresponse()
        content = response.read()
        if response.status >= http.HTTPStatus.BAD_REQUEST:
            raise _refused(response, content)
        return Reply(response.headers.get_content_type(), content, _timing(response.headers.get("Server-Timing", "")))


def _bytes(file: Body) -> bytes:
    if isinstance(file, bytes):
        return file
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise FileError(f"cannot read {os.fspath(file)}: {error.strerror}") from error


def _plain(geometry: Facts | None) -> dict[str, str]:
    """Facts as words of an address; lists with colons."""
    if geometry is None:
        return {}
    stated = {name: value for name, value in geometry.stated().items() if value is not None}
    for name in ("color_matrix", "forward_matrix"):
        if name in stated:
            raise ParamError(f"{name} cannot be told in an address; write a DNG, which carries it")
    return {k: ":".join(map(str, v)) if isinstance(v, tuple) else str(v) for k, v in stated.items()}


def _timing(header: str) -> dict[str, float]:
    found = {}
    for part in filter(None, header.split(",")):
        name, _, value = part.strip().partition(";dur=")
        found[name] = float(value or 0)
    return found


def _refused(response: http.client.HTTPResponse, content: bytes) -> ServerError:
    try:
        text = str(json.loads(content)["error"])
    except (ValueError, KeyError, TypeError):
        text = f"the server answered {response.status} {response.reason}"
    after = response.headers.get("Retry-After")
    return ServerError(text, response.status, float(after) if after and after.isdecimal() else None)
