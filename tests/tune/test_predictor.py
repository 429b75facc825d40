"""Knobs set per frame: better than the best single setting, and a plain ISP from outside."""

import pytest
import torch

from conftest import make_frame
from ispkit.core.errors import ParamError, ShapeError
from ispkit.core.frame import Domain
from ispkit.core.param import Param
from ispkit.core.space import ParamSpace
from ispkit.data.scenes import Scene
from ispkit.isp.pipeline import Pipeline
from ispkit.isp.proxy import ProxyISP
from ispkit.isp.stages.encode import Encode
from ispkit.isp.stages.levels import Exposure
from ispkit.nets.knob_predictor import KnobPredictor, frame_statistics
from ispkit.nets.unet import ProxyUNet
from ispkit.tune.predictor import PredictedISP, PredictorConfig, new_predictor, train_predictor

EVS = (-2.0, -1.0, 0.0, 1.0)


def mse(picture, scene):
    return (picture - scene.target).square().mean()


def scenes(isp: Pipeline, seeds) -> list[Scene]:
    """Frames that are too dark or too bright by some stops, with the picture of the right exposure."""
    made = []
    for seed in seeds:
        clean = make_frame(Domain.LINEAR_RGB, (32, 32), batch=1, seed=seed)
        clean = clean.with_data(clean.data * 0.25)
        target = isp(clean).data
        noise = torch.randn(clean.data.shape, generator=torch.Generator().manual_seed(seed))
        for ev in EVS:
            seen = clean.with_data(clean.data * 2**ev + 0.002 * noise)
            made.append(Scene(f"{seed} {ev:+g}", seen, target=target))
    return made


@pytest.fixture(scope="module")
def exposed() -> tuple[Pipeline, ParamSpace]:
    isp = Pipeline({"exposure": Exposure(), "encode": Encode()})
    return isp, isp.space.select("exposure.ev")


def test_the_predictor_beats_the_best_single_setting(exposed):
    isp, space = exposed
    predictor = new_predictor(isp, space, width=16, seed=0)
    config = PredictorConfig(steps=120, batch=4, learning_rate=1e-2)
    losses = train_predictor(predictor, isp, scenes(isp, range(6)), mse, config=config)
    assert sum(losses[-10:]) < sum(losses[:10]) / 3
    held = scenes(isp, range(50, 54))
    with torch.no_grad():
        own = sum(float(mse(PredictedISP(isp, predictor)(s.frame).data, s)) for s in held)
        grid = torch.linspace(-2, 2, 17)
        single = min(sum(float(mse(isp(s.frame, {"exposure.ev": float(ev)}).data, s)) for s in held) for ev in grid)
    assert own < single / 2


def test_it_trains_through_a_frozen_proxy(exposed):
    isp, _ = exposed
    space = isp.space.select("exposure.ev", "encode.transfer")
    proxy = ProxyISP(isp, ProxyUNet(2, channels=(4, 6), residual=False), space)
    before = [p.clone() for p in proxy.parameters()]
    predictor = new_predictor(proxy, width=8)
    losses = train_predictor(predictor, proxy, scenes(isp, [0]), mse, config=PredictorConfig(steps=3))
    assert len(losses) == 3
    assert any(float(p.grad.abs().sum()) > 0 for p in predictor.parameters())
    assert all(torch.equal(a, b) and b.requires_grad for a, b in zip(before, proxy.parameters(), strict=True))


def test_a_predicted_isp_has_no_knobs_and_sets_each_frame(exposed):
    isp, space = exposed
    predictor = new_predictor(isp, space)
    torch.nn.init.normal_(predictor.say.weight, generator=torch.Generator().manual_seed(0))
    whole = PredictedISP(isp, predictor, base={"encode.space": "srgb"})
    frame = make_frame(isp.reads, (32, 32), batch=2)
    assert len(whole.space) == 0
    out = whole(frame)
    single = whole(frame.select([1]))
    torch.testing.assert_close(out.data[1:], single.data)
    with pytest.raises(ParamError):
        whole(frame, {"exposure.ev": 1.0})


def test_untrained_it_says_the_defaults(exposed):
    isp, space = exposed
    units = new_predictor(isp, space)(torch.rand(3, 3, 16, 20))
    torch.testing.assert_close(units, space.to_vector({}).expand(3, -1))


def test_statistics_do_not_depend_on_size():
    small = torch.full((1, 4, 16, 16), 0.2)
    torch.testing.assert_close(frame_statistics(small), frame_statistics(torch.full((1, 4, 40, 24), 0.2)))


def test_misuse_is_named(exposed):
    isp, space = exposed
    predictor = KnobPredictor(isp.space.select("encode.transfer"))
    with pytest.raises(ParamError, match="no gradient"):
        train_predictor(predictor, isp, scenes(isp, [0]), mse)
    other = ParamSpace({"exposure.ev": Param(default=0.0, low=-1.0, high=1.0)})
    with pytest.raises(ParamError, match="range"):
        PredictedISP(isp, KnobPredictor(other))
    with pytest.raises(ShapeError, match="16 px"):
        KnobPredictor(space)(torch.rand(1, 4, 8, 8))
