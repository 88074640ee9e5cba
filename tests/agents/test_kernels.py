"""Lanes, products of rows, and reused memory, against NumPy."""

import numpy as np
import pytest
import torch

from agents.kernels.compiling import kernel, launch, share
from agents.kernels.lanes import (
    WIDTH,
    exp,
    expm1,
    load,
    numbers,
    rows,
    sigmoid,
    store,
    tanh,
)
from agents.kernels.products import add_products, whole_columns, whole_rows
from agents.kernels.rows import gather, multiply, multiply_back, scatter
from agents.kernels.tiles import fill, scratch


@kernel
def functions(start, end, told, places, _, kind):
    x, out = rows(places, kind)
    count = told[0][0]
    for row in range(start, end):
        value = load(x, row)
        store(out, row, exp(value))
        store(out, count + row, expm1(value))
        store(out, 2 * count + row, sigmoid(value))
        store(out, 3 * count + row, tanh(value))


@kernel
def products(start, end, told, places, parameters, kind):
    count, width = told[0]
    x, out, y, back = rows(places, kind)
    (matrix,) = numbers(parameters, kind)
    multiply(matrix, count, width, x, out)
    multiply_back(matrix, count, width, y, back)


@kernel
def gradients(start, end, told, places, _, kind):
    (height, width, where), (a, b, turned, out) = told[0], rows(places, kind)
    add_products(a, height, b, width, where, turned, out)


@kernel
def there_and_back(start, end, told, places, others, kind):
    (count, stride), (between,), (x, out) = told[0], rows(places, kind), numbers(others, kind)
    gather(x, stride, count, between)
    scatter(between, count, out, count)


@kernel
def starts_and_ends(start, end, out):
    out[start:end] += 1


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_functions_are_right_to_the_last_bits(kind):
    count = 1000
    x = torch.linspace(-20, 20, count * WIDTH, dtype=kind)
    x[:3] = torch.tensor([0.0, 1e-6, -1e-6])
    out = torch.empty(4, count * WIDTH, dtype=kind)
    launch(functions, count, ((count,),), (x, out), ())
    exact = x.numpy().astype(np.longdouble)
    expected = (np.exp(exact), np.expm1(exact), 1 / (1 + np.exp(-exact)), np.tanh(exact))
    for found, right in zip(out.numpy(), expected, strict=True):
        np.testing.assert_allclose(found, right, rtol=4 * torch.finfo(kind).eps)


def test_functions_at_their_limits():
    x = torch.zeros(WIDTH)
    x[:3] = torch.tensor([float("nan"), float("inf"), -float("inf")])
    out = torch.empty(4, WIDTH)
    launch(functions, 1, ((1,),), (x, out), ())
    assert out[:, 0].isnan().all()  # not hidden, so that the update is skipped
    assert torch.isfinite(out[:, 1:]).all()
    torch.testing.assert_close(out[2:, 1:3], torch.tensor([[1.0, 0.0], [1.0, -1.0]]))


@pytest.mark.parametrize(("count", "width"), [(1, 1), (8, 3), (7, 5), (17, 16)])
def test_products_equal_numpys(count, width):
    torch.manual_seed(0)
    matrix = torch.randn(count, width, dtype=torch.float64)
    x, y = (torch.randn(rows, WIDTH, dtype=torch.float64) for rows in (width, count))
    out, back = torch.ones_like(y), torch.ones_like(x)
    launch(products, 1, ((count, width),), (x, out, y, back), (matrix,))
    torch.testing.assert_close(out, 1 + matrix @ x)
    torch.testing.assert_close(back, 1 + matrix.T @ y)


@pytest.mark.parametrize("lanes", [range(WIDTH), (0, 5, 15), ()])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (8, 32), (9, 33), (24, 70)])
def test_gradients_of_weights_are_sums_over_lanes(height, width, lanes):
    torch.manual_seed(0)
    high, wide = whole_rows(height), whole_columns(width)
    a, b = (torch.randn(count, WIDTH, dtype=torch.float64) for count in (high, width))
    out, turned = torch.ones(high, wide, dtype=torch.float64), a.new_zeros(WIDTH, wide)
    told, some = (height, width, sum(1 << lane for lane in lanes)), list(lanes)
    launch(gradients, 1, (told,), (a, b, turned, out), ())
    torch.testing.assert_close(out[:height, :width], 1 + a[:height, some] @ b[:, some].T)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [1, 16, 37])
def test_numbers_of_environments_become_lanes_and_numbers_again(count, kind):
    x = torch.randn(WIDTH, count + 3).to(kind)
    between, out = x.new_empty(count, WIDTH), x.new_empty(WIDTH, count)
    launch(there_and_back, 1, ((count, count + 3),), (between,), (x, out))
    assert torch.equal(between, x[:, :count].T)
    assert torch.equal(out, x[:, :count])


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_all_is_shared_among_threads_and_nothing_done_twice(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for count in range(6):
            done = np.zeros(count)
            share(starts_and_ends, count, done)
            assert (done == 1).all()
    finally:
        torch.set_num_threads(before)


def test_a_kernel_takes_contiguous_tensors_of_one_type():
    x = torch.zeros(4, WIDTH)
    for wrong in (x.double(), torch.zeros(WIDTH, 4).T):
        with pytest.raises(TypeError, match="contiguous tensors of one type"):
            launch(functions, 1, ((1,),), (x, wrong), ())


@pytest.mark.parametrize(("batch", "whole"), [(1, 16), (16, 16), (21, 32)])
def test_steps_are_filled_up_to_whole_tiles(batch, whole):
    x = torch.randn(3, 5, batch).mT
    filled = fill(x)
    assert filled.shape == (3, whole, 5)
    assert torch.equal(filled[:, :batch], x)
    assert (filled[:, batch:] == 0).all()
    assert filled.is_contiguous()


def test_memory_serves_again_once_nobody_holds_it():
    like = torch.empty(0)
    first = scratch(like, 3, 16)
    place = first.data_ptr()
    assert scratch(like, 3, 16).data_ptr() != place  # a view of it may be held, too
    view = first[1:]
    del first
    assert scratch(like, 3, 16).data_ptr() != place
    del view
    again = {scratch(like, 3, 16).data_ptr() for _ in range(3)}
    assert len(again) < 3
