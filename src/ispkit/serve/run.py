"""A service on a port: for ever until a signal comes, or in a thread for tests and notebooks."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from ispkit.core.errors import FileError, ParamError
from ispkit.serve.app import make_app
from ispkit.serve.protocol import protocol_for
from ispkit.serve.service import Service

_BACKLOG = 128
_KEEP_ALIVE_S = 20
_START_S = 30.0
_ARENA_MAX = -8
"""of mallopt(3)"""


@dataclass(frozen=True)
class Address:
    """Where to listen."""

    host: str = "127.0.0.1"
    """this machine alone; 0.0.0.0 is every network that it is in"""
    port: int = 8000
    """0 takes a free one"""
    cert: Path | None = None
    """certificate (.pem) for https, which phones ask for before they give the camera"""
    key: Path | None = None
    """of the certificate"""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ParamError(f"port={self.port} is outside [0, 65535]")
        if (self.cert is None) != (self.key is None):
            raise ParamError("https needs a certificate and its key; give both")
        for file in (self.cert, self.key):
            if file is not None and not file.is_file():
                raise FileError(f"{file}: no such file; it should hold a certificate or its key (.pem)")

    def url(self, port: int) -> str:
        """What to open in a browser; `port` is the one that was had."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.cert else ''}://{host}:{port}"


class _Server(uvicorn.Server):
    """uvicorn without its habit of raising the signal again once all is well ended."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The first signal ends the server when its requests are answered, a second Ctrl-C at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        wanted = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in wanted}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def serve(service: Service, address: Address, told: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; requests in flight are answered first. `told` gets the URL when it listens.

    The service is closed at the end. Raises `FileError` for a certificate that does not work, `ParamError` for an
    address that cannot be had.
    """
    try:
        server, listener = _made(service, address)
    except BaseException:
        service.close()
        raise
    told(address.url(listener.getsockname()[1]))
    server.run(sockets=[listener])


@contextlib.contextmanager
def serving(service: Service, address: Address | None = None) -> Iterator[str]:
    """The server in a thread of this process, on a free port by default; gives its URL. Raises as `serve`.

    ```python
    with serving(Service(Engine(open_isp("neutral")))) as url:
        picture = Client(url).picture("IMG_0001.dng")
    ```
    """
    where = address or Address(port=0)
    server, listener = _made(service, where)
    port = listener.getsockname()[1]
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="server", daemon=True)
    thread.start()
    deadline = time.monotonic() + _START_S
    while not server.started and thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.005)
    try:
        yield where.url(port)
    finally:
        server.should_exit = True
        thread.join()


def level_memory() -> None:
    """Let all threads share one heap (glibc), before they begin: memory stays level however long a process serves.

    With a heap for each thread, which is glibc's habit, frames of many sizes leave gaps in all of them.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)


def _made(service: Service, address: Address) -> tuple[_Server, socket.socket]:
    config = uvicorn.Config(
        make_app(service),
        http=protocol_for(service.limits),
        ws="none",
        lifespan="on",
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(service.limits.timeout_s + service.limits.header_s) + 5,
        ssl_certfile=address.cert,
        ssl_keyfile=address.key,
    )
    try:
        config.load()
    except OSError as error:  # ssl.SSLError among them
        raise FileError(f"{address.cert}: no certificate that fits the key {address.key} ({error})") from error
    return _Server(config), _listener(address)


def _listener(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # asyncio sends small packets at once only on sockets that name their protocol
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address.host, address.port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        where = f"{address.host}:{address.port}"
        raise ParamError(f"cannot listen at {where} ({error.strerror}); choose another --port or --host") from error
    return listener
