"""Several ISPs on the same RAW files with known pictures: a table with paired intervals, as plain data."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ispkit.core.errors import DomainError, ParamError, ShapeError, nearest
from ispkit.core.frame import Domain, Frame
from ispkit.data.scenes import Scene
from ispkit.isp.pipeline import ISP, Pipeline
from ispkit.isp.tiled import render_tiled
from ispkit.metrics import METRICS
from ispkit.metrics.intervals import mean_interval
from ispkit.ops.stretch import stretch_luminance

ALIASES = {"scielab": "scielab_distribution", "de00": "delta_e00"}
"""short names of metrics"""
DEFAULT = ("psnr", "ssim", "scielab", "de00")
LOG = "evaluate_log.jsonl"

Scores = dict[str, float]
Pictures = dict[str, Tensor]


class Viewer(Protocol):
    """Gets the pictures of each scene, e.g. to write them."""

    def missing(self, name: str) -> bool:
        """Whether this scene's pictures are still wanted though its scores are known."""

    def show(self, scene: Scene, pictures: Pictures) -> None:
        """The ISPs' pictures by label, (1, 3, H, W) in [0, 1]."""


@dataclass(frozen=True)
class Judging:
    """How pictures are judged. Raises `ParamError` for unknown metrics."""

    metrics: tuple[str, ...] = DEFAULT
    stretch: bool = False
    """whether pictures and targets are first stretched as in DeepISP's evaluation (`ops.stretch`)"""

    def __post_init__(self) -> None:
        for name in self.metrics:
            known = [*METRICS, *ALIASES]
            if name not in known:
                raise ParamError(f"no metric {name!r}; {nearest(name, known)}")
            metric = METRICS[self.full(name)]
            if metric.needs_model or not metric.full_reference:
                raise ParamError(f"metric {name!r} needs a model or no target; it is not for pairs of pictures")
        if not self.metrics:
            raise ParamError("metrics is empty; name at least one, such as psnr")

    @staticmethod
    def full(name: str) -> str:
        """The metric's own name."""
        return ALIASES.get(name, name)

    def scores(self, picture: Tensor, target: Tensor) -> Scores:
        """By metric, for (1, 3, H, W) in [0, 1]."""
        if self.stretch:
            picture, target = stretch_luminance(picture), stretch_luminance(target)
        return {n: float(METRICS[self.full(n)](picture, target, data_range=1.0)) for n in self.metrics}


@torch.no_grad()
def evaluate(
    isps: Mapping[str, ISP],
    scenes: Iterable[Scene],
    judging: Judging,
    *,
    log: Path | None = None,
    viewer: Viewer | None = None,
) -> dict[str, Any]:
    """Render every scene by every ISP and judge it by its target; JSON-able.

    The first ISP is the one that the others are compared with, picture by picture. `log` keeps what is done, so that a
    second call goes on after the last finished scene. Raises what ISPs raise, `ParamError` for a scene without target.
    """
    done = _read_log(log)
    names: list[str] = []
    rows: dict[str, list[Scores]] = {label: [] for label in isps}
    for scene in scenes:
        keys = {label: _key(isp, label, scene, judging) for label, isp in isps.items()}
        if not set(keys.values()) <= set(done) or (viewer is not None and viewer.missing(scene.name)):
            pictures = {label: picture_of(isp, scene) for label, isp in isps.items()}
            if viewer is not None:
                viewer.show(scene, pictures)
            for label, picture in pictures.items():
                done[keys[label]] = judging.scores(picture, _target(scene))
                _append(log, keys[label], label, scene, done[keys[label]])
        names.append(scene.name)
        for label, key in keys.items():
            rows[label].append(done[key])
    return summary(rows, names, judging)


def picture_of(isp: ISP, scene: Scene) -> Tensor:
    """What an ISP makes of a scene, (1, 3, H, W) in [0, 1]. Raises `DomainError`, `ShapeError`."""
    frame = rendered(isp, scene.frame)
    if frame.domain is not Domain.DISPLAY_RGB:
        raise DomainError(f"{scene.name}: this ISP gives a {frame.domain.value} frame; only finished pictures compare")
    got, want = frame.size, tuple(_target(scene).shape[-2:])
    if got != want:
        raise ShapeError(f"{scene.name}: the ISP made {got[0]}x{got[1]} pixels, the target has {want[0]}x{want[1]}")
    return frame.data.clamp(0.0, 1.0)


