"""The tables of actions, rules and translations, against upstream and each other."""

from typing import Any

import gymnasium
import pytest
from gymnasium.envs.registration import load_env_creator
from minigrid.core.actions import Actions

import envs
from envs import level
from envs.registry import LEVELS
from envs.rules import ACTIONS, RULES, rule_number
from envs.translation.rules import ROWS, TRANSLATIONS


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
    with pytest.raises(ValueError, match="unknown rule 'catch': choose from standard, obstacles"):
        level("Test-Catch-v0", size=5, max_steps=9, mission="x", rule="catch")(lambda e: None)
    assert "Test-Catch-v0" not in LEVELS
