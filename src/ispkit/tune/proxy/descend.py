"""Stage 2: the settings that are best for the frozen proxy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from ispkit.core.frame import Frame
from ispkit.core.space import ParamSpace
from ispkit.isp.pipeline import ISP
from ispkit.isp.proxy import ProxyISP
from ispkit.tune.contracts import Point
from ispkit.tune.proxy.config import DescendConfig
from ispkit.tune.proxy.render_set import Pixels8, as_tensor
from ispkit.tune.proxy.train import falling
from ispkit.tune.searchers.record import legal

Loss = Callable[[Tensor], Tensor]
"""settings (P,) in the unit cube -> scalar, differentiable, lower is better"""


@runtime_checkable
class PictureSide(Protocol):
    """What the method `proxy` must know of a problem besides its scores."""

    @property
    def isp(self) -> ISP:
        """The black box; its knobs include the problem's."""

    def inputs(self) -> list[Frame]:
        """The frames, in the order of the problem's `pictures`."""

    def picture_loss(self, pictures: list[Tensor]) -> Tensor:
        """The objective of all pictures, (1, 3, H, W) each: a scalar with gradient, lower is better."""


class Imitation(Protocol):
    """A network whose settings are descended on: an `nn.Module` that knows its knobs."""

    training: bool

    @property
    def space(self) -> ParamSpace:
        """Its knobs."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Its weights."""

    def requires_grad_(self, requires_grad: bool = True, /) -> object:
        """Whether they may be turned."""

    def train(self, mode: bool = True, /) -> object:
        """Learn, or not."""


@dataclass(frozen=True)
class Optimum:
    """Where one descent ended."""

    point: Point
    """legal"""
    predicted: float
    """the loss that the proxy shows there"""
    trace: tuple[float, ...]
    """of every iteration, between legal values where these are projected at the end"""


@dataclass(frozen=True)
class Anchor:
    """A setting at which the real pictures are known, one of each frame."""

    point: Point
    pictures: Sequence[Pixels8]


def picture_objective(proxy: ProxyISP, problem: PictureSide, anchor: Anchor | None = None) -> Loss:
    """The problem's loss of the pictures that the proxy makes of all its frames.

    With an `anchor` the proxy's error there is taken off everywhere: the pictures are exact at the anchor, and
    only how they change with the settings comes from the network (output space mapping: Bandler et al.,
    IEEE Trans. Microwave Theory Tech. 52(1), 2004; not in Tseng 2019).
    """
    like = next(proxy.net.parameters())
    groups = _joined([f.to(like.device) for f in problem.inputs()])

    def shown(units: Tensor) -> list[Tensor]:
        made: dict[int, Tensor] = {}
        for rows, frame in groups:
            made |= zip(rows, (p[None] for p in proxy.render(frame, units).data.cpu()), strict=True)
        return [made[i] for i in sorted(made)]

    if anchor is None:
        return lambda units: problem.picture_loss(shown(units))
    with torch.no_grad():
        there = shown(torch.as_tensor(anchor.point).to(like))
    errors = [t - as_tensor(p).to(t) for t, p in zip(there, anchor.pictures, strict=True)]
    return lambda units: problem.picture_loss([s - e for s, e in zip(shown(units), errors, strict=True)])


def _joined(frames: Sequence[Frame]) -> list[tuple[list[int], Frame]]:
    """Frames of one size and phase as one batch, with their places: many small calls take longer than one."""
    alike: dict[tuple[tuple[int, int], str], list[int]] = {}
    for i, frame in enumerate(frames):
        alike.setdefault((frame.size, frame.meta.cfa), []).append(i)
    return [(rows, Frame.cat([frames[i] for i in rows])) for rows in alike.values()]


def descend(
    proxy: Imitation, loss: Loss, config: DescendConfig, *, seed: int = 0, starts: Sequence[Point] = ()
) -> list[Optimum]:
    """Adam on the settings from random points (and from `starts`), the best predicted optimum first.

    After each step the settings are put back into the unit cube. Discrete knobs end at the nearest legal
    value, where the loss is predicted once more. The weights stay as they are.
    """
    draws = np.random.default_rng(seed).random((config.starts, proxy.space.dim))
    with frozen(proxy):
        found = [_one(loss, proxy, config, start) for start in (*starts, *draws)]
    return sorted(found, key=lambda o: o.predicted)


def _one(loss: Loss, proxy: Imitation, config: DescendConfig, start: Point) -> Optimum:
    space, like = proxy.space, next(proxy.parameters())
    units = torch.as_tensor(start, dtype=like.dtype, device=like.device).clone().requires_grad_()
    low, high = ((units.detach() + r).clamp(0.0, 1.0) for r in (-config.radius, config.radius))
    optimizer, trace = torch.optim.Adam([units]), []
    best = (float("inf"), units.detach().clone())
    for i in range(config.iterations):
        shown = straight_through(space, units) if config.discrete == "straight-through" else units
        value = loss(shown)
        trace.append(float(value.detach()))
        if trace[-1] < best[0]:
            best = (trace[-1], units.detach().clone())
        optimizer.param_groups[0]["lr"] = config.learning_rate * max(falling("cosine", i / config.iterations), 0.02)
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            units.copy_(units.clamp(low, high))
    point = legal(space, best[1].cpu())
    # an objective may tell a loss by the gradient that it carries
    predicted = float(loss(torch.as_tensor(point).to(like).requires_grad_()).detach())
    return Optimum(point, predicted, tuple(trace))


def straight_through(space: ParamSpace, units: Tensor) -> Tensor:
    """The legal point next to `units`, through which the gradient passes as if it were `units` itself."""
    taken = torch.as_tensor(legal(space, units.detach().cpu())).to(units)
    return units + (taken - units).detach()


@contextmanager
def frozen(module: Imitation) -> Iterator[None]:
    """Weights without gradient, evaluation mode; both as before at the end."""
    before = [(p, p.requires_grad) for p in module.parameters()]
    training = module.training
    module.train(False)
    module.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, needed in before:
            parameter.requires_grad_(needed)
        module.train(training)
