"""Stage 1: the network learns to make the black box's pictures."""

from __future__ import annotations

import io
import logging
import math
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ispkit.core.errors import FileError
from ispkit.io.atomic import write_bytes
from ispkit.isp.proxy import ProxyISP
from ispkit.tune.proxy.config import TrainConfig
from ispkit.tune.proxy.render_set import Batch, RenderSet

Progress = Callable[[int, int, float], None]
"""(steps done, steps in all, loss)"""
_WARM_UP = 30  # steps until Adam knows how large gradients are
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fidelity:
    """How well a trained proxy imitates settings that it has not seen."""

    psnr_db: float
    """held-out settings, over all their patches"""
    train_psnr_db: float
    renders: int
    """learned from"""
    steps: int
    seconds: float
    """of all sittings"""
    low: bool
    """whether the optimum it shows should be doubted"""


def train_proxy(
    proxy: ProxyISP,
    renders: RenderSet,
    config: TrainConfig,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> Fidelity:
    """Adam on the mean squared error, on the device where the proxy is; leaves it in evaluation mode.

    With `checkpoint` an interrupted training goes on where it was saved last and ends the same.
    Logs a warning where the held-out PSNR is below `config.warn_below_db`. Raises `FileError` for a
    checkpoint of another training, `ShapeError` for too few settings or too small pictures.
    """
    learn, judge = renders.split(config.held_out, seed=seed)
    side = renders.patch(config.patch, proxy.net.multiple)
    optimizer = torch.optim.Adam(proxy.net.parameters(), lr=config.learning_rate)
    first, before = _resume(checkpoint, proxy, optimizer, config, seed)
    begun = time.perf_counter() - before
    proxy.train()
    for step in range(first, config.steps):
        for group in optimizer.param_groups:
            rising = min(1.0, (step + 1) / min(_WARM_UP, config.steps))
            group["lr"] = config.learning_rate * rising * falling(config.schedule, step / config.steps)
        loss = _step(proxy, optimizer, config.clip, _drawn(learn, config.batch, side, seed=(seed, step)))
        if checkpoint is not None and ((step + 1) % config.save_every == 0 or step + 1 == config.steps):
            _save(checkpoint, proxy, optimizer, _State(config, seed, step + 1, time.perf_counter() - begun))
        if progress is not None:
            progress(step + 1, config.steps, loss)
    proxy.eval()
    held, known = (psnr_of(proxy, part, side, seed=seed) for part in (judge, learn))
    if held < config.warn_below_db:
        _LOG.warning("the proxy reaches %.1f dB on settings it has not seen; its optimum may be wrong", held)
    spent = time.perf_counter() - begun
    return Fidelity(held, known, len(learn.renders), config.steps, spent, held < config.warn_below_db)


def psnr_of(proxy: ProxyISP, renders: RenderSet, side: int, *, seed: int = 0, most: int = 256) -> float:
    """PSNR in dB of the proxy's patches against the real ones, from one mean over at most `most` patches."""
    weights, errors = next(proxy.net.parameters()), []
    rows = np.random.default_rng(seed).permutation(len(renders.renders))[:most]
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in np.array_split(rows, math.ceil(len(rows) / 16)):
            batch = renders.batch(part.tolist(), side, generator)
            picture = proxy.net(batch.pixels.to(weights), batch.units.to(weights)).clamp(0, 1)
            errors.append((picture - batch.target.to(weights)).square().mean((1, 2, 3)))
    return -10 * math.log10(max(float(torch.cat(errors).mean()), 1e-12))


def falling(schedule: str, done: float) -> float:
    """The factor on the learning rate after a share `done` of all steps."""
    if schedule == "cosine":
        return 0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2
    if schedule == "step":
        return 1.0 if done < 0.6 else 0.1 if done < 0.85 else 0.01
    return 1.0


def _drawn(renders: RenderSet, size: int, side: int, *, seed: tuple[int, int]) -> Batch:
    rng = np.random.default_rng(seed)
    rows = rng.integers(len(renders.renders), size=size).tolist()
    return renders.batch(rows, side, torch.Generator().manual_seed(int(rng.integers(2**62))))


def _step(proxy: ProxyISP, optimizer: torch.optim.Optimizer, clip: float, batch: Batch) -> float:
    weights = next(proxy.net.parameters())
    picture = proxy.net(batch.pixels.to(weights), batch.units.to(weights))
    loss = F.mse_loss(picture, batch.target.to(weights))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(proxy.parameters(), clip)
    optimizer.step()
    return float(loss.detach())


@dataclass(frozen=True)
class _State:
    """Where a training stands."""

    config: TrainConfig
    seed: int
    step: int
    seconds: float


def _save(path: Path, proxy: ProxyISP, optimizer: torch.optim.Optimizer, state: _State) -> None:
    content = {"weights": proxy.net.state_dict(), "optimizer": optimizer.state_dict()}
    buffer = io.BytesIO()
    facts = {"of": repr((state.config, state.seed)), "step": state.step, "seconds": state.seconds}
    torch.save(content | facts, buffer)
    write_bytes(path, buffer.getbuffer())


def _resume(
    path: Path | None, proxy: ProxyISP, optimizer: torch.optim.Optimizer, config: TrainConfig, seed: int
) -> tuple[int, float]:
    """The step to go on from, and the seconds that it took to get there."""
    if path is None or not path.exists():
        return 0, 0.0
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["of"] != repr((config, seed)):
            raise FileError(f"{path} belongs to another training; choose another file or remove it")
        proxy.net.load_state_dict(content["weights"])
        optimizer.load_state_dict(content["optimizer"])
        return int(content["step"]), float(content["seconds"])
    except (OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise FileError(f"{path} is no checkpoint of this proxy; remove it to begin anew") from error
