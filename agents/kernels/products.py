"""Gradients of weights: products summed over lanes, and over all steps of a tile."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiling import for_both, inlined, part
from .lanes import WIDTH, fma, load, lowest, numbers_of, spread, store
from .rows import scatter

# All lanes, a bit each; for a Python int everything would be compiled a second time.
EVERYWHERE = np.int64(2**WIDTH - 1)
ROWS, COLUMNS = 8, 2 * WIDTH  # of a sum that is kept in registers


@for_both
def whole_rows(count: int) -> int:
    """So many rows, padded to whole blocks."""
    filled: int = count + -count % ROWS
    return filled


@for_both
def whole_columns(count: int) -> int:
    """So many columns, likewise."""
    filled: int = count + -count % COLUMNS
    return filled


@part
def add_products(
    a: Any, height: int, b: Any, width: int, where: Any, turned: Any, out: Any
) -> None:
    """out [R, K] += a [R] times b [K], summed over lanes `where`; turned [16, K] = b transposed.

    R and K are padded to whole blocks with whatever is in memory after a and in turned.
    """
    filled = whole_columns(width)
    scatter(b, width, numbers_of(turned), filled)
    across = filled // WIDTH
    for row in range(0, height, ROWS):
        x = numbers_of(a + row)
        for column in range(0, across, COLUMNS // WIDTH):
            add_block(x, turned + column, across, where, out + (row * across + column))


@inlined
def add_block(a: Any, b: Any, width: int, where: Any, out: Any) -> None:
    """out [8, 2 of width] += a [8, 16] · b [16, 2 of width], over the lanes `where`."""
    a0, b0 = load(out, 0), load(out, 1)
    a1, b1 = load(out, width), load(out, width + 1)
    a2, b2 = load(out, 2 * width), load(out, 2 * width + 1)
    a3, b3 = load(out, 3 * width), load(out, 3 * width + 1)
    a4, b4 = load(out, 4 * width), load(out, 4 * width + 1)
    a5, b5 = load(out, 5 * width), load(out, 5 * width + 1)
    a6, b6 = load(out, 6 * width), load(out, 6 * width + 1)
    a7, b7 = load(out, 7 * width), load(out, 7 * width + 1)
    while where:
        lane = lowest(where)
        where &= where - 1
        x, y = load(b, lane * width), load(b, lane * width + 1)
        a0, b0 = add_both(spread(a, lane), x, y, a0, b0)
        a1, b1 = add_both(spread(a, WIDTH + lane), x, y, a1, b1)
        a2, b2 = add_both(spread(a, 2 * WIDTH + lane), x, y, a2, b2)
        a3, b3 = add_both(spread(a, 3 * WIDTH + lane), x, y, a3, b3)
        a4, b4 = add_both(spread(a, 4 * WIDTH + lane), x, y, a4, b4)
        a5, b5 = add_both(spread(a, 5 * WIDTH + lane), x, y, a5, b5)
        a6, b6 = add_both(spread(a, 6 * WIDTH + lane), x, y, a6, b6)
        a7, b7 = add_both(spread(a, 7 * WIDTH + lane), x, y, a7, b7)
    put_both(out, 0, a0, b0)
    put_both(out, width, a1, b1)
    put_both(out, 2 * width, a2, b2)
    put_both(out, 3 * width, a3, b3)
    put_both(out, 4 * width, a4, b4)
    put_both(out, 5 * width, a5, b5)
    put_both(out, 6 * width, a6, b6)
    put_both(out, 7 * width, a7, b7)


@inlined
def add_both(number: Any, x: Any, y: Any, a: Any, b: Any) -> Any:
    """a + number · x, and b + number · y."""
    return fma(number, x, a), fma(number, y, b)


@inlined
def put_both(out: Any, row: int, a: Any, b: Any) -> None:
    """Store two rows, from `row` on."""
    store(out, row, a)
    store(out, row + 1, b)
