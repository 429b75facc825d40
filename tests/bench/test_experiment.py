"""What a result says of where it was made."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict

import pytest

from ispkit.bench import experiment
from ispkit.bench.experiment import Experiment, Table, environment, write_experiment


@pytest.mark.parametrize(("place", "known"), [("src/ispkit/bench", True), ("venv/site/ispkit/bench", False)])
def test_the_commit_is_that_of_our_own_checkout(tmp_path, monkeypatch, place, known):
    folder = tmp_path / place
    folder.mkdir(parents=True)
    who = ("-c", "user.name=n", "-c", "user.email=e")
    for words in (("init", "-q"), (*who, "commit", "-q", "--allow-empty", "-m", "first")):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    monkeypatch.setattr(experiment, "__file__", str(folder / "experiment.py"))
    assert (environment()["commit"] != "unknown") is known


def test_without_git_there_is_no_commit(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert environment()["commit"] == "unknown"


def test_the_json_file_holds_everything_a_row_a_line(tmp_path):
    rows = [{"n": 1, "äö": 0.5}, {"n": 2, "äö": None}]
    details = {"runs": rows, "deep": {"a": [[1, 2], [3]]}, "none": [], 3: "key"}
    made = Experiment(
        name="x", title="X", question="?", command="c", data="d", seed=0, budget="1", seconds=1.0,
        tables=[Table("T", rows)], details=details,
    )  # fmt: skip
    data, _ = write_experiment(tmp_path, made)
    found = json.loads(data.read_text())
    assert found == json.loads(json.dumps({"environment": environment(), **asdict(made)}))
    assert '{"n": 1, "äö": 0.5}' in data.read_text()
