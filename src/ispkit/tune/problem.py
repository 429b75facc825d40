"""What is tuned on pictures: an ISP, the scenes it renders, and how the pictures are judged."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ispkit.core.errors import BlackBoxError, DomainError, ParamError, ShapeError
from ispkit.core.frame import Domain, Frame
from ispkit.core.param import Values
from ispkit.core.space import ParamSpace
from ispkit.data.scenes import Scene
from ispkit.isp.anchored import AnchoredISP, conditions_of
from ispkit.isp.external.command import SpecISP
from ispkit.isp.external.files import frame_digest
from ispkit.isp.pipeline import ISP, Pipeline
from ispkit.kpi.registration import register
from ispkit.ops.luma import luminance
from ispkit.tune.contracts import Measurement, Residual
from ispkit.tune.distributions import same_knobs
from ispkit.tune.objectives.base import Objective, check_names, check_scenes, target_of
from ispkit.tune.objectives.constraints import Constraint
from ispkit.tune.sketch import LIMIT, count_sketch

Codes = NDArray[np.uint8]
_BATCH_PIXELS = 1 << 20


@dataclass(frozen=True)
class Settings:
    """How pictures are rendered and judged."""

    constraints: tuple[Constraint, ...] = ()
    register: bool = False
    """shift every picture by the whole pixels that lay it best on its target before it is judged and kept"""
    batch_pixels: int = _BATCH_PIXELS
    """so many pixels go to the ISP at once where it takes batches; 0: one picture at a time"""
    residual_size: int = LIMIT
    """numbers of the residual of all pictures; longer ones are sketched"""
    sketch_seed: int = 0
    """fixed within a study"""
    smoothness: float = 0.0
    """of an `AnchoredISP`: how much the squared bends of its settings count beside the first objective"""


class PictureProblem:
    """An ISP on scenes, judged by objectives; a `contracts.Problem`.

    `space` are the knobs to turn, `isp.space` unless given (a selection, other defaults); the others keep the
    defaults of `isp.space`. Pictures are rounded to 8-bit codes before they are judged: what is scored is what is
    kept. The score of a set is the mean over its pictures. Raises `ParamError` for scenes that lack what an
    objective needs, `DomainError` for an ISP that does not write encoded pictures.
    """

    def __init__(
        self,
        isp: ISP,
        scenes: Sequence[Scene],
        objectives: Objective | Sequence[Objective],
        *,
        space: ParamSpace | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.isp = isp
        self.scenes = tuple(scenes)
        self.judges: tuple[Objective, ...] = tuple(objectives) if isinstance(objectives, Sequence) else (objectives,)
        self.space = isp.space if space is None else space
        self.settings = settings or Settings()
        self._check()

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the scores, the first one is what single-objective methods minimize."""
        return tuple(o.name for o in self.judges)

    @property
    def pictures(self) -> tuple[str, ...]:
        """Names of the scenes."""
        return tuple(s.name for s in self.scenes)

    @property
    def megapixels(self) -> float:
        """Of all scenes once."""
        return _megapixels(self.scenes)

    def inputs(self) -> list[Frame]:
        """What the ISP reads, one frame of one picture a scene."""
        return [s.frame for s in self.scenes]

    @cached_property
    def identity(self) -> Mapping[str, str]:
        """Digests of what the names of knobs and pictures do not tell: "program" (the ISP) and "pictures".

        The pictures' one covers frames, targets, labels and conditions, and names the arithmetic it was made with.
        """
        return {"program": _isp_digest(self.isp), "pictures": _scenes_digest(self.scenes)}

    def measure(self, values: Values, *, pictures: Sequence[int] | None = None, seed: int = 0) -> Measurement:
        """Render (some of) the scenes and judge them; `values` may leave knobs out.

        `seed` changes nothing: scenes keep their noise. Raises `BlackBoxError` if the ISP or an objective fails on
        a picture, `ParamError` for values outside the space.
        """
        self.space.check(values)
        chosen = tuple(range(len(self.scenes))) if pictures is None else tuple(pictures)
        if not chosen or not all(0 <= i < len(self.scenes) for i in chosen):
            raise ParamError(f"pictures={list(chosen)} must name some of 0 to {len(self.scenes) - 1}")
        start = time.perf_counter()
        rendered = self.render(values, chosen)
        scored = self._smoothed(self.judge(rendered, chosen), values)
        cost = _megapixels([self.scenes[i] for i in chosen])
        return Measurement(
            **scored,
            pictures=chosen,
            rendered=rendered,
            renders=len(chosen),
            megapixels=cost,
            seconds=time.perf_counter() - start,
        )

    def render(self, values: Values, pictures: Sequence[int]) -> tuple[Codes, ...]:
        """The pictures (H, W, 3) of some scenes, in their order. Raises `BlackBoxError`."""
        codes: dict[int, Codes] = {}
        for group in self._groups(pictures):
            names = ", ".join(self.scenes[i].name for i in group)
            with _Blamed(names):
                codes |= zip(group, self._rendered(values, group), strict=True)
        return tuple(codes[i] for i in pictures)

    def judge(self, rendered: Sequence[Codes], pictures: Sequence[int]) -> dict[str, Any]:
        """Scores, scores per picture, residual and constraints of rendered pictures, as `Measurement` names them."""
        per_picture: dict[str, list[float]] = {o.name: [] for o in self.judges}
        amounts: dict[str, list[float]] = {c.name: [] for c in self.settings.constraints}
        parts: list[Residual | None] = []
        for i, codes in zip(pictures, rendered, strict=True):
            scene, picture = self.scenes[i], as_picture(codes)
            with _Blamed(scene.name):
                for judge in self.judges:
                    per_picture[judge.name].append(_finite(judge.score(picture, scene), judge.name))
                for constraint in self.settings.constraints:
                    amounts[constraint.name].append(constraint.amount(picture, scene))
                parts.append(self._residual(picture, i))
        return {
            "scores": {name: math.fsum(v) / len(v) for name, v in per_picture.items()},
            "per_picture": {name: tuple(v) for name, v in per_picture.items()},
            "constraints": {name: math.fsum(v) / len(v) for name, v in amounts.items()},
            "residual": _joined(parts),
        }

    def picture_loss(self, pictures: Tensor | Sequence[Tensor]) -> Tensor:
        """The first objective on given pictures, one a scene, as a scalar with a gradient.

        `pictures` is (n, 3, H, W) or n of (1, 3, H, W), encoded sRGB in [0, 1]. Raises `ParamError` if the objective
        has no gradient, `ShapeError` for another number of pictures.
        """
        each = list(torch.split(pictures, 1)) if isinstance(pictures, Tensor) else list(pictures)
        if len(each) != len(self.scenes):
            raise ShapeError(f"picture_loss takes one picture a scene, {len(self.scenes)}, got {len(each)}")
        losses = [self.judges[0].loss(p, s) for p, s in zip(each, self.scenes, strict=True)]
        known = [value for value in losses if value is not None]
        if len(known) < len(losses):
            raise ParamError(f"objective {self.judges[0].name!r} has no gradient; take a method that needs none")
        return torch.stack(known).mean()

    def _smoothed(self, scored: dict[str, Any], values: Values) -> dict[str, Any]:
        """With the roughness of anchored settings added to the first objective."""
        if not (self.settings.smoothness and isinstance(self.isp, AnchoredISP)):
            return scored
        bends = math.sqrt(self.settings.smoothness) * self.isp.roughness({**self.space.defaults(), **values})
        first, extra = self.judges[0].name, float(np.square(bends, dtype=np.float64).sum())
        scored["scores"][first] += extra
        scored["per_picture"][first] = tuple(v + extra for v in scored["per_picture"][first])
        if scored["residual"] is not None:
            scored["residual"] = np.concatenate([scored["residual"], bends])
        return scored

    def _check(self) -> None:
        if self.isp.writes is not Domain.DISPLAY_RGB:
            raise DomainError(f"a tuned ISP ends with an encoded picture, this one with {self.isp.writes.value}")
        if not self.scenes:
            raise ParamError("a problem needs at least one scene; is the folder of pictures empty?")
        for name in self.space:
            self.isp.space[name]
        check_names(self.judges)
        check_scenes((*self.judges, *self.settings.constraints), self.scenes)
        for scene in self.scenes:
            if scene.frame.batch != 1:
                raise ShapeError(f"scene {scene.name!r} holds {scene.frame.batch} pictures; make a scene of each")
            if scene.target is not None and tuple(scene.target.shape) != (1, 3, *scene.frame.size):
                want, got = (1, 3, *scene.frame.size), tuple(scene.target.shape)
                raise ShapeError(f"scene {scene.name!r}: its target must be {want} as its frame, got {got}")

    def _residual(self, picture: Tensor, index: int) -> Residual | None:
        vector = self.judges[0].residual(picture, self.scenes[index])
        if vector is None:
            return None
        share = max(1, self.settings.residual_size // len(self.scenes))
        return count_sketch(vector, share, seed=self.settings.sketch_seed, stream=index)

    def _groups(self, pictures: Sequence[int]) -> Iterator[list[int]]:
        """Scenes that go to the ISP together: of one size, domain, filter array and setting."""
        if not (self.settings.batch_pixels and _takes_batches(self.isp)):
            yield from ([i] for i in pictures)
            return
        alike: dict[Any, list[int]] = {}
        for i in pictures:
            frame = self.scenes[i].frame
            setting = tuple(self.scenes[i].conditions.items()) if isinstance(self.isp, AnchoredISP) else ()
            alike.setdefault((frame.size, frame.domain, frame.meta.cfa, setting), []).append(i)
        for ((height, width), *_), group in alike.items():
            count = max(1, self.settings.batch_pixels // (height * width))
            yield from (group[k : k + count] for k in range(0, len(group), count))

    def _rendered(self, values: Values, group: Sequence[int]) -> list[Codes]:
        frames = [self.scenes[i].frame for i in group]
        joined = frames[0] if len(frames) == 1 else Frame.cat(frames)
        with torch.no_grad():
            out = self._developed(joined, {**self.space.defaults(), **values}, self.scenes[group[0]].conditions)
        if out.batch != len(group) or out.size != joined.size:
            got, want = (f"{n} of {h}x{w}" for n, (h, w) in ((out.batch, out.size), (len(group), joined.size)))
            raise BlackBoxError(f"gave pictures {got} pixels, should give {want}")
        codes = [as_codes(picture) for picture in out.data]
        return [self._aligned(c, i) for c, i in zip(codes, group, strict=True)]

    def _developed(self, frame: Frame, values: Values, conditions: Mapping[str, float]) -> Frame:
        if not isinstance(self.isp, AnchoredISP):
            return self.isp(frame, values)
        known = {**conditions_of(frame), **conditions}
        return self.isp.isp(frame, self.isp.settings(values, known))

    def _aligned(self, codes: Codes, index: int) -> Codes:
        if not self.settings.register:
            return codes
        target = target_of(self.scenes[index])
        planes = [luminance(p)[0, 0].double().numpy() for p in (as_picture(codes), target)]
        shift = register(planes[0], planes[1], motion="translation").matrix[:2, 2]
        return _moved(codes, round(float(shift[1])), round(float(shift[0])))


def as_codes(picture: Tensor) -> Codes:
    """An encoded picture (3, H, W) as 8-bit codes (H, W, 3). Raises `BlackBoxError` for numbers that are not finite."""
    if not bool(torch.isfinite(picture).all()):
        raise BlackBoxError("gave a picture with numbers that are not finite")
    codes: Codes = (picture.clamp(0, 1) * 255 + 0.5).byte().permute(1, 2, 0).contiguous().cpu().numpy()
    return codes


def as_picture(codes: Codes) -> Tensor:
    """8-bit codes (H, W, 3) as an encoded picture (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(codes)).permute(2, 0, 1)[None].float() / 255


class _Blamed:
    """Whatever goes wrong inside becomes a `BlackBoxError` that names the pictures."""

    def __init__(self, who: str) -> None:
        self.who = who

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception):  # Ctrl-C is no fault of the black box
            reason = str(error) if isinstance(error, BlackBoxError) else f"{type(error).__name__}: {error}"
            raise BlackBoxError(f"{self.who}: {reason}") from error


def _isp_digest(isp: ISP) -> str:
    """Of all knobs and defaults, and of a spec and its program's version, or of a pipeline's stages and tables."""
    inner = isp.isp if isinstance(isp, AnchoredISP) else isp
    words: list[Any] = [type(inner).__qualname__, same_knobs(isp.space)]
    if isinstance(inner, SpecISP):
        words += [[n, k.key, dict(k.written), dict(k.enable), k.off_at] for n, k in inner.spec.knobs.items()]
        words.append(inner.spec.digest())
        with suppress(BlackBoxError):  # a program that cannot tell its version may render all the same
            words.append(inner.version)
    if isinstance(inner, Pipeline):
        words += [[n, type(s).__qualname__, *map(_tensor_digest, _tensors(s))] for n, s in inner.stages.items()]
    return hashlib.sha256(json.dumps(words, default=str).encode()).hexdigest()


def _scenes_digest(scenes: Sequence[Scene]) -> str:
    """digest@arithmetic: pictures that are simulated differ in the last bit from one kind of processor to another."""
    words: list[Any] = []
    for scene in scenes:
        tensors = [*([] if scene.target is None else [scene.target]), *_tensors(scene.labels)]
        digests = [frame_digest(scene.frame), *map(_tensor_digest, tensors)]
        words.append([scene.name, sorted(scene.conditions.items()), digests])
    digest = hashlib.sha256(json.dumps(words).encode()).hexdigest()
    return f"{digest}@{platform.machine()}-{torch.backends.cpu.get_cpu_capability()}-torch{torch.__version__}"


def _tensors(thing: Any) -> list[Tensor]:
    return [v for v in getattr(thing, "__dict__", {}).values() if isinstance(v, Tensor)]


def _tensor_digest(tensor: Tensor) -> str:
    plain = np.ascontiguousarray(tensor.detach().cpu().numpy())
    return hashlib.sha256(f"{plain.dtype} {plain.shape}".encode() + plain.tobytes()).hexdigest()


def _takes_batches(isp: ISP) -> bool:
    """Pipelines do, programs with several workers, and what says so of itself."""
    several = isinstance(isp, Pipeline) or getattr(isp, "workers", 1) > 1
    return bool(getattr(isp, "batched", several))


def _finite(score: float, objective: str) -> float:
    if not math.isfinite(score):
        raise BlackBoxError(f"objective {objective!r} gave {score}")
    return float(score)


def _joined(parts: Sequence[Residual | None]) -> Residual | None:
    """The pictures' residuals end to end, so that the squared length is the mean of theirs."""
    kept = [p for p in parts if p is not None]
    if len(kept) < len(parts):
        return None
    return np.concatenate(kept) / np.float32(math.sqrt(len(kept)))


def _megapixels(scenes: Sequence[Scene]) -> float:
    return sum(math.prod(s.frame.size) for s in scenes) / 1e6


def _moved(codes: Codes, down: int, right: int) -> Codes:
    """Shifted by whole pixels; the border is repeated."""
    height, width = codes.shape[:2]
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    columns = np.clip(np.arange(width) - right, 0, width - 1)
    return np.ascontiguousarray(codes[rows][:, columns])
