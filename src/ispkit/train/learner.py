"""One phase's network, optimizer, precision and moving average; one call is one step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ispkit.data.samples import Sample
from ispkit.train.config import Phase
from ispkit.train.learnable import Model, learnable
from ispkit.train.objective import Objective
from ispkit.train.ranks import Ranks


class Learner:
    """What a phase needs to take steps, and all of it as plain states to save."""

    def __init__(self, model: Model, phase: Phase, *, ranks: Ranks, precision: str = "auto") -> None:
        dtype = autocast_dtype(precision, ranks.device)
        self.model, self.phase, self.ranks = model, phase, ranks
        self.objective = Objective(model, phase, dtype=dtype).train()
        self.weights = self.objective.trained()
        self._module: nn.Module = DistributedDataParallel(self.objective) if ranks.world > 1 else self.objective
        self.optimizer = _optimizer(self.weights, phase)
        self.scaler = torch.amp.GradScaler(ranks.device.type, enabled=dtype is torch.float16)
        self.average = [w.detach().clone() for w in self.weights] if phase.ema is not None else []
        self.best: dict[str, Tensor] = {}

    def step(self, samples: Sequence[Sample], *, rate: float, at: int) -> Tensor:
        """One step on the accumulated samples at `rate` times the learning rate -> summands of the loss, (terms,).

        `at` counts the steps of the phase: a young moving average forgets faster, min(ema, (1 + at) / (10 + at)).
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.phase.optimizer.learning_rate * rate
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros(len(self.phase.loss), device=self.ranks.device)
        for i, sample in enumerate(samples):
            with self._alone(until=i + 1 == len(samples)):
                parts = self._module(sample.to(self.ranks.device)) / len(samples)
                self.scaler.scale(parts.sum()).backward()
            total += parts.detach()
        self.scaler.unscale_(self.optimizer)
        if self.phase.optimizer.clip is not None:
            nn.utils.clip_grad_norm_(self.weights, self.phase.optimizer.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.phase.ema is not None:
            pull = 1 - min(self.phase.ema, (1 + at) / (10 + at))
            torch._foreach_lerp_(self.average, [w.detach() for w in self.weights], pull)
        return total

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The moving average in the weights' place, if there is one."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def keep_best(self) -> None:
        """Remember the learning parts as they are now."""
        self.best = {name: value.detach().clone() for name, value in self._learning().state_dict().items()}

    def leave(self) -> None:
        """Put the weights into the model that the phase ends with: the best, the average, or the last."""
        self._swap()
        self.average = []
        if self.best:
            self._learning().load_state_dict(self.best)
        self.model.requires_grad_(True).eval()

    def finite(self) -> bool:
        """Whether every learning weight is a number."""
        return all(bool(torch.isfinite(w).all()) for w in self.weights)

    def states(self) -> dict[str, Any]:
        """Everything that the next step depends on, besides the data."""
        return {
            "weights": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "of_nets": self.objective.of_nets.state_dict(),
            "average": list(self.average),
            "best": dict(self.best),
        }

    def load(self, states: Mapping[str, Any]) -> None:
        """Go on from `states()`; the model's weights are loaded already."""
        self.optimizer.load_state_dict(states["optimizer"])
        self.scaler.load_state_dict(states["scaler"])
        self.objective.of_nets.load_state_dict(states["of_nets"])
        self.average = [a.to(self.ranks.device) for a in states["average"]]
        self.best = {n: t.to(self.ranks.device) for n, t in states["best"].items()}

    def _learning(self) -> nn.ModuleDict:
        """The parts that learn."""
        return nn.ModuleDict({n.replace(".", "/"): learnable(self.model, n) for n in self.phase.parts})

    def _swap(self) -> None:
        with torch.no_grad():
            for average, weight in zip(self.average, self.weights, strict=False):
                kept = weight.detach().clone()
                weight.copy_(average)
                average.copy_(kept)

    def _alone(self, *, until: bool) -> AbstractContextManager[None]:
        """Gradients are exchanged with the other processes once a step."""
        if until or not isinstance(self._module, DistributedDataParallel):
            return nullcontext()
        context: AbstractContextManager[None] = self._module.no_sync()
        return context


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """What nets run in; None is fp32, which "auto" means on a CPU (bf16 is slow there)."""
    if precision == "auto":
        return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else None
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def _optimizer(weights: Sequence[nn.Parameter], phase: Phase) -> torch.optim.Optimizer:
    said = phase.optimizer
    if said.kind == "rmsprop":
        momentum, decay = said.betas
        return torch.optim.RMSprop(
            weights, said.learning_rate, decay, said.eps, weight_decay=said.weight_decay, momentum=momentum
        )
    kind = torch.optim.AdamW if said.weight_decay else torch.optim.Adam
    return kind(weights, lr=said.learning_rate, betas=said.betas, eps=said.eps, weight_decay=said.weight_decay)
