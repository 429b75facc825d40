"""Weights that the user brings: plain tensors by name out of a file, never code."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from ispkit.core.errors import FileError, MissingExtraError


def read_weights(path: str | Path, what: str) -> Mapping[str, Tensor]:
    """The tensors of a .pth or .safetensors file, on the CPU; `what` names them in the error message.

    Raises `FileError`, and `MissingExtraError` for .safetensors without its package. No code of the file is run.
    """
    file = Path(path)
    if not file.is_file():
        raise FileError(f"{file}: no such file; it should hold {what}: download it and pass its path")
    try:
        weights = _read_safetensors(file) if file.suffix == ".safetensors" else _read_torch(file)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise FileError(f"{file}: not a file of plain weights, which should hold {what}: {_brief(error)}") from None
    if not isinstance(weights, Mapping) or not all(isinstance(v, Tensor) for v in weights.values()):
        raise FileError(f"{file}: holds no dictionary of tensors; it should hold {what}")
    return weights


def _read_torch(file: Path) -> Mapping[str, Tensor]:
    return cast(Mapping[str, Tensor], torch.load(file, map_location="cpu", weights_only=True))


def _read_safetensors(file: Path) -> Mapping[str, Tensor]:
    try:
        from safetensors import SafetensorError  # type: ignore[import-not-found, unused-ignore]
        from safetensors.torch import load_file  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise MissingExtraError(f"{file}: reading .safetensors needs the package safetensors; pip install it") from None
    try:
        weights: Mapping[str, Tensor] = load_file(file)
        return weights
    except SafetensorError as error:
        raise ValueError(str(error)) from None


def _brief(error: Exception) -> str:
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__
