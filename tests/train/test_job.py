"""From a folder of files to weights that render: real nets, real files, the command line."""

from __future__ import annotations

import json
import os
import re
import signal

import pytest
import torch
from stand_ins import Pictures, equal, one_batch_losses

from conftest import make_frame
from ispkit.core.errors import FileError, ParamError, RecipeError
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta
from ispkit.data.pairs import PairSettings, open_pairs
from ispkit.data.project_pictures import project_pictures
from ispkit.data.synthetic_pairs import SyntheticPairs
from ispkit.data.synthetic_raw import SyntheticSettings
from ispkit.io.dng_writer import write_dng
from ispkit.io.load import load
from ispkit.io.pictures import write_picture
from ispkit.isp.catalog import open_isp
from ispkit.isp.learned.catalog import build
from ispkit.isp.learned.weights import Card, load_learned, save_learned
from ispkit.nets.deepisp import fit_affine
from ispkit.train.job import device_of, run_job
from ispkit.train.journal import Hooks
from ispkit.train.learner import Learner
from ispkit.train.mimic import mimic_pairs, raw_files
from ispkit.train.prepare import build_model, fit_transform
from ispkit.train.recipe import changed, load_recipe, read_recipe, to_recipe

SMALL = ["data.crop=[48,48]", "data.windows=2", "held_out.crop=[48,48]"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Four RAW files and beside each what the neutral preset makes of it."""
    folder = tmp_path_factory.mktemp("photos")
    isp = open_isp("neutral")
    for i in range(4):
        path = folder / f"shot{i}.dng"
        write_dng(path, make_frame(Domain.RAW, (64, 64), batch=1, seed=i))
        write_picture(path.with_suffix(".png"), isp(load(path)), bits=8)
    return folder


@pytest.fixture
def command(cli):
    """`ispkit train ...`."""
    return lambda *args: cli("train", *args)


@pytest.fixture(autouse=True)
def no_curves(monkeypatch):
    """Drawing takes longer than these trainings."""
    monkeypatch.setattr("ispkit.train.journal.write_curves", lambda room: None)


def phases(steps: int, count: int = 1) -> list[str]:
    settings = []
    for i in range(count):
        settings += [f"phases.{i}.steps={steps}", f"phases.{i}.evaluate_every={steps}", f"phases.{i}.batch=1"]
    return settings


def test_cameranet_from_a_folder_to_weights(photos, tmp_path):
    said = [f"data.folder={photos}", *SMALL, *phases(2, 3)]
    trained = run_job(load_recipe("cameranet", said), tmp_path / "run", device="cpu")
    isp, card = load_learned(trained.weights)
    assert list(isp.parts) == ["restore", "enhance"]
    assert [trained.facts["phases"][p]["steps"] for p in ("restore", "enhance", "joint")] == [2, 2, 2]
    assert card.metrics["held_out_psnr_db"] == trained.facts["held_out_psnr_db"]
    assert card.data["folder"] == photos.name
    assert str(photos) not in json.dumps(card.recipe)
    picture = isp(load(photos / "shot0.dng"))
    assert picture.domain is Domain.DISPLAY_RGB
    again = run_job(load_recipe("cameranet", said), tmp_path / "run", device="cpu")
    assert again.facts == trained.facts
    more = run_job(
        load_recipe("cameranet", [*said, f"start={trained.weights}", "phases.0.optimizer.learning_rate=1e-9"]),
        tmp_path / "more",
        device="cpu",
    )
    assert more.weights.is_file()


def test_enhance_may_learn_before_restore(photos, tmp_path):
    """The two steps share nothing: in either order they leave the same weights."""
    content = changed(read_recipe("cameranet"), [f"data.folder={photos}", *SMALL, *phases(2, 3)])
    restore, enhance, _ = content["phases"]
    ends = []
    for name, order in (("a", [restore, enhance]), ("b", [enhance, restore])):
        # one batch for all steps, so that the place of a phase in the row of batches does not count
        data = {**content["data"], "windows": 1}
        recipe = to_recipe({**content, "phases": order, "data": data})
        ends.append(load_learned(run_job(recipe, tmp_path / name, device="cpu").weights)[0])
    assert equal(*ends)


def test_w_init_is_the_average_of_affine_maps():
    isp, data = build("deepisp", preset="small"), Pictures(5, 32)
    part = isp.named_parts["isp"]
    fits = []
    for i in range(5):
        sample = data[i]
        fits.append(fit_affine(part.prepared(sample.frame), sample.target - 0.5))
    fits = torch.cat(fits).double()
    content = {"version": 1, "isp": {"name": "deepisp", "preset": "small"}, "data": "pairs"}
    phase = {"name": "isp", "parts": "isp", "loss": "deepisp", "steps": 1}
    for kind, average in (("mean", fits.mean(0)), ("median", fits.quantile(0.5, dim=0))):
        fit_transform(isp, to_recipe({**content, "phases": [phase], "w_init": kind}), data)
        found = part.net.initial.double()
        assert torch.allclose(found[:, [0, 1, 2, 9]], average, atol=1e-5)
        assert not found[:, 3:9].any()
    other = to_recipe(
        {**content, "isp": {"name": "deepisp-ll", "preset": "small"}, "phases": [phase], "w_init": "mean"}
    )
    with pytest.raises(RecipeError, match="w_init: 'deepisp-ll' has no color transform"):
        fit_transform(build_model(other), other, data)


def w_init_recipe(**more):
    phase = {"name": "isp", "parts": "isp", "loss": "deepisp", "steps": 1, "optimizer": {"learning_rate": 1e-12}}
    isp = {"name": "deepisp", "preset": "small"}
    return to_recipe({"version": 1, "isp": isp, "data": "pairs", "phases": [phase], "w_init": "mean", **more})


def test_w_init_looks_at_one_window_of_each_picture(photos, monkeypatch):
    seen = []

    def fitted(part, data, index):
        seen.extend(data[index].names)
        return torch.zeros(1, 3, 4)

    monkeypatch.setattr("ispkit.train.prepare._fit", fitted)
    isp = build("deepisp", preset="small")
    windows = open_pairs("folder", photos, split=None, settings=PairSettings(crop=(32, 32), windows=5))
    fit_transform(isp, w_init_recipe(w_init_pictures=3), windows)
    assert seen == ["shot0", "shot1", "shot2"]
    seen.clear()
    pictures = {name: torch.rand(1, 3, 48, 48) for name in "abc"}
    fit_transform(isp, w_init_recipe(), SyntheticPairs(pictures, SyntheticSettings(patch=(32, 32), windows=4)))
    assert [name[0] for name in seen] == ["a", "b", "c"]


def test_weights_to_start_from_keep_their_color_transform(photos, tmp_path):
    """Before the first step the ISP is the one of the file, though the recipe has a w_init."""
    pytest.importorskip("safetensors")
    begun = build("deepisp", preset="small")
    begun.named_parts["isp"].net.set_initial_transform(torch.arange(12.0).reshape(3, 4) / 12)
    save_learned(tmp_path / "w.safetensors", begun, Card("deepisp", {"preset": "small"}))
    recipe = w_init_recipe(start=str(tmp_path / "w.safetensors"))
    isp, data = build_model(recipe), Pictures(3, 32)
    fit_transform(isp, recipe, data)
    frame = data[0].frame
    with torch.no_grad():
        assert torch.equal(isp.eval()(frame).data, begun.eval()(frame).data)


def test_mimic_renders_each_picture_once(photos, tmp_path, monkeypatch):
    """Named by content: what is there stays, another ISP's pictures are others."""
    count = []
    first = mimic_pairs(raw_files(photos)[:2], "neutral", tmp_path, progress=lambda d, n: count.append((d, n)))
    assert count == [(1, 2), (2, 2)]
    times = {p.picture: p.picture.stat().st_mtime_ns for p in first}
    monkeypatch.setattr("ispkit.train.mimic.write_picture", lambda *a, **k: pytest.fail("rendered again"))
    again = mimic_pairs(raw_files(photos)[:2], "neutral", tmp_path)
    assert {p.picture: p.picture.stat().st_mtime_ns for p in again} == times
    monkeypatch.undo()
    others = mimic_pairs(raw_files(photos)[:2], "camera-like", tmp_path)
    assert not {p.picture for p in others} & set(times)
    assert len(list(tmp_path.glob("*.png"))) == 4


def test_mimic_learns_to_be_an_isp(photos, tmp_path):
    said = [f"data.folder={photos}", *SMALL, "data.isp=neutral", "data.held_out=0.25", *phases(3)]
    trained = run_job(load_recipe("mimic", said), tmp_path, device="cpu")
    assert trained.facts["held_out_psnr_db"] > 5
    assert len(list((tmp_path / "targets").glob("*.png"))) == 4


def test_weights_of_another_isp_are_no_start(photos, tmp_path):
    file = tmp_path / "w.safetensors"
    save_learned(file, build("deepisp-ll", preset="small"), Card("deepisp-ll", {"preset": "small"}))
    recipe = load_recipe("cameranet", [f"data.folder={photos}", f"start={file}"])
    with pytest.raises(FileError, match=r"start: .*deepisp-ll"):
        build_model(recipe)


def test_devices_are_named():
    assert device_of("cpu") == "cpu"
    with pytest.raises(ParamError, match="device='gpu'"):
        device_of("gpu")


def test_command_trains_and_says_how_to_render(command, photos, tmp_path):
    settings = [w for s in (*SMALL, *phases(3)) for w in ("--set", s)]
    code, out, err = command("deepisp", "--data", photos, "-o", tmp_path / "run", *settings, "--seed", 5)
    assert code == 0, err
    assert re.search(r"isp +3 steps in .*held out \d+\.\d\d dB", err)
    assert f"ispkit render photo.dng --isp {tmp_path}/run/weights.safetensors" in err
    code, out, _ = command("deepisp", "--data", photos, "-o", tmp_path / "run", *settings, "--seed", 5, "--json")
    assert json.loads(out)["phases"]["isp"]["steps"] == 3
    code, _, err = command("deepisp", "--data", photos, "-o", tmp_path / "run", *settings, "--seed", 6)
    assert (code, err.count("\n")) == (2, 1)
    assert "another recipe" in err


def test_check_tells_what_is_wrong_with_the_pairs_and_trains_nothing(command, photos, tmp_path):
    for path in photos.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "shot1.png").write_bytes(b"no picture")
    run = tmp_path / "run"
    code, out, err = command("cameranet", "--data", tmp_path, "-o", run, "--set", "data.split=all", "--check")
    assert code == 0, err
    assert "1 corrupt" in out
    assert "shot1" in out
    assert not (run / "weights.safetensors").exists()
    code, out, _ = command("cameranet", "--data", tmp_path, "--set", "data.split=all", "--check", "--json")
    assert json.loads(out)["counts"]["corrupt"] == 1
    code, _, err = command("deepisp-ll", "--data", "project", "--check")
    assert (code, err.count("\n")) == (2, 1)
    assert "nothing to check" in err


