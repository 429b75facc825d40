"""The study: never worse than the expert, nothing rendered twice, resumed as if nothing had happened."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace

import numpy as np
import optuna
import pytest
from study_problems import REGISTERS, Bowl, Replay

from ispkit.core.errors import FileError, ParamError
from ispkit.tune import engine
from ispkit.tune.artifacts import ArtifactStore
from ispkit.tune.contracts import SearchSetup
from ispkit.tune.distributions import distributions, to_point
from ispkit.tune.finish import roll_back
from ispkit.tune.methods import METHODS
from ispkit.tune.opening import read_study
from ispkit.tune.plan import Guard, Hooks, Plan
from ispkit.tune.records import record_of
from ispkit.tune.result import read_result
from ispkit.tune.run_folder import RunFolder, working_in
from ispkit.tune.sampler import AutoSampler, SearcherSampler
from ispkit.tune.study import tune


@pytest.fixture(autouse=True)
def _replay(monkeypatch):
    monkeypatch.setitem(METHODS, "replay", Replay)


def in_memory(**others) -> Hooks:
    """No database file, where a test is not about it."""
    return Hooks(storage=optuna.storages.InMemoryStorage(), **others)


def story(folder):
    """Every finished trial in plain data, but for the times."""
    trials = read_study(folder).get_trials(deepcopy=False)
    return [(t.number, t.state.name, t.params, t.values, t.user_attrs.get("same_as")) for t in trials]


def test_a_study_from_plan_to_result(tmp_path):
    seen = []
    problem = Bowl(log=str(tmp_path / "log"))
    plan = Plan(method="replay", budget=20, guard=Guard(0.1), enqueue=[{"a.x": 0.75}])
    result = tune(problem, tmp_path / "run", plan, held_out=Bowl(count=6), hooks=Hooks(on_progress=seen.append))
    assert result.best.scores["error"] < result.expert.scores["error"]
    assert result.spent == result.budget == 20  # 19 trials and the second rendering of the expert
    assert len(problem.renders()) == 20
    trials = result.study.trials
    assert trials[0].params == {"a.x": 0.2, "a.y": 0.2}
    assert trials[1].params == {"a.x": 0.75, "a.y": 0.2}
    assert len(seen) == 19
    assert seen[-1].best_score == result.best.scores["error"]
    low, high = result.held_out.interval["error"]
    assert low <= result.held_out.difference["error"] <= high < 0
    assert json.dumps(read_result(tmp_path / "run").to_json()) == json.dumps(result.to_json())
    assert {k.name for k in result.changed} <= {"a.x", "a.y"}
    for name in ("study.yaml", "env.json", "study.db", "log.jsonl", "result.json"):
        assert (tmp_path / "run" / name).is_file()


def test_pictures_and_residuals_are_kept_once_and_checked(tmp_path):
    result = tune(Bowl(), tmp_path, Plan(method="replay", budget=6))
    record = record_of(result.study.trials[0])
    store = ArtifactStore(tmp_path)
    assert len(set(record.rendered)) == 1  # four equal pictures, one file
    assert store.picture(record.rendered[0]).shape == (4, 6, 3)
    assert store.residual(record.residual) @ store.residual(record.residual) == pytest.approx(
        4 * record.scores["error"], rel=1e-6
    )
    store.residual_path(record.residual).write_bytes(b"other")
    with pytest.raises(FileError, match="does not fit its name"):
        store.residual(record.residual)


def test_a_resumed_study_goes_on_as_if_it_had_not_stopped(tmp_path):
    whole = Bowl(log=str(tmp_path / "whole"))
    tune(whole, tmp_path / "a", Plan(method="replay", budget=16))
    parts = Bowl(log=str(tmp_path / "parts"))
    for budget in (5, 9, 9, 16):
        last = tune(parts, tmp_path / "b", Plan(method="replay", budget=budget))
    assert story(tmp_path / "a") == story(tmp_path / "b")
    assert len(parts.renders()) == len(whole.renders()) == 16
    assert last.spent == 16


def test_an_interrupted_trial_is_made_once_more(tmp_path):
    problem = Bowl(log=str(tmp_path / "log"))

    def stop(progress):
        if progress.trial == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(problem, tmp_path / "run", Plan(method="replay", budget=12), hooks=Hooks(on_progress=stop))
    study = read_study(tmp_path / "run")
    lost = study.ask(study.trials[0].distributions)  # as if killed between asking and measuring
    result = tune(problem, tmp_path / "run", Plan(method="replay", budget=12))
    trials = result.study.trials
    assert trials[lost.number].user_attrs["reason"] == "interrupted"
    retries = [t for t in trials if t.user_attrs.get("token") == f"retry:{lost.number}"]
    assert [t.params for t in retries] == [trials[lost.number].params]
    assert result.trials == {"complete": 11, "known": 0, "pruned": 0, "failed": 0, "interrupted": 1}
    assert result.spent == len(problem.renders()) == 12


def test_registers_are_not_rendered_twice(tmp_path, monkeypatch):
    space = REGISTERS.select("r.level", "r.mode")  # 48 settings

    class Coarse(Bowl):
        def measure(self, values, **how):
            level, mode = values["r.level"], REGISTERS["r.mode"].options.index(values["r.mode"])
            return super().measure({"a": level / 15, "b": mode / 2}, **how)

    monkeypatch.setattr(engine, "_KNOWN_IN_A_ROW", 20)
    problem = Coarse(log=str(tmp_path / "log"), space=space)
    result = tune(problem, tmp_path / "run", Plan(method="replay", budget=60), hooks=in_memory())
    assert result.trials["complete"] <= 48
    assert len(problem.renders()) == result.trials["complete"] + 1 <= 49
    assert result.trials["known"] > 0
    assert "measured before" in result.stopped


def test_a_noisy_black_box_is_measured_again_before_a_winner_is_declared(tmp_path):
    problem = Bowl(noise=0.05, log=str(tmp_path / "log"))
    result = tune(problem, tmp_path / "run", Plan(method="replay", budget=40, leaders=3, repeats=2))
    assert result.noisy
    assert result.best.repeats == result.expert.repeats == 2
    assert result.spent == len(problem.renders()) == 40
    again = tune(problem, tmp_path / "run", Plan(method="replay", budget=40, leaders=3, repeats=2))
    assert len(problem.renders()) == 40
    assert again.best == result.best


def test_where_nothing_is_better_the_expert_stays(tmp_path):
    space = Bowl().space.with_defaults({"a.x": 0.775, "a.y": 0.525})
    result = tune(Bowl(space=space), tmp_path, Plan(method="replay", budget=10), hooks=in_memory())
    assert result.best == result.expert
    assert not result.changed
    assert "the expert's is kept" in result.warnings[0]


def test_the_guard_refuses_a_better_mean_with_a_worse_picture(tmp_path):
    space = Bowl().space.with_defaults({"a.x": 0.7, "a.y": 0.6})  # the best setting of picture 0
    free = tune(Bowl(space=space), tmp_path / "free", Plan(method="replay", budget=60), hooks=in_memory())
    plan = Plan(method="replay", budget=60, guard=Guard(0.002, relative=False))
    kept = tune(Bowl(space=space), tmp_path / "kept", plan, hooks=in_memory())
    assert free.best.per_picture["error"][0] > 0.002
    assert kept.best.per_picture["error"][0] <= 0.002 + 1e-9
    assert kept.guard.cost == pytest.approx(kept.best.scores["error"] - free.best.scores["error"])
    assert kept.guard.refused > 0


def test_pareto_front_and_constraints(tmp_path):
    result = tune(Bowl(several=True), tmp_path / "p", Plan(method="nsga2", budget=60), hooks=in_memory())
    fronts = [(c.scores["error"], c.scores["cost"]) for c in result.front]
    assert all(not (a <= c and b <= d) for a, b in fronts for c, d in fronts if (a, b) != (c, d))
    fresh = {t.number for t in result.study.best_trials if "same_as" not in t.user_attrs}
    assert {c.trial for c in result.front} == fresh
    assert all(result.best.scores[n] <= result.expert.scores[n] for n in ("error", "cost"))
    limited = tune(Bowl(limit_x=0.5), tmp_path / "c", Plan(method="replay", budget=40), hooks=in_memory())
    assert limited.best.values["a.x"] <= 0.5
    assert limited.study.best_trial.number == limited.best.trial
    weighted = Plan(method="replay", budget=10, weights={"error": 1.0, "cost": 0.5})
    summed = tune(Bowl(several=True), tmp_path / "w", weighted, hooks=in_memory())
    best = summed.best.scores
    assert summed.study.best_value == pytest.approx(best["error"] + 0.5 * best["cost"])
    with pytest.raises(ParamError, match="give weights"):
        tune(Bowl(several=True), tmp_path / "x", Plan(method="random", pareto=True))


@pytest.mark.parametrize("kind", ["wilcoxon", "median"])
def test_pruning_saves_renders(tmp_path, kind):
    problem = Bowl(count=12, log=str(tmp_path / "log"))
    hooks = in_memory(pruner=optuna.pruners.MedianPruner(n_startup_trials=2) if kind == "median" else None)
    result = tune(problem, tmp_path / "run", Plan(method="replay", budget=12, prune=True), hooks=hooks)
    assert result.trials["pruned"] > 0
    assert result.trials["complete"] + result.trials["pruned"] > 11
    assert sum(int(line.split()[3]) for line in problem.renders()) == round(12 * result.spent)
    assert len(result.best.per_picture["error"]) == 12
    states = {t.state.name for t in result.study.trials if "pruned" in t.user_attrs}
    assert states == {"COMPLETE" if kind == "wilcoxon" else "PRUNED"}


def test_a_users_own_sampler_and_storage_are_used_as_they_are(tmp_path):
    storage = optuna.storages.InMemoryStorage()
    sampler = optuna.samplers.TPESampler(seed=1, n_startup_trials=4)
    hooks = Hooks(storage=storage, sampler=sampler, study_name="mine")
    result = tune(Bowl(), tmp_path, Plan(budget=12), hooks=hooks)
    assert result.study.sampler is sampler
    assert result.method == "TPESampler"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(optuna.load_study(study_name="mine", storage=storage).trials) == 11
    assert not (tmp_path / "study.db").exists()


def test_a_searcher_serves_anybodys_study():
    space = Bowl().space
    sampler = SearcherSampler(Replay, SearchSetup(space, to_point(space, space.defaults()), 20))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=sampler, direction="maximize")

    def objective(trial):
        x, y = trial.suggest_float("a.x", 0, 1), trial.suggest_float("a.y", 0, 1)
        if trial.number == 2:
            raise optuna.TrialPruned
        return -((x - 0.5) ** 2) - y + 0 * trial.suggest_float("own", 0, 1)

    study.optimize(objective, n_trials=8)
    told = sampler._searcher.told
    assert [o.score for o in told[:2]] == [-t.value for t in study.trials[:2]]
    assert math.isinf(told[2].score)
    np.testing.assert_allclose(sampler.recommended(study), to_point(space, study.best_params))


def test_searchers_see_residuals_pictures_and_feasibility(tmp_path):
    plain = tune(Bowl(), tmp_path / "a", Plan(method="replay", budget=6), hooks=in_memory()).study.sampler
    outcome = plain._searcher.told[0]
    assert outcome.residual @ outcome.residual == pytest.approx(4 * outcome.score, rel=1e-6)
    assert len(outcome.rendered()) == 4
    limited = tune(Bowl(limit_x=0.5), tmp_path / "b", Plan(method="replay", budget=20), hooks=in_memory()).study.sampler
    inside = [o.score for o in limited._searcher.told if o.point[0] <= 0.5]
    outside = [o.score for o in limited._searcher.told if o.point[0] > 0.5]
    assert min(outside) > inside[0]
    assert all(o.residual is None for o in limited._searcher.told)


def test_warm_start_from_an_earlier_folder(tmp_path):
    tune(Bowl(), tmp_path / "old", Plan(method="replay", budget=10))
    log = tmp_path / "log"
    plan = Plan(method="replay", budget=6, seed=1, warm_start=[str(tmp_path / "old")])
    same = tune(Bowl(log=str(log)), tmp_path / "same", plan)
    assert same.spent == 6
    assert same.trials["complete"] == 9 + 5
    other = tune(Bowl(count=3), tmp_path / "other", replace(plan, budget=8))
    origins = [t.user_attrs.get("origin") for t in other.study.trials]
    assert origins.count("warm") == 5


def test_a_folder_holds_one_study_and_one_process(tmp_path):
    tune(Bowl(), tmp_path, Plan(method="replay", budget=4))
    with pytest.raises(ParamError, match="other pictures"):
        tune(Bowl(count=2), tmp_path, Plan(method="replay", budget=4))
    with working_in(tmp_path), pytest.raises(FileError, match="another study is running"):
        tune(Bowl(), tmp_path, Plan(method="replay", budget=4))
    with RunFolder(tmp_path).log.open("a") as file:
        file.write('{"event": "torn')
    RunFolder(tmp_path).note("later")
    assert RunFolder(tmp_path).events()[-1]["event"] == "later"


def test_two_folders_share_a_study(tmp_path):
    shared = Hooks(storage=f"sqlite:///{tmp_path / 'shared.db'}", study_name="both")
    first = tune(Bowl(), tmp_path / "a", Plan(method="replay", budget=6, noisy=False), hooks=shared)
    other_running = first.study.ask(first.study.trials[0].distributions)
    other_running.set_user_attr("runner", "another machine")
    second = tune(Bowl(), tmp_path / "b", Plan(method="replay", budget=10, noisy=False), hooks=shared)
    assert second.spent == second.trials["complete"] == 10
    assert second.study.trials[other_running.number].state.name == "RUNNING"


def test_auto_is_a_sampler(monkeypatch):
    monkeypatch.setitem(METHODS, "auto", Replay)
    study = optuna.create_study(sampler=AutoSampler(REGISTERS, seed=3))
    for _ in range(3):
        trial = study.ask(distributions(REGISTERS))
        study.tell(trial, trial.params["r.level"])
    assert len({str(t.params) for t in study.trials}) == 3


def test_rolling_back_and_bounds(tmp_path):
    space = Bowl().space.with_defaults({"a.x": 0.2, "a.y": 0.5})
    plan = Plan(method="replay", budget=3, enqueue=[{"a.x": 0.75, "a.y": 0.5}])
    result = tune(Bowl(space=space), tmp_path / "a", plan, hooks=in_memory())
    back = roll_back(Bowl(space=space), result, ["a.x"])
    assert back.scores["error"] == pytest.approx(result.expert.scores["error"])
    plan = Plan(method="replay", budget=3, enqueue=[{"a.x": 0.75, "a.y": 1.0}], lock=())
    edge = tune(Bowl(), tmp_path / "b", plan, hooks=in_memory())
    assert edge.best.values["a.y"] == 1.0
    assert any("a.y=1 is at the high end of [0, 1]" in w for w in edge.warnings)
