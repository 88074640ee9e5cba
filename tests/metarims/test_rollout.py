"""Rollouts: states at the starts of spans, bootstraps after truncation, finished episodes."""

import pytest
import torch

from metarims.rollout import begin, collect_rollout, sample
from metarims.sequences import cut, in_parts, minibatches

from .probes import Bandit, Contexts, Endless, Recall
from .small import make_agent


def collect(env, agent, steps=20, stride=5, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return collect_rollout(env, agent, begin(env, agent, seed), steps, stride, generator)


@pytest.mark.parametrize("name", ["lstm", "rims"])
def test_spans_replay_what_was_thought(name):
    env, agent = Contexts(6), make_agent(name)
    rollout, _ = collect(env, agent)
    sequences = cut(rollout, rollout.values, rollout.values, 10)
    output = agent(sequences.obs, sequences.state, sequences.starts)
    torch.testing.assert_close(output.value, sequences.returns, rtol=1e-5, atol=1e-6)
    assert sequences.starts.shape == (10, 12)
    assert torch.equal(sequences.task, torch.zeros(12, dtype=torch.int64))


def test_goes_on_where_the_rollout_before_ended():
    env, agent = Recall(4), make_agent()
    first, cursor = collect(env, agent, steps=15)
    assert first.starts[0].all()
    assert not first.starts[1:].any()
    second, _ = collect_rollout(env, agent, cursor, 10, 5, torch.Generator().manual_seed(2))
    assert second.starts[5].all()  # an episode has 20 steps
    assert second.episodes[:, 1].tolist() == [20.0] * 4


def test_a_cut_bootstraps_from_the_last_observation_with_the_state_before_the_reset():
    env, agent = Endless(3), make_agent("lstm")
    rollout, _ = collect(env, agent, steps=10)
    assert rollout.truncated[4].all()
    assert not rollout.terminated.any()
    assert rollout.starts[5].all()
    obs = {name: x[:5] for name, x in rollout.obs.items()}
    state = tuple(x[0] for x in rollout.states)
    after = agent(obs, state, rollout.starts[:5]).state
    last = {
        "features": torch.ones(1, 3, 4),
        "last_action": rollout.actions[4:5],
        "last_reward": rollout.rewards[4:5],
        "task": rollout.obs["task"][4:5],
    }
    expected = agent(last, after, torch.zeros(1, 3, dtype=torch.bool)).value[0]
    torch.testing.assert_close(rollout.next_values[4], expected)
    assert torch.equal(rollout.next_values[:4], rollout.values[1:5])
    assert not torch.equal(rollout.next_values[4], rollout.values[5])


@pytest.mark.parametrize("at_once", [1, 4 * 3, 2**14])
def test_last_observations_lead_to_the_same_however_many_are_looked_at_at_once(
    monkeypatch, at_once
):
    """For one run, only truncated ones are evaluated; for two at once, all are."""
    monkeypatch.setattr("metarims.rollout.TOGETHER", at_once)
    env, agent = Endless(4), make_agent("lstm")
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    of_two, _ = collect_rollout(env, agent, begin(env, agent, 1), 10, 5, *generators)
    chosen = iter(of_two.actions.unbind())
    monkeypatch.setattr("metarims.rollout.first_of", lambda logits, clocks: next(chosen))
    of_one, _ = collect(Endless(4), agent, steps=10)
    assert of_one.truncated.any()
    torch.testing.assert_close(of_two.next_values, of_one.next_values)


def test_success_is_an_end_with_a_reward():
    rollout, _ = collect(Bandit(16), make_agent())
    assert torch.equal(rollout.episodes[:, 0], rollout.episodes[:, 2])
    assert set(rollout.episodes[:, 0].tolist()) == {0.0, 1.0}
    assert (collect(Endless(4), make_agent())[0].episodes[:, 2] == 0).all()


def test_the_last_action_and_reward_are_seen():
    rollout, cursor = collect(Contexts(5), make_agent())
    assert torch.equal(rollout.obs["last_action"][1:], rollout.actions[:-1])
    assert torch.equal(rollout.obs["last_reward"][1:], rollout.rewards[:-1])
    assert torch.equal(cursor.obs["last_action"], rollout.actions[-1])


def test_samples_from_the_policy():
    logits = torch.tensor([0.0, 1.0, 2.0]).expand(200_000, 3)
    actions = sample(logits, torch.Generator().manual_seed(0))
    share = torch.bincount(actions) / len(actions)
    torch.testing.assert_close(share, logits[0].softmax(0), rtol=0, atol=0.004)


def test_minibatches_cover_every_span_once():
    rollout, _ = collect(Contexts(6), make_agent())
    sequences = cut(rollout, rollout.values, rollout.values, 5)
    parts = list(minibatches(sequences, 5, torch.Generator().manual_seed(0)))
    together = torch.cat([part.returns for part in parts], 1)
    assert torch.equal(together.flatten().sort().values, rollout.values.flatten().sort().values)
    assert not torch.equal(together, sequences.returns)


@pytest.mark.parametrize(
    ("spans", "parts", "sizes"),
    [(9, 8, [2, *[1] * 7]), (36, 8, [5] * 4 + [4] * 4), (18, 4, [5, 5, 4, 4]), (3, 8, [1, 1, 1])],
)
def test_minibatches_are_alike_but_for_one_span(spans, parts, sizes):
    for rows in (torch.arange(spans), torch.arange(spans).expand(2, -1)):
        assert [part.shape[-1] for part in in_parts(rows, parts)] == sizes
