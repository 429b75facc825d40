"""A network as the judge: what it loses, or misses, on the pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from ispkit.data.scenes import Scene
from ispkit.tune.contracts import Residual
from ispkit.tune.objectives.base import Need


class Task(Protocol):
    """A frozen network with its truth, such as `perceive.detector.FrozenDetector`."""

    def loss(self, picture: Tensor, labels: Any) -> Tensor:
        """(1, 3, H, W) in [0, 1] and what should be found -> a scalar with a gradient in the picture."""

    def score(self, picture: Tensor, labels: Any) -> float:
        """How bad the result is, lower is better."""


@dataclass(frozen=True)
class TaskObjective:
    """The task's loss, or its score with the loss as the stand-in that has a gradient."""

    name: str
    task: Task
    use: Literal["loss", "score"] = "loss"
    unit: str = ""
    needs: tuple[Need, ...] = ("labels",)

    def score(self, picture: Tensor, scene: Scene) -> float:
        """Lower is better."""
        if self.use == "score":
            return self.task.score(picture, scene.labels)
        with torch.no_grad():
            return float(self.task.loss(picture, scene.labels))

    def residual(self, picture: Tensor, scene: Scene) -> Residual | None:
        """None: a network's loss is no sum of squares of the picture."""
        return None

    def loss(self, picture: Tensor, scene: Scene) -> Tensor | None:
        """The task's loss."""
        return self.task.loss(picture, scene.labels)
