"""The race of recurrent cells: similar in size, all run, missing peers are reported."""

import pytest
import torch

from agents import bench, definitions
from metarims.errors import UsageError
from metarims.studies.bench import SHARES, count_flops, time_shares
from metarims.studies.race import time_burst

from ..metarims.probes import Contexts
from ..metarims.small import agent_of, configured

PEER = """
import torch
class RIM(torch.nn.Module):
    def __init__(self, device, inputs, hidden, units, k, cell, layers, bidirectional, **sizes):
        super().__init__()
        self.layer = torch.nn.Linear(inputs, hidden * units)
    def forward(self, x):
        return self.layer(x), None, None
"""


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(bench, "BATCH", 2)
    monkeypatch.setattr(bench, "STEPS", 3)


def test_all_cells_have_as_many_parameters():
    counts = [make().parameters for make in bench.CELLS.values()]
    assert max(counts) < 1.01 * min(counts), counts


@pytest.mark.parametrize("name", bench.CELLS)
def test_every_cell_learns_from_every_frame(small, name):
    cell = bench.CELLS[name]()
    x = torch.randn(3, 2, bench.INPUTS, requires_grad=True)
    assert cell.run(x).shape == (3, 2, bench.MODULES * bench.HIDDEN)
    cell.train_once(x)
    assert x.grad is not None
    assert x.grad.any(-1).all()
    ready = bench.start_cell(bench.CELLS[name], "cpu", time_burst)
    assert ready is not None
    batch, burst = ready
    assert (batch, burst()) == (2, 6)


def test_shares_of_time_sum_to_one(small):
    shares = bench.time_shares(bench.CELLS["RIMs null"], times=1)
    assert sum(shares.values()) == pytest.approx(1)
    assert min(shares.values()) > 0


def test_a_clone_of_the_peer_takes_part(small, tmp_path):
    with pytest.raises(UsageError, match=f"no RIM.py in {tmp_path}"):
        bench.cells(tmp_path)
    (tmp_path / "RIM.py").write_text("")
    with pytest.raises(UsageError, match="has no class RIM"):
        bench.cells(tmp_path)
    (tmp_path / "RIM.py").write_text(PEER)
    ready = bench.start_cell(bench.cells(tmp_path)[bench.PUBLIC], "cpu", time_burst)
    assert ready is not None
    assert ready[1]() == 6


def test_the_table_compares_with_what_is_there():
    rates = {"RIMs null": [30.0, 10.0, 20.0], bench.LOOP: [40.0, 40.0, 40.0]}
    parameters = {"RIMs null": 7, bench.LOOP: 8}
    table = bench.table(rates, parameters)
    assert "0.50 x" in table
    assert "public RIMs: not timed; --rims-repo" in table
    assert "not timed" not in bench.table(
        {**rates, bench.PUBLIC: [1.0]}, {**parameters, bench.PUBLIC: 1}
    )


def test_products_are_counted_where_cells_run_by_their_definitions():
    """By hand: an LSTM of d = 40 over 16 features, 2 FLOP per weight, frame and pass."""
    config = configured("lstm", fast__epochs=3)
    env, agent = Contexts(8), agent_of(config)
    actions, head, d, inputs = Contexts.num_actions, config.agent.head, 40, 16
    encoder = Contexts.seen * inputs
    weights = encoder + 4 * d * (inputs + d) + 2 * d * head + (actions + 1) * head
    steps, epochs = config.loops.steps, 3
    acting = weights * (steps + 1) / steps  # once more, for the value of the next state
    learning = epochs * (3 * weights - encoder)  # observations need no gradient
    with definitions():
        assert agent.form == "LSTM by its definition"
        assert count_flops(config, env, agent) == pytest.approx(2 * (acting + learning))
    assert agent.form == "LSTM compiled"


def test_each_part_of_an_iteration_takes_its_time():
    config = configured("rims")
    shares = time_shares(config, Contexts(8), agent_of(config), 0.05)
    assert tuple(shares) == SHARES
    assert sum(shares.values()) == pytest.approx(1.0)
    assert all(share > 0 for share in shares.values())
