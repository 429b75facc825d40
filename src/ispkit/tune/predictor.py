"""Knobs set anew for every frame: training of a predictor, and the ISP that asks it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ispkit.core.errors import ParamError
from ispkit.core.frame import Domain, Frame
from ispkit.core.param import Param, Value, Values
from ispkit.core.space import ParamSpace
from ispkit.data.scenes import Scene
from ispkit.isp.pipeline import ISP
from ispkit.isp.proxy import ProxyISP, sites
from ispkit.nets.knob_predictor import KnobPredictor
from ispkit.tune.proxy.descend import frozen
from ispkit.tune.proxy.train import falling

SceneLoss = Callable[[Tensor, Scene], Tensor]
"""(a picture (1, 3, H, W), its scene) -> scalar with gradient, lower is better"""
Progress = Callable[[int, int, float], None]
"""(steps done, steps in all, loss)"""


@dataclass(frozen=True, kw_only=True)
class PredictorConfig:
    """Adam on the mean loss of a few scenes a step."""

    steps: int = 300
    batch: int = 4
    learning_rate: float = 3e-3


class PredictedISP:
    """An ISP without knobs: each frame's are set by the predictor, the others are the ISP's defaults or `base`.

    Steps are rounded and choices taken as the space says. Raises `ParamError` where the predictor's knobs are
    not the ISP's.
    """

    def __init__(self, isp: ISP, predictor: KnobPredictor, base: Values | None = None) -> None:
        _check_knobs(isp, predictor.space)
        isp.space.check(base or {})
        self.isp, self.predictor, self.base = isp, predictor, dict(base or {})
        self.space = ParamSpace({})

    @property
    def reads(self) -> Domain:
        """The domain of the frames it takes."""
        return self.isp.reads

    @property
    def writes(self) -> Domain:
        """The domain of the frames it gives."""
        return self.isp.writes

    def __call__(self, frame: Frame, values: Values | None = None) -> Frame:
        """Look at each frame, set the knobs, render. Raises `ParamError` for any value: there is no knob."""
        self.space.check(values or {})
        return self.isp(frame, self.settings(frame))

    def settings(self, frame: Frame) -> dict[str, Value]:
        """What the frame is rendered with: (B,) values, legal."""
        with torch.no_grad():
            units = self.predictor(predictor_input(frame))
        return {**self.base, **self.predictor.space.from_vector(units.to(frame.data.device))}


def predictor_input(frame: Frame) -> Tensor:
    """What a predictor sees: the sites (B, 4, H/2, W/2) of a mosaic, black 0 and white 1, or the colors."""
    return sites(frame)[0] if frame.domain.channels == 1 else frame.data


def new_predictor(isp: ISP, space: ParamSpace | None = None, *, width: int = 32, seed: int = 0) -> KnobPredictor:
    """An untrained predictor of some knobs of an ISP; `space` are all of them unless given."""
    with torch.random.fork_rng(devices=[]):  # torch draws first weights from its global state alone
        torch.manual_seed(seed)
        return KnobPredictor(space or isp.space, channels=4 if isp.reads.channels == 1 else 3, width=width)


def train_predictor(
    predictor: KnobPredictor,
    isp: ISP,
    scenes: Sequence[Scene],
    loss: SceneLoss,
    *,
    config: PredictorConfig | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[float]:
    """Train through `isp`, whose weights stay as they are; the loss of every step.

    `isp` passes gradients: a `Pipeline` for differentiable knobs, a `ProxyISP` of a black box for all knobs. Raises
    `ParamError` for knobs without gradient.
    """
    settings = config or PredictorConfig()
    _check_knobs(isp, predictor.space)
    if not isinstance(isp, ProxyISP):
        stuck = [n for n, k in predictor.space.items() if not (isinstance(k, Param) and k.differentiable)]
        if stuck:
            raise ParamError(f"no gradient through {', '.join(stuck)}; train through a `ProxyISP`, or leave them out")
        return _train(predictor, isp, (scenes, loss), settings, (seed, progress))
    with frozen(isp):
        return _train(predictor, isp, (scenes, loss), settings, (seed, progress))


def _train(
    predictor: KnobPredictor,
    isp: ISP,
    task: tuple[Sequence[Scene], SceneLoss],
    config: PredictorConfig,
    run: tuple[int, Progress | None],
) -> list[float]:
    (scenes, loss), (seed, progress) = task, run
    rng, losses = np.random.default_rng(seed), []
    optimizer = torch.optim.Adam(predictor.parameters(), lr=config.learning_rate)
    for step in range(config.steps):
        optimizer.param_groups[0]["lr"] = config.learning_rate * falling("cosine", step / config.steps)
        rows = rng.choice(len(scenes), min(config.batch, len(scenes)), replace=False)
        value = torch.stack([loss(_picture(predictor, isp, scenes[i]), scenes[i]) for i in rows]).mean()
        optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(value.detach()))
        if progress is not None:
            progress(step + 1, config.steps, losses[-1])
    return losses


def _picture(predictor: KnobPredictor, isp: ISP, scene: Scene) -> Tensor:
    units = predictor(predictor_input(scene.frame))
    if isinstance(isp, ProxyISP):
        whole = isp.units({}).expand(len(units), -1)
        columns = [
            units[:, list(predictor.space).index(n)] if n in predictor.space else whole[:, i]
            for i, n in enumerate(isp.space)
        ]
        return isp.render(scene.frame, torch.stack(columns, -1)).data
    return isp(scene.frame, predictor.space.from_vector(units)).data


def _check_knobs(isp: ISP, space: ParamSpace) -> None:
    for name in space:
        if isp.space[name] != space[name]:
            raise ParamError(f"{name}: the predictor's range is not the ISP's; build it from `isp.space.select(...)`")
