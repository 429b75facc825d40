"""`auto` on residuals: laws of a method, exactness where it is possible, and fewer renders than CMA-ES."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from register_box import RegisterBox
from scipy.optimize import check_grad

from ispkit.core.errors import ParamError, ShapeError
from ispkit.core.param import Choice, Param
from ispkit.core.space import ParamSpace
from ispkit.tune.auto.auto import AutoSearcher
from ispkit.tune.auto.residual import ResidualSearcher
from ispkit.tune.auto.residual_gram import Evidence
from ispkit.tune.auto.residual_lattice import Lattice
from ispkit.tune.auto.residual_model import Kernel, ResidualModel, misfit
from ispkit.tune.contracts import Outcome, SearchSetup
from ispkit.tune.methods import METHODS


def smooth_space(count: int) -> ParamSpace:
    return ParamSpace({f"stage.k{i}": Param(default=0.5, low=0.0, high=1.0) for i in range(count)})


class Linear:
    """A residual that is linear in the knobs; the optimum is inside the cube and has score 0."""

    def __init__(self, count: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.space, self.matrix = smooth_space(count), rng.normal(size=(200, count))
        self.goal = rng.uniform(0.2, 0.8, count)

    def measure(self, point: np.ndarray) -> Outcome:
        residual = self.matrix @ (np.clip(point, 0, 1) - self.goal)
        return Outcome(np.clip(point, 0, 1), float(residual @ residual), residual.astype(np.float32))


def search(problem, searcher, renders: int) -> list[float]:
    best: list[float] = []
    for _ in range(renders):
        outcome = problem.measure(searcher.ask())
        searcher.tell(outcome)
        best.append(min([outcome.score, *best[-1:]]))
    return best


def setup(problem, seed: int = 0, budget: int = 200, **options) -> SearchSetup:
    start = np.random.default_rng([seed, 99]).random(problem.space.dim)
    return SearchSetup(problem.space, start, budget, seed, options=options)


def test_a_linear_residual_is_solved_in_little_more_renders_than_knobs():
    problem = Linear(8)
    best = search(problem, ResidualSearcher(setup(problem)), 8 + 12)
    assert best[-1] < 1e-4 * best[0]


@pytest.mark.slow
def test_the_registers_of_a_black_box_are_found_with_a_tenth_of_the_renders_of_cma():
    box = RegisterBox()
    theirs = search(box, METHODS["cma"](setup(box, budget=400)), 400)
    best = search(box, AutoSearcher(setup(box, budget=120)), 120)
    assert best[119] < theirs[399]


@pytest.mark.parametrize("seed", range(2))
def test_better_than_cma_at_equal_renders(seed):
    box = RegisterBox(hidden=True)
    theirs = search(box, METHODS["cma"](setup(box, seed)), 60)
    ours = search(box, AutoSearcher(setup(box, seed)), 60)
    assert ours[-1] < 0.7 * theirs[-1]


def test_no_measured_point_is_asked_again_where_registers_are_coarse():
    space = ParamSpace({f"s.k{i}": Param(default=1, low=0, high=3, step=1, differentiable=False) for i in range(3)})
    searcher, seen = ResidualSearcher(SearchSetup(space, np.full(3, 1 / 3), 60)), set()
    for _ in range(50):
        point = searcher.ask()
        codes = tuple(int(v) for v in space.from_vector(torch.as_tensor(point)).values())
        assert codes not in seen
        seen.add(codes)
        residual = np.array(codes, dtype=np.float32) - np.array([2, 0, 3], dtype=np.float32)
        searcher.tell(Outcome(point, float(residual @ residual), residual))
    assert (2, 0, 3) in seen


class Switched(Linear):
    """Two choices: the right options take an error away that no number can."""

    def __init__(self) -> None:
        super().__init__(5)
        options = ("a", "b", "c", "d")
        self.space = ParamSpace(
            {
                "stage.method": Choice(default="a", options=options),
                "stage.other": Choice(default="d", options=options, when=("method", ("c",))),
                **smooth_space(5),
            }
        )

    def measure(self, point: np.ndarray) -> Outcome:
        method, other = (min(int(4 * p), 3) for p in point[:2])
        wrong = np.random.default_rng(0 if method == 2 else 1 + method).normal(size=200) * (method != 2)
        if method == 2 and other != 1:
            wrong = wrong + 0.1
        residual = self.matrix @ (np.clip(point[2:], 0, 1) - self.goal) * (1 + 0.2 * method) + wrong
        return Outcome(point, float(residual @ residual), residual.astype(np.float32))


def test_flips_find_the_options_and_leave_dead_choices_alone():
    problem = Switched()
    space = problem.space
    start = space.to_vector({}).double().numpy()
    searcher = ResidualSearcher(SearchSetup(space, start, 90))
    best = search(problem, searcher, 90)
    found = space.readable(space.from_vector(torch.as_tensor(searcher.best())))
    assert (found["stage.method"], found["stage.other"]) == ("c", "b")
    assert best[-1] < 1e-2 * best[0]


def test_orderings_hold_in_every_point_asked():
    knobs = smooth_space(4)
    space = ParamSpace(knobs, [("stage.k0", "stage.k1")])
    problem = Linear(4)
    searcher = ResidualSearcher(SearchSetup(space, np.full(4, 0.5), 60))
    for _ in range(25):
        point = searcher.ask()
        assert point[0] <= point[1] + 1e-6
        searcher.tell(problem.measure(point))


def test_failed_trials_cost_a_trial_and_no_more():
    problem = Linear(6)
    searcher = AutoSearcher(setup(problem))
    best = np.inf
    for turn in range(60):
        point = searcher.ask()
        assert np.all((point >= 0) & (point <= 1))
        failed = turn % 3 == 0 or point[0] > 0.9
        outcome = Outcome(point, np.inf) if failed else problem.measure(point)
        searcher.tell(outcome)
        best = min(best, outcome.score)
    assert best < 1e-2
    assert problem.measure(searcher.best()).score == pytest.approx(best)


def test_workers_get_different_points_and_the_search_goes_on():
    problem = Linear(6)
    searcher, waiting, best = AutoSearcher(setup(problem)), [], np.inf
    for _ in range(60):
        while len(waiting) < 3:
            point = searcher.ask(waiting)
            assert all(np.abs(point - other).max() > 1e-9 for other in waiting)
            waiting.append(point)
        outcome = problem.measure(waiting.pop(0))
        searcher.tell(outcome)
        best = min(best, outcome.score)
    assert best < 1e-2


def test_a_resumed_search_goes_on_as_well_from_told_outcomes_alone():
    box = RegisterBox(hidden=True)
    first = AutoSearcher(setup(box))
    told = []
    for _ in range(25):
        told.append(box.measure(first.ask()))
        first.tell(told[-1])
    fresh = AutoSearcher(setup(box))
    for outcome in told:
        fresh.tell(outcome)
    assert np.array_equal(fresh.best(), first.best())
    ends = [search(box, s, 20)[-1] for s in (first, fresh)]
    assert max(ends) < 0.8 * min(o.score for o in told)


def test_foreign_points_are_used():
    problem = Linear(10)
    searcher = AutoSearcher(setup(problem))
    for point in np.random.default_rng(3).random((30, 10)):
        searcher.tell(problem.measure(point))
    assert search(problem, searcher, 12)[-1] < 1e-2


def test_repeats_are_averaged_and_the_noise_is_seen():
    evidence = Evidence(Lattice(smooth_space(3)))
    point = np.full(3, 0.5)
    for score, value in ((1.0, 1.0), (3.0, 3.0)):
        evidence.add(Outcome(point, score, np.full(4, value, dtype=np.float32)))
    (site,) = evidence.sites
    assert (site.score, site.count) == (2.0, 2)
    assert evidence.noise == pytest.approx(2**0.5)
    assert evidence.gram([site])[0, 0] == pytest.approx(16.0)


def test_noise_is_survived():
    box = RegisterBox(noise=0.005)
    searcher = AutoSearcher(setup(box))
    best = search(box, searcher, 50)
    assert best[-1] < 0.4 * best[0]
    lucky = searcher.best()
    for _ in range(3):  # measured again it turns out bad: another point is recommended
        searcher.tell(replace(box.measure(lucky), score=1.5 * best[-1]))
    assert not np.array_equal(searcher.best(), lucky)


def test_wrong_options_and_lengths_are_named():
    problem = Linear(3)
    with pytest.raises(ParamError, match="radius"):
        ResidualSearcher(setup(problem, radios=1.0))
    searcher = ResidualSearcher(setup(problem))
    searcher.tell(problem.measure(np.full(3, 0.5)))
    with pytest.raises(ShapeError, match="200"):
        searcher.tell(Outcome(np.zeros(3), 1.0, np.zeros(7, dtype=np.float32)))


def test_the_likelihood_and_the_prediction_have_their_gradients():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 4)) * 0.4
    residuals = np.tanh(x @ rng.normal(size=(4, 50)))
    gram = residuals @ residuals.T  # of differences: the center is the origin
    theta = Kernel.prior(4).theta + 0.3 * rng.normal(size=6)
    wrong = check_grad(lambda t: misfit(t, x, gram)[0], lambda t: misfit(t, x, gram)[1], theta, epsilon=1e-6)
    assert wrong < 1e-3 * np.linalg.norm(misfit(theta, x, gram)[1])
    model = ResidualModel(Kernel(theta), np.vstack([np.zeros(4), x]), np.pad(gram, ((1, 0), (1, 0))))
    form, u = model.form(-0.05), 0.2 * rng.normal(size=4)
    wrong = check_grad(lambda v: model.value(v, form)[0], lambda v: model.value(v, form)[1], u, epsilon=1e-6)
    assert wrong < 1e-3 * np.linalg.norm(model.value(u, form)[1])


def test_the_predicted_length_is_that_of_the_predicted_residual():
    rng = np.random.default_rng(1)
    x = np.vstack([np.zeros(3), rng.normal(size=(9, 3)) * 0.4])
    residuals = 1 + np.tanh(x @ rng.normal(size=(3, 20)))
    model = ResidualModel(Kernel.prior(3), x, residuals @ residuals.T)
    u = np.array([0.1, -0.2, 0.05])
    predicted = residuals[0] + model.weights(torch.as_tensor(u)).numpy() @ (residuals[1:] - residuals[0])
    assert model.value(u, model.form(0.0))[0] == pytest.approx(float(np.square(predicted).sum()), rel=1e-9)


@pytest.mark.parametrize("budget", [1, 2, 3, 6])
def test_a_tiny_budget_is_spent_without_a_model(budget):
    space = ParamSpace({f"k.{i}": Param(default=0.2, low=0.0, high=1.0, doc="") for i in range(4)})
    searcher = ResidualSearcher(SearchSetup(space, np.full(4, 0.2), budget))
    for _ in range(budget):
        point = searcher.ask()
        residual = (point - 0.5).astype(np.float32)
        searcher.tell(Outcome(point, float(np.square(residual).sum()), residual))
    assert searcher.best().shape == (4,)
