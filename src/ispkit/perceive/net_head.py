"""What the heads share: how a network wants its pictures, and batch norms that may stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ispkit.core.errors import ParamError, ShapeError
from ispkit.data.samples import Labels
from ispkit.perceive.head import Head

Norms = Literal["batch", "fixed"]
"""batch norms in training: statistics of each batch, or those of the weights, unchanged"""
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Reading:
    """How a network wants its pictures: (B, 3, H, W) encoded sRGB in [0, 1] -> what it was trained on."""

    size: tuple[int, int] | None = None
    """height, width that pictures are stretched to; None: they come as they are"""
    mean: Triple = (0.5, 0.5, 0.5)
    """subtracted from red, green, blue"""
    std: Triple = (0.5, 0.5, 0.5)
    """what is left is divided by these; mean and std of 0.5 give [-1, 1]"""
    order: Literal["rgb", "bgr"] = "rgb"
    """of the colors that the network reads"""
    antialias: bool = True
    """a low-pass before pictures are made smaller"""

    def __post_init__(self) -> None:
        if self.size is not None and min(self.size) < 1:
            raise ParamError(f"size={self.size} must be at least 1 pixel a side")
        if min(self.std) <= 0:
            raise ParamError(f"std={self.std} must be above 0")

    def __call__(self, picture: Tensor) -> Tensor:
        """Resize (bilinearly), normalize, order; gradients flow. Raises `ShapeError`."""
        if picture.ndim != 4 or picture.shape[1] != 3:
            raise ShapeError(f"a head reads pictures (B, 3, H, W), got {tuple(picture.shape)}")
        x = picture
        if self.size is not None and tuple(picture.shape[-2:]) != self.size:
            x = F.interpolate(x, size=self.size, mode="bilinear", align_corners=False, antialias=self.antialias)
        x = (x - _per_color(self.mean, x)) / _per_color(self.std, x)
        return x.flip(1) if self.order == "bgr" else x


class NetHead(Head):
    """A head around one network.

    Args:
        net: the network.
        names: what the labels mean.
        reading: how it wants its pictures.
        norms: "fixed" leaves statistics of batch norms alone in training, which is how weights with folded norms, or
            batches of few pictures, are fine-tuned.
    """

    def __init__(
        self, net: nn.Module, names: Sequence[str], *, reading: Reading | None = None, norms: Norms = "batch"
    ) -> None:
        super().__init__()
        if not names:
            raise ParamError("names: a head needs the names of its classes")
        self.net, self.names = net, tuple(names)
        self.reading, self.norms = reading or Reading(), norms

    def forward(self, picture: Tensor) -> Tensor:
        """The network's output of pictures (B, 3, H, W), encoded sRGB in [0, 1], of any size."""
        output: Tensor = self.net(self.reading(picture))
        return output

    def train(self, mode: bool = True) -> Self:
        """As every module, but with `norms="fixed"` batch norms stay in evaluation."""
        super().train(mode)
        if mode and self.norms == "fixed":
            for layer in self.net.modules():
                if isinstance(layer, _BatchNorm):
                    layer.eval()
        return self

    def check_outputs(self, output: Tensor) -> Tensor:
        """The output if it has one channel a name. Raises `ShapeError`."""
        if output.ndim < 2 or output.shape[1] != len(self.names):
            shape = tuple(output.shape)
            raise ShapeError(f"the network's output {shape} does not fit {len(self.names)} names; give one for each")
        return output


def _per_color(values: Triple, like: Tensor) -> Tensor | float:
    """One number where one will do: a tensor would have to be sent to the device each time."""
    return values[0] if len(set(values)) == 1 else like.new_tensor(values)[:, None, None]


def labels_like(labels: Labels, shape: Sequence[int], task: str) -> Tensor:
    """The labels if they are int64 numbers of this shape. Raises `ShapeError`."""
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64 or tuple(labels.shape) != tuple(shape):
        got = f"{labels.dtype} {tuple(labels.shape)}" if isinstance(labels, Tensor) else "boxes"
        raise ShapeError(f"a head that {task} learns from int64 labels {tuple(shape)}, got {got}")
    return labels
