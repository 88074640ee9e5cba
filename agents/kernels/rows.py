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
    whole = count - count % 4
    for row in range(0, whole, 4):
        w = matrix + row * width
        a, b, c, d = load(out, row), load(out, row + 1), load(out, row + 2), load(out, row + 3)
        for k in range(width):
            value = load(x, k)
            a = fma(spread(w, k), value, a)
            b = fma(spread(w, width + k), value, b)
            c = fma(spread(w, 2 * width + k), value, c)
            d = fma(spread(w, 3 * width + k), value, d)
        store(out, row, a)
        store(out, row + 1, b)
        store(out, row + 2, c)
        store(out, row + 3, d)
    for row in range(whole, count):
        a = load(out, row)
        for k in range(width):
            a = fma(spread(matrix, row * width + k), load(x, k), a)
        store(out, row, a)


@part
def multiply_back(matrix: Any, count: int, width: int, x: Any, out: Any) -> None:
    """out [width] += matrix [count, width] transposed · x [count]."""
    whole = width - width % 4
    for row in range(0, whole, 4):
        a, b, c, d = load(out, row), load(out, row + 1), load(out, row + 2), load(out, row + 3)
        for k in range(count):
            value, w = load(x, k), k * width + row
            a = fma(spread(matrix, w), value, a)
            b = fma(spread(matrix, w + 1), value, b)
            c = fma(spread(matrix, w + 2), value, c)
            d = fma(spread(matrix, w + 3), value, d)
        store(out, row, a)
        store(out, row + 1, b)
        store(out, row + 2, c)
        store(out, row + 3, d)
    for row in range(whole, width):
        a = load(out, row)
        for k in range(count):
            a = fma(spread(matrix, k * width + row), load(x, k), a)
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
