"""`ispkit tune` and `ispkit study` as a user types them: one run seen in every way, one line for what is wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

from ispkit.report.tune_unfinished import UNFINISHED
from tuning_cli import JOB


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    room = tmp_path_factory.mktemp("tune")
    (room / "job.yaml").write_text(JOB)
    return room


@pytest.fixture(scope="module")
def run(folder) -> Path:
    """A finished study, made as the command makes it."""
    from ispkit.cli import main

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["ispkit", "tune", "--spec", f"{folder}/job.yaml", "-o", f"{folder}/run"])
        with pytest.raises(SystemExit) as stop:
            main.run()
    assert not stop.value.code
    return folder / "run"


def test_a_run_gives_a_better_setting_its_file_and_a_report(run):
    result = json.loads((run / "result.json").read_text())
    assert result["best"]["scores"]["psnr"] < result["expert"]["scores"]["psnr"]
    assert result["spent"] <= result["budget"] == pytest.approx(24)
    assert any("tone.idle" in line for line in result["warnings"])
    best = yaml.safe_load((run / "best.yaml").read_text())["values"]
    assert best["tone.gain"] == pytest.approx(result["best"]["values"]["tone.gain"])
    html = (run / "report.html").read_text()
    assert all(f"<h2>{name}</h2>" in html for name in ("Pictures", "Pareto front", "Knobs", "Sensitivity"))


def test_the_same_command_renders_nothing_more_and_a_larger_budget_goes_on(cli, folder, run):
    before = len((run / "log.jsonl").read_text().splitlines())
    code, out, _ = cli("tune", "--spec", folder / "job.yaml", "-o", run, "--json", "--no-probe")
    facts = json.loads(out)
    assert (code, Path(facts["best_file"])) == (0, run / "best.yaml")
    assert len((run / "log.jsonl").read_text().splitlines()) <= before + 3  # started, searched, finished
    code, out, _ = cli("tune", "--spec", folder / "job.yaml", "-o", run, "--json", "-n", 28)
    assert (code, json.loads(out)["spent"]) == (0, pytest.approx(28, abs=1))


def test_a_study_is_shown_exported_compared_and_rolled_back(cli, run, tmp_path):
    code, out, _ = cli("study", run, "--trial", 0, "--export", tmp_path / "expert.yaml")
    assert (code, yaml.safe_load((tmp_path / "expert.yaml").read_text())["values"]["tone.gain"]) == (0, 4.0)
    code, out, _ = cli("study", run, "--front", "--json")
    front = json.loads(out)["front"]
    scores = [(f["scores"]["psnr"], f["scores"]["l1"]) for f in front]
    assert code == 0
    assert not any(a[0] < b[0] and a[1] < b[1] for a in scores for b in scores)
    code, out, _ = cli("study", run, "--diff", run)
    assert (code, out.splitlines()[0][:14]) == (0, "0 knobs differ")
    code, out, _ = cli("study", run, "--roll-back", "tone.gamma", "--json")
    assert json.loads(out)["rolled_back"]["psnr"] >= json.loads(out)["best"]["scores"]["psnr"]


def test_an_interrupted_study_is_reported_and_gone_on_with(cli, folder, tmp_path, monkeypatch):
    seen = []

    def stop(step):
        seen.append(step)
        if len(seen) == 8:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ispkit.cli.tuning_bars.Bars.searching", lambda *_: stop)
        code, _, err = cli("tune", "--spec", folder / "job.yaml", "-o", tmp_path / "cut")
    assert (code, "8 finished trials are kept" in err) == (130, True)
    code, out, _ = cli("study", tmp_path / "cut", "--report")
    assert (code, UNFINISHED in out, (tmp_path / "cut/report.html").is_file()) == (0, True, True)
    code, out, _ = cli("tune", "--spec", folder / "job.yaml", "-o", tmp_path / "cut", "--json")
    assert (code, json.loads(out)["stopped"]) == (0, "")
    seen.clear()
    with monkeypatch.context() as patch:
        patch.setattr("ispkit.cli.tuning_bars.Bars.searching", lambda *_: stop)
        assert cli("tune", "--spec", folder / "job.yaml", "-o", tmp_path / "cut", "-n", 60)[0] == 130
    code, out, _ = cli("study", tmp_path / "cut")
    assert (code, UNFINISHED in out) == (0, True), "what was declared before is no longer the whole story"


def test_a_study_interrupted_while_it_probes_says_so_and_goes_on(cli, folder, tmp_path, monkeypatch):
    def stop(done, total):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ispkit.cli.tuning_bars.Bars.counting", lambda *_: stop)
        code, _, err = cli("tune", "--spec", folder / "job.yaml", "-o", tmp_path / "cut")
    assert (code, "2 probes are kept" in err) == (130, True), err
    assert cli("tune", "--spec", folder / "job.yaml", "-o", tmp_path / "cut")[0] == 0


def test_a_warm_start_begins_with_what_another_study_found(cli, folder, run, tmp_path):
    arguments = ("--spec", folder / "job.yaml", "-m", "random", "-n", 8, "--no-probe", "--warm-start", run)
    code, out, _ = cli("tune", *arguments, "-o", tmp_path / "warm", "--json")
    facts, old = json.loads(out), json.loads((run / "result.json").read_text())
    assert (code, facts["best"]["scores"]["psnr"]) == (0, pytest.approx(old["best"]["scores"]["psnr"], abs=1e-3))


BOX = ["--spec", "{}/job.yaml"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["c7", "-d", "project"], "did you mean 'c71'"),
        ([*BOX, "-m", "cmaa"], "did you mean 'cma'"),
        ([*BOX, "-m", "cma", "--option", "foo=1"], "no option 'foo'"),
        ([*BOX, "--option", "foo"], "write NAME=VALUE"),
        ([*BOX, "-O", "psmr"], "did you mean 'psnr'"),
        (["c71"], "--data is missing"),
        (["c71", "--gains", "4"], "give --data"),
        (["-d", "project"], "ISP is missing"),
        (["c71", "-d", "{}/absent"], "no such folder"),
        ([*BOX, "--lock", "colour.*"], "selects no knob"),
        ([*BOX, "--lock", "*"], "every knob is locked"),
        ([*BOX, "--crop", "1024x1024"], "1024"),
        ([*BOX, "--crop", "64"], "write HEIGHTxWIDTH"),
        ([*BOX, "--gains", "a"], "write numbers with commas"),
        ([*BOX, "--sensor", "nexus"], "no sensor 'nexus'"),
        ([*BOX, "--held-out", "1.5"], "held_out"),
        ([*BOX, "--constraint", "foo"], "QUANTITY >= NUMBER"),
        ([*BOX, "--start", "{}/absent.pp3"], "no such file"),
        ([*BOX, "--warm-start", "{}"], "the folder of a study"),
        ([*BOX, "--storage", "foo"], "--storage foo"),
        ([*BOX, "--cache", "{}/job.yaml"], "should be a folder"),
        (["c71", "-d", "project", "--cache", "{}"], "keeps no renders"),
        ([*BOX, "--prune", "-m", "nsga2"], "prune"),
        ([*BOX, "-O", "psnr", "--prune", "-m", "proxy"], "neither weights nor pruning"),
        ([*BOX, "-m", "cma", "--option", "popsize=abc"], "popsize='abc' of the method should be a whole number"),
        (["--spec", "{}/typo.yaml"], "did you mean 'budget'"),
        (["--spec", "{}/job.yaml", "-o", "{}/job.yaml"], "is a file"),
        (["--spec", "{}/job.yaml", "-O", "l1", "-o", "{}/run"], "another objective"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line_before_anything_is_made(cli, folder, run, arguments, message):
    (folder / "typo.yaml").write_text(JOB.replace("budget", "budgett"))
    given = [a.format(folder) for a in arguments]
    out = [] if "-o" in given else ["-o", str(folder / "new")]
    code, _, err = cli("tune", *given, *out)
    assert (code, err.count("\n")) == (2, 1), err
    assert message in err
    assert not (folder / "new").exists()


def test_a_folder_without_a_study_is_said(cli, folder):
    for arguments in ([], ["--report"], ["--trial", "3"]):
        code, _, err = cli("study", folder, *arguments)
        assert (code, "is the folder" in err or "folder of a study" in err) == (2, True)


def test_names_are_listed(cli):
    code, out, _ = cli("tune", "--list")
    assert code == 0
    assert all(word in out for word in ("rawtherapee", "nelder-mead", "kpi:table3", "sidd-google-pixel"))


@pytest.mark.slow
def test_two_workers_from_the_command_line(cli, folder, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    code, out, _ = cli("tune", "--spec", folder / "job.yaml", "-w", 2, "-o", folder / "two", "--json")
    assert (code, json.loads(out)["trials"]["failed"]) == (0, 0)
