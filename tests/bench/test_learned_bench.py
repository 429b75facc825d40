"""Experiments on learned ISPs: what is compared is comparable, trainings resume, pages hold every method."""

import json
import re

import numpy as np
import pytest
import torch

from ispkit.bench import learned_full, learned_ll, mimic
from ispkit.bench.learned_parts import (
    CAMERAS,
    Entrant,
    LearnedBench,
    PhasePlan,
    Trainer,
    beside,
    over_seeds,
    sensor_of,
    spread,
)
from ispkit.bench.learned_rivals import LibRawAuto, Turned, fitted_l3
from ispkit.data.project_pictures import project_pictures
from ispkit.data.synthetic_pairs import SyntheticPairs
from ispkit.data.synthetic_raw import SyntheticSettings
from ispkit.isp.learned.weights import read_card
from ispkit.isp.recipe import preset
from ispkit.metrics.fidelity import psnr
from ispkit.ops.encode import srgb_decode
from ispkit.train.loop import Sets

PICTURES = project_pictures(3, (96, 96), seed=4)
TINY = LearnedBench(seconds=0.3, seeds=1, patch=32, batch=2, window=64)
NET = {"name": "nafnet", "preset": "small", "width": 8}


def tiny(name="NAFNet", **isp):
    return Entrant(name, {**NET, **isp}, (PhasePlan("isp", ("isp",), "l2"),))


def sets(**more):
    settings = SyntheticSettings(patch=(32, 32), colors="srgb", sigma=(1, 10), **more)
    return Sets(SyntheticPairs(PICTURES, settings), SyntheticPairs(PICTURES, settings))


@pytest.mark.parametrize("camera", CAMERAS)
def test_a_cameras_colors_come_back_as_srgb(camera):
    picture = 0.1 + 0.8 * PICTURES["leaves-00"]
    seen = learned_ll.seen_by(picture, camera)
    torch.testing.assert_close(learned_ll.as_srgb(srgb_decode(seen), camera), picture, atol=2e-3, rtol=0)
    assert (seen - picture).abs().mean() > 0.05


def test_the_two_cameras_differ_in_colors_and_noise():
    first, other = (sensor_of(camera) for camera in CAMERAS)
    assert first.color_matrices != other.color_matrices
    assert not torch.allclose(first.noise_at(400), other.noise_at(400), rtol=0.05)


def test_every_method_gets_the_same_windows_and_the_noise_it_says():
    shots = learned_ll.make_shots(PICTURES, "trained on", TINY)
    assert len(shots) == len(PICTURES) * len(learned_ll.SIGMAS)
    again = learned_ll.make_shots(PICTURES, "trained on", TINY)
    assert all(torch.equal(a.frame.data, b.frame.data) for a, b in zip(shots, again, strict=True))
    for name in PICTURES:
        same = [s for s in shots if s.name == name]
        assert all(torch.equal(s.wanted, same[0].wanted) for s in same)
        clean = torch.zeros_like(same[0].frame.data)
        for channel, (y, x) in ((0, (0, 0)), (1, (0, 1)), (1, (1, 0)), (2, (1, 1))):
            clean[..., y::2, x::2] = same[0].wanted[:, channel : channel + 1, y::2, x::2]
        for shot in same:
            assert float((shot.frame.data - clean).std()) == pytest.approx(shot.sigma / 255, rel=0.06)


def test_scores_are_those_of_the_truth():
    shot = learned_ll.make_shots(PICTURES, "another", TINY)[0]
    linear, encoded = shot.scores(shot.wanted + 0.01)
    assert linear == pytest.approx(40, abs=0.5)
    assert encoded < linear
    assert min(shot.scores(shot.wanted)) > 100


def test_a_training_that_is_finished_is_taken_as_it_is(tmp_path):
    trainer = Trainer(tmp_path, TINY, sets(), TINY.synthetic(colors="srgb", sigma=[1, 10]))
    first = trainer.train(tiny(), 0)
    log = next(tmp_path.glob("*/log.jsonl")).read_bytes()
    again = trainer.train(tiny(), 0)
    assert next(tmp_path.glob("*/log.jsonl")).read_bytes() == log
    assert all(torch.equal(a, b) for a, b in zip(first.isp.parameters(), again.isp.parameters(), strict=True))
    assert (first.steps, first.curve) == (again.steps, again.curve)
    assert first.steps > 0
    assert first.seconds >= TINY.seconds
    other = trainer.train(tiny(), 1)
    assert not all(torch.equal(a, b) for a, b in zip(first.isp.parameters(), other.isp.parameters(), strict=True))


