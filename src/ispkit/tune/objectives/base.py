"""What an objective is, and sums of several."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from ispkit.core.errors import ParamError
from ispkit.data.scenes import Scene
from ispkit.tune.contracts import Residual

Need = Literal["target", "chart", "labels"]


class Objective(Protocol):
    """Judges one picture (1, 3, H, W), encoded sRGB in [0, 1], of a scene; lower is better."""

    @property
    def name(self) -> str:
        """Unique among the objectives of a problem."""

    @property
    def unit(self) -> str:
        """Of the score; "" for a plain number."""

    @property
    def needs(self) -> tuple[Need, ...]:
        """What a scene must have."""

    def score(self, picture: Tensor, scene: Scene) -> float:
        """The number to minimize."""

    def residual(self, picture: Tensor, scene: Scene) -> Residual | None:
        """A vector (m,) whose squared length falls and rises with the score; None if there is none.

        Where the score is a sum of squares, the squared length is the score itself.
        """

    def loss(self, picture: Tensor, scene: Scene) -> Tensor | None:
        """The score, or a stand-in for it, as a scalar with a gradient in the picture; None if there is none."""


@dataclass(frozen=True)
class Weighted:
    """A weighted sum of objectives as one: "l1+0.5*nlpd"."""

    name: str
    parts: tuple[tuple[float, Objective], ...]
    unit: str = ""

    def __post_init__(self) -> None:
        bad = [w for w, _ in self.parts if not (math.isfinite(w) and w > 0)]
        if bad or not self.parts:
            raise ParamError(f"objective {self.name!r}: weights must be positive numbers, got {bad or 'no part'}")

    @property
    def needs(self) -> tuple[Need, ...]:
        """What any part needs."""
        return tuple(dict.fromkeys(n for _, part in self.parts for n in part.needs))

    def score(self, picture: Tensor, scene: Scene) -> float:
        """The weighted sum of the scores."""
        return sum(weight * part.score(picture, scene) for weight, part in self.parts)

    def residual(self, picture: Tensor, scene: Scene) -> Residual | None:
        """The residuals end to end, each by the root of its weight; None if a part has none."""
        vectors = [(weight, part.residual(picture, scene)) for weight, part in self.parts]
        kept = [np.float32(math.sqrt(w)) * v for w, v in vectors if v is not None]
        return np.concatenate(kept) if len(kept) == len(vectors) else None

    def loss(self, picture: Tensor, scene: Scene) -> Tensor | None:
        """The weighted sum of the losses; None if a part has none."""
        losses = [(weight, part.loss(picture, scene)) for weight, part in self.parts]
        kept = [weight * value for weight, value in losses if value is not None]
        return torch.stack(kept).sum() if len(kept) == len(losses) else None


@dataclass(frozen=True)
class Called:
    """Any function of a picture and its scene; a number or a scalar tensor, lower is better."""

    name: str
    function: Callable[[Tensor, Scene], float | Tensor]
    unit: str = ""
    needs: tuple[Need, ...] = ()

    def score(self, picture: Tensor, scene: Scene) -> float:
        """What the function says."""
        with torch.no_grad():
            return float(self.function(picture, scene))

    def residual(self, picture: Tensor, scene: Scene) -> Residual | None:
        """None: a number tells no direction."""
        return None

    def loss(self, picture: Tensor, scene: Scene) -> Tensor | None:
        """The function's tensor; None if it gives a plain number."""
        value = self.function(picture, scene)
        return value if isinstance(value, Tensor) else None


class Needy(Protocol):
    """An objective or a constraint."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def needs(self) -> tuple[Need, ...]:
        """What a scene must have."""


def check_names(objectives: Sequence[Objective]) -> None:
    """Raise `ParamError` if there are none, or two of one name."""
    names = [o.name for o in objectives]
    if len(set(names)) < len(names) or not names:
        raise ParamError(f"a problem needs objectives with different names, got {', '.join(names) or 'none'}")


def check_scenes(judges: Sequence[Needy], scenes: Sequence[Scene]) -> None:
    """Raise `ParamError` for a scene that lacks what an objective or a constraint needs."""
    for judge in judges:
        for scene in scenes:
            for need in judge.needs:
                if getattr(scene, need) is None:
                    raise ParamError(
                        f"scene {scene.name!r} has no {need}, which {judge.name!r} compares with; "
                        "leave the scene out or judge by something else"
                    )


def target_of(scene: Scene) -> Tensor:
    """The target of a scene. Raises `ParamError` if it has none."""
    if scene.target is None:
        raise ParamError(f"scene {scene.name!r} has no target picture to compare with")
    return scene.target


def as_residual(values: Tensor) -> Residual:
    """Any tensor as a flat float32 vector."""
    flat: Residual = values.detach().cpu().flatten().float().numpy()
    return flat
