"""Turns a routine that calls a function into one that is asked and told: the routine waits in a thread."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue

import numpy as np

from ispkit.tune.contracts import Point

Routine = Callable[[Callable[[Point], float]], None]
"""calls the function it is given, time after time, and returns when it is through"""


class _StopError(Exception):
    """Raised inside the routine when nobody waits for its questions any more."""


class Inverted:
    """A routine's questions one by one.

    `question` is the point whose score the routine waits for (None: it has ended), `answer` gives the score.
    The two threads never run at the same time, so the routine is as deterministic as without the inversion.
    """

    def __init__(self, routine: Routine) -> None:
        questions: SimpleQueue[Point | Exception | None] = SimpleQueue()
        answers: SimpleQueue[float | None] = SimpleQueue()
        self._questions, self._answers = questions, answers
        threading.Thread(target=_serve, args=(routine, questions, answers), daemon=True).start()
        weakref.finalize(self, answers.put, None)
        self.question: Point | None = self._next()

    def answer(self, score: float) -> None:
        """The score of the question; then the next question is there."""
        self._answers.put(score)
        self.question = self._next()

    def close(self) -> None:
        """End the routine; there are no questions any more."""
        if self.question is not None:
            self.question = None
            self._answers.put(None)

    def _next(self) -> Point | None:
        item = self._questions.get()
        if isinstance(item, Exception):
            raise item
        return item


def _serve(
    routine: Routine, questions: SimpleQueue[Point | Exception | None], answers: SimpleQueue[float | None]
) -> None:
    def ask(point: Point) -> float:
        questions.put(np.array(point, dtype=np.float64))
        score = answers.get()
        if score is None:
            raise _StopError
        return score

    try:
        routine(ask)
        questions.put(None)
    except _StopError:
        pass
    except Exception as error:  # the asking thread is where it can be dealt with
        questions.put(error)
