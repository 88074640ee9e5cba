"""GPU kernels compile; `tests.gpu_check` compares them with the CPU on a GPU."""

from __future__ import annotations

import re
from fractions import Fraction
from types import SimpleNamespace

import numba
import numpy as np
import pytest
from numba import types

from envs import rules
from envs.record import RECORD
from envs.registry import LEVELS
from envs.vision import make_full_view, make_partial_view

gpu = pytest.importorskip("envs.gpu")

RECORDS = types.Array(numba.from_dtype(RECORD), 1, "A")
BYTES, IMAGE = types.Array(types.uint8, 1, "C"), types.Array(types.uint8, 2, "C")
ACTIONS = types.Array(types.int64, 1, "C")


def compile_for(capability, kernel, signature, monkeypatch, opt=True):
    """Compile to PTX for a compute capability, without a GPU; optimisation would take twice as
    long.
    """
    from numba import cuda
    from numba.cuda import dispatcher

    device = SimpleNamespace(compute_capability=capability)
    monkeypatch.setattr(dispatcher, "get_current_device", lambda: device)
    ptx, _ = cuda.compile_ptx(kernel, signature, cc=capability, opt=opt)
    return ptx


REWARDS, ENDS = types.Array(types.float64, 1, "C"), types.Array(types.boolean, 2, "C")
MISSIONS = types.Array(types.int16, 2, "C")


@pytest.mark.parametrize("capability", [(8, 0), (9, 0)])
@pytest.mark.parametrize(
    ("kernel", "arguments"),
    [
        (gpu.advance_source(make_partial_view(7), ()), [ACTIONS, IMAGE, BYTES, REWARDS, ENDS]),
        (gpu.observe_source(make_partial_view(7), False), [ACTIONS, IMAGE, BYTES, MISSIONS]),
        (gpu.advance_source(make_full_view(8, 8), ()), [ACTIONS, IMAGE, BYTES, REWARDS, ENDS]),
    ],
    ids=["advance", "observe", "full"],
)
def test_the_shared_kernels_compile(kernel, arguments, capability, monkeypatch):
    signature = types.void(types.int64, RECORDS, *arguments)
    ptx = compile_for(capability, kernel, signature, monkeypatch)
    assert f".target sm_{capability[0]}{capability[1]}" in ptx


def test_a_rule_of_ones_own_compiles(monkeypatch):
    monkeypatch.setattr(rules, "OWN", {})

    @rules.rule("test-cost")
    def cost(e, action, noted):
        e.reward -= 0.125

    kernel = gpu.advance_source(make_partial_view(7), rules.own_rules(["test-cost"]))
    signature = types.void(types.int64, RECORDS, ACTIONS, IMAGE, BYTES, REWARDS, ENDS)
    ptx = compile_for((9, 0), kernel, signature, monkeypatch, opt=False)
    assert re.search("0d[3B]FC0000000000000", ptx)  # 0.125 or -0.125


def test_the_painting_kernel_compiles(monkeypatch):
    table, words = types.Array(types.uint8, 3, "C"), types.Array(types.int64, 1, "C")
    sprites = types.Array(types.int64, 3, "C")
    signature = types.void(types.int64, IMAGE, table, sprites, words)
    for capability in ((8, 0), (9, 0)):
        ptx = compile_for(capability, gpu.paint_source(7, 8, 3), signature, monkeypatch)
        assert f".target sm_{capability[0]}{capability[1]}" in ptx


def one_level_a_function():
    return list({level.generate: level for level in LEVELS.values()}.values())


@pytest.mark.parametrize("level", one_level_a_function(), ids=lambda level: level.id)
def test_the_layout_kernels_compile(level, monkeypatch):
    signature = types.void(types.int64, RECORDS, numba.typeof(level.params), ACTIONS)
    kernel = gpu.renew_source(level.generate)
    ptx = compile_for((8, 0), kernel, signature, monkeypatch, opt=False)
    assert ".target sm_80" in ptx  # newer ones compile it from there


def test_the_reward_does_not_depend_on_fused_multiply_and_add():
    """A GPU may round 1 - 0.9 n / n_max once instead of twice; float32 hides the difference."""
    weight = Fraction(0.9)
    for limit in sorted({level.max_steps for level in LEVELS.values() if level.max_steps}):
        for n in range(1, limit + 1):
            ratio = n / limit
            fused = float(1 - weight * Fraction(ratio))
            assert np.float32(fused) == np.float32(1.0 - 0.9 * ratio)


@pytest.fixture
def no_driver(monkeypatch, tmp_path):
    """Kernels can be compiled to PTX and cached, without a driver."""
    from numba.cuda import codegen, dispatcher
    from numba.cuda.core import config

    device = SimpleNamespace(compute_capability=(9, 0))
    monkeypatch.setattr(dispatcher, "get_current_device", lambda: device)
    monkeypatch.setattr(codegen.devices, "get_context", lambda: SimpleNamespace(device=device))
    monkeypatch.setattr(dispatcher._Kernel, "bind", lambda self: None)
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))


def made_again(make, *given):
    """The kernel as another process would make it."""
    return make.__wrapped__(*given)


def test_kernels_are_kept_for_as_long_as_what_they_are_made_of(no_driver, monkeypatch, tmp_path):
    signature = types.void(types.int64, RECORDS, ACTIONS, IMAGE, BYTES, MISSIONS)
    view = make_partial_view(3)
    kernels = [made_again(gpu.make_observe, view, True) for _ in range(2)]
    one, again = (kernel.compile(signature) for kernel in kernels)
    assert [sum(kernel._cache_hits.values()) for kernel in kernels] == [0, 1]
    assert again.library.get_asm_str(cc=(9, 0)) == one.library.get_asm_str(cc=(9, 0))
    monkeypatch.setattr("envs.gpu.stamp_of", lambda *of: "changed since")
    changed = made_again(gpu.make_observe, view, True)
    changed.compile(signature)
    assert not changed._cache_hits


def test_what_cannot_be_kept_is_compiled(no_driver, monkeypatch):
    signature = types.void(types.int64, RECORDS, ACTIONS, IMAGE, BYTES, MISSIONS)
    kernel = made_again(gpu.make_observe, make_partial_view(3), False)

    def fail(*given):
        raise OSError("the disk is full")

    monkeypatch.setattr(type(kernel._cache._cache_file), "save", fail)
    with pytest.warns(UserWarning, match="a compiled kernel cannot be kept: the disk is full"):
        assert "observe" in kernel.compile(signature).entry_name
