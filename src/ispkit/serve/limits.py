"""What a stranger may ask of the server: bytes, pixels, time, and how many at once."""

from __future__ import annotations

import asyncio
import math
import tempfile
import threading
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import IO, Any

from ispkit.core.errors import IspkitError, ParamError

_SPOOL_BYTES = 1 << 20
"""an upload of more goes to a file"""
_LONGEST_LENGTH = 15
"""digits of a Content-Length that can be meant"""


class RefusedError(IspkitError):
    """A request that gets an answer of its own status instead of what it asked for."""

    def __init__(self, status: int, text: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(text)
        self.status, self.retry_after_s = status, retry_after_s


@dataclass(frozen=True)
class Limits:
    """Bounds of one server. Raises `ParamError`."""

    most_bytes: int = 64 << 20
    """of a request's body"""
    most_pixels: int = 50_000_000
    """that a file may declare"""
    concurrency: int = 16
    """requests that are read or worked on at a time; one more is sent away"""
    timeout_s: float = 30.0
    """for all of a request: its body, the queue and the work"""
    header_s: float = 10.0
    """for the head of a request, and for a reader that takes nothing of its answer"""

    def __post_init__(self) -> None:
        for name in ("most_bytes", "most_pixels", "concurrency"):
            if not 1 <= getattr(self, name) < math.inf:
                raise ParamError(f"{name}={getattr(self, name)} must be at least 1")
        for name in ("timeout_s", "header_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise ParamError(f"{name}={getattr(self, name):g} must be a number of seconds above 0")


class Gate:
    """Lets `most` requests in at a time; a place is free again when everything begun for it has ended."""

    def __init__(self, most: int) -> None:
        self.most, self._used, self._lock = most, 0, threading.Lock()

    @property
    def used(self) -> int:
        """Places taken."""
        return self._used

    def enter(self) -> Slot:
        """A place. Raises `RefusedError` (503) where none is free."""
        with self._lock:
            if self._used >= self.most:
                text = f"busy: {self.most} requests are being worked on; try again in a second"
                raise RefusedError(503, text, retry_after_s=1)
            self._used += 1
        return Slot(self)

    def leave(self) -> None:
        """A place is free again."""
        with self._lock:
            self._used -= 1


class Slot:
    """One place: work that a time-out leaves behind in a thread keeps it until that ends, too."""

    def __init__(self, gate: Gate) -> None:
        self._gate, self._holders, self._lock = gate, 1, threading.Lock()

    def keep(self, work: Future[Any]) -> None:
        """Stay until this work has ended as well."""
        with self._lock:
            self._holders += 1
        work.add_done_callback(lambda _: self.release())

    def release(self) -> None:
        """One holder less."""
        with self._lock:
            self._holders -= 1
            last = self._holders == 0
        if last:
            self._gate.leave()


def check_head(headers: Mapping[str, str], limits: Limits) -> None:
    """Refuse by the head alone what cannot be taken. Raises `RefusedError`."""
    length = headers.get("content-length")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise RefusedError(415, "the body is compressed; send the file as it is")
    # what curl --data-binary calls a form is the file itself
    if headers.get("content-type", "").lower().startswith("multipart/"):
        raise RefusedError(415, "the body is a form; send the file itself, as curl --data-binary @FILE does")
    if length is None:
        if headers.get("transfer-encoding") is None:
            raise RefusedError(411, "the length of the body is missing; send Content-Length")
    elif not length.isdecimal() or len(length) > _LONGEST_LENGTH:
        raise RefusedError(400, "Content-Length is not a number")
    elif int(length) > limits.most_bytes:
        raise _too_large(limits)


async def spooled(body: AsyncIterator[bytes], limits: Limits, seconds: float) -> IO[bytes]:
    """The body in memory or, if it is large, in a private file without a name, rewound; close it and it is gone.

    Raises `RefusedError`: 413 for too many bytes, 408 if they take more than `seconds`, 400 for none.
    """
    spool: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)  # noqa: SIM115
    try:
        async with asyncio.timeout(seconds):
            await _fill(spool, body, limits)
    except TimeoutError:
        spool.close()
        raise RefusedError(408, f"the body did not arrive within {seconds:.3g} s") from None
    except BaseException:
        spool.close()
        raise
    spool.seek(0)
    return spool


async def _fill(spool: IO[bytes], body: AsyncIterator[bytes], limits: Limits) -> None:
    taken = 0
    async for chunk in body:
        taken += len(chunk)
        if taken > limits.most_bytes:
            raise _too_large(limits)
        spool.write(chunk)
    if not taken:
        raise RefusedError(400, "the body is empty; send a RAW file, a dump with its geometry, or a JPEG or PNG")


def _too_large(limits: Limits) -> RefusedError:
    return RefusedError(413, f"the body is larger than {limits.most_bytes / 1e6:.4g} MB, the most this server takes")


def check_pixels(height: int, width: int, limits: Limits) -> None:
    """Raises `RefusedError` (413) for a picture of more pixels than allowed."""
    if height * width > limits.most_pixels:
        most = f"{limits.most_pixels / 1e6:.4g}"
        raise RefusedError(413, f"{width}x{height} pixels are more than the {most} million that this server takes")
