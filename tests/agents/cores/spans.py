"""Fused spans against their definitions: ``TRITON_INTERPRET=1 python -m tests.agents.cores.spans``.

Triton's interpreter must be chosen before kernels are made, so the tests call this in a separate
process; `tests.gpu_check` calls `compare` on a GPU.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils._pytree import tree_map

from agents.cores import lstm, rims
from agents.cores.lstm.cell import LSTM
from agents.cores.rims import RIMsConfig
from agents.frames import Frames, as_frames
from agents.missions import Instruction, run_fused, run_lstm
from metarims.stacked import StackedAgent

BOUND = 1e-5  # the error allowed, or ten times the definition's
INPUTS = 5
SMALL = RIMsConfig(
    modules=3, active=2, hidden=6, key=4, value=5, communication_heads=2, communication_key=3
)


def stack(cell: Any, runs: int) -> StackedAgent:
    """Several copies of a cell, stacked as one."""
    return StackedAgent([cell] * runs)


def of_all(run: Callable[..., Any]) -> Callable[..., Any]:
    """Apply a form of one cell to a stack, whose environments lie side by side."""

    def run_all(cells: StackedAgent, frames: Frames, state: Any, starts: Tensor) -> Any:
        def run_one(parameters: Mapping[str, Tensor], x: Tensor, *own: Any) -> Any:
            return cells.as_one(parameters, lambda cell: run(cell, frames_of(cell, x), *own))

        apart, axes = (cells.runs, -1), (1, 0, 1, 1)[: 2 if len(state) == 2 else 4]
        found = vmap(run_one, (0, 1, 0, 1), axes)(
            cells.parameters_by_name,
            frames.spread().flatten(2).unflatten(1, apart),
            tuple(each.unflatten(0, apart) for each in state),
            starts.unflatten(1, apart),
        )
        return tuple(
            tree_map(partial(torch.flatten, start_dim=axis, end_dim=axis + 1), each)
            for each, axis in zip(found, axes, strict=True)
        )

    return run_all


def frames_of(cell: Any, x: Tensor) -> Frames:
    """Features [T, B, D] as a cell's forms take them."""
    frames = as_frames(x)
    return frames if isinstance(cell, LSTM) else frames.as_slots()


@dataclass(frozen=True)
class Case:
    """A cell, or several, over T steps of B environments."""

    name: str
    cell: Any
    steps: int
    batch: int

    @property
    def one(self) -> Any:
        """The cell, or one of several."""
        return self.cell.agents[0] if isinstance(self.cell, StackedAgent) else self.cell

    def frames(self, x: Tensor) -> Frames:
        """Features [T, B, D] as the cell's forms take them."""
        return frames_of(self.one, x)


@dataclass(frozen=True)
class Outcome:
    """Errors of forms in single precision against the definition in double, by `off_by`."""

    name: str
    fused: float
    defined: float

    @property
    def holds(self) -> bool:
        """Whether the fused form is close enough."""
        return self.fused <= max(BOUND, 10 * self.defined)


def small_cases() -> Iterator[Case]:
    """Every variant, with sizes that are not powers of two and batches that are not whole tiles."""
    yield Case("LSTM, two tiles", LSTM(INPUTS, 6), 3, 17)
    alone = replace(SMALL, modules=1, active=1, hidden=1, choice="fixed")
    yield Case("RIMs, one module, one step", alone.make_cell(INPUTS), 1, 17)
    yield Case("LSTM, one of all", LSTM(INPUTS, 1), 1, 1)
    yield Case("LSTM, two blocks", LSTM(INPUTS, 33), 2, 3)
    for attention in ("sparse", "null"):
        for choice in ("top", "random"):
            config = replace(SMALL, attention=attention, choice=choice)
            yield Case(f"RIMs, {attention}, {choice}", config.make_cell(INPUTS), 2, 2)
        for active in (1, 3):
            config = replace(SMALL, attention=attention, active=active)
            yield Case(f"RIMs, {attention}, {active} active", config.make_cell(INPUTS), 1, 2)


