"""What every method promises, checked over one list."""

from __future__ import annotations

import numpy as np
import pytest

from ispkit.core.errors import ParamError
from ispkit.core.param import Choice, Param
from ispkit.core.space import ParamSpace
from ispkit.tune.auto.scalar import ScalarSearcher
from ispkit.tune.contracts import Outcome, SearchSetup
from ispkit.tune.methods import METHODS, method_of
from ispkit.tune.searchers.record import legal

METHODS_HERE = {name: method for name, method in METHODS.items() if name not in {"proxy", "auto"}}
METHODS_HERE["auto on scalars"] = ScalarSearcher
LEARNING = sorted(set(METHODS_HERE) - {"default", "random", "lhs", "sobol"})
RESUMING = sorted(set(METHODS_HERE) - {"tpe", "nsga2", "turbo", "auto on scalars"})
TARGET = np.array([0.3, 0.7, 0.45, 0.6, 0.35])


def plain_space(dim=5) -> ParamSpace:
    return ParamSpace({f"s{i % 2}.k{i}": Param(default=0.5, low=0.0, high=1.0) for i in range(dim)})


def mixed_space() -> ParamSpace:
    return ParamSpace(
        {
            "a.mode": Choice(default="x", options=("x", "y", "z")),
            "a.register": Param(default=3, low=0, high=7, step=1, differentiable=False),
            "a.low": Param(default=0.2, low=0.0, high=1.0),
            "b.high": Param(default=0.5, low=0.0, high=1.0),
            "b.gain": Param(default=1.0, low=0.25, high=4.0, scale="log"),
        },
        orderings=[("a.low", "b.high")],
    )


def setup_of(space: ParamSpace, *, budget=60, seed=3, **options) -> SearchSetup:
    start = space.to_vector(space.defaults()).double().numpy()
    return SearchSetup(space, start, budget, seed, options=options)


def bowl(point) -> float:
    return float(((point - TARGET[: len(point)]) ** 2).sum())


def run(searcher, space, n, score=bowl) -> list[np.ndarray]:
    """Points as asked; measured where the space puts them."""
    asked = []
    for _ in range(n):
        point = searcher.ask()
        asked.append(point.copy())
        there = legal(space, point)
        searcher.tell(Outcome(there, score(there)))
    return asked


@pytest.mark.parametrize("name", sorted(METHODS_HERE))
@pytest.mark.parametrize("space", [plain_space(), plain_space(1), mixed_space()], ids=["plain", "one", "mixed"])
def test_points_are_inside_the_cube_whatever_was_told(name, space):
    setup = setup_of(space)
    searcher = METHODS_HERE[name](setup)
    assert searcher.best().shape == (space.dim,)
    rng = np.random.default_rng(0)
    open_points = []
    for k in range(45):
        point = searcher.ask(open_points)
        assert point.shape == (space.dim,)
        assert point.dtype == np.float64
        assert ((point >= 0) & (point <= 1)).all()
        open_points.append(point)
        if k % 3 == 2:  # three workers; one of them fails now and then
            for p in open_points:
                there = legal(space, p)
                searcher.tell(Outcome(there, np.inf if rng.random() < 0.2 else bowl(there)))
            open_points = []
        if k % 7 == 0:  # somebody else's trial
            other = rng.random(space.dim)
            searcher.tell(Outcome(other, bowl(other)))
    assert ((searcher.best() >= 0) & (searcher.best() <= 1)).all()


@pytest.mark.parametrize("name", sorted(METHODS_HERE))
def test_a_box_that_always_fails_is_survived(name):
    space = plain_space()
    searcher = METHODS_HERE[name](setup_of(space))
    run(searcher, space, 30, score=lambda _: np.inf)
    assert np.isfinite(searcher.best()).all()


