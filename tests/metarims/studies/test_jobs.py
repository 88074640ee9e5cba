"""Many runs at a time, by a program that stands in for the command line."""

import pytest

import agents.presets  # noqa: F401  # runs name them
from metarims.config import find_preset
from metarims.errors import UsageError
from metarims.runs import Run, load_run
from metarims.settings import replace_at
from metarims.studies.jobs import evaluate_all, train_all

PROGRAM = """
import json, pathlib, sys
if sys.argv[1] == "resume":
    sys.exit(print("success rate 0 %"))
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


def test_runs_go_on_as_they_are_now_asked_for(tmp_path, program):
    """But for what decides what they learn; who asks for no evaluations ends none."""
    train_all(program, (), 1, configs(tmp_path, 3))
    (tmp_path / "seed-3" / "checkpoints" / f"{1:012}").mkdir(parents=True)
    (begun,) = configs(tmp_path, 3)
    asked = {"eval.env": ("Other-v0",), "eval.every": 7, "eval.episodes": 8, "pictures": 0.0}
    asked |= {"checkpoint_frames": 9, "frames": 10, "until": 0.5}
    (run,) = train_all(program, (), 1, [replace_at(begun, asked)])
    assert run.config == replace_at(begun, asked)
    (run,) = train_all(program, (), 1, [replace_at(begun, {"frames": 11})])
    kept = {path: leaf for path, leaf in asked.items() if path.startswith("eval.")}
    assert run.config == replace_at(begun, {"frames": 11} | kept)
    with run.held(), pytest.raises(UsageError, match="is being trained by another process"):
        train_all(program, (), 1, configs(tmp_path, 3))
    assert load_run(run.path) == run


@pytest.mark.parametrize("text", ["", "[", "{}", "[{}]", "[1]", "\xff"])
def test_a_damaged_evaluation_is_made_again(tmp_path, text):
    (tmp_path / "run.py").write_text("import sys; open(sys.argv[-1], 'w').write('new')")
    (tmp_path / "scores.json").write_text(text)
    (config,) = configs(tmp_path, 1)
    wanted = {tmp_path / "scores.json": (Run(tmp_path / "seed-1", config), ())}
    evaluate_all(tmp_path / "run.py", (), 1, wanted)
    assert (tmp_path / "scores.json").read_text() == "new"
