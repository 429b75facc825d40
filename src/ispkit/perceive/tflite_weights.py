"""Published .tflite weights put into the networks of `nets`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from ispkit.core.errors import FileError, ShapeError
from ispkit.io.tflite import read_tflite
from ispkit.nets.folded import Folded, fill_folded, weighted

_STEM = 32
_KINDS = {28: "mobilenet-v1", 53: "mobilenet-v2", 55: "deeplab-v3"}
"""a network by the number of its layers with weights"""


def folded_layers(files: Sequence[Path]) -> tuple[list[Folded], int]:
    """The layers of a network in one or more .tflite files, one after the other, and the side of its input.

    Raises `FileError` for files that are damaged or read no square picture, `MissingExtraError`.
    """
    models = [read_tflite(file) for file in files]
    first = models[0]
    shape = first.tensors[first.inputs[0]].shape if first.inputs else ()
    if len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3:
        raise FileError(f"{files[0]}: reads {shape}, which is no square picture; give the part that reads it first")
    layers = []
    for file, model in zip(files, models, strict=True):
        try:
            found = model.layers()
        except FileError as error:
            raise FileError(f"{file}: {error}") from error
        layers += [Folded(one.name, torch.from_numpy(one.weight), torch.from_numpy(one.bias)) for one in found]
    if not layers:
        raise FileError(f"{files[0]}: has no layers with weights")
    return layers, shape[1]


def width_of(layers: Sequence[Folded]) -> float:
    """By how much the channels of a MobileNet are multiplied: its first layer has 32 times that."""
    return len(layers[0].bias) / _STEM


def kind_of(file: Path) -> str:
    """Which of the networks a .tflite file holds. Raises `FileError` for another one."""
    layers, _ = folded_layers([file])
    if len(layers) not in _KINDS:
        known = ", ".join(f"{kind} ({n})" for n, kind in _KINDS.items())
        raise FileError(f"{file}: a network of {len(layers)} layers with weights; known are {known}; name it, and its "
                        "files as weights=[...]")  # fmt: skip
    return _KINDS[len(layers)]


def fill_tflite(net: nn.Module, layers: Sequence[Folded], files: Sequence[Path], *, last: bool = True) -> None:
    """Give the network the layers' weights; without `last` its last layer stays fresh. Raises `FileError`."""
    chosen = list(layers)
    if not last:
        own = weighted(net)[-1]
        chosen[-1:] = [Folded("last", own.weight.detach().clone(), torch.zeros(len(own.weight)))]
    try:
        fill_folded(net, chosen)
    except ShapeError as error:
        names = " + ".join(file.name for file in files)
        raise FileError(f"{names}: not the weights of this {type(net).__name__}: {error}") from error
