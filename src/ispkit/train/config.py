"""What a training recipe says: frozen data, one class for each part of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Self

from ispkit.core.errors import RecipeError, nearest
from ispkit.train.fields import build
from ispkit.train.losses import LOSSES, Loss
from ispkit.train.net_losses import NET_LOSSES, check_net_loss

TASK, SAME = "task", "same-to-head"
"""summands that a head brings: its own loss of the samples' labels; how different the picture and its target look to it
(mean squared difference of `Head.features`)"""
_TERMS = (*LOSSES, *NET_LOSSES, TASK, SAME)


@dataclass(frozen=True)
class Term:
    """One summand of a loss: which loss, of which part's picture.

    A picture in LINEAR_RGB is compared with the sample's restored picture, one in DISPLAY_RGB with its target.
    """

    name: str
    """key of `LOSSES`, of `NET_LOSSES`, or `TASK`, or `SAME`"""
    weight: float = 1.0
    part: str | None = None
    """whose picture; None: the last part that the phase trains"""
    reads: Literal["frame", "restored"] = "frame"
    """what the part reads: what the parts before it made of the frame, or the sample's true restored picture"""
    options: Mapping[str, Any] = field(default_factory=dict)
    """the loss's own fields"""

    @staticmethod
    def read(where: str, content: Any) -> Term:
        """A loss's name, or a mapping of name, weight, part, reads and the loss's own options."""
        given: dict[str, Any] = {"name": content} if isinstance(content, str) else content
        if not isinstance(given, Mapping) or given.get("name") not in _TERMS:
            name = given.get("name") if isinstance(given, Mapping) else given
            raise RecipeError(f"{where}: no loss {name!r}; {nearest(str(name), _TERMS)}")
        own = {f.name for f in fields(Term)} - {"options"}
        options = {k: v for k, v in given.items() if k not in own and k != "options"}
        term = build(Term, where, {k: v for k, v in given.items() if k in own})
        found = {**options, **given.get("options", {})}
        term = Term(term.name, term.weight, term.part, term.reads, found)
        if term.of_head and found:
            raise RecipeError(f"{where}: {term.name} has no option {next(iter(found))!r}; what a head needs it is told")
        if term.of_net:
            return replace(term, options=check_net_loss(where, term.name, found))
        term.loss(where)
        return term

    @property
    def of_head(self) -> bool:
        """Whether a head computes it."""
        return self.name in (TASK, SAME)

    @property
    def of_net(self) -> bool:
        """Whether it is about what a net has inside, not about its picture."""
        return self.name in NET_LOSSES

    def loss(self, where: str = "loss") -> Loss | None:
        """The loss of two pictures; None for what a head or a net computes. Raises `RecipeError`."""
        if self.of_head or self.of_net:
            return None
        made: Loss = build(LOSSES[self.name], where, self.options)  # type: ignore[arg-type]
        return made


@dataclass(frozen=True)
class Schedule:
    """The factor on the learning rate after a share of the phase."""

    kind: Literal["constant", "cosine", "step", "exponential"] = "constant"
    factor: float = 0.1
    """cosine, exponential: of the last step; step: at each time"""
    at: tuple[float, ...] = (0.75,)
    """step: the shares at which the rate falls"""
    warm_up: float = 0.0
    """share of the phase in which the rate rises from 0"""

    def __post_init__(self) -> None:
        if not 0 < self.factor <= 1:
            raise RecipeError(f"factor={self.factor} is outside (0, 1]")
        if not 0 <= self.warm_up < 1 or not all(0 < a < 1 for a in self.at):
            raise RecipeError(f"warm_up={self.warm_up} and at={list(self.at)} are shares of the phase in [0, 1)")

    def rate(self, share: float) -> float:
        """The factor after `share` in [0, 1].

        >>> Schedule("step", at=(0.75,)).rate(0.8)
        0.1
        """
        rising = min(1.0, share / self.warm_up) if self.warm_up else 1.0
        if self.kind == "cosine":
            return rising * (self.factor + (1 - self.factor) * (1 + math.cos(math.pi * share)) / 2)
        if self.kind == "exponential":
            return rising * float(self.factor**share)
        if self.kind == "step":
            return rising * float(self.factor ** sum(share >= a for a in self.at))
        return rising


@dataclass(frozen=True)
class Optimizer:
    """Adam, with decoupled weight decay where there is any (Loshchilov & Hutter 2019); or RMSProp with momentum."""

    kind: Literal["adam", "rmsprop"] = "adam"
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    """decay of the mean gradient and of its square; rmsprop: momentum, and decay of the square"""
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip: float | None = None
    """largest norm of the gradient; None: as it is"""

    def __post_init__(self) -> None:
        if not self.learning_rate > 0 or not self.eps > 0 or self.weight_decay < 0:
            raise RecipeError("learning_rate and eps must be positive, weight_decay at least 0")
        if not all(0 <= b < 1 for b in self.betas):
            raise RecipeError(f"betas={list(self.betas)} are outside [0, 1)")
        if self.clip is not None and not self.clip > 0:
            raise RecipeError(f"clip={self.clip} must be positive; leave it out to not clip")


LENGTHS = ("steps", "epochs", "seconds")
"""the ways to say how long a phase is, of which it has one"""


