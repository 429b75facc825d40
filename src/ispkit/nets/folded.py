"""Weights into which batch norms were folded, put back into networks that have batch norms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ispkit.core.errors import ShapeError

_Weighted = nn.Conv2d | nn.Linear


class Folded(NamedTuple):
    """One layer as inference programs store it: a convolution or a matrix, with the batch norm inside."""

    name: str
    weight: Tensor
    """of a convolution (O, I / groups, h, w), of a matrix (O, I)"""
    bias: Tensor
    """(O,)"""


def fill_folded(net: nn.Module, layers: Sequence[Folded]) -> None:
    """Give `net` the weights of `layers`, in the order in which its layers are declared.

    A layer that a batch norm follows takes the weight, the norm becomes "add the bias". That is exact in evaluation;
    `settle_norms` makes it fit for training. A 1x1 convolution and a matrix stand for one another. Raises
    `ShapeError` where number or shapes differ; then nothing is changed.
    """
    pairs = _layers(net)
    if len(pairs) != len(layers):
        raise ShapeError(f"{len(layers)} layers with weights do not fit a network of {len(pairs)}")
    for (layer, _), folded in zip(pairs, layers, strict=True):
        weight, bias = tuple(folded.weight.shape[:2]), tuple(folded.bias.shape)
        if (
            folded.weight.numel() != layer.weight.numel()
            or weight != tuple(layer.weight.shape[:2])
            or bias != weight[:1]
        ):
            shapes = f"{tuple(folded.weight.shape)} and {bias} do not fit {tuple(layer.weight.shape)}"
            raise ShapeError(f"layer {folded.name!r}: {shapes}")
    with torch.no_grad():
        for (layer, norm), folded in zip(pairs, layers, strict=True):
            layer.weight.copy_(folded.weight.reshape(layer.weight.shape))
            if norm is None:
                _copy(layer.bias, folded.bias)
            else:
                _neutralize(norm, folded.bias)


@torch.no_grad()
def settle_norms(net: nn.Module, inputs: Iterable[Tensor]) -> None:
    """Set the statistics of all batch norms to what they meet on `inputs`; what the net computes does not change.

    Scale and offset are changed to make up for it. After that a step of training, which normalizes with the
    statistics of its batch, starts from nearly what evaluation gives, instead of from chaos. `inputs` are batches for
    `net`; the more pictures the better (some hundred).
    """
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    seen: dict[nn.Module, list[Tensor]] = {norm: [] for norm in norms}

    def note(norm: nn.Module, args: tuple[Tensor, ...]) -> None:
        x = args[0].double()
        count = torch.full_like(x[0, :, 0, 0], x.numel() / x.shape[1])
        seen[norm].append(torch.stack([count, x.sum((0, 2, 3)), x.square().sum((0, 2, 3))]))

    hooks = [norm.register_forward_pre_hook(note) for norm in norms]
    was_training = net.training
    try:
        net.eval()
        for batch in inputs:
            net(batch)
    finally:
        net.train(was_training)
        for hook in hooks:
            hook.remove()
    for norm in norms:
        if not seen[norm]:
            raise ShapeError("no picture to take the statistics of; give at least one batch")
        count, total, squares = torch.stack(seen[norm]).sum(0)
        mean = total / count
        _resettle(norm, mean, (squares / count - mean.square()).clamp(min=0))


def weighted(net: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    """The layers with weights, in the order in which they are declared."""
    return [layer for layer, _ in _layers(net)]


def _layers(net: nn.Module) -> list[tuple[_Weighted, nn.BatchNorm2d | None]]:
    """Layers with weights, each with the batch norm right after it."""
    found = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.BatchNorm2d)]
    following = [*found[1:], None]
    return [
        (layer, after if isinstance(after, nn.BatchNorm2d) else None)
        for layer, after in zip(found, following, strict=True)
        if not isinstance(layer, nn.BatchNorm2d)
    ]


def _neutralize(norm: nn.BatchNorm2d, bias: Tensor) -> None:
    _copy(norm.running_mean, torch.zeros_like(bias))
    _copy(norm.running_var, torch.full_like(bias, 1 - norm.eps))
    _copy(norm.weight, torch.ones_like(bias))
    _copy(norm.bias, bias)


def _resettle(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    old_mean, old_variance = _given(norm.running_mean).double(), _given(norm.running_var).double()
    slope = norm.weight.double() / (old_variance + norm.eps).sqrt()
    _copy(norm.bias, norm.bias.double() + (mean - old_mean) * slope)
    _copy(norm.weight, slope * (variance + norm.eps).sqrt())
    _copy(norm.running_mean, mean)
    _copy(norm.running_var, variance)


def _copy(to: Tensor | None, value: Tensor) -> None:
    _given(to).copy_(value)


def _given(value: Tensor | None) -> Tensor:
    if value is None:
        raise ShapeError("a layer has no place for its bias or statistics")
    return value
