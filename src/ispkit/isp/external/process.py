"""Run a program to its end, or end it and all that it has started."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from tempfile import TemporaryFile
from typing import IO

from ispkit.core.errors import BlackBoxError

_LAST_WORDS = 400  # characters of a failing program's output that are quoted
_GUARD = ("sh", "-c", "read -r never; kill -KILL 0")  # reads nothing: its pipe closes when this process is gone


def run_program(
    words: Sequence[str], *, environment: Mapping[str, str], timeout_s: float, any_code: bool = False
) -> str:
    """The last words that the program prints on either stream. Raises `BlackBoxError` where it fails.

    It runs without a shell, in a process group of its own, which ends as a whole: when the time is up, and
    when this process dies, also by SIGKILL. `any_code` takes what it printed whatever its exit code is.
    """
    with TemporaryFile() as said, _guarded_group() as group:
        try:
            process = subprocess.Popen(
                list(words),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                process_group=group,
            )
        except OSError as error:
            raise BlackBoxError(f"{words[0]!r} cannot be started ({error.strerror}); is it installed?") from error
        code, late = _awaited(process, group, timeout_s)
        if late:
            raise BlackBoxError(_reason(f"took more than {timeout_s:g} s and was ended", words, said))
        if code != 0 and not any_code:
            ended = f"ended with code {code}" if code > 0 else f"was killed by signal {-code}"
            raise BlackBoxError(_reason(ended, words, said))
        return last_words(said)


@contextlib.contextmanager
def _guarded_group() -> Iterator[int]:
    """A process group for one program, led by a shell that kills it when this process is gone.

    The program is a member before its first instruction, so there is no moment in which it could be left behind.
    Gives the group's number; 0, a new group that nobody guards, where there is no POSIX shell.
    """
    quiet = subprocess.DEVNULL
    try:
        guard = subprocess.Popen(_GUARD, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, process_group=0)
    except OSError:
        yield 0
        return
    with guard:
        try:
            yield guard.pid
        finally:
            guard.kill()  # before its pipe closes: what a finished program left behind on purpose may stay


def _awaited(process: subprocess.Popen[bytes], group: int, timeout_s: float) -> tuple[int, bool]:
    """The exit code, and whether the time was up; `Popen.wait` with a limit would poll 20 times a second."""
    late = threading.Event()

    def end() -> None:
        late.set()
        _end(process, group)

    timer = threading.Timer(timeout_s, end)
    timer.daemon = True
    timer.start()
    try:
        return process.wait(), late.is_set()
    except BaseException:  # Ctrl-C does not reach another group by itself
        _end(process, group)
        process.wait()
        raise
    finally:
        timer.cancel()


def last_words(said: IO[bytes]) -> str:
    """The end of a program's output, on one line."""
    size = os.fstat(said.fileno()).st_size
    said.seek(max(0, size - 4 * _LAST_WORDS))
    text = said.read().decode(errors="replace")
    return " ".join(text.split())[-_LAST_WORDS:]


def _end(process: subprocess.Popen[bytes], group: int) -> None:
    if sys.platform == "win32":
        process.kill()
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group or process.pid, signal.SIGKILL)


def _reason(what: str, words: Sequence[str], said: IO[bytes]) -> str:
    output = last_words(said)
    return f"{shlex.join(words)} {what}" + (f"; it said: {output}" if output else "; it said nothing")
