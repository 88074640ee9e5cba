"""The fast and the slow loop as data: which parameters learn, over which spans, at what rate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from .errors import UsageError, check_choice, check_positive
from .protocols import GROUPS


@dataclass(frozen=True)
class Loop:
    """One loop of Algorithm 1 (Madan et al. 2021).

    Attributes:
        groups: parameter groups that the loop
            trains ("encoder", "modules", "attention", "policy", "value"); all others stay
            unchanged, bit for bit. With none, the loop is left out.
        span: length of truncated backpropagation through time, in steps.
        learning_rate: Adam's learning rate.
        attention_rate: factor on the learning rate of the group "attention".
        epochs: passes over the data.
        minibatches: minibatches per pass.
        data: "fresh" (a rollout of the loop's own: Algorithm 1, line 8) or "reuse" (the previous
            loop's rollout, with the old log-probabilities recomputed under the current agent).
        value_loss: include the value loss; if the loop does not train the group "value", it only
            shapes the features.
        per_task: take the inner steps task by task (lines 5 to 7) rather than on all tasks at once.
    """

    groups: tuple[str, ...] = ()
    span: int = 20
    learning_rate: float = 1.3e-3
    attention_rate: float = 0.3
    epochs: int = 4
    minibatches: int = 8
    data: str = "fresh"
    value_loss: bool = True
    per_task: bool = False

    def __post_init__(self) -> None:
        check_positive(
            span=self.span,
            learning_rate=self.learning_rate,
            attention_rate=self.attention_rate,
            epochs=self.epochs,
            minibatches=self.minibatches,
        )
        for group in self.groups:
            check_choice("parameter group", group, GROUPS)
            if self.groups.count(group) > 1:
                raise UsageError(f"a loop trains each group once, got {group} twice")
        check_choice("data", self.data, ("fresh", "reuse"))

    def rate_factor(self, group: str) -> float:
        """Factor on the learning rate of a parameter group."""
        return self.attention_rate if group == "attention" else 1.0


FAST = Loop(groups=("encoder", "modules", "policy"), value_loss=False)
SLOW = Loop(groups=("attention", "value"), span=80, epochs=2, minibatches=4, data="reuse")


@dataclass(frozen=True)
class Loops:
    """The loops of one training iteration, in order.

    Attributes:
        fast: the inner loop; without a slow one, joint training of all its groups.
        slow: the outer loop, with longer spans.
        steps: length of a rollout, a multiple of both spans.
    """

    fast: Loop = FAST
    slow: Loop = SLOW
    steps: int = 80

    def __post_init__(self) -> None:
        check_positive(steps=self.steps, groups_in_the_fast_loop=len(self.fast.groups))
        for name, loop in self.turns():
            if self.steps % loop.span:
                raise UsageError(
                    f"steps must be a multiple of the {name} loop's span, "
                    f"{loop.span}, got {self.steps}"
                )
            if loop.span % self.stride:
                raise UsageError(f"span must be a multiple of {self.stride}, got {loop.span}")
        if self.fast.data != "fresh":
            raise UsageError("the first loop has nothing to reuse: its data must be fresh")

    def turns(self) -> Iterator[tuple[str, Loop]]:
        """The loops by name: fast and slow, or joint alone."""
        yield ("fast" if self.slow.groups else "joint"), self.fast
        if self.slow.groups:
            yield "slow", self.slow

    @property
    def idle(self) -> tuple[str, ...]:
        """Settings that make no difference, by path: all of a slow loop that trains nothing, and
        the attention's rate where it is not trained.
        """
        loops = (("fast", self.fast), ("slow", self.slow))
        rates = (f"{name}.attention_rate" for name, x in loops if "attention" not in x.groups)
        return *(() if self.slow.groups else ("slow.",)), *rates

    @property
    def stride(self) -> int:
        """Steps between the hidden states that a rollout keeps."""
        return min(loop.span for _, loop in self.turns())

    @property
    def rollouts(self) -> int:
        """Number of rollouts that one iteration collects."""
        return sum(loop.data == "fresh" for _, loop in self.turns())

    def check_learning(self, groups: Mapping[str, Sequence[nn.Parameter]]) -> None:
        """Refuse a loop whose loss reaches no parameter of the groups that it trains."""
        for name, loop in self.turns():
            reached = loop.groups if loop.value_loss else {*loop.groups} - {"value"}
            if not any(groups.get(group) for group in reached):
                own, there = ", ".join(loop.groups), ", ".join(filter(groups.get, groups))
                raise UsageError(
                    f"the {name} loop's loss reaches none of its groups ({own}); "
                    f"the agent has {there}"
                )

    def where_learnt(
        self, groups: Mapping[str, Sequence[nn.Parameter]]
    ) -> list[tuple[str, str, str]]:
        """For each non-empty parameter group of an agent: its name, its number of parameters, and
        the loops that train it, with the learning rates.
        """
        rows = []
        for name, parameters in groups.items():
            rates = {
                turn: loop.learning_rate * loop.rate_factor(name)
                for turn, loop in self.turns()
                if name in loop.groups
            }
            where = ", ".join(f"{turn} loop at {rate:.2g}" for turn, rate in rates.items())
            if parameters:
                rows.append((name, f"{count(parameters):,}", where or "does not learn"))
        return rows


def count(parameters: Sequence[nn.Parameter]) -> int:
    """Number of scalar parameters."""
    return sum(parameter.numel() for parameter in parameters)
