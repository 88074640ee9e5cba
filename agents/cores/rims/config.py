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
        modules: n.
        active: k, how many modules step at a time.
        hidden: d, state size of one module.
        attention: "sparse" (softmax across modules, the (k+1)-th probability subtracted) or "null"
            (RIMs v1: softmax between the slots and an empty one).
        dynamics: "lstm" or "gru".
        choice: "top" (the k best), "random" (k drawn anew each step) or "fixed" (the first k).
        heads: of input attention.
        key: features of one of its heads' keys and queries.
        value: features of one of its heads' values.
        communication_heads: of the attention between modules.
        communication_key: features of one of its heads' keys and queries.
        least_use: share of steps; a module that is active in fewer learns to attend more, by a loss
            of the core's own (`idle_loss`). It costs some runs what they learn; 0 for none.
        knock_out: how many of the active modules, drawn anew each step, stand still all the same
            (Meta-RIMs, Fig. 9).
        disabled: a module that always stands still, counted from 0; -1 for none.
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
