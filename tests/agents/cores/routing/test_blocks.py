"""Function blocks: each row through its own, PASS, all of them, and fully connected ones alike."""

import pytest
import torch
from torch import nn

from agents.cores.routing.blocks import Dense

from .layers import Blocks


def one_by_one(dense, x, choices):
    """Each row times its layer's weights; PASS is the choice after the last layer."""
    rows = []
    for row, choice in zip(x, choices.tolist(), strict=True):
        if choice < len(dense.weight):
            row = row @ dense.weight[choice] + dense.bias[choice]
            row = row.relu() if dense.relu else row
        rows.append(row)
    return torch.stack(rows)


def test_chosen_blocks_see_their_rows_and_only_they_learn():
    blocks, x = Blocks(nn.Linear(4, 4) for _ in range(4)), torch.randn(7, 4)
    choices = torch.tensor([2, 0, 2, 3, 0, 0, 3])
    y = blocks(x, choices)
    rows = [blocks[choice](row) for row, choice in zip(x, choices.tolist(), strict=True)]
    torch.testing.assert_close(y, torch.stack(rows))
    y.sum().backward()
    assert [block.weight.grad is not None for block in blocks] == [True, False, True, True]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("count", "inputs", "outputs", "relu", "skip"),
    [
        (4, 5, 3, True, False),
        (3, 8, 8, False, True),
        (1, 4, 2, False, False),
        (6, 7, 7, True, True),
    ],
)
def test_dense_blocks_are_layers_one_by_one(count, inputs, outputs, relu, skip, dtype):
    torch.manual_seed(count)
    dense = Dense(count, inputs, outputs, relu, skip).to(dtype)
    x = torch.randn(20, inputs, dtype=dtype, requires_grad=True)
    choices = torch.randint(len(dense), (20,))
    choices[choices == 1] = 0  # nobody's
    learning = (x, dense.weight, dense.bias)
    expected = one_by_one(dense, x, choices)
    weights = torch.randn_like(expected)
    wanted = torch.autograd.grad((expected * weights).sum(), learning)
    every = dense.every(x)
    assert len(every) == len(dense) == count + skip
    for y in (dense(x, choices), every[choices, torch.arange(20)]):
        torch.testing.assert_close(y, expected)
        given = torch.autograd.grad((y * weights).sum(), learning)
        torch.testing.assert_close(given, wanted)


def test_dense_blocks_take_rows_of_their_own():
    dense, x = Dense(3, 4, 2), torch.randn(3, 5, 4)
    expected = torch.stack([dense.every(rows)[i] for i, rows in enumerate(x)])
    torch.testing.assert_close(dense.each(x), expected)
