"""A layer with weights for every place: by kinds of cells as by a product of all of them."""

import pytest
import torch
import torch.nn.functional as F

from agents.cells import CODES, TYPES, look_by_definition
from agents.places import FEW, number_kinds, weigh

from .test_encoder import check_alike, looking


def few_kinds(frames, missions, features, hidden, codes=7):
    """Cells of so many kinds in numbers, and what `weigh` takes besides."""
    cells, which, given = looking(missions, features, frames)
    different = cells.flatten(0, 1)[:codes]
    cells = different[torch.randint(codes, cells.shape[:2])]
    weight = torch.randn(hidden, 49 * features, dtype=torch.float64, requires_grad=True)
    return cells, which, [*given, weight]


def weigh_by_definition(cells, which, *given):
    seen, most = look_by_definition(cells, which, *given[:3])
    return F.linear(seen.flatten(1), given[3]), most


@pytest.mark.parametrize(
    ("frames", "missions"),
    [(200, 1), (200, 4), (20, 4)],  # the last are too few frames for their kinds
)
@pytest.mark.parametrize(("features", "hidden"), [(3, 20), (16, 64), (20, 5)])
def test_sums_and_their_gradients(frames, missions, features, hidden):
    cells, which, given = few_kinds(frames, missions, features, hidden)
    assert (number_kinds(cells, which, CODES, missions) is None) == (frames == 20)
    found = weigh((cells, which, *given[:3]), given[3])
    check_alike(found, weigh_by_definition(cells, which, *given), given)


def test_kinds_are_numbered_as_they_come():
    """A key asked for, the same key asked for otherwise, and a ball."""
    cells = torch.tensor([[[5, 0, 0]], [[5, 0, 0]], [[6, 1, 0]], [[5, 0, 0]]] * FEW)
    which = torch.tensor([0, 1, 0, 0] * FEW)
    numbered = number_kinds(cells.to(torch.uint8), which, CODES, 2)
    assert numbered is not None
    kinds, kind = numbered
    assert kinds.tolist() == [[120, 120, 148], [0, 1, 0]]
    assert kind[:4].tolist() == [[0], [1], [2], [0]]


def test_a_cell_that_there_is_none_of_is_refused():
    cells, which, given = few_kinds(200, 1, 16, 64)
    cells[3, 4, 0] = TYPES
    with pytest.raises(ValueError, match="no such cell"):
        weigh((cells, which, *given[:3]), given[3])


def test_no_number_is_no_zero():
    cells, which, (table, scale, shift, weight) = few_kinds(200, 1, 16, 64)
    unknown = shift.detach() * torch.nan
    assert all(x.isnan().all() for x in weigh((cells, which, table, scale, unknown), weight))
