"""The packages (rooms): which may import which; limits on files, functions and `Any`."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "envs": set(),
    "metarims": set(),
    "agents": {"metarims"},
    "run": {"agents", "envs", "metarims"},
}
OURS = {*MAY_IMPORT, "tests"}
SCREEN = 45  # lines of code in a function, docstring apart
FILE = 450  # lines
COMMAND_LINE = 200  # lines of run.py

# The layers (floors) of a package, from the bottom up: a file imports from its own and those below.
FLOORS = {
    "metarims": [
        ["errors", "memory", "optimizer", "status", "stopping", "tables"],
        ["ranks"],
        ["registry", "files", "clock"],
        ["settings", "statistics"],
        ["protocols", "losses", "returns"],
        ["novelty"],
        ["loops", "rollout", "sequences", "teacher"],
        ["algorithms", "diagnostics", "evaluation", "tally"],
        ["config", "learner", "checkpoint"],
        ["stacked", "graphs"],
        ["runs"],
        ["board"],
        ["monitor", "training"],
        ["seeds"],
        ["studies"],
        ["commands", "cli"],
    ],
    "agents": [
        ["kernels"],
        ["frames", "cells"],
        ["views"],
        ["missions"],
        ["encoder", "cores", "heads"],
        ["policy"],
        ["presets", "experiments"],
        ["bench", "classify"],
    ],
}


def sources(room: str) -> list[Path]:
    return [ROOT / "run.py"] if room == "run" else sorted((ROOT / room).rglob("*.py"))


def imported_rooms(code: str) -> set[str]:
    """Our packages that `code` imports by name, at any depth; relative imports stay inside one."""
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names & OURS


def functions(code: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def height(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end of the body, without the docstring's."""
    first = function.body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return height(function) - (height(first) if is_docstring else 0)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_go_one_way(room):
    found = sources(room)
    assert found, f"no source in {room}"
    for path in found:
        wrong = imported_rooms(path.read_text()) - MAY_IMPORT[room] - {room}
        assert not wrong, f"{path.relative_to(ROOT)} must not import {sorted(wrong)}"


def floor_of(room: str, path: Path) -> int | None:
    """The layer of a file in a package; None for the package's `__init__`."""
    parts = path.relative_to(ROOT / room).with_suffix("").parts
    for number, names in enumerate(FLOORS[room]):
        if parts[0] in names:
            return number
    assert parts == ("__init__",), f"{path} is on no floor"
    return None


def imported_files(room: str, path: Path) -> set[str]:
    """The modules of a package that a file imports, absolutely or relatively."""
    package = path.relative_to(ROOT).parent.parts
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        base = list(package[: len(package) - node.level + 1]) if node.level else []
        full = [*base, *(node.module.split(".") if node.module else [])]
        if full and full[0] == room:
            names |= {full[1]} if len(full) > 1 else {alias.name for alias in node.names}
    return names


@pytest.mark.parametrize("room", FLOORS)
def test_nothing_is_imported_from_a_floor_above(room):
    known = {name: number for number, names in enumerate(FLOORS[room]) for name in names}
    for path in sources(room):
        floor = floor_of(room, path)
        if floor is None:
            continue
        for name in imported_files(room, path) & known.keys():
            assert known[name] <= floor, f"{path.relative_to(ROOT)} imports {name} from above"


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_no_file_is_longer_than_a_sitting(room):
    for path in sources(room):
        lines = len(path.read_text().splitlines())
        assert lines <= (COMMAND_LINE if room == "run" else FILE), f"{path.name} has {lines} lines"


def annotations(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.expr]:
    arguments = function.args
    for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
        if argument.annotation is not None:
            yield argument.annotation
    if function.returns is not None:
        yield function.returns


def says_any(annotation: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(annotation))


def is_compiled(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a decorator compiles it; compiled code has types of its own."""
    return any(
        isinstance(node, ast.Name | ast.Attribute)
        and getattr(node, "id", getattr(node, "attr", "")) in COMPILERS
        for decorator in function.decorator_list
        for node in ast.walk(decorator)
    )


COMPILERS = {"compiled", "njit", "intrinsic", "level", "inlined", "part", "kernel", "overload"}


def test_signatures_say_what_they_take():
    """`Any` is in under 2 % of the annotations outside compiled code."""
    total, vague = 0, []
    for room in MAY_IMPORT:
        for path in sources(room):
            if path.name in ("kernels.py", "gpu.py", "cpu.py", "jit.py", "rng.py", "lanes.py"):
                continue  # compiled code
            for function in functions(path.read_text()):
                if not is_compiled(function):
                    given = list(annotations(function))
                    total += len(given)
                    vague += [f"{path}:{a.lineno}" for a in given if says_any(a)]
    assert len(vague) < 0.02 * total, (len(vague), total, vague)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_every_function_fits_on_one_screen(room):
    for path in sources(room):
        for function in functions(path.read_text()):
            lines = code_lines(function)
            assert lines <= SCREEN, f"{path.name}: {function.name} has {lines} lines"


@pytest.mark.parametrize(
    ("code", "rooms"),
    [
        ("import envs", {"envs"}),
        ("import numpy, agents.lstm as a", {"agents"}),
        ("def late():\n    from metarims.ppo import update", {"metarims"}),
        ("from . import envs\nfrom .agents import lstm", set()),
        ("import environments", set()),
    ],
)
def test_reads_imports_of_every_form(code, rooms):
    assert imported_rooms(code) == rooms


def test_counts_code_without_the_docstring():
    code = 'def f(\n    x,\n):\n    """One\n\n    two.\n    """\n    y = x\n    return y\n'
    assert code_lines(next(functions(code))) == 5
