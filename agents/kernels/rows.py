"""Matrices of numbers times rows of lanes.

Matrices are row-major. Eight rows of a result are kept in registers: what is loaded serves eight
times, and a transposed matrix, of whose cache lines each block uses a part, is read less often.
"""

from __future__ import annotations

from typing import Any

from .compiling import inlined, part
from .lanes import WIDTH, fma, load, move, nothing, spread, store, turn


@part
def multiply(matrix: Any, count: int, width: int, x: Any, out: Any) -> None:
    """out [count] += matrix [count, width] · x [width]."""
    accumulate(matrix, width, 1, count, width, x, out)


@part
def multiply_back(matrix: Any, count: int, width: int, x: Any, out: Any) -> None:
    """out [width] += matrix [count, width] transposed · x [count]."""
    accumulate(matrix, 1, width, width, count, x, out)


@inlined
def accumulate(
    matrix: Any, down: int, across: int, count: int, width: int, x: Any, out: Any
) -> None:
    """out [count] += matrix [count, width] · x [width], its numbers `down` and `across` apart."""
    whole = count - count % 8
    for row in range(0, whole, 8):
        w, y = matrix + row * down, out + row
        a, b, c, d = load(y, 0), load(y, 1), load(y, 2), load(y, 3)
        e, f, g, h = load(y, 4), load(y, 5), load(y, 6), load(y, 7)
        for k in range(width):
            value, at = load(x, k), k * across
            a, b = fma(spread(w, at), value, a), fma(spread(w, at + down), value, b)
            c, d = fma(spread(w, at + 2 * down), value, c), fma(spread(w, at + 3 * down), value, d)
            e, f = fma(spread(w, at + 4 * down), value, e), fma(spread(w, at + 5 * down), value, f)
            g, h = fma(spread(w, at + 6 * down), value, g), fma(spread(w, at + 7 * down), value, h)
        put(y, 0, a, b, c, d)
        put(y, 4, e, f, g, h)
    for row in range(whole, count):
        a = load(out, row)
        for k in range(width):
            a = fma(spread(matrix, row * down + k * across), load(x, k), a)
        store(out, row, a)


@inlined
def put(out: Any, row: int, a: Any, b: Any, c: Any, d: Any) -> None:
    """Store four rows, from `row` on."""
    store(out, row, a)
    store(out, row + 1, b)
    store(out, row + 2, c)
    store(out, row + 3, d)


@part
def combine(numbers: Any, count: int, matrix: Any, width: int, out: Any) -> None:
    """out [width] += numbers [count] · matrix [count, width], which consists of rows of lanes."""
    whole = width - width % 4
    for row in range(0, whole, 4):
        a, b, c, d = load(out, row), load(out, row + 1), load(out, row + 2), load(out, row + 3)
        for k in range(count):
            number, w = spread(numbers, k), matrix + (k * width + row)
            a, b = fma(number, load(w, 0), a), fma(number, load(w, 1), b)
            c, d = fma(number, load(w, 2), c), fma(number, load(w, 3), d)
        put(out, row, a, b, c, d)
    for row in range(whole, width):
        a = load(out, row)
        for k in range(count):
            a = fma(spread(numbers, k), load(matrix, k * width + row), a)
        store(out, row, a)


@inlined
def repeat(numbers: Any, count: int, out: Any) -> None:
    """out [count] = numbers [count], each broadcast."""
    for row in range(count):
        store(out, row, spread(numbers, row))


@part
def clear(out: Any, count: int) -> None:
    """out [count] = 0."""
    zero = nothing(out)
    for row in range(count):
        store(out, row, zero)


@part
def copy(x: Any, count: int, out: Any) -> None:
    """out [count] = x [count]."""
    for row in range(count):
        store(out, row, load(x, row))


@part
def add(x: Any, count: int, out: Any) -> None:
    """out [count] += x [count]."""
    for row in range(count):
        store(out, row, load(out, row) + load(x, row))


@part
def gather(x: Any, stride: int, count: int, out: Any) -> None:
    """out [count] from the numbers of sixteen environments, which are `stride` apart."""
    whole = count - count % WIDTH
    for row in range(0, whole, WIDTH):
        turn(x + row, stride, out + row, WIDTH)
    for row in range(whole, count):
        for lane in range(WIDTH):
            move(x, lane * stride + row, out, row * WIDTH + lane)


@part
def scatter(x: Any, count: int, out: Any, stride: int) -> None:
    """x [count] to the numbers of sixteen environments, which are `stride` apart."""
    whole = count - count % WIDTH
    for row in range(0, whole, WIDTH):
        turn(x + row, WIDTH, out + row, stride)
    for row in range(whole, count):
        for lane in range(WIDTH):
            move(x, row * WIDTH + lane, out, lane * stride + row)
