"""Analyses of a rollout: events, mutual information by hand, values before success."""

import math

import pytest
import torch

from metarims.rollout import Rollout
from metarims.studies.analysis import (
    about_to_succeed,
    describe_modules,
    find_levels,
    steps_to_success,
    use_by_event,
    value_before_success,
    watch,
)

from ..probes import Contexts, Recall
from ..small import make_agent


def rollout_of(image=None, **changes) -> Rollout:
    """Four uneventful steps of one environment, with some changes."""
    nothing = torch.zeros(4, 1, dtype=torch.bool)
    fields = {
        "obs": {"image": torch.ones(4, 1, 7, 7, 3, dtype=torch.uint8) if image is None else image},
        "starts": nothing,
        "actions": torch.zeros(4, 1, dtype=torch.int64),
        "log_probs": torch.zeros(4, 1),
        "values": torch.zeros(4, 1),
        "states": (),
        "stride": 4,
        "next_values": torch.zeros(4, 1),
        "rewards": torch.zeros(4, 1),
        "terminated": nothing,
        "truncated": nothing,
        "novelty": torch.zeros(4, 1),
        "task": torch.zeros(1, dtype=torch.int64),
        "diagnostics": {},
        "ends": torch.zeros(4, 1, 4),
    }
    return Rollout(**{**fields, **changes})


def happened(steps):
    return torch.tensor(steps, dtype=torch.bool).unsqueeze(1)


def test_about_to_succeed_is_the_last_five_steps_of_a_success():
    ends = torch.tensor([0, 0, 0, 0, 0, 0, 1, 0], dtype=torch.bool).unsqueeze(1)
    never = torch.zeros_like(ends)
    won = rollout_of(terminated=ends, truncated=never, rewards=ends.float())
    assert about_to_succeed(won).flatten().tolist() == [False, False, *[True] * 5, False]
    lost = rollout_of(terminated=ends, truncated=never, rewards=torch.zeros(8, 1))
    assert not about_to_succeed(lost).any()


def test_steps_to_success_know_no_failure_and_no_open_end():
    inf = math.inf
    won = rollout_of(terminated=happened([0, 1, 0, 0]), rewards=happened([0, 1, 0, 0]).float())
    assert steps_to_success(won).flatten().tolist() == [1, 0, inf, inf]
    lost = rollout_of(terminated=happened([0, 1, 0, 1]), rewards=happened([0, 0, 0, 1]).float())
    assert steps_to_success(lost).flatten().tolist() == [inf, inf, 1, 0]
    cut = rollout_of(truncated=happened([0, 0, 0, 1]), rewards=happened([0, 0, 0, 1]).float())
    assert steps_to_success(cut).flatten().tolist() == [inf] * 4


def test_the_value_before_success_is_the_mean_by_distance():
    rollout = rollout_of(
        terminated=happened([0, 1, 0, 1]),
        rewards=happened([0, 1, 0, 1]).float(),
        values=torch.tensor([[0.1], [0.3], [0.3], [0.7]]),
    )
    approach = value_before_success(rollout)
    assert approach.mean == pytest.approx([0.5, 0.2])
    assert approach.low == pytest.approx(approach.mean)  # a single environment
    assert value_before_success(rollout_of()).mean == []


def test_a_module_that_works_at_the_event_alone_tells_all_about_it():
    event = torch.arange(400).view(40, 10) % 4 == 0
    mask = torch.stack([event, torch.ones_like(event), torch.arange(400).view(40, 10) % 2 == 0], -1)
    use = use_by_event(mask, {"it": event, "rare": torch.zeros_like(event)})
    assert list(use) == ["it"]
    assert use["it"].steps == 100
    assert use["it"].use == [1, 1, 1]
    certain = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    # The third is active at the event, and so in a third of the other steps.
    by_hand = 0.25 * math.log(2) + 0.25 * math.log(2 / 3) + 0.5 * math.log(4 / 3)
    assert use["it"].information == pytest.approx([certain, 0, by_hand], abs=1e-12)


def test_watching_describes_modules_where_there_are_any():
    env = Contexts(16)
    seen = watch(make_agent("rims"), env, steps=12, seed=1)
    assert seen.starts.shape == (12, 16)
    assert describe_modules(watch(make_agent("lstm"), Recall(4), steps=4, seed=1), {}) == {}
    found = describe_modules(seen, {"odd": (torch.arange(12) % 2 == 1).view(12, 1).expand(12, 16)})
    assert list(found) == ["modules"]
    assert found["modules"].events["odd"].steps == 96
    assert sum(found["modules"].use) == pytest.approx(3)


def test_a_choice_at_every_depth_is_described_apart():
    mask = torch.zeros(4, 1, 2, 3, dtype=torch.bool)
    mask[:, :, 0, 1] = mask[:, :, 1, 2] = True
    rollout = rollout_of(diagnostics={"module_mask": mask, "module_probabilities": mask.float()})
    found = describe_modules(rollout, {})
    assert list(found) == ["modules/depth_0", "modules/depth_1"]
    uses = [layer.use for layer in found.values()]
    assert uses == [[0, 1, 0], [0, 0, 1]]


def test_being_on_a_level_is_an_event_where_there_are_several():
    rollout = rollout_of(starts=torch.zeros(4, 3, dtype=torch.bool), task=torch.tensor([0, 1, 1]))
    assert find_levels(rollout, ["one"]) == {}
    levels = find_levels(rollout, ["one", "two"])
    assert list(levels) == ["on one", "on two"]
    assert levels["on two"].tolist() == [[False, True, True]] * 4
