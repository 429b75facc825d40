"""Networks that DiR needs to be trained and not to be used: a critic of pairs, and the encoder of all views.

Guo, Zhang, Wu, CVPR 2024, section 3.1. The paper names a discriminator F and an auxiliary network and draws neither. F
is that of Deep InfoMax with local features (Hjelm et al., "Learning Deep Representations by Mutual Information
Estimation and Maximization", ICLR 2019, section 3.2); the auxiliary network is DiRNet's encoder of all views at once.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ispkit.nets.dir_parts import CodeShape, Encoder
from ispkit.nets.layers import Conv, start, start_linear


class Critic(nn.Module):
    """F(x, r): how much a cell of a representation looks as if it were of this picture, a logit a cell.

    `local(x)` are features of the picture at the representation's size, an encoder's of its own; `score` joins them
    with r by three 1x1 convolutions (2 latent, 2 latent, 1: in preset "paper" 512, 512, 1).
    """

    def __init__(self, shape: CodeShape) -> None:
        super().__init__()
        features = 2 * shape.latent
        self.encoder = Encoder(CodeShape(shape.width, shape.down, shape.latent))  # the linear map is of means alone
        self.layers = nn.ModuleList(Conv(i, features, 1) for i in (features + shape.latent, features))
        self.last = Conv(features, 1, 1)
        start(self.layers)
        start_linear(self.last, 0.1)

    def local(self, x: Tensor) -> Tensor:
        """Features of pictures (B, 3, H, W) -> (B, 2 latent, h, w)."""
        return self.encoder.features(x)

    def score(self, features: Tensor, r: Tensor) -> Tensor:
        """(B, 2 latent, h, w) and (B, latent, h, w) -> (B, 1, h, w)."""
        x = torch.cat([F.relu(features), r], 1)
        for layer in self.layers:
            x = F.relu(layer(x))
        scores: Tensor = self.last(x)
        return scores

    def forward(self, x: Tensor, r: Tensor) -> Tensor:
        """Logits (B, 1, h, w) of pictures (B, 3, H, W) and representations (B, latent, h, w)."""
        return self.score(self.local(x), r)


class JointEncoder(nn.Module):
    """p(r | x1 .. xV): DiRNet's encoder of V views, B pictures x V views (B V, 3, H, W) -> two (B, latent, h, w)."""

    def __init__(self, shape: CodeShape, views: int) -> None:
        super().__init__()
        self.views, self.encoder = views, Encoder(shape, 3 * views)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance; the views of a picture follow each other."""
        moments: tuple[Tensor, Tensor] = self.encoder(x.reshape(-1, 3 * self.views, *x.shape[-2:]))
        return moments