def rendered(isp: ISP, frame: Frame) -> Frame:
    """A frame through any ISP, a pipeline in tiles."""
    return render_tiled(isp, frame) if isinstance(isp, Pipeline) else isp(frame)


def summary(rows: Mapping[str, Sequence[Scores]], names: Sequence[str], judging: Judging) -> dict[str, Any]:
    """Means with their intervals, and the differences to the first ISP, paired by picture."""
    first = next(iter(rows))
    isps = {}
    for label, scores in rows.items():
        columns = {m: [s[m] for s in scores] for m in judging.metrics}
        gaps = {m: [b[m] - a[m] for a, b in zip(rows[first], scores, strict=True)] for m in judging.metrics}
        isps[label] = {
            "values": {m: [_plain(v) for v in column] for m, column in columns.items()},
            "mean": {m: _interval(column) for m, column in columns.items()},
            "difference": {} if label == first else {m: _interval(gap) for m, gap in gaps.items()},
        }
    return {
        "pictures": list(names),
        "stretch": judging.stretch,
        "metrics": {m: _facts(judging.full(m)) for m in judging.metrics},
        "baseline": first,
        "isps": isps,
    }


def mean_rows(result: Mapping[str, Any]) -> list[dict[str, str]]:
    """For people: one row an ISP, means with half their intervals; `result.json` has both ends."""
    return [
        {"ISP": label, **{_title(result, m): _text(isp["mean"][m]) for m in result["metrics"]}}
        for label, isp in result["isps"].items()
    ]


def difference_rows(result: Mapping[str, Any]) -> list[dict[str, str]]:
    """For people: one row for each ISP but the first; `*` where the interval of the difference leaves out 0."""
    return [
        {f"minus {result['baseline']}": label, **{m: _text(gap, signed=True) for m, gap in isp["difference"].items()}}
        for label, isp in result["isps"].items()
        if label != result["baseline"]
    ]


def _title(result: Mapping[str, Any], name: str) -> str:
    return f"{name} {'↑' if result['metrics'][name]['higher_is_better'] else '↓'}"


def _target(scene: Scene) -> Tensor:
    if scene.target is None:
        raise ParamError(f"scene {scene.name!r} has no target; give a picture of the same name")
    return scene.target


def _facts(name: str) -> dict[str, Any]:
    metric = METRICS[name]
    return {"name": name, "unit": metric.unit, "higher_is_better": metric.higher_is_better}


def _interval(values: Sequence[float]) -> dict[str, float] | None:
    """None where a value is infinite or undefined, as the PSNR of two equal pictures."""
    return asdict(mean_interval(values)) if all(map(math.isfinite, values)) else None


def _text(interval: Mapping[str, float] | None, *, signed: bool = False) -> str:
    if interval is None:
        return "∞"
    sign = "+" if signed else ""
    half = (interval["high"] - interval["low"]) / 2
    if half <= 0:  # of one picture nothing is known beyond it
        return f"{interval['value']:{sign}.4g}"
    digits = max(0, 1 - math.floor(math.log10(half)))
    text = f"{interval['value']:{sign}.{digits}f}±{half:.{digits}f}"
    return text + ("*" if signed and interval["low"] * interval["high"] > 0 else "")


def _plain(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else str(value)


def _key(isp: ISP, label: str, scene: Scene, judging: Judging) -> str:
    """Changes with the pixels, the judging, and the weights or knobs of the ISP as far as they can be seen."""
    digest = hashlib.sha256(json.dumps([label, scene.name, asdict(judging)], sort_keys=True).encode())
    for tensor in (scene.frame.data, _target(scene)):
        digest.update(tensor.contiguous().numpy().tobytes())
    if isinstance(isp, torch.nn.Module):
        for value in isp.state_dict().values():
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    digest.update(json.dumps(isp.space.readable(isp.space.defaults()), sort_keys=True, default=str).encode())
    return digest.hexdigest()[:20]


def _read_log(log: Path | None) -> dict[str, Scores]:
    """What an earlier call measured; a half-written last line is ignored."""
    done: dict[str, Scores] = {}
    if log is None or not log.is_file():
        return done
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
            done[entry["key"]] = {k: float(v) for k, v in entry["scores"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return done


def _append(log: Path | None, key: str, label: str, scene: Scene, scores: Scores) -> None:
    if log is None:
        return
    entry = {"key": key, "isp": label, "picture": scene.name, "scores": {k: _plain(v) for k, v in scores.items()}}
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
