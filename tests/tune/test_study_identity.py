"""What a study is a study of, where its trials are kept, and what is said when it cannot go on or be read."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace

import optuna
import pytest
import torch
import yaml
from study_problems import Bowl, Replay

from ispkit.core.errors import BlackBoxError, FileError, ParamError
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta
from ispkit.data.boxes import Boxes
from ispkit.data.scenes import Scene
from ispkit.isp.anchored import AnchoredISP
from ispkit.isp.external.command import CommandISP
from ispkit.isp.external.spec import parse_spec
from ispkit.isp.recipe import from_recipe
from ispkit.tune.finish import check_held_out
from ispkit.tune.methods import METHODS
from ispkit.tune.objectives.reference import REFERENCE
from ispkit.tune.opening import read_study
from ispkit.tune.plan import Hooks, Plan
from ispkit.tune.problem import PictureProblem
from ispkit.tune.run_folder import RunFolder
from ispkit.tune.study import tune
from ispkit.tune.worker import InProcess

PLAN = Plan(method="replay", budget=4, noisy=False)
TEXT = f"""
version: 1
command: "{sys.executable} {{here}}/isp.py {{raw}} {{out}} {{params}}"
program_version: "{sys.executable} -c print('1.0')"
input: {{format: png}}
params: {{format: ini, template: "[Noise]\\nStrength=1\\n"}}
knobs:
  nr.gain: {{key: Noise/Strength, default: 1.0, low: 0.0, high: 4.0}}
"""


@pytest.fixture(autouse=True)
def _replay(monkeypatch):
    monkeypatch.setitem(METHODS, "replay", Replay)


@dataclass
class Known(Bowl):
    """A bowl that says what it is."""

    program: str = "1"
    shot: str = "1"

    @property
    def identity(self):
        return {"program": self.program, "pictures": self.shot}


@dataclass
class Moody(Bowl):
    """A noisy black box that fails at the expert's setting, but for its first so many renders."""

    good: int = 2
    noise: float = 0.05

    def measure(self, values, **how):
        if values["a.x"] == 0.2:
            self.good -= 1
            if self.good < 0:
                raise BlackBoxError("lamp off")
        return super().measure(values, **how)


def in_memory() -> Hooks:
    """No database file, where a test is not about it; the same hooks go on with the same study."""
    return Hooks(storage=optuna.storages.InMemoryStorage())


def scene(name="a", seed=0, **facts) -> Scene:
    g = torch.Generator().manual_seed(seed)
    frame = Frame(torch.rand(1, 3, 8, 12, generator=g), Domain.DISPLAY_RGB, CameraMeta.make("RGGB", (8, 12)))
    return Scene(name, frame, torch.rand(1, 3, 8, 12, generator=g), **facts)


def command(text=TEXT) -> CommandISP:
    return CommandISP(parse_spec(yaml.safe_load(text), "box"))


def identity(isp=None, *scenes):
    return PictureProblem(isp or command(), scenes or [scene()], REFERENCE["mse"]).identity


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{here}/isp.py", "{here}/other.py"),
        ("Strength=1", "Strength=1\\nMode=2"),
        ("Noise/Strength", "Noise/Amount"),
        ("print('1.0')", "print('1.1')"),
        ("default: 1.0", "default: 2.0"),
    ],
)
def test_an_edited_spec_is_another_program(old, new):
    assert identity() == identity()
    edited = identity(command(TEXT.replace(old, new)))
    assert edited["program"] != identity()["program"]
    assert edited["pictures"] == identity()["pictures"]


def test_a_program_that_cannot_tell_its_version_has_an_identity():
    text = TEXT.replace(f'program_version: "{sys.executable}', 'program_version: "nowhere')
    assert len(identity(command(text))["program"]) == 64


def test_pipelines_differ_by_stages_and_anchored_isps_by_what_they_anchor():
    encode = [{"encode": {}}]
    plain, more = (from_recipe({"version": 1, "stages": s}) for s in (encode, [*encode, {"lut3d": {}}]))
    assert identity(plain)["program"] != identity(more)["program"]
    boxes = (command(), command(TEXT.replace("isp.py", "other.py")))
    one, other = (identity(AnchoredISP(b, anchors={"gain": (1, 4)}))["program"] for b in boxes)
    assert one != other


