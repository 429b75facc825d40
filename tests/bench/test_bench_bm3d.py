"""Experiment (b): noise levels are told apart, the small network learns, and the run leaves its tables."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from ispkit.bench.bm3d import SIGMA, Bm3dBench, run_bm3d
from ispkit.bench.bm3d_scenes import alternate, real, real_pairs, simulated
from ispkit.bench.picture_scores import PictureScores, gap_rows, score_pictures, worst_gap
from ispkit.bench.small_denoiser import DenoiserPlan, SmallDenoiser, denoise, train_denoiser
from ispkit.core.errors import FileError, ParamError, ShapeError
from ispkit.data.project_pictures import project_pictures
from ispkit.data.tuning_sets import Shooting, picture_of
from ispkit.io.pictures import write_picture
from ispkit.metrics import METRICS
from ispkit.sensor.catalog import load_sensor


@pytest.fixture
def pairs(tmp_path):
    """Two noise levels of PolyU's names, 5 scenes and 1 scene; the noisy picture is the mean one plus one code."""
    room = tmp_path / "pairs"
    room.mkdir()
    for scene in ("ball", "toy", "desk", "wall", "old_chair_"):
        for n in (1, 2):
            _write(room, f"Cam1_5_160_3200_{scene}_{n}")
    _write(room, "Cam1_5_160_800_ball_1")
    return room


def _write(room, name, size=(48, 64)):
    clean = np.full((*size, 3), 100, dtype=np.uint8)
    write_picture(room / f"{name}_mean.png", clean)
    write_picture(room / f"{name}_real.png", clean + 1)


def test_real_pairs_are_grouped_by_noise_level_and_scene(pairs):
    found = real_pairs(pairs)
    assert {p.level for p in found} == {"Cam1 ISO 3200", "Cam1 ISO 800"}
    assert {p.scene for p in found} == {"ball", "toy", "desk", "wall", "old_chair"}
    levels = real(found, crop=(32, 32), levels=3)
    assert list(levels) == ["real, Cam1 ISO 3200"]  # one scene alone cannot be split
    scenes = levels["real, Cam1 ISO 3200"]
    assert len(scenes) == 10
    assert scenes[0].frame.size == (32, 32)
    assert torch.allclose(scenes[0].frame.data - scenes[0].target, torch.tensor(1 / 255))
    assert len({picture_of(s) for s in alternate(scenes, 5)}) == 5


def test_folders_of_pairs_that_are_none_say_why(pairs, tmp_path):
    with pytest.raises(FileError, match="no such folder"):
        real_pairs(tmp_path / "nothing")
    with pytest.raises(ShapeError, match=r"48x64 pixels, less than crop 64x64"):
        real(real_pairs(pairs), crop=(64, 64), levels=1)
    with pytest.raises(FileError, match="no noise level has 6 scenes"):
        real(real_pairs(pairs), crop=(32, 32), levels=1, least=6)
    (pairs / "Cam1_5_160_3200_toy_1_mean.png").unlink()
    with pytest.raises(FileError, match="its clean picture Cam1_5_160_3200_toy_1_mean is not"):
        real_pairs(pairs)
    with pytest.raises(FileError, match=r"NAME_real\.png with NAME_mean\.png"):
        real_pairs(tmp_path)


def test_simulated_noise_grows_with_gain_and_is_correlated():
    shooting = Shooting((4.0, 64.0), crop=(96, 96), seed=1)
    levels = simulated((), load_sensor("sidd-google-pixel"), shooting, count=2)
    noise = {name: torch.cat([s.frame.data - s.target for s in own]) for name, own in levels.items()}
    assert float(noise["simulated, gain 64"].std()) > 2 * float(noise["simulated, gain 4"].std())
    n = noise["simulated, gain 64"] - noise["simulated, gain 64"].mean((-1, -2), keepdim=True)
    beside = float((n[..., 1:] * n[..., :-1]).mean() / n.square().mean())
    assert beside > 0.2  # white noise has none


