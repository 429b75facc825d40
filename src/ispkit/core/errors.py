"""One error family, so a caller can catch every complaint of the toolkit with one `except`."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class IspkitError(Exception):
    """Base of all errors raised on purpose; the command line prints it as one line, exit code 2."""


class ParamError(IspkitError, ValueError):
    """A knob's name or value does not fit its declaration."""


class DomainError(IspkitError, ValueError):
    """Two steps that do not speak the same image domain were joined."""


class RecipeError(IspkitError, ValueError):
    """A recipe does not follow the grammar."""


class FileError(IspkitError, ValueError):
    """A file cannot be read or written; the message says what the file is and what would be right."""


class ShapeError(IspkitError, ValueError):
    """A tensor or a picture has the wrong shape or size."""


class BlackBoxError(IspkitError, RuntimeError):
    """A program or device that renders pictures failed: exit code, time-out, garbage, half a picture, another size."""


class MissingExtraError(IspkitError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt name: the nearest known one, or all of them.

    >>> nearest("linearise", ["linearize", "encode"])
    "did you mean 'linearize'?"
    """
    names = list(known)
    near = get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(names))}"
