"""What stands between the dark RAW and the answer: every way of the protocol, and how each of them learns.

Names and order are those of Diamond et al. 2021, tables 1 and 2. A trained method has one budget, shared out over its
phases; what is not trained has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ispkit.bench.learned_parts import PhasePlan
from ispkit.bench.learned_rivals import CLASSICAL
from ispkit.core.errors import DomainError
from ispkit.core.frame import Domain, Frame
from ispkit.core.param import Values
from ispkit.core.space import ParamSpace
from ispkit.ops.cfa import cfa_masks
from ispkit.ops.levels import linearize

Sees = Literal["raw", "clean"]
HEAD = PhasePlan("head", ("head",), "task", 1.0, 1e-3)
"""a head that learns alone for the whole of the time"""
_TWICE = PhasePlan("head", ("head",), "task", 2.0, 1e-3)
_TUNED = PhasePlan("head", ("head",), "task", 0.5, 2e-4)
_PICTURE = PhasePlan("isp", ("isp",), "l1", 0.5, 2e-3)
_SAME = PhasePlan("isp", ("isp",), ["l1", {"name": "same-to-head", "weight": 0.01}], 0.5, 2e-3)
_FIRST = PhasePlan("isp", ("isp",), "l1", 0.3, 2e-3)
_JOINT = PhasePlan("joint", ("isp", "head"), "task", 0.7, 5e-4)


@dataclass(frozen=True)
class Method:
    """One row of the protocol."""

    name: str
    sees: Sees = "raw"
    """what the ISP, or the head, is given"""
    through: str | None = None
    """a fixed ISP before everything else: "mosaic", or a name that `isp.catalog.open_isp` knows"""
    isp: Mapping[str, Any] | None = None
    """a learned ISP: options of the catalog"""
    head: Literal["pretrained", "fresh", "other"] = "pretrained"
    """begins as it was after clean pictures, anew, or anew as another network"""
    plans: tuple[PhasePlan, ...] = ()
    """empty: nothing learns"""
    tuned: bool = False
    """the knobs of `through` are tuned for the head, with so many renders as the protocol says"""
    noise_factor: float = 1.0
    """what the noise profile that the method is told is multiplied by, when it is judged"""
    same_as: str | None = None
    """another method, whose training this one takes"""


def _anscombe(**options: Any) -> dict[str, Any]:
    return {"name": "anscombe", "preset": "released", **options}


_PLAIN = _anscombe(stabilize=False, project=False)
OURS = "Anscombe network, jointly"
CLEAN = "clean pictures"

METHODS: tuple[Method, ...] = (
    Method(CLEAN, "clean"),
    Method("RAW, from scratch", through="mosaic", head="fresh", plans=(HEAD,)),
    Method("RAW, from scratch, twice the time", through="mosaic", head="fresh", plans=(_TWICE,)),
    Method("RAW, another network from scratch", through="mosaic", head="other", plans=(HEAD,)),
    Method("preset neutral", through="neutral"),
    Method("preset low-light", through=CLASSICAL),
    Method("preset low-light, head fine-tuned", through=CLASSICAL, plans=(HEAD,)),
    Method("preset low-light, tuned for the head", through=CLASSICAL, tuned=True),
    Method("prior's U-Net, then the head", isp=_PLAIN, plans=(_PICTURE, _TUNED)),
    Method("prior's U-Net + head's features, then the head", isp=_PLAIN, plans=(_SAME, _TUNED)),
    Method("prior's U-Net with Anscombe layers, jointly", isp=_anscombe(project=False), plans=(_FIRST, _JOINT)),
    Method(OURS, isp=_anscombe(), plans=(_FIRST, _JOINT)),
)
"""the table of every light level; `methods` adds ISPs that a user names"""


def methods(also: Sequence[str] = (), *, other: bool = True) -> tuple[Method, ...]:
    """The table of every light level, with other ISPs by name: as they come, and with the head fine-tuned behind.

    `other`: there is another network to learn from scratch.
    """
    plain = [Method(name, through=name) for name in also]
    tuned = [Method(f"{name}, head fine-tuned", through=name, plans=(HEAD,)) for name in also]
    at = [m.name for m in METHODS].index("prior's U-Net, then the head")
    found = (*METHODS[:at], *plain, *tuned, *METHODS[at:])
    return tuple(m for m in found if other or m.head != "other")


PLAIN = "prior's U-Net, jointly"
"""without both: the rival where conditions change"""
ABLATIONS: tuple[Method, ...] = (
    Method(PLAIN, isp=_PLAIN, plans=(_FIRST, _JOINT)),
    Method("without Anscombe", isp=_anscombe(stabilize=False), plans=(_FIRST, _JOINT)),
    *(Method(f"{n} iterations", isp=_anscombe(iterations=n), plans=(_FIRST, _JOINT)) for n in (2, 3, 4)),
    Method("projection follows the noise", isp=_anscombe(fidelity="noise"), plans=(_FIRST, _JOINT)),
    Method("blind: no noise profile", isp=_anscombe(noise="blind", sensor="nexus-6p-rear"), plans=(_FIRST, _JOINT)),
    Method("told a quarter of the noise", isp=_anscombe(), plans=(_FIRST, _JOINT), noise_factor=0.25, same_as=OURS),
    Method("told four times the noise", isp=_anscombe(), plans=(_FIRST, _JOINT), noise_factor=4.0, same_as=OURS),
)
"""the same network with one thing changed; without projection it is "prior's U-Net with Anscombe layers" """

BLUR_PX = 1.2
BLURRED: tuple[Method, ...] = (
    Method("RAW, from scratch", through="mosaic", head="fresh", plans=(HEAD,)),
    Method(OURS, isp=_anscombe(), plans=(_FIRST, _JOINT)),
    Method(
        "Anscombe network that deblurs, jointly", isp=_anscombe(deblur=True, blur_px=BLUR_PX), plans=(_FIRST, _JOINT)
    ),
)
"""behind a lens that blurs by a Gaussian of this sigma"""


class MaskedMosaic:
    """RAW as a picture of three colors, zero where a photosite has another one: what a network from scratch is given.

    Levels are removed and nothing else is done (Diamond et al. 2021, section 5: A^T y). Keeps the contract of an ISP.
    """

    space = ParamSpace({})
    reads, writes = Domain.RAW, Domain.DISPLAY_RGB

    def __call__(self, frame: Frame, values: Values | None = None) -> Frame:
        """(B, 1, H, W) RAW or MOSAIC -> (B, 3, H, W) DISPLAY_RGB in [0, 1]. Raises `DomainError`, `ParamError`."""
        self.space.check(values or {})
        if frame.domain not in (Domain.RAW, Domain.MOSAIC):
            raise DomainError(f"'mosaic' reads raw or mosaic, got a {frame.domain.value} frame")
        meta, data = frame.meta, frame.data
        lit = linearize(data, meta.black_level, meta.white_level) if frame.domain is Domain.RAW else data
        return frame.with_data(lit.clamp(0, 1) * cfa_masks(frame.size, meta.cfa, lit), Domain.DISPLAY_RGB)
