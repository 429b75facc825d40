"""Clean pictures as a badly set ISP shows them: unprocessed, made noisy, developed with random knobs, compressed.

Source: Guo et al. 2024, "Learning Degradation-Independent Representations for Camera ISP Pipelines" (CVPR), sections
3.4 and 4.1: inverse ISP, RAW noise, a synthetic ISP with random hyperparameters, JPEG. The paper gives neither its ISP
nor the ranges; here the ISP is a pipeline of the shipped stages. Of `DEGRADATIONS` the paper's own are: Gaussian sigma
0.05 to 0.1 and JPEG quality 10 to 30 in the ablation (section 4.5), Gaussian sigma 0.15 to 0.35 and Poisson magnitude
0.02 to 0.04 in the dark (section 4.4). Chosen here: that sigma is of white in the RAW, that a Poisson magnitude is the
variance at white, and all else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ispkit.core.errors import ParamError, nearest
from ispkit.core.frame import Frame
from ispkit.core.param import Choice, Param, Value
from ispkit.core.space import ParamSpace
from ispkit.data.synthetic_raw import Conditions, RawMaker, Span, SyntheticSettings
from ispkit.isp.pipeline import Pipeline
from ispkit.isp.recipe import from_recipe
from ispkit.ops.jpeg import jpeg
from ispkit.sensor.unprocess import Truth

STAGES: tuple[str | dict[str, dict[str, float | str]], ...] = (
    "linearize",
    "white_balance",
    "highlights",
    {"demosaic": {"method": "menon2007"}},
    "color_matrix",
    "exposure",
    "denoise",
    "sharpen",
    {"tone_curve": {"style": "knee", "knee": 0.98, "white": 1.0}},
    "color_adjust",
    "encode",
)
"""the ISP: at its defaults it undoes `sensor.unprocess`; tone_curve.power bends the curve as a wrong gamma does"""

KnobRange = float | str | Sequence[float] | Sequence[str]
"""of a number: low and high, or one value; of a choice: options, or one"""


def degrading_isp() -> Pipeline:
    """The ISP whose knobs a `Degradation` turns: RAW or MOSAIC in, DISPLAY_RGB out."""
    return from_recipe({"version": 1, "stages": list(STAGES)}, where="the degrading ISP")


@dataclass(frozen=True)
class Degradation:
    """How clean pictures are spoiled. Spans (low, high) are drawn anew for each view; equal ends fix a value."""

    raw: SyntheticSettings = field(default_factory=SyntheticSettings)
    """camera, light and noise; patch, turn and windows do not count here"""
    knobs: Mapping[str, KnobRange] = field(default_factory=dict)
    """"stage.knob" of `degrading_isp`: what is drawn, uniform on the knob's own scale; all others are at default"""
    jpeg: Span | None = None
    """quality, whole numbers 1 to 100 of the IJG scale, uniform; None: no compression, 8-bit codes"""

    def __post_init__(self) -> None:
        space = degrading_isp().space
        ranges = {name: _range(space, name, given) for name, given in self.knobs.items()}
        object.__setattr__(self, "knobs", ranges)
        if self.jpeg is not None:
            object.__setattr__(self, "jpeg", _quality(self.jpeg))


class Degraded(NamedTuple):
    """What chance decided for one view."""

    raw: Conditions
    knobs: Mapping[str, float]
    """an index for a choice"""
    quality: float
    """of JPEG; 0 where there is none"""


