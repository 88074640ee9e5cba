"""The table of agents: names, settings, sizes, schedules."""

from types import SimpleNamespace

import pytest
import torch

import agents  # noqa: F401 (registers the presets)
from metarims.config import find_preset
from metarims.errors import UsageError
from metarims.protocols import GROUPS
from metarims.registry import names
from metarims.settings import replace_at

PRESETS = names("preset")

SPEC = SimpleNamespace(
    num_actions=7,
    image_shape=(7, 7, 3),
    one_mission=False,
    vocabulary=[f"word-{token}" for token in range(40)],
    device=torch.device("cpu"),
    level_ids=["A", "B"],
)


def made(name, seed=0, **changes):
    """A preset's agent with some settings changed: two underscores in a name are a dot."""
    paths = {path.replace("__", "."): value for path, value in changes.items()}
    return replace_at(find_preset(name), paths).agent.make(SPEC, seed)


def loops_of(name, **changes):
    paths = {path.replace("__", "."): value for path, value in changes.items()}
    return replace_at(find_preset(name), paths).loops


def parameters(agent):
    return sum(parameter.numel() for parameter in agent.parameters())


def observations(steps, batch):
    return {
        "image": torch.randint(0, 4, (steps, batch, 7, 7, 3), dtype=torch.uint8),
        "direction": torch.zeros(steps, batch, dtype=torch.uint8),
        "mission": torch.randint(1, 40, (steps, batch, 6), dtype=torch.int16),
        "last_action": torch.randint(0, 7, (steps, batch)),
        "last_reward": torch.rand(steps, batch),
        "task": torch.randint(0, 2, (steps, batch)),
    }


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_matched_in_parameters_to_5_percent(name):
    expected = parameters(made("metarims"))
    assert parameters(made(name)) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("hidden_state", ["reset", "carry"])
@pytest.mark.parametrize("name", PRESETS)
def test_groups_share_out_every_parameter_once(name, hidden_state):
    agent = made(name, hidden_state=hidden_state)
    groups = agent.groups()
    assert tuple(groups) == GROUPS
    listed = [id(parameter) for group in groups.values() for parameter in group]
    assert sorted(listed) == sorted(id(parameter) for parameter in agent.parameters())
    learnt = {group for _, loop in loops_of(name).turns() for group in loop.groups}
    assert learnt == set(GROUPS)


@pytest.mark.parametrize("name", PRESETS)
def test_acting_sees_what_an_update_has_changed(name):
    """Fused Adam does not increment versions, so caches must not rely on them."""
    agent, obs = made(name), observations(3, 4)
    state, starts = agent.initial_state(4), torch.zeros(3, 4, dtype=torch.bool)
    optimizer = torch.optim.Adam(agent.parameters(), lr=0.1, fused=True)
    for _ in range(2):
        with torch.no_grad():
            acting = agent(obs, state, starts).value
        learning = agent(obs, state, starts).value
        torch.testing.assert_close(acting, learning.detach())
        with torch.no_grad():
            agent(obs, state, starts)  # caches what the step makes stale
        optimizer.zero_grad()
        learning.sum().backward()
        optimizer.step()


@pytest.mark.parametrize("hidden_state", ["reset", "carry"])
@pytest.mark.parametrize(
    ("name", "slots"),
    [("lstm", False), ("rims", False), ("rims", True), ("random", False), ("routing", False)],
)
def test_a_sequence_at_once_is_the_same_step_by_step(name, slots, hidden_state):
    agent = made(name, hidden_state=hidden_state, encoder__slots=slots)
    obs, starts = observations(7, 5), torch.rand(7, 5) < 0.3
    state = agent.initial_state(5)
    at_once = agent(obs, state, starts)
    for t in range(7):
        row = {name: x[t : t + 1] for name, x in obs.items()}
        output = agent(row, state, starts[t : t + 1])
        torch.testing.assert_close(output.logits[0], at_once.logits[t], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(output.value[0], at_once.value[t], rtol=1e-4, atol=1e-6)
        state = output.state


def test_carried_state_survives_an_episode_and_the_last_step_is_seen():
    obs, never = observations(1, 3), torch.zeros(1, 3, dtype=torch.bool)
    other = obs | {"last_action": (obs["last_action"] + 1) % 7}
    for hidden_state, carried in (("carry", True), ("reset", False)):
        agent = made("rims", hidden_state=hidden_state)
        states = [tuple(torch.randn_like(x) for x in agent.initial_state(3)[:2]) for _ in range(2)]
        draws = agent.initial_state(3)[2]
        values = [agent(obs, (*state, draws), ~never).value for state in states]
        assert torch.equal(*values) != carried
        seen = [agent(o, (*states[0], draws), never).value for o in (obs, other)]
        assert torch.equal(*seen) != carried


def test_the_seed_decides_the_parameters_and_nothing_else():
    before = torch.random.get_rng_state()
    one, same, other = (made("metarims", seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    pairs = list(zip(one.parameters(), same.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert not all(torch.equal(a, c) for a, _, c in pairs)


def test_the_loops_of_the_presets():
    loops = loops_of("metarims")
    assert [name for name, _ in loops.turns()] == ["fast", "slow"]
    assert loops.fast.groups == ("encoder", "modules", "policy")
    assert loops.slow.groups == ("attention", "value")
    assert (loops.fast.span, loops.slow.span, loops.slow.data) == (20, 80, "reuse")
    ((name, joint),) = loops_of("rims").turns()
    assert name == "joint"
    assert set(joint.groups) == set(GROUPS)
    assert loops_of("slowlr").fast.rate_factor("attention") == 0.25
    assert loops_of("slowlr").fast.rate_factor("value") == 1.0
    flipped = loops_of("metaflip")
    assert flipped.fast.groups == ("attention", "value")
    assert flipped.slow.groups == ("encoder", "modules", "policy")
    for factor in (1, 2, 8):
        assert loops_of(f"slow{factor}").slow.span == 20 * factor
    assert loops_of("slow8").steps == 160
    assert loops_of("metarims", slow__data="fresh").rollouts == 2


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("metarim", {}, "unknown agent 'metarim'; nearest: metarims"),
        ("lstm", {"slow.spam": 2}, "unknown setting 'slow.spam'; nearest: slow.span"),
        ("rims", {"core.active": 6}, "active must be at most modules, 5, got 6"),
        ("rims", {"core.active": "two"}, "core.active must be of type int, got 'two'"),
        ("rims", {"core.active": 2.5}, "core.active must be of type int, got 2.5"),
        ("rims", {"core.attention": "sparce"}, "unknown attention 'sparce'; nearest: sparse"),
        ("rims", {"fast.per_task": "maybe"}, "fast.per_task must be of type bool, got 'maybe'"),
        ("lstm", {"encoder.slots": True}, "core 'lstm' takes no slots"),
        ("metarims", {"slow.data": "fesh"}, "unknown data 'fesh'; nearest: fresh"),
        ("metarims", {"fast.learning_rate": -1.0}, "learning_rate must be positive, got -1.0"),
        ("metarims", {"hidden_state": "carri"}, "unknown hidden_state 'carri'; nearest: carry"),
    ],
)
def test_wrong_input_is_named_with_the_nearest_right_thing(name, options, message):
    with pytest.raises(UsageError) as error:
        replace_at(find_preset(name), options)
    assert message in str(error.value)