def test_pictures_are_their_pixels_targets_labels_and_conditions():
    boxes = Boxes(torch.tensor([[0.0, 0.0, 4.0, 4.0]]), torch.tensor([1]))
    base = scene(labels=boxes)
    changed = [
        replace(base, frame=base.frame.with_data(base.frame.data.flip(-1))),
        replace(base, target=base.target * 0.5),
        replace(base, name="b"),
        replace(base, labels=replace(boxes, labels=torch.tensor([2]))),
        replace(base, conditions={"gain": 4.0}),
    ]
    digests = [identity(None, s)["pictures"] for s in (base, scene(labels=replace(boxes)), *changed)]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 1 + len(changed)
    assert len({d.partition("@")[2] for d in digests}) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"program": "2"}, "^the program has changed since study 'ispkit' was made"),
        ({"shot": "2"}, "^the pictures have changed"),
        ({"program": "2", "shot": "2"}, "^the program and the pictures have changed"),
    ],
)
def test_a_study_is_not_gone_on_with_after_a_change(tmp_path, change, message):
    tune(Known(), tmp_path, PLAN)
    with pytest.raises(ParamError, match=message):
        tune(Known(**change), tmp_path, PLAN)
    tune(Known(), tmp_path, PLAN)


def test_a_program_that_never_gave_a_picture_may_be_mended(tmp_path):
    hooks = in_memory()
    with pytest.raises(BlackBoxError):
        tune(Known(trouble="always"), tmp_path, replace(PLAN, budget=2), hooks=hooks)
    tune(Known(program="2"), tmp_path, PLAN, hooks=hooks)
    with pytest.raises(ParamError, match="the program has changed"):
        tune(Known(program="1"), tmp_path, PLAN, hooks=hooks)


def test_digests_of_other_arithmetic_are_not_compared(tmp_path):
    tune(Known(shot="1@arm"), tmp_path, PLAN)
    tune(Known(shot="2@x86"), tmp_path, PLAN)
    with pytest.raises(ParamError, match="the pictures"):
        tune(Known(shot="2@arm"), tmp_path, PLAN)


def test_a_study_made_before_there_were_digests_still_opens_and_has_them_from_then_on(tmp_path):
    tune(Known(), tmp_path, PLAN)
    study = read_study(tmp_path)
    study.set_user_attr("problem", {k: v for k, v in study.user_attrs["problem"].items() if k != "identity"})
    tune(Known(program="2"), tmp_path, PLAN)
    with pytest.raises(ParamError, match="the program has changed"):
        tune(Known(program="3"), tmp_path, PLAN)


def test_a_warm_start_takes_over_the_trials_of_the_same_program_only(tmp_path):
    tune(Known(), tmp_path / "old", replace(PLAN, budget=10))
    plan = replace(PLAN, budget=8, seed=1, warm_start=[str(tmp_path / "old")])
    same = tune(Known(), tmp_path / "same", plan, hooks=in_memory())
    other = tune(Known(program="2"), tmp_path / "other", plan, hooks=in_memory())
    assert same.trials["complete"] == 10 + 8
    assert other.trials["complete"] == 8
    assert [t.user_attrs.get("origin") for t in other.study.trials].count("warm") == 5


def test_a_budget_smaller_than_the_failures_says_why_and_where(tmp_path):
    hooks = in_memory()
    with pytest.raises(BlackBoxError, match=r"within 3 renders, the last failure: exit code 1; see .*log"):
        tune(Bowl(trouble="always"), tmp_path, Plan(method="replay", budget=3), hooks=hooks)
    with pytest.raises(BlackBoxError, match=r"exit code 1; see .*log"):
        tune(Bowl(), tmp_path, Plan(method="replay", budget=3), hooks=hooks)
    assert tune(Bowl(), tmp_path, Plan(method="replay", budget=8), hooks=hooks).trials["failed"] == 3


