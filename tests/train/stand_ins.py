"""A learned ISP and data so small that a training takes a second."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta
from ispkit.data.samples import Sample
from ispkit.isp.learned.adapters import PackedAdapter, PictureAdapter
from ispkit.isp.learned.catalog import build
from ispkit.isp.learned.learned_isp import LearnedISP
from ispkit.isp.learned.part import Part
from ispkit.nets.picture_net import PictureNet
from ispkit.train.journal import Hooks
from ispkit.train.learner import Learner
from ispkit.train.loop import Sets, Sitting, Training
from ispkit.train.ranks import Ranks
from ispkit.train.recipe import to_recipe
from ispkit.train.run_folder import TrainFolder


class Small(PictureNet):
    """Two convolutions, one of them followed by dropout: chance belongs to what must resume."""

    halo = 2

    def __init__(self, inputs: int, scale: int = 1, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.inputs, self.scale = inputs, scale
        self.one = nn.Conv2d(inputs, 8, 3, padding=1, padding_mode="reflect")
        self.two = nn.Conv2d(8, 3 * scale**2, 3, padding=1, padding_mode="reflect")
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, pooled: Tensor | None = None) -> Tensor:
        return nn.functional.pixel_shuffle(self.two(self.drop(torch.relu(self.one(x)))), self.scale)


def two_parts(*, dropout: float = 0.1) -> LearnedISP:
    """restore and enhance, as CameraNet has them."""
    restore = Part(Small(4, 2, dropout=dropout), PackedAdapter(writes=Domain.LINEAR_RGB))
    return LearnedISP({"restore": restore, "enhance": Part(Small(3, dropout=dropout), PictureAdapter(curve="srgb"))})


class Pictures:
    """Smooth random pictures under a mosaic; item i of epoch n depends on (seed, n, i)."""

    def __init__(self, count: int = 5, size: int = 16, *, seed: int = 0, restored: bool = True, bad_from: int = 10**9):
        self.count, self.size, self.seed, self.restored, self.bad_from = count, size, seed, restored, bad_from
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        chance = torch.Generator().manual_seed(self.seed * 10_000 + self.epoch * 100 + index)
        coarse = torch.rand(1, 3, 4, 4, generator=chance)
        linear = nn.functional.interpolate(coarse, size=(self.size, self.size), mode="bilinear") * 0.8 + 0.1
        if self.epoch >= self.bad_from:
            linear = linear * torch.nan
        mosaic = linear[:, 1:2].clone()
        mosaic[..., ::2, ::2], mosaic[..., 1::2, 1::2] = linear[:, 0:1, ::2, ::2], linear[:, 2:3, 1::2, 1::2]
        frame = Frame(mosaic, Domain.MOSAIC, CameraMeta.make("RGGB", (self.size, self.size)))
        return Sample((f"p{index}",), frame, linear ** (1 / 2.2), linear if self.restored else None)


def recipe_data(**changes) -> dict:
    """The plain data of a recipe with all three phases of CameraNet, the names unknown to any catalog."""
    common = {"steps": 6, "batch": 2, "optimizer": {"learning_rate": 1e-2}, "evaluate_every": 4}
    return {
        "version": 1,
        "isp": "cameranet",
        "data": {"source": "pairs"},
        "seed": 3,
        "save_every": 4,
        "log_every": 1,
        "phases": [
            {"name": "restore", "parts": ["restore"], "loss": ["restoration"], **common},
            {"name": "enhance", "parts": ["enhance"], "loss": [{"name": "l1", "reads": "restored"}], **common},
            {
                "name": "joint",
                "parts": ["restore", "enhance"],
                "loss": [{"name": "restoration", "part": "restore", "weight": 0.1}, {"name": "l1", "weight": 0.9}],
                "ema": 0.9,
                **common,
            },
        ],
        **changes,
    }


def started(folder, recipe, *, sets=None, hooks=None, dropout=0.1, ranks=None):
    """A training of the stand-in in a folder, ready to run."""
    torch.manual_seed(recipe.seed)
    room = TrainFolder(folder)
    room.path.mkdir(parents=True, exist_ok=True)
    room.claim(recipe, "cpu")
    sets = sets or Sets(Pictures(), Pictures(2, seed=9))
    sitting = Sitting(room, ranks or Ranks(), hooks or Hooks())
    return Training(two_parts(dropout=dropout), recipe, sets=sets, sitting=sitting)


def equal(a: LearnedISP, b: LearnedISP) -> bool:
    """Bit for bit."""
    first, second = a.state_dict(), b.state_dict()
    return all(torch.equal(first[name], second[name]) for name in first)


def one_batch_losses(name: str, part: str, loss: str, *, steps: int = 12, size: int = 64) -> list[float]:
    """The loss of a paper-size net over steps on one and the same batch."""
    torch.manual_seed(0)
    phase = {"name": part, "parts": part, "loss": loss, "steps": steps, "optimizer": {"learning_rate": 3e-4}}
    recipe = to_recipe({"version": 1, "isp": name, "data": "pairs", "phases": [phase]})
    learner = Learner(build(name, preset="paper"), recipe.phases[0], ranks=Ranks())
    sample = Pictures(1, size)[0]
    return [float(learner.step([sample], rate=1.0, at=i).sum()) for i in range(steps)]
