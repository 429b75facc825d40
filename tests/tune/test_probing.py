"""Probes are measured with the same care as trials: by workers, within their time, none lost when the process is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial

import pytest
from study_problems import REGISTERS, Bowl

from ispkit.core.errors import ParamError
from ispkit.tune.plan import Plan
from ispkit.tune.probing import kept_map, probe_knobs, too_small
from ispkit.tune.run_folder import RunFolder
from ispkit.tune.study import tune

PLAN = Plan(budget=60, seed=3)


def test_workers_find_the_same_map_as_this_process(tmp_path):
    here, there = Bowl(space=REGISTERS), partial(Bowl, space=REGISTERS)
    alone = probe_knobs(here, here, PLAN, RunFolder(tmp_path / "a"))
    crew = probe_knobs(there, here, Plan(budget=60, seed=3, workers=2), RunFolder(tmp_path / "b"))
    assert alone == crew == kept_map(RunFolder(tmp_path / "b"), here)


def test_a_knob_that_hangs_is_reported_and_the_others_are_probed(tmp_path):
    problem = Bowl(trouble="hang")
    found = probe_knobs(problem, problem, Plan(budget=60, trial_timeout_s=2.0), RunFolder(tmp_path))
    x, y = found.effects
    assert (x.state, y.state) == ("acts", "dead")  # a.x = 0 changes the picture, a.x = 1 gives none
    assert [p.value for p in x.probes] == [0.0]
    assert "no answer within 2 s" in x.reason


def test_probes_made_before_a_kill_are_not_made_again(tmp_path):
    problem = Bowl(space=REGISTERS, log=str(tmp_path / "renders"))
    room = RunFolder(tmp_path / "run")

    def cut(done: int, _: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        probe_knobs(problem, problem, PLAN, room, cut)
    assert len(problem.renders()) == 6  # the defaults, and five probes
    found = probe_knobs(problem, problem, PLAN, room)
    count = len(problem.renders())
    assert found == probe_knobs(problem, problem, PLAN, RunFolder(tmp_path / "whole"))
    assert len(problem.renders()) == 2 * count  # as many as without the kill


def test_probes_of_another_seed_are_no_answer(tmp_path):
    problem = Bowl(log=str(tmp_path / "renders"))
    probe_knobs(problem, problem, PLAN, RunFolder(tmp_path / "run"))
    count = len(problem.renders())
    probe_knobs(problem, problem, Plan(budget=60, seed=4), RunFolder(tmp_path / "run"))
    assert len(problem.renders()) > count


def test_a_larger_budget_goes_on_with_the_same_pictures(tmp_path):
    problem = Bowl(log=str(tmp_path / "renders"))
    room = RunFolder(tmp_path / "run")

    def cut(done: int, _: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        probe_knobs(problem, problem, Plan(budget=8), room, cut)
    found = probe_knobs(problem, problem, PLAN, room)
    assert found is not None
    assert len(found.pictures) == 1 < len(problem.pictures)  # what 8 renders could pay for


def test_a_map_belongs_to_the_problem_it_was_made_of(tmp_path):
    first, other = Bowl(), Bowl(several=True)
    room = RunFolder(tmp_path)
    probe_knobs(first, first, PLAN, room)
    assert kept_map(room, first) is not None
    assert kept_map(room, other) is None
    assert probe_knobs(other, other, PLAN, room).objectives == ("error", "cost")


def test_a_program_that_reads_no_value_is_probed_anew_when_it_is_mended(tmp_path):
    @dataclass
    class Deaf(Bowl):
        """Always renders the same."""

        def measure(self, values, **how):
            return super().measure({"a.x": 0.5, "a.y": 0.5}, **how)

    room = RunFolder(tmp_path)
    for _ in range(2):
        with pytest.raises(ParamError, match="no knob changes any picture"):
            probe_knobs(Deaf(), Deaf(), PLAN, room)
    assert probe_knobs(Bowl(), Bowl(), PLAN, room).names("acts") == ("a.x",)


def test_probes_that_failed_before_a_kill_are_paid_for_and_tried_again(tmp_path):
    def cut(done: int, _: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    problem, room = Bowl(trouble="raise"), RunFolder(tmp_path)  # a.x = 1 fails, the second probe
    with pytest.raises(KeyboardInterrupt):
        probe_knobs(problem, problem, PLAN, room, cut)
    again = probe_knobs(problem, problem, PLAN, room)
    whole = probe_knobs(problem, problem, PLAN, RunFolder(tmp_path / "whole"))
    assert again.effects == whole.effects
    assert again.megapixels == pytest.approx(whole.megapixels + 0.5 * len(whole.pictures))


def test_a_budget_too_small_is_remembered(tmp_path):
    problem, room = Bowl(space=REGISTERS), RunFolder(tmp_path)
    assert probe_knobs(problem, problem, Plan(budget=2), room) is None
    assert too_small(RunFolder(tmp_path))


def test_more_held_out_pictures_may_take_longer(tmp_path):
    plan = Plan(method="random", budget=6, trial_timeout_s=1.5, noisy=False)
    result = tune(Bowl(count=1), tmp_path, plan, held_out=Bowl(count=4, sleep_s=2.5))
    assert result.held_out is not None, result.warnings


def test_held_out_pictures_that_hang_cost_the_check_and_not_the_result(tmp_path):
    held = Bowl(trouble="hang")
    plan = Plan(method="random", budget=30, trial_timeout_s=2.0, noisy=False)
    result = tune(Bowl(), tmp_path, plan, held_out=held)
    assert result.best.values["a.x"] > 0.5
    assert result.held_out is None
    assert any("the held-out check failed: TimeoutError: no answer within 2 s" in line for line in result.warnings)


@pytest.mark.parametrize(
    ("events", "seconds"),
    [
        ([("started", 0, 1), ("complete", 4, None), ("started", 100, 2), ("finished", 103, None)], 7),
        ([("started", 0, None), ("finished", 5, None), ("started", 100, None), ("finished", 101, None)], 6),
        ([("probing", 0, 1), ("probed", 2, None), ("started", 9, 1), ("finished", 10, None)], 10),
        ([("probing", 0, 1), ("probed", 2, None), ("started", 90, 2), ("finished", 91, None)], 3),
        ([("started", 0, 1), ("finished", 5, None), ("started", 100, 1), ("finished", 101, None)], 6),
        (
            [
                ("started", 0, 1),
                ("complete", 4, None),
                ("interrupted", 90, None),
                ("started", 91, 2),
                ("complete", 93, None),
            ],
            6,
        ),
    ],
    ids=["two calls", "older logs", "probes and search", "killed between", "again in one process", "killed in a trial"],
)
def test_seconds_are_of_all_sittings_without_the_time_between(tmp_path, events, seconds):
    room = RunFolder(tmp_path)
    lines = [
        {"time": f"2026-01-01T00:{at // 60:02}:{at % 60:02}+00:00", "event": name, **({"pid": pid} if pid else {})}
        for name, at, pid in events
    ]
    room.log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert room.worked_s() == seconds
