"""Many runs at a time, by a program that stands in for the command line."""

import pytest

from metarims.config import find_preset
from metarims.errors import UsageError
from metarims.runs import load_run
from metarims.settings import replace_at
from metarims.studies.jobs import train_all

PROGRAM = """
import json, pathlib, sys
config = json.loads(pathlib.Path(sys.argv[3]).read_text())
out = pathlib.Path(config["run"]["out"])
if config["run"]["seed"] < 3:
    sys.exit(f"run.py: {out}: no gradient was finite")
out.mkdir()
(out / "config.json").write_text(json.dumps(config))
print("success rate 0 %")
"""


@pytest.fixture
def program(tmp_path):
    """Makes runs without an iteration; the first two seeds fail."""
    (tmp_path / "run.py").write_text(PROGRAM)
    return tmp_path / "run.py"


def configs(folder, *seeds):
    preset = replace_at(find_preset("lstm"), {"env": ("Level-v0",)})
    return [replace_at(preset, {"seed": n, "out": str(folder / f"seed-{n}")}) for n in seeds]


def test_runs_that_fail_are_named_once_the_others_are_done(tmp_path, program):
    with pytest.raises(UsageError) as failed:
        train_all(program, (), 1, configs(tmp_path, 1, 2, 3, 4))
    assert str(failed.value) == "; ".join(
        f"{tmp_path}/seed-{n}: no gradient was finite" for n in (1, 2)
    )
    assert all(load_run(tmp_path / f"seed-{n}") for n in (3, 4))


def test_what_cannot_go_on_is_said_before_anything_is_trained(tmp_path, program):
    train_all(program, (), 1, configs(tmp_path, 4))
    load_run(tmp_path / "seed-4").write_metrics({"frames": 1})
    with pytest.raises(UsageError, match="seed-4 has lost its checkpoints"):
        train_all(program, (), 1, configs(tmp_path, 3, 4))
    assert not (tmp_path / "seed-3").exists()
