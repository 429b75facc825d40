"""Kill -9 in the middle of a study with two workers, ten times: nothing finished is lost, nothing doubled."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from ispkit.tune.opening import read_study
from ispkit.tune.records import record_of
from ispkit.tune.result import read_result
from ispkit.tune.run_folder import RunFolder

BUDGET, KILLS = 90, 10
DRIVER = Path(__file__).with_name("kill_driver.py")


def start(room: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, str(DRIVER), str(room), str(BUDGET)], start_new_session=True)


def renders(room: Path) -> list[str]:
    log = room / "renders"
    return log.read_text().splitlines() if log.exists() else []


def setting(values) -> tuple[float, float]:
    return float(values["a.x"]), float(values["a.y"])


def finished(room: Path) -> dict[int, tuple[float, float]]:
    if not RunFolder(room / "run").database.exists():
        return {}
    trials = read_study(room / "run").get_trials(deepcopy=False)
    return {t.number: setting(record_of(t).values) for t in trials if t.state.name == "COMPLETE"}


def kill(room: Path, process: subprocess.Popen, chance: random.Random, *, start_up: bool) -> None:
    """At any moment of the start, or after some more renders; the parent alone, or its workers with it."""
    before, more, until = len(renders(room)), chance.randint(2, 8), time.monotonic() + 30
    if start_up:
        time.sleep(chance.uniform(0.2, 3.0))
    else:
        while len(renders(room)) < before + more and time.monotonic() < until and process.poll() is None:
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.05))
    assert process.poll() is None, "the study ended before it could be killed"
    family = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGKILL)
    if chance.random() < 0.5:
        for child in family:
            if child.is_running():
                child.kill()
    process.wait()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive, "an orphaned worker did not end by itself"


@pytest.mark.slow
def test_killed_ten_times_nothing_is_lost_or_doubled(tmp_path):
    chance, known = random.Random(os.urandom(4)), {}
    for turn in range(KILLS):
        kill(tmp_path, start(tmp_path), chance, start_up=turn % 3 == 0)
        now = finished(tmp_path)
        assert known.items() <= now.items()
        known = now
    assert start(tmp_path).wait() == 0
    now = finished(tmp_path)
    assert known.items() <= now.items()
    check_the_end(tmp_path, now)


def check_the_end(room: Path, done: dict[int, tuple[float, float]]) -> None:
    trials = read_study(room / "run").get_trials(deepcopy=False)
    assert {t.state.name for t in trials} == {"COMPLETE", "FAIL"}
    lost = [t for t in trials if t.state.name == "FAIL"]
    assert {t.user_attrs["reason"] for t in lost} <= {"interrupted"}
    assert len(set(done.values())) == len(done)  # random settings never meet by chance
    result = read_result(room / "run")
    probes = RunFolder(room / "run").events("remeasured")
    assert result.trials["complete"] == len(done)
    assert result.spent == pytest.approx(len(done) + len(probes))
    assert BUDGET - 1 < result.spent <= BUDGET
    rendered = Counter(tuple(map(float, line.split()[1:3])) for line in renders(room))
    assert set(done.values()) <= set(rendered)
    # what was rendered more than once was lost with its process, and a kill loses one trial a worker at most
    again = sum(rendered.values()) - len(done) - len(probes)
    assert 0 <= again <= 2 * KILLS
    assert len(lost) <= 2 * KILLS
