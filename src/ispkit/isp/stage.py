"""`Stage`: the smallest piece of an ISP. Declares its domains and knobs; computes with `ops`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ispkit.core.frame import Domain, Frame
from ispkit.core.param import Choice, Knob, Param, Value, Values
from ispkit.core.space import Ordering


class Stage(ABC):
    """Subclass = one class body: `reads`, `writes`, knobs, and `apply(frame, <knobs by name>)`.

    `apply` gets every knob: numbers as float or (B,) tensor, choices as the option's name.
    """

    reads: ClassVar[Domain]
    writes: ClassVar[Domain]
    knobs: ClassVar[dict[str, Knob]] = {}
    orderings: ClassVar[tuple[Ordering, ...]] = ()
    options: ClassVar[tuple[str, ...]] = ()
    """recipe keys that go to the constructor (a file), not to `apply`; no knobs"""
    align: ClassVar[int] = 2
    """tiles must start at multiples of this (2 keeps the CFA phase)"""
    global_statistics: ClassVar[bool] = False
    """whether `apply` needs `measure`d sums of the whole picture"""

    def __init_subclass__(cls) -> None:
        cls.knobs = {k: v for k, v in vars(cls).items() if isinstance(v, Param | Choice)}

    @abstractmethod
    def apply(self, frame: Frame, *args: Any, **knobs: Any) -> Frame:
        """The frame after this stage; the input stays untouched."""

    def support(self, values: Values, size: tuple[int, int]) -> int:
        """How many pixels away a pixel can still change the result, under these knobs.

        `values` holds every knob of the stage, `size` is the (height, width) of the whole picture. A tile
        with a halo this wide gives the same pixels as the whole picture.
        """
        return 0

    def uses_statistics(self, values: Values) -> bool:
        """Whether `apply` needs `measure`d sums under these knobs; where not, tiles save a pass."""
        return self.global_statistics

    def support_for(self, frame: Frame, values: Values, size: tuple[int, int]) -> int:
        """`support` where this frame's own facts matter (a warp that its file carries, or not)."""
        return self.support(values, size)

    def measure(self, frame: Frame, values: Values) -> Tensor:
        """Sums over pixels, (B, K), that add up over tiles; only if `global_statistics`."""
        raise NotImplementedError(f"{type(self).__name__} declares no global statistics")

    def __call__(self, frame: Frame, values: Values | None = None, measured: Tensor | None = None) -> Frame:
        """Run with the given knobs, the others at default; (B,) choices are run group by group."""
        frame.expect(self.reads, type(self).__name__)
        chosen: dict[str, Value] = {k: p.default for k, p in self.knobs.items()}
        chosen.update(values or {})
        batch = max([t.shape[0] for t in chosen.values() if isinstance(t, Tensor) and t.ndim], default=1)
        if batch > 1:
            frame = frame.repeat(batch)
        groups = choice_groups(self.knobs, chosen, frame.batch)
        extra = {"measured": measured} if self.global_statistics else {}
        # a stage computes in the frame's own precision, also inside a mixed-precision training step
        with torch.autocast(frame.data.device.type, enabled=False):
            if len(groups) == 1:
                return self.apply(frame, **{**chosen, **groups[0][1]}, **extra)
            return self._grouped(frame, chosen, groups, measured)

    def _grouped(self, frame: Frame, chosen: Values, groups: Groups, measured: Tensor | None) -> Frame:
        parts, order = [], []
        for rows, names in groups:
            index = torch.tensor(rows)
            own = {k: v[index.to(v.device)] if isinstance(v, Tensor) and v.ndim else v for k, v in chosen.items()}
            extra: dict[str, Any] = {}
            if self.global_statistics:
                extra = {"measured": None if measured is None else measured[index.to(measured.device)]}
            parts.append(self.apply(frame.select(rows), **{**own, **names}, **extra))
            order += rows
        back = sorted(range(len(order)), key=order.__getitem__)
        return Frame.cat(_same_maps([_full_meta(p) for p in parts])).select(back)


Groups = list[tuple[list[int], dict[str, str]]]


def choice_groups(knobs: Mapping[str, Knob], values: Values, batch: int) -> Groups:
    """The rows of a batch that share all choices, with the options' names."""
    choices = {k: knob for k, knob in knobs.items() if isinstance(knob, Choice)}
    varying = {k: v for k, v in values.items() if k in choices and isinstance(v, Tensor) and v.ndim}
    fixed = {k: knob.name(values[k]) for k, knob in choices.items() if k not in varying}
    if not varying:
        return [(list(range(batch)), fixed)]
    groups: dict[tuple[int, ...], list[int]] = {}
    table = torch.stack([varying[k].long().cpu() for k in varying], dim=-1).tolist()
    for row, key in enumerate(table):
        groups.setdefault(tuple(key), []).append(row)
    return [
        (rows, fixed | {k: choices[k].options[i] for k, i in zip(varying, key, strict=True)})
        for key, rows in groups.items()
    ]


def _full_meta(frame: Frame) -> Frame:
    """Meta with one entry a frame, so that groups can be joined."""
    if frame.meta.batch == frame.batch:
        return frame
    return Frame(frame.data, frame.domain, frame.meta.select([0] * frame.batch))


def _same_maps(parts: list[Frame]) -> list[Frame]:
    """Give a noise map of ones to the groups that a correction left without, if another group has one."""
    if all(p.meta.noise_map is None for p in parts):
        return parts
    return [
        p if p.meta.noise_map is not None else p.with_data(p.data, noise_map=torch.ones_like(p.data[:, :1]))
        for p in parts
    ]
