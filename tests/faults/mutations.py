"""Input that is no input: checkpoints, configurations and command lines that were made up."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from unittest import mock

import hypothesis
import torch
from hypothesis import strategies as st
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes

from metarims.checkpoint import MANIFEST, TENSORS, checkpoints, sealed
from metarims.config import find_preset
from metarims.errors import UsageError
from metarims.registry import names
from metarims.settings import flatten
from run import COMMANDS

from .lives import LEVEL, Said, call, training

Draw = Callable[[st.SearchStrategy[Any]], Any]

ODD_NUMBERS = [0, 1, 2, 3, 5, -1, 2**31, 2**63, 10**30, 0.5, -0.5, 1e-300, 1e308]
ODD_FLOATS = [float("nan"), float("inf"), float("-inf")]
ODD: list[Any] = [
    *ODD_NUMBERS,
    *ODD_FLOATS,
    None,
    True,
    False,
    "",
    "lstm",
    "ppo",
    "rims",
    "x" * 300,
    [],
    {},
]
ODD_WORDS = [
    *map(str, ODD_NUMBERS), *map(str, ODD_FLOATS), "", "-", "--", "=", "1e999", "0x10", "1_0", "٣",
    "None", "True", "false", "lstm", "rims", "metarims", "routing", "ppo", "q", "x" * 300, "é🦊",
    LEVEL, "MiniGrid-Emtpy-5x5-v0", "run", "nothing", "run/config.json", "new/deep", ".", "/",
    "/dev/null", "run/config.json/x", "auto", "cpu", "cuda", "rgb", "best", "reuse", "[1]", "a b",
    "--seed=2", "--frames=-1", "--no", "-x", "\n", "'", "%s", "{}", "run/metrics.jsonl",
]  # fmt: skip


def check(examples: int, seed: int | None, test: Callable[[Any], None], *given: Any) -> None:
    """Try a test on so many examples; always the same ones where there is no seed."""
    tried = hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=seed is None,
        phases=[hypothesis.Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(hypothesis.HealthCheck),
    )(hypothesis.given(*given)(test))
    (tried if seed is None else hypothesis.seed(seed)(tried))()


@contextlib.contextmanager
def somewhere() -> Iterator[Path]:
    """A folder to be in, with a small run in it."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            assert call(training("lstm", Path("run"), 320, small=True)).code == 0
            yield Path(folder)
        finally:
            os.chdir(before)


def judge(said: Said, seen: Counter[str], about: object) -> None:
    """Fail where it is neither valid nor refused in one line."""
    assert not said.fault, f"{about}: {said.fault}"
    seen["refused" if said.code and "enough" not in said.errors else "valid"] += 1


def settled(name: str, seen: Counter[str]) -> None:
    """Say how it went."""
    print(f"{name}: " + ", ".join(f"{count:,} {what}" for what, count in sorted(seen.items())))


# --- checkpoints


