"""Learning from demonstrations: all are shown, in order; cloning learns to act like them."""

import json
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

import metarims
from metarims import ranks
from metarims.algorithms.clone import Clone
from metarims.errors import UsageError
from metarims.evaluation import evaluate, seeded
from metarims.learner import Learner
from metarims.rollout import begin, collect_rollout
from metarims.sequences import cut, minibatches
from metarims.settings import replace_at
from metarims.teacher import Teacher

from .probes import Contexts
from .small import agent_of, configured

ITERATION = 8 * 20  # frames


@dataclass(frozen=True)
class Lessons:
    level: str
    obs: dict[str, Tensor]
    actions: Tensor
    rewards: Tensor
    ends: Tensor
    digest: str = "12ab" * 16


def numbered(lengths):
    """Episodes that show their number and the step, with the step as action and reward."""
    steps = torch.cat([torch.arange(length) for length in lengths])
    numbers = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    features = torch.stack([numbers, steps, steps, steps], 1).float()
    ends = torch.cat([torch.arange(length) == length - 1 for length in lengths])
    return Lessons("probe-1", {"features": features}, steps % 2, steps.float(), ends)


def expert(episodes=64):
    """The actions of an expert that knows the contexts."""
    env = Contexts(1)
    obs, seen, acted, earned = env.reset(5), [], [], []
    for _ in range(episodes * env.length):
        context, shown = obs["features"][:, 1].long(), obs["features"][:, 3].long()
        step = env.step(context ^ shown)
        seen.append(obs["features"])
        acted.append(context ^ shown)
        earned.append(step.reward)
        obs = step.obs
    ends = torch.arange(1, len(seen) + 1) % env.length == 0
    features = {"features": torch.cat(seen)}
    return Lessons("probe-0", features, torch.cat(acted), torch.cat(earned), ends)


def cloning(preset="metarims", **changes):
    return replace_at(configured(preset, **changes), {"algorithm": "clone"})


def teacher_of(lessons, listeners=3, preset="lstm", seed=1):
    agent = agent_of(configured(preset))
    return Teacher(lessons, agent, Contexts(listeners, tasks=2), seed), agent


LENGTHS = [3, 1, 4, 2, 5, 3, 2]


def shown_to(listeners, steps):
    """The numbers of the episodes in the order in which they are begun."""
    teacher, agent = teacher_of(numbered(LENGTHS), listeners)
    rollout = teacher.show(agent, steps, steps)
    return rollout.obs["features"][..., 0][rollout.starts].int().tolist()


@pytest.mark.parametrize("listeners", [1, 3, 10])
def test_every_pass_shows_each_episode_once(listeners):
    begun = shown_to(listeners, 80)
    assert len(begun) > 3 * len(LENGTHS)
    passes = [begun[i : i + 7] for i in range(0, len(begun) - 7, 7)]
    assert all(sorted(each) == list(range(7)) for each in passes)
    assert len(set(map(tuple, passes))) > 1


def test_a_listener_sees_whole_episodes():
    teacher, agent = teacher_of(numbered(LENGTHS))
    first, second = teacher.show(agent, 20, 10), teacher.show(agent, 20, 5)
    number, step, *_ = torch.cat([first.obs["features"], second.obs["features"]]).unbind(-1)
    starts = torch.cat([first.starts, second.starts])
    ends = torch.cat([first.terminated, second.terminated])
    assert starts[0].all()
    assert torch.equal(starts, step == 0)
    assert torch.equal(ends[:-1], starts[1:])
    assert torch.equal(ends, step + 1 == torch.tensor(LENGTHS)[number.long()])
    assert torch.equal(number[1:][~starts[1:]], number[:-1][~starts[1:]])
    assert torch.equal(step[1:][~starts[1:]], step[:-1][~starts[1:]] + 1)
    assert torch.equal(torch.cat([first.actions, second.actions]), step.long() % 2)
    assert torch.equal(torch.cat([first.rewards, second.rewards]), step)
    assert not second.truncated.any()
    assert torch.equal(first.obs["last_reward"][1:], step[:19])
    assert torch.equal(second.obs["last_action"][0], first.actions[-1])
    assert not first.obs["last_action"][0].any()
    assert (first.task == 1).all()


@pytest.mark.parametrize("preset", ["lstm", "rims"])
def test_what_the_agent_thinks_goes_with_what_is_shown(preset):
    """In one go, step by step or in spans, with the states in between."""
    teacher, agent = teacher_of(numbered(LENGTHS), preset=preset)
    rollout = teacher.show(agent, 20, 5)
    whole = agent(rollout.obs, agent.initial_state(3), rollout.starts)
    assert torch.allclose(whole.value, rollout.values, atol=1e-6)
    log_probs = whole.logits.log_softmax(-1).gather(-1, rollout.actions.unsqueeze(-1))[..., 0]
    assert torch.allclose(log_probs, rollout.log_probs, atol=1e-6)
    part = {name: x[10:15] for name, x in rollout.obs.items()}
    output = agent(part, tuple(x[2] for x in rollout.states), rollout.starts[10:15])
    assert torch.allclose(output.value, rollout.values[10:15], atol=1e-6)
    assert torch.equal(rollout.next_values[:-1], rollout.values[1:])
    ahead = teacher.show(agent, 20, 20).values[0]
    assert torch.allclose(rollout.next_values[-1], ahead, atol=1e-6)


