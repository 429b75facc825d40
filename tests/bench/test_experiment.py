"""What a result says of where it was made."""

from __future__ import annotations

import subprocess

import pytest

from ispkit.bench import experiment
from ispkit.bench.experiment import environment


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
