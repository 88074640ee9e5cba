"""What the modules do: which are active at which event, and how values develop along episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..protocols import Agent, Environment
from ..rollout import Rollout, begin, collect_rollout, exploiting
from ..statistics import bootstrap_interval, entropy, module_choices, module_figures

SOON = 5  # steps before success that count as about to succeed
RARE = 30  # events with fewer steps are left out


def watch(agent: Agent, env: Environment, steps: int, seed: int) -> Rollout:
    """A rollout of `steps` steps in every environment, as in evaluation."""
    generator = torch.Generator(env.device).manual_seed(seed)
    with exploiting(agent):
        rollout, _ = collect_rollout(env, agent, begin(env, agent, seed), steps, steps, generator)
    return rollout


def about_to_succeed(rollout: Rollout) -> Tensor:
    """Whether a step is one of the last 5 of a successful episode, bool [T, B]."""
    return steps_to_success(rollout) < SOON


def find_levels(rollout: Rollout, ids: Sequence[str]) -> dict[str, Tensor]:
    """Being on a level as an event, bool [T, B] by name; none if there is only one level."""
    on = {f"on {name}": (rollout.task == i).expand_as(rollout.starts) for i, name in enumerate(ids)}
    return on if len(ids) > 1 else {}


def steps_to_success(rollout: Rollout) -> Tensor:
    """Steps from each to the one that ends its episode in success, float [T, B].

    Infinite if the episode fails or does not end within the rollout.
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
    """The modules' activity at an event.

    Attributes:
        steps: number of steps with the event.
        use: share of them in which each module was active.
        information: mutual information of the event and each module's activity, in nats; 0 if they
            are independent.
    """

    steps: int
    use: list[float]
    information: list[float]


def use_by_event(mask: Tensor, events: Mapping[str, Tensor]) -> dict[str, EventUse]:
    """Events with 30 steps or more, and 30 without: mask bool [T, B, n], events bool [T, B]."""
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
    """I(E; A_j) of an event [N] and each column j of mask [N, n]."""
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
    """The agent's value as success approaches (Madan et al. 2021, Fig. 7, aggregated)."""
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


@dataclass(frozen=True)
class ChoiceReport:
    """Figures of one choice among modules.

    Attributes:
        use: share of steps in which each module was active.
        dead: number of modules that are hardly ever active.
        entropy, entropy_given_input: H(A) and H(A|X) in nats.
        information: their difference.
        events: the modules' activity at each event.
    """

    use: list[float]
    dead: int
    entropy: float
    entropy_given_input: float
    information: float
    events: dict[str, EventUse]

    def line(self) -> str:
        """A one-line summary."""
        use = " ".join(f"{share:.2f}" for share in self.use)
        return (
            f"use {use}, dead {self.dead}, H(A) {self.entropy:.3f}, "
            f"H(A|X) {self.entropy_given_input:.3f}, difference {self.information:.3f} nats"
        )


@dataclass(frozen=True)
class Behaviour:
    """An agent's observed behaviour: its value before success, and each choice among modules."""

    approach: ValueApproach
    choices: dict[str, ChoiceReport]


def describe_modules(rollout: Rollout, events: Mapping[str, Tensor]) -> dict[str, ChoiceReport]:
    """Use, dead modules, entropies and use by event, of each choice among modules.

    Args:
        rollout: the rollout watched.
        events: bool [T, B] by name.
    """
    reports = {}
    for choice, (mask, probabilities) in module_choices(rollout.diagnostics).items():
        figures = {n: float(value) for n, value in module_figures(mask, probabilities).items()}
        reports[choice] = ChoiceReport(
            [figures[f"use_{j}"] for j in range(mask.shape[2])],
            int(figures["dead"]),
            figures["H_A"],
            figures["H_A_given_X"],
            figures["information"],
            use_by_event(mask, events),
        )
    return reports