def stacked_cases() -> Iterator[Case]:
    """Several runs at once."""
    yield Case("LSTM, two runs", stack(LSTM(INPUTS, 6), 2), 3, 2 * 17)
    yield Case("RIMs, two runs", stack(SMALL.make_cell(INPUTS), 2), 2, 2 * 17)
    config = replace(SMALL, attention="null", choice="random")
    yield Case("RIMs, null, random, 3 runs", stack(config.make_cell(INPUTS), 3), 2, 3 * 2)


def real_cases() -> Iterator[Case]:
    """The sizes, spans and batches of presets."""
    yield Case("LSTM", LSTM(128, 96), 40, 1024)
    for attention in ("null", "sparse"):
        for active in (1, 3, 5):
            config = RIMsConfig(attention=attention, active=active)
            yield Case(f"RIMs, {attention}, {active} active", config.make_cell(128), 40, 1000)
    yield Case("RIMs, random", RIMsConfig(choice="random").make_cell(128), 20, 1000)
    yield Case("LSTM, 32 runs", stack(LSTM(128, 96), 32), 40, 32 * 64)
    yield Case("RIMs, 32 runs", stack(RIMsConfig().make_cell(128), 32), 20, 32 * 64)


def forms(cell: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The fused form and the definition."""
    from agents.cores.lstm import fused as fused_lstm
    from agents.cores.rims import fused as fused_rims

    if isinstance(cell, StackedAgent):
        fused, defined = forms(cell.agents[0])
        return of_all(fused), of_all(defined)
    if isinstance(cell, LSTM):
        return fused_lstm.run, lstm.cell.run_by_definition
    assert fused_rims.covers(cell.config)
    return fused_rims.run, rims.cell.run_by_definition


def numbers(
    run: Callable[..., Any], alike: Tensor, case: Case, x: Tensor, state: Any, starts: Tensor
) -> list[Tensor]:
    """A span's outputs in the environments chosen by `alike` [B], and the gradients of a function
    of these.
    """
    x = x.detach().requires_grad_()
    moving = [each.detach().requires_grad_() for each in state[:2]]
    outputs, last, *seen = run(case.cell, case.frames(x), (*moving, *state[2:]), starts)
    outputs, *seen = (_only(alike, each.flatten(2)) for each in (outputs, *seen))
    last = [_only(alike, each.flatten(1)) for each in last]
    weight = torch.linspace(-1, 1, outputs.numel(), device=x.device).to(x).view_as(outputs)
    total = (outputs * weight.sin_() / len(starts)).sum() + sum(each.sin().mean() for each in last)
    inputs = [x, *moving, *case.cell.parameters()]
    found = torch.autograd.grad(total, inputs, allow_unused=True, materialize_grads=True)
    return [outputs, *last, *seen, *found]


def _only(alike: Tensor, x: Tensor) -> Tensor:
    """x [..., B, F] with zeros for the environments that are not chosen."""
    return torch.where(alike.unsqueeze(1), x, 0)


def act(
    run: Callable[..., Any], case: Case, x: Tensor, state: Any, starts: Tensor
) -> tuple[Tensor, Tensor]:
    """Without gradients: outputs [T, B, F], and active modules, bool [T, B, n]; of an LSTM none."""
    with torch.no_grad():
        outputs, _, *seen = run(case.cell, case.frames(x), state, starts)
    return outputs.flatten(2), seen[0] if seen else starts.unsqueeze(2)[..., :0]


def given(case: Case, device: str) -> tuple[Any, Tensor, Any, Tensor]:
    """The cell with random biases, and random input, state and episode starts."""
    cell = case.cell.to(device)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    one = case.one
    inputs = (one.input if isinstance(one, LSTM) else one.key).in_features
    x = torch.randn(case.steps, case.batch, inputs, device=device)
    state = tuple(
        torch.randn_like(each, device=device) if each.is_floating_point() else each.to(device)
        for each in cell.initial_state(case.batch)
    )
    return cell, x, state, torch.rand(case.steps, case.batch, device=device) < 0.3


def compare(case: Case, device: str) -> Outcome:
    """Both forms in single precision, against the definition in double.

    Omits the few environments in which modules tie so closely that precision decides.
    """
    cell, x, state, starts = given(case, device)
    double = tuple(each.double() if each.is_floating_point() else each for each in state)
    precise = replace(case, cell=deepcopy(cell).double()), x.double(), double, starts
    single = case, x, state, starts
    fused, defined = forms(cell)
    runs: list[tuple[Any, tuple[Any, ...]]] = [
        (defined, precise),
        (fused, single),
        (defined, single),
    ]
    (_, exactly), (acted, first), (_, second) = (act(run, *span) for run, span in runs)
    alike = ((first == exactly) & (second == exactly)).all(2).all(0)
    exact, ours, theirs = (numbers(run, alike, *span) for run, span in runs)
    acted = _only(alike, acted)
    # A GPU has the kernel compiled once for acting and once with a tape.
    same = torch.equal(acted, ours[0]) if device == "cpu" else off_by([acted], ours[:1]) < BOUND
    fair = same and alike.float().mean() > 0.98
    return Outcome(case.name, off_by(ours, exact) if fair else math.inf, off_by(theirs, exact))


def compare_reading(runs: int, words: int, missions: int, device: str) -> Outcome:
    """As `compare`, for missions read by stacked agents' LSTMs."""
    reader = Instruction(9, INPUTS, 6)
    given = [torch.randn(runs, *weight.shape, device=device) for weight in reader.lstm.parameters()]
    x = torch.randn(runs, words, missions, INPUTS, device=device)

    def numbers_of(read: Callable[..., Tensor], kind: torch.dtype) -> list[Tensor]:
        inputs = [each.to(kind).requires_grad_() for each in (*given, x)]
        states = vmap(lambda *own: read(own[:-1], own[-1]))(*inputs)
        return [states, *torch.autograd.grad(states.sin().sum(), inputs)]

    exact = numbers_of(run_lstm, torch.float64)
    fused, defined = (numbers_of(read, torch.float32) for read in (run_fused, run_lstm))
    return Outcome(f"reading, {runs} runs", off_by(fused, exact), off_by(defined, exact))


def off_by(found: list[Tensor], exact: list[Tensor]) -> float:
    """The largest difference, relative to the largest number of its tensor plus a tenth."""
    pairs = [(a.double(), b.double()) for a, b in zip(found, exact, strict=True)]
    shares = [(a - b).abs().max() / (0.1 + b.abs().max()) for a, b in pairs]
    return torch.stack(shares).max().item()  # NaN where one is


def small_outcomes() -> Iterator[Outcome]:
    """The outcomes of all small cases, on the CPU."""
    for case in chain(small_cases(), stacked_cases()):
        yield compare(case, "cpu")
    yield compare_reading(2, 3, 17, "cpu")


def real_outcomes(device: str) -> Iterator[Outcome]:
    """The outcomes of all cases with the sizes of presets."""
    for case in real_cases():
        yield compare(case, device)
    yield compare_reading(32, 12, 640, device)


def report(outcomes: Iterable[Outcome]) -> bool:
    """Print one line each; returns whether all hold."""
    hold = True
    for outcome in outcomes:
        verdict = "equal" if outcome.holds else "DIFFERS"
        line = f"fused off by {outcome.fused:.1e}, definition in single precision by"
        print(f"{outcome.name:28}{verdict:9}{line} {outcome.defined:.1e}", flush=True)
        hold &= outcome.holds
    return hold


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)  # fills uninitialised memory with NaN
    few = 2 if "--few" in sys.argv else None
    torch.manual_seed(1)
    sys.exit(not report(islice(small_outcomes(), few)))
