"""The test functions, their noise and shift, the runs and the tables."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import wilcoxon

from ispkit.bench.functions import DIM, FUNCTIONS, NOISE, VARIANTS, Reached, Task, run_task
from ispkit.bench.functions_report import beside_the_paper, summarize, write_functions
from ispkit.bench.functions_run import ENTRANTS, Run, planned, read_runs, run_functions
from ispkit.core.errors import FileError, ParamError
from ispkit.tune.methods import METHODS


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_minimum_is_zero_at_the_origin(name):
    assert FUNCTIONS[name].of(np.zeros(DIM)) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ackley", 20 - 20 * np.exp(-0.2) + np.e - np.e),  # all ones: cos(2 pi) = 1
        ("rastrigin", 20.0),
        ("step2", 20.0),
        ("alpine1", 20 * (np.sin(1.0) + 0.1)),
    ],
)
def test_known_values_at_all_ones(name, value):
    assert FUNCTIONS[name].of(np.ones(DIM)) == pytest.approx(value, rel=1e-12)


def test_steps_are_flat_and_half_way():
    f = FUNCTIONS["step2"].of
    assert f(np.array([0.49, -0.5, 1.49])) == 1.0
    assert f(np.array([0.5, -0.51, 1.5])) == 1.0 + 1.0 + 4.0


@pytest.mark.parametrize(
    ("name", "sigma"), [("ackley", 0.670), ("rastrigin", 24.2), ("step2", 6000.0), ("alpine1", 5.23)]
)
def test_noise_is_three_percent_of_the_maximum(name, sigma):
    function = FUNCTIONS[name]
    line = np.linspace(-function.half, function.half, 200_001)[:, None]
    highest = function.of(np.repeat(line, 2, axis=1)).max() * (1 if name == "ackley" else DIM / 2)
    assert function.maximum() == pytest.approx(highest, rel=1e-6)
    noise = Task(function, "centered", 5).noise(20_000)
    assert noise.std() == pytest.approx(sigma, rel=0.02)
    assert NOISE * function.maximum() == pytest.approx(sigma, rel=2e-3)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_where_the_minimum_and_the_start_are(name):
    for seed in range(20):
        shifted, centered = Task(FUNCTIONS[name], "shifted", seed), Task(FUNCTIONS[name], "centered", seed)
        assert ((shifted.optimum >= 0.1) & (shifted.optimum <= 0.9)).all()
        assert shifted.value(shifted.optimum) == pytest.approx(0.0, abs=1e-9)
        assert centered.value(np.full(DIM, 0.5)) == pytest.approx(0.0, abs=1e-9)
        np.testing.assert_array_equal(shifted.start, 0.5)
        assert np.abs(centered.start - 0.5).max() > 0.2
    assert not np.array_equal(shifted.optimum, Task(FUNCTIONS[name], "shifted", 99).optimum)


def test_chance_of_the_problem_and_of_the_methods_are_apart():
    """A method with the problem's seed must not draw the problem's shift."""
    task = Task(FUNCTIONS["step2"], "shifted", 1000)
    from ispkit.tune.contracts import SearchSetup

    searcher = METHODS["random"](SearchSetup(task.space, task.start, 50, 1000))
    points = np.array([searcher.ask() for _ in range(50)])
    assert np.abs(points - task.optimum).max(1).min() > 0.2
    assert np.abs(0.1 + 0.8 * points - task.optimum).max(1).min() > 0.2


def test_a_run_tells_the_value_at_the_recommended_point():
    task = Task(FUNCTIONS["step2"], "shifted", 3)
    small, large = run_task(METHODS["cma"], task, [60, 120])
    assert (small.budget, large.budget) == (60, 120)
    again = run_task(METHODS["cma"], task, [60])[0]
    assert again.value == small.value
    default = run_task(METHODS["default"], task, [5])[0]
    assert default.value == task.value(task.start)


def test_methods_that_plan_by_the_budget_run_for_each():
    runs = planned([0], [200, 500], ["lhs", "cma"])
    assert sum(r.entrant == "lhs" for r in runs) == 2 * sum(r.entrant == "cma" for r in runs)
    assert {r.budgets for r in planned([0], [200, 2000], ["tpe"])} == {(200,)}
    with pytest.raises(ParamError, match="turbo"):
        planned([0], [200], ["turboo"])


def test_runs_are_resumed_and_a_cut_line_is_made_again(tmp_path):
    out, calls = tmp_path / "runs.jsonl", []
    wanted = {"seeds": [0], "budgets": [20, 30], "methods": ["random"], "workers": 1}
    first = run_functions(out, **wanted)
    whole = out.read_text()
    assert len(first) == len(FUNCTIONS) * len(VARIANTS)
    out.write_text(whole[:-25])
    again = run_functions(out, **wanted, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(7, 8), (8, 8)]
    assert [r.reached[-1].value for r in again] == [r.reached[-1].value for r in first]
    assert len(read_runs(out)) == 8


def test_a_foreign_file_is_refused(tmp_path):
    out = tmp_path / "runs.jsonl"
    out.write_text('{"a": 1}\n{"b": 2}\n')
    with pytest.raises(FileError, match="line 1"):
        read_runs(out)


def made_up(gap: float) -> list[Run]:
    """auto at 10 + noise, cma lower or higher by `gap`."""
    rng = np.random.default_rng(0)
    runs = []
    for seed in range(12):
        base = 10 + rng.random()
        for name, value in (("auto", base), ("cma", base + gap + 0.1 * rng.standard_normal()), ("random", 50.0)):
            runs.append(Run(name, "ackley", "shifted", seed, (200,), (Reached(200, value, 99.0, 0.1),)))
    return runs


def test_the_verdict_is_the_paired_test_against_the_best_rival():
    (worse,), (better,) = summarize(made_up(-1.0)), summarize(made_up(1.0))
    assert (worse.rival, worse.wins, worse.worse) == ("cma", 0, True)
    assert (better.rival, better.wins, better.worse) == ("cma", 12, False)
    runs = made_up(-1.0)
    ours, theirs = ([r.reached[0].value for r in runs if r.entrant == n] for n in ("auto", "cma"))
    expected = wilcoxon(np.array(ours) - np.array(theirs), alternative="greater").pvalue
    assert worse.p_worse == pytest.approx(expected)


def test_the_report_says_what_was_met(tmp_path):
    data, page = write_functions(tmp_path, made_up(-1.0), command="made up")
    facts = json.loads(data.read_text())
    assert [c["met"] for c in facts["claims"]] == [False, False]
    assert "cma (observed)" in page.read_text()
    data, _ = write_functions(tmp_path, made_up(1.0), command="made up")
    assert all(c["met"] for c in json.loads(data.read_text())["claims"])


def test_the_proxy_stands_beside_the_paper_s(tmp_path):
    runs = [
        Run("scalar-proxy", f, v, s, (b,), (Reached(b, 10.0 * s + b, 0.0, 0.1),))
        for f in FUNCTIONS
        for v in ("centered", "shifted")
        for s in range(3)
        for b in (200, 500)
    ]
    table = beside_the_paper(runs)[0]
    assert [row["ackley"] for row in table.rows] == [16.84, 210, 510]
    assert beside_the_paper([run for run in runs if run.variant == "shifted"]) == []


def test_every_entrant_is_a_method_that_accepts_its_options():
    task = Task(FUNCTIONS["alpine1"], "shifted", 0)
    for name, entrant in ENTRANTS.items():
        reached = run_task(METHODS[entrant.method], task, [12], options=entrant.options)
        assert np.isfinite(reached[0].value), name
