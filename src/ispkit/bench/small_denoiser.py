"""A small learned denoiser, trained for as long as a tuner searched: the rival that learns from the same pictures."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ispkit.core.errors import ParamError, ShapeError
from ispkit.io.atomic import atomic_write


@dataclass(frozen=True)
class DenoiserPlan:
    """How it is trained."""

    seconds: float
    """of wall time; at least one step is made"""
    steps: int | None = None
    """ends earlier after so many, for repeatable tests"""
    layers: int = 8
    features: int = 32
    patch: int = 48
    """px, no more than the smallest picture"""
    batch: int = 8
    learning_rate: float = 2e-3
    """falls to zero as a cosine of the share of the time that is gone"""
    seed: int = 0


@dataclass(frozen=True)
class Trained:
    """The network and what it took."""

    network: SmallDenoiser
    steps: int
    seconds: float


class SmallDenoiser(nn.Module):
    """(B, 3, H, W) noisy -> (B, 3, H, W), encoded, not clipped: the noise is learned and subtracted.

    3x3 convolutions and ReLU after Zhang et al., "Beyond a Gaussian Denoiser", IEEE Trans. Image Processing 26(7),
    2017 (DnCNN), without batch normalization, which a few minutes of training do not need. It begins as identity.
    """

    def __init__(self, layers: int = 8, features: int = 32) -> None:
        super().__init__()
        if layers < 2 or features < 1:
            raise ParamError(f"layers={layers} must be at least 2 and features={features} at least 1")
        widths = [3, *[features] * (layers - 1), 3]
        self.layers = nn.ModuleList(
            nn.Conv2d(i, o, 3, padding=1, padding_mode="replicate") for i, o in pairwise(widths)
        )
        nn.init.zeros_(self.layers[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.layers[-1].bias)  # type: ignore[arg-type]

    def forward(self, noisy: Tensor) -> Tensor:
        """Denoise."""
        x = noisy
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        clean: Tensor = noisy - self.layers[-1](x)
        return clean


def train_denoiser(noisy: Sequence[Tensor], clean: Sequence[Tensor], plan: DenoiserPlan) -> Trained:
    """Learn from pairs of pictures (1, 3, H, W) by mean squared error on turned and mirrored windows.

    Windows and weights come from the seed; how many steps the time allows is up to the machine. Raises `ShapeError`.
    """
    _check(noisy, clean, plan)
    chance = torch.Generator().manual_seed(plan.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        network = SmallDenoiser(plan.layers, plan.features)
    optimizer = torch.optim.Adam(network.parameters(), lr=plan.learning_rate)
    began, steps, gone = time.monotonic(), 0, 0.0
    while steps == 0 or gone < 1:
        for group in optimizer.param_groups:
            group["lr"] = plan.learning_rate * (1 + math.cos(math.pi * gone)) / 2
        x, y = _windows(noisy, clean, plan, chance)
        optimizer.zero_grad()
        loss = F.mse_loss(network(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        steps += 1
        gone = (time.monotonic() - began) / max(plan.seconds, 1e-9) if plan.steps is None else steps / plan.steps
    return Trained(network.eval(), steps, time.monotonic() - began)


@torch.no_grad()
def denoise(network: SmallDenoiser, pictures: Sequence[Tensor]) -> list[Tensor]:
    """Pictures (1, 3, H, W), cut to [0, 1] and rounded to 8 bits as those of a black box are."""
    return [(network(p).clamp(0, 1) * 255).round() / 255 for p in pictures]


def kept_denoiser(
    path: Path, noisy: Sequence[Tensor], clean: Sequence[Tensor], plan: DenoiserPlan, *, names: Sequence[str]
) -> Trained:
    """The network of a file if it was trained on pictures of these names with this seed; else a new one, kept there."""
    asked = {"names": list(names), "seed": plan.seed, "layers": plan.layers, "features": plan.features}
    if path.is_file():
        kept = torch.load(path, weights_only=True)
        if kept["asked"] == asked:
            network = SmallDenoiser(plan.layers, plan.features)
            network.load_state_dict(kept["weights"])
            return Trained(network.eval(), kept["steps"], kept["seconds"])
    made = train_denoiser(noisy, clean, plan)
    content = {"asked": asked, "weights": made.network.state_dict(), "steps": made.steps, "seconds": made.seconds}
    with atomic_write(path) as file:
        torch.save(content, file)
    return made


def _check(noisy: Sequence[Tensor], clean: Sequence[Tensor], plan: DenoiserPlan) -> None:
    if not noisy or [p.shape for p in noisy] != [p.shape for p in clean]:
        raise ShapeError(f"a denoiser learns from pairs of pictures, got {len(noisy)} noisy and {len(clean)} clean")
    for picture in noisy:
        if picture.ndim != 4 or picture.shape[:2] != (1, 3) or min(picture.shape[-2:]) < plan.patch:
            raise ShapeError(f"pictures are (1, 3, H, W) of {plan.patch} px and more, got {tuple(picture.shape)}")


def _windows(
    noisy: Sequence[Tensor], clean: Sequence[Tensor], plan: DenoiserPlan, chance: torch.Generator
) -> tuple[Tensor, Tensor]:
    pairs = [_window(noisy, clean, plan.patch, chance) for _ in range(plan.batch)]
    x, y = zip(*pairs, strict=True)
    return torch.cat(x), torch.cat(y)


def _window(
    noisy: Sequence[Tensor], clean: Sequence[Tensor], side: int, chance: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The same window of a pair, turned by a quarter or mirrored."""
    which = _draw(len(noisy), chance)
    height, width = noisy[which].shape[-2:]
    y, x = _draw(height - side + 1, chance), _draw(width - side + 1, chance)
    turns, mirrored = _draw(4, chance), _draw(2, chance)
    parts = []
    for picture in (noisy[which], clean[which]):
        part = torch.rot90(picture[..., y : y + side, x : x + side], turns, (-2, -1))
        parts.append(part.flip(-1) if mirrored else part)
    return parts[0], parts[1]


def _draw(below: int, chance: torch.Generator) -> int:
    return int(torch.randint(below, (), generator=chance))
