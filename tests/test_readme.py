"""The code and commands in the README and the documents run as they stand."""

import re
import runpy
import shlex
from pathlib import Path

import pytest
import torch

import envs
import envs.registry
from metarims.cli import parse
from run import COMMANDS, main

from . import apart

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCUMENTS = [README, *sorted((ROOT / "docs").rglob("*.md"))]
LEVEL = "BabyAI-GoToObj-v0"
SMALL = ["--frames", "1", "--num-envs", "4", "--device", "cpu"]


def blocks(document):
    return re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL)


def run_blocks(document, written, run):
    """Run every Python block of a document as a separate file, as a reader would, with the folder
    of a run in place of "RUN".
    """
    for number, block in enumerate(blocks(document)):
        path = written / f"{document.stem.lower()}_block{number}.py"
        path.write_text(block.replace('"RUN"', repr(str(run))))
        runpy.run_path(str(path), run_name=path.stem)


@pytest.mark.parametrize(
    "document", [d for d in DOCUMENTS if d != README and blocks(d)], ids=lambda d: d.name
)
def test_the_python_of_the_documents_runs(document, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(envs.registry, "LEVELS", dict(envs.registry.LEVELS))
    run_blocks(document, tmp_path, folder / "run")


def test_the_python_of_the_readme_runs(folder, tmp_path, capsys):
    assert len(blocks(README)) == 2
    run_blocks(README, tmp_path, folder / "run")
    mission, success = capsys.readouterr().out.splitlines()
    assert mission.startswith("go to ")
    assert 0 <= float(success) <= 1


def test_the_level_of_the_documents_can_be_played(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(envs.registry, "LEVELS", dict(envs.registry.LEVELS))
    run_blocks(ROOT / "docs" / "extending.md", tmp_path, folder / "run")
    ids = ["My-Pond-v0", "My-Lake-v0", "My-Doors-v0", "My-Many-Doors-v0", "My-Chase-v0"]
    env = envs.make(ids, num_envs=64, seed=3)
    env.reset()
    generator = torch.Generator().manual_seed(0)
    ended = torch.zeros(64, dtype=torch.bool)
    for _ in range(300):
        step = env.step(torch.randint(7, (64,), generator=generator))
        ended |= step.terminated | step.truncated
    assert ended.all()


def test_the_doors_of_the_documents_can_be_solved(folder, tmp_path, monkeypatch):
    """By key, drop and toggles; without the key the second door stays shut."""
    monkeypatch.setattr(envs.registry, "LEVELS", dict(envs.registry.LEVELS))
    run_blocks(ROOT / "docs" / "extending.md", tmp_path, folder / "run")
    for way, solved in (("1230020252202122522413", True), ("1200020252202122522413", False)):
        env = envs.make("My-Doors-v0", num_envs=1, seed=0, autoreset=False)
        env.reset()
        assert env.missions() == ["pick up the blue ball"]
        rewards = [float(env.step(torch.tensor([int(act)])).reward) for act in way]
        assert (rewards[-1] > 0) == solved
        assert not any(rewards[:-1])


def test_the_rule_of_the_documents_moves_balls_and_takes_a_price(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(envs.registry, "LEVELS", dict(envs.registry.LEVELS))
    run_blocks(ROOT / "docs" / "extending.md", tmp_path, folder / "run")
    env = envs.make("My-Chase-v0", num_envs=32, seed=0)
    env.reset()
    before = env.record(0)["thing_at"][:3]
    generator = torch.Generator().manual_seed(0)
    rewards = [env.step(torch.randint(4, (32,), generator=generator)).reward for _ in range(100)]
    assert (env.record(0)["thing_at"][:3] != before).any()
    seen = torch.stack(rewards)
    assert ((seen > 0) | torch.isclose(seen, torch.tensor(-0.01))).all()
    assert (seen > 0).any()
    assert (seen < 0).any()


def commands(text):
    """The arguments after ``run.py`` in code blocks and inline code, without explanations."""
    found = []
    for block in re.findall(r"```\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("python run.py "):
                found.append(re.split(r"  +(?=[a-z(#])", line.removeprefix("python run.py "))[0])
    inline = re.findall(
        r"`(?:python )?run\.py ([^`]*)`", re.sub(r"```.*?```", "", text, flags=re.S)
    )
    return [*found, *(" ".join(each.split()) for each in inline)]


def spelt(command, folder):
    """A command's arguments, with every placeholder filled in."""
    run, out = str(folder / "run"), str(folder / "out")
    plain = re.sub(r"\[[^]]*\]|\.\.\.|\(all twelve\)", "", command)
    given = {
        "ID": LEVEL, "ENV": LEVEL, "NAME": "lstm", "AGENT": "lstm", "RUN": run, "FRAMES": "1",
        "SEED": "1", "FIGURES": out, "FOLDER": out, "FILE.gif": f"{out}.gif", "FILE": f"{out}.json",
        "PATTERN": "DoorKey", "runs/one/config.json": f"{run}/config.json", "CLONE": out,
        "DEMOS": str(folder / "demos"), "FURTHER": run,
    }  # fmt: skip
    words = [given.get(word, word) for word in shlex.split(plain)]
    if "--out" in words and words[0] == "train":
        words[words.index("--out") + 1] = str(folder / "trained")
    return words


def described():
    """Every command in the README and the documents, once."""
    whole = {c for document in DOCUMENTS for c in commands(document.read_text())}
    return sorted(c for c in whole if " " in c or c in ("classify", "levels"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with demonstrations and a run, made in a process without other tests' words."""
    folder = tmp_path_factory.mktemp("reader")
    args = ["train", "--env", LEVEL, "--agent", "metarims", "--out", str(folder / "run"), *SMALL]
    apart.succeed(*args)
    assert main(["demos", LEVEL, "--out", str(folder / "demos"), *QUICK["demos"]]) == 0
    return folder


QUICK = {
    "demos": ["--episodes", "4", "--jobs", "1"],
    "evaluate": ["--episodes", "4", "--device", "cpu"],
    "record": ["--frames", "5"],
    "plot": ["--steps", "40", "--device", "cpu"],
    "train": SMALL,
    "compare": [],
    "levels": [],
}


def test_there_are_commands_to_try():
    tried = {command.split()[0] for command in described()}
    assert tried >= {*QUICK, "search", "bench", "classify"} - {"resume"}, tried


@pytest.mark.parametrize("command", described())
def test_a_command_that_is_told_runs(command, folder, tmp_path, monkeypatch):
    """Long ones (search, bench, classify) are only parsed; the others run at a small scale."""
    words = spelt(command, folder)
    words = [str(ROOT / w) if w.startswith("examples/") else w for w in words]
    if words[0] == "train" and "--env" not in words:
        words += ["--env", LEVEL]
    assert parse(COMMANDS, words) is not None
    if words[0] in QUICK and len(words) > 1:
        if words[0] == "train":
            words = [w if w != str(folder / "trained") else str(tmp_path / "run") for w in words]
            words += ["--out", str(tmp_path / "run")] if "--out" not in words else []
            for flag in ("--seeds", "--ranks"):  # covered by other tests
                if flag in words:
                    words[words.index(flag) + 1] = "1"
        if words[0] == "demos":
            words[words.index("--out") + 1] = str(tmp_path / "demos")
        assert main([*words, *QUICK[words[0]]]) == 0, words
