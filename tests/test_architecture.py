"""The four rooms: which package may import which, and that every function fits on one screen."""

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
SCREEN = 50  # lines of code in a function, docstring apart


def sources(room: str) -> list[Path]:
    return [ROOT / "run.py"] if room == "run" else sorted((ROOT / room).rglob("*.py"))


def imported_rooms(code: str) -> set[str]:
    """Packages of ours that `code` imports by name, at any depth; relative imports stay inside."""
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
