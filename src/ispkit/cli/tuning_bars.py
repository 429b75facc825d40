"""Progress of long work: bars on a terminal, now and then a line in a log."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from ispkit.train.journal import Progress as Learning
    from ispkit.tune.plan import Hooks
    from ispkit.tune.plan import Progress as Step

_LINES = 10
"""of a search, where there is no terminal"""


class Bars:
    """A bar for each search and count that is shown; `quiet` shows nothing."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self.console, self.quiet = console, quiet
        self._live = console.is_terminal and not quiet
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"))
        self._bars = Progress(*columns, TimeElapsedColumn(), console=console, transient=True, disable=not self._live)
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, int] = {}

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bars.stop()

    def note(self, text: str) -> None:
        """A line above the bars."""
        if not self.quiet:
            self.console.print(text, markup=False)

    def searching(self, name: str) -> Callable[[Step], None]:
        """What a study of that name tells after each trial."""

        def told(step: Step) -> None:
            left = "" if math.isnan(step.eta_s) else f", {step.eta_s:.0f} s left"
            failed = f", {step.failures} failed" if step.failures else ""
            scores = f"best {step.best_score:.4g}, expert {step.expert_score:.4g}"
            self._show(name, (step.spent, step.budget), f"{step.spent:.4g}/{step.budget:.4g}: {scores}{failed}{left}")

        return told

    def counting(self, name: str) -> Callable[[int, int], None]:
        """What a loop of that name tells."""
        return lambda done, total: self._show(name, (done, total), f"{done}/{total}")

    def training(self, title: str = "") -> Callable[[Learning], None]:
        """What a training of that title tells: loss, held-out score and time left of each phase."""
        from ispkit.train.journal import worded

        def told(at: Learning) -> None:
            held = "" if at.score is None else f", {worded(dict([at.score]))}"
            left = "" if math.isnan(at.seconds_left) else f", {duration(at.seconds_left)} left"
            number, phases = at.phases
            name = ", ".join([*([title] if title else []), f"{at.phase} ({number} of {phases})"])
            self._show(name, (at.share, 1.0), f"step {at.step}: loss {at.loss:.4g}{held}{left}")

        return told

    def hooks(self, name: str) -> Hooks:
        """The hooks of an experiment's study."""
        from ispkit.tune.plan import Hooks

        return Hooks(on_progress=self.searching(name))

    def _show(self, name: str, at: tuple[float, float], text: str) -> None:
        done, total = at
        if self._live:
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(name, told="")
            self._bars.update(self._tasks[name], completed=done, total=total, told=text, visible=done < total)
            return
        tenth = int(_LINES * done / total) if total else 0
        if tenth > self._said.setdefault(name, 0):
            self._said[name] = tenth
            self.note(f"{name}: {text}")


def duration(seconds: float) -> str:
    """A time for people.

    >>> duration(600)
    '10 min'
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
