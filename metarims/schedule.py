"""The fast and the slow loop as data: which parameters step, how far back, at what rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .errors import UsageError, check_choice, check_positive
from .protocols import GROUPS


@dataclass(frozen=True)
class Loop:
    """One loop of Algorithm 1 (Madan et al. 2021); joint training is a schedule of a single loop.

    Attributes:
        name: what its figures are called.
        groups: the parameter groups that step; all others stay as they are, bit for bit.
        span: steps that gradients travel back.
        learning_rate: Adam's.
        rates: factors on the learning rate by group, 1 where absent.
        epochs, minibatches: passes over the data, and parts of it to each pass.
        data: "fresh" (the loop's own frames) or "reuse" (the loop's before, with the old
            log-probabilities recomputed under the agent as it is by then).
        value_loss: whether the value loss is part of this loop's.
        per_task: inner steps task by task (lines 5 to 7) and not on all tasks at once.
    """

    name: str
    groups: tuple[str, ...] = GROUPS
    span: int = 20
    learning_rate: float = 1e-3
    rates: Mapping[str, float] = field(default_factory=dict)
    epochs: int = 4
    minibatches: int = 4
    data: str = "fresh"
    value_loss: bool = True
    per_task: bool = False

    def __post_init__(self) -> None:
        check_positive(
            span=self.span,
            learning_rate=self.learning_rate,
            epochs=self.epochs,
            minibatches=self.minibatches,
        )
        for group in (*self.groups, *self.rates):
            check_choice("parameter group", group, GROUPS)
        check_choice("slow_data", self.data, ("fresh", "reuse"))


@dataclass(frozen=True)
class Schedule:
    """The loops of one training iteration, in order, over rollouts of `steps` steps."""

    loops: tuple[Loop, ...]
    steps: int = 80

    def __post_init__(self) -> None:
        check_positive(loops=len(self.loops), steps=self.steps)
        for loop in self.loops:
            if self.steps % loop.span:
                raise UsageError(
                    f"steps must be a multiple of the {loop.name} loop's span, "
                    f"{loop.span}, got {self.steps}"
                )
        if self.loops[0].data != "fresh":
            raise UsageError("the first loop has nothing to reuse: its data must be fresh")

    @property
    def shortest_span(self) -> int:
        """A rollout keeps the hidden state this often."""
        return min(loop.span for loop in self.loops)

    @property
    def rollouts(self) -> int:
        """How many rollouts one iteration collects."""
        return sum(loop.data == "fresh" for loop in self.loops)
