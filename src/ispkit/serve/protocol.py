"""uvicorn's HTTP/1.1 with what a server on an open port needs: no connection waits for ever."""

from __future__ import annotations

import asyncio
import json
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from ispkit.serve.limits import Limits

_CONNECTIONS = 8
"""a place of the gate may have so many connections, idle ones among them"""
_SPARE_CONNECTIONS = 64


class TimedProtocol(H11Protocol):
    """Ends connections whose request's head does not come, and whose client does not read its answer.

    Bodies have their own limit of time in the service. What is no HTTP gets a 400 in JSON.
    """

    header_s: ClassVar[float] = 10.0
    most_connections: ClassVar[int] = 256

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._late: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None
        self._any = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock, or refuse one connection too many."""
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            self._end(503, "too many connections; try again in a second")
        else:
            self._start()

    def data_received(self, data: bytes) -> None:
        """As usual; the clock runs while the head of a request is incomplete."""
        self._any = True
        try:
            super().data_received(data)
        except h11.LocalProtocolError:  # nonsense behind an answer that has begun
            self.transport.abort()
            return
        if self.conn.their_state is not h11.IDLE:
            self._stop_late()
        elif self._late is None and not self.transport.is_closing():
            self._start()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks."""
        self._stop_late()
        _stop(self._stuck)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read; it has a while to go on."""
        super().pause_writing()
        _stop(self._stuck)
        self._stuck = self.loop.call_later(self.header_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        _stop(self._stuck)
        super().resume_writing()

    def on_response_complete(self) -> None:
        """The next request's head has the whole time again."""
        self._any = False
        self._stop_late()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP."""
        self._end(400, msg.rstrip("."))

    def _start(self) -> None:
        self._late = self.loop.call_later(self.header_s, self._give_up)

    def _stop_late(self) -> None:
        _stop(self._late)
        self._late = None

    def _give_up(self) -> None:
        self._late = None
        if self.transport.is_closing() or self.conn.their_state is not h11.IDLE:
            return
        if self._any:
            self._end(408, f"the head of the request did not arrive within {self.header_s:g} s")
        else:
            self.transport.close()

    def _end(self, status: int, text: str) -> None:
        """Answer without a request, and close."""
        body = json.dumps({"error": text}).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Connection", "close")]
        if status == 503:
            headers.append(("Retry-After", "1"))
        try:
            for event in (h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        except h11.LocalProtocolError:  # an answer has begun already
            self.transport.abort()
            return
        self.transport.close()


def protocol_for(limits: Limits) -> type[TimedProtocol]:
    """The protocol with the limits of one server."""
    facts = {
        "header_s": limits.header_s,
        "most_connections": _CONNECTIONS * limits.concurrency + _SPARE_CONNECTIONS,
    }
    return type("TimedProtocol", (TimedProtocol,), facts)


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
