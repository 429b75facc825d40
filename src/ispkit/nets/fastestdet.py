"""FastestDet, a small one-scale detector: ShuffleNetV2 features, parallel depthwise pools, one head.

Architecture and published weights (BSD-3-Clause, not shipped): github.com/dog-qiuqiu/FastestDet. Backbone: Ma,
Zhang, Zheng, Sun, "ShuffleNet V2", ECCV 2018. Names of the state dict are those of the published file.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ispkit.core.errors import FileError, ShapeError, nearest
from ispkit.core.weights import read_weights

_WIDTHS, _DEPTHS = (24, 48, 96, 192), (4, 8, 4)
_BOX = 5  # objectness, then x, y, width, height; classes follow
_WHAT = "the weights of FastestDet, published as weight_AP05...-epoch.pth"


class Cells(NamedTuple):
    """What each of the h x w cells of the output says, row by row."""

    boxes: Tensor
    """(B, h w, 4) center x, center y, width, height, in units of the picture"""
    objectness: Tensor
    """(B, h w) in [0, 1]: the overlap that the network expects its box to have with an object"""
    classes: Tensor
    """(B, h w, classes), sum 1"""


class FastestDet(nn.Module):
    """The network with random weights; `load_fastestdet` fills it."""

    def __init__(self, classes: int = 80) -> None:
        super().__init__()
        wide = _WIDTHS[2]
        self.backbone = ShuffleNetV2()
        self.SPP = ParallelPools(sum(_WIDTHS[1:]), wide)
        self.detect_head = Head(wide, classes)

    def forward(self, picture: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1], blue first -> (B, 5 + classes, H / 16, W / 16), before `cells`.

        Channels: objectness (after its sigmoid), four raw box numbers, class probabilities. Raises `ShapeError`
        unless both sides are multiples of 32.
        """
        if picture.ndim != 4 or picture.shape[1] != 3 or any(side % 32 for side in picture.shape[-2:]):
            raise ShapeError(f"FastestDet reads (B, 3, H, W) with sides of 32 n, got {tuple(picture.shape)}")
        fine, middle, coarse = self.backbone(picture)
        fine = F.avg_pool2d(fine, 3, stride=2, padding=1)
        coarse = F.interpolate(coarse, scale_factor=2.0, mode="nearest")
        found: Tensor = self.detect_head(self.SPP(torch.cat([fine, middle, coarse], 1)))
        return found


class ShuffleNetV2(nn.Module):
    """Features at strides 8, 16 and 32 with 48, 96 and 192 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first_conv = nn.Sequential(*_conv(3, _WIDTHS[0], 3, stride=2), nn.ReLU())
        self.stage2, self.stage3, self.stage4 = (
            nn.Sequential(Halve(_WIDTHS[i]), *(Mix(_WIDTHS[i + 1]) for _ in range(depth - 1)))
            for i, depth in enumerate(_DEPTHS)
        )

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, H, W) -> three feature maps, fine to coarse."""
        fine = self.stage2(F.max_pool2d(self.first_conv(picture), 3, stride=2, padding=1))
        middle = self.stage3(fine)
        return fine, middle, self.stage4(middle)


class Mix(nn.Module):
    """Every second channel passes, the others go through a bottleneck: convolution and shuffle in one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.branch_main = _bottleneck(half, half, stride=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> the same shape."""
        return torch.cat([x[:, 0::2], self.branch_main(x[:, 1::2])], 1)


class Halve(nn.Module):
    """Half the size, twice the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch_main = _bottleneck(channels, channels, stride=2)
        shrink = _conv(channels, channels, 3, stride=2, groups=channels)
        self.branch_proj = nn.Sequential(*shrink, *_conv(channels, channels, 1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, 2 C, h / 2, w / 2)."""
        return torch.cat([self.branch_proj(x), self.branch_main(x)], 1)


class ParallelPools(nn.Module):
    """One, two and three depthwise 5x5 convolutions side by side, added to their input."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.Conv1x1 = _pointwise(channels, width)
        self.S1, self.S2, self.S3 = (
            nn.Sequential(*(m for _ in range(n) for m in (*_conv(width, width, 5, groups=width), nn.ReLU())))
            for n in (1, 2, 3)
        )
        self.output = nn.Sequential(*_conv(3 * width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, width, h, w)."""
        x = self.Conv1x1(x)
        return torch.relu(x + self.output(torch.cat([self.S1(x), self.S2(x), self.S3(x)], 1)))


class Head(nn.Module):
    """Objectness, box and classes of each cell."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.conv1x1 = _pointwise(channels, channels)
        self.obj_layers, self.reg_layers, self.cls_layers = (_branch(channels, n) for n in (1, 4, classes))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, 5 + classes, h, w)."""
        x = self.conv1x1(x)
        classes = torch.softmax(self.cls_layers(x), 1)
        return torch.cat([torch.sigmoid(self.obj_layers(x)), self.reg_layers(x), classes], 1)


def cells(output: Tensor) -> Cells:
    """The output of `FastestDet` as boxes: cell (x, y) has its center at (x + tanh a) / w, (y + tanh b) / h."""
    height, width = output.shape[-2:]
    raw = output[:, 1:_BOX]
    y, x = torch.meshgrid(torch.arange(height).to(raw), torch.arange(width).to(raw), indexing="ij")
    center_x, center_y = (raw[:, 0].tanh() + x) / width, (raw[:, 1].tanh() + y) / height
    boxes = torch.stack([center_x, center_y, raw[:, 2].sigmoid(), raw[:, 3].sigmoid()], -1)
    return Cells(boxes.flatten(1, 2), output[:, 0].flatten(1), output[:, _BOX:].flatten(2).transpose(1, 2))


def load_fastestdet(path: str | Path) -> FastestDet:
    """The network with the weights of a published (or fine-tuned) .pth file, frozen, in evaluation mode.

    The number of classes is the file's. Raises `FileError` if the file is absent or is not of this network.
    """
    weights = read_weights(path, _WHAT)
    last = weights.get("detect_head.cls_layers.conv5x5.4.bias")
    net = FastestDet(len(last) if last is not None and last.ndim == 1 else 80)
    for key, own in net.state_dict().items():
        if key not in weights:
            hint = nearest(key, list(weights)[:40])
            raise FileError(f"{path}: has no weight {key!r}, so it does not hold {_WHAT}; {hint}")
        if weights[key].shape != own.shape:
            shapes = f"{tuple(weights[key].shape)}, should be {tuple(own.shape)}"
            raise FileError(f"{path}: weight {key!r} is {shapes}; it does not hold {_WHAT}")
        own.copy_(weights[key])
    return net.eval().requires_grad_(False)


def _conv(channels: int, width: int, size: int, *, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, width, size, stride, size // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(width)]


def _bottleneck(channels: int, width: int, *, stride: int) -> nn.Sequential:
    middle = _conv(width, width, 3, stride=stride, groups=width)
    return nn.Sequential(*_conv(channels, width, 1), nn.ReLU(), *middle, *_conv(width, width, 1), nn.ReLU())


def _pointwise(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(conv1x1=nn.Sequential(*_conv(channels, width, 1), nn.ReLU())))


def _branch(channels: int, width: int) -> nn.Sequential:
    body = (*_conv(channels, channels, 5, groups=channels), nn.ReLU(), *_conv(channels, width, 1))
    return nn.Sequential(OrderedDict(conv5x5=nn.Sequential(*body)))
