"""Compiled kernels on disk: a third process must not confuse what two others cached."""

from __future__ import annotations

import os
import subprocess
import sys
from enum import IntEnum
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from envs.cpu import _compile
from envs.jit import fingerprint

WARM = "import envs; envs.make('{id}', 2, view={view}).reset(1)"
CHECK = """
import envs
for id, view, mission in {expected}:
    env = envs.make(id, 2, view=view)
    obs = env.reset(1)
    assert env.missions()[0] == mission, (id, env.missions())
    assert obs["image"].shape == (2, view, view, 3)
    assert obs["image"][0].any(-1).any()
"""
GO_TO, DOOR_KEY = "BabyAI-GoToObj-v0", "MiniGrid-DoorKey-5x5-v0"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache folder for these tests only, with what all of them need compiled once."""
    return tmp_path_factory.mktemp("cache")


def run(code, folder, **variables):
    """What code writes to stdout in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        timeout=900,
        env={**os.environ, "NUMBA_CACHE_DIR": str(folder), **variables},
        stdout=subprocess.PIPE,
    ).stdout


def test_levels_and_views_cached_by_two_processes_stay_apart(cache):
    run(WARM.format(id=GO_TO, view=7), cache)
    run(WARM.format(id=DOOR_KEY, view=5), cache)
    use_key = "use the key to open the door and then get to the goal"
    expected = [(GO_TO, 7, "go to the yellow key"), (DOOR_KEY, 5, use_key)]
    run(CHECK.format(expected=expected), cache)


FACTORY = """
from envs import level
from envs.cells import GOAL, LAVA
from envs.jit import compiled
from envs.world import set_agent, set_cell, wall_rect, walled


def register(name, cell):
    @compiled
    def fill(e, x, y):
        for i in range(e.width):
            for j in range(e.height):
                if i == x and j == y:
                    set_cell(e, i, j, cell)
                elif i + j == 77:
                    wall_rect(e, i, j, x, y)  # so much code that it is called, not inlined
                    set_cell(e, i + 2 * j, j - i, cell)

    @level(f"My-{name}-v0", size=5, max_steps=10, mission="get there")
    def room(e):
        walled(e)
        set_cell(e, 2, 1, cell)
        for y in (1, 2):
            fill(e, 3, y)
        fill(e, 2, 2)
        fill(e, 2, 3)
        set_agent(e, 1, 1, 0)


register("Goal", GOAL)
register("Lava", LAVA)
"""
AHEAD = """
import sys
sys.path.insert(0, {folder!r})
import envs, rooms
for name, kind in {expected}:
    image = envs.make(f"My-{{name}}-v0", 1).reset()["image"]
    assert image[0, 3, 5, 0] == image[0, 4, 5, 0] == kind, (name, image[0, :, 5])
"""
GOAL, LAVA = ("Goal", 8), ("Lava", 9)


def test_levels_of_one_function_that_closes_over_their_difference_stay_apart(cache, tmp_path):
    """So does what they call, which is not the engine's."""
    (tmp_path / "rooms.py").write_text(FACTORY)
    for expected in ([GOAL], [LAVA], [LAVA, GOAL]):
        run(AHEAD.format(folder=str(tmp_path), expected=expected), cache)


RULES = """
from envs import level, rule
from envs.world import set_agent, walled


def register(name, price):
    @rule(name)
    def cost(e, action, noted):
        e.reward = price

    @level(f"My-{name}-v0", size=5, max_steps=10, mission="get there", rule=name)
    def room(e):
        walled(e)
        set_agent(e, 1, 1, 0)


register("one", 1)
register("two", 2)
"""
REWARD = """
import sys
sys.path.insert(0, {folder!r})
import torch, envs, priced
for names in {expected}:
    env = envs.make([f"My-{{name}}-v0" for name in names], len(names))
    env.reset()
    step = env.step(torch.zeros(len(names), dtype=torch.int64))
    assert step.reward.tolist() == [{{"one": 1, "two": 2}}[name] for name in names], names
"""


def test_batches_with_the_same_rule_among_others_stay_apart(cache, tmp_path):
    """In the second it has another number than in the first."""
    (tmp_path / "priced.py").write_text(RULES)
    one, both = ["one"], ["two", "one"]
    for expected in ([one], [both], [both, one]):
        run(REWARD.format(folder=str(tmp_path), expected=expected), cache)


def test_levels_that_are_in_no_module_compile_every_time(cache, tmp_path):
    (tmp_path / "rooms.py").write_text(FACTORY)
    make = "envs.make('My-Lava-v0', 1).reset()\n"
    from_file = f"runpy.run_path({str(tmp_path / 'rooms.py')!r}, run_name='rooms')\n"
    source = "import envs, runpy\n" + FACTORY + make + from_file + make
    run(source, cache)
    run(source, cache)


def make_function(**names):
    names["__name__"] = "mine"
    exec("def use(e):\n    return help(e, SIZE)", names)
    return names["use"]


