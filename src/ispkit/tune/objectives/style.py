"""A look on purpose: the target is the scene's own picture, changed by a named style (Tseng et al. 2019, Fig. 11)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ispkit.data.scenes import Scene
from ispkit.ops.adjust import contrast, saturation
from ispkit.ops.encode import srgb_decode, srgb_encode
from ispkit.ops.sharpen import unsharp_mask
from ispkit.tune.contracts import Residual
from ispkit.tune.objectives.base import Need, Objective, target_of


def _sharp(linear: Tensor) -> Tensor:
    return unsharp_mask(linear, 2.0, sigma=1.5, halo_limit=1.0)


LOOKS: dict[str, Callable[[Tensor], Tensor]] = {
    "sharp-contrast": lambda linear: contrast(_sharp(linear), 1.4),
    "sharp": _sharp,
    "contrast": lambda linear: contrast(linear, 1.4),
    "flat": lambda linear: contrast(linear, 0.75),
    "vivid": lambda linear: saturation(linear, 1.4),
    "muted": lambda linear: saturation(linear, 0.5),
}
"""name -> change of linear sRGB (1, 3, H, W)"""


@dataclass(frozen=True)
class Styled:
    """An objective that compares with the styled target."""

    name: str
    look: Callable[[Tensor], Tensor]
    judge: Objective
    """what compares, e.g. `REFERENCE["l1"]`"""

    @property
    def unit(self) -> str:
        """That of the comparison."""
        return self.judge.unit

    @property
    def needs(self) -> tuple[Need, ...]:
        """What the comparison needs."""
        return self.judge.needs

    def score(self, picture: Tensor, scene: Scene) -> float:
        """The distance to the styled target."""
        return self.judge.score(picture, self.styled(scene))

    def residual(self, picture: Tensor, scene: Scene) -> Residual | None:
        """Of the same comparison."""
        return self.judge.residual(picture, self.styled(scene))

    def loss(self, picture: Tensor, scene: Scene) -> Tensor | None:
        """Of the same comparison."""
        return self.judge.loss(picture, self.styled(scene))

    @torch.no_grad()
    def styled(self, scene: Scene) -> Scene:
        """The scene with its target changed, cut to [0, 1]."""
        linear = self.look(srgb_decode(target_of(scene)))
        return replace(scene, target=srgb_encode(linear.clamp(0, 1)).clamp(0, 1))