class Degrader:
    """A `Maker` of degraded views: DISPLAY_RGB frames in [0, 1], 8-bit codes / 255, pixel for pixel over the picture.

    On `device` the ISP and JPEG run, and the light is made RAW where its noise is plain (`sigma`, `shot`); chance is
    always the CPU's, so that devices agree but for the rounding of sums. The truth's linear light is where the frame
    is. Raises `ParamError`.

    ```python
    pairs = SyntheticPairs(pictures, settings, maker=Degrader(DEGRADATIONS["paper"]), views=2)
    ```
    """

    def __init__(self, settings: Degradation, *, device: torch.device | str = "cpu") -> None:
        self.settings, self.device = settings, torch.device(device)
        self.raw = RawMaker(settings.raw)
        isp, fixed = degrading_isp(), {n: r[0] for n, r in settings.knobs.items() if _is_fixed(r)}  # type: ignore[index]
        self.isp = Pipeline(isp.stages, {**isp.space.defaults(), **fixed})
        self._drawn = [name for name in self.isp.space if name in settings.knobs and name not in fixed]

    def draw(self, chance: torch.Generator) -> Degraded:
        """Conditions of one view; its noise goes on with the same generator."""
        raw = self.raw.draw(chance)
        u = torch.rand(1 + len(self._drawn), generator=chance, dtype=torch.float64).tolist()
        knobs = {name: self._value(name, share) for name, share in zip(self._drawn, u[1:], strict=True)}
        if self.settings.jpeg is None:
            return Degraded(raw, knobs, 0.0)
        low, high = self.settings.jpeg
        return Degraded(raw, knobs, low + math.floor(u[0] * (high - low + 1)))

    @torch.no_grad()
    def make(self, picture: Tensor, drawn: Sequence[Degraded]) -> tuple[Frame, Truth]:
        """(B, 3, H, W) encoded sRGB in [0, 1] -> DISPLAY_RGB of each of B or B x views conditions, and the truth."""
        plain = self.settings.raw.sigma is not None or self.settings.raw.shot is not None
        frame, truth = self.raw.make(picture.to(self.device) if plain else picture, [d.raw for d in drawn])
        shown = self.isp(frame.to(self.device), self._values(drawn))
        truth = replace(truth, linear=truth.linear.to(self.device))
        return shown.with_data(self._stored(shown.data, drawn)), truth

    def facts(self, drawn: Degraded) -> dict[str, Any]:
        """What was drawn for one view in plain numbers and names, for JSON."""
        knobs = self.isp.space.readable(self._values([drawn]))
        own = {name: value[0] if isinstance(value, list) else value for name, value in knobs.items()}
        return {"sigma": drawn.raw.sigma, "shot": drawn.raw.shot, "jpeg": drawn.quality, **own}

    def _value(self, name: str, share: float) -> float:
        knob, given = self.isp.space[name], self.settings.knobs[name]
        if isinstance(knob, Choice):
            options: Sequence[str] = given  # type: ignore[assignment]
            return float(knob.options.index(options[min(int(share * len(options)), len(options) - 1)]))
        low, high = (float(end) for end in given)  # type: ignore[union-attr]
        if knob.scale == "log":
            return float(low * (high / low) ** share)
        return float(knob.snap(torch.tensor(low + (high - low) * share, dtype=torch.float64)))

    def _values(self, drawn: Sequence[Degraded]) -> dict[str, Value]:
        """One tensor (B,) a knob, also for one picture, so that a batch takes the same steps."""
        return {
            name: torch.tensor([d.knobs[name] for d in drawn], device=self.device if self._numeric(name) else "cpu")
            for name in self._drawn
        }

    def _numeric(self, name: str) -> bool:
        """Choices are read on the CPU, to group by."""
        return isinstance(self.isp.space[name], Param)

    def _stored(self, shown: Tensor, drawn: Sequence[Degraded]) -> Tensor:
        if self.settings.jpeg is None:
            return (shown * 255).round() / 255
        return jpeg(shown, torch.tensor([d.quality for d in drawn], device=shown.device))


def _range(space: ParamSpace, name: str, given: Any) -> tuple[float, float] | tuple[str, ...]:
    """A knob's range checked against its declaration. Raises `ParamError`."""
    knob = space[name]
    many = isinstance(given, Sequence) and not isinstance(given, str)
    ends: tuple[Any, ...] = tuple(given) if many else (given,)
    for value in ends:
        knob.check(name, value)
    if isinstance(knob, Choice):
        if not ends or not all(isinstance(option, str) for option in ends):
            raise ParamError(f"{name}={given!r} must be options of {', '.join(knob.options)}")
        return ends
    low, high = ends * 2 if len(ends) == 1 else (ends if len(ends) == 2 else (1.0, 0.0))
    if not low <= high:
        raise ParamError(f"{name}={given!r} must be a number, or low and high")
    return float(low), float(high)


