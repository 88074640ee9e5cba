"""The loops: which parameters they move, and that together they can be plain PPO."""

from dataclasses import replace

import pytest
import torch

from agents.policy import RecurrentPolicy
from metarims.algorithms.ppo import PPO, normalized
from metarims.config import RunConfig
from metarims.errors import UsageError
from metarims.learner import Learner
from metarims.loops import Loop, Loops
from metarims.losses import (
    clipped_policy_loss,
    entropy_of,
    log_barrier_of,
    log_prob_of,
    squared_value_loss,
)
from metarims.protocols import GROUPS
from metarims.rollout import begin

from .probes import Contexts
from .small import PRESETS, agent_of, configured, make_agent

PLAIN, NUM_ENVS = PPO(), 8
NO_LOOP = Loop()


def joint(steps=20, **settings):
    """One loop over everything."""
    return Loops(Loop(groups=GROUPS, span=5, **settings), NO_LOOP, steps)


def learn(agent, loops, iterations=1, tasks=1, algorithm=PLAIN):
    """Train on a probe; returns the learner and the last iteration."""
    env = Contexts(NUM_ENVS, tasks)
    learner = Learner(agent, loops, algorithm, 1, env.device)
    cursor = begin(env, agent, 1)
    for _ in range(iterations):
        iteration, cursor = learner.iterate(env, cursor)
    return learner, iteration


def snapshot(agent):
    return {
        group: [parameter.detach().clone() for parameter in parameters]
        for group, parameters in agent.groups().items()
    }


def moved(agent, before):
    """The groups with a parameter that is not bit-equal to before."""
    same = {
        group: {torch.equal(a, b) for a, b in zip(parameters, before[group], strict=True)}
        for group, parameters in agent.groups().items()
        if parameters
    }
    return {group for group, equal in same.items() if False in equal}


@pytest.mark.parametrize(
    ("loop", "learnt"),
    [
        ("fast", {"encoder", "modules", "policy"}),
        ("slow", {"attention", "value"}),
    ],
)
def test_each_loop_leaves_the_other_groups_bit_equal(loop, learnt):
    agent, loops = make_agent(), configured().loops
    learner, _ = learn(agent, loops)  # all have moments by now
    before = snapshot(agent)
    learner.loops = Loops(replace(getattr(loops, loop), data="fresh"), NO_LOOP, 20)
    learner.iterate(Contexts(8), begin(Contexts(8), agent))
    assert moved(agent, before) == learnt


@pytest.mark.parametrize("name", PRESETS)
def test_every_group_of_every_preset_learns(name):
    agent = make_agent(name)
    before = snapshot(agent)
    learn(agent, configured(name).loops)
    assert moved(agent, before) == {group for group, rows in agent.groups().items() if rows}


@pytest.mark.parametrize("hidden_state", ["reset", "carry"])
@pytest.mark.parametrize("name", PRESETS)
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
    loops = configured(name).loops
    learner = Watch(agent, loops, PLAIN, 1, env.device)
    cursor = begin(env, agent, 1)
    for _ in range(2):
        _, cursor = learner.iterate(env, cursor)
    assert len(ratios) == 2 * len(list(loops.turns()))
    assert max(first for first, *_ in ratios) < 1e-6, ratios
    assert max(max(row) for row in ratios) > 1e-4  # by then the policy did change


def test_two_loops_over_everything_are_joint_ppo():
    """Slow factor 1, reuse and all groups in both: plain PPO, twice over each rollout."""
    fast = Loop(GROUPS, 5, 1e-3, 1.0, epochs=2, minibatches=4)
    ours = make_agent(seed=3)
    learn(ours, Loops(fast, replace(fast, data="reuse"), 20), iterations=2)
    plain = make_agent(seed=3)
    plain_ppo(plain, iterations=2)
    for (name, a), b in zip(ours.named_parameters(), plain.parameters(), strict=True):
        # A step of Adam's is up to 1e-3.
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5, msg=name)


def plain_ppo(agent: RecurrentPolicy, iterations: int) -> None:
    """Joint PPO, written without loops or spans."""
    env, loops = Contexts(NUM_ENVS), joint()
    collector = Learner(agent, loops, PLAIN, 1, env.device)
    optimizer = collector.optimizer
    cursor = begin(env, agent, 1)
    for iteration in range(1, iterations + 1):
        rollout, cursor = collector._sample_trajectories(env, cursor)
        frames = iteration * 20 * NUM_ENVS
        annealed = max(0.1, 1 - frames / PLAIN.anneal_frames)
        optimizer.set_rates(dict.fromkeys(GROUPS, 1e-3), torch.tensor(annealed).double())
        spans = collector._sequences(rollout, loops.fast)
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
                    loss = clipped_policy_loss(ratio, batch.advantages, PLAIN.clip)
                    loss = loss - PLAIN.entropy * entropy_of(log_probs).mean()
                    loss = loss + PLAIN.log_barrier * log_barrier_of(log_probs).mean()
                    value_loss = squared_value_loss(output.value, batch.returns)
                    loss = loss + PLAIN.value_weight * value_loss
                    loss.backward()
                    everything = optimizer.take_gradients(GROUPS)
                    torch.nn.utils.clip_grad_norm_(everything, PLAIN.max_grad_norm)
                    optimizer.step(torch.tensor(False))


