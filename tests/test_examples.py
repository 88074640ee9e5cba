"""Every extension point by one file: the examples train from the command line."""

import ast
import json
from pathlib import Path

import pytest

from . import apart

ROOT = Path(__file__).parent.parent
SMALL = ["--num-envs", "4", "--steps", "20", "--fast.span", "20", "--frames", "1"]
EMPTY = "MiniGrid-Empty-5x5-v0"


def train(out, *flags, level=EMPTY):
    """Train in a separate process, where only importing the file registers anything."""
    apart.succeed("train", "--env", level, "--out", out, *SMALL, *flags)
    (line,) = (out / "metrics.jsonl").read_text().splitlines()
    return json.loads((out / "config.json").read_text()), json.loads(line)


def test_a_core(tmp_path):
    flags = ["--import", "examples/toy_core.py", "--agent", "lstm", "--core", "leaky"]
    config, row = train(tmp_path / "run", *flags, "--core.hidden", "24")
    assert config["agent"]["core"] == {"name": "leaky", "hidden": 24}
    assert 0.49 < row["diagnostics/leak"] < 0.51  # σ(0)


def test_an_agent(tmp_path):
    own = ["--import", "examples/toy_agent.py"]
    config, row = train(tmp_path / "run", *own, "--agent", "convolution", "--hidden", "24")
    assert config["agent"] == {"name": "convolution", "hidden": 24}
    assert row["train/n_updates"] == 4 * 4  # epochs, and a minibatch for each of four spans
    apart.succeed("evaluate", tmp_path / "run", "--episodes", "4", *own)


def test_an_algorithm(tmp_path):
    flags = ["--import", "examples/toy_algorithm.py", "--algorithm", "reinforce"]
    flags += ["--reinforce.entropy", "0.02", "--slow.span", "20"]
    config, row = train(tmp_path / "run", *flags)
    assert config["algorithm"]["name"] == "reinforce"
    assert config["algorithm"]["entropy"] == 0.02
    assert {"train/policy_gradient_loss", "train/value_loss"} <= set(row)
    assert "train/approx_kl" not in row
    assert len((ROOT / "examples/toy_algorithm.py").read_text().splitlines()) < 60


def test_a_decision_maker(tmp_path):
    flags = ["--import", "examples/toy_maker.py", "--agent", "routing"]
    flags += ["--core.router.maker", "boltzmann", "--core.router.maker.temperature", "0.5"]
    config, row = train(tmp_path / "run", *flags)
    assert config["agent"]["core"]["router"]["maker"] == {"name": "boltzmann", "temperature": 0.5}
    assert 0 < row["modules/depth_0/H_A"] < 1.7


def test_a_diagnostic(tmp_path):
    _, row = train(tmp_path / "run", "--import", "examples/toy_diagnostic.py", "--agent", "lstm")
    assert row["value/spread"] > 0
    assert 0 <= row["habit/repeated"] <= 1


def test_a_level(tmp_path):
    flags = ["--import", "examples/toy_level.py", "--agent", "lstm"]
    config, _ = train(tmp_path / "run", *flags, level="My-Pond-v0")
    assert config["environment"]["env"] == ["My-Pond-v0"]


def test_a_run_of_ones_own_core_says_what_it_needs(tmp_path):
    flags = ["--import", "examples/toy_core.py", "--agent", "lstm", "--core", "leaky"]
    train(tmp_path / "run", *flags)
    command = ["evaluate", tmp_path / "run", "--episodes", "4"]
    alone = apart.run(*command)
    assert alone.returncode == 2
    assert "unknown core 'leaky'" in alone.stderr
    assert "--import FILE" in alone.stderr
    apart.succeed(*command, "--import", "examples/toy_core.py")


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.stem)
def test_every_example_is_tried(path):
    tried = (ROOT / "tests" / "test_examples.py").read_text()
    assert f"examples/{path.name}" in tried
    assert "python run.py train --import" in (ast.get_docstring(ast.parse(path.read_text())) or "")
