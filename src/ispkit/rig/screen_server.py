"""The HTTP side of `BrowserDisplay`: three files and three questions, with the standard library alone."""

from __future__ import annotations

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

_FILES = {
    "": ("screen.html", "text/html; charset=utf-8"),
    "screen.js": ("screen.js", "text/javascript; charset=utf-8"),
}
_QUIET = (BrokenPipeError, ConnectionResetError, TimeoutError)
_LONGEST_SIDE = 1 << 16
_LONGEST_BODY = 1 << 16
_LENGTH = re.compile(r"\d{1,9}", re.ASCII)


class Answers(Protocol):
    """What the pages may ask of the server's owner."""

    @property
    def base(self) -> str:
        """The path that every address begins with."""

    def next_frame(self, name: str, session: str, size: tuple[int, int], have: str) -> tuple[int, dict[str, Any] | str]:
        """Status and answer."""

    def picture(self, name: str, frame: str) -> bytes | None:
        """PNG bytes."""

    def acknowledge(self, name: str, session: str, size: tuple[int, int], frame: str, visible: bool) -> None:
        """A frame is painted."""


class PageServer(ThreadingHTTPServer):
    """One thread a request; none of them keeps the program alive."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], answers: Answers) -> None:
        super().__init__(address, Handler)
        self.answers = answers
        self.closing = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A page that went away is no news; anything else is printed as usual."""
        if not isinstance(sys.exc_info()[1], _QUIET):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """The page, its script, `next`, `frame/...` and `shown`, all below the token."""

    server: PageServer
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        """Files, frames and the next frame."""
        self._take_body()
        path, query = self._asked()
        if path is None:
            self._send(404, "text/plain; charset=utf-8", b"The address of this rig has changed; open the new one.")
        elif path in _FILES:
            name, kind = _FILES[path]
            self._send(200, kind, files("ispkit.rig").joinpath(name).read_bytes())
        elif path == "next":
            status, answer = self.server.answers.next_frame(*_who(query), query.get("have", ""))
            plain = isinstance(answer, str)
            body = answer if isinstance(answer, str) else json.dumps(answer)
            self._send(status, "text/plain; charset=utf-8" if plain else "application/json", body.encode())
        elif path.startswith("frame/") and path.count("/") == 2:
            _, name, file = path.split("/")
            picture = self.server.answers.picture(name, file.removesuffix(".png"))
            self._send(200 if picture else 410, "image/png", picture or b"")
        else:
            self._send(404, "text/plain; charset=utf-8", b"Nothing is here.")

    def do_POST(self) -> None:
        """The acknowledgement."""
        self._take_body()
        path, query = self._asked()
        if path != "shown":
            self._send(404, "text/plain; charset=utf-8", b"Nothing is here.")
            return
        self.server.answers.acknowledge(*_who(query), query.get("id", ""), query.get("visible") == "true")
        self._send(204, "text/plain", b"")

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: errors reach the user as `DeviceError`."""

    def handle_one_request(self) -> None:
        """As usual, but a closed server drops its old connections, so that pages turn to its successor."""
        super().handle_one_request()
        self.close_connection = self.close_connection or self.server.closing

    def parse_request(self) -> bool:
        """As usual; False, without an answer, once the server is closed."""
        return super().parse_request() and not self.server.closing

    def _take_body(self) -> None:
        """Read a body, which nobody needs, so that the next request is not looked for in it.

        A long or odd one stays unread and the connection ends after the answer.
        """
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not _LENGTH.fullmatch(length) or int(length) > _LONGEST_BODY:
            self.close_connection = True
        else:
            self.rfile.read(int(length))

    def _asked(self) -> tuple[str | None, dict[str, str]]:
        """Path below the token (None if the token is wrong) and the query's values."""
        parts = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        base = self.server.answers.base
        return (parts.path[len(base) :] if parts.path.startswith(base) else None), query

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


def _who(query: dict[str, str]) -> tuple[str, str, tuple[int, int]]:
    """Screen, session and size of the page that asks; nonsense becomes a size of 1 x 1."""
    sides = []
    for key in ("height", "width"):
        text = query.get(key, "")
        sides.append(max(1, min(int(text), _LONGEST_SIDE)) if _LENGTH.fullmatch(text) else 1)
    return query.get("screen", ""), query.get("session", ""), (sides[0], sides[1])