def test_the_rates_of_groups_scale_their_steps():
    """One step of Adam moves a parameter by the rate: a quarter of the rate, a quarter as far."""
    steps = {}
    for rate in (1.0, 0.25):
        agent = make_agent()
        before = snapshot(agent)
        learn(agent, joint(attention_rate=rate, epochs=1, minibatches=1))
        steps[rate] = [
            (a - b).abs().max().item()
            for a, b in zip(agent.groups()["attention"], before["attention"], strict=True)
        ]
    assert steps[0.25] == pytest.approx([step / 4 for step in steps[1.0]], rel=1e-3)


def test_fresh_slow_data_costs_frames_and_reuse_does_not():
    for data, rollouts in (("fresh", 2), ("reuse", 1)):
        _, iteration = learn(make_agent(), configured(slow__data=data).loops)
        assert len(iteration.rollouts) == rollouts
        assert list(iteration.figures) == ["fast", "slow"]


def test_the_fast_loop_can_leave_out_the_value_loss():
    with_it, without = (
        learn(make_agent(), configured(fast__value_loss=on).loops)[1].figures
        for on in (True, False)
    )
    for figures, weight in ((with_it, PLAIN.value_weight), (without, 0.0)):
        fast = figures["fast"]
        expected = fast["policy_gradient_loss"] + PLAIN.entropy * fast["entropy_loss"]
        expected = expected + PLAIN.log_barrier * fast["log_barrier"]
        torch.testing.assert_close(fast["loss"], expected + weight * fast["value_loss"])


def test_inner_steps_task_by_task():
    seen = []

    class Watch(Learner):
        def _learn(self, loop, batch):
            seen.append((loop.span, sorted(set(batch.task.tolist()))))
            return super()._learn(loop, batch)

    env = Contexts(8, tasks=2)
    agent = make_agent()
    once = {"fast__epochs": 1, "fast__minibatches": 1, "slow__epochs": 1, "slow__minibatches": 1}
    loops = configured(fast__per_task=True, **once).loops
    learner = Watch(agent, loops, PLAIN, 1, env.device)
    learner.iterate(env, begin(env, agent))
    assert seen == [(5, [0]), (5, [1]), (20, [0, 1])]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: Loops(Loop(GROUPS, span=30), NO_LOOP),
            "multiple of the joint loop's span, 30, got 80",
        ),
        (lambda: Loops(Loop(GROUPS, data="reuse"), NO_LOOP), "nothing to reuse"),
        (lambda: Loops(NO_LOOP), "groups_in_the_fast_loop must be positive, got 0"),
        (
            lambda: Loop(groups=("modul",)),
            "unknown parameter group 'modul'; nearest: module",
        ),
        (
            lambda: Loop(groups=("policy", "encoder", "policy")),
            "a loop trains each group once, got policy twice",
        ),
        (lambda: normalized(torch.ones(1, 1), 0.05), "a rollout needs at least 2 frames"),
        (lambda: Loop(epochs=0), "epochs must be positive, got 0"),
        (lambda: configured(frames=-5), "frames must be positive, got -5"),
        (lambda: PPO(discount=1.5), "discount must lie between 0 and 1, got 1.5"),
        (
            lambda: RunConfig.from_json({"format": 2, "agents": []}),
            "unknown setting of config.json 'agents'; nearest: agent",
        ),
    ],
)
def test_wrong_settings_are_refused(build, message):
    with pytest.raises(UsageError, match=message):
        build()


@pytest.mark.parametrize("groups", [("attention",), ("value",)])
def test_a_loop_whose_loss_reaches_nothing_is_refused(groups):
    """An LSTM has no attention, and without its loss the value head has no gradient."""
    config = configured("lstm", fast__groups=groups, fast__value_loss=False)
    with pytest.raises(UsageError, match="the joint loop's loss reaches none of its groups"):
        Learner(agent_of(config), config.loops, PLAIN, 1, torch.device("cpu"))


def test_no_step_is_taken_once_the_policy_has_moved_too_far():
    """The first minibatch takes a step, after which the policy is too far for the others."""
    loops = joint(learning_rate=1e-2, attention_rate=1.0, epochs=1, minibatches=4)
    bounded, free = make_agent(seed=2), make_agent(seed=2)
    _, iteration = learn(bounded, loops, algorithm=PPO(target_kl=1e-6))
    assert iteration.figures["joint"]["skipped"].item() == 0.75
    _, iteration = learn(free, loops, algorithm=PPO(target_kl=1e6))
    assert iteration.figures["joint"]["skipped"].item() == 0.0
    assert moved(bounded, snapshot(make_agent(seed=2))) == moved(free, snapshot(bounded))


def test_a_gradient_that_is_no_number_is_not_followed():
    agent = make_agent()
    before = snapshot(agent)
    with torch.no_grad():
        next(agent.encoder.parameters()).fill_(float("nan"))
    learn(agent, configured().loops)
    after = snapshot(agent)
    for group in ("modules", "attention", "policy", "value"):
        for a, b in zip(after[group], before[group], strict=True):
            assert torch.equal(a, b), group
