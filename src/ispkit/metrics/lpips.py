"""LPIPS (Zhang, Isola, Efros, Shechtman, Wang 2018) with weights that the user brings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from ispkit.core.errors import FileError, ParamError, nearest
from ispkit.core.weights import read_weights
from ispkit.metrics.backbones import FEATURES, backbone
from ispkit.metrics.base import check_pair, check_size, full_precision

BackboneName = Literal["alex", "vgg16", "squeeze"]

# file names under which the weights are published: torchvision's own, and the linear heads of LPIPS v0.1
_FILES: dict[BackboneName, tuple[str, str]] = {
    "alex": ("alexnet-owt-7be5be79.pth", "alex.pth"),
    "vgg16": ("vgg16-397923af.pth", "vgg.pth"),
    "squeeze": ("squeezenet1_1-b8a52dc0.pth", "squeeze.pth"),
}
_SHIFT = (-0.030, -0.088, -0.188)  # of pictures in [-1, 1]
_SCALE = (0.458, 0.448, 0.450)


class Lpips(nn.Module):
    """The network of LPIPS: features of a frozen backbone, compared by learned non-negative heads."""

    shift: Tensor
    scale: Tensor

    def __init__(self, name: BackboneName = "alex") -> None:
        super().__init__()
        if name not in _FILES:
            raise ParamError(f"backbone={name!r} is unknown; {nearest(name, _FILES)}")
        self.name = name
        self.features = backbone(name)
        self.heads = nn.ModuleList(nn.Conv2d(c, 1, 1, bias=False) for _, c in FEATURES[name])
        self.register_buffer("shift", torch.tensor(_SHIFT).reshape(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(_SCALE).reshape(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    @staticmethod
    def load(backbone_file: str | Path, heads_file: str | Path, *, name: BackboneName = "alex") -> Lpips:
        """Read torchvision's ImageNet weights and the LPIPS v0.1 heads (.pth or .safetensors).

        The files are downloaded by the user: alex needs alexnet-owt-7be5be79.pth, vgg16 vgg16-397923af.pth,
        squeeze squeezenet1_1-b8a52dc0.pth (all from download.pytorch.org/models), and the heads alex.pth,
        vgg.pth or squeeze.pth from the LPIPS repository (lpips/weights/v0.1).
        """
        model = Lpips(name)
        wanted = _FILES[name]
        body = read_weights(backbone_file, f"the {name} backbone of LPIPS, published as {wanted[0]}")
        heads = read_weights(heads_file, f"the linear heads of LPIPS v0.1, published as {wanted[1]}")
        _fill(model.features, {k.removeprefix("features."): v for k, v in body.items()}, backbone_file)
        _fill(model.heads, {_head_key(k): v for k, v in heads.items()}, heads_file)
        return model

    def forward(self, picture: Tensor, reference: Tensor) -> Tensor:
        """(B, 3, H, W) pairs in [0, 1] -> (B,)."""
        batch = picture.shape[0]
        x = (torch.cat([picture, reference]) * 2 - 1 - self.shift) / self.scale
        total = x.new_zeros(batch)
        ends = [end for end, _ in FEATURES[self.name]]
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in ends:
                unit = _unit(x)
                gap = (unit[:batch] - unit[batch:]).square()
                total = total + self.heads[ends.index(index)](gap).mean((1, 2, 3))
        return total


@full_precision
def lpips(picture: Tensor, reference: Tensor, *, data_range: float, model: Lpips) -> Tensor:
    """Learned perceptual distance, (B, 3, H, W) encoded sRGB -> (B,), [0, inf), lower is better.

    LPIPS v0.1 with the given weights: see `Lpips.load`. Sides need at least 64 pixels.
    """
    a, b = check_pair(picture, reference, data_range, channels=3)
    check_size(a, 64, "lpips")
    result: Tensor = model(a, b)
    return result


def _fill(module: nn.Module, weights: Mapping[str, Tensor], path: str | Path) -> None:
    """Copy the weights that the module has; others (the classifier) are left. Raises `FileError`."""
    for key, own in module.state_dict().items():
        if key not in weights:
            raise FileError(f"{path}: has no weight {key!r}; {nearest(key, list(weights)[:40])}")
        if weights[key].shape != own.shape:
            raise FileError(f"{path}: weight {key!r} is {tuple(weights[key].shape)}, should be {tuple(own.shape)}")
        own.copy_(weights[key])


def _head_key(key: str) -> str:
    """From lin0.model.1.weight to 0.weight."""
    return key.removeprefix("lin").replace(".model.1.", ".")


def _unit(x: Tensor) -> Tensor:
    """Scale the channel vector of every pixel to length 1; zero vectors stay zero, with a finite gradient."""
    squared = x.square().sum(1, keepdim=True)
    positive = squared > 0
    return x / (torch.where(positive, squared, 1.0).sqrt() + 1e-10) * positive
