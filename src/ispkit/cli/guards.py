"""What every command needs against mishaps: one-line messages, and outputs that are no inputs."""

from __future__ import annotations

from pathlib import Path

from ispkit.core.errors import FileError, IspkitError, ParamError

_NO_MEMORY = "not enough memory; use a smaller picture, --workers 1 or --crop"


def one_line(error: BaseException) -> str:
    """The message of an error as one line."""
    if isinstance(error, MemoryError) or is_out_of_memory(error):
        return _NO_MEMORY
    return " ".join(str(error).split()) or type(error).__name__


def is_expected(error: BaseException) -> bool:
    """Whether wrong input or the machine caused it; anything else is a bug and keeps its traceback."""
    return isinstance(error, IspkitError | OSError | MemoryError) or is_out_of_memory(error)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch ran out of memory, which it reports as a plain `RuntimeError`."""
    return isinstance(error, RuntimeError) and ("allocate memory" in str(error) or "out of memory" in str(error))


def check_outputs(*outputs: Path | None) -> None:
    """Raise `FileError` before long work if a file could not be written where it is wanted."""
    for output in outputs:
        if output is not None and not output.absolute().parent.is_dir():
            raise FileError(f"cannot write {output}: the folder does not exist; make it first")


def refuse_overwriting(output: Path | None, *inputs: Path | None) -> None:
    """Raise `ParamError` if the output is one of the inputs."""
    if output is None or not output.exists():
        return
    for path in inputs:
        if path is not None and path.exists() and output.samefile(path):
            raise ParamError(f"{output} is an input of this command; choose another name for the output")
