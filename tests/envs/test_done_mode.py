"""Upstream's done mode, which an environment variable turns on at import: hence a subprocess."""

import os
import subprocess
import sys

LEVELS = ["BabyAI-GoToObjS4-v0", "BabyAI-OpenDoorsOrderN2-v0", "BabyAI-PickupDist-v0"]
SYNTHESIZED = ["BabyAI-SynthSeq-v0"]


def test_success_is_what_the_agent_says():
    command = [sys.executable, "-m", "tests.parity", "--ids", *LEVELS, *SYNTHESIZED]
    command += ["--seeds", "6", "--episodes", "1", "--steps", "150", "--bot-seeds", "0"]
    command += ["--jump-seeds", "6"]
    done = subprocess.run(
        [*command, "--jobs", "1"],
        env={**os.environ, "BABYAI_DONE_ACTIONS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 differences, 0 seeds skipped" in done.stdout
