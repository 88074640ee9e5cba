"""The loops: what they move, what they leave, and that together they can be plain PPO."""

from dataclasses import replace

import pytest
import torch

import agents
from agents.policy import RecurrentPolicy
from metarims.config import TrainConfig
from metarims.errors import UsageError
from metarims.learner import Learner
from metarims.ppo import clipped_policy_loss, entropy_of, log_prob_of, squared_value_loss
from metarims.protocols import GROUPS
from metarims.rollout import begin
from metarims.schedule import Loop, Schedule

from .probes import Contexts, Linear

SMALL = {"fast_span": 5, "features": 16, "hidden": 8, "lstm_hidden": 40, "key": 8, "value": 16}
CONFIG = TrainConfig(env=("probe",), agent="metarims", out="unused", num_envs=8)


def make_agent(preset="metarims", seed=0, **options):
    """A preset's agent with the probes' encoder."""
    agent = agents.make(preset, Contexts(1), SMALL | options, seed)
    torch.manual_seed(seed)
    agent.encoder = Linear(Contexts.seen, 16)
    return agent


def schedule(preset="metarims", **options):
    return agents.schedule(preset, SMALL | options)


def learn(agent, schedule, iterations=1, tasks=1, config=CONFIG):
    """Train on a probe; gives the learner and the last iteration."""
    env = Contexts(config.num_envs, tasks)
    learner = Learner(agent, schedule, config, env.device)
    cursor = begin(env, agent, config.seed)
    for _ in range(iterations):
        iteration, cursor = learner.iterate(env, cursor)
    return learner, iteration


def snapshot(agent):
    return {
        group: [parameter.detach().clone() for parameter in parameters]
        for group, parameters in agent.groups().items()
    }


def moved(agent, before):
    """The groups of which every parameter, or none, is bit-equal to before."""
    same = {
        group: {torch.equal(a, b) for a, b in zip(parameters, before[group], strict=True)}
        for group, parameters in agent.groups().items()
        if parameters
    }
    return {group for group, equal in same.items() if False in equal}


@pytest.mark.parametrize(
    ("loop", "learnt"),
    [
        (0, {"encoder", "modules", "policy"}),
        (1, {"attention", "value"}),
    ],
)
def test_each_loop_leaves_the_other_groups_bit_equal(loop, learnt):
    agent = make_agent()
    learner, _ = learn(agent, schedule())  # all have moments by now
    before = snapshot(agent)
    learner.schedule = Schedule((replace(schedule().loops[loop], data="fresh"),), 20)
    learner.iterate(Contexts(8), begin(Contexts(8), agent))
    assert moved(agent, before) == learnt


@pytest.mark.parametrize("name", agents.names())
def test_every_group_of_every_preset_learns(name):
    agent = make_agent(name)
    before = snapshot(agent)
    learn(agent, schedule(name))
    assert moved(agent, before) == {group for group, rows in agent.groups().items() if rows}


@pytest.mark.parametrize("hidden_state", ["reset", "carry"])
@pytest.mark.parametrize("name", agents.names())
def test_the_ratio_is_one_before_the_first_step_of_an_update(name, hidden_state):
    agent = make_agent(name, hidden_state=hidden_state)
    ratios: list[list[float]] = []

    class Watch(Learner):
        def _learn(self, loop, batch):
            with torch.no_grad():
                logits = self.agent(batch.obs, batch.state, batch.starts).logits.log_softmax(-1)
            ratio = (log_prob_of(logits, batch.actions) - batch.log_probs).exp()
            ratios[-1].append((ratio - 1).abs().max().item())
            return super()._learn(loop, batch)

        def _release(self, loop):
            ratios.append([])
            super()._release(loop)

    env = Contexts(8)
    learner = Watch(agent, schedule(name), CONFIG, env.device)
    cursor = begin(env, agent, 1)
    for _ in range(2):
        _, cursor = learner.iterate(env, cursor)
    assert len(ratios) == 2 * len(schedule(name).loops)
    assert max(first for first, *_ in ratios) < 1e-6, ratios
    assert max(max(row) for row in ratios) > 1e-4  # by then the policy did change


def test_two_loops_over_everything_are_joint_ppo():
    """Slow factor 1, reuse and all groups in both: plain PPO, twice over each rollout."""
    fast = Loop("fast", span=5, data="fresh", epochs=2)
    slow = Loop("slow", span=5, data="reuse", epochs=2)
    ours = make_agent(seed=3)
    learn(ours, Schedule((fast, slow), 20), iterations=2)
    plain = make_agent(seed=3)
    plain_ppo(plain, iterations=2)
    for (name, a), b in zip(ours.named_parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b), name


