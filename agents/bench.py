"""Frames per second of recurrent cells, forward and backward, and where a cell's time goes.

All cells take 256 sequences of 32 steps of 256 features, have a state of 320 units and as many
parameters as one LSTM of that size: the RIMs have the public package's sizes but for the width of
the values that a module reads.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from metarims.errors import UsageError
from metarims.memory import keep_freed_memory
from metarims.studies.race import Entry, Start, Timer, race, shares_line

from .cores.lstm import LSTM
from .cores.rims import RIMs, RIMsConfig

BATCH, STEPS, INPUTS = 256, 32, 256
MODULES, ACTIVE, HIDDEN = 5, 3, 64
COMMUNICATION_KEY = 16
VALUE = 363  # in our RIMs: as many parameters as an LSTM of 320 units
PUBLIC_VALUE = 244  # in the public ones, likewise
PUBLIC, LOOP = "public RIMs", "nn.LSTMCell"
PUBLIC_REPOSITORY = "github.com/dido1998/Recurrent-Independent-Mechanisms"

# PyTorch's operators by how their names begin; all others are "elementwise".
KINDS = {
    "matrix products": ("bmm", "baddbmm", "addmm", "mm", "mkldnn_rnn_layer"),
    "copies": ("copy_", "cat", "stack", "clone", "fill_", "zero_", "empty", "index", "scatter"),
    "sums, softmax and top-k": ("sum", "mean", "_softmax", "topk", "gather"),
}
SHARES = ("matrix products", "elementwise", "sums, softmax and top-k", "copies", "calls")


@dataclass(frozen=True)
class Cell:
    """A module and how it runs over x [T, B, D], to [T, B, features]."""

    module: nn.Module
    run: Callable[[Tensor], Tensor]

    @property
    def parameters(self) -> int:
        """Number of learnt parameters."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    def train_once(self, x: Tensor) -> None:
        """Forward and backward, including the gradient of x."""
        self.module.zero_grad()
        y = self.run(x)
        y.backward(torch.ones_like(y))


def our_rims(attention: str) -> Cell:
    """The cell of this package."""
    config = RIMsConfig(
        modules=MODULES,
        active=ACTIVE,
        hidden=HIDDEN,
        attention=attention,
        value=VALUE,
        communication_key=COMMUNICATION_KEY,
    )
    return _with_state(config.make_cell(INPUTS))


def our_lstm() -> Cell:
    """The vanilla core."""
    return _with_state(LSTM(INPUTS, MODULES * HIDDEN))


def _with_state(module: RIMs | LSTM) -> Cell:
    state, starts = module.initial_state(BATCH), torch.zeros(STEPS, BATCH, dtype=torch.bool)
    return Cell(module, lambda x: module(x, state, starts, {}).features)


def torch_lstm() -> Cell:
    """PyTorch's LSTM, which cannot reset its state within a sequence."""
    module = nn.LSTM(INPUTS, MODULES * HIDDEN)
    return Cell(module, lambda x: module(x)[0])


def torch_lstm_cells() -> Cell:
    """A loop over PyTorch's LSTM cell, as in most recurrent agents."""
    module = nn.LSTMCell(INPUTS, MODULES * HIDDEN)

    def run(x: Tensor) -> Tensor:
        outputs, state = [], None
        for frame in x.unbind():
            state = module(frame, state)
            outputs.append(state[0])
        return torch.stack(outputs)

    return Cell(module, run)


def public_rims(repo: Path) -> Cell:
    """The cell of a clone of the public repository."""
    make, device = load_public_rims(repo), torch.get_default_device().type
    module = make(
        device, INPUTS, HIDDEN, MODULES, ACTIVE, "LSTM", 1, False, input_value_size=PUBLIC_VALUE
    )
    return Cell(module, lambda x: module(x)[0])


def load_public_rims(repo: Path) -> Any:
    """The class `RIM` of the clone's RIM.py.

    Raises:
        UsageError: there is none.
    """
    path = repo / "RIM.py"
    spec = importlib.util.spec_from_file_location("public_rims", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UsageError(f"no RIM.py in {repo}; expected a clone of the public RIMs repository")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "RIM"):
        raise UsageError(f"{path} has no class RIM")
    return module.RIM


