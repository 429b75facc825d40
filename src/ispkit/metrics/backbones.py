"""The feature stacks of AlexNet, VGG-16, VGG-19 and SqueezeNet 1.1; state dict names are torchvision's."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

FEATURES: dict[str, tuple[tuple[int, int], ...]] = {
    "alex": ((1, 64), (4, 192), (7, 384), (9, 256), (11, 256)),
    "vgg16": ((3, 64), (8, 128), (15, 256), (22, 512), (29, 512)),
    "squeeze": ((1, 64), (4, 128), (7, 256), (9, 384), (10, 384), (11, 512), (12, 512)),
}
"""per network: (index of the layer, its channels) of every layer that LPIPS compares"""


def backbone(name: str) -> nn.Sequential:
    """The convolutional part of alex, vgg16, vgg19 or squeeze, with random weights."""
    made: dict[str, Callable[[], nn.Sequential]] = {
        "alex": _alexnet,
        "vgg16": lambda: _vgg((2, 2, 3, 3, 3)),
        "vgg19": lambda: _vgg((2, 2, 4, 4, 4)),
        "squeeze": _squeezenet,
    }
    return made[name]()


def _alexnet() -> nn.Sequential:
    """Krizhevsky 2014, "One weird trick"; up to the last ReLU."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
    )


def _vgg(depths: tuple[int, ...]) -> nn.Sequential:
    """Simonyan & Zisserman 2015, configurations D and E; up to the last ReLU."""
    layers: list[nn.Module] = []
    channels = 3
    for stage, (width, depth) in enumerate(zip((64, 128, 256, 512, 512), depths, strict=True)):
        if stage:
            layers.append(nn.MaxPool2d(2, 2))
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
    return nn.Sequential(*layers)


class Fire(nn.Module):
    """Squeeze to few channels, expand by 1x1 and 3x3 convolutions side by side."""

    def __init__(self, channels: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, 2 x expanded, H, W)."""
        x = torch.relu(self.squeeze(x))
        return torch.cat([torch.relu(self.expand1x1(x)), torch.relu(self.expand3x3(x))], dim=1)


def _squeezenet() -> nn.Sequential:
    """Iandola 2016, version 1.1."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, stride=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(64, 16, 64),
        Fire(128, 16, 64),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(128, 32, 128),
        Fire(256, 32, 128),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(256, 48, 192),
        Fire(384, 48, 192),
        Fire(384, 64, 256),
        Fire(512, 64, 256),
    )
