"""`Engine`: frames in, pictures and what is seen in them out; an ISP, a head, or one behind the other."""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ispkit.core.errors import DomainError, ParamError
from ispkit.core.frame import Domain, Frame
from ispkit.isp.develop import cut_at_white
from ispkit.isp.pipeline import ISP, Pipeline
from ispkit.isp.tiled import Codes, codes, render_tiled
from ispkit.perceive.head import Head, Seen

BATCH_PIXELS = 4_000_000
"""of all frames of a batch, so that memory has a bound; a larger frame goes alone, a pipeline's in tiles"""


@dataclass(frozen=True, eq=False)
class Job:
    """One frame to be worked on."""

    frame: Frame
    """one picture, any domain that the ISP takes, or DISPLAY_RGB for the head alone"""
    picture: bool = False
    """whether the picture itself is wanted"""
    since: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True, eq=False)
class Made:
    """What became of a job."""

    size: tuple[int, int]
    """height, width of the upright picture"""
    codes: Codes | None
    """(H, W, 3) uint8 encoded sRGB, where wanted"""
    seen: Seen | None
    batch: int
    """jobs that shared the work"""
    queue_s: float
    """from the job's making to the work's begin"""
    isp_s: float
    """of the whole batch"""
    head_s: float
    """likewise"""


class Engine:
    """An ISP -> pictures; a head behind it, or alone, -> classes, boxes or regions.

    All that it asks of them is their contracts: a joint model is its two halves. Raises `ParamError` where there is
    neither, `DomainError` for an ISP that makes no finished pictures.
    """

    def __init__(
        self, isp: ISP | None = None, head: Head | None = None, *, device: str | torch.device = "cpu", batch: int = 8
    ) -> None:
        if isp is None and head is None:
            raise ParamError("nothing to serve; give an ISP, a head, or both")
        if isp is not None and isp.writes is not Domain.DISPLAY_RGB:
            raise DomainError(f"this ISP ends with a {isp.writes.value} frame, not a picture to look at")
        if batch < 1:
            raise ParamError(f"batch={batch} must be at least 1")
        self.isp, self.head, self.device, self.batch = isp, head, torch.device(device), batch
        for net in (isp, head):
            if isinstance(net, nn.Module):
                net.to(self.device).eval().requires_grad_(False)

    def check(self, frame: Frame) -> None:
        """Raise `DomainError` for a frame that nothing here takes."""
        if frame.domain is Domain.DISPLAY_RGB:
            if self.head is None and not self._develops(frame):
                raise DomainError("a finished picture needs a head, or lux=... that makes a RAW of it; this is neither")
        elif self.isp is None:
            raise DomainError("this server has a head alone: send a JPEG or PNG, or start it with an ISP")

    def kind(self, job: Job) -> Hashable:
        """What must be equal in a batch."""
        frame, meta = job.frame, job.frame.meta
        mapped = meta.noise_map is not None
        return frame.domain, frame.size, meta.cfa, meta.orientation[0], mapped, frame.data.dtype

    def most(self, job: Job) -> int:
        """How many such jobs fit in a batch."""
        height, width = job.frame.size
        return max(1, min(self.batch, BATCH_PIXELS // (height * width)))

    @torch.no_grad()
    def __call__(self, jobs: Sequence[Job]) -> list[Made]:
        """Work on jobs of one kind. Raises what ISP and head raise."""
        began = time.perf_counter()
        finished = self._finished(Frame.cat([job.frame for job in jobs]).to(self.device))
        developed = self._now()
        seen = self._seen(finished.data)
        ended = self._now()
        return [
            Made(
                size=finished.size,
                codes=codes(finished.data[i]) if job.picture else None,
                seen=seen[i],
                batch=len(jobs),
                queue_s=began - job.since,
                isp_s=developed - began,
                head_s=ended - developed,
            )
            for i, job in enumerate(jobs)
        ]

    def _develops(self, frame: Frame) -> bool:
        return self.isp is not None and (frame.domain is not Domain.DISPLAY_RGB or self.isp.reads is frame.domain)

    def _finished(self, frame: Frame) -> Frame:
        """Upright and in [0, 1]."""
        if self._develops(frame):
            frame = self._developed(frame)
        frame = frame.upright()
        return frame.with_data(frame.data.float().clamp(0.0, 1.0))

    def _developed(self, frame: Frame) -> Frame:
        if self.isp is None:
            return frame
        if not isinstance(self.isp, Pipeline):
            return self.isp(frame)
        if frame.domain is Domain.CAMERA_RGB:
            frame = cut_at_white(frame)
        large = frame.batch * frame.size[0] * frame.size[1] > BATCH_PIXELS
        return render_tiled(self.isp, frame) if large else self.isp(frame)

    def _seen(self, picture: Tensor) -> Sequence[Seen | None]:
        if self.head is None:
            return [None] * len(picture)
        height, width = (int(side) for side in picture.shape[-2:])
        return self.head.seen(self.head(picture), (height, width))

    def _now(self) -> float:
        """The time at which all that was asked of the device is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
