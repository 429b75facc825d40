"""Which points of the unit cube exist: registers rounded, orderings kept, choices named, dead knobs ignored."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from ispkit.core.param import Choice
from ispkit.core.space import ParamSpace
from ispkit.tune.contracts import Point

Flags = NDArray[np.bool_]
Key = bytes


class Lattice:
    """The legal points of a space, as a method that fits curves needs them."""

    def __init__(self, space: ParamSpace) -> None:
        self.space = space
        knobs = list(space.values())
        self.choices = {i: len(knob.options) for i, knob in enumerate(knobs) if isinstance(knob, Choice)}
        self.numeric: Flags = np.array([not isinstance(knob, Choice) for knob in knobs], dtype=bool)
        self._conditional = any(knob.when is not None for knob in knobs)

    def legal(self, point: Point) -> Point:
        """The point (n,) that is really measured where `point` is asked for."""
        u = torch.as_tensor(np.clip(point, 0.0, 1.0), dtype=torch.float64)
        return self.space.to_vector(self.space.from_vector(u)).double().numpy()

    def active(self, point: Point) -> Flags:
        """(n,): which knobs act at `point`."""
        if not self._conditional:
            return np.ones(self.space.dim, dtype=bool)
        masks = self.space.active(self.space.from_vector(torch.as_tensor(point, dtype=torch.float64)))
        return np.array([bool(masks[name]) for name in self.space])

    def key(self, point: Point) -> Key:
        """Equal for two legal points that the black box cannot tell apart."""
        told_apart = np.where(self.active(point), point, 0.5)
        return np.round(told_apart, 6).astype(np.float32).tobytes()

    def options(self, point: Point) -> tuple[int, ...]:
        """Index of the option of every choice, in order."""
        return tuple(min(int(point[i] * size), size - 1) for i, size in self.choices.items())

    def with_option(self, point: Point, coordinate: int, option: int) -> Point:
        """`point` with one choice turned to another option."""
        flipped = point.copy()
        flipped[coordinate] = (option + 0.5) / self.choices[coordinate]
        return self.legal(flipped)

    def features(self, points: Iterable[Point]) -> NDArray[np.float64]:
        """(N, p): numeric coordinates as they are (0.5 where a knob does not act), then one-hot choices."""
        rows = []
        for point in points:
            numbers = np.where(self.active(point), point, 0.5)[self.numeric]
            hots = [np.eye(size)[k] for size, k in zip(self.choices.values(), self.options(point), strict=True)]
            rows.append(np.concatenate([numbers, *hots]))
        return np.array(rows)
