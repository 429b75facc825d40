"""`auto` chooses by what it is told, and tunes by predicted pictures where the loss has a gradient."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from register_box import RegisterBox

from ispkit.core.errors import ParamError
from ispkit.tune.auto.auto import AutoSearcher
from ispkit.tune.auto.composed import ComposedSearcher, picture_loss_of
from ispkit.tune.auto.residual import ResidualSearcher
from ispkit.tune.contracts import Outcome, SearchSetup
from ispkit.tune.methods import METHODS


class Judged:
    """The register box by another loss: differences and their slopes to the power of 1.5: no residual."""

    def __init__(self) -> None:
        self.box = RegisterBox(hidden=True)
        self.space = self.box.space
        self.target = self.box.target / 255

    def picture_loss(self, pictures):
        away = pictures - self.target
        return away.abs().pow(1.5).mean() + (away[..., 1:] - away[..., :-1]).abs().pow(1.5).mean()

    def measure(self, point: np.ndarray) -> Outcome:
        u = torch.as_tensor(point, dtype=torch.float32)
        codes = self.box.pictures(u)
        score = float(self.picture_loss(codes.float() / 255))
        pictures = tuple(p.permute(1, 2, 0).numpy() for p in codes)
        return Outcome(self.space.to_vector(self.space.from_vector(u)).double().numpy(), score, None, lambda: pictures)


def setup(problem, seed: int = 0) -> SearchSetup:
    start = np.random.default_rng([seed, 99]).random(problem.space.dim)
    return SearchSetup(problem.space, start, 100, seed, problem)


def test_another_loss_is_lowered_faster_than_by_cma():
    problem = Judged()
    ends = []
    for searcher in (METHODS["cma"](setup(problem)), AutoSearcher(setup(problem))):
        scores = []
        for _ in range(45):
            outcome = problem.measure(searcher.ask())
            searcher.tell(outcome)
            scores.append(outcome.score)
        ends.append(min(scores))
    assert isinstance(searcher.chosen, ComposedSearcher)
    assert ends[1] < 0.7 * ends[0]


def test_the_choice_follows_what_is_told():
    problem = Judged()
    told = problem.measure(np.full(32, 0.5))
    kinds = {"residual": replace(told, residual=np.ones(5, dtype=np.float32)), "pictures": told}
    for name, outcome in kinds.items():
        searcher = AutoSearcher(setup(problem))
        searcher.tell(Outcome(told.point, np.inf))
        assert searcher.chosen is None
        searcher.tell(outcome)
        assert type(searcher.chosen) is (ResidualSearcher if name == "residual" else ComposedSearcher)
        assert np.array_equal(searcher.best(), told.point)


def test_a_score_alone_goes_to_the_scalar_search():
    problem = Judged()
    searcher = AutoSearcher(replace(setup(problem), problem=None))
    first = searcher.ask()
    assert np.allclose(first, setup(problem).start)
    waiting = searcher.ask([first])
    assert not np.allclose(waiting, first)
    searcher.tell(replace(problem.measure(first), rendered=None))
    assert type(searcher.chosen).__name__ == "ScalarSearcher"


@pytest.mark.parametrize("loss", [None, lambda pictures: pictures.detach().mean()])
def test_a_loss_without_gradient_is_none(loss):
    pictures = (np.zeros((4, 6, 3), dtype=np.uint8), np.zeros((2, 6, 3), dtype=np.uint8))
    calm = SimpleNamespace(picture_loss=(lambda p: loss(p[0])) if loss else None)
    assert picture_loss_of(calm, pictures) is None

    def refuse(pictures):
        raise ParamError("objective 'x' has no gradient")

    assert picture_loss_of(SimpleNamespace(picture_loss=refuse), pictures) is None
    sizes = []
    different = SimpleNamespace(picture_loss=lambda each: sizes.extend(p.shape for p in each) or each[0].mean())
    assert picture_loss_of(different, pictures) is not None
    assert sizes == [(1, 3, 4, 6), (1, 3, 2, 6)]