def test_a_shifted_picture_is_told_before_the_training_begins(tmp_path):
    settings = SyntheticSettings(patch=(160, 160), turn=False, sigma=(0, 0), colors="srgb")
    meta = CameraMeta.make("RGGB", (160, 160), white_level=1000)
    for i, picture in enumerate(project_pictures(2, (160, 160), seed=1).values()):
        sample = SyntheticPairs({"scene": picture}, settings)[0]
        write_dng(tmp_path / f"s{i}.dng", Frame((sample.frame.data.clamp(0, 1) * 1000).round(), Domain.RAW, meta))
        shown = torch.roll(picture, 12 * i, -1)
        write_picture(tmp_path / f"s{i}.png", sample.frame.with_data(shown, Domain.DISPLAY_RGB))
    said = []
    chosen = [f"data.folder={tmp_path}", "data.split=all", "held_out=null", *SMALL[:2], *phases(1)]
    run_job(load_recipe("deepisp", chosen), tmp_path / "run", hooks=Hooks(warn=said.append))
    assert [line for line in said if "s1 is" in line]
    assert not [line for line in said if "s0 is" in line]


def test_command_stops_on_request_and_goes_on(command, photos, tmp_path, monkeypatch, ctrl_c):
    settings = [w for s in (*SMALL, *phases(4)) for w in ("--set", s)]
    line = ("deepisp", "--data", photos, *settings)
    step = Learner.step

    def interrupted(self, *args, **kwargs):
        os.kill(os.getpid(), signal.SIGINT)
        return step(self, *args, **kwargs)

    monkeypatch.setattr(Learner, "step", interrupted)
    code, _, err = command(*line, "-o", tmp_path / "run")
    assert code == 130
    assert "the same command goes on" in err
    assert [p.name[:13] for p in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000001"]
    monkeypatch.setattr(Learner, "step", step)
    assert command(*line, "-o", tmp_path / "run")[0] == 0
    assert command(*line, "-o", tmp_path / "whole")[0] == 0
    ends = [load_learned(tmp_path / name / "weights.safetensors")[0] for name in ("run", "whole")]
    assert equal(*ends)


def test_command_complains_in_one_line(command, tmp_path):
    for args, said in (
        (["deepips"], "did you mean 'deepisp'"),
        (["deepisp"], "pass --data DIR"),
        (["deepisp", "--data", tmp_path / "none"], "no such folder"),
        (["deepisp", "--data", tmp_path], "no pairs"),
        (["deepisp", "--set", "isp.preset=tiny", "--data", tmp_path], "tiny"),
    ):
        code, _, err = command(*args, "-o", tmp_path / "run")
        assert (code, err.count("\n")) == (2, 1), err
        assert said in err
    code, out, _ = command("--list")
    assert code == 0
    assert "cameranet-paper" in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "part", "loss"), [("deepisp", "isp", "deepisp"), ("cameranet", "restore", "restoration")]
)
def test_one_batch_is_learned_by_heart_at_full_size(name, part, loss, tmp_path):
    """Paper-size nets, a few steps on one batch: the loss falls by a factor."""
    losses = one_batch_losses(name, part, loss)
    assert losses[-1] < 0.6 * losses[0]
