"""Run a program to its end, or end it and all that it has started."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from tempfile import TemporaryFile
from typing import IO

from ispkit.core.errors import BlackBoxError

_LAST_WORDS = 400  # characters of a failing program's output that are quoted


def run_program(
    words: Sequence[str], *, environment: Mapping[str, str], timeout_s: float, any_code: bool = False
) -> str:
    """The last words that the program prints on either stream. Raises `BlackBoxError` where it fails.

    It runs without a shell, in a session of its own, so that a time-out ends its children with it.
    `any_code` takes what it printed whatever its exit code is.
    """
    with TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                list(words),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        except OSError as error:
            raise BlackBoxError(f"{words[0]!r} cannot be started ({error.strerror}); is it installed?") from error
        code, late = _awaited(process, timeout_s)
        if late:
            raise BlackBoxError(_reason(f"took more than {timeout_s:g} s and was ended", words, said))
        if code != 0 and not any_code:
            ended = f"ended with code {code}" if code > 0 else f"was killed by signal {-code}"
            raise BlackBoxError(_reason(ended, words, said))
        return last_words(said)


def _awaited(process: subprocess.Popen[bytes], timeout_s: float) -> tuple[int, bool]:
    """The exit code, and whether the time was up; `Popen.wait` with a limit would poll 20 times a second."""
    late = threading.Event()

    def end() -> None:
        late.set()
        _end(process)

    timer = threading.Timer(timeout_s, end)
    timer.daemon = True
    timer.start()
    try:
        return process.wait(), late.is_set()
    except BaseException:  # Ctrl-C does not reach another session by itself
        _end(process)
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


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _reason(what: str, words: Sequence[str], said: IO[bytes]) -> str:
    output = last_words(said)
    return f"{shlex.join(words)} {what}" + (f"; it said: {output}" if output else "; it said nothing")
