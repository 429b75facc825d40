"""Pictures as a problem: rendering, rounding, residuals, faults of the black box, functions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ispkit.core.errors import BlackBoxError, DomainError, ParamError, ShapeError
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta
from ispkit.core.param import Param
from ispkit.core.space import ParamSpace
from ispkit.data.scenes import Scene
from ispkit.isp.anchored import AnchoredISP
from ispkit.isp.recipe import preset
from ispkit.tune.function_problem import FunctionProblem
from ispkit.tune.objectives.base import Called, Weighted
from ispkit.tune.objectives.constraints import parse_constraint
from ispkit.tune.objectives.reference import REFERENCE
from ispkit.tune.problem import PictureProblem, Settings, as_picture
from ispkit.tune.sketch import count_sketch


def scene(name="a", size=(16, 24), seed=0, domain=Domain.DISPLAY_RGB, **facts) -> Scene:
    g = torch.Generator().manual_seed(seed)
    target = torch.rand(1, 3, *size, generator=g)
    frame = Frame(torch.rand(1, domain.channels, *size, generator=g), domain, CameraMeta.make("RGGB", size))
    return Scene(name, frame, target, **facts)


class Box:
    """A picture times a gain plus an offset; misbehaves as it is told."""

    reads = writes = Domain.DISPLAY_RGB
    space = ParamSpace({
        "a.gain": Param(default=1.0, low=0.0, high=2.0),
        "a.offset": Param(default=0.0, low=-1.0, high=1.0),
    })  # fmt: skip
    batched = False

    def __init__(self, fault=None):
        self.fault, self.batches = fault, []

    def __call__(self, frame, values=None):
        self.batches.append(frame.batch)
        v = {**self.space.defaults(), **(values or {})}
        data = frame.data * float(v["a.gain"]) + float(v["a.offset"])
        return frame.with_data(self.fault(data) if self.fault else data)


def crash(_):
    raise OSError("the device is gone")


def test_what_is_scored_is_what_is_kept():
    problem = PictureProblem(Box(), [scene(), scene("b", (20, 16), seed=1)], [REFERENCE["mse"], REFERENCE["psnr"]])
    seen = problem.measure({"a.gain": 1.3})
    want = [
        np.mean((p / 255 - s.target[0].permute(1, 2, 0).numpy()) ** 2)
        for p, s in zip(seen.rendered, problem.scenes, strict=True)
    ]
    assert [p.dtype for p in seen.rendered] == [np.uint8, np.uint8]
    assert [p.shape for p in seen.rendered] == [(16, 24, 3), (20, 16, 3)]
    assert seen.per_picture["mse"] == pytest.approx(want, rel=1e-5)
    assert seen.scores["mse"] == pytest.approx(np.mean(want), rel=1e-5)
    assert seen.per_picture["psnr"] == pytest.approx(10 * np.log10(want), rel=1e-4)
    assert seen.megapixels == problem.megapixels == pytest.approx((16 * 24 + 20 * 16) / 1e6)
    assert (seen.renders, seen.pictures) == (2, (0, 1))
    assert seen.constraints == {}


def test_the_residual_s_squared_length_is_the_score_of_squares():
    problem = PictureProblem(Box(), [scene(), scene("b", (20, 16), seed=1)], REFERENCE["mse"])
    whole = problem.measure({})
    part = problem.measure({}, pictures=[1])
    assert np.square(whole.residual, dtype=np.float64).sum() == pytest.approx(whole.scores["mse"], rel=1e-5)
    assert np.square(part.residual, dtype=np.float64).sum() == pytest.approx(part.scores["mse"], rel=1e-5)
    assert part.per_picture["mse"][0] == whole.per_picture["mse"][1]
    assert np.allclose(part.residual, whole.residual[-part.residual.size :] * np.sqrt(2))


def test_long_residuals_are_sketched_and_keep_inner_products():
    problem = PictureProblem(Box(), [scene(str(i), (96, 96), seed=i) for i in range(2)], REFERENCE["mse"])
    points = [{"a.gain": g, "a.offset": o} for g, o in ((1, 0), (0.6, 0.1), (1.2, -0.2))]
    seen = [problem.measure(v) for v in points]
    exact = PictureProblem(Box(), problem.scenes, REFERENCE["mse"], settings=Settings(residual_size=10**6))
    full = [exact.measure(v).residual.astype(np.float64) for v in points]
    short = [m.residual.astype(np.float64) for m in seen]
    assert short[0].size == 8192
    for i in range(3):
        for j in range(3):
            scale = np.linalg.norm(full[i]) * np.linalg.norm(full[j])
            assert short[i] @ short[j] == pytest.approx(full[i] @ full[j], abs=0.06 * scale)
    change = short[1] - short[0]
    assert change @ change == pytest.approx(np.square(full[1] - full[0]).sum(), rel=0.06)


def test_a_sketch_is_linear_fixed_and_unbiased():
    g = np.random.default_rng(0)
    a, b = g.standard_normal((2, 3000)).astype(np.float32)
    assert np.allclose(
        count_sketch(a - b, 64, seed=1), count_sketch(a, 64, seed=1) - count_sketch(b, 64, seed=1), atol=1e-4
    )
    products = [count_sketch(a, 64, seed=s) @ count_sketch(b, 64, seed=s) for s in range(400)]
    spread = np.linalg.norm(a) * np.linalg.norm(b) / 8
    assert np.mean(products) == pytest.approx(a @ b, abs=float(4 * spread / 20))
    assert np.array_equal(count_sketch(a, 64, seed=1), count_sketch(a, 64, seed=1))
    assert not np.array_equal(count_sketch(a, 64, seed=1), count_sketch(a, 64, seed=1, stream=1))
    assert np.array_equal(count_sketch(a, 3000, seed=1), a)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (crash, "OSError: the device is gone"),
        (lambda x: x * float("nan"), "not finite"),
        (lambda x: x[..., :-1], "16x23"),
        (lambda x: x[:, :2], "display_rgb"),
        (lambda x: torch.cat([x, x]), "2 of 16x24"),
    ],
)
def test_a_fault_names_the_picture_and_the_reason(fault, says):
    with pytest.raises(BlackBoxError, match=f"^a: .*{says}"):
        PictureProblem(Box(fault), [scene()], REFERENCE["mse"]).measure({})


def test_a_fault_of_an_objective_is_a_fault_too_but_ctrl_c_is_not():
    def infinite(picture, scene):
        return float("inf")

    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(BlackBoxError, match="'odd' gave inf"):
        PictureProblem(Box(), [scene()], Called("odd", infinite)).measure({})
    with pytest.raises(KeyboardInterrupt):
        PictureProblem(Box(interrupt), [scene()], REFERENCE["mse"]).measure({})


def test_values_outside_the_space_are_the_caller_s_fault():
    problem = PictureProblem(Box(), [scene()], REFERENCE["mse"])
    for wrong in ({"a.gain": 3.0}, {"a.gian": 1.0}):
        with pytest.raises(ParamError):
            problem.measure(wrong)
    with pytest.raises(ParamError, match="pictures"):
        problem.measure({}, pictures=[1])


def test_a_smaller_space_with_other_defaults():
    space = Box.space.select("a.offset").with_defaults({"a.offset": 0.25})
    problem = PictureProblem(Box(), [scene()], REFERENCE["mse"], space=space)
    assert np.array_equal(
        problem.measure({}).rendered[0],
        PictureProblem(Box(), [scene()], REFERENCE["mse"]).measure({"a.offset": 0.25}).rendered[0],
    )


def test_batches_change_nothing_but_the_number_of_calls():
    scenes = [scene("a"), scene("b", (20, 16), seed=1), scene("c", seed=2)]
    boxes = [Box(), Box()]
    boxes[1].batched = True
    seen = [PictureProblem(b, scenes, REFERENCE["mse"]).measure({"a.gain": 0.7}) for b in boxes]
    assert boxes[0].batches == [1, 1, 1]
    assert sorted(boxes[1].batches) == [1, 2]
    assert seen[0].per_picture == seen[1].per_picture
    assert all(np.array_equal(x, y) for x, y in zip(seen[0].rendered, seen[1].rendered, strict=True))


def test_a_pipeline_is_a_black_box_too():
    raw = scene(domain=Domain.MOSAIC, size=(32, 32))
    problem = PictureProblem(preset("neutral"), [raw, scene("b", (32, 32), 1, Domain.MOSAIC)], REFERENCE["l1"])
    assert problem.measure({}).scores["l1"] > 0
    assert [f.size for f in problem.inputs()] == [(32, 32), (32, 32)]


def test_picture_loss_is_the_score_with_a_gradient():
    sum_of_two = Weighted("l1+0.5*nlpd", ((1.0, REFERENCE["l1"]), (0.5, REFERENCE["nlpd"])))
    problem = PictureProblem(Box(), [scene(), scene("b", seed=1)], sum_of_two)
    seen = problem.measure({"a.gain": 0.9})
    pictures = torch.cat([as_picture(p) for p in seen.rendered]).requires_grad_()
    loss = problem.picture_loss(pictures)
    assert float(loss.detach()) == pytest.approx(seen.scores[sum_of_two.name], rel=1e-5)
    loss.backward()
    assert pictures.grad.abs().amax((1, 2, 3)).min() > 0
    assert problem.picture_loss(list(pictures.detach().split(1))) == loss
    with pytest.raises(ShapeError, match="one picture a scene"):
        problem.picture_loss(pictures[:1])
    no_gradient = PictureProblem(Box(), [scene()], Called("mean", lambda p, s: float(p.detach().mean())))
    with pytest.raises(ParamError, match="no gradient"):
        no_gradient.picture_loss(pictures[:1])
    assert no_gradient.measure({}).residual is None


def test_registration_takes_out_whole_pixels():
    coarse = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    target = torch.nn.functional.interpolate(coarse, size=(64, 64), mode="bicubic").clamp(0, 1)
    shifted = Scene("s", Frame(target, Domain.DISPLAY_RGB, CameraMeta.make("RGGB", (64, 64))), target)
    box = Box(lambda x: x.roll((2, -3), (-2, -1)))
    plain, laid = (
        PictureProblem(box, [shifted], REFERENCE["mse"], settings=Settings(register=on)).measure({})
        for on in (False, True)
    )
    inside = np.s_[4:-4, 4:-4]
    want = (target[0].permute(1, 2, 0).numpy() * 255 + 0.5).astype(np.uint8)
    assert np.array_equal(laid.rendered[0][inside], want[inside])
    assert laid.scores["mse"] < 0.2 * plain.scores["mse"]


def test_constraints_are_met_below_zero():
    limits = tuple(parse_constraint(t) for t in ("psnr >= 5", "delta_e00 <= 1"))
    seen = PictureProblem(Box(), [scene()], REFERENCE["mse"], settings=Settings(constraints=limits)).measure({})
    psnr = -10 * np.log10(seen.scores["mse"])
    assert seen.constraints["psnr >= 5"] == pytest.approx(5 - psnr, rel=1e-4)
    assert seen.constraints["delta_e00 <= 1"] > 0


def test_anchored_settings_follow_the_scenes_and_their_bends_count():
    isp = AnchoredISP(Box(), knobs=("a.offset",), anchors={"gain": (1, 4, 16)})
    scenes = [scene("a", conditions={"gain": 1.0}), scene("b", conditions={"gain": 16.0})]
    problem = PictureProblem(isp, scenes, REFERENCE["mse"], settings=Settings(smoothness=2.0))
    values = {"a.offset@gain=1": -0.2, "a.offset@gain=4": 0.5}
    seen = problem.measure(values)
    plain = [
        PictureProblem(Box(), [s], REFERENCE["mse"]).measure({"a.offset": o})
        for s, o in zip(scenes, (-0.2, 0), strict=True)
    ]
    bends = float(np.square(isp.roughness(values)).sum())
    assert bends > 0
    assert seen.per_picture["mse"] == pytest.approx([p.scores["mse"] + 2 * bends for p in plain], rel=1e-5)
    assert np.square(seen.residual, dtype=np.float64).sum() == pytest.approx(seen.scores["mse"], rel=1e-5)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"target": None}, "no target"),
        ({"target": torch.zeros(1, 3, 8, 8)}, "its target must be"),
    ],
)
def test_scenes_that_do_not_fit_are_refused(change, error):
    from dataclasses import replace

    with pytest.raises((ParamError, ShapeError), match=error):
        PictureProblem(Box(), [replace(scene(), **change)], REFERENCE["mse"])


def test_what_cannot_be_a_problem():
    class Mosaic(Box):
        writes = Domain.MOSAIC

    with pytest.raises(DomainError):
        PictureProblem(Mosaic(), [scene()], REFERENCE["mse"])
    with pytest.raises(ParamError, match="at least one scene"):
        PictureProblem(Box(), [], REFERENCE["mse"])
    limits = Settings(constraints=(parse_constraint("kpi:color <= 2"),))
    with pytest.raises(ParamError, match="no chart, which 'kpi:color <= 2'"):
        PictureProblem(Box(), [scene()], REFERENCE["mse"], settings=limits)
    with pytest.raises(ParamError, match="different names"):
        PictureProblem(Box(), [scene()], [REFERENCE["mse"], REFERENCE["mse"]])


def test_a_function_is_a_problem():
    quadratic = FunctionProblem(Box.space, lambda v: (v["a.gain"] - 0.5) ** 2)
    seen = quadratic.measure({"a.gain": 1.5})
    assert (seen.scores, seen.megapixels, seen.renders) == ({"value": 1.0}, 1.0, 1)
    vector = FunctionProblem(Box.space, lambda v: np.array([v["a.gain"], 2 * v["a.offset"]]))
    assert vector.measure({"a.gain": 2.0, "a.offset": 0.5}).residual.tolist() == [2.0, 1.0]
    assert vector.measure({"a.gain": 2.0, "a.offset": 0.5}).scores == {"value": 5.0}
    two = FunctionProblem(Box.space, lambda v: {"x": 1.0, "y": v["a.gain"]}, objectives=("y", "x"))
    assert two.measure({}).scores == {"y": 1.0, "x": 1.0}


def test_a_noisy_function_repeats_its_noise_by_seed():
    noisy = FunctionProblem(Box.space, lambda v: 1.0, noise=0.1)
    drawn = [noisy.measure({}, seed=s).scores["value"] for s in range(200)]
    assert noisy.measure({}, seed=3).scores["value"] == drawn[3]
    assert np.std(drawn) == pytest.approx(0.1, rel=0.2)


@pytest.mark.parametrize("fails", [lambda v: float("nan"), lambda v: 1 / 0, lambda v: {"other": 1.0}])
def test_a_function_that_fails_is_a_black_box_that_fails(fails):
    with pytest.raises(BlackBoxError):
        FunctionProblem(Box.space, fails).measure({})
