"""The loss that revives modules that are hardly ever active."""

import pytest
import torch

from agents.cores.rims import RIMs, RIMsConfig
from agents.cores.rims.idle import WEIGHT


def span(cell: RIMs, slots: int = 1):
    x = torch.rand(6, 8, slots, 16, generator=torch.Generator().manual_seed(1)).requires_grad_()
    starts = torch.zeros(6, 8, dtype=torch.bool)
    starts[3, 2] = True
    return x, cell(x, cell.initial_state(8), starts, {})


def cell_with_idle_modules(**settings) -> RIMs:
    """Modules 3 and 4 attend least at every step."""
    torch.manual_seed(0)
    cell = RIMsConfig(hidden=8, key=8, value=8, least_use=0.05, **settings).make_cell(16)
    with torch.no_grad():
        cell.key.weight.abs_()
        cell.query_bias.abs_()
        cell.query_bias[3:] *= -1
    return cell


@pytest.mark.parametrize("attention", ["sparse", "null"])
@pytest.mark.parametrize("slots", [1, 3])
def test_it_teaches_queries_and_nothing_else(attention, slots):
    cell = cell_with_idle_modules(attention=attention)
    x, output = span(cell, slots)
    assert output.diagnostics["module_mask"][..., 3:].sum() == 0
    output.loss(torch.zeros(6, 8)).backward()
    learns = {name for name, p in cell.named_parameters() if p.grad is not None}
    assert learns == {"query", "query_bias"}
    assert x.grad is None


def test_where_all_are_active_there_is_nothing_to_learn():
    cell = RIMsConfig(active=5, least_use=0.05).make_cell(16)
    assert span(cell)[1].loss(torch.zeros(6, 8)) == 0


def test_descending_it_wakes_them():
    cell = cell_with_idle_modules()
    steps = torch.optim.Adam([cell.query, cell.query_bias], lr=0.01)
    for _ in range(300):
        steps.zero_grad()
        span(cell)[1].loss(torch.zeros(6, 8)).backward()
        steps.step()
    use = span(cell)[1].diagnostics["module_mask"].float().mean((0, 1))
    assert (use > 0.05).all(), use


def test_it_is_minus_the_log_of_their_share():
    cell = cell_with_idle_modules()
    x, output = span(cell)
    h = torch.cat([cell.start.expand(1, 8, -1, -1), output.features[:-1].unflatten(2, (5, 8))])
    h = torch.where((torch.arange(48).view(6, 8) == 26)[:, :, None, None], cell.start, h)
    query = torch.einsum("nqd,tbnd->tbnq", cell.query, h) + cell.query_bias
    scores = torch.einsum("tbnq,tbq->tbn", query, cell.key(x.squeeze(2))) / 8**0.5
    surprise = -scores.log_softmax(2)[..., 3:].mean((0, 1)).sum()
    torch.testing.assert_close(output.loss(x), WEIGHT * surprise)


@pytest.mark.parametrize(
    "settings", [{"least_use": 0.0}, {"choice": "random"}, {"choice": "fixed"}]
)
def test_there_is_none_where_it_is_not_wanted_or_the_choice_is_not_by_attention(settings):
    config = RIMsConfig(**({"least_use": 0.05} | settings))
    assert span(config.make_cell(16))[1].loss is None
