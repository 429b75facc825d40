"""What pictures are judged by: laws of all objectives, KPIs with truth, styles, tasks, the grammar."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
import torch

from ispkit.charts import catalog
from ispkit.core.errors import BlackBoxError, FileError, ParamError
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta
from ispkit.data.scenes import Scene
from ispkit.metrics import METRICS
from ispkit.ops.blur import gaussian_blur
from ispkit.ops.encode import srgb_encode
from ispkit.tune.objectives.base import Weighted
from ispkit.tune.objectives.constraints import parse_constraint
from ispkit.tune.objectives.grammar import FORMS, parse_objective, parse_objectives
from ispkit.tune.objectives.kpis import KPIS, Goal, KpiObjective, kpi_objective
from ispkit.tune.objectives.reference import REFERENCE
from ispkit.tune.objectives.style import LOOKS
from ispkit.tune.objectives.table3 import TOLERANCES, Table3, table3
from ispkit.tune.objectives.task import TaskObjective

SIZE = (176, 180)


def frame_of(picture: torch.Tensor) -> Frame:
    return Frame(picture, Domain.DISPLAY_RGB, CameraMeta.make("RGGB", picture.shape))


@pytest.fixture(scope="module")
def photo() -> Scene:
    g = torch.Generator().manual_seed(0)
    coarse = torch.nn.functional.interpolate(torch.rand(1, 3, 40, 40, generator=g), size=SIZE, mode="bicubic")
    target = (0.1 + 0.8 * coarse).clamp(0.05, 0.95)
    return Scene("photo", frame_of(target), target)


def chart_scene(name: str, height: int, width: int) -> Scene:
    chart = catalog.build(name, height=height, width=width)
    target = srgb_encode(chart.picture[None].clamp(0, 1))
    return Scene(name, frame_of(target), target, chart)


@pytest.fixture(scope="module")
def zone() -> Scene:
    return chart_scene("zone_plate", 160, 160)


@pytest.fixture(scope="module")
def checker() -> Scene:
    return chart_scene("colorchecker", 160, 240)


def noise(like: torch.Tensor, sigma: float) -> torch.Tensor:
    return sigma * torch.randn(like.shape, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("objective", REFERENCE.values(), ids=REFERENCE)
def test_more_damage_is_worse_and_residual_and_loss_agree(objective, photo):
    pictures = [(photo.target + noise(photo.target, s)).clamp(0, 1) for s in (0.0, 0.01, 0.03, 0.1)]
    scores = [objective.score(p, photo) for p in pictures]
    assert scores == sorted(scores)
    assert scores[0] < scores[1]
    if objective.name != "psnr":
        assert scores[0] == pytest.approx(0, abs=2e-3)
    picture = pictures[2].clone().requires_grad_()
    loss = objective.loss(picture, photo)
    assert float(loss.detach()) == pytest.approx(scores[2], rel=1e-5)
    loss.backward()
    assert torch.isfinite(picture.grad).all()
    assert float(picture.grad.abs().max()) > 0
    vectors = [objective.residual(p, photo) for p in pictures]
    if vectors[0] is None:
        return
    lengths = [float(np.square(v, dtype=np.float64).sum()) for v in vectors]
    assert lengths[0] == pytest.approx(0, abs=1e-8)
    assert lengths == sorted(lengths)
    assert len({v.size for v in vectors}) == 1


@pytest.mark.parametrize("name", ["l1", "nlpd", "delta_e00"])
def test_robust_residuals_are_smooth_at_the_target_and_near_the_score_far_from_it(name, photo):
    objective = REFERENCE[name]
    one, two = (objective.residual(photo.target + noise(photo.target, s), photo) for s in (1e-5, 2e-5))
    assert np.linalg.norm(two - 2 * one) < 0.05 * np.linalg.norm(two)
    far = (1 - photo.target).clamp(0, 1)
    squared = float(np.square(objective.residual(far, photo), dtype=np.float64).sum())
    assert squared == pytest.approx(objective.score(far, photo), rel=0.15)


def test_scores_are_those_of_the_metrics(photo):
    picture = (photo.target + noise(photo.target, 0.05)).clamp(0, 1)
    for name in ("ssim", "delta_e00", "nlpd", "psnr"):
        value = float(METRICS[name](picture, photo.target, data_range=1.0)[0])
        want = {"psnr": -value, "ssim": 1 - value}.get(name, value)
        assert REFERENCE[name].score(picture, photo) == pytest.approx(want, rel=1e-5)


def test_a_weighted_sum_adds_scores_and_squares(photo):
    picture = (photo.target + noise(photo.target, 0.05)).clamp(0, 1)
    whole = parse_objective("l1+0.5*nlpd")
    parts = [REFERENCE["l1"], REFERENCE["nlpd"]]
    assert whole.score(picture, photo) == pytest.approx(
        parts[0].score(picture, photo) + 0.5 * parts[1].score(picture, photo)
    )
    squares = [np.square(o.residual(picture, photo), dtype=np.float64).sum() for o in (whole, *parts)]
    assert squares[0] == pytest.approx(squares[1] + 0.5 * squares[2], rel=1e-4)
    assert parse_objective("l1+ssim").residual(picture, photo) is None
    assert parse_objective("l1+ssim").loss(picture, photo) is not None


def test_kpis_are_distances_from_goals_in_tolerances(zone, checker):
    objective = kpi_objective(["color", "saturation", "moire"])
    assert [g.kpi for g in objective.shown(zone)] == ["moire.integral"]
    assert [g.kpi for g in objective.shown(checker)] == ["color.delta_e00.mean", "color.saturation"]
    assert objective.score(checker.target, checker) == pytest.approx(0, abs=1e-3)
    gray = checker.target.mean(1, keepdim=True).expand(-1, 3, -1, -1).contiguous()
    vector = objective.residual(gray, checker)
    assert vector.size == 2
    assert objective.score(gray, checker) == pytest.approx(float(np.square(vector, dtype=np.float64).sum()))
    assert vector[1] == pytest.approx(-1 / 0.05 / np.sqrt(2), rel=1e-3)
    assert objective.loss(gray, checker) is None


def test_goals_with_one_good_side():
    assert [Goal("x", "g", 40, 2, "higher").distance(v) for v in (36, 40, 60)] == [-2, 0, 0]
    assert [Goal("x", "g", 1, 0.5, "lower").distance(v) for v in (0, 1, 2)] == [0, 0, 2]
    assert [Goal("x", "g", 1, 0.5).distance(v) for v in (0, 2)] == [-2, 2]


@pytest.mark.slow
def test_every_short_name_is_a_kpi_that_a_chart_shows():
    lab = chart_scene("lab", 800, 1200)
    rainbow = chart_scene("rainbow", 360, 640)
    objective = KpiObjective("all", tuple(KPIS.values()))
    shown = {g.kpi for s in (lab, rainbow) for g in objective.shown(s)}
    assert shown == {g.kpi for g in KPIS.values()}


def test_what_cannot_be_measured_fails_the_picture(checker):
    unknown = KpiObjective("noise", (KPIS["snr"],))
    with pytest.raises(ParamError, match=r"shows none of noise\.snr_db"):
        unknown.score(checker.target, chart_scene("zone_plate", 160, 160))
    with pytest.raises(BlackBoxError, match="cannot be measured on colorchecker"):
        kpi_objective(["white"]).score(torch.full_like(checker.target, float("nan")), checker)


def test_table3_is_zero_for_the_target_and_each_number_sees_its_own_damage(photo):
    perfect = table3(photo.target, photo)
    assert list(perfect) == list(TOLERANCES)
    assert max(perfect.values()) == pytest.approx(0, abs=1e-4)
    blurred = table3(gaussian_blur(photo.target, 1.5, radius=5), photo)
    tinted = table3((photo.target * torch.tensor([1.05, 1.0, 0.9])[:, None, None]).clamp(0, 1), photo)
    checks = 0.03 * torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(SIZE[0] // 2, SIZE[1] // 2)
    colored = photo.target.clone()
    colored[:, 0] += checks
    colored[:, 2] -= checks
    fringed = table3(colored.clamp(0, 1), photo)
    assert blurred["detail"] > 5 * tinted["detail"]
    assert tinted["color"] > 3 * fringed["color"]
    assert fringed["moire"] > 1.5 * tinted["moire"]
    assert fringed["zipper"] > 3 * tinted["zipper"]
    vector = Table3().residual(colored, photo)
    assert {True, False} == set(np.unique(vector > 0))  # it says which way, not only how far
    assert Table3().score(colored, photo) == pytest.approx(np.square(vector, dtype=np.float64).sum())


def test_table3_reads_charts_where_there_are_any(checker, zone):
    dim = checker.target * 0.9
    assert table3(dim, checker)["color"] < table3(dim, Scene("c", checker.frame, checker.target))["color"]
    gray = zone.target.clone()
    gray[:, 0] *= 0.8
    assert table3(gray, zone)["moire"] < 3


@pytest.mark.parametrize("look", LOOKS)
def test_a_style_is_reached_by_its_own_picture_only(look, photo):
    objective = parse_objective(f"style:{look}")
    styled = objective.styled(photo).target
    assert objective.score(styled, photo) == pytest.approx(0, abs=1e-6)
    assert objective.score(photo.target, photo) > 1e-3
    assert objective.loss(photo.target, photo) is not None
    assert 0 <= float(styled.min()) <= float(styled.max()) <= 1


def test_a_task_is_judged_by_its_loss_or_its_score(photo):
    class Mean:
        def loss(self, picture, labels):
            return (picture.mean() - labels).square()

        def score(self, picture, labels):
            return 1.0 if picture.mean() < labels else 0.0

    labelled = Scene("l", photo.frame, labels=0.7)
    by_loss, by_score = TaskObjective("t", Mean()), TaskObjective("t", Mean(), "score")
    picture = photo.target.clone().requires_grad_()
    by_loss.loss(picture, labelled).backward()
    assert picture.grad is not None
    assert by_loss.score(photo.target, labelled) == pytest.approx(float((photo.target.mean() - 0.7) ** 2))
    assert by_score.score(photo.target, labelled) == 1.0
    assert by_score.needs == ("labels",)


@pytest.fixture
def own_module():
    module = types.ModuleType("own_objectives")
    module.brightness = lambda picture, target: (picture.mean() - target.mean()).abs()
    module.contrast = lambda picture, scene: -float(picture.std())
    module.psnr = REFERENCE["psnr"]
    module.number = 3
    sys.modules["own_objectives"] = module
    yield module
    del sys.modules["own_objectives"]


def test_the_user_s_own(photo, own_module):
    with_target, with_scene, ready = parse_objectives(
        "own_objectives:brightness; own_objectives:contrast; own_objectives:psnr"
    )
    assert with_target.score(photo.target, photo) == 0
    assert with_target.needs == ("target",)
    assert with_target.loss(photo.target.clone().requires_grad_(), photo).requires_grad
    assert with_scene.score(photo.target, photo) == pytest.approx(-float(photo.target.std()))
    assert with_scene.needs == ()
    assert ready is REFERENCE["psnr"]


def test_texts_and_names():
    several = parse_objectives("psnr; kpi:color,zipper ; l1 + 0.5*nlpd+2*ssim")
    assert [o.name for o in several] == ["psnr", "kpi:color,zipper", "l1+0.5*nlpd+2*ssim"]
    assert isinstance(several[2], Weighted)
    assert parse_objective("kpi:table3").name == "kpi:table3"
    assert parse_objective("2*mse").parts == ((2.0, REFERENCE["mse"]),)
    assert set(REFERENCE) < set(FORMS)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("psrn", "did you mean 'psnr'"),
        ("l1+", "no objective|missing"),
        ("0*l1", "positive"),
        ("kpi:colour", "did you mean 'color'"),
        ("style:loud", "known: contrast"),
        ("no_such_module:f", "Python path"),
        ("own_objectives:number", "no function"),
        ("own_objectives:brigthness", "did you mean 'brightness'"),
        ("lpips:one.pth", "two files"),
    ],
)
def test_errors_say_what_would_be_right(text, says, own_module):
    with pytest.raises(ParamError, match=says):
        parse_objectives(text)


def test_weights_that_are_not_there(tmp_path):
    with pytest.raises(FileError, match="no such file"):
        parse_objective(f"lpips:{tmp_path}/a+b.pth,{tmp_path}/alex.pth")
    with pytest.raises(FileError):
        parse_objective(f"detector:{tmp_path}/none.pth")


def test_constraints(photo, checker):
    limit = parse_constraint("ssim>=0.9")
    assert limit.name == "ssim >= 0.9"
    assert limit.amount(photo.target, photo) == pytest.approx(-0.1, abs=1e-4)
    color = parse_constraint("kpi:color <= 2")
    assert color.amount(checker.target, checker) == pytest.approx(-2, abs=1e-2)
    for wrong in ("ssim", "ssim > 0.9", "sim >= 1", "kpi:colour <= 1", "lpips <= 1", "ssim >= x"):
        with pytest.raises(ParamError, match="constraint"):
            parse_constraint(wrong)
