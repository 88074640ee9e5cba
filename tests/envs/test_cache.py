"""Compiled kernels on disk: what two processes cached, a third one must not mix up."""

from __future__ import annotations

import os
import subprocess
import sys

WARM = "import envs; envs.make('{id}', 2, view={view}).reset(1)"
CHECK = """
import envs, torch
for id, view, mission in {expected}:
    env = envs.make(id, 2, view=view)
    obs = env.reset(1)
    assert env.missions()[0] == mission, (id, env.missions())
    assert obs["image"].shape == (2, view, view, 3)
    assert obs["image"][0].any(-1).any()
    env.step(torch.zeros(2, dtype=torch.int64))
"""
GO_TO, DOOR_KEY = "BabyAI-GoToObj-v0", "MiniGrid-DoorKey-5x5-v0"


def run(code, folder):
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        timeout=120,
        env={**os.environ, "NUMBA_CACHE_DIR": str(folder)},
    )


def test_levels_and_views_cached_by_two_processes_stay_apart(tmp_path):
    run(WARM.format(id=GO_TO, view=7), tmp_path)
    run(WARM.format(id=DOOR_KEY, view=5), tmp_path)
    use_key = "use the key to open the door and then get to the goal"
    expected = [(GO_TO, 7, "go to the yellow key"), (DOOR_KEY, 5, use_key)]
    run(CHECK.format(expected=expected), tmp_path)
