"""Every agent by name: one row each of one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from metarims.config import Setting
from metarims.errors import UsageError, check_choice, check_positive
from metarims.schedule import Loop, Schedule


@dataclass(frozen=True)
class Preset:
    """An agent and how it learns; every field is a setting that `options` may change.

    Attributes:
        core: "lstm", "rims" or "routing".
        fast, slow: the groups that the fast and the slow loop learn, joined by "+"; with none in
            the slow one all training is joint, by the fast loop.
        encoder_in: "fast", "slow" or "both": the loop that learns the encoder.
        fast_span: steps that gradients travel in the fast loop.
        slow_factor: the slow loop's span over the fast one's.
        slow_data: "reuse" (the fast loop's frames, old log-probabilities recomputed) or "fresh"
            (frames of its own: Algorithm 1, line 8).
        fast_value_loss: whether the fast loop's loss has the value loss.
        per_task: fast steps task by task (Algorithm 1, lines 5 to 7).
        hidden_state: "reset" at an episode's start, or "carry" over, with the last action, reward
            and end as inputs.
        learning_rate, epochs, minibatches: of the fast loop, and of the slow one unless `slow_...`.
        attention_rate: factor on the attention's learning rate.
        slots: each cell of the view, and the instruction, is an input of its own for modules to
            attend to; "rims" only.
        width: features of the encoder's sum over cells; `features` of its result.
        cell_scale: how much a cell counts in that sum at first; with 1 the sum has variance one,
            with 7 a single cell has.
        lstm_hidden: the LSTM's state; from `modules` on they are `RIMsConfig`'s.
        blocks, depth: function blocks at each of the routing network's depths.
        recursive: the same blocks at every depth.
        skip: PASS is a choice, too.
        recurrent: an LSTM follows the routing network.
        meta: what the router is told: "none", "task" (the level) or "verb" (the instruction's).
        maker, layout, router ("table" or "approximator"), agents, collaboration, squash: the
            router's, as `RouterConfig` has them.
        router_entropy, router_rate, weighting, epsilon: its decision maker's, see `MakerConfig`.
    """

    core: str = "rims"
    fast: str = "modules+policy"
    slow: str = "attention+value"
    encoder_in: str = "fast"
    fast_span: int = 20
    slow_factor: int = 4
    slow_data: str = "reuse"
    fast_value_loss: bool = True
    per_task: bool = False
    hidden_state: str = "reset"
    learning_rate: float = 1.3e-3
    epochs: int = 4
    minibatches: int = 8
    slow_learning_rate: float = 1.3e-3
    slow_epochs: int = 2
    slow_minibatches: int = 4
    attention_rate: float = 0.3
    slots: bool = False
    width: int = 64
    cell_scale: float = 1.0
    features: int = 128
    lstm_hidden: int = 96
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
    knock_out: int = 0
    disabled: int = -1
    blocks: int = 5
    depth: int = 2
    recursive: bool = False
    skip: bool = False
    recurrent: bool = True
    meta: str = "none"
    maker: str = "wpl"
    layout: str = "task"
    router: str = "table"
    agents: int = 4
    collaboration: float = 0.0
    squash: float = 0.0
    router_entropy: float = 0.01
    router_rate: float = 0.1
    weighting: str = "algorithm"
    epsilon: float = 0.4

    def __post_init__(self) -> None:
        check_choice("core", self.core, ("lstm", "rims", "routing"))
        check_choice("encoder_in", self.encoder_in, ("fast", "slow", "both"))
        check_choice("slow_data", self.slow_data, ("fresh", "reuse"))
        check_choice("hidden_state", self.hidden_state, ("reset", "carry"))
        if self.slots and self.core != "rims":
            raise UsageError(
                f"slots are for rims to attend to; a {self.core} has no such attention"
            )
        check_positive(
            fast_span=self.fast_span,
            slow_factor=self.slow_factor,
            attention_rate=self.attention_rate,
            cell_scale=self.cell_scale,
            blocks=self.blocks,
            depth=self.depth,
        )

    def schedule(self) -> Schedule:
        """The loops of one iteration."""
        fast = Loop(
            "fast" if self.slow else "joint",
            self._groups("fast"),
            self.fast_span,
            self.learning_rate,
            {"attention": self.attention_rate},
            self.epochs,
            self.minibatches,
            value_loss=self.fast_value_loss,
            per_task=self.per_task,
        )
        if not self.slow:
            return Schedule((fast,), 4 * self.fast_span)
        slow = Loop(
            "slow",
            self._groups("slow"),
            self.slow_factor * self.fast_span,
            self.slow_learning_rate,
            {"attention": self.attention_rate},
            self.slow_epochs,
            self.slow_minibatches,
            self.slow_data,
        )
        return Schedule((fast, slow), max(4, self.slow_factor) * self.fast_span)

    def _groups(self, loop: str) -> tuple[str, ...]:
        groups = tuple(getattr(self, loop).split("+"))
        return ("encoder", *groups) if self.encoder_in in (loop, "both") else groups


JOINT = Preset(fast="modules+policy+attention+value", slow="", attention_rate=1.0)
META = Preset()

PRESETS = {
    "lstm": replace(JOINT, core="lstm"),
    "rims": JOINT,
    "metarims": META,
    "metalstm": replace(META, core="lstm"),
    "metaflip": replace(META, fast="attention+value", slow="modules+policy", encoder_in="slow"),
    "slowlr": replace(JOINT, attention_rate=0.25),
    "dense": replace(META, active=5),
    "random": replace(META, choice="random"),
    "fixed": replace(META, choice="fixed"),
    "slow1": replace(META, slow_factor=1),
    "slow2": replace(META, slow_factor=2),
    "slow8": replace(META, slow_factor=8),
    "routing": replace(JOINT, core="routing", features=64, lstm_hidden=80),
}


def names() -> list[str]:
    """Every agent's name."""
    return list(PRESETS)


def preset(name: str, options: Mapping[str, Setting] | None = None) -> Preset:
    """A row of the table with some settings changed.

    Raises:
        UsageError: an unknown name or setting (the message has the nearest), or a wrong value.
    """
    check_choice("agent", name, PRESETS)
    row = PRESETS[name]
    kinds = {field.name: type(getattr(row, field.name)) for field in fields(Preset)}
    changes: dict[str, Any] = {}
    for setting, value in (options or {}).items():
        check_choice("setting", setting, kinds)
        changes[setting] = _converted(setting, value, kinds[setting])
    return replace(row, **changes)


def settings(name: str, options: Mapping[str, Setting] | None = None) -> dict[str, Setting]:
    """Every setting of a preset with some changed: what a run keeps, so that it stays what it is.

    Raises:
        UsageError: as `preset`.
    """
    return asdict(preset(name, options))


def _converted(setting: str, value: Setting, kind: type) -> Setting:
    """The value as the setting's kind; text from a command line will do."""
    text = str(value)
    if kind is bool and text.lower() in ("true", "false", "1", "0"):
        return text.lower() in ("true", "1")
    try:
        if kind in (int, float, str) and not isinstance(value, bool):
            return kind(text)
    except ValueError:
        pass
    raise UsageError(f"{setting} must be of type {kind.__name__}, got {value!r}")
