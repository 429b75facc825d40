"""`Batcher`: requests of one kind that come close together are worked on together, by one thread."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

J = TypeVar("J")
R = TypeVar("R")


class ClosedError(RuntimeError):
    """The batcher takes nothing new: the server is about to end."""


@dataclass(eq=False)
class _Item(Generic[J, R]):
    job: J
    kind: Hashable
    since: float = field(default_factory=time.monotonic)
    future: Future[R] = field(default_factory=Future)


class Batcher(Generic[J, R]):
    """Collects jobs for at most `wait_s` and gives them to `work`, one batch at a time.

    The oldest job is always in the next batch, with those of its kind that are there, in the order they came; so no
    kind waits for ever. Where a batch fails, its jobs are tried one by one: a bad one takes no other with it.

    Args:
        work: jobs of one kind -> as many results, in order; it runs in the batcher's own thread.
        kind: jobs of equal kind may share a batch.
        most: how many jobs like this one fit in a batch.
        wait_s: how long the oldest job waits for company; 0 takes what is there.
    """

    def __init__(
        self,
        work: Callable[[Sequence[J]], Sequence[R]],
        *,
        kind: Callable[[J], Hashable],
        most: Callable[[J], int],
        wait_s: float = 0.004,
    ) -> None:
        self._work, self._kind, self._most, self._wait_s = work, kind, most, wait_s
        self._waiting: deque[_Item[J, R]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name="batcher", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Jobs that nobody works on yet."""
        return len(self._waiting)

    @property
    def alive(self) -> bool:
        """Whether jobs are taken and worked on."""
        return self._thread.is_alive() and not self._closed

    def submit(self, job: J) -> Future[R]:
        """The result to come; cancel it, and a job that has not begun never will. Raises `ClosedError`."""
        item: _Item[J, R] = _Item(job, self._kind(job))
        with self._changed:
            if self._closed:
                raise ClosedError("the batcher is closed")
            self._waiting.append(item)
            self._changed.notify_all()
        return item.future

    def close(self) -> None:
        """Take nothing new, finish what is there, end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _loop(self) -> None:
        while (batch := self._next()) is not None:
            self._run([item for item in batch if item.future.set_running_or_notify_cancel()])

    def _next(self) -> list[_Item[J, R]] | None:
        """The next batch; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) or self._closed)
            if not self._waiting:
                return None
            first = self._waiting[0]
            most = max(1, self._most(first.job))
            left = first.since + self._wait_s - time.monotonic()
            self._changed.wait_for(lambda: self._closed or len(self._like(first)) >= most, max(0.0, left))
            chosen = self._like(first)[:most]
            taken = set(map(id, chosen))
            self._waiting = deque(item for item in self._waiting if id(item) not in taken)
            return chosen

    def _like(self, first: _Item[J, R]) -> list[_Item[J, R]]:
        return [item for item in self._waiting if item.kind == first.kind]

    def _run(self, items: list[_Item[J, R]]) -> None:
        if not items:
            return
        try:
            results = self._work([item.job for item in items])
            if len(results) != len(items):
                raise RuntimeError(f"{len(items)} jobs gave {len(results)} results")
        except BaseException as error:  # the thread must live on
            if len(items) == 1:
                items[0].future.set_exception(error)
                return
            for item in items:
                self._run([item])
            return
        for item, result in zip(items, results, strict=True):
            item.future.set_result(result)
