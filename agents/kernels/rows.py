"""Matrices of numbers times rows of lanes.

A matrix is row by row in memory. Four rows of a result are kept in registers: what is loaded serves
four times.
"""

from __future__ import annotations

from typing import Any

from .compiling import inlined, part
from .lanes import fma, load, nothing, spread, store


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
    """out [count] += matrix [count, width] · x [width], its numbers so many apart in memory."""
    whole = count - count % 4
    for row in range(0, whole, 4):
        w = matrix + row * down
        a, b, c, d = load(out, row), load(out, row + 1), load(out, row + 2), load(out, row + 3)
        for k in range(width):
            value, at = load(x, k), k * across
            a = fma(spread(w, at), value, a)
            b = fma(spread(w, at + down), value, b)
            c = fma(spread(w, at + 2 * down), value, c)
            d = fma(spread(w, at + 3 * down), value, d)
        store(out, row, a)
        store(out, row + 1, b)
        store(out, row + 2, c)
        store(out, row + 3, d)
    for row in range(whole, count):
        a = load(out, row)
        for k in range(width):
            a = fma(spread(matrix, row * down + k * across), load(x, k), a)
        store(out, row, a)


@part
def combine(numbers: Any, count: int, matrix: Any, width: int, out: Any) -> None:
    """out [width] += numbers [count] · matrix [count, width], whose rows are in lanes."""
    whole = width - width % 4
    for row in range(0, whole, 4):
        a, b, c, d = load(out, row), load(out, row + 1), load(out, row + 2), load(out, row + 3)
        for k in range(count):
            number, w = spread(numbers, k), matrix + (k * width + row)
            a, b = fma(number, load(w, 0), a), fma(number, load(w, 1), b)
            c, d = fma(number, load(w, 2), c), fma(number, load(w, 3), d)
        store(out, row, a)
        store(out, row + 1, b)
        store(out, row + 2, c)
        store(out, row + 3, d)
    for row in range(whole, width):
        a = load(out, row)
        for k in range(count):
            a = fma(spread(numbers, k), load(matrix, k * width + row), a)
        store(out, row, a)


@inlined
def repeat(numbers: Any, count: int, out: Any) -> None:
    """out [count] = numbers [count], each for all lanes."""
    for row in range(count):
        store(out, row, spread(numbers, row))


@part
def clear(out: Any, count: int) -> None:
    """out [count] = 0."""
    zero = nothing(out)
    for row in range(count):
        store(out, row, zero)


@part
def gather(x: Any, stride: int, count: int, out: Any) -> None:
    """out [count] from rows that are `stride` apart."""
    for row in range(count):
        store(out, row, load(x, row * stride))


@part
def scatter(x: Any, count: int, out: Any, stride: int) -> None:
    """x [count] to rows that are `stride` apart."""
    for row in range(count):
        store(out, row * stride, load(x, row))


@part
def add(x: Any, stride: int, count: int, out: Any) -> None:
    """out [count] += rows that are `stride` apart."""
    for row in range(count):
        store(out, row, load(out, row) + load(x, row * stride))
