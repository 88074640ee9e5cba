"""The README's Python runs as it stands."""

import re
import runpy
from pathlib import Path

import torch

import envs
import envs.registry

README = (Path(__file__).parent.parent / "README.md").read_text()


def run_blocks(folder):
    """Run every Python block of the README as a file of its own, as a reader would."""
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    for number, block in enumerate(blocks):
        path = folder / f"readme_block{number}.py"
        path.write_text(block)
        runpy.run_path(str(path), run_name=path.stem)
    return len(blocks)


def test_the_readme_runs(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(envs.registry, "LEVELS", dict(envs.registry.LEVELS))
    assert run_blocks(tmp_path) == 2
    assert capsys.readouterr().out.startswith("go to ")
    env = envs.make(["My-Pond-v0", "My-Lake-v0"], num_envs=64, seed=3)
    env.reset()
    generator = torch.Generator().manual_seed(0)
    ended = torch.zeros(64, dtype=torch.bool)
    for _ in range(200):
        step = env.step(torch.randint(7, (64,), generator=generator))
        ended |= step.terminated | step.truncated
    assert ended.all()
