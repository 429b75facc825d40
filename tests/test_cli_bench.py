"""`ispkit bench`: a tiny run of an experiment from the command line, and one line for what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

NAMES = (
    "functions",
    "bm3d",
    "tonemap",
    "c71",
    "c71-rig",
    "rawtherapee",
    "detector",
    "style",
    "dir",
    "dir-tasks",
    "dir-sensitivity",
)


def test_every_experiment_has_help_and_an_example(cli):
    for name in NAMES:
        code, out, _ = cli("bench", name, "--help")
        assert (code, f"ispkit bench {name}" in out) == (0, True)


def test_help_loads_no_tensors():
    script = "import sys, ispkit.cli.main; sys.exit('torch' in sys.modules or 'optuna' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_an_experiment_is_told_written_and_not_made_twice(cli, tmp_path):
    chosen = ("--preset", "small", "--seeds", 1, "--budgets", "8", "-m", "auto", "-m", "random", "-w", 1)
    arguments = ("bench", "functions", *chosen, "-o", tmp_path / "out", "--results", tmp_path / "results")
    code, out, _ = cli(*arguments)
    assert code == 0, "a claim that is not met is a result"
    assert "auto has the lowest median in most cells" in out
    facts = json.loads((tmp_path / "results/functions.json").read_text())
    assert facts["command"].startswith("ispkit bench functions --preset small --seeds 1")
    assert (tmp_path / "results/functions.md").read_text().startswith("# ")
    before = (tmp_path / "out/runs.jsonl").read_text()
    code, out, _ = cli(*arguments, "--json")
    assert (code, json.loads(out)["name"]) == (0, "functions")
    assert (tmp_path / "out/runs.jsonl").read_text() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["functions", "--preset", "huge"], "--preset: no 'huge'"),
        (["functions", "--method", "cmaa"], "--method: no 'cmaa'"),
        (["functions", "--budgets", "1.5"], "write whole numbers"),
        (["c71", "--pictures", "absent"], "no such folder: absent"),
        (["c71", "--gains", "a"], "write numbers with commas"),
        (["c71", "--gains", "0"], "a gain is above 0"),
        (["c71", "--crop", "64"], "write HEIGHTxWIDTH"),
        (["c71", "--method", "cmaa"], "did you mean 'cma'"),
        (["style", "--look", "shiny"], "--look: no 'shiny'"),
        (["tonemap", "--preset", "huge"], "--preset: no 'huge'"),
        (["detector", "--weights", "absent.pth", "--data", "."], "nothing there: absent.pth"),
        (["detector"], "--weights"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(cli, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = cli("bench", *arguments)
    assert (code, err.count("\n")) == (2, 1), err
    assert message in err
    assert not list(tmp_path.iterdir())
