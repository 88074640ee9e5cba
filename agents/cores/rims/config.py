"""Sizes and variants of the RIMs cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from metarims.errors import UsageError, check_between, check_choice, check_positive
from metarims.protocols import Spec
from metarims.registry import register

from ..base import CoreConfig
from . import compiled, forms
from .cell import ATTENTIONS, DYNAMICS, RIMs
from .lots import CHOICES


@register("core", "rims")
@dataclass(frozen=True)
class RIMsConfig(CoreConfig):
    """Sizes and variants of the cell.

    Attributes:
        modules: n, the number of modules.
        active: k, how many modules are updated at each step.
        hidden: d, state size of one module.
        attention: input attention: "sparse" (softmax across modules minus the (k+1)-th probability)
            or "null" (RIMs v1: softmax over the slots and an empty one).
        dynamics: each module's: "lstm" or "gru".
        choice: which modules are active: "top" (the k that attend most), "random" (k drawn anew
            each step) or "fixed" (the first k).
        heads: heads of input attention.
        key: features of keys and queries in each head of input attention.
        value: features of values in each head of input attention.
        communication_heads: heads of the attention between modules.
        communication_key: features of keys, queries and values in each of those heads.
        least_use: fraction of steps below which an auxiliary loss (`idle_loss`) makes a module
            attend more, though it keeps some runs from learning; 0 for none.
        knock_out: how many of the active modules, drawn anew each step, are not updated after all
            (Meta-RIMs, Fig. 9).
        disabled: index of a module that is never updated; -1 for none.
    """

    takes_slots: ClassVar[bool] = True
    takes_frames: ClassVar[bool] = True

    modules: int = 5
    active: int = 3
    hidden: int = 32
    attention: str = "null"
    dynamics: str = "lstm"
    choice: str = "top"
    heads: int = 1
    key: int = 32
    value: int = 32
    communication_heads: int = 4
    communication_key: int = 8
    least_use: float = 0.0
    knock_out: int = 0
    disabled: int = -1

    def __post_init__(self) -> None:
        check_positive(
            modules=self.modules,
            active=self.active,
            hidden=self.hidden,
            heads=self.heads,
            key=self.key,
            value=self.value,
            communication_heads=self.communication_heads,
            communication_key=self.communication_key,
        )
        if self.active > self.modules:
            raise UsageError(f"active must be at most modules, {self.modules}, got {self.active}")
        check_between(0, 1, least_use=self.least_use)
        check_between(0, self.active, knock_out=self.knock_out)
        check_between(-1, self.modules - 1, disabled=self.disabled)
        check_choice("attention", self.attention, ATTENTIONS)
        check_choice("dynamics", self.dynamics, DYNAMICS)
        check_choice("choice", self.choice, CHOICES)

    @property
    def cell_shape(self) -> tuple[int, int]:
        """The shape of c, without the batch: its width is 0 with GRU dynamics."""
        return self.modules, self.hidden if self.dynamics == "lstm" else 0

    def build(self, inputs: int, spec: Spec, levels: Sequence[str]) -> RIMs:
        """As `CoreConfig.build`."""
        return self.make_cell(inputs)

    def make_cell(self, inputs: int) -> RIMs:
        """The cell, in a fast form where one covers the configuration."""
        return RIMs(self, inputs, forms.run if compiled.covers(self) else None)

    def lesions(self, count: int) -> dict[str, CoreConfig]:
        """As `CoreConfig.lesions`."""
        drawn: CoreConfig = replace(self, knock_out=count)
        apart = {f"module {j} off": replace(self, disabled=j) for j in range(self.modules)}
        return {f"{count} off": drawn, **apart}