@pytest.mark.parametrize("name", sorted(METHODS_HERE))
def test_same_seed_same_sequence(name):
    space = plain_space()
    one, two = (run(METHODS_HERE[name](setup_of(space)), space, 40) for _ in range(2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("name", RESUMING)
def test_a_resumed_search_goes_on_where_it_was(name):
    space = plain_space()
    asked = run(METHODS_HERE[name](setup_of(space)), space, 41)
    later = METHODS_HERE[name](setup_of(space))
    for point in asked[:40]:
        there = legal(space, point)
        later.tell(Outcome(there, bowl(there)))
    np.testing.assert_allclose(later.ask(), asked[40], atol=1e-12)


@pytest.mark.parametrize("name", sorted(METHODS_HERE))
def test_a_resumed_search_still_works(name):
    space = mixed_space()
    asked = run(METHODS_HERE[name](setup_of(space)), space, 30)
    later = METHODS_HERE[name](setup_of(space))
    for point in asked:
        there = legal(space, point)
        later.tell(Outcome(there, bowl(there)))
    assert len(run(later, space, 10)) == 10


@pytest.mark.parametrize("name", LEARNING)
def test_learning_beats_chance_on_a_bowl(name):
    space = plain_space()
    budget = 120

    def reached(method) -> float:
        values = []
        for seed in range(3):
            searcher = method(setup_of(space, budget=budget, seed=seed))
            run(searcher, space, budget)
            values.append(bowl(searcher.best()))
        return float(np.median(values))

    assert reached(METHODS_HERE[name]) < reached(METHODS["random"])


@pytest.mark.parametrize("name", sorted(METHODS_HERE))
def test_an_unknown_option_is_named(name):
    with pytest.raises(ParamError, match="popsise"):
        METHODS_HERE[name](setup_of(plain_space(), popsise=3))


@pytest.mark.parametrize(
    ("name", "option"), [("cma", {"popsize": "abc"}), ("scalar-proxy", {"width": 0.5}), ("turbo", {"batch": True})]
)
def test_an_option_of_another_kind_is_named(name, option):
    with pytest.raises(ParamError, match=f"option {next(iter(option))}=.* a whole number"):
        METHODS[name](setup_of(plain_space(), **option))


def test_a_resumed_scalar_proxy_learns_the_same():
    space = plain_space()
    options = {"budget": 24, "starts": 4, "steps": 40}

    def score(point) -> float:
        return np.inf if point[0] < 0.2 else bowl(point)

    whole = METHODS["scalar-proxy"](setup_of(space, **options))
    asked = run(whole, space, 30, score)  # past the plan of 20 points and the first four optima
    for told in (20, 23, 27):
        later = METHODS["scalar-proxy"](setup_of(space, **options))
        for point in asked[:told]:
            there = legal(space, point)
            later.tell(Outcome(there, score(there)))
        if told < 24:  # one round of descents, as before
            first = later.best()
        np.testing.assert_allclose(later.ask(), asked[told], atol=1e-12)
        np.testing.assert_allclose(first, asked[20], atol=1e-12)


def test_a_scalar_proxy_waits_for_its_plan():
    space = plain_space()
    searcher = METHODS["scalar-proxy"](setup_of(space, budget=12, starts=4, steps=40))
    open_questions = [searcher.ask() for _ in range(10)]  # nobody has answered
    assert len({p.tobytes() for p in open_questions}) == 10


def test_unknown_method_names_the_nearest():
    with pytest.raises(ParamError, match="'powell'"):
        method_of("powel")


def test_all_the_promised_methods_are_there():
    wanted = "default random lhs sobol nelder-mead blockwise powell tpe cma turbo nsga2 proxy scalar-proxy auto"
    assert set(METHODS) == set(wanted.split())


def test_cma_recommends_mean_or_best():
    space = plain_space()
    found = {}
    for which in ("mean", "best"):
        searcher = METHODS["cma"](setup_of(space, recommend=which))
        asked = run(searcher, space, 64)
        found[which] = searcher.best()
    assert any(np.array_equal(found["best"], p) for p in asked)
    assert not any(np.array_equal(found["mean"], p) for p in asked)
    with pytest.raises(ParamError, match="neither"):
        METHODS["cma"](setup_of(space, recommend="median"))


def test_blockwise_moves_one_stage_at_a_time():
    space = plain_space()
    asked = run(METHODS["blockwise"](setup_of(space)), space, 20)
    moved = [set(np.flatnonzero(np.abs(p - asked[0]) > 1e-9) % 2) for p in asked]
    assert all(len(m) <= 1 for m in moved)


def test_threads_end_with_their_searcher():
    import gc
    import threading

    before = threading.active_count()
    space = plain_space()
    for _ in range(5):
        run(METHODS["powell"](setup_of(space)), space, 12)
    gc.collect()
    for thread in threading.enumerate():
        if thread.name.endswith("(_serve)"):
            thread.join(timeout=2.0)
    assert threading.active_count() <= before + 1
