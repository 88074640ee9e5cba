"""Runs trained at once equal runs trained alone, to rounding, and have their own folders.

Everything is in double precision, where rounding is far below the tolerance.
"""

import pytest
import torch

import envs
import metarims
from agents.kernels.compiling import definitions
from metarims.config import find_preset
from metarims.errors import UsageError
from metarims.monitor import Onlookers
from metarims.runs import load_run
from metarims.seeds import Member, Stack, train_stacked, why_not_stacked
from metarims.settings import replace_at
from metarims.training import Training

from .probes import Contexts
from .small import agent_of, configured

SEEDS = (1, 2, 3)
ITERATION = 8 * 20  # frames
LEVELS = ("BabyAI-GoToObj-v0", "BabyAI-PickupLoc-v0")  # missions of many lengths


@pytest.fixture(autouse=True)
def _double_by_definition():
    torch.set_default_dtype(torch.float64)
    with definitions():
        yield
    torch.set_default_dtype(torch.float32)


def config(folder, seed, preset="lstm", iterations=3, **changes):
    few = {"fast__epochs": 1, "fast__minibatches": 3, "slow__epochs": 1, "slow__minibatches": 2}
    own = {"env": ("probe-0",), "seed": seed, "out": str(folder / f"seed-{seed}")}
    own |= {"frames": iterations * ITERATION, "checkpoint_frames": ITERATION}
    own |= {"eval__every": ITERATION}
    return configured(preset, **few, **own, **changes)


class Doubles(Contexts):
    """Observes in double precision."""

    def observe(self, count, secret):
        return super().observe(count, secret).double()


def weigh(agent):
    """An evaluation that tells agents apart."""
    return {
        "eval/level/mean_reward": sum(float(x.abs().sum()) for x in agent.state_dict().values())
    }


SEEN = Onlookers(evaluate=weigh)


def at_once(configs, env=None, make=lambda: Doubles(8)):
    """Train the runs at once."""
    members = [Member(config, make(), agent_of(config, config.run.seed)) for config in configs]
    return train_stacked(members, env or Doubles(8 * len(configs)), SEEN)


def alone(configs, make=lambda: Doubles(8)):
    """Train them one after the other."""
    return [metarims.train(c, make(), agent_of(c, c.run.seed), onlookers=SEEN) for c in configs]


def rows(run):
    """The rows of metrics.jsonl without times."""
    clock = ("time/fps", "time/time_elapsed")
    return [{name: row[name] for name in row if name not in clock} for row in run.metrics()]


def assert_alike(ours, theirs):
    """Two runs' folders are equal, up to rounding where numbers are rounded."""
    one, other = ours.load(), theirs.load()
    assert one.tensors.keys() == other.tensors.keys()
    for name, tensor in one.tensors.items():
        if tensor.is_floating_point():
            assert torch.allclose(tensor, other.tensors[name], rtol=1e-6, atol=1e-9), name
        else:
            assert torch.equal(tensor, other.tensors[name]), name
    assert {**one.numbers, "seconds": 0} == {**other.numbers, "seconds": 0}
    assert len(rows(ours)) == len(rows(theirs)) > 0
    for mine, its in zip(rows(ours), rows(theirs), strict=True):
        assert mine == pytest.approx(its, rel=1e-5, abs=1e-7)
    assert {path.name.split(".")[0] for path in ours.path.iterdir()} == {
        path.name.split(".")[0] for path in theirs.path.iterdir()
    }


def assert_all_alike(one, other):
    for seed in SEEDS:
        assert_alike(load_run(one / f"seed-{seed}"), load_run(other / f"seed-{seed}"))


@pytest.mark.parametrize(
    ("preset", "changes"),
    [("lstm", {"ppo__novelty": 0.01}), ("rims", {"core__least_use": 0.6}), ("metarims", {})],
)
def test_runs_at_once_are_what_they_are_alone(tmp_path, preset, changes):
    alone([config(tmp_path / "alone", seed, preset, 2, **changes) for seed in SEEDS])
    stacked = [config(tmp_path / "stacked", seed, preset, 2, **changes) for seed in SEEDS]
    summaries = at_once(stacked)
    assert [summary.frames for summary in summaries] == [2 * ITERATION] * 3
    assert_all_alike(tmp_path / "stacked", tmp_path / "alone")
    one, other = (load_run(tmp_path / "stacked" / f"seed-{seed}").load() for seed in (1, 2))
    assert not torch.equal(one.tensors["agent.core.start"], other.tensors["agent.core.start"])
    weights = [row["eval/level/mean_reward"] for row in rows(load_run(tmp_path / "stacked/seed-1"))]
    assert len({*weights}) == 2


