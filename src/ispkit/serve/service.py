"""`Service`: a request from its body to its answer, over the threads that do the work."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, Any, TypeVar

import torch

from ispkit.core.errors import BlackBoxError, DomainError, IspkitError, MissingExtraError, ParamError
from ispkit.core.frame import Domain
from ispkit.sensor.catalog import lux_to_iso
from ispkit.serve.answers import data_url, number, picture_bytes, seen_data, server_timing
from ispkit.serve.asked import LUX, As, Asked
from ispkit.serve.batcher import Batcher, ClosedError
from ispkit.serve.dark import Darkness
from ispkit.serve.engine import Engine, Job, Made
from ispkit.serve.limits import Gate, Limits, RefusedError, Slot, spooled
from ispkit.serve.metrics import Metrics
from ispkit.serve.reading import read_frame

T = TypeVar("T")
_LONGEST_ERROR = 400
_PICTURES = ("jpeg", "png")
_DECODERS = 2
"""threads that decode and encode files"""


@dataclass(frozen=True)
class Answer:
    """A good answer."""

    body: bytes
    kind: str
    """MIME type"""
    timing: str
    """the header Server-Timing"""


class Service:
    """All of a server but its HTTP side.

    Args:
        engine: what is served.
        limits: what a stranger may ask.
        wait_s: how long a request waits for others to share a batch.
        darkness: how pictures are made RAW where a request says `lux`; None refuses those.
        names: of ISP and head, for people.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        limits: Limits | None = None,
        wait_s: float = 0.004,
        darkness: Darkness | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        self.engine, self.limits, self.names = engine, limits or Limits(), dict(names or {})
        self.darkness = darkness
        self.metrics, self.gate = Metrics(), Gate(self.limits.concurrency)
        self.batcher: Batcher[Job, Made] = Batcher(self._work, kind=engine.kind, most=engine.most, wait_s=wait_s)
        self._pool = ThreadPoolExecutor(min(_DECODERS, os.cpu_count() or 1), thread_name_prefix="files")
        self.metrics.gauges |= {
            "queue_length": ("frames that wait to be worked on", lambda: float(self.batcher.waiting)),
            "requests_in_progress": ("requests that are read or worked on", lambda: float(self.gate.used)),
        }

    @property
    def alive(self) -> bool:
        """Whether requests would be answered."""
        return self.batcher.alive

    def about(self) -> dict[str, Any]:
        """What is served and within which bounds, for people and pages."""
        head, dark = self.engine.head, self.darkness
        develops = self.engine.isp is not None and self.engine.isp.reads is not Domain.DISPLAY_RGB
        return {
            **self.names,
            "task": None if head is None else head.task,
            "reads_raw": develops,
            "dark": None if dark is None or not develops else {"sensor": dark.sensor, "lux": list(LUX)},
            "batch": self.engine.batch,
            "most_bytes": self.limits.most_bytes,
            "most_pixels": self.limits.most_pixels,
            "concurrency": self.limits.concurrency,
            "timeout_s": self.limits.timeout_s,
        }

    async def answer(self, wishes: Asked, body: AsyncIterator[bytes]) -> Answer:
        """Read, decode, work, encode. Raises `RefusedError` and what the file or the request causes."""
        began = time.perf_counter()
        if wishes.lux is not None and self.about()["dark"] is None:
            raise ParamError("lux: this server makes no RAW of pictures; it has no ISP that reads RAW")
        slot = self.gate.enter()
        try:
            spool = await spooled(body, self.limits, self.limits.timeout_s)
            read = time.perf_counter()
            try:
                async with asyncio.timeout(max(0.001, began + self.limits.timeout_s - read)):
                    return await self._answer(slot, wishes, spool, (began, read))
            except TimeoutError:
                raise RefusedError(504, f"not done within {self.limits.timeout_s:g} s", retry_after_s=5) from None
        finally:
            slot.release()

    def close(self) -> None:
        """Finish what has begun, and end the threads."""
        self.batcher.close()
        self._pool.shutdown(wait=True)

    async def _answer(self, slot: Slot, wishes: Asked, spool: IO[bytes], times: tuple[float, float]) -> Answer:
        began, read = times
        job = await self._off(slot, lambda: self._job(spool, wishes), spool.close)
        future = self.batcher.submit(job)
        slot.keep(future)
        made = await asyncio.wrap_future(future)
        parts = {
            "read": read - began,
            "decode": job.since - read,
            "queue": made.queue_s,
            "isp": made.isp_s,
            "head": made.head_s,
        }
        return await self._off(slot, lambda: self._packed(made, wishes, parts, began))

    async def _off(self, slot: Slot, work: Callable[[], T], after: Callable[[], None] | None = None) -> T:
        """Work in a thread of the pool; `after` happens in any case."""
        try:
            future: Future[T] = self._pool.submit(work)
        except RuntimeError as error:
            if after is not None:
                after()
            raise ClosedError("the server is about to end") from error
        slot.keep(future)
        if after is not None:
            done = after
            future.add_done_callback(lambda _: done())
        return await asyncio.wrap_future(future)

    def _job(self, spool: IO[bytes], wishes: Asked) -> Job:
        frame = read_frame(spool.read(), wishes.facts, self.limits)
        if wishes.lux is not None and self.darkness is not None:
            if frame.domain is not Domain.DISPLAY_RGB:
                raise DomainError("lux: this is a RAW file, whose light is what it is; only pictures are made dark")
            frame = self.darkness.shot(frame, wishes.lux, wishes.seed)
        self.engine.check(frame)
        return Job(frame, picture=self._form(wishes) != "json")

    def _work(self, jobs: Sequence[Job]) -> list[Made]:
        self.metrics.batches.add(len(jobs))
        return self.engine(jobs)

    def _form(self, wishes: Asked) -> As:
        return wishes.answer or ("json" if self.engine.head is not None else "jpeg")

    def _packed(self, made: Made, wishes: Asked, parts: dict[str, float], began: float) -> Answer:
        """The answer in its form, with all times but the last step's own."""
        form, started = self._form(wishes), time.perf_counter()
        file = b""
        if made.codes is not None:
            file = picture_bytes(made.codes, "png" if form == "png" else "jpeg", wishes.quality)
        told = {} if form in _PICTURES else self._told(made, wishes)
        parts["encode"] = time.perf_counter() - started
        for part, seconds in parts.items():
            self.metrics.parts[part].add(seconds)
        parts["total"] = time.perf_counter() - began
        latency = {part: number(1e3 * seconds) for part, seconds in parts.items()}
        if form in _PICTURES:
            return Answer(file, f"image/{form}", server_timing(latency))
        data = {**told, "latency_ms": latency, "batch": made.batch}
        if form == "both":
            data["picture"] = data_url(file)
        text = json.dumps(data, ensure_ascii=False, allow_nan=False)
        return Answer(text.encode(), "application/json", server_timing(latency))

    def _told(self, made: Made, wishes: Asked) -> dict[str, Any]:
        """What is seen, and in what light."""
        height, width = made.size
        data: dict[str, Any] = {"width": width, "height": height, **seen_data(made, self.engine.head)}
        if wishes.lux is not None and self.darkness is not None:
            data["dark"] = {"lux": wishes.lux, "iso": number(lux_to_iso(wishes.lux)), "sensor": self.darkness.sensor}
        return data


def refusal(error: Exception) -> RefusedError | None:
    """How an error is told; None for a bug of our own."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, ClosedError):
        return RefusedError(503, "the server is about to end", retry_after_s=5)
    if isinstance(error, MemoryError) or _out_of_memory(error):
        return RefusedError(503, "not enough memory for this picture at the moment", retry_after_s=5)
    if not isinstance(error, IspkitError):
        return None
    text = " ".join(str(error).split())[:_LONGEST_ERROR] or type(error).__name__
    if isinstance(error, BlackBoxError):
        return RefusedError(502, text)
    if isinstance(error, MissingExtraError):
        return RefusedError(501, text)
    return RefusedError(400 if isinstance(error, ParamError) else 422, text)


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "allocate memory" in str(error)
    )
