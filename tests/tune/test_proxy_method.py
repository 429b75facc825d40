"""The method `proxy`: data, training, descent, and the searcher that joins them."""

import numpy as np
import pytest
import torch

from conftest import make_frame
from ispkit.core.errors import BlackBoxError, FileError, ParamError, ShapeError
from ispkit.core.frame import Domain
from ispkit.core.param import Choice, Param
from ispkit.core.space import ParamSpace
from ispkit.tune.contracts import Outcome, SearchSetup
from ispkit.tune.proxy import PictureSide, ProxySearcher
from ispkit.tune.proxy.config import PRESETS, DescendConfig, ProxyConfig, TrainConfig, configured
from ispkit.tune.proxy.descend import Anchor, descend, picture_objective, straight_through
from ispkit.tune.proxy.render_set import (
    Render,
    RenderPlan,
    RenderSet,
    as_pixels,
    as_tensor,
    latin_hypercube,
    legal,
    render_samples,
)
from ispkit.tune.proxy.search import new_proxy
from ispkit.tune.proxy.train import train_proxy

CHANNELS = (8, 16)


class Gains:
    """A smooth ISP: a gain and a lift of an encoded picture."""

    reads = writes = Domain.DISPLAY_RGB
    space = ParamSpace(
        {
            "a.gain": Param(default=1.0, low=0.5, high=1.5),
            "a.lift": Param(default=0.0, low=-0.2, high=0.2),
        }
    )

    def __init__(self):
        self.calls = 0

    def __call__(self, frame, values=None):
        self.calls += 1
        v = {**self.space.defaults(), **(values or {})}
        gain, lift = (torch.as_tensor(v[n]).to(frame.data) for n in self.space)
        return frame.with_data((0.25 + frame.data / 2) * gain + lift)


class Side:
    """Two frames and what they should become."""

    objectives, pictures, megapixels = ("mse",), ("a", "b"), 0.002

    def __init__(self, truth=(0.7, 0.35)):
        self.isp = Gains()
        self.space = self.isp.space
        self._frames = [make_frame(Domain.DISPLAY_RGB, (24, 32), batch=1, seed=s) for s in (1, 2)]
        self.truth = np.asarray(truth)
        self.targets = self.render(self.truth)

    def inputs(self):
        return self._frames

    def render(self, point):
        return [self.isp(f, self.space.from_vector(torch.as_tensor(point))).data.float() for f in self._frames]

    def picture_loss(self, pictures):
        return torch.stack([(p - t).square().mean() for p, t in zip(pictures, self.targets, strict=True)]).mean()

    def measure(self, values, *, pictures=None, seed=0):
        raise NotImplementedError

    def outcome(self, point):
        made = self.render(point)
        return Outcome(point, float(self.picture_loss(made)), rendered=lambda: tuple(as_pixels(m) for m in made))


OPTIONS = {
    "channels": CHANNELS,
    "train.steps": 250,
    "train.batch": 8,
    "train.patch": 16,
    "train.learning_rate": 1e-2,
    "descend.starts": 2,
    "descend.iterations": 30,
}


@pytest.fixture(scope="module")
def searched():
    """A searcher that has used its budget on the smooth ISP."""
    side = Side()
    start = side.space.to_vector({}).double().numpy()
    searcher = ProxySearcher(SearchSetup(side.space, start, 24, problem=side, options=OPTIONS))
    for _ in range(24):
        searcher.tell(side.outcome(searcher.ask()))
    return side, searcher


def test_it_learns_then_finds_the_setting(searched):
    side, searcher = searched
    assert isinstance(side, PictureSide)
    assert searcher.first == 20
    assert searcher.fidelity.psnr_db > 24
    asked = [o.point for o in searcher.outcomes]
    assert len({p.tobytes() for p in asked}) == len(asked)
    assert searcher.outcomes[20].score < np.median([o.score for o in searcher.outcomes[:20]]) / 10
    np.testing.assert_allclose(searcher.best(), side.truth, atol=0.08)


def test_the_gradient_has_the_sign_of_the_real_isps(searched):
    side, searcher = searched
    loss = picture_objective(searcher.proxy, side)
    right = total = 0
    for point in latin_hypercube(12, 2, seed=5):
        units = torch.as_tensor(point, dtype=torch.float32).requires_grad_()
        (gradient,) = torch.autograd.grad(loss(units), units)
        for i in range(2):
            step = np.eye(2)[i] * 0.02
            rise = side.outcome(point + step).score - side.outcome(point - step).score
            if abs(rise) > 2e-4:
                right, total = right + (np.sign(rise) == np.sign(float(gradient[i]))), total + 1
    assert total > 12
    assert right / total > 0.9