@dataclass(frozen=True)
class Phase:
    """Some parts of the ISP learn for a while; exactly one of `steps`, `epochs`, `seconds` says how long."""

    name: str
    parts: tuple[str, ...]
    """that learn, all others are frozen; a stage of a part's network alone is PART.STAGE, such as isp.align"""
    loss: tuple[Term, ...]
    steps: int | None = None
    epochs: float | None = None
    """times through the data"""
    seconds: float | None = None
    """of the recipe's `clock` over all sittings, evaluations included; the learning rate then follows the share of
    time gone, and how far a training gets depends on the machine: bit-exact resuming needs steps or epochs"""
    batch: int = 1
    """pictures a step, over all processes"""
    accumulate: int = 1
    """gradients are summed over so many equal parts of a batch, to save memory"""
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    ema: float | None = None
    """decay of the moving average of the weights, which is what the phase then leaves; such as 0.999"""
    evaluate_every: int = 500
    """steps between evaluations on the held-out pictures"""
    patience: int | None = None
    """evaluations without a better PSNR after which the phase ends; it then leaves its best weights"""

    def __post_init__(self) -> None:
        lengths = {name: getattr(self, name) for name in LENGTHS if getattr(self, name) is not None}
        if len(lengths) != 1:
            told = ", ".join(f"{name}={value:g}" for name, value in lengths.items()) or "none of them is set"
            remedy = f"; unset the others, such as {list(lengths)[-1]}=null" if lengths else ", such as steps=1000"
            raise RecipeError(f"give exactly one of {', '.join(LENGTHS)}: {told}{remedy}")
        for name, value in lengths.items():
            if not 0 < value < math.inf:
                raise RecipeError(f"{name}={value:g} must be positive and finite")
        counts = {"batch": self.batch, "accumulate": self.accumulate, "evaluate_every": self.evaluate_every}
        counts["patience"] = 1 if self.patience is None else self.patience
        for name, count in counts.items():
            if count < 1:
                raise RecipeError(f"{name}={count} must be at least 1")
        if self.batch % self.accumulate:
            raise RecipeError(f"batch={self.batch} is no multiple of accumulate={self.accumulate}")
        if self.ema is not None and not 0 < self.ema < 1:
            raise RecipeError(f"ema={self.ema} is outside (0, 1)")
        if not self.parts or not self.loss:
            raise RecipeError("parts and loss must name at least one each")


@dataclass(frozen=True)
class _Spec:
    """Something by its name, with its options."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, where: str, content: Any) -> Self:
        """A name, or a mapping of name and options."""
        name, options = _named(where, content, "name")
        return cls(name, options)


class IspSpec(_Spec):
    """Which learned ISP, of `isp.learned.catalog`."""


class HeadSpec(_Spec):
    """Which network looks at the pictures, as `ispkit.perceive.heads.open_head` knows it."""


@dataclass(frozen=True)
class DataSpec:
    """Where samples come from: a source of `ispkit.train.sources` with its options."""

    source: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def read(where: str, content: Any) -> DataSpec:
        """A mapping of source and options."""
        source, options = _named(where, content, "source")
        return DataSpec(source, options)


@dataclass(frozen=True)
class Recipe:
    """A whole training."""

    data: DataSpec
    phases: tuple[Phase, ...]
    isp: IspSpec | None = None
    """None: finished frames go to the head as they are"""
    head: HeadSpec | None = None
    """a network that looks at the ISP's pictures: part "head", which learns with the ISP, after it, or not at all"""
    version: Literal[1] = 1
    doc: str = "a training"
    held_out: Mapping[str, Any] | None = None
    """data to evaluate on: options in place of those of `data`, or a source of its own; None: no evaluation"""
    held_out_pictures: int | None = None
    """at most so many of them; None: all"""
    seed: int = 0
    clock: Literal["wall", "cpu"] = "wall"
    """what `seconds` count: time, or processor time of all threads of the training process, which other work on the
    machine does not shorten"""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """of the networks; auto: bf16 on a GPU that has it, else fp32. Losses and adapters are always fp32"""
    start: str | None = None
    """weights to begin with, a file that a training of the same ISP wrote"""
    start_parts: tuple[str, ...] = ()
    """parts, or stages of parts, that begin with the weights of `start`, the others anew; empty: all"""
    w_init: Literal["mean", "median"] | None = None
    """DeepISP: begin with this average of the affine maps fitted to training pictures (paper: mean, code: median)"""
    w_init_pictures: int = 100
    save_every: int = 500
    """steps between checkpoints; where steps are slow there is one every five minutes"""
    log_every: int = 10
    workers: int = 0
    """processes that read data; 0: the training process itself"""

    def __post_init__(self) -> None:
        names = [phase.name for phase in self.phases]
        if not names or len(set(names)) < len(names):
            raise RecipeError(f"phases need names of their own, at least one; got {', '.join(names) or 'none'}")
        if self.isp is None and self.head is None:
            raise RecipeError("a training needs an isp, a head, or both")
        if self.start_parts and self.start is None:
            raise RecipeError("start_parts says what begins with the weights of start; name these, too")
        if min(self.save_every, self.log_every, self.w_init_pictures) < 1 or min(self.seed, self.workers) < 0:
            raise RecipeError("save_every, log_every, w_init_pictures must be at least 1, seed and workers at least 0")

    @property
    def judged(self) -> DataSpec | None:
        """The held-out data as a source with all its options."""
        if self.held_out is None:
            return None
        if "source" in self.held_out:
            return DataSpec.read("held_out", self.held_out)
        return DataSpec(self.data.source, {**self.data.options, **self.held_out})


def _named(where: str, content: Any, key: str) -> tuple[str, dict[str, Any]]:
    given = {key: content} if isinstance(content, str) else content
    if not isinstance(given, Mapping) or not isinstance(given.get(key), str):
        raise RecipeError(f"{where}: {content!r} should be a mapping with {key} and its options")
    nested = given.get("options", {})
    rest = {k: v for k, v in given.items() if k not in (key, "options")}
    return str(given[key]), {**rest, **(nested if isinstance(nested, Mapping) else {})}
