"""One-line explanations of why a function of a level or a rule does not compile or run."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterable

from numba.core.errors import NumbaError, UnsupportedBytecodeError

from .record import RECORD

# What compiling and running such a function raise: KeyError for a field that a record lacks.
MISTAKES = (NumbaError, UnsupportedBytecodeError, KeyError, ArithmeticError)
LONGEST = 200  # characters of the compiler's message

_COLORS = re.compile(r"\x1b\[\d*m")
_SAYS_NOTHING = re.compile(r"\s*(Failed in nopython mode pipeline.*)?")
_ARGUMENTS = re.compile(r"Cannot bind .* due to \"TypeError: (.*)\"")
_NAME = re.compile(r"name '(\w+)' is not defined")


def explain(function: Callable[..., object], error: Exception) -> str:
    """Where in the function the mistake is, as far as known, and what it is.

    Args:
        function: the Python function, not the compiled one.
        error: one of `MISTAKES`.
    """
    file, first = function.__code__.co_filename, function.__code__.co_firstlineno
    if isinstance(error, KeyError):
        line = _line_with(function, f".{error.args[0]}")
        return f"{file}:{line or first}: {describe(error)}"
    reason = describe(error)
    if lines := _lines_told(file, error):
        first = lines[0]
    if name := _NAME.search(reason):
        first = _line_with(function, name[1]) or first
    return f"{file}:{first}: {reason}"


def describe(error: Exception) -> str:
    """What the mistake is."""
    if isinstance(error, KeyError):
        return _no_such_field(error.args[0])
    return _reason(_COLORS.sub("", str(error)).strip() or type(error).__name__)


def is_in(function: Callable[..., object], error: Exception) -> bool:
    """Whether the error tells that the mistake is in the function, or in what it calls."""
    if isinstance(error, KeyError):
        return _line_with(function, f".{error.args[0]}") > 0
    code = function.__code__
    if name := _NAME.search(describe(error)):
        return name[1] in code.co_names
    within = {line for *_, line in code.co_lines()}
    return any(line in within for line in _lines_told(code.co_filename, error))


def _lines_told(file: str, error: Exception) -> list[int]:
    """The lines of a file that the compiler's message names, in its order."""
    text = _COLORS.sub("", str(error))
    return [int(line) for line in re.findall(rf"{re.escape(file)} \((\d+)\)", text)]


def _line_with(function: Callable[..., object], part: str) -> int:
    """The number of the function's first line with ``part`` as a whole word, 0 if none is known."""
    try:
        lines, first = inspect.getsourcelines(function)
    except OSError:  # typed in, or made by `exec`
        return 0
    word = re.compile(rf"{re.escape(part)}\b")
    return next((first + i for i, line in enumerate(lines) if word.search(line)), 0)


def unknown(kind: str, name: str, known: Iterable[str]) -> ValueError:
    """That nothing of a kind has this name, with the nearest names that are known."""
    spelt = {each.lower(): each for each in known}
    near = [spelt[each] for each in difflib.get_close_matches(name.lower(), spelt, 3, 0)]
    return ValueError(f"unknown {kind} '{name}'; did you mean {', '.join(near)}?")


def _no_such_field(name: object) -> str:
    near = difflib.get_close_matches(str(name), RECORD.names or (), 3, 0.5)
    return f"a record has no {name}" + (f"; nearest: {', '.join(near)}" if near else "")


def _reason(text: str) -> str:
    """The start of the compiler's message, shortened."""
    lines = [line.strip() for line in text.splitlines() if not _SAYS_NOTHING.fullmatch(line)]
    first, *others = lines or [text]
    said = " ".join([first, *others[:1]]) if first.endswith(":") else first
    if arguments := _ARGUMENTS.search(said):
        said = f"a function is called with the wrong arguments: {arguments[1]}"
    said = said.split(" Raised from ")[0]
    return said if len(said) <= LONGEST else f"{said[:LONGEST]} …"
