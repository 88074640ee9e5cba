"""The fused spans without a GPU: interpreted beside the definitions, and compiled for GPUs."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from agents.cores.lstm import LSTM
from agents.cores.rims import RIMsConfig
from agents.kernels.compiling import definitions

from .spans import forms, given, real_cases

triton = pytest.importorskip("triton")

ROOT = Path(__file__).parents[3]
SHARED = 48 * 1024  # bytes, what every GPU gives a block
SPILLED = 512  # bytes a thread, for want of registers
TYPES = {torch.float32: "*fp32", torch.bool: "*i1", torch.int32: "*i32"}
MODULES = "agents.cores.lstm.fused", "agents.cores.rims.fused.span"


def test_the_interpreted_kernels_equal_the_definitions():
    """In a process of its own: Triton is told to interpret before it is imported."""
    words = [sys.executable, "-m", "tests.agents.cores.spans"]
    told = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(words, cwd=ROOT, env=told, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("equal") == 12


def launches_of(case, monkeypatch):
    """What a span launches, forward and backward."""
    launches = []

    def launch(kernel, batch, memory, sizes, **constants):
        launches.append((kernel, memory, sizes, constants))

    for module in MODULES:
        monkeypatch.setattr(import_module(module), "launch", launch)
    cell, x, state, starts = given(case, "cpu")
    run, _ = forms(cell)
    run(cell, case.frames(x), state, starts)[0].sum().backward()
    return launches


def compile_for(capability, kernel, memory, sizes, constants) -> Any:
    """The kernel as it is launched, compiled by the compiler's own tools."""
    from agents.kernels.fusing import options as common

    options = common()
    constants = constants | {name: options.pop(name) for name in ("tile", "precision")}
    told = {"x": type(memory)(*(TYPES[each.dtype] for each in memory))}
    told["s"] = type(sizes)(*("i32" for _ in sizes))
    told |= dict.fromkeys(constants, "constexpr")
    source = triton.compiler.ASTSource(kernel, told, constants)
    target = triton.backends.compiler.GPUTarget("cuda", capability, 32)
    return triton.compile(source, target=target, options=options)


def spilled(cubin, folder):
    """Bytes of memory that a thread takes for what its registers do not hold."""
    path = folder / "kernel.cubin"
    path.write_bytes(cubin)
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    usage = subprocess.run([tool, "-res-usage", path], capture_output=True, text=True, check=True)
    (count,) = re.findall(r"STACK:(\d+)", usage.stdout)
    return int(count)


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("LSTM", 80),
        ("LSTM", 90),
        ("RIMs, null, 3 active", 80),
        ("RIMs, null, 3 active", 90),
        ("RIMs, sparse, 3 active", 90),
    ],
)
def test_the_kernels_compile_with_room_to_spare(name, capability, monkeypatch, tmp_path):
    case = next(case for case in real_cases() if case.name == name)
    launches = launches_of(replace(case, steps=2, batch=4), monkeypatch)
    assert [kernel.__name__ for kernel, *_ in launches] == ["forward", "backward"]
    for launched in launches:
        made = compile_for(capability, *launched)
        assert f".target sm_{capability}" in made.asm["ptx"]
        assert made.metadata.shared <= SHARED
        assert spilled(made.asm["cubin"], tmp_path) <= SPILLED


def test_the_form_is_chosen_by_the_device_and_said(monkeypatch):
    monkeypatch.setattr("agents.kernels.compiling.FUSED_ON", "meta")  # which needs no GPU
    lstm, rims = LSTM(3, 4), RIMsConfig().make_cell(3)
    assert (lstm.form, rims.form) == ("LSTM compiled", "RIMs compiled")
    lstm, rims = lstm.to("meta"), rims.to("meta")
    assert lstm.form == "LSTM fused"
    assert rims.form == "RIMs fused (several slots by their definition)"
    assert RIMsConfig(dynamics="gru").make_cell(3).to("meta").form == "RIMs by their definition"
    assert LSTM(3, 4).double().to("meta").form == "LSTM by its definition"
    with definitions():
        assert lstm.form == "LSTM by its definition"
        assert rims.form == "RIMs by their definition"
    monkeypatch.setattr("agents.kernels.compiling._has_triton", lambda: False)
    assert lstm.form == "LSTM by its definition"
    assert rims.form == "RIMs by their definition"


def test_only_what_is_fused_imports_triton_or_is_imported_late():
    for path in sorted((ROOT / "agents").rglob("*.py")):
        if "fused" in path.stem + path.parent.name or path.stem == "fusing":
            continue
        for node in ast.parse(path.read_text()).body:  # what is run when the file is imported
            if isinstance(node, ast.Import | ast.ImportFrom):
                words = re.findall(r"\w+", ast.unparse(node))
                assert not {"triton", "fused", "fusing"} & set(words), f"{path}:{node.lineno}"