def plain_ppo(agent: RecurrentPolicy, iterations: int) -> None:
    """Joint PPO with one optimiser over everything, written without loops, groups or spans."""
    env = Contexts(CONFIG.num_envs)
    optimizer = torch.optim.Adam(agent.parameters(), lr=1e-3, eps=1e-5, fused=True)
    joint = Loop("joint", span=5)
    collector = Learner(agent, Schedule((joint,), 20), CONFIG, env.device)
    cursor = begin(env, agent, CONFIG.seed)
    for iteration in range(1, iterations + 1):
        rollout, cursor = collector._sample_trajectories(env, cursor)
        frames = iteration * 20 * CONFIG.num_envs
        optimizer.param_groups[0]["lr"] = 1e-3 * max(0.1, 1 - frames / CONFIG.anneal_frames)
        spans = collector._sequences(rollout, joint)
        for repeat in range(2):
            if repeat:
                with torch.no_grad():
                    logits = agent(spans.obs, spans.state, spans.starts).logits.log_softmax(-1)
                spans = replace(spans, log_probs=log_prob_of(logits, spans.actions))
            for _ in range(2):
                for rows in torch.randperm(32, generator=collector.generator).chunk(4):
                    batch = spans.take(rows)
                    output = agent(batch.obs, batch.state, batch.starts)
                    log_probs = output.logits.log_softmax(-1)
                    ratio = (log_prob_of(log_probs, batch.actions) - batch.log_probs).exp()
                    advantages = batch.advantages - batch.advantages.mean()
                    advantages = advantages / (batch.advantages.std() + 1e-8)
                    loss = clipped_policy_loss(ratio, advantages, CONFIG.clip)
                    loss = loss - CONFIG.entropy * entropy_of(log_probs).mean()
                    value_loss = squared_value_loss(output.value, batch.returns)
                    loss = loss + CONFIG.value_weight * value_loss
                    optimizer.zero_grad()
                    loss.backward()
                    everything = [p for group in GROUPS for p in agent.groups()[group]]
                    torch.nn.utils.clip_grad_norm_(everything, CONFIG.max_grad_norm)
                    optimizer.step()


def test_the_rates_of_groups_scale_their_steps():
    """One step of Adam moves a parameter by the rate: a quarter of it, a quarter of the way."""
    steps = {}
    for rate in (1.0, 0.25):
        agent = make_agent()
        before = snapshot(agent)
        loop = Loop("joint", span=5, rates={"attention": rate}, epochs=1, minibatches=1)
        learn(agent, Schedule((loop,), 20))
        steps[rate] = [
            (a - b).abs().max().item()
            for a, b in zip(agent.groups()["attention"], before["attention"], strict=True)
        ]
    assert steps[0.25] == pytest.approx([step / 4 for step in steps[1.0]], rel=1e-3)


def test_fresh_slow_data_costs_frames_and_reuse_does_not():
    for data, rollouts in (("fresh", 2), ("reuse", 1)):
        _, iteration = learn(make_agent(), schedule(slow_data=data))
        assert len(iteration.rollouts) == rollouts
        assert list(iteration.figures) == ["fast", "slow"]


def test_the_fast_loop_can_leave_out_the_value_loss():
    with_it, without = (
        learn(make_agent(), schedule(fast_value_loss=on))[1].figures for on in (True, False)
    )
    for figures, weight in ((with_it, CONFIG.value_weight), (without, 0.0)):
        fast = figures["fast"]
        expected = fast["policy_gradient_loss"] + CONFIG.entropy * fast["entropy_loss"]
        torch.testing.assert_close(fast["loss"], expected + weight * fast["value_loss"])


def test_inner_steps_task_by_task():
    seen = []

    class Watch(Learner):
        def _learn(self, loop, batch):
            seen.append((loop.name, sorted(set(batch.task.tolist()))))
            return super()._learn(loop, batch)

    env = Contexts(8, tasks=2)
    agent = make_agent()
    once = schedule(per_task=True, epochs=1, minibatches=1, slow_epochs=1, slow_minibatches=1)
    learner = Watch(agent, once, CONFIG, env.device)
    learner.iterate(env, begin(env, agent))
    assert seen == [("fast", [0]), ("fast", [1]), ("slow", [0, 1])]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: Schedule((Loop("fast", span=30),)),
            "multiple of the fast loop's span, 30, got 80",
        ),
        (lambda: Schedule((Loop("slow", data="reuse"),)), "nothing to reuse"),
        (
            lambda: Loop("fast", groups=("modul",)),
            "unknown parameter group 'modul'; nearest: module",
        ),
        (lambda: Loop("fast", epochs=0), "epochs must be positive, got 0"),
        (lambda: replace(CONFIG, frames=-5), "frames must be positive, got -5"),
        (lambda: replace(CONFIG, discount=1.5), "discount must lie between 0 and 1, got 1.5"),
        (lambda: TrainConfig.from_json({"envs": []}), "unknown setting 'envs'; nearest: .*env"),
    ],
)
def test_wrong_settings_are_refused(build, message):
    with pytest.raises(UsageError, match=message):
        build()


def test_no_step_is_taken_once_the_policy_has_moved_too_far():
    """The first minibatch is learnt from, the others find the policy too far away by then."""
    loop = Loop("joint", span=5, learning_rate=1e-2, epochs=1, minibatches=4)
    bounded, free = make_agent(seed=2), make_agent(seed=2)
    _, iteration = learn(bounded, Schedule((loop,), 20), config=replace(CONFIG, target_kl=1e-6))
    assert iteration.figures["joint"]["skipped"].item() == 0.75
    _, iteration = learn(free, Schedule((loop,), 20), config=replace(CONFIG, target_kl=1e6))
    assert iteration.figures["joint"]["skipped"].item() == 0.0
    assert moved(bounded, snapshot(make_agent(seed=2))) == moved(free, snapshot(bounded))


def test_a_gradient_that_is_no_number_is_not_followed():
    agent = make_agent()
    before = snapshot(agent)
    with torch.no_grad():
        next(agent.encoder.parameters()).fill_(float("nan"))
    learn(agent, schedule())
    after = snapshot(agent)
    for group in ("modules", "attention", "policy", "value"):
        for a, b in zip(after[group], before[group], strict=True):
            assert torch.equal(a, b), group
