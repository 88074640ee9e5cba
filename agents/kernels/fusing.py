"""How spans are fused on a GPU: Triton kernels, in which each program has a tile of environments.

A program takes its environments through all steps. Steps, and phases within a step, pass results on
through memory that stays in the caches, with a barrier in between; no phase reads what it writes.
Environments of stacked runs lie side by side, [T, runs · B, ...]; a tile belongs to one run, and
uses its parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor
from triton.language import constexpr, tensor

TILE = 16  # environments per program
WARPS = 4  # per program: with 8, fewer programs fit a multiprocessor, and RIMs' registers spill


def launch(
    kernel: Any,
    batch: int,
    runs: int,
    memory: tuple[Tensor, ...],
    sizes: tuple[int, ...],
    **constants: object,
) -> None:
    """Enqueue a kernel over tiles of environments.

    Args:
        kernel: made by `triton.jit`; takes `memory`, `sizes`, `constants` and `options`.
        batch: runs · B.
        runs: number of stacked runs, each with its own tiles.
        memory: contiguous tensors on one device.
        sizes: run-time integers.
        constants: compile-time constants.
    """
    with torch.cuda.device_of(memory[0]):
        grid = triton.cdiv(batch // runs, TILE), runs
        kernel[grid](memory, sizes, **options(), **constants)


def options() -> dict[str, object]:
    """What all kernels are compiled with. One stage: no load moves ahead of a barrier before it."""
    return {"tile": TILE, "precision": current_precision(), "num_warps": WARPS, "num_stages": 1}


def current_precision() -> str:
    """Of products: as PyTorch's own, IEEE unless `set_float32_matmul_precision` allows TF32."""
    return "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32"


def widened(count: int) -> int:
    """A width padded for products: to a power of two, at least 16."""
    width: int = triton.next_power_of_2(count)
    return max(16, width)


