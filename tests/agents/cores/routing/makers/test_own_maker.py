"""A decision maker registered from outside the package is as good as any."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from agents.cores.routing.blocks import Dense
from agents.cores.routing.network import RoutingNetwork
from agents.cores.routing.router import RouterConfig
from metarims import registry
from metarims.errors import UsageError
from metarims.settings import flatten, replace_at

FILE = Path(__file__).with_name("own_maker.py")


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setattr(
        registry, "_ENTRIES", {kind: dict(rows) for kind, rows in registry._ENTRIES.items()}
    )
    monkeypatch.delitem(sys.modules, f"imported_{FILE.stem}", raising=False)
    registry.import_file(FILE)


@pytest.mark.parametrize("policy", ["table", "approximator"])
def test_it_learns_in_a_routing_network(policy):
    router = replace_at(RouterConfig(layout="depth"), {"maker": "own", "policy": policy})
    torch.manual_seed(0)
    network: Any = RoutingNetwork([Dense(4, 3, 3), Dense(4, 3, 3)], router, 3)
    optimizer = torch.optim.Adam(network.router_parameters(), 0.05)
    x, zero = torch.ones(64, 3), torch.zeros(64, dtype=torch.int64)
    for _ in range(150):
        routed = network(x, zero, zero, torch.rand(64, *network.noise_shape))
        right = (routed.trace.choices == torch.tensor([1, 3])).float()
        loss = network.learn(routed, right.sum(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert network(x, zero, zero, None).trace.choices[0].tolist() == [1, 3]


def test_its_settings_have_paths_and_are_checked():
    router = replace_at(RouterConfig(), {"maker": "own", "maker.sharpness": 2.0})
    assert flatten(router)["maker"] == "own"
    assert flatten(router)["maker.sharpness"] == 2.0
    with pytest.raises(UsageError, match=r"sharpness must be positive, got -1\.0"):
        replace_at(router, {"maker.sharpness": -1.0})
