"""The method `proxy`: random settings, one training, gradient descent, the real ISP at the optima.

Tseng et al., ACM Trans. Graphics 38(4), 2019, section 4.2.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch

from ispkit.core.errors import ParamError
from ispkit.core.space import ParamSpace
from ispkit.isp.pipeline import ISP
from ispkit.isp.proxy import ProxyISP, input_channels
from ispkit.nets.unet import ProxyUNet
from ispkit.tune.contracts import Outcome, Point, SearchSetup
from ispkit.tune.proxy.config import ProxyConfig, configured
from ispkit.tune.proxy.descend import Anchor, Optimum, PictureSide, descend, picture_objective
from ispkit.tune.proxy.render_set import Render, RenderSet, latin_hypercube
from ispkit.tune.proxy.train import Fidelity, train_proxy
from ispkit.tune.searchers.record import legal

_SAME = 1e-9
_FEWEST = 4  # settings below which nothing can be learned
_LOG = logging.getLogger(__name__)


class ProxySearcher:
    """A `Searcher` that models the pictures. It needs a problem with a `PictureSide`.

    Until `share` of the budget is used it asks for the points of a Latin hypercube; then it trains once
    on all pictures told (minutes; `fidelity` and `proxy` are filled) and asks for the optima that the
    frozen proxy shows, the best predicted first. With `rounds` > 1 (not in the paper) it then learns on from all
    pictures, those at the optima among them, and descends again, anchored at the best setting measured. Options:
    `config.configured`.
    Raises `ParamError` for an unknown option or a problem without pictures.
    """

    def __init__(self, setup: SearchSetup) -> None:
        side: object = setup.problem
        if not isinstance(side, PictureSide):
            raise ParamError(
                "the method proxy models the pictures of one objective: neither weights nor pruning go with it, nor a "
                "problem without pictures; take scalar-proxy, cma or turbo"
            )
        self.config: ProxyConfig = configured(setup.options)
        self.space, self.seed, self.start = setup.space, setup.seed, setup.start
        self._side: PictureSide = side
        self.first = max(_FEWEST, math.ceil(self.config.share * setup.budget))
        plan = latin_hypercube(self.first, self.space.dim, seed=self.seed)
        self._plan = [legal(self.space, p) for p in plan]
        self.outcomes: list[Outcome] = []
        self.optima: list[Optimum] = []
        """of the last descent, the best predicted first"""
        self.proxy: ProxyISP | None = None
        self.fidelity: Fidelity | None = None
        self.descents = 0

    def ask(self, pending: Sequence[Point] = ()) -> Point:
        """A point of the plan, then an optimum; the call that trains takes as long as training does."""
        if len(self.outcomes) < self.first or not self._learnable():
            planned = self._fresh(self._plan, pending)
            return self._random() if planned is None else planned
        optimum = self._fresh((o.point for o in self.optima), pending)
        if optimum is None:
            self._descend()
            optimum = self._fresh((o.point for o in self.optima), pending)
        return self._random() if optimum is None else optimum

    def tell(self, outcome: Outcome) -> None:
        """Take note; pictures are read when the network learns."""
        self.outcomes.append(outcome)

    def best(self) -> Point:
        """The best point measured on the real ISP; the start before any."""
        measured = [o for o in self.outcomes if math.isfinite(o.score)]
        return min(measured, key=lambda o: o.score).point if measured else self.start

    def renders(self) -> RenderSet:
        """All pictures told so far, as training data."""
        frames, renders = self._side.inputs(), []
        for outcome in self.outcomes:
            pictures = outcome.rendered() if outcome.rendered is not None else ()
            if len(pictures) == len(frames):  # of a trial that was cut short it is not known which are there
                renders += [Render(i, outcome.point, picture) for i, picture in enumerate(pictures)]
        return RenderSet(frames, renders)

    def _learnable(self) -> bool:
        """Whether pictures of enough settings came back; failed trials bring none."""
        seen = {o.point.tobytes() for o in self.outcomes if o.rendered is not None}
        return len(seen) >= _FEWEST

    def _descend(self) -> None:
        if self.proxy is None or self.descents < self.config.rounds:
            self._train()
        if self.proxy is None:
            return
        anchor = self._anchor() if self.descents and self.config.rounds > 1 else None
        starts = [] if anchor is None else [anchor.point]
        loss = picture_objective(self.proxy, self._side, anchor)
        seed = self.seed + 7919 * (self.descents + 1)
        self.optima = descend(self.proxy, loss, self.config.descend, seed=seed, starts=starts)
        self.descents += 1
        _LOG.info("proxy: %d optima, the best is predicted at %.5g", len(self.optima), self.optima[0].predicted)

    def _train(self) -> None:
        self.proxy = self.proxy or new_proxy(self._side.isp, self.space, self.config, seed=self.seed)
        config = self.config.train
        if self.descents:  # it only has to take in what is new
            config = replace(config, steps=max(1, config.steps // 4), learning_rate=config.learning_rate / 2)
        self.fidelity = train_proxy(self.proxy, self.renders(), config, seed=self.seed + self.descents)
        _LOG.info("proxy: %.1f dB on held-out settings, %.0f s", self.fidelity.psnr_db, self.fidelity.seconds)

    def _anchor(self) -> Anchor | None:
        """The best setting measured, with its real pictures."""
        whole = [o for o in self.outcomes if o.rendered is not None and math.isfinite(o.score)]
        for outcome in sorted(whole, key=lambda o: o.score):
            pictures = outcome.rendered() if outcome.rendered is not None else ()
            if len(pictures) == len(self._side.inputs()):
                return Anchor(outcome.point, pictures)
        return None

    def _fresh(self, points: Iterable[Point], pending: Sequence[Point]) -> Point | None:
        """The first of `points` that nobody has measured or measures now."""
        known = [o.point for o in self.outcomes] + list(pending)
        for point in points:
            if not any(np.allclose(point, other, rtol=0, atol=_SAME) for other in known):
                return point
        return None

    def _random(self) -> Point:
        rng = np.random.default_rng((self.seed, len(self.outcomes)))
        return legal(self.space, rng.random((self.space.dim,)))


def new_proxy(isp: ISP, space: ParamSpace, config: ProxyConfig, *, seed: int) -> ProxyISP:
    """An untrained proxy of `isp` for the knobs of `space`, on the configured device."""
    channels = input_channels(isp.reads)
    with torch.random.fork_rng(devices=[]):  # torch draws first weights from its global state alone
        torch.manual_seed(seed)
        net = ProxyUNet(
            space.dim,
            pixels=channels,
            channels=config.channels,
            residual=config.residual,
            activation=config.activation,
        )
    # faster convolutions on a CPU
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return ProxyISP(isp, net, space).to(config.device)