def test_levels_missions_and_truncations_are_each_runs_own():
    """In environments of several levels with short episodes."""
    small = {"num_envs": 4, "max_steps": 7, "fast__minibatches": 2, "fast__epochs": 1}
    settings = configured("rims", env=LEVELS, **small)

    def training(seed):
        env = envs.make(LEVELS, num_envs=4, seed=seed, max_steps=7)
        own = replace_at(settings, {"seed": seed})
        return Training(own, env, own.agent.make(env, seed))

    stack = Stack(
        [training(seed) for seed in SEEDS], envs.make(3 * LEVELS, num_envs=12, max_steps=7)
    )
    stacked = [stack.iterate() for _ in range(2)]
    for seed, ours in zip(SEEDS, stack.trainings, strict=True):
        theirs = training(seed)
        lines = [theirs.iterate() for _ in range(2)]
        for mine, its in zip((rows[seed - 1] for rows in stacked), lines, strict=True):
            assert {**mine, "time/fps": 0, "time/time_elapsed": 0} == pytest.approx(
                {**its, "time/fps": 0, "time/time_elapsed": 0}, rel=1e-5, abs=1e-7
            )
        assert theirs.tally.episodes > 0
        for (name, a), b in zip(
            ours.agent.named_parameters(), theirs.agent.parameters(), strict=True
        ):
            assert torch.allclose(a, b, rtol=1e-6, atol=1e-9), name


def test_interrupted_and_called_again_they_go_on(tmp_path):
    at_once([config(tmp_path / "whole", seed, "metarims", 4) for seed in SEEDS])
    at_once([config(tmp_path / "halves", seed, "metarims", 2) for seed in SEEDS])
    ahead = load_run(tmp_path / "halves" / "seed-2")  # a checkpoint later than the others'
    metarims.resume(
        ahead, Doubles(8), agent_of(ahead.config, 2), onlookers=SEEN, frames=3 * ITERATION
    )
    at_once([config(tmp_path / "halves", seed, "metarims", 4) for seed in SEEDS])
    for seed in SEEDS:
        whole, halves = (load_run(tmp_path / name / f"seed-{seed}") for name in ("whole", "halves"))
        assert_alike(halves, whole)
        assert halves.config.run.frames == whole.config.run.frames


def test_a_run_of_a_stack_goes_on_alone(tmp_path):
    at_once([config(tmp_path / "stacked", seed, "rims", 2) for seed in SEEDS])
    run = load_run(tmp_path / "stacked" / "seed-2")
    metarims.resume(run, Doubles(8), agent_of(run.config, 2), onlookers=SEEN, frames=3 * ITERATION)
    whole = config(tmp_path / "alone", 2, "rims", 3)
    alone([whole])
    assert_alike(run, load_run(whole.run.out))


def test_a_run_that_is_done_rests_while_the_others_go_on(tmp_path):
    many = {"iterations": 11, "until": 0.53}
    alone([config(tmp_path / "alone", seed, **many) for seed in SEEDS])
    summaries = at_once([config(tmp_path / "stacked", seed, **many) for seed in SEEDS])
    assert len({summary.frames for summary in summaries}) > 1
    assert_all_alike(tmp_path / "stacked", tmp_path / "alone")


class Unreal(Doubles):
    """The second run's rewards are NaN."""

    def reward(self, count, secret, actions):
        found = super().reward(count, secret, actions)
        found[8:16] = float("nan")
        return found


def test_a_run_that_learns_nothing_more_leaves_the_others_alone(tmp_path):
    alone([config(tmp_path / "alone", seed, iterations=4) for seed in SEEDS])
    with pytest.raises(
        UsageError, match=r"seed-2: no gradient was finite for 3 iterations, starting"
    ):
        at_once([config(tmp_path / "stacked", seed, iterations=4) for seed in SEEDS], Unreal(24))
    for seed in (1, 3):
        ours, theirs = (load_run(tmp_path / n / f"seed-{seed}") for n in ("stacked", "alone"))
        assert_alike(ours, theirs)
    lost = load_run(tmp_path / "stacked" / "seed-2")
    assert lost.last_metrics()["frames"] == 3 * ITERATION
    for name, parameter in agent_of(lost.config, 2).named_parameters():
        assert torch.equal(parameter, lost.load().tensors[f"agent.{name}"]), name


def test_runs_that_cannot_go_on_together_are_refused(tmp_path):
    at_once([config(tmp_path, seed, iterations=1) for seed in SEEDS])
    ahead = load_run(tmp_path / "seed-3")
    metarims.resume(
        ahead, Doubles(8), agent_of(ahead.config, 3), onlookers=SEEN, frames=4 * ITERATION
    )
    with pytest.raises(UsageError, match=r"these stand at 160, 160, 640: .* --stacked no"):
        at_once([config(tmp_path, seed, iterations=5) for seed in SEEDS])
    other = [config(tmp_path, seed, iterations=5, core__hidden=24) for seed in SEEDS]
    with pytest.raises(UsageError, match=r"other settings: core\.hidden is 40 there"):
        at_once(other)


def test_what_cannot_be_stacked_is_refused(tmp_path):
    assert why_not_stacked(find_preset("metarims")) == ""
    assert "agent 'routing' cannot" in why_not_stacked(find_preset("routing"))
    assert "per_task" in why_not_stacked(configured(fast__per_task=True))
    uneven = configured(env=LEVELS, num_envs=7)
    assert "num_envs divisible by the 2 levels, got 7" in why_not_stacked(uneven)

    def looks(agent):
        forward = agent.forward
        agent.forward = lambda obs, state, starts: (
            bool(starts.any()),
            forward(obs, state, starts),
        )[1]
        return agent

    members = [Member(c := config(tmp_path, s), Doubles(8), looks(agent_of(c, s))) for s in SEEDS]
    with pytest.raises(UsageError, match=r"cannot be stacked \(.*data-dependent"):
        train_stacked(members, Doubles(24))
    assert list(tmp_path.iterdir()) == []
