"""Problems without pixels for the tests of the study; spawned workers import them from here."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ispkit.core.errors import BlackBoxError
from ispkit.core.param import Choice, Param
from ispkit.core.space import ParamSpace
from ispkit.tune.contracts import Measurement, Outcome

SPACE = ParamSpace(
    {
        "a.x": Param(default=0.2, low=0.0, high=1.0),
        "a.y": Param(default=0.2, low=0.0, high=1.0),
    }
)
REGISTERS = ParamSpace(
    {
        "r.gain": Param(default=1.0, low=0.01, high=100.0, scale="log"),
        "r.level": Param(default=3.0, low=0.0, high=15.0, step=1.0, differentiable=False),
        "r.mode": Choice(default="off", options=("off", "soft", "hard")),
        "r.soft": Param(default=0.25, low=0.0, high=1.0, step=0.25, differentiable=False, when=("mode", ("soft",))),
        "r.low": Param(default=0.2, low=0.0, high=1.0),
        "r.high": Param(default=0.8, low=0.0, high=1.0),
        "r.odd": Param(default=4.0, low=0.0, high=11.0, step=4.0, differentiable=False),
        "r.shift": Param(default=4.0, low=1.0, high=64.0, step=1.0, scale="log", differentiable=False),
    },
    [("r.low", "r.high")],
)


@dataclass
class Bowl:
    """Squared distance from a target that differs a little from picture to picture; every render is logged."""

    log: str = ""
    space: ParamSpace = field(default_factory=lambda: SPACE)
    count: int = 4
    noise: float = 0.0
    sleep_s: float = 0.0
    trouble: str = ""
    """"raise", "hang", "nan", "die" where x > 0.5; "always" raises everywhere"""
    several: bool = False
    limit_x: float | None = None
    """constraint x <= this"""

    @property
    def objectives(self) -> tuple[str, ...]:
        return ("error", "cost") if self.several else ("error",)

    @property
    def pictures(self) -> tuple[str, ...]:
        return tuple(f"p{i}" for i in range(self.count))

    @property
    def megapixels(self) -> float:
        return 0.5 * self.count

    def measure(self, values, *, pictures=None, seed=0) -> Measurement:
        chosen = tuple(range(self.count)) if pictures is None else tuple(pictures)
        x, y = (float(v) for n, v in list(values.items())[:2])
        if self.log:  # one write, so that lines of several processes do not mix
            with Path(self.log).open("ab", buffering=0) as file:
                file.write(f"{os.getpid()} {x!r} {y!r} {len(chosen)}\n".encode())
        time.sleep(self.sleep_s)
        self.misbehave(x)
        rng = np.random.default_rng(seed)
        targets = [(0.7 + 0.05 * i, 0.6 - 0.05 * i) for i in chosen]
        residual = np.array([[x - a, y - b] for a, b in targets], np.float32).ravel()
        errors = [(x - a) ** 2 + (y - b) ** 2 + self.noise * rng.standard_normal() for a, b in targets]
        if self.trouble == "nan" and x > 0.5:
            errors[0] = math.nan
        scores, each = {"error": float(np.mean(errors))}, {"error": errors}
        if self.several:
            each["cost"] = [x + 0.01 * i for i in chosen]
            scores["cost"] = float(np.mean(each["cost"]))
        picture = np.full((4, 6, 3), int(255 * min(1, max(0, x))), np.uint8)
        return Measurement(
            scores=scores,
            per_picture=each,
            pictures=chosen,
            residual=residual if pictures is None else None,
            constraints={} if self.limit_x is None else {"x": x - self.limit_x},
            rendered=tuple(picture for _ in chosen),
            renders=len(chosen),
            megapixels=0.5 * len(chosen),
        )

    def misbehave(self, x: float) -> None:
        if self.trouble == "always" or (self.trouble == "raise" and x > 0.5):
            raise BlackBoxError("exit code 1")
        if self.trouble == "die" and x > 0.5:
            os._exit(3)
        if self.trouble == "hang" and x > 0.5:
            time.sleep(3600)

    def renders(self) -> list[str]:
        return Path(self.log).read_text().splitlines() if Path(self.log).exists() else []


class Replay:
    """Random points that depend on nothing but how many were told: a resumed one goes on alike."""

    def __init__(self, setup) -> None:
        self.setup, self.told = setup, []

    def ask(self, pending=()):
        rng = np.random.default_rng([self.setup.seed, len(self.told), len(pending)])
        return rng.random(self.setup.space.dim)

    def tell(self, outcome: Outcome) -> None:
        self.told.append(outcome)

    def best(self):
        return min(self.told, key=lambda o: o.score).point if self.told else self.setup.start