def test_differences_are_paired_and_spreads_are_between_trainings():
    assert beside([2.0, 3.0, 4.0], [1.0, 2.0, 3.0], seed=0) == "+1.00 [+1.00, +1.00]"
    assert over_seeds([[1.0, 3.0], [3.0, 5.0]]) == [2.0, 4.0]
    assert spread([[1.0, 3.0], [3.0, 5.0]]) == pytest.approx(np.sqrt(2))
    assert spread([[1.0, 3.0]]) == 0


def test_turned_knobs_are_defaults_that_values_override():
    isp = Turned(preset("neutral"), {"exposure.ev": 1.0})
    frame = sets().train[0].frame
    plain = preset("neutral")
    assert isp.space["exposure.ev"].default == 1.0
    assert torch.equal(isp(frame).data, plain(frame, {"exposure.ev": 1.0}).data)
    assert torch.equal(isp(frame, {"exposure.ev": 0.0}).data, plain(frame, {"exposure.ev": 0.0}).data)


def test_rivals_without_gradients_brighten_a_quarter_of_the_light():
    settings = SyntheticSettings(
        patch=(64, 64), sensor=sensor_of("trained on"), colors="sensor", exposure=(0.25, 0.25), gain=(2, 2), windows=4
    )
    pairs = SyntheticPairs(PICTURES, settings)
    shot = pairs[1]
    dark = float(psnr(preset("neutral")(shot.frame, {"exposure.ev": -2.0}).data, shot.target, data_range=1.0))
    for isp in (LibRawAuto(), fitted_l3(pairs)):
        with torch.no_grad():
            assert float(psnr(isp(shot.frame).data, shot.target, data_range=1.0)) > dark + 3


@pytest.mark.slow
def test_joint_denoising_and_demosaicing_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(learned_ll, "RIVALS", {"DeepISP-LL": tiny("DeepISP-LL", writes="linear_rgb")})
    found = learned_ll.run_learned_ll(tmp_path, TINY, command="test", curves=False)
    methods = [row["method"] for row in found.tables[0].rows]
    assert methods[:3] == ["bilinear", "Malvar 2004", "Menon 2007"]
    assert methods[-1] == "DeepISP-LL"
    assert len(found.tables) == 2 * len(CAMERAS) + 2
    assert (tmp_path / "learned_ll.png").is_file()
    assert not any(claim.met for claim in found.claims)  # a third of a second teaches nothing
    json.dumps(found.details)


@pytest.mark.slow
def test_the_whole_isp_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(learned_full, "ENTRANTS", learned_full.ENTRANTS[:2])
    monkeypatch.setattr(learned_full, "ORDER", learned_full.ORDER[:1])
    monkeypatch.setattr(learned_full, "_rivals", lambda *_: {"neutral": preset("neutral")})
    found = learned_full.run_learned_full(tmp_path, TINY, command="test")
    assert [row["method"] for row in found.tables[0].rows] == ["neutral", "CameraNet", "CameraNet, one stage"]
    assert len(found.tables[1].rows) == 3
    assert {row["network"] for row in found.tables[2].rows} == {"CameraNet", "CameraNet, one stage"}
    assert (tmp_path / "learned_full.png").is_file()


@pytest.mark.slow
def test_learning_to_be_another_isp_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(mimic, "STUDENTS", (tiny(),))
    monkeypatch.setattr(mimic, "_PIPELINES", ("neutral",))
    bench = mimic.MimicBench(**{**vars(TINY), "teacher": "camera-like", "pairs": 8, "unseen": 2, "renders": 4})
    found = mimic.run_mimic(tmp_path, bench, command="test")
    card = read_card(next(tmp_path.glob("camera-like/nafnet*/weights.safetensors")))
    assert (card.data["source"], card.data["isp"]) == ("mimic", "camera-like")
    assert [row["method"] for row in found.tables[0].rows] == ["neutral, as it comes", "neutral, tuned", "NAFNet"]
    assert len(list((tmp_path / "raws" / "known").glob("*.dng"))) == 8
    assert re.search(r"dB", found.claims[0].measured)


def test_folders_come_in_pairs(cli):
    code, _, err = cli("bench", "learned-ll", "--train", "tests")
    assert (code, err.count("\n")) == (2, 1)
    assert "--train and --test go together" in err
