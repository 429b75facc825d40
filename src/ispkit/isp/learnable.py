"""The differentiable view: the same ISP with some knobs held as `nn.Parameter`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ispkit.core.errors import ParamError
from ispkit.core.frame import Domain, Frame
from ispkit.core.param import Param, Value, Values
from ispkit.core.space import ParamSpace
from ispkit.isp.pipeline import ISP

_MARGIN = 1e-3  # a knob that starts on its bound is moved off it, or its gradient would be zero


class LearnableISP(nn.Module):
    """Knobs live on the real line and are squashed into their range, so any torch optimizer is safe.

    `train` names the knobs that learn (`isp.space.select("tone_curve.*")`); the others keep `start` or
    their default. Raises `ParamError` for a knob without gradient.
    """

    def __init__(self, isp: ISP, train: ParamSpace, start: Values | None = None) -> None:
        super().__init__()
        stuck = [n for n, k in train.items() if not (isinstance(k, Param) and k.differentiable)]
        if stuck:
            raise ParamError(f"not differentiable: {', '.join(stuck)}; tune them as a black box or leave them out")
        isp.space.check(start or {})
        self.isp, self.train_space = isp, train
        fixed = {**isp.space.defaults(), **(start or {})}
        unit = train.to_vector({n: fixed[n] for n in train}).clamp(_MARGIN, 1 - _MARGIN)
        self.logits = nn.Parameter(torch.logit(unit))
        self.fixed = {n: v for n, v in fixed.items() if n not in train}

    @property
    def space(self) -> ParamSpace:
        """All knobs of the wrapped ISP."""
        return self.isp.space

    @property
    def reads(self) -> Domain:
        """The domain of the frames it takes."""
        return self.isp.reads

    @property
    def writes(self) -> Domain:
        """The domain of the frames it gives."""
        return self.isp.writes

    def values(self) -> dict[str, Value]:
        """Every knob: the learned ones as tensors with gradient."""
        learned: Tensor = torch.sigmoid(self.logits)
        return {**self.fixed, **self.train_space.from_vector(learned)}

    def forward(self, frame: Frame, values: Values | None = None) -> Frame:
        """Render with the learned knobs; `values` override."""
        return self.isp(frame, {**self.values(), **(values or {})})
