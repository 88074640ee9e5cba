"""Every setting is a flag with help, and a mistyped flag is answered with the nearest one."""

import contextlib
import io
import re
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metarims.cli import parse, values_of
from metarims.commands import Train
from metarims.config import RunConfig, find_preset
from metarims.errors import UsageError
from metarims.registry import names
from metarims.settings import differences, flatten, replace_at
from run import COMMANDS, main

PRESETS = names("preset")
HIDDEN = {"preset"}  # shown as --agent


def parse_run(args):
    """The configuration that `train` would run."""
    return cast(Train, parse(COMMANDS, ["train", *args])).config


def flag(path):
    return f"--{path.replace('_', '-')}"


def help_of(*args):
    text = io.StringIO()
    with contextlib.redirect_stdout(text), pytest.raises(SystemExit) as end:
        main(["train", *args, "--help"])
    assert not end.value.code
    return re.sub(r"\x1b\[[0-9;]*m", "", text.getvalue())


@pytest.mark.parametrize("preset", ["lstm", "metarims", "routing"])
def test_every_setting_is_in_the_help(preset):
    text = help_of("--agent", preset)
    shown = set(re.findall(r"--[a-z][a-z0-9.-]*", text))
    expected = {flag(path) for path in flatten(find_preset(preset)).keys() - HIDDEN}
    expected |= {"--agent", "--algorithm", "--core", "--config", "--import"}
    assert expected <= shown, expected - shown
    for row in re.split(r"│ (?=--)", text)[1:]:
        name = row.split()[0].rstrip(",")
        described = re.sub(r"\(default:.*", "", " ".join(re.sub("[│╰╯─╭╮]", " ", row).split()))
        assert len(described) > len(name) + 8, f"{name} is not explained"


FLAGS = sorted(flag(path) for path in flatten(find_preset("metarims")).keys() - HIDDEN)


def distance(a, b):
    """The Levenshtein distance."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


@st.composite
def mistyped(draw):
    """A flag with one letter left out, doubled or replaced."""
    right = draw(st.sampled_from(FLAGS))
    at = draw(st.integers(2, len(right) - 1))
    letter = draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz"))
    return draw(st.sampled_from([
        right[:at] + right[at + 1 :],
        right[:at] + right[at] + right[at:],
        right[:at] + letter + right[at + 1 :],
    ]))  # fmt: skip


@settings(max_examples=50, deadline=None, derandomize=True)
@given(mistyped())
def test_a_mistyped_setting_gets_the_nearest_right_one(wrong):
    if wrong in (*FLAGS, "--env", "--core", "--agent", "--algorithm", "--import", "--config"):
        return
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        assert main(["train", "--agent", "metarims", "--env", "A", wrong, "1"]) == 2
    (line,) = errors.getvalue().splitlines()
    assert line.startswith(f"run.py: unknown setting {wrong}; nearest: ")
    first = line.split("nearest: ")[1].split(", ")[0]
    assert distance(wrong, first) == min(distance(wrong, right) for right in (*FLAGS, first)), line


def test_flags_change_the_value_by_path():
    args = "--env A B --core.active 2 --fast.learning-rate 1e-3 --ppo.gae-lambda 0.9 --num-envs 8"
    config = parse_run(["--agent", "metarims", *args.split()])
    assert differences(config, find_preset("metarims")) == {
        "env": ("A", "B"),
        "core.active": 2,
        "fast.learning_rate": 1e-3,
        "ppo.gae_lambda": 0.9,
        "num_envs": 8,
    }


def test_a_choice_brings_its_own_settings():
    args = "--agent lstm --core routing --core.router.maker q --core.router.maker.epsilon 0.1"
    config = parse_run(args.split())
    leaves = flatten(config)
    chosen = [leaves[f"core{path}"] for path in ("", ".router.maker", ".router.maker.epsilon")]
    assert chosen == ["routing", "q", 0.1]


def test_a_configuration_is_read_back(tmp_path):
    import json

    before = parse_run(["--agent", "slow8", "--env", "A", "--ppo.clip", "0.1"])
    (tmp_path / "config.json").write_text(json.dumps(before.as_json()))
    args = ["--config", str(tmp_path / "config.json")]
    assert parse_run(args) == before
    assert isinstance(before, RunConfig)
    assert differences(parse_run([*args, "--seed", "7"]), before) == {"seed": 7}


def test_settings_of_a_loop_that_there_is_not_are_only_read_from_files(tmp_path):
    import json

    alike = replace_at(find_preset("lstm"), {"slow.learning_rate": 0.5})
    (tmp_path / "config.json").write_text(json.dumps(alike.as_json()))
    assert parse_run(["--config", str(tmp_path / "config.json")]) == alike
    assert parse_run(["--agent", "metarims", "--slow.learning-rate", "0.5"]).loops.slow.groups
    two = "--agent lstm --fast.groups modules --slow.groups value --slow.learning-rate 0.5"
    assert parse_run(two.split()).loops.slow.learning_rate == 0.5
    with pytest.raises(UsageError, match="does nothing: rims learns in one loop"):
        parse_run(["--agent", "rims", "--slow.no-value-loss"])


def test_the_attentions_rate_is_refused_for_a_loop_that_does_not_train_it():
    there = parse_run(["--agent", "metarims", "--slow.attention-rate", "1"])
    assert there.loops.slow.attention_rate == 1
    moved = "--agent metarims --fast.groups attention policy --fast.attention-rate=1"
    assert parse_run(moved.split()).loops.fast.attention_rate == 1
    with pytest.raises(UsageError, match=r"--fast\.attention-rate does nothing: the fast loop"):
        parse_run(["--agent", "metarims", "--fast.attention-rate=1"])


def test_values_of_a_flag_wherever_it_stands():
    args = ["--import", "a.py", "b.py", "--seed", "3", "--import=c.py", "--num-envs", "8"]
    assert values_of("import", args) == ["a.py", "b.py", "c.py"]
    assert values_of("num_envs", args) == ["8"]
    assert values_of("env", args) == []


@pytest.mark.parametrize("words", [["train", "--env", "ENV"], ["resume", "RUN"]])
@pytest.mark.parametrize("again", [[], ["--import"]])
def test_every_file_that_is_imported_is_passed_on_to_processes(tmp_path, words, again):
    one, other = files = tmp_path / "cli_one.py", tmp_path / "cli_other.py"
    for path in files:
        path.write_text("")
    command = parse(COMMANDS, [*words, "--import", str(one), *again, str(other)])
    assert cast(Train, command).imported == files
