"""Frames into a program's input files, its pictures back into tensors, and the folders they lie in."""

from __future__ import annotations

import hashlib
import os
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from ispkit.core.errors import BlackBoxError, FileError, MissingExtraError, ShapeError
from ispkit.core.frame import UPRIGHT, Domain, Frame
from ispkit.core.meta import View
from ispkit.io.dng_writer import write_dng
from ispkit.io.pictures import write_picture
from ispkit.io.read_pictures import Picture, read_picture
from ispkit.isp.external.folders import make_folder, remove
from ispkit.isp.external.spec import InputRule, OutputRule


def frame_digest(frame: Frame) -> str:
    """A hash of one picture and of the facts that go into its file."""
    meta = frame.meta
    digest = hashlib.sha256(f"{frame.domain.value} {tuple(frame.data.shape)} {meta.cfa}".encode())
    for tensor in (frame.data, *meta.map(lambda t: t.float()).tensors().values()):
        digest.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).data)
    digest.update(repr(sorted(meta.exif[0].items(), key=str)).encode())
    return digest.hexdigest()


def write_input(path: Path, frame: Frame, rule: InputRule) -> None:
    """Write one frame as the rule says; its orientation is left out, so that the picture lies as the frame does."""
    if frame.domain is not rule.reads:
        raise ShapeError(f"a program that reads {rule.format} takes {rule.reads.value}, got {frame.domain.value}")
    frame = _padded(frame, even_margin(rule.crop_px))
    if rule.format == "dng":
        write_dng(path, frame, opcodes=False)
    elif rule.format == "raw16":
        samples = frame.data[0, 0].detach().cpu().round().clamp(0, 65535).numpy().astype("<u2")
        path.write_bytes(samples.tobytes())
    else:
        write_picture(path, frame, bits=16)
    if path.stat().st_size < rule.least_bytes:
        os.truncate(path, rule.least_bytes)


def even_margin(crop_px: int) -> int:
    """The pixels mirrored outwards: even, so that the filter array keeps its phase."""
    return crop_px + crop_px % 2


def _padded(frame: Frame, margin: int) -> Frame:
    height, width = frame.size
    if margin >= min(height, width):
        raise ShapeError(f"a {height}x{width} frame is too small to be mirrored by {margin} px; take a larger one")
    # about the border pixel's center: a site's color depends on the parity of its place alone
    data = pad(frame.data, (margin,) * 4, mode="reflect") if margin else frame.data
    view = (View((height + 2 * margin, width + 2 * margin)),)
    return frame.with_data(data, orientation=(1,), view=view, opcodes=((),), noise_map=None)


def read_output(source: Path | bytes, size: tuple[int, int], spec_in: InputRule, spec_out: OutputRule) -> Tensor:
    """The picture (3, H, W) of a frame of `size`. Raises `BlackBoxError` for anything that is none."""
    picture = _decoded(source)
    if not np.isfinite(picture.pixels).all():
        raise BlackBoxError("its picture holds values that are no finite numbers")
    pixels = torch.from_numpy(picture.pixels).permute(2, 0, 1)
    transpose, rows, columns = UPRIGHT[spec_out.orientation]
    pixels = pixels.transpose(-1, -2) if transpose else pixels
    pixels = pixels.flip([d for d, on in ((-2, rows), (-1, columns)) if on])
    rest = even_margin(spec_in.crop_px) - spec_in.crop_px
    found = (pixels.shape[-2] - 2 * rest, pixels.shape[-1] - 2 * rest)
    if found != size:
        wanted, got = f"{size[0]}x{size[1]}", f"{found[0]}x{found[1]}"
        raise BlackBoxError(f"its picture is {got} where the frame is {wanted}; set input.crop_px to what it cuts off")
    return pixels[:, rest : rest + size[0], rest : rest + size[1]].contiguous()


def _decoded(source: Path | bytes) -> Picture:
    try:
        return read_picture(source)
    except FileError as error:
        raise BlackBoxError(f"its output is no whole picture: {error}") from error
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"reading TIFF needs {error.name!r}; run: pip install tifffile") from error


def stack_pictures(frame: Frame, pictures: list[Tensor], writes: Domain) -> Frame:
    """The frames that a black box made; noise is not known any more."""
    data = torch.stack(pictures).to(frame.data.device, frame.data.dtype)
    meta = frame.meta
    if meta.batch == 1 and frame.batch > 1:
        meta = meta.select([0] * frame.batch)
    facts: dict[str, Any] = {"noise_map": None, "noise_profile": torch.zeros_like(meta.noise_profile)}
    return Frame(data, writes, replace(meta, **facts))


class Rooms:
    """A temporary folder of one process, with the inputs written so far and one folder a worker.

    It goes when the owner does, or with the next one made if the owner was killed; a copy in another process
    makes its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._root: Path | None = None
        self._free: list[Path] = []
        self._made = 0
        self._owner = 0

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]

    @property
    def root(self) -> Path:
        """The folder, made on first use."""
        with self._lock:
            if self._root is None or self._owner != os.getpid():  # a forked child shares nothing
                self._root, lock = make_folder()
                self._owner, self._free, self._made = os.getpid(), [], 0
                weakref.finalize(self, _remove, self._root, lock, self._owner)
            return self._root

    @contextmanager
    def worker(self, files: Mapping[str, str]) -> Iterator[Path]:
        """A folder that nobody else uses now; kept for the next render."""
        root = self.root
        with self._lock:
            room = self._free.pop() if self._free else None
            self._made += room is None
            number = self._made
        if room is None:
            room = root / f"worker{number}"
            for name, text in files.items():
                target = room / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text.replace("{worker}", str(room)), encoding="utf-8")
            room.mkdir(exist_ok=True)
        try:
            yield room
        finally:
            with self._lock:
                self._free.append(room)

    def input(self, frame: Frame, rule: InputRule, digest: str) -> Path:
        """The frame's input file, written when it is first asked for."""
        suffix = ".raw" if rule.format == "raw16" else f".{rule.format}"
        path = self.root / f"{digest[:32]}{suffix}"
        if not path.exists():
            part = path.with_name(f"{threading.get_ident()}-{path.name}")
            write_input(part, frame, rule)
            os.replace(part, path)
        return path


def _remove(root: Path, lock: int | None, owner: int) -> None:
    if os.getpid() == owner:
        remove(root, lock)
