"""The paper's method where there is no picture: a network imitates the score itself (Tseng et al. 2019, section 5.2.2).

Which network the paper took for its test functions is not said; this is a perceptron. Measured, such a one-shot model
of a noisy score loses to CMA-ES (`ispkit bench functions`): it is here for comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ispkit.core.errors import ParamError
from ispkit.core.space import ParamSpace
from ispkit.tune.contracts import Point, SearchSetup
from ispkit.tune.proxy.config import DescendConfig
from ispkit.tune.proxy.descend import Optimum, descend
from ispkit.tune.proxy.render_set import latin_hypercube
from ispkit.tune.proxy.train import falling
from ispkit.tune.searchers.record import Record, read_options

_FEWEST = 4  # scores below which nothing can be learned
_DEFAULTS = {"width": 128, "layers": 3, "steps": 1500, "batch": 64, "learning_rate": 3e-3, "starts": 16}


class ScalarProxy(nn.Module):
    """Settings (B, P) in the unit cube -> their scores (B,), in units of their spread."""

    def __init__(self, space: ParamSpace, *, width: int, layers: int) -> None:
        super().__init__()
        self.space = space
        sizes = [space.dim, *[width] * layers]
        hidden = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), nn.SiLU())]
        self.net = nn.Sequential(*hidden, nn.Linear(sizes[-1], 1))

    def forward(self, units: Tensor) -> Tensor:
        """See the class."""
        scores: Tensor = self.net(2.0 * units - 1.0).squeeze(-1)
        return scores


class ScalarProxySearcher(Record):
    """A Latin hypercube, one training on its scores, then the optima of the frozen network, the best predicted first.

    The last `starts` renders of the budget are for the optima, if it has room for them; `best` is the one that the
    network thinks lowest. Options: width, layers, steps, batch, learning_rate, starts. Raises `ParamError` for another.
    """

    def __init__(self, setup: SearchSetup) -> None:
        super().__init__(setup)
        self._options = read_options(setup, _DEFAULTS)
        wrong = [name for name, value in self._options.items() if not value > 0]
        if wrong:
            raise ParamError(f"scalar-proxy: {wrong[0]}={self._options[wrong[0]]} must be above 0")
        self._first = max(_FEWEST, setup.budget - int(self._options["starts"]))
        self._plan = latin_hypercube(self._first, self.dim, seed=setup.seed)
        self._proxy: ScalarProxy | None = None
        self._sheets: dict[int, list[Optimum]] = {}

    def ask(self, pending: Sequence[Point] = ()) -> Point:
        """A point of the plan, then an optimum; the call that trains takes some seconds."""
        turn = self.turn(pending)
        if turn < self._first:
            return np.array(self._plan[turn])
        if not self._learnable:  # other workers still measure the plan, or most of it failed
            return np.asarray(self.chance(3, turn).random(self.dim))
        sheet, row = divmod(turn - self._first, int(self._options["starts"]))
        return self._optima(sheet)[row].point.copy()

    def best(self) -> Point:
        """The lowest optimum of the network; before there is one the lowest score told."""
        if not self._learnable:
            return super().best()
        lowest = min((self._optima(0)[0], *(s[0] for s in self._sheets.values())), key=lambda o: o.predicted)
        return lowest.point.copy()

    @property
    def _learnable(self) -> bool:
        """Whether the plan is measured."""
        return self.told >= self._first and int(np.isfinite(self._scores[: self._first]).sum()) >= _FEWEST

    def _optima(self, sheet: int) -> list[Optimum]:
        """Of one round of descents, the best predicted first."""
        if sheet not in self._sheets:
            proxy = self._proxy = self._proxy or self._trained()
            config = DescendConfig(starts=int(self._options["starts"]))
            seed = int(self.chance(1, sheet).integers(2**31))
            self._sheets[sheet] = descend(proxy, lambda units: proxy(units[None])[0], config, seed=seed)
        return self._sheets[sheet]

    def _trained(self) -> ScalarProxy:
        """On the first scores told, so that a resumed search learns the same."""
        points, scores = (np.asarray(part[: self._first]) for part in (self._points, self._scores))
        points, scores = points[np.isfinite(scores)], scores[np.isfinite(scores)]
        targets = torch.from_numpy((scores - scores.mean()) / max(float(scores.std()), 1e-12)).float()
        units, options, rng = torch.from_numpy(points).float(), self._options, self.chance(2)
        with torch.random.fork_rng(devices=[]):  # torch draws first weights from its global state alone
            torch.manual_seed(self.setup.seed)
            proxy = ScalarProxy(self.setup.space, width=int(options["width"]), layers=int(options["layers"]))
        optimizer, steps = torch.optim.Adam(proxy.parameters()), int(options["steps"])
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = float(options["learning_rate"]) * falling("cosine", step / steps)
            rows = torch.from_numpy(rng.integers(len(targets), size=int(options["batch"])))
            optimizer.zero_grad(set_to_none=True)
            F.mse_loss(proxy(units[rows]), targets[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return proxy
