"""Perceptual loss: pictures compared by the features of a network for recognition, whose weights the user brings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch.nn.functional as F
from torch import Tensor, nn

from ispkit.core.errors import FileError, ParamError, nearest
from ispkit.core.weights import read_weights
from ispkit.metrics.backbones import backbone

_LAYERS = {"vgg19": (8, 35), "vgg16": (8, 29)}
"""relu2_2 and the last ReLU (relu5_4 of VGG-19), as Liang et al. 2021 take them"""
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Perceptual:
    """Mean squared difference of the features after relu2_2 and the last ReLU of a VGG; Johnson et al. 2016.

    `weights` is torchvision's ImageNet file (vgg19-dcbb9e9d.pth, vgg16-397923af.pth from download.pytorch.org/models),
    .pth or .safetensors. CameraNet's ablation adds it to L1 with weight 0.01. Raises `FileError`, `ParamError`.
    """

    weights: str
    """path of the backbone's weights"""
    backbone: str = "vgg19"
    """vgg19 or vgg16"""

    def __post_init__(self) -> None:
        if self.backbone not in _LAYERS:
            raise ParamError(f"backbone={self.backbone!r} is unknown; {nearest(self.backbone, _LAYERS)}")

    def __call__(self, picture: Tensor, target: Tensor) -> Tensor:
        """(B, 3, H, W) encoded sRGB in [0, 1], sides of at least 16 pixels, twice -> scalar."""
        mean, std = (picture.new_tensor(v)[:, None, None] for v in (_MEAN, _STD))
        x, y = ((p - mean) / std for p in (picture, target))
        total = picture.new_zeros(())
        for index, layer in enumerate(self.features.to(picture)):
            x, y = layer(x), layer(y)
            if index in _LAYERS[self.backbone]:
                total = total + F.mse_loss(x, y)
        return total

    @cached_property
    def features(self) -> nn.Sequential:
        """The frozen backbone with the user's weights, read at first use."""
        net = backbone(self.backbone)
        found = read_weights(self.weights, f"the ImageNet weights of {self.backbone}, as torchvision publishes them")
        body = {k.removeprefix("features."): v for k, v in found.items() if k.startswith("features.")}
        try:
            net.load_state_dict(body)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise FileError(f"{self.weights}: no weights of {self.backbone}: {reason}") from error
        for layer in net:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False
        return net.eval().requires_grad_(False)