def _is_fixed(given: Any) -> bool:
    return len(set(given)) == 1


def _quality(given: Any) -> tuple[float, float]:
    ends = tuple(given) if isinstance(given, Sequence) else (given, given)
    low, high = ends if len(ends) == 2 else (1, 0)
    if not (1 <= low <= high <= 100 and float(low).is_integer() and float(high).is_integer()):
        raise ParamError(f"jpeg={list(ends)} must be whole numbers 1 <= low <= high <= 100, or none")
    return float(low), float(high)


_TONE: dict[str, KnobRange] = {
    "tone_curve.power": (0.75, 1.35),  # display gamma 2.2 / power: 1.6 to 2.9
    "color_adjust.contrast": (0.8, 1.3),
}
_RANDOM: dict[str, KnobRange] = {
    "white_balance.red_trim": (0.8, 1.25),
    "white_balance.blue_trim": (0.8, 1.25),
    "demosaic.method": ("bilinear", "malvar2004", "menon2007"),
    "exposure.ev": (-0.7, 0.7),
    "denoise.luma": (0.0, 2.0),
    "denoise.chroma": (0.0, 2.5),
    "sharpen.amount": (0.0, 2.0),
    "sharpen.sigma": (0.6, 2.0),
    "color_adjust.saturation": (0.5, 1.5),
}
_MILD: dict[str, KnobRange] = {
    "white_balance.red_trim": (0.93, 1.07),
    "white_balance.blue_trim": (0.93, 1.07),
    "exposure.ev": (-0.2, 0.2),
    "denoise.luma": (0.3, 1.0),
    "denoise.chroma": (0.5, 1.5),
    "sharpen.amount": (0.0, 0.8),
    "tone_curve.power": (0.92, 1.08),
    "color_adjust.saturation": (0.85, 1.15),
}


def _noise(sigma: tuple[float, float], shot: tuple[float, float] | None = None) -> SyntheticSettings:
    """Sigma in shares of white, on a sensor that sees sRGB: another's gains would make twice of it what is stated."""
    return SyntheticSettings(colors="srgb", sigma=(sigma[0] * 255, sigma[1] * 255), shot=shot, draw="normal")


_PAPER = Degradation(_noise((0.0, 0.1), (0.0, 0.02)), {**_RANDOM, **_TONE}, (10.0, 90.0))

DEGRADATIONS: Mapping[str, Degradation] = {
    # to train on: random knobs, noise from none to that of the ablation, JPEG from poor to good; ranges chosen
    "paper": _PAPER,
    # the paper's test of its parts: sigma and JPEG are the paper's, knobs random as in "paper"
    "ablation": replace(_PAPER, raw=_noise((0.05, 0.1)), jpeg=(10.0, 30.0)),
    # the paper's dark scenes: Gaussian and Poisson noise are the paper's, knobs and JPEG those of "paper"
    "dark": replace(_PAPER, raw=replace(_noise((0.15, 0.35), (0.02, 0.04)), draw="poisson")),
    # an ISP as it is delivered: fixed knobs, the noise of Brooks et al. 2019, ordinary JPEG; chosen
    "default": Degradation(SyntheticSettings(), {"denoise.luma": 0.5, "denoise.chroma": 1.0}, (50.0, 90.0)),
    # "paper" without one of its parts, to test on what was not trained on; chosen
    "no-jpeg": replace(_PAPER, jpeg=None),
    "no-gamma": replace(_PAPER, knobs=_RANDOM),
    # little noise, careful knobs, good JPEG; chosen
    "mild": Degradation(_noise((0.0, 0.01), (0.0, 0.003)), _MILD, (60.0, 95.0)),
}
"""name -> how pictures are spoiled"""


def degradation(name: str) -> Degradation:
    """One of `DEGRADATIONS`. Raises `ParamError` for an unknown name."""
    if name not in DEGRADATIONS:
        raise ParamError(f"no degradation {name!r}; {nearest(name, DEGRADATIONS)}")
    return DEGRADATIONS[name]