def test_ranks_share_the_episodes(monkeypatch):
    monkeypatch.setattr(ranks, "size", lambda: 2)
    begun = []
    for rank in range(2):
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        begun.append(shown_to(2, 20)[:5])
    both = [number for pair in zip(*begun, strict=True) for number in pair]
    assert sorted(both[:7]) == list(range(7))


def test_the_value_is_of_what_the_agent_does_itself():
    """Shown rewards 0, 1, 2 with γ = ½ have returns 1, 2, 2; the agent's own actions pay 0 or 1."""
    teacher, agent = teacher_of(numbered([3]), listeners=2)
    env = Contexts(2, tasks=2)
    rollout, _ = collect_rollout(env, agent, begin(env, agent, 1), 12, 6, seeded(env.device, 1))
    lesson = teacher.lesson(agent, rollout)
    likely, returns = Clone(discount=0.5).targets(lesson)
    assert lesson.obs["shown"].tolist() == [[True, True, False, False]] * 12
    assert returns[:, 0].tolist() == pytest.approx([1, 2, 2] * 4, abs=1e-6)
    assert torch.equal(likely[:, :2] != 0, torch.ones(12, 2, dtype=torch.bool))
    assert not likely[:, 2:].any()
    (batch,) = minibatches(cut(lesson, likely, returns, 6), 1, seeded(env.device, 1))
    output = agent(batch.obs, batch.state, batch.starts)
    figures = Clone(discount=0.5).loss(output, batch, configured("lstm").loops.fast).figures
    own = torch.stack([rollout.values, returns[:, 2:]])
    assert figures["value_loss"].item() == pytest.approx((own[0] - own[1]).square().mean() / 2)
    shown = lesson.log_probs[:, :2]
    assert figures["imitation_loss"].item() == pytest.approx(-shown.mean().item(), rel=1e-5)


@pytest.mark.parametrize("preset", ["lstm", "rims", "metarims", "routing"])
def test_cloning_learns_what_the_expert_does(preset):
    env, rate = Contexts(64), 5e-3
    config = cloning(preset, fast__learning_rate=rate, slow__learning_rate=rate)
    agent = agent_of(config)
    before = {name: parameter.clone() for name, parameter in agent.named_parameters()}
    teacher = Teacher(expert(), agent, env, 1)
    learner = Learner(agent, config.loops, config.algorithm, 1, env.device, teacher)
    cursor = begin(env, agent, 1)
    for _ in range(15):
        iteration, cursor = learner.iterate(env, cursor)
    assert evaluate(agent, Contexts(64), 256).mean_return > 3.8  # of 4
    assert all(float(figures["accuracy"]) > 0.95 for figures in iteration.figures.values())
    moved = {
        name for name, parameter in agent.named_parameters() if (parameter != before[name]).any()
    }
    assert moved == set(before)


def train(out, preset, lessons, iterations=4):
    frames = iterations * ITERATION
    own = {"env": ("probe-0",), "out": str(out), "checkpoint_frames": ITERATION}
    run = replace_at(cloning(preset), {**own, "frames": frames, "imitate": "lessons"})
    return metarims.train(run, Contexts(8), agent_of(run), lessons)


@pytest.mark.parametrize("preset", ["metarims", "lstm", "routing"])
def test_a_resumed_cloning_equals_the_uninterrupted_one_bit_for_bit(tmp_path, preset):
    lessons = expert(5)
    train(tmp_path / "whole", preset, lessons)
    train(tmp_path / "halves", preset, lessons, 2)
    run = metarims.load_run(tmp_path / "halves")
    metarims.resume(run, Contexts(8), agent_of(run.config), lessons, frames=4 * ITERATION)
    whole, halves = (metarims.load_run(tmp_path / name).load() for name in ("whole", "halves"))
    assert whole.tensors.keys() == halves.tensors.keys()
    for name, tensor in whole.tensors.items():
        assert torch.equal(tensor, halves.tensors[name]), name


def test_a_run_goes_on_with_its_own_demonstrations_alone(tmp_path):
    train(tmp_path, "lstm", expert(5), 1)
    run, others = metarims.load_run(tmp_path), replace(expert(5), digest="0" * 64)
    with pytest.raises(UsageError, match="differ from those the run started with"):
        metarims.resume(run, Contexts(8), agent_of(run.config), others, frames=2 * ITERATION)


def test_reports_and_ppo_begun_from_it(tmp_path):
    train(tmp_path / "cloned", "metarims", expert(5), 2)
    row = json.loads((tmp_path / "cloned" / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"train/fast/accuracy", "train/slow/imitation_loss", "modules/use_0"} <= set(row)
    assert row["rollout/ep_len_mean"] == 4
    own = {"env": ("probe-0",), "frames": 1, "out": str(tmp_path / "on")}
    config = replace_at(configured("metarims"), own | {"from": str(tmp_path / "cloned")})
    metarims.train(config, Contexts(8), agent_of(config))
    (row,) = map(json.loads, (tmp_path / "on" / "metrics.jsonl").read_text().splitlines())
    assert row["time/frames_before"] == 2 * ITERATION
