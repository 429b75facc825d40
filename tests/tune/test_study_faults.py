"""A black box that fails, hangs, lies or dies costs one trial, with its reason."""

from __future__ import annotations

import functools

import optuna
import pytest
from study_problems import Bowl, Replay

from ispkit.core.errors import BlackBoxError
from ispkit.tune.methods import METHODS
from ispkit.tune.plan import Hooks, Plan
from ispkit.tune.run_folder import RunFolder
from ispkit.tune.study import tune


@pytest.fixture(autouse=True)
def _replay(monkeypatch):
    monkeypatch.setitem(METHODS, "replay", Replay)


@pytest.mark.parametrize(("trouble", "reason"), [("raise", "exit code 1"), ("nan", "not finite")])
def test_a_failure_costs_one_trial_and_says_why(tmp_path, trouble, reason):
    hooks = Hooks(storage=optuna.storages.InMemoryStorage())
    result = tune(Bowl(trouble=trouble), tmp_path, Plan(method="replay", budget=14), hooks=hooks)
    failed = [t for t in result.study.trials if t.state.name == "FAIL"]
    assert result.trials["failed"] == len(failed) > 0
    assert all(reason in t.user_attrs["reason"] for t in failed)
    assert {e["trial"] for e in RunFolder(tmp_path).events("failed")} == {t.number for t in failed}
    assert result.trials["complete"] + len(failed) + 1 == result.spent == 14
    assert result.best.values["a.x"] <= 0.5


def test_a_black_box_that_always_fails_is_given_up(tmp_path):
    with pytest.raises(BlackBoxError, match="4 trials in a row failed, the last one: exit code 1"):
        tune(Bowl(trouble="always"), tmp_path, Plan(method="replay", budget=50, max_failures=4))
    mended = tune(Bowl(), tmp_path, Plan(method="replay", budget=10))
    assert mended.trials["failed"] == 4
    assert mended.trials["complete"] == 5


@pytest.mark.slow
def test_workers_that_hang_or_die_are_replaced(tmp_path):
    hang = Plan(method="replay", budget=6, workers=2, trial_timeout_s=2.0)
    result = tune(functools.partial(Bowl, trouble="hang"), tmp_path / "hang", hang)
    reasons = [t.user_attrs["reason"] for t in result.study.trials if t.state.name == "FAIL"]
    assert reasons
    assert set(reasons) == {"TimeoutError: no answer within 2 s"}
    result = tune(Bowl(trouble="die"), tmp_path / "die", Plan(method="replay", budget=6, workers=2))
    reasons = [t.user_attrs["reason"] for t in result.study.trials if t.state.name == "FAIL"]
    assert reasons
    assert set(reasons) == {"the worker died with exit code 3"}


@pytest.mark.slow
def test_two_workers_spend_the_same_budget(tmp_path):
    problem = Bowl(log=str(tmp_path / "log"))
    seen = []
    plan = Plan(method="random", budget=20, workers=2)
    result = tune(problem, tmp_path / "run", plan, hooks=Hooks(on_progress=seen.append))
    assert result.spent == len(problem.renders()) == 20
    assert len({line.split()[0] for line in problem.renders()}) == 2
    assert len(seen) == 19


def test_a_problem_that_cannot_be_built_is_an_error_of_its_own(tmp_path):
    plan = Plan(method="replay", budget=6, workers=1, trial_timeout_s=60.0)
    with pytest.raises(FileNotFoundError):
        tune(broken, tmp_path, plan)


def broken():
    raise FileNotFoundError("no pictures")