def make_helper(body, module="mine"):
    names = {"__name__": module}
    exec(f"def help(e, size):\n    return {body}", names)
    return SimpleNamespace(py_func=names["help"])


def test_a_fingerprint_tells_what_a_function_is_made_of():
    one = fingerprint(make_function(help=make_helper("e + size"), SIZE=1))
    assert fingerprint(make_function(help=make_helper("e + size"), SIZE=1)) == one
    assert fingerprint(make_function(help=make_helper("e + size"), SIZE=2)) != one
    assert fingerprint(make_function(help=make_helper("e - size"), SIZE=1)) != one


class Kind(IntEnum):
    AHEAD = 1


class OtherKind(IntEnum):
    AHEAD = 2


def module(**names):
    made = ModuleType("consts")
    vars(made).update(names)
    return made


def function(source, **names):
    names["__name__"] = "mine"
    exec(source, names)
    return names["use"]


@pytest.mark.parametrize(
    ("source", "one", "other"),
    [
        ("def use(e): return [SIZE for _ in e]", {"SIZE": 1}, {"SIZE": 2}),
        ("use = lambda e, size=START: size", {"START": 1}, {"START": 2}),
        ("use = lambda e, *, size=START: size", {"START": 1}, {"START": 2}),
        ("use = lambda e: Kind.AHEAD", {"Kind": Kind}, {"Kind": OtherKind}),
        ("use = lambda e: m.SIZE", {"m": module(SIZE=1)}, {"m": module(SIZE=2)}),
        (
            "use = lambda e: m.help(e, 1)",
            {"m": module(help=make_helper("e + size"))},
            {"m": module(help=make_helper("e - size"))},
        ),
        ("use = lambda e: A[e]", {"A": np.arange(2)}, {"A": np.arange(2, dtype=np.uint64)}),
    ],
)
def test_whatever_a_function_names_counts(source, one, other):
    prints = [fingerprint(function(source, **names)) for names in (one, one, other)]
    assert prints[0] == prints[1] != prints[2]


def test_the_engines_own_functions_count_too():
    ours = [make_helper(body, "envs.world") for body in ("e + size", "e - size")]
    assert len({fingerprint(make_function(help=function, SIZE=1)) for function in ours}) == 2


def test_a_fingerprint_is_the_same_in_every_process():
    """Nested code, whose repr shows an address, counts by its contents."""
    assert fingerprint(make_function(help=make_helper("(lambda: e)() + size"), SIZE=1)) == (
        fingerprint(make_function(help=make_helper("(lambda: e)() + size"), SIZE=1))
    )


STAMPS = """
import envs
from envs import cpu
from envs.jit import stamp_of
from envs.registry import LEVELS

def told(kernel, compiler):
    print(kernel.__qualname__, stamp_of(kernel, compiler))
    return stamp_of(kernel, compiler)

cpu.stamp_of = told
for id in LEVELS:
    envs.make(id, 1)
envs.make(id, 1, observation="rgb")
"""


def test_every_kernel_is_found_again_by_the_next_process(cache):
    """Nothing that its stamp is made of shows an address or has an order of its own."""
    one, other = (run(STAMPS, cache, PYTHONHASHSEED=seed) for seed in "12")
    assert b"advance-partial_view-7" in one
    assert b"renew-envs.levels.mazes-multi_room" in one
    assert one == other


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The cache folder of this process during a test."""
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))
    return tmp_path


def make_kernel(result):
    def kernel(x):
        return x + result

    return kernel


def fail(*_):
    raise OSError("No space left on device")


def test_a_kernel_that_could_not_be_kept_does_not_revive_the_one_before(folder, monkeypatch):
    assert _compile(make_kernel(1), "kernel")(1) == 2
    with monkeypatch.context() as broken:
        broken.setattr("numba.core.caching.IndexDataCacheFile._save_data", fail)
        with pytest.warns(UserWarning, match="No space left"):
            assert _compile(make_kernel(2), "kernel")(1) == 3
    assert _compile(make_kernel(2), "kernel")(1) == 3


def test_only_the_newest_of_a_kernel_is_kept(folder):
    for result in (1, 2, 2, 1):
        assert _compile(make_kernel(result), "kernel")(1) == 1 + result
        assert _compile(make_kernel(0), "kernel-of-another")(1) == 1
        kept = sorted(file.name.rsplit("-", 1)[0] for file in folder.rglob("*.nbc"))
        assert kept == ["kernel", "kernel-of-another"]


def test_kernels_run_where_nothing_can_be_kept(monkeypatch):
    monkeypatch.setattr("numba.core.caching.CacheImpl._locator_classes", [])
    with pytest.warns(UserWarning, match="cannot be kept"):
        assert _compile(make_kernel(1), "kernel")(1) == 2


def test_a_damaged_kernel_is_compiled_again(folder):
    _compile(make_kernel(1), "kernel")(1)
    for file in folder.rglob("*.nbc"):
        file.write_bytes(b"no kernel")
    with pytest.warns(UserWarning, match="cannot be read"):
        assert _compile(make_kernel(1), "kernel")(1) == 2
