"""The fused spans without a GPU: interpreted, against the definitions, and compiled for GPUs."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch

from agents.cores.lstm import LSTM
from agents.cores.rims import RIMsConfig
from agents.kernels.compiling import definitions

from .spans import forms, given, real_cases

triton = pytest.importorskip("triton")

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.backends.driver import DriverBase  # noqa: E402

from agents.kernels.fusing import options  # noqa: E402

ROOT = Path(__file__).parents[3]
SHARED = 48 * 1024  # bytes, what every GPU gives a block
SPILLED = 512  # bytes a thread, for want of registers
MODULES = "agents.kernels.fused_lstm", "agents.cores.rims.fused.span"


def test_the_interpreted_kernels_equal_the_definitions():
    """In a separate process, since Triton must be told to interpret before it is imported."""
    words = [sys.executable, "-m", "tests.agents.cores.spans"]
    told = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(words, cwd=ROOT, env=told, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("equal") == 16


class Compiler(DriverBase):
    """A Triton driver of an absent GPU, for which kernels are only compiled."""

    def __init__(self, capability):
        self.capability = capability

    @classmethod
    def is_active(cls):
        return True

    def get_current_target(self):
        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self):
        return self.capability  # by which kernels are kept

    def get_current_stream(self, device):
        return 0

    def map_python_to_cpp_type(self, ty):
        raise NotImplementedError

    def get_active_torch_device(self):
        raise NotImplementedError

    def get_benchmarker(self):
        raise NotImplementedError


@pytest.fixture
def compiled(monkeypatch, request):
    """Compile launched kernels for a compute capability instead of running them."""
    made = []

    def launch(kernel, batch, runs, memory, sizes, **constants):
        made.append(kernel.warmup(memory, sizes, grid=(1,), **options(), **constants))

    monkeypatch.setattr(triton.runtime.driver, "_active", Compiler(request.param))
    for module in MODULES:
        monkeypatch.setattr(import_module(module), "launch", launch)
    return made


def spilled(cubin, folder):
    """Bytes of spilled registers per thread."""
    path = folder / "kernel.cubin"
    path.write_bytes(cubin)
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    usage = subprocess.run([tool, "-res-usage", path], capture_output=True, text=True, check=True)
    (count,) = re.findall(r"STACK:(\d+)", usage.stdout)
    return int(count)


@pytest.mark.parametrize(
    ("compiled", "name"),
    [
        (80, "LSTM"),
        (90, "LSTM"),
        (80, "RIMs, null, 3 active"),
        (90, "RIMs, null, 3 active"),
        (90, "RIMs, sparse, 3 active"),
    ],
    indirect=["compiled"],
)
def test_the_kernels_compile_with_room_to_spare(compiled, name, tmp_path):
    """As launched in training and, one step at a time, in acting."""
    case = next(case for case in real_cases() if case.name == name)
    cell, x, state, starts = given(replace(case, steps=2, batch=4), "cpu")
    run, _ = forms(cell)
    run(cell, case.frames(x), state, starts)[0].sum().backward()
    with torch.no_grad():
        run(cell, case.frames(x[:1]), state, starts[:1])
    assert [each.metadata.name for each in compiled] == ["forward", "backward", "forward"]
    for each in compiled:
        assert f".target sm_{each.metadata.target.arch}" in each.asm["ptx"]
        assert each.metadata.shared <= SHARED
        assert spilled(each.asm["cubin"], tmp_path) <= SPILLED


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
