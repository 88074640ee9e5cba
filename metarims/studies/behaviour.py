"""Observed behaviour of agents, as tables over runs."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..runs import Run
from ..tables import markdown_table
from .analysis import Behaviour, EventUse
from .compare import agent_of

DISTANCES = (19, 10, 5, 2, 1, 0)  # steps to success


def behaviour_markdown(seen: Mapping[Run, Behaviour]) -> str:
    """The value as success approaches, and which module is active at which event; a row per run."""
    return f"{_values(seen)}\n{_events(seen)}"


def _values(seen: Mapping[Run, Behaviour]) -> str:
    """The mean value at several distances to success (Madan et al. 2021, Fig. 7)."""
    rows = [
        [_name(run), *(f"{means[d]:.2f}" if d < len(means) else "–" for d in DISTANCES)]
        for run, behaviour in seen.items()
        for means in [behaviour.approach.mean]
    ]
    table = markdown_table(["run", *map(str, DISTANCES)], rows)
    return f"Mean value, by the number of steps left to success:\n\n{table}\n"


def _events(seen: Mapping[Run, Behaviour]) -> str:
    """For each event, the module that is most informative about it (Figs. 11 and 12)."""
    rows = [
        [_name(run), event, str(module), *shares, f"{found.information[module]:.3f}"]
        for run, behaviour in seen.items()
        for choice in behaviour.choices.values()
        for event, found in choice.events.items()
        for module in [_most_telling(found)]
        for shares in [[f"{use[module]:.0%}" for use in (found.use, choice.use)]]
    ]
    table = markdown_table(
        ["run", "event", "module", "active at the event", "active overall", "nats"], rows
    )
    return f"For each event, the module whose activity is most informative about it:\n\n{table}\n"


def _most_telling(found: EventUse) -> int:
    known = [x if math.isfinite(x) else 0.0 for x in found.information]
    return known.index(max(known))


def _name(run: Run) -> str:
    config = run.config
    return f"{agent_of(run)}, {'+'.join(config.environment.env)}, seed {config.run.seed}"
