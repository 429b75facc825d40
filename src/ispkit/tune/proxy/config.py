"""How large a proxy is, how long it learns, how its optimum is sought: three presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypeVar

from ispkit.core.errors import ParamError, nearest
from ispkit.nets.unet import Activation


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Stage 1: Adam on the squared error of the picture (Tseng 2019, eq. 3)."""

    steps: int = 1500
    batch: int = 16
    patch: int = 64
    """px, cut at random from the rendered pictures"""
    learning_rate: float = 5e-3
    schedule: Literal["constant", "cosine", "step"] = "cosine"
    """cosine falls to 1 % at the last step; step takes a tenth after 60 % and again after 85 %; all rise first"""
    clip: float = 0.1
    """largest length of the gradient"""
    held_out: float = 0.1
    """share of the settings that is not learned from but judged on"""
    warn_below_db: float = 30.0
    """held-out PSNR under which a warning is logged: the optimum of a poor proxy is luck"""
    save_every: int = 500
    """steps between two checkpoints"""


@dataclass(frozen=True, kw_only=True)
class DescendConfig:
    """Stage 2: frozen weights, Adam on the settings in the unit cube (eq. 4)."""

    starts: int = 6
    """random starting points"""
    iterations: int = 80
    learning_rate: float = 0.1
    """in the unit cube; falls to 2 % along a cosine"""
    discrete: Literal["project", "straight-through"] = "project"
    """project: continuous until the end, then the nearest legal value; straight-through: legal at every step"""
    radius: float = 1.0
    """how far each coordinate may go from where it starts; 1: anywhere"""


@dataclass(frozen=True, kw_only=True)
class ProxyConfig:
    """Everything that the method `proxy` may be told."""

    channels: tuple[int, ...] | str = "tiny"
    """features a level, or a preset of `nets.unet`"""
    residual: bool = True
    activation: Activation = "silu"
    """relu as usual in 2019; silu, which cannot die, for small nets that learn fast"""
    share: float = 0.8
    """of the budget that is spent on random settings to learn from"""
    rounds: int = 1
    """1 as in the paper; more: learn again from what was measured at the optima found, and descend again"""
    device: str = "cpu"
    train: TrainConfig = field(default_factory=TrainConfig)
    descend: DescendConfig = field(default_factory=DescendConfig)

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ParamError(f"share={self.share} of the budget must be between 0 and 1")
        if self.rounds < 1 or self.descend.starts < 1 or self.train.steps < 1:
            raise ParamError("rounds, starts and steps must be at least 1")


_Config = TypeVar("_Config", ProxyConfig, TrainConfig, DescendConfig)

PRESETS: dict[str, ProxyConfig] = {
    "paper": ProxyConfig(
        channels="paper",
        activation="relu",
        train=TrainConfig(steps=100_000, batch=4, patch=512, learning_rate=1e-4, schedule="step", save_every=2000),
        descend=DescendConfig(starts=16, iterations=200, learning_rate=0.25),
    ),
    "small": ProxyConfig(
        channels="small",
        train=TrainConfig(steps=2000, batch=8, patch=96, learning_rate=1e-3),
        descend=DescendConfig(starts=8, iterations=100),
    ),
    "tiny": ProxyConfig(),
}
"""paper: the paper's net and patch, with the lab's later learning rates where it is silent (a GPU);
tiny: some minutes on two CPU cores; small: between them"""


def configured(options: Mapping[str, Any]) -> ProxyConfig:
    """A preset ("preset", tiny if not said) with the fields named in `options` changed.

    Fields of `train` and `descend` are reached as "train.steps". Raises `ParamError` for an unknown name.
    """
    rest = dict(options)
    name = rest.pop("preset", "tiny")
    if name not in PRESETS:
        raise ParamError(f"proxy: no preset {name!r}; {nearest(str(name), PRESETS)}")
    config = PRESETS[name]
    for part in ("train", "descend"):
        own = {k.split(".", 1)[1]: rest.pop(k) for k in list(rest) if k.startswith(f"{part}.")}
        config = replace(config, **{part: _changed(getattr(config, part), own, f"{part}.")})
    return _changed(config, rest, "")


def _changed(config: _Config, changes: Mapping[str, Any], place: str) -> _Config:
    known = [f.name for f in fields(config)]
    for name in changes:
        if name not in known:
            raise ParamError(f"proxy: no option {place + name!r}; {nearest(name, known)}")
    return replace(config, **changes)