def test_an_anchor_is_exact_where_it_stands(searched):
    side, searcher = searched
    point = np.array([0.2, 0.8])
    anchor = Anchor(point, [as_pixels(p) for p in side.render(point)])
    shown = picture_objective(searcher.proxy, side, anchor)(torch.as_tensor(point).float())
    real = side.picture_loss([as_tensor(p) for p in anchor.pictures])
    torch.testing.assert_close(shown.detach(), real, atol=1e-6, rtol=1e-4)


def test_a_searcher_told_the_same_goes_on_the_same():
    side = Side()
    setup = SearchSetup(side.space, np.array([0.5, 0.5]), 10, problem=side, options=OPTIONS)
    one = ProxySearcher(setup)
    for _ in range(3):
        one.tell(side.outcome(one.ask()))
    other = ProxySearcher(setup)
    for outcome in one.outcomes:
        other.tell(outcome)
    pending = [one.ask()]
    np.testing.assert_array_equal(pending[0], other.ask())
    assert not np.array_equal(one.ask(pending), pending[0])


def test_failed_trials_cost_only_themselves():
    side = Side()
    options = {**OPTIONS, "train.steps": 3, "descend.iterations": 2, "rounds": 2}
    searcher = ProxySearcher(SearchSetup(side.space, np.array([0.5, 0.5]), 10, problem=side, options=options))
    for i in range(16):
        point = searcher.ask()
        searcher.tell(Outcome(point, float("inf")) if i % 3 == 0 else side.outcome(point))
    assert searcher.proxy is not None
    assert searcher.descents >= 2
    assert np.isfinite(min(o.score for o in searcher.outcomes))


def test_options_and_problems_are_checked():
    assert configured({}) == PRESETS["tiny"]
    assert configured({"preset": "paper"}).train.patch == 512
    assert configured({"train.steps": 7}).train.steps == 7
    for wrong in ({"step": 1}, {"train.step": 1}, {"preset": "huge"}, {"share": 1.0}):
        with pytest.raises(ParamError):
            configured(wrong)
    with pytest.raises(ParamError, match="pictures"):
        ProxySearcher(SearchSetup(Gains.space, np.array([0.5, 0.5]), 10))


