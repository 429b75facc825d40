"""Programs of a black box end with the process that started them, however it ended, and leave no folders behind."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import torch
from study_problems import SPACE

from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta
from ispkit.isp.external.command import CommandISP
from ispkit.isp.external.folders import make_folder, remove
from ispkit.isp.external.spec import parse_spec
from ispkit.tune.artifacts import ArtifactStore
from ispkit.tune.plan import Plan
from ispkit.tune.study import tune
from ispkit.tune.worker import Answer, Task, WorkerPool

HANGS = 'sleep 1000 & echo "$$ $!" >> "$0.pids"; wait'
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")


@dataclass
class Hangs:
    """A shell script that waits for a child of its own; a task of seed 1 has a short time-out in its spec."""

    room: str
    space = SPACE
    objectives = ("error",)
    pictures = ("p",)
    megapixels = 1.0

    def measure(self, values, *, pictures=None, seed=0):
        script = Path(self.room, "isp.sh")
        content = {
            "version": 1,
            "command": f"sh {script} {{raw}} {{out}}",
            "input": {"format": "raw16"},
            "params": {"format": "json"},
            "knobs": {"a.x": {"key": "x", "default": 0.2, "low": 0.0, "high": 1.0}},
            "timeout_s": 0.5 if seed == 1 else 1000,
        }
        frame = Frame(torch.zeros(1, 1, 8, 8), Domain.RAW, CameraMeta.make("RGGB", (8, 8)))
        CommandISP(parse_spec(content, "hangs"))(frame)


@pytest.fixture
def room(tmp_path, monkeypatch):
    """A folder with the script; temporary folders are made in it, by this process and by those it starts."""
    (tmp_path / "isp.sh").write_text(HANGS)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield tmp_path
    for process in programs(tmp_path):  # a failing test leaves nothing behind
        process.kill()


def programs(room: Path) -> list[psutil.Process]:
    """The script and its child, each time that it was started, as far as they live."""
    note = room / "isp.sh.pids"
    pids = map(int, note.read_text().split()) if note.exists() else ()
    found = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(pid))
    return found


def running(room: Path, process: subprocess.Popen | None = None) -> list[psutil.Process]:
    until = time.monotonic() + 60
    while not (found := programs(room)):
        assert time.monotonic() < until, "the program was not started"
        assert process is None or process.poll() is None
        time.sleep(0.02)
    return found


def lives(process: psutil.Process) -> bool:
    """A zombie does not: its new parent may need a moment to bury it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def assert_all_end(processes: list[psutil.Process]) -> None:
    until = time.monotonic() + 10
    while alive := [p for p in processes if lives(p)]:
        assert time.monotonic() < until, f"still running: {alive}"
        time.sleep(0.02)


def folders(room: Path) -> list[Path]:
    return list((room / "tmp").glob("ispkit-*"))


@pytest.mark.slow
def test_a_killed_worker_takes_its_program_along(room):
    pool = WorkerPool(Hangs(str(room)), ArtifactStore(room / "store"), workers=1, limit_s=5.0)
    try:
        worker = psutil.Process(pool._slots[0].process.pid)
        pool.submit(Task(0, {}, None, seed=1))
        (ended,) = pool.wait()
        assert "took more than 0.5 s" in ended.reason
        assert worker.is_running(), "the program's own time-out is not the worker's end"
        assert_all_end(programs(room))
        (room / "isp.sh.pids").unlink()
        pool.submit(Task(1, {}, None, seed=0))
        family = running(room)
        assert len(family) == 2
        assert pool.wait() == [Answer(1, None, "TimeoutError: no answer within 5 s")]
        assert_all_end(family)
    finally:
        pool.close()
    assert not folders(room)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [[], ["1000"]], ids=["in the study's process", "in a worker"])
def test_a_killed_study_takes_all_programs_along(room, limit):
    words = [sys.executable, __file__, str(room), *limit]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as study:
        family = running(room, study)
        study.send_signal(signal.SIGKILL)
    assert_all_end(family)
    remove(*make_folder())  # the next start finds the dead one
    assert not folders(room)


def test_the_folder_of_a_living_process_stays(room):
    first, lock = make_folder()
    second = make_folder()
    assert first.is_dir()
    remove(*second)
    assert folders(room) == [first]
    (first / "sub").mkdir()
    remove(first, lock)
    assert not folders(room)


if __name__ == "__main__":
    here = Path(sys.argv[1])
    limit_s = float(sys.argv[2]) if sys.argv[2:] else None
    tune(Hangs(str(here)), here / "run", Plan(method="random", budget=4, trial_timeout_s=limit_s))