def broken_bytes(draw: Draw, data: bytes) -> bytes:
    """Bytes with some changed, cut out or put in."""
    data = bytes(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        end = at + draw(st.sampled_from([0, 1, 1, 7, 1000]))
        data = data[:at] + draw(st.binary(max_size=3)) + data[end:]
    return data


def broken_tensors(draw: Draw, data: bytes) -> bytes:
    """Tensors of which one is missing, called otherwise, or of another shape or type."""
    tensors = tensors_from_bytes(data)
    name = draw(st.sampled_from(sorted(tensors)))
    tensor = tensors.pop(name)
    match draw(st.sampled_from(["missing", "name", "shape", "type", "scalar"])):
        case "name":
            tensors[name + "x"] = tensor
        case "shape":
            tensors[name] = torch.cat([tensor.flatten(), tensor.flatten(), torch.zeros(1)])
        case "type":
            tensors[name] = tensor.to(torch.complex64)
        case "scalar":
            tensors[name] = torch.tensor(1.0)
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    return bytes(tensors_to_bytes(whole))


class Broken:
    """A checkpoint of which something is wrong; it is told without its tensors."""

    def __init__(self, kind: str, data: bytes, manifest: bytes) -> None:
        self.kind, self.data, self.manifest = kind, data, manifest

    def __repr__(self) -> str:
        return f"{self.kind}: {self.manifest!r}"


@st.composite
def broken_checkpoints(draw: Draw, data: bytes, manifest: dict[str, Any]) -> Broken:
    """Tensors and manifest of which something is wrong, the digests apart or not."""
    kind = draw(st.sampled_from(["data", "manifest bytes", "tensors", "manifest", "numbers"]))
    whole = json.dumps(manifest).encode()
    if kind == "data":
        return Broken(kind, broken_bytes(draw, data), whole)
    if kind == "manifest bytes":
        return Broken(kind, data, broken_bytes(draw, whole))
    if kind == "tensors":
        data = broken_tensors(draw, data)
        content = manifest | {"sha256": hashlib.sha256(data).hexdigest()}
    elif kind == "numbers":
        content = manifest | {"numbers": broken_json(draw, manifest["numbers"])}
    else:
        content = broken_json(draw, manifest)
    content = {name: value for name, value in content.items() if name != "seal"}
    return Broken(kind, data, json.dumps(sealed(content)).encode())


def broken_json(draw: Draw, content: Any) -> Any:
    """JSON of which some entry, at any depth, is missing, called otherwise or something else."""
    content = json.loads(json.dumps(content))
    for _ in range(draw(st.integers(1, 3))):
        inner = content
        while True:
            keys = sorted(inner) if isinstance(inner, dict) else list(range(len(inner)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(inner[key], dict | list) and inner[key] and draw(st.integers(0, 9)):
                inner = inner[key]
                continue
            match draw(st.sampled_from(["value", "value", "value", "missing", "name"])):
                case "value":
                    inner[key] = draw(st.sampled_from(ODD))
                case "missing":
                    del inner[key]
                case "name" if isinstance(inner, dict):
                    inner[draw(st.sampled_from(["x", "env", key + "s"]))] = inner.pop(key)
            break
    return content


def mutated_checkpoints(examples: int = 2000, seed: int | None = None) -> None:
    """Go on from checkpoints of which something is wrong.

    Args:
        examples: how many.
        seed: of what is wrong with them (default: always the same ones).
    """
    seen: Counter[str] = Counter()
    with somewhere():
        places = [Path("run/checkpoints") / name for name in checkpoints(Path("run/checkpoints"))]
        for place in places[:-1]:
            shutil.rmtree(place)
        newest = places[-1]
        data = (newest / TENSORS).read_bytes()
        manifest = json.loads((newest / MANIFEST).read_text())

        def test(broken: Broken) -> None:
            (newest / TENSORS).write_bytes(broken.data)
            (newest / MANIFEST).write_bytes(broken.manifest)
            for events in Path("run").glob("events*"):
                events.unlink()
            with mock.patch("metarims.training.Training.iterate", side_effect=enough):
                judge(call(["resume", "run", "--frames", "9999"]), seen, broken.kind)

        check(examples, seed, test, broken_checkpoints(data, manifest))
    settled("checkpoints", seen)


# --- configurations


@st.composite
def broken_configurations(draw: Draw) -> bytes:
    """A preset's config.json of which something is wrong, or not."""
    preset = find_preset(draw(st.sampled_from(names("preset"))))
    small = replace(preset.environment, env=(LEVEL,), num_envs=2)
    content = replace(preset, environment=small).as_json()
    if draw(st.integers(0, 4)) == 0:
        return broken_bytes(draw, json.dumps(content).encode())
    return json.dumps(broken_json(draw, content)).encode()


def mutated_configurations(examples: int = 2000, seed: int | None = None) -> None:
    """Train by configurations of which something is wrong, up to the first iteration.

    Args:
        examples: how many.
        seed: of what is wrong with them (default: always the same ones).
    """
    seen: Counter[str] = Counter()
    with somewhere():

        def test(broken: bytes) -> None:
            Path("config.json").write_bytes(broken)
            shutil.rmtree("new", ignore_errors=True)
            with idle():
                said = call(["train", "--config", "config.json", "--out", "new", "--device", "cpu"])
            judge(said, seen, broken)

        check(examples, seed, test, broken_configurations())
    settled("configurations", seen)


# --- command lines

STOPPED = ["training.Training.iterate", "commands.train.launch", "commands.train.train_all"]
STOPPED += ["commands.evaluate.evaluate", "commands.plot.watch", "commands.record.record_episodes"]
STOPPED += ["commands.reproduce.train_all", "commands.transfer.evaluate_all"]
PARSED = {"train", "resume", "evaluate", "plot", "record", "reproduce", "transfer"}
PARSED |= {"levels", "compare"}  # and done; of all others the work is left out


def enough(*_: object, **__: object) -> None:
    """What is in the place of work that takes long."""
    raise UsageError("enough")


@contextlib.contextmanager
def idle() -> Iterator[None]:
    """Within it commands do all but what takes long."""
    with contextlib.ExitStack() as stack:
        for name in STOPPED:
            stack.enter_context(mock.patch(f"metarims.{name}", side_effect=enough))
        yield


@st.composite
def command_lines(draw: Draw) -> list[str]:
    """A command with flags of its own, what they usually take, and words that they may not."""
    letters = st.characters(codec="utf-8", exclude_characters="\0")
    word = st.one_of(st.sampled_from(ODD_WORDS), st.text(letters, max_size=6))
    command = draw(st.sampled_from([*COMMANDS, "train", "train", "trian"]))
    kind, args = COMMANDS.get(command, COMMANDS["train"]), [command]
    usual = {field.name: field.default for field in fields(kind)}
    if command == "train":
        agent = draw(st.sampled_from(names("preset")))
        usual |= flatten(find_preset(agent)) | {"config": "run/config.json", "agent": agent}
        args += ["--agent", agent] if draw(st.booleans()) else []
        if draw(st.integers(0, 3)):
            args += ["--env", LEVEL, "--num-envs", "2", "--device", "cpu", "--out", "new"]
    elif draw(st.booleans()):
        args.append(draw(st.sampled_from(["run", "run", "nothing", LEVEL, "table1"])))
    for _ in range(draw(st.integers(0, 4))):
        name = draw(st.sampled_from(sorted(usual)))
        flag = f"--{name}".replace("_", "-")
        if draw(st.integers(0, 9)) == 0:
            at = draw(st.integers(0, len(flag) - 1))
            flag = flag[:at] + draw(st.sampled_from(["", "x", "-", "="])) + flag[at + 1 :]
        odd = draw(st.lists(word, max_size=2))
        args += [flag, *(odd if draw(st.booleans()) else spelt(usual[name]))]
    return draw(st.permutations(args)) if draw(st.integers(0, 9)) == 0 else args


def spelt(value: object) -> list[str]:
    """A setting's value as the words that follow its flag."""
    if isinstance(value, bool) or value is None:
        return []
    return [*map(str, value)] if isinstance(value, tuple) else [str(value)]


def command_line(args: list[str], seen: Counter[str]) -> None:
    """Run one."""
    shutil.rmtree("new", ignore_errors=True)
    kinds = {
        name: kind if name in PARSED else without_work(kind) for name, kind in COMMANDS.items()
    }
    with idle(), mock.patch("run.COMMANDS", kinds):
        judge(call(args), seen, args)


def without_work(kind: type) -> type:
    """A command that is understood, and then not done."""
    return type(kind.__name__, (kind,), {"run": lambda *_: None, "__doc__": kind.__doc__})


def random_lines(examples: int = 2000, seed: int | None = None) -> None:
    """Run command lines that were made up; what takes long is left out.

    Args:
        examples: how many.
        seed: of what they are made of (default: always the same ones).
    """
    seen: Counter[str] = Counter()
    with somewhere():
        check(examples, seed, lambda args: command_line(args, seen), command_lines())
    settled("command lines", seen)