CELLS: dict[str, Callable[[], Cell]] = {
    "RIMs sparse": partial(our_rims, "sparse"),
    "RIMs null": partial(our_rims, "null"),
    "LSTM": our_lstm,
    "nn.LSTM": torch_lstm,
    LOOP: torch_lstm_cells,
}


def cells(rims_repo: Path | None) -> dict[str, Callable[[], Cell]]:
    """What can be timed here, by name."""
    if rims_repo is None:
        return CELLS
    load_public_rims(rims_repo)
    return CELLS | {PUBLIC: partial(public_rims, rims_repo)}


def race_cells(
    rims_repo: Path | None, device: str, seconds: float, rounds: int
) -> list[dict[str, object]]:
    """Time recurrent cells in turn; print a table and, on a CPU, where each one's time goes."""
    makers = cells(rims_repo)
    entries = [
        Entry(name, "", "", partial(start_cell, make, device)) for name, make in makers.items()
    ]
    rates = {speed.name: speed.rounds for speed in race(entries, seconds, rounds)}
    parameters = {name: make().parameters for name, make in makers.items()}
    print(table(rates, parameters))
    rows: list[dict[str, object]] = []
    for name, measured in rates.items():
        shares = time_shares(makers[name]) if device == "cpu" else {}
        if shares:
            print(shares_line(name, shares))
        rows.append(
            {
                "name": name,
                "parameters": parameters[name],
                "frames_per_second": median(measured),
                "rounds": list(measured),
                "shares": shares,
            }
        )
    return rows


def start_cell(make: Callable[[], Cell], device: str, timer: Timer) -> Start:
    """The batch size, and a burst that trains on a batch once and returns its number of frames."""
    keep_freed_memory()
    with torch.device(device):
        cell, x = make(), torch.randn(STEPS, BATCH, INPUTS, requires_grad=True)

    def burst() -> int:
        cell.train_once(x)
        if x.is_cuda:
            torch.cuda.synchronize(x.device)
        return STEPS * BATCH

    burst()
    return BATCH, burst


def time_shares(make: Callable[[], Cell], times: int = 5) -> dict[str, float]:
    """Where a cell's time goes: fractions that sum to 1, by the names in `SHARES`.

    "calls" is time outside PyTorch's operators: Python, autograd and their bookkeeping.
    """
    cell, x = make(), torch.randn(STEPS, BATCH, INPUTS, requires_grad=True)
    cell.train_once(x)
    with _silent_stderr(), profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(times):
            cell.train_once(x)
    spent = dict.fromkeys(SHARES, 0.0)
    for event in seen.key_averages():
        spent[_kind(event.key)] += event.self_cpu_time_total
    total = sum(spent.values())
    return {name: part / total for name, part in spent.items()}


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Silence stderr: the profiler's C++ part logs every start and stop at any log level."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _kind(operator: str) -> str:
    if not operator.startswith("aten::"):
        return "calls"
    name = operator.removeprefix("aten::")
    for kind, beginnings in KINDS.items():
        if name.startswith(beginnings):
            return kind
    return "elementwise"


def table(rates: Mapping[str, Sequence[float]], parameters: Mapping[str, int]) -> str:
    """Each cell's parameters, frames per second, and ratios to the public RIMs and the loop."""
    middle = {name: median(rounds) for name, rounds in rates.items()}
    references = [name for name in (PUBLIC, LOOP) if name in middle]
    head = f"{'cell':14}{'parameters':>12}{'frames/s':>12}{'min':>12}{'max':>12}"
    lines = [head + "".join(f"{f'/ {name}':>16}" for name in references)]
    for name, rounds in rates.items():
        ratios = "".join(f"{middle[name] / middle[other]:>14.2f} x" for other in references)
        lines.append(
            f"{name:14}{parameters[name]:>12,}{middle[name]:>12,.0f}"
            f"{min(rounds):>12,.0f}{max(rounds):>12,.0f}{ratios}"
        )
    if PUBLIC not in middle:
        lines.append(f"{PUBLIC}: not timed; --rims-repo PATH times a clone of {PUBLIC_REPOSITORY}")
    return "\n".join(lines)
