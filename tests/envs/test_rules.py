"""The tables of actions, rules and translations, against upstream and each other."""

import pickle
from typing import Any

import gymnasium
import pytest
import torch
from gymnasium.envs.registration import load_env_creator
from minigrid.core.actions import Actions

import envs
from envs import level, registry, rule, rules
from envs.actions import DONE, LEFT, TOGGLE, fail, success
from envs.cells import BALL, BALL_TYPE, RED
from envs.instructions import go_to
from envs.registry import LEVELS
from envs.rules import ACTIONS, RULES, rule_number
from envs.translation.rules import ROWS, TRANSLATIONS
from envs.world import put, set_agent, walled


def test_actions_are_upstreams():
    assert [(action.number, action.name) for action in ACTIONS] == [
        (a.value, a.name) for a in Actions
    ]


def test_every_row_has_a_number_of_its_own():
    for rows in (ACTIONS, RULES):
        assert [row.number for row in rows] == list(range(len(rows)))


def test_every_rule_is_some_levels_and_some_upstream_environments():
    names = {rule.name for rule in RULES}
    assert {level.rule for level in LEVELS.values()} == names
    assert {row.rule for row in ROWS} == names
    assert len(TRANSLATIONS) == len(ROWS)


@pytest.mark.parametrize("id", envs.levels())
def test_a_level_has_the_rule_that_its_upstream_environment_is_read_with(id):
    entry_point = gymnasium.spec(id).entry_point
    assert isinstance(entry_point, str)
    upstream: Any = load_env_creator(entry_point)
    assert TRANSLATIONS[upstream.step].rule == LEVELS[id].rule


def test_an_unknown_rule_is_refused():
    assert rule_number("fetch") == 4
    with pytest.raises(ValueError, match="unknown rule 'catch'; did you mean fetch"):
        level("Test-Catch-v0", size=5, max_steps=9, mission="x", rule="catch")(lambda e: None)
    assert "Test-Catch-v0" not in LEVELS


@pytest.fixture
def own(monkeypatch):
    """Two rules of one's own, each with a level: a ball two steps ahead, to be gone to."""
    monkeypatch.setattr(registry, "LEVELS", dict(LEVELS))
    monkeypatch.setattr(rules, "OWN", {})

    def toggle_for_done(e, action):
        return (TOGGLE if action == DONE else action), e.x

    @rule("test-hurry", before=toggle_for_done)
    def hurry(e, action, x):
        """Each step costs, unless it gets on; toggling fails."""
        if action == TOGGLE:
            fail(e)
        elif not e.terminated:
            e.reward = 0.5 if e.x > x else -0.25

    @rule("test-turn")
    def turn(e, action, noted):
        """Turning left succeeds."""
        if action == LEFT:
            success(e)

    for name in ("hurry", "turn"):

        @level(f"Test-{name}-v0", size=(6, 5), max_steps=9, words=5, rule=f"test-{name}")
        def ahead(e):
            walled(e)
            put(e, 4, 2, BALL + RED)
            set_agent(e, 1, 2, 0)
            go_to(e, BALL_TYPE, RED)


def outcomes(levels, actions):
    """Rewards and ends of each step, one environment a level."""
    env = envs.make(levels, num_envs=len(levels), autoreset=False)
    env.reset(seed=0)
    steps = [env.step(torch.full((len(levels),), action)) for action in actions]
    return [(step.reward.tolist(), step.terminated.tolist()) for step in steps]


HURRY, TURN = "Test-hurry-v0", "Test-turn-v0"


def test_a_rule_of_ones_own_rewards_and_ends_beside_the_instruction(own):
    assert outcomes([HURRY], [1, 0, 2]) == [
        ([-0.25], [False]), ([-0.25], [False]), ([0.5], [False]),
    ]  # fmt: skip
    [_, (reward, ended)] = outcomes([HURRY], [2, 2])
    assert reward == pytest.approx([1 - 0.9 * 2 / 9])
    assert ended == [True]
    assert outcomes([HURRY], [DONE]) == [([0.0], [True])]


def test_rules_of_ones_own_stay_apart_in_a_mixture(own):
    fetch = "MiniGrid-Fetch-5x5-N2-v0"
    for levels in ([HURRY, TURN, fetch], [fetch, TURN, HURRY, TURN]):
        together = outcomes(levels, [1, 0, 2])
        for i, id in enumerate(levels):
            if id != fetch:  # layouts follow the seed
                alone = outcomes([id], [1, 0, 2])
                assert [(r[i], t[i]) for r, t in together] == [(r[0], t[0]) for r, t in alone]


def test_states_do_not_depend_on_the_order_of_registration(own, monkeypatch):
    env = envs.make([HURRY, TURN], num_envs=2, autoreset=False)
    env.reset(seed=0)
    saved = env.state
    monkeypatch.setattr(rules, "OWN", dict(reversed(rules.OWN.items())))
    again = envs.make([HURRY, TURN], num_envs=2, autoreset=False)
    again.state = saved
    for each in (again, pickle.loads(pickle.dumps(again))):
        step = each.step(torch.full((2,), LEFT))
        assert step.reward.tolist() == [-0.25, pytest.approx(0.9)]


def test_a_rule_registered_anew_is_the_new_one(own):
    outcomes([TURN], [LEFT])

    @rule("test-turn")
    def other(e, action, noted):
        e.reward = 2.0

    assert outcomes([TURN], [LEFT]) == [([2.0], [False])]


def test_wrong_rules_of_ones_own_are_refused_in_a_line(own):
    with pytest.raises(ValueError, match="there is already a rule 'fetch'"):
        rule("fetch")(lambda e, action, noted: None)
    wanted = r"rule 'x': <lambda> takes \(e, noted\) instead of \(e, action, noted\)"
    with pytest.raises(ValueError, match=wanted):
        rule("x")(lambda e, noted: None)  # type: ignore[arg-type, misc]
    with pytest.raises(ValueError, match="unknown rule 'test-hury'; did you mean test-hurry"):
        rule_number("test-hury")


def test_a_slip_is_told_of_the_rule_that_has_it(own):
    @rule("test-turn")
    def slip(e, action, noted):
        e.rewart = 2.0

    with pytest.raises(ValueError, match=r"^rule 'test-turn': .*: a record has no rewart; nearest"):
        outcomes([HURRY, TURN], [LEFT])

    @rule("test-turn")
    def wrong(e, action, noted):
        fial(e)  # type: ignore[name-defined]  # noqa: F821

    line = wrong.__code__.co_firstlineno + 2
    wanted = rf"^rule 'test-turn': .*test_rules.py:{line}: .*'fial' is not defined"
    with pytest.raises(ValueError, match=wanted):
        outcomes([HURRY, TURN], [LEFT])


def test_what_fails_in_no_rule_that_is_known_is_told_of_all(own):
    @rule("test-turn")
    def divide(e, action, noted):
        e.reward = 1 // (e.x - 1)

    wanted = r"^rule 'test-hurry' or 'test-turn': .*division by zero$"
    with pytest.raises(ValueError, match=wanted):
        outcomes([HURRY, TURN], [LEFT])
