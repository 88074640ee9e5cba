"""SIGTERM at several moments: how soon a run ends, and what it leaves."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from metarims.checkpoint import MANIFEST, checkpoints
from metarims.runs import load_run

from .lives import begin, call, training

SOON = 10.0  # seconds
Wait = Callable[[Path, Path], bool]  # for a run's folder, and for what was said


def signals(tries: int = 3, seed: int = 0, cold: bool = True) -> int:
    """Tell commands to stop; say how long they took, and check what they left.

    Args:
        tries: of each kind.
        seed: of the moments.
        cold: whether to try without compiled functions, too.
    """
    chance, slow = random.Random(seed), 0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(tries):
            for name, (args, wait, empty) in moments(Path(folder) / str(number)).items():
                if empty and not cold:
                    continue
                cache = Path(folder) / f"cache-{number}"
                saved, ended, left = told(args, wait, chance, cache, empty)
                slow += saved > SOON
                print(f"{name:26} saved {saved:4.1f} s, ended {ended:4.1f} s: {left}", flush=True)
    return int(slow > 0)


def moments(folder: Path) -> dict[str, tuple[list[str], Wait, bool]]:
    """Commands, what to wait for before they are told to stop, and whether nothing is compiled."""
    folder.mkdir()
    long, trained = 10**9, folder / "trained"
    assert call(training("lstm", trained, 320, small=True)).code == 0
    agents = {
        agent: (training(agent, folder / agent, long)) for agent in ("lstm", "metarims", "routing")
    }
    ranks, seeds = (training("lstm", folder / name, long) for name in ("ranks", "seeds"))
    running = {agent: (args, has_metrics, False) for agent, args in agents.items()}
    starting = training("metarims", folder / "cold", long)
    at_work = ["evaluate", str(trained), "--episodes", "1000000", "--device", "cpu"]
    return {
        **running,
        "--ranks 2": ([*ranks, "--ranks", "2"], has_metrics, False),
        "--seeds 2": ([*seeds, "--seeds", "2"], has_metrics, False),
        "compiling, 1st iteration": (starting, has_checkpoint, True),
        "evaluate": (at_work, has_spoken, False),
    }


def has_metrics(out: Path, log: Path) -> bool:
    """Whether there is an iteration, of a run or of all runs in a folder."""
    runs = [path.parent for path in out.rglob("config.json")]
    return bool(runs) and all((run / "metrics.jsonl").exists() for run in runs)


def has_checkpoint(out: Path, log: Path) -> bool:
    """Whether there is a checkpoint."""
    return bool(checkpoints(out / "checkpoints"))


def has_spoken(out: Path, log: Path) -> bool:
    """Whether anything was said."""
    return log.stat().st_size > 0


def told(
    args: list[str], wait: Wait, chance: random.Random, cache: Path, empty: bool
) -> tuple[float, float, str]:
    """Tell a command to stop; the seconds until it was kept, until it ended, and what is left."""
    out = Path(args[args.index("--out") + 1]) if "--out" in args else cache
    if empty:
        os.environ["NUMBA_CACHE_DIR"] = str(cache)
    life = begin(args, cache.with_name("log"))
    os.environ.pop("NUMBA_CACHE_DIR", None)
    while not wait(out, life.log) and life.is_there():
        time.sleep(0.02)
    time.sleep(chance.uniform(0, 3))
    then = time.monotonic()
    life.kill(signal.SIGTERM)
    code = life.end()
    ended = time.monotonic() - then
    kept = [path.stat().st_mtime for path in out.rglob(MANIFEST)]
    saved = max(ended + max(kept) - time.time(), 0.0) if kept else ended
    log = life.log.read_text()
    assert code == 128 + signal.SIGTERM, (code, log)
    assert "Traceback" not in log, log
    return saved, ended, ", ".join(left(path.parent) for path in out.rglob("config.json"))


def left(run: Path) -> str:
    """What a run left: its last checkpoint is of its last iteration."""
    saved, frames = (
        checkpoints(run / "checkpoints")[-1],
        load_run(run).last_metrics().get("frames", 0),
    )
    assert int(saved) == frames, (saved, frames)
    return f"checkpoint of {frames} frames"
