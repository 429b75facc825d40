"""Experiment (c): hidden settings of a local Laplacian tone mapper, recovered through the proxy.

Tseng et al. 2019, section 5.2.1: 44.31 dB between 19 pictures under the hidden and under the recovered setting.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ispkit.bench.experiment import Claim, Experiment, Table, write_experiment
from ispkit.core.errors import FileError, ParamError, nearest
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta
from ispkit.data.project_pictures import project_pictures
from ispkit.io.pictures import FORMATS, read_picture
from ispkit.isp.catalog import open_isp
from ispkit.isp.pipeline import ISP
from ispkit.isp.proxy import ProxyISP
from ispkit.metrics.fidelity import psnr
from ispkit.tune.contracts import Point
from ispkit.tune.proxy.config import PRESETS, DescendConfig, ProxyConfig, TrainConfig
from ispkit.tune.proxy.descend import Anchor, descend, picture_objective
from ispkit.tune.proxy.render_set import RenderPlan, as_pixels, as_tensor, render_samples
from ispkit.tune.proxy.search import new_proxy
from ispkit.tune.proxy.train import Fidelity, train_proxy

PICTURES = 19
PAPER_DB = 44.31
_RADIUS = 0.3  # of the first anchored descent; halved after one that made it worse
Say = Callable[[str], None]

_WAYS = (
    "plain: the paper's method, one training and one descent through the frozen proxy. anchored k: k further "
    "descents, each near the best setting so far, with the proxy's error there, known from the real pictures, "
    "taken off; rows show the best setting so far."
)


@dataclass(frozen=True, kw_only=True)
class TonemapBench:
    """How large the experiment is."""

    side: int
    """px of the window that is taken from the middle of each picture, after `shrink`"""
    shrink: int
    """the pictures are made smaller by this first, so that a window shows a scene and not a leaf"""
    renders: int
    """of one window each, to learn from"""
    hidden: int
    """how many hidden settings are recovered"""
    anchored: int
    """further descents a hidden setting, each anchored at the real pictures of the last one; 19 renders each"""
    proxy: ProxyConfig


SIZES: dict[str, TonemapBench] = {
    "small": TonemapBench(
        side=64,
        shrink=2,
        renders=1000,
        hidden=3,
        anchored=3,
        proxy=ProxyConfig(
            train=TrainConfig(steps=4000, batch=16, patch=64, learning_rate=5e-3, held_out=0.05),
            descend=DescendConfig(starts=8, iterations=40, learning_rate=0.1),
        ),
    ),
    "paper": TonemapBench(side=512, shrink=1, renders=10_000, hidden=3, anchored=6, proxy=PRESETS["paper"]),
}
"""small: minutes on two CPU cores; paper: the paper's net, patches and number of renders, for a GPU"""


@dataclass(frozen=True)
class Attempt:
    """One recovered setting beside the hidden one."""

    hidden: int
    way: str
    real_db: float
    """between the real operator's pictures under both settings, from one mean over all of them"""
    mean_db: float
    """mean of the PSNR of each picture"""
    errors: dict[str, float]
    """knob -> recovered minus hidden, as a share of its range"""
    point: Point


class _Recovery:
    """A `PictureSide`: the pictures under a hidden setting are all that is known of it."""

    def __init__(self, isp: ISP, frames: list[Frame], targets: Sequence[Tensor]) -> None:
        self.isp, self._frames, self.targets = isp, frames, list(targets)

    def inputs(self) -> list[Frame]:
        return self._frames

    def picture_loss(self, pictures: list[Tensor]) -> Tensor:
        return F.mse_loss(torch.cat(list(pictures)), torch.cat(self.targets))


