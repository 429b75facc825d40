"""Checkpoints: all that a training needs to go on bit for bit; whole or not there, the last two kept.

The name of a file ends in the start of its own SHA-256, so a damaged one is known before it is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ispkit.core.errors import FileError
from ispkit.io.atomic import write_bytes

_FORMAT = 2
_KEPT = 2
_NAME = re.compile(r"step-(\d{8,})\.([0-9a-f]{16})\.pt")


@dataclass
class Position:
    """Where a training stands; what is random in its next step follows from it."""

    phase: int = 0
    step: int = 0
    """steps done in this phase"""
    total: int = 0
    """steps done in all"""
    seconds: float = 0.0
    """spent in this phase, over all sittings"""
    score: float | None = None
    """of the last evaluation in this phase, higher is better"""
    best_score: float | None = None
    stale: int = 0
    """evaluations since the best"""
    ended: bool = False
    """the phase was stopped early"""


@dataclass(frozen=True)
class Checkpoint:
    """A training's state at a step."""

    position: Position
    states: Mapping[str, Any]
    """state dictionaries by what they belong to: weights, optimizer, ema, scaler, best"""


def save_checkpoint(folder: Path, checkpoint: Checkpoint, *, of: str) -> Path:
    """Write one, then remove all but the last two; `of` says what training it belongs to.

    Raises `FileError`, on a full disk too; earlier ones are then as they were.
    """
    buffer = io.BytesIO()
    content = {"format": _FORMAT, "of": of, "position": asdict(checkpoint.position), "states": dict(checkpoint.states)}
    torch.save(content, buffer)
    digest = hashlib.sha256(buffer.getbuffer()).hexdigest()[:16]
    path = folder / f"step-{checkpoint.position.total:08d}.{digest}.pt"
    write_bytes(path, buffer.getbuffer())
    for old in checkpoints(folder)[:-_KEPT]:
        with contextlib.suppress(OSError):
            old.unlink()
    return path


def checkpoints(folder: Path) -> list[Path]:
    """The files of a folder, oldest first."""
    found = [p for p in folder.glob("step-*.pt") if _NAME.fullmatch(p.name)]
    return sorted(found, key=lambda p: (int(p.name[5:].partition(".")[0]), p.stat().st_mtime_ns))


def load_checkpoint(folder: Path, *, of: str, warn: Callable[[str], None]) -> Checkpoint | None:
    """The newest that is whole, None where there is none; `warn` is told of each damaged one.

    Raises `FileError` where none is whole, or they belong to another training.
    """
    files = checkpoints(folder)
    for path in reversed(files):
        try:
            content = _read(path)
        except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
            warn(f"{path}: damaged ({' '.join(str(error).split())[:120]}); the one before it is taken")
            continue
        if content["of"] != of:
            raise FileError(f"{folder} holds a training by another recipe; choose another folder, or remove it")
        return Checkpoint(Position(**content["position"]), content["states"])
    if files:
        raise FileError(f"{folder}: every checkpoint is damaged; remove them to begin anew")
    return None


def _read(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest()[:16] != path.name.split(".")[1]:
        raise ValueError("its content is not what was written")
    content: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    if content["format"] != _FORMAT:
        raise ValueError(f"format {content['format']}, this version reads {_FORMAT}")
    return content
