"""Soft projections: closed forms against dense solves in float64, each against the others, and their gradients."""

from __future__ import annotations

import pytest
import torch

from ispkit.core.errors import ParamError, ShapeError
from ispkit.ops.cfa import cfa_masks
from ispkit.ops.prox import Blur, Weights, project, project_blurred, project_deblur

F64 = torch.float64


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


def kernels(count=3, side=5, seed=1):
    """Not symmetric, so that a flipped kernel is noticed."""
    drawn = torch.rand(count, side, side, generator=chance(seed), dtype=F64) ** 2
    return drawn / drawn.sum((-2, -1), keepdim=True)


def scene(size=(9, 11), batch=2, seed=0):
    g = chance(seed)
    v = torch.rand(batch, 3, *size, generator=g, dtype=F64)
    y = torch.rand(batch, 1, *size, generator=g, dtype=F64)
    return v, y, cfa_masks(size, "GRBG", v)[None]


def matrix_of(operator, shape):
    """The matrix of a linear map of pictures (C, H, W)."""
    unit = torch.eye(shape.numel(), dtype=F64).reshape(-1, *shape)
    return operator(unit).flatten(1).T


def dense(v, y, mask, blur, weights):
    shape = v.shape[1:]
    see = matrix_of(blur.see, shape)
    counted = blur.counted(mask.expand_as(v))[0].flatten()
    normal = weights.fidelity * see.T @ (counted[:, None] * see) + weights.pull * torch.eye(len(see), dtype=F64)
    right = weights.fidelity * (counted * y.expand_as(v).flatten(1)) @ see + weights.pull * v.flatten(1)
    return torch.linalg.solve(normal, right.T).T.reshape(v.shape)


def test_without_blur_it_is_exact_in_each_pixel():
    v, y, mask = scene()
    weights = Weights(torch.tensor([0.7, 3.0], dtype=F64), 1.5)
    got = project(v, y, mask, weights)
    for b, fidelity in enumerate((0.7, 3.0)):
        want = torch.where(mask[0] > 0, (fidelity * y[b] + 1.5 * v[b]) / (fidelity + 1.5), v[b])
        torch.testing.assert_close(got[b], want)
    point = Blur(torch.ones(1, 1, 1, dtype=F64))
    torch.testing.assert_close(project_blurred(v, y, mask, blur=point, weights=weights, steps=40), got)


@pytest.mark.parametrize("edge", ["open", "periodic"])
def test_the_adjoint_is_the_transpose(edge):
    blur, shape = Blur(kernels(), edge), torch.Size((3, 7, 8))
    torch.testing.assert_close(matrix_of(blur.adjoint, shape), matrix_of(blur.see, shape).T)
    assert float(torch.linalg.matrix_norm(matrix_of(blur.see, shape), 2)) <= 1 + 1e-12


@pytest.mark.parametrize("edge", ["open", "periodic"])
@pytest.mark.parametrize("method", ["cg", "chebyshev"])
def test_blur_and_mask_against_a_dense_solve(edge, method):
    v, y, mask = scene()
    blur, weights = Blur(kernels(), edge), Weights(2.5, 0.8)
    want = dense(v, y, mask, blur, weights)
    errors = [
        float((project_blurred(v, y, mask, blur=blur, weights=weights, steps=n, method=method) - want).abs().max())
        for n in (1, 6, 40)
    ]
    assert errors[0] > 10 * errors[1]
    assert errors[2] < 1e-11


def test_blur_alone_by_fourier_is_what_the_steps_approach():
    v, y, _ = scene((10, 13))
    full, weights = y + 0.2 * v, Weights(3.0, 0.5)
    blur = Blur(kernels(), "periodic")
    want = project_deblur(v, full, blur, weights)
    for method in ("cg", "chebyshev"):
        got = project_blurred(
            v, full, torch.ones(1, 3, 1, 1, dtype=F64), blur=blur, weights=weights, steps=60, method=method
        )
        torch.testing.assert_close(got, want, atol=1e-11, rtol=0)


def test_what_is_past_an_open_edge_is_not_made_up():
    """A constant picture is its own solution though nothing is known past its edge."""
    flat, mask = torch.full((1, 3, 12, 12), 0.4, dtype=F64), scene((12, 12))[2]
    got = project_blurred(flat, flat[:, :1], mask, blur=Blur(kernels()), weights=Weights(), steps=5)
    torch.testing.assert_close(got, flat)


def test_local_steps_give_a_window_with_its_margin_what_the_whole_gives():
    v, y, mask = scene((9, 60), batch=1)
    options = {"blur": Blur(kernels()), "weights": Weights(), "steps": 3, "method": "chebyshev"}
    whole, (low, high) = project_blurred(v, y, mask, **options), (20 - 12, 40 + 12)
    part = project_blurred(v[..., low:high], y[..., low:high], mask[..., low:high], **options)
    torch.testing.assert_close(part[..., 12:-12], whole[..., 20:40], atol=1e-14, rtol=0)


def test_gradients():
    v, y, mask = scene((4, 5), batch=1)
    fidelity, pull = (torch.tensor(n, dtype=F64, requires_grad=True) for n in (1.3, 0.7))
    kernel = kernels(1, 3).requires_grad_()
    v.requires_grad_(), y.requires_grad_()

    def plain(*args):
        return project(args[0], args[1], mask, Weights(*args[2:]))

    def blurred(method, *args):
        blur, weights = Blur(args[4]), Weights(*args[2:4])
        return project_blurred(args[0], args[1], mask, blur=blur, weights=weights, steps=3, method=method)

    def fourier(*args):
        return project_deblur(args[0], args[1], Blur(args[4], "periodic"), Weights(*args[2:4]))

    inputs = (v, y, fidelity, pull, kernel)
    assert torch.autograd.gradcheck(plain, inputs[:4])
    assert torch.autograd.gradcheck(lambda *a: blurred("cg", *a), inputs)
    assert torch.autograd.gradcheck(lambda *a: blurred("chebyshev", *a), inputs)
    assert torch.autograd.gradcheck(fourier, inputs)


def test_a_solved_picture_stays_solved():
    """Steps after the solution is reached divide zero by zero without harm."""
    v, _, mask = scene()
    blur = Blur(kernels())
    got = project_blurred(v, blur.see(v), mask, blur=blur, weights=Weights(), steps=4)
    assert torch.equal(got, v)


def test_wrong_input_is_named():
    v, y, mask = scene()
    with pytest.raises(ParamError, match="odd k"):
        Blur(torch.ones(3, 4, 4))
    with pytest.raises(ParamError, match="did you mean 'open'"):
        Blur(torch.ones(1, 3, 3), "opn")
    with pytest.raises(ParamError, match="steps=0"):
        project_blurred(v, y, mask, blur=Blur(kernels()), weights=Weights(), steps=0)
    with pytest.raises(ShapeError, match="2 blur kernels do not fit 3"):
        Blur(kernels(2)).see(v)
    with pytest.raises(ShapeError, match="too small"):
        project_blurred(v, y, mask, blur=Blur(kernels(1, 11)), weights=Weights())
    with pytest.raises(ParamError, match="periodic"):
        project_deblur(v, v, Blur(kernels()), Weights())