def test_the_expert_is_kept_where_it_fails_when_measured_again(tmp_path):
    hooks = in_memory()
    plan = Plan(method="replay", budget=30, repeats=2, seed=1)
    lost = tune(Moody(), tmp_path, plan, hooks=hooks)
    assert lost.best == lost.expert
    assert "failed when it was measured again (lamp off)" in lost.warnings[0]
    assert str(RunFolder(tmp_path).log) in lost.warnings[0]
    assert not any("the budget allowed" in w or "no setting was found" in w for w in lost.warnings)
    again = tune(
        Bowl(noise=0.05), tmp_path, replace(plan, budget=round(lost.spent)), hooks=hooks
    )  # no budget to try again
    assert again.best == again.expert
    mended = tune(Bowl(noise=0.05), tmp_path, replace(plan, budget=60), hooks=hooks)
    assert mended.best != mended.expert
    assert mended.expert.repeats == 2


def test_held_out_pictures_are_measured_once_under_each_seed(tmp_path):
    problem = Bowl(noise=0.05, log=str(tmp_path / "log"))
    old, new = {"a.x": 0.2, "a.y": 0.2}, {"a.x": 0.7, "a.y": 0.5}
    seen = check_held_out(problem, old, new, crew=InProcess(problem, RunFolder(tmp_path).store), seeds=range(3, 6))
    assert seen.expert.repeats == seen.best.repeats == 3
    assert len(problem.renders()) == 6


@pytest.mark.parametrize("damage", ["text", "empty", "page"])
def test_a_damaged_database_is_named(tmp_path, damage):
    tune(Bowl(), tmp_path, PLAN)
    path = tmp_path / "study.db"
    content = bytearray(path.read_bytes())
    content[4096:12288] = b"\xff" * 8192
    path.write_bytes({"text": b"no database" * 400, "empty": b"", "page": bytes(content)}[damage])
    for name in ("study.db-wal", "study.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    for use in (lambda: tune(Bowl(), tmp_path, PLAN), lambda: read_study(tmp_path)):
        with pytest.raises(FileError, match=r"study\.db: damaged .*another folder"):
            use()


def test_a_study_in_a_storage_is_found_from_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    tune(Bowl(), run, PLAN, hooks=Hooks(storage="sqlite:///shared.db", study_name="both"))
    monkeypatch.chdir(run)
    assert len(read_study(run).trials) == 4
    with pytest.raises(FileError, match=r"'both' of sqlite:////.*shared\.db; name that storage again"):
        tune(Bowl(), run, PLAN)
    warm = tune(Bowl(), tmp_path / "next", replace(PLAN, seed=1, warm_start=[str(run)]))
    assert warm.trials["complete"] == 8
    (tmp_path / "shared.db").unlink()
    with pytest.raises(FileError, match=r"shared\.db: no such file"):
        read_study(run)
    assert not (tmp_path / "shared.db").exists()


def test_a_storage_without_an_address_to_keep_has_to_be_named(tmp_path):
    file = optuna.storages.journal.JournalFileBackend(str(tmp_path / "journal"))
    storage = optuna.storages.JournalStorage(file)
    tune(Bowl(), tmp_path / "run", PLAN, hooks=Hooks(storage=storage))
    with pytest.raises(FileError, match=r"study 'run' of a storage .*it is a JournalStorage"):
        read_study(tmp_path / "run")
    assert len(read_study(tmp_path / "run", storage=storage).trials) == 4


@pytest.mark.parametrize("secret", ["mysql://me:hush@host/base", "postgresql://me@host/base?password=hush"])
def test_a_password_is_never_written(tmp_path, secret):
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'server.db'}")
    storage.url = secret  # stands for a server
    tune(Bowl(), tmp_path / "run", PLAN, hooks=Hooks(storage=storage))
    kept = json.loads((tmp_path / "run" / "storage.json").read_text())
    assert kept == {"study": "run", "url": None, "why": "it has a password"}
    assert not any(b"hush" in p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file())
    with pytest.raises(FileError, match="it has a password"):
        read_study(tmp_path / "run")
    storage.remove_session()
    storage.engine.dispose()
