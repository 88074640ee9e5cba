"""What the modules do: who works at which event, what the agent expects along its episodes.

Events are read off observations (type, color and state of the 7×7 cells that the agent sees) and
rewards, so any environment with such images will do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .errors import UsageError
from .protocols import Agent, Environment
from .rollout import Rollout, begin, collect_rollout
from .statistics import bootstrap_interval, entropy, module_choices, module_figures

AGENT, AHEAD = (3, 6), (3, 5)  # (x, y) in the image
TYPES = {"a wall": 2, "a door": 4, "a key": 5, "a ball": 6, "a box": 7, "the goal": 8, "lava": 9}
CARRIED = ("a key", "a ball", "a box")
SOON = 5  # steps to a success that is about to come
RARE = 30  # an event seen in fewer steps says nothing


def watch(agent: Agent, env: Environment, steps: int = 256, seed: int = 10_000) -> Rollout:
    """Let the agent act for `steps` steps of every environment."""
    generator = torch.Generator(env.device).manual_seed(seed)
    rollout, _ = collect_rollout(env, agent, begin(env, agent, seed), steps, steps, generator)
    return rollout


def find_events(rollout: Rollout) -> dict[str, Tensor]:
    """What happens at each step, bool [T, B] by name.

    "facing" a type: it is in the cell ahead. "carrying": something is in the agent's hands. "about
    to succeed": within the last 5 steps of an episode that reaches its goal, the last one included.

    Raises:
        UsageError: the images are not 7×7 symbols.
    """
    image = rollout.obs["image"]
    if image.shape[2:] != (7, 7, 3):
        raise UsageError(f"events need images [7, 7, 3], got {list(image.shape[2:])}")
    ahead, held = image[:, :, *AHEAD, 0], image[:, :, *AGENT, 0]
    events = {f"facing {name}": ahead == number for name, number in TYPES.items()}
    events["carrying"] = torch.stack([held == TYPES[name] for name in CARRIED]).any(0)
    events["about to succeed"] = steps_to_success(rollout) < SOON
    return events


def find_levels(rollout: Rollout, ids: Sequence[str]) -> dict[str, Tensor]:
    """Being on a level as an event, bool [T, B] by name; none where there is but one level."""
    on = {f"on {name}": (rollout.task == i).expand_as(rollout.starts) for i, name in enumerate(ids)}
    return on if len(ids) > 1 else {}


def steps_to_success(rollout: Rollout) -> Tensor:
    """Steps from each to the one that ends its episode in success, float [T, B].

    Infinite where the episode fails, or does not end before the rollout does.
    """
    succeeds = rollout.terminated & (rollout.rewards > 0)
    ends = rollout.terminated | rollout.truncated
    left = torch.full(ends.shape[1:], torch.inf, device=ends.device)
    rows = []
    for success, end in zip(reversed(succeeds), reversed(ends), strict=True):
        left = torch.where(success, 0.0, torch.where(end, torch.inf, left + 1))
        rows.append(left)
    return torch.stack(rows[::-1])


@dataclass(frozen=True)
class EventUse:
    """Who works at an event.

    Attributes:
        steps: how many steps it was seen in.
        use: the share of them that each module was active in.
        information: between the event and each module's activity, in nats; 0 where the module
            takes no notice.
    """

    steps: int
    use: list[float]
    information: list[float]


def use_by_event(mask: Tensor, events: Mapping[str, Tensor]) -> dict[str, EventUse]:
    """The events of at least 30 steps: mask bool [T, B, n], events bool [T, B] by name."""
    mask = mask.flatten(0, 1).double()
    found = {}
    for name, event in events.items():
        here = event.flatten()
        if min(int(here.sum()), int((~here).sum())) >= RARE:
            found[name] = EventUse(
                int(here.sum()), mask[here].mean(0).tolist(), _information(mask, here).tolist()
            )
    return found


def _information(mask: Tensor, event: Tensor) -> Tensor:
    """I(E; A_j) of each column j of mask [N, n] with event [N]."""
    share = event.double().mean()
    joint = torch.stack([mask[event].mean(0) * share, mask[~event].mean(0) * (1 - share)])
    idle = torch.stack([share, 1 - share]).unsqueeze(1) - joint
    table = torch.stack([joint, idle], 2)  # [2, n, 2]
    apart = entropy(table.sum(2).mT) + entropy(table.sum(0))
    return apart - entropy(table.transpose(0, 1).flatten(1))


@dataclass(frozen=True)
class ValueApproach:
    """The mean value by steps to success: [L], with 95 % intervals over environments."""

    mean: list[float]
    low: list[float]
    high: list[float]


def value_before_success(rollout: Rollout, steps: int = 20) -> ValueApproach:
    """What the agent expects as success comes near (Madan et al. 2021, Fig. 7, summed up)."""
    left = steps_to_success(rollout)
    means, lows, highs = [], [], []
    for distance in range(steps):
        here = left == distance
        seen = here.any(0)
        if not seen.any():
            break
        by_env = ((rollout.values * here).sum(0) / here.sum(0))[seen].double().cpu().tolist()
        low, high = bootstrap_interval(by_env)
        means.append(sum(by_env) / len(by_env))
        lows.append(low)
        highs.append(high)
    return ValueApproach(means, lows, highs)


def describe_modules(rollout: Rollout, events: Mapping[str, Tensor]) -> dict[str, Any]:
    """Use, dead modules, entropies and use by event, of each choice among modules, as plain values.

    Args:
        rollout: what was watched.
        events: bool [T, B] by name.
    """
    return {
        choice: {name: float(value) for name, value in module_figures(mask, claim).items()}
        | {"events": {name: vars(use) for name, use in use_by_event(mask, events).items()}}
        for choice, (mask, claim) in module_choices(rollout.diagnostics).items()
    }