def test_the_small_network_begins_as_identity_and_learns_to_denoise():
    clean = list(project_pictures(3, (64, 64), seed=3).values())
    chance = torch.Generator().manual_seed(0)
    noisy = [(p + 0.1 * torch.randn(p.shape, generator=chance)).clamp(0, 1) for p in clean]
    assert torch.equal(SmallDenoiser(3, 8)(noisy[0]), noisy[0])
    plan = DenoiserPlan(0.0, steps=200, layers=4, features=12, patch=32, batch=4)
    before = torch.get_rng_state()
    trained = train_denoiser(noisy, clean, plan)
    assert torch.equal(torch.get_rng_state(), before)
    short = [train_denoiser(noisy, clean, DenoiserPlan(0.0, steps=3, layers=2, features=2, patch=32)) for _ in range(2)]
    assert torch.equal(short[0].network(noisy[0]), short[1].network(noisy[0]))
    out = denoise(trained.network, noisy)
    assert score_pictures(out, _scenes(clean)).mean("psnr") > score_pictures(noisy, _scenes(clean)).mean("psnr") + 2
    assert torch.equal((out[0] * 255).round() / 255, out[0])
    assert train_denoiser(noisy, clean, DenoiserPlan(0.0, layers=2, features=2, patch=32)).steps == 1
    with pytest.raises(ShapeError, match="of 80 px and more"):
        train_denoiser(noisy, clean, DenoiserPlan(1.0, patch=80))


def _scenes(targets):
    from ispkit.core.frame import Domain, Frame
    from ispkit.core.meta import CameraMeta
    from ispkit.data.scenes import Scene

    meta = CameraMeta.make("RGGB", targets[0].shape)
    return [Scene(f"s{i}", Frame(t, Domain.DISPLAY_RGB, meta), t) for i, t in enumerate(targets)]


def test_scores_are_those_of_the_metrics_and_gaps_are_paired():
    targets = list(project_pictures(2, (64, 64)).values())
    pictures = [(t + 0.1).clamp(0, 1) for t in targets]
    scores = score_pictures(pictures, _scenes(targets))
    assert scores.values["ssim"][1] == pytest.approx(
        float(METRICS["ssim"](pictures[1], targets[1], data_range=1.0)), abs=1e-6
    )
    better = PictureScores({n: [v + 1 + i for i, v in enumerate(own)] for n, own in scores.values.items()})
    (row,) = gap_rows({"old": scores, "tuned": better}, "tuned", seed=0)
    assert row["tuned less"] == "old"
    assert row["PSNR, dB"] == "+1.50 [+1.00, +2.00]"
    assert worst_gap(better, scores) == pytest.approx(1.0)


def test_no_noise_level_is_refused(tmp_path):
    pytest.importorskip("bm3d", reason="BM3D is not installed; its license lets no one else do it for you")
    with pytest.raises(ParamError, match="gains is empty"):
        run_bm3d(tmp_path, Bm3dBench(gains=()), command="x")


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("bm3d") is None, reason="BM3D is not installed, which only its user may do"
)
def test_the_experiment_tunes_at_every_level_and_goes_on(tmp_path):
    bench = Bm3dBench(gains=(16.0,), count=3, crop=(64, 64), budget=5, sweep=(1.0, 3.0), method="random")
    made = run_bm3d(tmp_path, bench, command="ispkit bench bm3d")
    judged, gaps = made.tables
    assert [r["contestant"] for r in judged.rows] == [
        "noisy", "default, sigma estimated", "sigma sweep", "tuned", "small network",
    ]  # fmt: skip
    assert len(gaps.rows) == 3
    assert len(made.claims) == 2
    facts = made.details["simulated, gain 16"]
    assert len(facts["scores"]["tuned"]["psnr"]) == 2
    assert [row[SIGMA] for row in facts["sweep"]] == [1.0, 3.0]
    again = run_bm3d(tmp_path, bench, command="ispkit bench bm3d").details["simulated, gain 16"]
    assert again["tuned"] == facts["tuned"]
    assert again["scores"] == facts["scores"]  # the network is kept, too
    with pytest.raises(ParamError, match="must leave 2 renders beside the sweep's 2"):
        run_bm3d(tmp_path, Bm3dBench(budget=3, sweep=(1.0, 2.0)), command="x")