def contiguous(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Tensors as kernels take them: detached and contiguous."""
    return tuple(x.detach().contiguous() for x in tensors)


def with_end(starts: Tensor) -> Tensor:
    """Starts bool [T, B], with none after the last step: [T + 1, B]."""
    return F.pad(starts, (0, 0, 0, 1))


def first_state(starts: Tensor, start: Tensor, h: Tensor) -> Tensor:
    """h [runs · B, ...], or its run's start [runs, ...] if an episode starts in the first step."""
    runs = len(start)
    begins = starts[0].view(runs, -1, *[1] * (h.dim() - 1))
    return torch.where(begins, start.unsqueeze(1), h.unflatten(0, (runs, -1))).flatten(0, 1)


def side_by_side(
    tensors: Sequence[Tensor], mapped: Sequence[int | None], axes: Sequence[int], runs: int
) -> tuple[Tensor, ...]:
    """What `torch.func.vmap` batches, in the kernels' layout: one run after another.

    Args:
        tensors: with an axis of runs, or the same for all runs.
        mapped: the axis of runs of each, if it has one.
        axes: the axis of each, within a run, along which to put runs side by side.
        runs: number of runs.
    """

    def of_all(x: Tensor, own: int | None, axis: int) -> Tensor:
        if own is None:
            x, own = x.expand(runs, *x.shape), 0
        return x.movedim(own, axis).flatten(axis, axis + 1)

    return tuple(map(of_all, tensors, mapped, axes))


def run_by_run(tensors: Sequence[Tensor], axes: Sequence[int], runs: int) -> tuple[Tensor, ...]:
    """The inverse of `side_by_side`: an axis of runs before each of these axes."""
    return tuple(x.unflatten(axis, (runs, -1)) for x, axis in zip(tensors, axes, strict=True))


def apart(runs: int, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Tensors of runs side by side, [T, runs · B, ...], as [T, runs, B, ...]."""
    return run_by_run(tensors, [1] * len(tensors), runs)


class Span(torch.autograd.Function):
    """A span as a differentiable function that `torch.func.vmap` can batch.

    A subclass has `forward` and `backward`. Forward takes `how`, which is up to it, the number of
    runs, h and c before the first step, and other tensors; it returns c after the last step, h
    after each, and whatever else it made, which is kept for backward and has no gradients.
    """

    given_along: ClassVar[tuple[int, ...]]  # axes of environments, or runs, of h, c and the others
    made_along: ClassVar[tuple[int, ...]]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep what was given except h and c, and what was made except the last c. Missing
        gradients are None: as zeros they would take as much memory as all that is kept.
        """
        ctx.set_materialize_grads(False)
        ctx.how, ctx.runs, _, _, *given = inputs
        _, outputs, *others = output
        ctx.mark_non_differentiable(*others)
        ctx.save_for_backward(*given, outputs, *others)

    @classmethod
    def vmap(
        cls, info: Any, axes: tuple[Any, ...], how: Any, _: int, *given: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        """Run all runs at once, side by side."""
        runs = info.batch_size
        given = side_by_side(given, axes[2:], cls.given_along, runs)
        made = cls.apply(how, runs, *given)  # type: ignore[no-untyped-call]
        return run_by_run(made, cls.made_along, runs), cls.made_along


def arrived(gradient: Tensor | None, like: Tensor) -> Tensor:
    """A gradient, or zeros if it is missing."""
    return torch.zeros_like(like) if gradient is None else gradient


@triton.jit
def own_of(batch: tensor, tile: constexpr) -> tl.tuple:
    """A program's run, its environments [TILE] among all runs', and where its run's end."""
    run, each = tl.program_id(1), batch // tl.num_programs(1)
    own = run * each + tl.program_id(0) * tile + tl.arange(0, tile)
    return run, own, (run + 1) * each


@triton.jit
def step_of(
    starts: tensor, t: tensor, batch: tensor, own: tensor, end: tensor, width: tensor
) -> tl.tuple:
    """Whether an episode begins at a step, and at the next one, [TILE]; the offsets of both in
    [T, batch, width].
    """
    begins = tl.load(starts + t * batch + own, own < end, other=0) != 0
    ends = tl.load(starts + (t + 1) * batch + own, own < end, other=0) != 0
    now = tl.cast(t, tl.int64) * batch * width
    return begins, ends, now, now + batch * width


@triton.jit
def tanh(x: tensor) -> tensor:
    """The hyperbolic tangent; near 0 by its power series, where the sigmoid loses digits."""
    y = x * x
    series = 1 + y * (-1 / 3 + y * (2 / 15 + y * (-17 / 315 + y * (62 / 2835))))
    return tl.where(y < 0.09, x * series, 2 * tl.sigmoid(2 * x) - 1)


@triton.jit
def take(
    x: tensor,
    stride: tensor,
    rows: tensor,
    count: tensor,
    columns: tensor,
    width: tensor,
) -> tensor:
    """Load rows and columns of [count, width], whose rows are `stride` apart; 0 outside it."""
    here = (rows < count)[:, None] & (columns < width)[None, :]
    return tl.load(x + rows[:, None].to(tl.int64) * stride + columns[None, :], here, other=0.0)


@triton.jit
def take_row(x: tensor, columns: tensor, width: tensor) -> tensor:
    """Load columns of [width], as [1, columns]; 0 outside it."""
    return tl.load(x + columns, columns < width, other=0.0)[None, :]


@triton.jit
def put(
    x: tensor,
    stride: tensor,
    rows: tensor,
    count: tensor,
    columns: tensor,
    width: tensor,
    value: tensor,
) -> None:
    """Store a value where `take` loads from."""
    here = (rows < count)[:, None] & (columns < width)[None, :]
    tl.store(x + rows[:, None].to(tl.int64) * stride + columns[None, :], value, here)


@triton.jit
def multiply(
    x: tensor,
    matrix: tensor,
    rows: tensor,
    count: tensor,
    columns: tensor,
    width: tensor,
    out: tensor,
    precision: constexpr,
) -> tensor:
    """out [TILE, rows] + x [TILE, columns] · matrixᵀ, of [count, width] at rows and columns."""
    here = (columns < width)[:, None] & (rows < count)[None, :]
    turned = tl.load(matrix + rows[None, :] * width + columns[:, None], here, other=0.0)
    return tl.dot(x, turned, out, input_precision=precision)


@triton.jit
def multiply_back(
    x: tensor,
    matrix: tensor,
    rows: tensor,
    count: tensor,
    columns: tensor,
    width: tensor,
    out: tensor,
    precision: constexpr,
) -> tensor:
    """out [TILE, columns] + x [TILE, rows] · matrix [count, width] at rows and columns."""
    return tl.dot(
        x, take(matrix, width, rows, count, columns, width), out, input_precision=precision
    )


@triton.jit
def choose_each(condition: tensor, one: tensor, other: tensor) -> tensor:
    """Rows of one [TILE, ...] where the condition [TILE] holds, else of the other."""
    return tl.where(condition[:, None], one, other)


@triton.jit
def column(x: tensor, each: tensor, j: tensor) -> tensor:
    """Column j of x [TILE, n], whose columns are numbered `each` [n]: [TILE]."""
    return tl.sum(tl.where(each[None, :] == j, x, 0.0), 1)


@triton.jit
def with_column(x: tensor, each: tensor, j: tensor, own: tensor) -> tensor:
    """x [TILE, n] with its column j replaced, [TILE]."""
    return tl.where(each[None, :] == j, own[:, None], x)


@triton.jit
def take_gates(
    z: tensor,
    stride: tensor,
    rows: tensor,
    count: tensor,
    units: tensor,
    hidden: tensor,
) -> tl.tuple:
    """As `take`: input, forget, output and candidate, from rows [4, hidden]."""
    i = take(z, stride, rows, count, units, hidden)
    f = take(z + hidden, stride, rows, count, units, hidden)
    o = take(z + 2 * hidden, stride, rows, count, units, hidden)
    g = take(z + 3 * hidden, stride, rows, count, units, hidden)
    return i, f, o, g


@triton.jit
def put_gates(
    z: tensor,
    stride: tensor,
    rows: tensor,
    count: tensor,
    units: tensor,
    hidden: tensor,
    gates: tl.tuple,
) -> None:
    """Store gates where `take_gates` loads from."""
    put(z, stride, rows, count, units, hidden, gates[0])
    put(z + hidden, stride, rows, count, units, hidden, gates[1])
    put(z + 2 * hidden, stride, rows, count, units, hidden, gates[2])
    put(z + 3 * hidden, stride, rows, count, units, hidden, gates[3])


@triton.jit
def add_gates(
    x: tensor,
    matrix: tensor,
    rows: tensor,
    hidden: tensor,
    columns: tensor,
    width: tensor,
    gates: tl.tuple,
    precision: constexpr,
) -> tl.tuple:
    """`multiply` for each of the gates, by a matrix [4, hidden, width]."""
    size = hidden * width
    i = multiply(x, matrix, rows, hidden, columns, width, gates[0], precision)
    f = multiply(x, matrix + size, rows, hidden, columns, width, gates[1], precision)
    o = multiply(x, matrix + 2 * size, rows, hidden, columns, width, gates[2], precision)
    g = multiply(x, matrix + 3 * size, rows, hidden, columns, width, gates[3], precision)
    return i, f, o, g


@triton.jit
def add_gates_back(
    gates: tl.tuple,
    matrix: tensor,
    rows: tensor,
    hidden: tensor,
    columns: tensor,
    width: tensor,
    out: tensor,
    precision: constexpr,
) -> tensor:
    """The sum of `multiply_back` over the gates, by a matrix [4, hidden, width]."""
    size = hidden * width
    out = multiply_back(gates[0], matrix, rows, hidden, columns, width, out, precision)
    out = multiply_back(gates[1], matrix + size, rows, hidden, columns, width, out, precision)
    out = multiply_back(gates[2], matrix + 2 * size, rows, hidden, columns, width, out, precision)
    return multiply_back(gates[3], matrix + 3 * size, rows, hidden, columns, width, out, precision)


@triton.jit
def step_lstm(gates: tl.tuple, c: tensor) -> tl.tuple:
    """From pre-activations of the gates, and c: the gates, h and c after a step."""
    i, f = tl.sigmoid(gates[0]), tl.sigmoid(gates[1])
    o, g = tl.sigmoid(gates[2]), tanh(gates[3])
    c = f * c + i * g
    return (i, f, o, g), o * tanh(c), c


@triton.jit
def step_lstm_back(
    gates: tl.tuple, before: tensor, after: tensor, dh: tensor, dc: tensor
) -> tl.tuple:
    """From gates, c before and after, and gradients after a step: gradients of gates and c."""
    i, f, o, g = gates
    squashed = tanh(after)
    dc += dh * o * (1 - squashed * squashed)
    d_i, d_f = dc * g * i * (1 - i), dc * before * f * (1 - f)
    d_o, d_g = dh * squashed * o * (1 - o), dc * i * (1 - g * g)
    return (d_i, d_f, d_o, d_g), dc * f
