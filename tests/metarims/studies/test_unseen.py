"""Evaluating on unseen levels during training."""

import os
import signal

import numpy as np
import pytest
import torch
from PIL import Image

import envs
import metarims
from metarims.config import find_preset
from metarims.evaluation import evaluate
from metarims.monitor import Onlookers
from metarims.runs import load_run
from metarims.settings import replace_at
from metarims.stopping import Stopped
from metarims.studies.figures import draw_courses
from metarims.studies.unseen import Examiner, courses_markdown, key, read_courses

from ..small import configured, create_run

LEVEL, UNSEEN = "MiniGrid-Empty-5x5-v0", "BabyAI-GoToObj-v0"
ITERATION = 8 * 20  # frames


def config(out, frames, **changes):
    asked = {"eval.env": (UNSEEN, LEVEL), "eval.every": 300, "eval.episodes": 5}
    own = {"env": (LEVEL,), "out": str(out), "frames": frames, "checkpoint_frames": 1}
    return replace_at(configured("rims"), {"fast.epochs": 1} | own | asked | changes)


def built(run):
    env = envs.make(LEVEL, num_envs=8, seed=1)
    return env, run.agent.make(env, 1), None, Onlookers(evaluate=Examiner(envs, run, env.device))


def evaluated(out):
    """Frames, and the evaluation after them."""
    return [
        (row["frames"], {name: x for name, x in row.items() if name.startswith("eval/")})
        for row in load_run(out).metrics()
        if any(name.startswith("eval/") for name in row)
    ]


def test_every_so_many_frames_at_the_end_and_on_again(tmp_path):
    whole = config(tmp_path / "whole", 5 * ITERATION)
    metarims.train(whole, *built(whole))
    seen = evaluated(tmp_path / "whole")
    assert [frames for frames, _ in seen] == [320, 640, 800]  # past 300 and 600, and at the end
    figures = ("success_rate", "mean_reward", "mean_ep_length")
    assert {*seen[0][1]} == {key(level, name) for level in (UNSEEN, LEVEL) for name in figures}
    half = config(tmp_path / "half", 2 * ITERATION)
    metarims.train(half, *built(half))
    env, agent, shown, onlookers = built(half)
    run = load_run(tmp_path / "half")
    metarims.resume(run, env, agent, shown, onlookers, frames=5 * ITERATION)
    assert evaluated(tmp_path / "half") == seen


def test_one_that_was_stopped_is_made_up_for(tmp_path):
    """A run told to stop while it is evaluated is saved as it is, and evaluated when it goes on."""
    whole = config(tmp_path / "whole", 5 * ITERATION)
    metarims.train(whole, *built(whole))

    def never_ends(agent):
        os.kill(os.getpid(), signal.SIGTERM)
        raise Stopped(signal.SIGTERM)  # as at the end of its grace

    run = config(tmp_path / "run", 5 * ITERATION, checkpoint_frames=10**6)
    env, agent, shown, onlookers = built(run)
    with pytest.raises(Stopped):
        metarims.train(run, env, agent, shown, Onlookers(evaluate=never_ends))
    kept = load_run(tmp_path / "run")
    assert max(kept.checkpoints()) == kept.last_metrics()["frames"] == 320
    assert evaluated(tmp_path / "run") == []
    env, agent, *_ = built(run)
    metarims.resume(kept, env, agent, shown, onlookers)
    assert evaluated(tmp_path / "run") == evaluated(tmp_path / "whole")


def test_as_the_evaluation_of_what_was_kept(tmp_path):
    run = config(tmp_path / "run", 2 * ITERATION)
    metarims.train(run, *built(run))
    ((_, figures),) = evaluated(tmp_path / "run")
    for level in (UNSEEN, LEVEL):
        env = envs.make(level, num_envs=5)
        agent = run.agent.make(env, 7, (LEVEL,))
        load_run(tmp_path / "run").load_agent(agent)
        found = evaluate(agent, env, 5)
        assert figures[key(level, "success_rate")] == found.success_rate
        assert figures[key(level, "mean_reward")] == found.mean_return
        assert figures[key(level, "mean_ep_length")] == found.mean_length


def test_random_numbers_of_its_own():
    run = config("nowhere", ITERATION)
    _, agent, _, onlookers = built(run)
    before = torch.random.get_rng_state()
    one, other = onlookers.evaluate(agent), onlookers.evaluate(agent)
    assert one == other
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.fixture
def written(tmp_path):
    """Three runs of two agents, with rates written by hand; one of them ended early."""

    def write(name, agent, rates):
        settings = {"env": ("Small",), "out": str(tmp_path / name), "eval.env": ("Large", "Other")}
        run = create_run(replace_at(find_preset(agent), settings))
        for n, rate in enumerate(rates, 1):
            own = {} if rate is None else {key("Large", "success_rate"): rate}
            run.write_metrics({"frames": 100 * n, "time/frames_before": 0} | own)
        return run

    return [
        write("a", "lstm", [None, 0.25, None, 0.5]),
        write("b", "lstm", [None, 0.75, 0.25]),
        write("c", "rims", [None, 1.0, 0.5, 0.0]),
    ]


def test_courses_by_hand(written):
    ((levels, agents),) = read_courses(written).items()
    assert levels == ("Small", "Large")  # the other one was never evaluated
    one, other = agents["lstm"]
    assert one.frames.tolist() == [200, 400]
    assert other.success.tolist() == [0.75, 0.25]
    lines = courses_markdown(read_courses(written)).splitlines()
    assert lines[0].startswith("Large while learning Small")
    assert lines[2] == "| agent | 200 | at the end |"
    assert lines[4] == "| lstm (2) | 50.0 (25.0 – 75.0) | 37.5 (25.0 – 50.0) |"
    assert lines[5] == "| rims (1) | 100.0 | 0.0 |"
    assert lines[7] == "Probability that a run of the first agent succeeds more often there:"
    assert lines[9] == "|  | 200 | at the end |"
    better = "| rims over lstm | 1.00 (1.00 – 1.00) | 0.00 (0.00 – 0.00) |"
    assert lines[11:] == [better]
    alone = courses_markdown(read_courses(written[2:])).splitlines()
    assert alone[2:4] == ["| agent | 200 | 300 | 400 |", "|---|---|---|---|"]
    assert not any(line.startswith("The probability") for line in alone)


def test_the_figure_shows_them(written, tmp_path):
    draw_courses(read_courses(written), tmp_path / "unseen.png")
    assert np.asarray(Image.open(tmp_path / "unseen.png")).std() > 1