def run_tonemap(
    out: str | Path,
    *,
    seed: int = 0,
    preset: str = "small",
    pictures: Sequence[str | Path] | None = None,
    command: str = "",
    say: Say = print,
) -> Experiment:
    """Run experiment (c), write tonemap.json and tonemap.md into `out`.

    Renders and the training lie in `out`/tonemap-renders; an interrupted run goes on with them. `pictures` are
    folders; the first 19 pictures by name count. Without them the project's own pictures are used.
    Raises `ParamError`, `FileError`.
    """
    if preset not in SIZES:
        raise ParamError(f"no preset {preset!r}; {nearest(preset, SIZES)}")
    began, size, isp = time.perf_counter(), SIZES[preset], open_isp("local-laplacian")
    frames = [_frame(p) for p in _windows(pictures, size, seed)]
    room = Path(out) / "tonemap-renders" / f"{preset}-{seed}"
    proxy, fidelity = _trained(isp, frames, (size, seed), room, say)
    attempts: list[Attempt] = []
    for i, hidden in enumerate(np.random.default_rng((seed, 19)).uniform(0.1, 0.9, (size.hidden, isp.space.dim))):
        attempts += _recovered(proxy, isp, frames, (i, hidden), (size, seed))
        say(f"setting {i + 1}: " + ", ".join(f"{a.way} {a.real_db:.1f} dB" for a in attempts if a.hidden == i))
    source = ", ".join(Path(p).name for p in pictures) if pictures else "the project's own pictures"
    named = "".join(f" --pictures {Path(p).name}" for p in pictures or ())
    words = (command or f"ispkit bench tonemap --preset {preset} --seed {seed}{named}", source, seed)
    experiment = _experiment(words, size, fidelity, attempts, max(fidelity.seconds, time.perf_counter() - began))
    write_experiment(out, experiment)
    return experiment


def _trained(
    isp: ISP, frames: list[Frame], how: tuple[TonemapBench, int], room: Path, say: Say
) -> tuple[ProxyISP, Fidelity]:
    """Stage 1: render, learn, judge on held-out settings."""
    (size, seed), began = how, time.perf_counter()
    renders = render_samples(isp, frames, RenderPlan(count=size.renders, patch=size.side, seed=seed), folder=room)
    say(f"{len(renders.renders)} renders, {time.perf_counter() - began:.0f} s")
    proxy, saved = new_proxy(isp, isp.space, size.proxy, seed=seed), room / "training.pt"
    fidelity = train_proxy(proxy, renders, size.proxy.train, seed=seed, progress=_told(say), checkpoint=saved)
    say(f"proxy: {fidelity.psnr_db:.1f} dB on held-out settings, {fidelity.seconds:.0f} s")
    return proxy, fidelity


def _recovered(
    proxy: ProxyISP, isp: ISP, frames: list[Frame], hidden: tuple[int, Point], how: tuple[TonemapBench, int]
) -> list[Attempt]:
    """The plain proxy's answer, then each anchored one."""
    (i, truth), (size, seed) = hidden, how
    targets = _rendered(isp, frames, truth)
    side, config = _Recovery(isp, frames, targets), size.proxy.descend
    point = descend(proxy, picture_objective(proxy, side), config, seed=seed)[0].point
    attempts, radius = [], _RADIUS
    best: tuple[float, Point, list[Tensor]] | None = None
    for k in range(size.anchored + 1):
        real = _rendered(isp, frames, point)
        error = float(side.picture_loss(real))
        if best is None or error < best[0]:
            best = (error, point, real)
        else:
            radius /= 2
        shown = (best[2], targets)
        attempts.append(_judged(isp, (i, truth), f"anchored {k}" if k else "plain", best[1], shown))
        loss = picture_objective(proxy, side, Anchor(best[1], [as_pixels(r) for r in best[2]]))
        near = replace(config, starts=0, radius=radius, learning_rate=min(config.learning_rate, radius) / 2)
        point = descend(proxy, loss, near, seed=seed, starts=[best[1]])[0].point
    return attempts


def _judged(
    isp: ISP, hidden: tuple[int, Point], way: str, point: Point, pair: tuple[list[Tensor], list[Tensor]]
) -> Attempt:
    each = psnr(torch.cat(pair[0]), torch.cat(pair[1]), data_range=1.0).clamp(max=100.0)
    overall = -10 * math.log10(max(float((10 ** (-each.double() / 10)).mean()), 1e-10))
    errors = {n: float(p - t) for n, p, t in zip(isp.space, point, hidden[1], strict=True)}
    return Attempt(hidden[0], way, overall, float(each.mean()), errors, point)


def _rendered(isp: ISP, frames: Sequence[Frame], point: Point) -> list[Tensor]:
    """8-bit pictures, as a black box hands them out."""
    values = isp.space.from_vector(torch.as_tensor(point))
    return [as_tensor(as_pixels(isp(frame, values).data)) for frame in frames]


