"""A small black box for tests: 32 rounded registers, hard thresholds, 8-bit pictures, no gradients."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ispkit.core.param import Param
from ispkit.core.space import ParamSpace
from ispkit.tune.contracts import Outcome

BITS = {
    "black.offset": 6,
    "gain.red": 8, "gain.green": 8, "gain.blue": 8,
    "matrix.rg": 7, "matrix.rb": 7, "matrix.gr": 7, "matrix.gb": 7, "matrix.br": 7, "matrix.bg": 7,
    "noise.floor": 6, "noise.slope": 6,
    "fine.luma": 6, "fine.chroma": 6, "fine.blend": 5,
    "coarse.luma": 6, "coarse.chroma": 6, "coarse.blend": 5,
    "sharpen.fine": 6, "sharpen.coarse": 6, "sharpen.core": 5, "sharpen.over": 5, "sharpen.under": 5,
    "color.threshold": 5, "color.strength": 5, "color.saturation": 6, "color.dark": 5,
    "tone.exposure": 7, "tone.knee": 6, "tone.power": 7, "tone.shadow": 6, "tone.shadow_width": 5,
}  # fmt: skip
SIDE = 48


def register_space() -> ParamSpace:
    """Each knob an unsigned register of its width, at mid-scale by default."""
    return ParamSpace({
        name: Param(default=2 ** (bits - 1), low=0, high=2**bits - 1, step=1, differentiable=False)
        for name, bits in BITS.items()
    })  # fmt: skip


def _scenes(count: int, generator: torch.Generator) -> Tensor:
    """Dead leaves on a gradient, linear RGB in [0, 1]: (count, 3, SIDE, SIDE)."""
    axis = torch.arange(SIDE, dtype=torch.float32)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    scenes = []
    for _ in range(count):
        picture = torch.rand(3, 1, 1, generator=generator) * (0.1 + 0.5 * x / SIDE)
        for _ in range(40):
            cx, cy, r = (torch.rand(3, generator=generator) * torch.tensor([SIDE, SIDE, 9.0])).tolist()
            color = torch.rand(3, 1, 1, generator=generator) ** 2
            inside = (x - cx) ** 2 + (y - cy) ** 2 < (r + 1.5) ** 2
            stripes = 1 + 0.5 * torch.sign(torch.sin((x + y) * (0.4 + r / 9)))
            picture = torch.where(inside, color * (stripes if r > 5 else 1.0), picture)
        scenes.append(picture.clamp(0, 1))
    return torch.stack(scenes)


def _encode(linear: Tensor) -> Tensor:
    return linear.clamp(0, 1) ** (1 / 2.2)


class RegisterBox:
    """Noisy camera colors -> 8-bit pictures; scored by the mean squared code difference to clean targets.

    With `hidden` the targets are the box's own pictures at secret settings, so that zero can be reached.
    """

    def __init__(self, *, seed: int = 0, hidden: bool = False, noise: float = 0.0) -> None:
        generator = torch.Generator().manual_seed(seed)
        clean = _scenes(3, generator)
        mix = torch.tensor([[0.62, 0.30, 0.08], [0.22, 0.66, 0.12], [0.10, 0.34, 0.56]])
        camera = torch.einsum("ij,bjhw->bihw", mix, clean) * torch.tensor([0.55, 1.0, 0.65]).view(3, 1, 1)
        std = (2e-3 * camera + 2e-4).sqrt()
        self.camera = camera + std * torch.randn(camera.shape, generator=generator) + 0.02
        self.noise, self.space, self.calls = noise, register_space(), 0
        self.target = torch.round(_encode(clean) * 255)
        if hidden:
            u = 0.15 + 0.7 * torch.rand(self.space.dim, generator=generator)
            self.target = self.pictures(u).float()

    def pictures(self, u: Tensor, seed: int = 0) -> Tensor:
        """(32,) in [0, 1] -> (3, 3, SIDE, SIDE) uint8."""
        values = self.space.from_vector(u)
        v = {name: float(values[name]) / (2**bits - 1) for name, bits in BITS.items()}  # type: ignore[arg-type]
        x = self.camera
        if self.noise:
            x = x + self.noise * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
        x = x - 0.06 * v["black.offset"]
        x = x * torch.tensor([4 * v["gain.red"], 2.5 * v["gain.green"], 4 * v["gain.blue"]]).view(3, 1, 1)
        rg, rb, gr, gb, br, bg = (1.2 * (v[f"matrix.{k}"] - 0.75) for k in ("rg", "rb", "gr", "gb", "br", "bg"))
        matrix = torch.tensor([[1 - rg - rb, rg, rb], [gr, 1 - gr - gb, gb], [br, bg, 1 - br - bg]])
        x = torch.einsum("ij,bjhw->bihw", matrix, x)
        x = self._sharpen(self._denoise(x, v), v)
        return torch.round(self._tone(self._color(x, v), v) * 255).to(torch.uint8)

    @staticmethod
    def _denoise(x: Tensor, v: dict[str, float]) -> Tensor:
        """Two scales of a sigma filter: what differs more than a threshold keeps its value."""
        for scale, dilation in (("coarse", 3), ("fine", 1)):
            luma = x.mean(1, keepdim=True)
            sigma = 0.1 * v["noise.floor"] + 0.4 * v["noise.slope"] * luma.clamp(min=0).sqrt()
            for part, name in ((luma, "luma"), (x - luma, "chroma")):
                offsets = [(i * dilation, j * dilation) for i in (-1, 0, 1) for j in (-1, 0, 1)]
                around = torch.stack([torch.roll(part, o, (-2, -1)) for o in offsets])
                near = (around - part).abs() <= 2 * v[f"{scale}.{name}"] * sigma
                mean = (around * near).sum(0) / near.sum(0).clamp(min=1)
                if name == "luma":
                    smooth = mean
                else:
                    filtered = smooth + mean
            x = x + v[f"{scale}.blend"] * (filtered - x)
        return x

    @staticmethod
    def _sharpen(x: Tensor, v: dict[str, float]) -> Tensor:
        luma = x.mean(1, keepdim=True)
        fine = luma - torch.nn.functional.avg_pool2d(luma, 3, 1, 1)
        coarse = luma - torch.nn.functional.avg_pool2d(luma, 7, 1, 3)
        detail = 3 * v["sharpen.fine"] * fine + 2 * v["sharpen.coarse"] * coarse
        detail = torch.where(detail.abs() < 0.1 * v["sharpen.core"], 0.0, detail)
        return x + detail.clamp(-0.4 * v["sharpen.under"], 0.4 * v["sharpen.over"])

    @staticmethod
    def _color(x: Tensor, v: dict[str, float]) -> Tensor:
        luma = x.mean(1, keepdim=True)
        chroma = x - luma
        false = (chroma.abs().amax(1, keepdim=True) < 0.2 * v["color.threshold"]).float()
        keep = 1 - v["color.strength"] * false
        keep = keep * torch.where(luma < 0.3 * v["color.dark"], luma / max(0.3 * v["color.dark"], 1e-3), 1.0).clamp(
            0, 1
        )
        return luma + chroma * keep * 2 * v["color.saturation"]

    @staticmethod
    def _tone(x: Tensor, v: dict[str, float]) -> Tensor:
        x = (x * 2 * v["tone.exposure"]).clamp(min=0)
        knee = 0.5 + 0.5 * v["tone.knee"]
        x = torch.where(x > knee, knee + (x - knee) * 0.5, x).clamp(0, 1)
        x = (x + 1e-4) ** (0.25 + 0.6 * v["tone.power"])
        lift = 0.3 * (v["tone.shadow"] - 0.5)
        return (x + lift * torch.exp(-x / (0.05 + 0.3 * v["tone.shadow_width"])) * x.clamp(max=0.2)).clamp(0, 1)

    def measure(self, point: np.ndarray) -> Outcome:
        """Render and score one point of the unit cube; the residual is the whole difference picture."""
        self.calls += 1
        u = self.space.to_vector(self.space.from_vector(torch.as_tensor(point, dtype=torch.float32)))
        made = self.pictures(u, seed=self.calls)
        difference = (made.float() - self.target).flatten()
        score = float(difference.double().square().mean())
        residual = (difference / difference.numel() ** 0.5).numpy().astype(np.float32)
        return Outcome(u.double().numpy(), score, residual)
