"""`ParamSpace`: all knobs of one ISP by dotted name, and the only door for optimizers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatch

import torch
from torch import Tensor

from ispkit.core.errors import ParamError, nearest
from ispkit.core.param import Choice, Knob, Param, Value, Values

Ordering = tuple[str, str]
"""(lower knob, higher knob): the first must not exceed the second"""


class ParamSpace(Mapping[str, Knob]):
    """The knobs of one ISP, keyed "stage.knob"; immutable; their order is the order of the vector.

    >>> space = ParamSpace({"sharpen.amount": Param(default=0.5, low=0.0, high=2.0, doc="strength")})
    >>> space.readable(space.from_vector(torch.tensor([0.25])))
    {'sharpen.amount': 0.5}
    """

    def __init__(self, knobs: Mapping[str, Knob], orderings: Sequence[Ordering] = ()) -> None:
        self._knobs = dict(knobs)
        self.orderings = tuple(orderings)
        for name in (n for pair in self.orderings for n in pair):
            self[name]

    def __getitem__(self, name: str) -> Knob:
        if name not in self._knobs:
            raise ParamError(f"no parameter {name!r}; {nearest(name, self._knobs)}")
        return self._knobs[name]

    def __contains__(self, name: object) -> bool:  # Mapping's own needs __getitem__ to raise KeyError
        return name in self._knobs

    def __iter__(self) -> Iterator[str]:
        return iter(self._knobs)

    def __len__(self) -> int:
        return len(self._knobs)

    @property
    def dim(self) -> int:
        """Length of the vector: one coordinate a knob."""
        return len(self._knobs)

    def select(self, *patterns: str) -> ParamSpace:
        """Keep the knobs whose name fits a shell pattern; a pattern that fits nothing is an error."""
        for pattern in patterns:
            if not any(fnmatch(n, pattern) for n in self):
                raise ParamError(f"pattern {pattern!r} selects no knob; {nearest(pattern, self)}")
        kept = {n: k for n, k in self.items() if any(fnmatch(n, p) for p in patterns)}
        return ParamSpace(kept, [o for o in self.orderings if o[0] in kept and o[1] in kept])

    def defaults(self) -> dict[str, Value]:
        """Every knob at its default."""
        return {n: k.default for n, k in self.items()}

    def with_defaults(self, values: Values) -> ParamSpace:
        """The same knobs with other defaults (plain numbers and names). Raises `ParamError`."""
        self.check(values)
        knobs = dict(self._knobs)
        for name, value in self.readable(values).items():
            knobs[name] = replace(knobs[name], default=value)  # type: ignore[arg-type]
        return ParamSpace(knobs, self.orderings)

    def check(self, values: Values, *, tensors: bool = True) -> None:
        """Raise `ParamError` for an unknown name, a value outside its range or a broken ordering.

        With `tensors=False` the contents of tensors are not read, which would wait for a GPU.
        """
        for name, value in values.items():
            knob = self[name]
            if tensors or not isinstance(value, Tensor):
                knob.check(name, value)
        for lower, higher in self.orderings:
            pair = (values.get(lower, self[lower].default), values.get(higher, self[higher].default))
            if any(isinstance(v, Tensor) for v in pair) and not tensors:
                continue
            if bool((torch.as_tensor(pair[0]) > torch.as_tensor(pair[1])).any()):
                raise ParamError(f"{lower}={pair[0]} exceeds {higher}={pair[1]}; keep {lower} <= {higher}")

    def active(self, values: Values) -> dict[str, Tensor]:
        """Which knobs act under `values`: boolean scalars or (B,) masks, by the declared conditions.

        A knob whose switch is not in this space (it was left out by `select`) counts as acting.
        """
        masks: dict[str, Tensor] = {}
        for name, knob in self.items():
            masks[name] = torch.tensor(True)
            if knob.when is None:
                continue
            sibling = f"{name.rsplit('.', 1)[0]}.{knob.when[0]}"
            if sibling not in self:
                continue
            choice = self[sibling]
            if isinstance(choice, Choice):
                index = choice.index(values.get(sibling, choice.default))
                allowed = torch.tensor([o in knob.when[1] for o in choice.options])
                masks[name] = allowed.to(index.device)[index]
        return masks

    def from_vector(self, u: Tensor, *, straight_through: bool = False) -> dict[str, Value]:
        """[0, 1]^(..., d) -> legal values, each of shape (...). Choices come as indices.

        Steps are rounded and orderings restored by raising the higher knob. With `straight_through`
        a gradient passes through the rounding as if it were not there.
        """
        if u.shape[-1] != self.dim:
            raise ParamError(f"a vector of this space has {self.dim} coordinates, got {u.shape[-1]}")
        values: dict[str, Value] = {}
        for i, (name, knob) in enumerate(self.items()):
            x = u[..., i].clamp(0.0, 1.0)
            if isinstance(knob, Choice):
                values[name] = (x * len(knob.options)).floor().clamp(max=len(knob.options) - 1).long()
                continue
            raw = knob.from_unit(x)
            snapped = knob.snap(raw)
            legal = snapped + (snapped.clamp(knob.low, knob.high) - snapped).detach()  # exp(log) rounds past an end
            values[name] = raw + (legal - raw).detach() if straight_through else legal
        for lower, higher in self.orderings:
            values[higher] = torch.maximum(torch.as_tensor(values[lower]), torch.as_tensor(values[higher]))
        return values

    def to_vector(self, values: Values) -> Tensor:
        """Values -> (..., d) in the unit cube; a choice sits in the middle of its share. Missing: default."""
        columns = []
        for name, knob in self.items():
            value = values.get(name, knob.default)
            if isinstance(knob, Choice):
                columns.append((knob.index(value).float() + 0.5) / len(knob.options))
            elif isinstance(value, str):
                raise ParamError(f"{name}={value!r} must be a number")
            else:
                columns.append(knob.to_unit(value))
        if not columns:
            return torch.zeros(0)
        return torch.stack(torch.broadcast_tensors(*columns), dim=-1)  # type: ignore[no-untyped-call]

    def readable(self, values: Values) -> dict[str, float | str | list[float | str]]:
        """Plain numbers and option names, as a recipe writes them; a batch becomes a list."""
        return {name: _plain(self[name], value) for name, value in values.items()}


def _plain(knob: Knob, value: Value) -> float | str | list[float | str]:
    if isinstance(value, str):
        return value
    if not isinstance(value, Tensor):  # not through a float32 tensor, which would show its rounding
        return float(value) if isinstance(knob, Param) else knob.name(value)
    items = value.detach().cpu()
    if items.ndim:
        return [_scalar(knob, item) for item in items.flatten()]
    return _scalar(knob, items)


def _scalar(knob: Knob, value: Tensor) -> float | str:
    if isinstance(knob, Param):
        return float(value) if knob.step is None else float(round(float(value), 9))
    return knob.name(value)
