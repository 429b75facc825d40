"""DeepLabv3 on MobileNet-v2: a small network that says of each pixel what it belongs to.

Chen et al. 2017, "Rethinking Atrous Convolution for Semantic Image Segmentation", arXiv 1706.05587, with the lean head
of Sandler et al. 2018, section 6.3: of the pyramid of dilated convolutions the 1x1 one and the mean of the picture are
left. Output stride 16. Layers and widths are those of the weights that its authors published for mobile devices.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ispkit.core.errors import ParamError, ShapeError
from ispkit.nets.mobilenet import (
    NORM_EPSILON,
    V2,
    InvertedResidual,
    SameConv,
    conv_norm,
    rounded,
    start_truncated,
)

OUTPUT_STRIDE = 16
_FEATURES = 256
_WIDTH_STEP = 4


class DeepLabV3(nn.Module):
    """The network with fresh weights.

    Args:
        classes: of the pixels; Pascal VOC has 21 with the background.
        width: multiplies the channels of MobileNet-v2, rounded to multiples of 4; published are 0.5 and 1.
        momentum: of batch norm, the share of the newest batch.
    """

    def __init__(self, classes: int = 21, *, width: float = 0.5, momentum: float = 0.05) -> None:
        super().__init__()
        if classes < 1 or not width > 0:
            raise ParamError(f"classes={classes} must be at least 1 and width={width:g} above 0")
        self.features = _backbone(width, momentum)
        channels = rounded(V2[-1][1] * width, _WIDTH_STEP)
        self.local = _pointwise(channels, _FEATURES, momentum)
        self.whole = _pointwise(channels, _FEATURES, momentum)
        self.joined = _pointwise(2 * _FEATURES, _FEATURES, momentum)
        self.logits = nn.Conv2d(_FEATURES, classes, 1)
        start_truncated(self)

    def forward(self, picture: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> logits (B, classes, ceil(H / 16), ceil(W / 16)). Raises `ShapeError`.

        Logit (i, j) belongs to pixel (16 i, 16 j) where the sides are 16 n + 1, as the published weights take them.
        """
        if picture.ndim != 4 or picture.shape[1] != 3:
            raise ShapeError(f"a segmenter reads pictures (B, 3, H, W), got {tuple(picture.shape)}")
        x = self.features(picture)
        whole = self.whole(x.mean((-2, -1), keepdim=True)).expand(-1, -1, *x.shape[-2:])
        found: Tensor = self.logits(self.joined(torch.cat([whole, self.local(x)], 1)))
        return found


def _backbone(width: float, momentum: float) -> nn.Sequential:
    """MobileNet-v2 less its last layer; where the stride would become 32, filters are dilated instead."""
    before = rounded(32 * width, _WIDTH_STEP)
    layers = conv_norm(SameConv(3, before, stride=2), momentum)
    reached, rate = 2, 1
    for expansion, channels, blocks, stride in V2:
        after = rounded(channels * width, _WIDTH_STEP)
        for i in range(blocks):
            wanted = 1 if i else stride
            step = wanted if reached * wanted <= OUTPUT_STRIDE else 1
            layers.append(
                InvertedResidual(before, after, stride=step, expansion=expansion, rate=rate, momentum=momentum)
            )
            reached, rate, before = reached * step, rate * wanted // step, after
    return nn.Sequential(*layers)


def _pointwise(before: int, after: int, momentum: float) -> nn.Sequential:
    return nn.Sequential(SameConv(before, after, 1), nn.BatchNorm2d(after, NORM_EPSILON, momentum), nn.ReLU())