def test_gradcheck_of_stage_two():
    side = Side()
    proxy = new_proxy(side.isp, side.space, ProxyConfig(channels=CHANNELS, residual=False), seed=1).double().eval()
    proxy.train()  # without clipping, whose edges have no gradient
    side.targets = [t.double() for t in side.targets]
    frames = [f.crop(0, 0, 8, 8) for f in side.inputs()]
    side._frames, side.targets = frames, [t[..., :8, :8] for t in side.targets]
    units = torch.tensor([0.4, 0.6], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(picture_objective(proxy, side), (units,))


@pytest.mark.parametrize("discrete", ["project", "straight-through"])
def test_descent_ends_at_legal_values_and_leaves_the_weights(discrete):
    class Steps(Gains):
        space = ParamSpace(
            {
                "a.step": Param(default=0, low=0, high=4, step=1, differentiable=False),
                "a.kind": Choice(default="x", options=("x", "y", "z")),
            }
        )

    proxy = new_proxy(Steps(), Steps.space, ProxyConfig(channels=CHANNELS), seed=0)
    before = [p.clone() for p in proxy.parameters()]
    config = DescendConfig(starts=3, iterations=60, discrete=discrete)
    goal = torch.tensor([0.7, 0.2])
    found = descend(proxy, lambda u: (u - goal).square().sum(), config, seed=3)
    values = Steps.space.readable(Steps.space.from_vector(torch.as_tensor(found[0].point)))
    assert values == {"a.step": 3.0, "a.kind": "x"}
    assert [o.predicted for o in found] == sorted(o.predicted for o in found)
    assert all(np.array_equal(o.point, legal(Steps.space, o.point)) for o in found)
    assert all(torch.equal(a, b) and b.requires_grad for a, b in zip(before, proxy.parameters(), strict=True))


def test_straight_through_is_legal_and_passes_the_gradient():
    space = ParamSpace({"a.step": Param(default=0, low=0, high=4, step=1, differentiable=False)})
    units = torch.tensor([0.6], requires_grad=True)
    taken = straight_through(space, units)
    assert float(taken.detach()) == 0.5
    taken.sum().backward()
    assert float(units.grad) == 1.0


def test_a_latin_hypercube_fills_every_share_once():
    points = latin_hypercube(7, 3, seed=0)
    assert (np.sort((points * 7).astype(int), axis=0) == np.arange(7)[:, None]).all()


@pytest.mark.parametrize("cfa", ["RGGB", "GRBG", "GBRG", "BGGR"])
def test_windows_of_a_mosaic_lie_on_their_pictures(cfa):
    frame = make_frame(Domain.MOSAIC, (24, 28), batch=1, cfa=cfa)
    sent = frame.with_data(torch.rand(frame.data.shape, generator=torch.Generator().manual_seed(0)))
    shown = as_pixels(sent.data.expand(1, 3, -1, -1))  # every channel is the mosaic itself
    window = shown[4:22, 6:24]
    renders = RenderSet([sent], [Render(0, np.array([0.5]), window, (4, 6))])
    batch = renders.batch([0] * 6, renders.patch(12, 2), torch.Generator().manual_seed(1))
    assert batch.target.shape == (6, 3, 12, 12)
    mosaic = torch.nn.functional.pixel_shuffle(batch.pixels, 2)
    torch.testing.assert_close(mosaic, batch.target[:, :1], atol=0.5 / 255 + 1e-6, rtol=0)


def test_renders_are_resumed_and_not_mixed(tmp_path):
    side, plan = Side(), RenderPlan(count=5, patch=16)
    whole = render_samples(side.isp, side.inputs(), plan, folder=tmp_path)
    (tmp_path / "000003.npy").unlink()
    calls = side.isp.calls
    again = render_samples(side.isp, side.inputs(), plan, folder=tmp_path)
    assert side.isp.calls == calls + 1
    for a, b in zip(whole.renders, again.renders, strict=True):
        assert np.array_equal(a.picture, b.picture)
        real = side.isp(
            side.inputs()[a.frame].crop(*a.corner, 16, 16), side.space.from_vector(torch.as_tensor(a.point))
        )
        assert np.abs(as_pixels(real.data).astype(int) - a.picture).max() <= 1
    with pytest.raises(FileError, match="seed"):
        render_samples(side.isp, side.inputs(), RenderPlan(count=5, patch=16, seed=1), folder=tmp_path)


def test_a_box_that_always_fails_is_given_up(tmp_path):
    class Broken(Gains):
        def __call__(self, frame, values=None):
            raise BlackBoxError("no light")

    with pytest.raises(BlackBoxError, match="no light"):
        render_samples(Broken(), Side().inputs(), RenderPlan(count=9, patch=16), folder=tmp_path)


def test_an_interrupted_training_ends_the_same(tmp_path):
    side = Side()
    renders = RenderSet(
        side.inputs(),
        [Render(i, p, as_pixels(t)) for p in latin_hypercube(6, 2, seed=0) for i, t in enumerate(side.render(p))],
    )
    config = TrainConfig(steps=8, batch=4, patch=16, save_every=3)
    made = ProxyConfig(channels=CHANNELS)

    def train(stop=None):
        proxy = new_proxy(side.isp, side.space, made, seed=0)

        def progress(step, steps, loss):
            if step == stop:
                raise KeyboardInterrupt

        fidelity = train_proxy(proxy, renders, config, progress=progress, checkpoint=tmp_path / "c.pt")
        return proxy, fidelity.seconds

    whole, _ = train()
    (tmp_path / "c.pt").unlink()
    with pytest.raises(KeyboardInterrupt):
        train(stop=5)
    kept = torch.load(tmp_path / "c.pt")
    torch.save({**kept, "seconds": 1000.0}, tmp_path / "c.pt")
    resumed, seconds = train()
    assert seconds > 1000, "of all sittings"
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    with pytest.raises(FileError, match="another training"):
        train_proxy(whole, renders, TrainConfig(steps=9), checkpoint=tmp_path / "c.pt")


def test_too_little_to_learn_from_is_named():
    side = Side()
    with pytest.raises(ShapeError, match="too few"):
        RenderSet(side.inputs(), [Render(0, np.array([0.5, 0.5]), as_pixels(side.targets[0]))]).split(0.1, seed=0)
    with pytest.raises(ShapeError, match="nothing to learn"):
        RenderSet(side.inputs(), [])
