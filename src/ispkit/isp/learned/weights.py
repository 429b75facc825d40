"""Weights of a learned ISP as one file: safetensors, with a card that says what they are. No code is ever loaded."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ispkit.core.errors import FileError, IspkitError, MissingExtraError
from ispkit.io.atomic import write_bytes
from ispkit.isp.learned.catalog import build
from ispkit.isp.learned.learned_isp import LearnedISP

_KEY = "ispkit_learned_isp"
_FORMAT = 1


@dataclass(frozen=True)
class Card:
    """What the weights are: enough to build the ISP again, and to judge it."""

    name: str
    """of the catalog: cameranet, deepisp, ...; empty for a head alone"""
    options: Mapping[str, Any] = field(default_factory=dict)
    """of `catalog.build`, as plain data"""
    data: Mapping[str, Any] = field(default_factory=dict)
    """what it was trained on"""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """the resolved recipe of the training"""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """on held-out pictures, at the end"""
    notes: str = ""
    head: Mapping[str, Any] | None = None
    """name and options of the network behind the ISP that learned with it (`perceive.joint`)"""


def save_learned(path: str | os.PathLike[str], model: nn.Module, card: Card) -> None:
    """Write weights and card, whole or not at all. Raises `FileError`, `MissingExtraError`.

    `model` is a `LearnedISP`; with `card.head` one whose parts are called `isp` and `head`.
    """
    text = json.dumps({"format": _FORMAT, **asdict(card)}, sort_keys=True)
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    write_bytes(path, _safetensors(path).save(tensors, metadata={_KEY: text}))


def load_learned(path: str | os.PathLike[str]) -> tuple[LearnedISP, Card]:
    """The ISP in evaluation mode on the CPU, and its card; of an ISP with a head, the ISP.

    Raises `FileError` for a file that is damaged or of something else, `MissingExtraError` without safetensors.
    """
    file = Path(path)
    tensors, card = read_weights(file)
    if not card.name:
        raise FileError(f"{file}: holds a head alone, which looks at finished pictures; there is no ISP in it")
    if card.head is not None:
        tensors = {n.removeprefix("isp."): t for n, t in tensors.items() if n.startswith("isp.")}
    try:
        isp = build(card.name, **card.options)
    except (IspkitError, TypeError) as error:
        raise FileError(f"{file}: its card names an ISP that cannot be built: {error}") from error
    try:
        isp.load_state_dict(tensors)
    except RuntimeError as error:
        raise FileError(f"{file}: its weights do not fit {card.name} {dict(card.options)}: {_brief(error)}") from error
    return isp.eval().requires_grad_(False), card


def read_card(path: str | os.PathLike[str]) -> Card:
    """The card alone. Raises `FileError`, `MissingExtraError`."""
    return read_weights(Path(path))[1]


def read_weights(file: Path) -> tuple[dict[str, Tensor], Card]:
    """All tensors by name, and the card. Raises `FileError`, `MissingExtraError`."""
    if not file.is_file():
        raise FileError(f"{file}: no such file; it should hold a learned ISP, as `ispkit train` writes it")
    library = _safetensors(file)
    from safetensors import SafetensorError, safe_open

    try:
        # all of it is read here, so that a file cut short is found now
        tensors: dict[str, Tensor] = library.load(file.read_bytes())
        with safe_open(file, "pt") as handle:
            metadata = handle.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise FileError(f"{file}: damaged, or no safetensors file ({_brief(error)})") from error
    if _KEY not in metadata:
        raise FileError(f"{file}: weights without a card of ispkit, so what net they fit is unknown")
    return tensors, _card(file, metadata[_KEY])


def _card(file: Path, text: str) -> Card:
    try:
        content = json.loads(text)
        version = content.pop("format")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise FileError(f"{file}: its card is damaged ({_brief(error)})") from error
    known = {f.name for f in fields(Card)}
    if version != _FORMAT or not set(content) <= known or not isinstance(content.get("name"), str):
        raise FileError(f"{file}: its card has format {version!r}, this version reads {_FORMAT}; update ispkit")
    return Card(**content)


def _safetensors(path: str | os.PathLike[str]) -> Any:
    try:
        import safetensors.torch
    except ImportError:
        raise MissingExtraError(
            f"{os.fspath(path)}: weights are .safetensors files; pip install 'ispkit[train]'"
        ) from None
    return safetensors.torch


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:160] or type(error).__name__
