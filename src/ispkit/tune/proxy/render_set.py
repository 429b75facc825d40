"""What a proxy learns from: frames, settings and the pictures that the real black box made of them."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ispkit.core.errors import BlackBoxError, FileError, ShapeError
from ispkit.core.frame import Frame
from ispkit.core.space import ParamSpace
from ispkit.io.atomic import write_bytes
from ispkit.isp.pipeline import ISP
from ispkit.isp.proxy import input_channels, sites
from ispkit.tune.contracts import Point
from ispkit.tune.searchers.record import legal

Pixels8 = NDArray[np.uint8]
Progress = Callable[[int, int], None]
"""(renders done, renders in all)"""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Render:
    """One picture by the real black box."""

    frame: int
    """which of the frames"""
    point: Point
    """the setting in the unit cube, legal"""
    picture: Pixels8
    """(H, W, 3)"""
    corner: tuple[int, int] = (0, 0)
    """where in the frame the picture's first pixel lies; even numbers"""


@dataclass(frozen=True)
class Batch:
    """Patches of inputs (B, C, h, w), settings (B, P) and rendered pictures (B, 3, sh, sw) in [0, 1]."""

    pixels: Tensor
    units: Tensor
    target: Tensor


class RenderSet:
    """Renders as batches of random patches; settings kept apart as a whole are never learned from."""

    def __init__(self, frames: Sequence[Frame], renders: Sequence[Render]) -> None:
        if not renders:
            raise ShapeError("a proxy has nothing to learn from: no picture was rendered")
        self.frames, self.renders = list(frames), list(renders)
        self._inputs = [_input(f) for f in self.frames]
        self._scale = 2 if input_channels(frames[0].domain) == 4 else 1

    def split(self, share: float, *, seed: int) -> tuple[RenderSet, RenderSet]:
        """(to learn from, held out): about `share` of the settings, at least one, is held out."""
        keys = sorted({r.point.tobytes() for r in self.renders})
        count = max(1, round(share * len(keys)))
        if count >= len(keys):
            raise ShapeError(f"{len(keys)} setting(s) are too few to learn from and to judge on; render more")
        chosen = np.random.default_rng(seed).permutation(len(keys))[:count]
        kept = {keys[i] for i in chosen}
        parts = [[r for r in self.renders if (r.point.tobytes() in kept) is out] for out in (False, True)]
        return RenderSet(self.frames, parts[0]), RenderSet(self.frames, parts[1])

    def patch(self, wanted: int, multiple: int) -> int:
        """The largest side up to `wanted` (px) that all pictures have and the net takes. Raises `ShapeError`."""
        room = min(min(r.picture.shape[:2]) for r in self.renders) - 2 * (self._scale - 1)
        side = min(wanted, room) // (multiple * self._scale) * multiple * self._scale
        if side < 1:
            raise ShapeError(f"pictures of {room} px are too small for this net; they need {multiple * self._scale}")
        return int(side)

    def batch(self, rows: Sequence[int], side: int, generator: torch.Generator) -> Batch:
        """A random window of `side` px of each of these renders."""
        parts = [self._window(self.renders[i], side, generator) for i in rows]
        pixels, targets = (torch.stack(t) for t in zip(*parts, strict=True))
        points = np.stack([self.renders[i].point for i in rows])
        return Batch(pixels, torch.as_tensor(points, dtype=pixels.dtype), targets)

    def _window(self, render: Render, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        data, first = self._inputs[render.frame]
        s, places = self._scale, []
        for have, skip in zip(render.picture.shape[:2], first, strict=True):
            room = (have - skip - side) // s  # the first site that is whole lies `skip` pixels in
            places.append(skip + s * int(torch.randint(room + 1, (), generator=generator)))
        y, x = places
        target = torch.from_numpy(np.ascontiguousarray(render.picture[y : y + side, x : x + side]))
        top, left = ((o + p + f) // s for o, p, f in zip(render.corner, places, first, strict=True))
        pixels = data[:, top : top + side // s, left : left + side // s]
        return pixels, target.permute(2, 0, 1).to(pixels) / 255


def _input(frame: Frame) -> tuple[Tensor, tuple[int, int]]:
    if input_channels(frame.domain) == 3:
        return frame.data[0], (0, 0)
    planes, corner = sites(frame)
    return planes[0], corner


def latin_hypercube(count: int, dim: int, *, seed: int) -> NDArray[np.float64]:
    """(count, dim) in [0, 1): every coordinate has one value in each of `count` equal shares.

    McKay, Beckman, Conover, Technometrics 21(2), 1979.
    """
    rng = np.random.default_rng(seed)
    shares = np.stack([rng.permutation(count) for _ in range(dim)], 1) if dim else np.zeros((count, 0))
    return np.asarray((shares + rng.random((count, dim))) / count)


def as_pixels(picture: Tensor) -> Pixels8:
    """(1, 3, H, W) in [0, 1] -> (H, W, 3) 8-bit, as a finished picture is kept."""
    codes = (picture[0].detach().clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(codes.permute(1, 2, 0).cpu().numpy())


def as_tensor(picture: Pixels8) -> Tensor:
    """Inverse of `as_pixels`."""
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() / 255


@dataclass(frozen=True, kw_only=True)
class RenderPlan:
    """Stage 1's data: `count` patches of `patch` px, each with a setting of its own from a Latin hypercube."""

    count: int
    patch: int
    seed: int = 0


def render_samples(
    isp: ISP, frames: Sequence[Frame], plan: RenderPlan, *, folder: Path, progress: Progress | None = None
) -> RenderSet:
    """Render every sample by the real black box, one file each; files of an earlier run are taken as they are.

    A render that fails is left out and counted in the log. Raises `FileError` if the folder holds
    another plan's renders, `BlackBoxError` if more than half of them fail.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, isp.space, frames, plan)
    points = latin_hypercube(plan.count, isp.space.dim, seed=plan.seed)
    renders, failed = [], 0
    for i, point in enumerate(points):
        try:
            renders.append(_sample(isp, frames, legal(isp.space, point), (plan, i, folder)))
        except BlackBoxError as error:
            failed += 1
            _LOG.warning("sample %d was not rendered: %s", i, error)
            if failed > max(2, plan.count // 2):
                raise BlackBoxError(f"{failed} of {i + 1} renders failed; the last one: {error}") from error
        if progress is not None:
            progress(i + 1, plan.count)
    return RenderSet(frames, renders)


def _sample(isp: ISP, frames: Sequence[Frame], point: Point, place: tuple[RenderPlan, int, Path]) -> Render:
    plan, i, folder = place
    rng = np.random.default_rng((plan.seed, i))
    which = int(rng.integers(len(frames)))
    frame, path = frames[which], folder / f"{i:06d}.npy"
    side = [min(plan.patch, n) for n in frame.size]
    y, x = (2 * int(rng.integers((n - s) // 2 + 1)) for n, s in zip(frame.size, side, strict=True))
    if path.exists():
        return Render(which, point, np.load(path), (y, x))
    units = torch.as_tensor(point, dtype=torch.float32)
    with torch.no_grad():
        made = as_pixels(isp(frame.crop(y, x, side[0], side[1]), isp.space.from_vector(units)).data)
    if list(made.shape[:2]) != side:
        raise BlackBoxError(f"a {side[0]}x{side[1]} patch came back as {made.shape[0]}x{made.shape[1]}")
    buffer = io.BytesIO()
    np.save(buffer, made)
    write_bytes(path, buffer.getbuffer())
    return Render(which, point, made, (y, x))


def _claim(folder: Path, space: ParamSpace, frames: Sequence[Frame], plan: RenderPlan) -> None:
    """Note whose renders these are, or compare with what is noted."""
    digest = hashlib.sha256(repr([repr(k) for k in space.items()]).encode())
    for frame in frames:
        digest.update(np.ascontiguousarray(frame.data.detach().cpu().numpy()).tobytes())
    facts = {"patch": plan.patch, "count": plan.count, "seed": plan.seed, "frames and knobs": digest.hexdigest()}
    note = folder / "renders.json"
    if not note.exists():
        write_bytes(note, json.dumps(facts, indent=1).encode())
        return
    found = json.loads(note.read_text(encoding="utf-8"))
    other = [k for k, v in facts.items() if found.get(k) != v]
    if other:
        raise FileError(f"{folder} holds other renders ({', '.join(other)} differ); choose an empty folder")