def _experiment(
    words: tuple[str, str, int], size: TonemapBench, fidelity: Fidelity, attempts: list[Attempt], seconds: float
) -> Experiment:
    command, source, seed = words
    return Experiment(
        name="tonemap",
        title="Hidden settings of a tone mapper, recovered through the proxy",
        question="How near does the gradient of a network that imitates a local Laplacian tone mapper come to the "
        "alpha, beta and sigma under which 19 pictures were made?",
        command=command,
        data=f"{PICTURES} pictures ({source}), {size.side} px windows, shrunk {size.shrink} times; hidden settings "
        f"uniform in the central 80 % of the unit cube",
        seed=seed,
        budget=f"{size.renders} windows to learn from, and {PICTURES} a setting tried",
        seconds=seconds,
        tables=_tables(fidelity, attempts),
        claims=_claims(attempts),
        notes=[_WAYS],
        details={
            "attempts": [{**asdict(a), "point": a.point.tolist()} for a in attempts],
            "fidelity": asdict(fidelity),
        },
    )


def _claims(attempts: Sequence[Attempt]) -> list[Claim]:
    claims = []
    for way in dict.fromkeys((attempts[0].way, attempts[-1].way)):
        found = [a.real_db for a in attempts if a.way == way]
        mean, worst = sum(found) / len(found), min(found)
        claims.append(Claim(f"{way}: above {PAPER_DB} dB in the mean", f"{mean:.2f} dB", mean > PAPER_DB))
        text = f"{way}: above {PAPER_DB} dB for every setting"
        claims.append(Claim(text, f"{worst:.2f} dB at worst", worst > PAPER_DB))
    return claims


def _tables(fidelity: Fidelity, attempts: Sequence[Attempt]) -> list[Table]:
    known = {
        "held-out settings, dB": f"{fidelity.psnr_db:.2f}",
        "learned from, dB": f"{fidelity.train_psnr_db:.2f}",
        "renders": fidelity.renders,
        "steps": fidelity.steps,
        "seconds": f"{fidelity.seconds:.0f}",
    }
    note = (
        "Errors are shares of a knob's range; dB between 8-bit pictures of the real operator under the hidden and "
        "the recovered setting."
    )
    return [Table("Recovered settings", [_row(a) for a in attempts], note), Table("The proxy", [known])]


def _row(attempt: Attempt) -> dict[str, Any]:
    errors = {f"{name.split('.')[-1]} error": f"{e:+.3f}" for name, e in attempt.errors.items()}
    return {
        "setting": attempt.hidden + 1,
        "way": attempt.way,
        "real, dB": f"{attempt.real_db:.2f}",
        "mean of pictures, dB": f"{attempt.mean_db:.2f}",
        **errors,
    }


def _windows(folders: Sequence[str | Path] | None, size: TonemapBench, seed: int) -> list[Tensor]:
    """19 windows (1, 3, side, side)."""
    whole = size.side * size.shrink
    if folders is None:
        made = project_pictures(PICTURES, (whole, whole), seed=seed)
        return [F.avg_pool2d(p, size.shrink) for p in made.values()]
    paths = [p for f in folders for p in sorted(Path(f).iterdir()) if p.suffix.lower() in FORMATS]
    if len(paths) < PICTURES:
        raise FileError(f"{', '.join(map(str, folders))}: {len(paths)} pictures; this experiment takes {PICTURES}")
    return [_window(p, size) for p in paths[:PICTURES]]


def _window(path: Path, size: TonemapBench) -> Tensor:
    pixels = torch.from_numpy(read_picture(path).pixels).permute(2, 0, 1)[None]
    height, width = pixels.shape[-2:]
    whole = min(size.side * size.shrink, height, width) // size.shrink * size.shrink
    y, x = (height - whole) // 2, (width - whole) // 2
    return F.avg_pool2d(pixels[..., y : y + whole, x : x + whole], size.shrink)


def _frame(picture: Tensor) -> Frame:
    return Frame(picture.contiguous(), Domain.DISPLAY_RGB, CameraMeta.make("RGGB", picture.shape))


def _told(say: Say) -> Callable[[int, int, float], None]:
    def progress(step: int, steps: int, loss: float) -> None:
        if step % max(1, steps // 10) == 0:
            say(f"step {step}/{steps}: {-10 * math.log10(max(loss, 1e-12)):.1f} dB")

    return progress
