"""Missions: the compiled LSTM against torch's."""

from importlib.util import find_spec

import pytest
import torch

from agents.kernels.compiling import definitions
from agents.kernels.reading import FEW
from agents.missions import Instruction


@pytest.mark.parametrize(("kind", "close"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize(("missions", "width"), [(1, 64), (FEW, 16)])
def test_what_is_read_and_its_gradients(missions, width, kind, close):
    torch.manual_seed(missions)
    instruction = Instruction(40, 32, width).to(kind)
    mission = torch.randint(1, 40, (missions, 12), dtype=torch.int16)
    words = torch.arange(missions) + 4  # the first but one of 5 words, then of more
    words[0] = 5 if missions == 1 else 0
    mission[torch.arange(12) >= words.unsqueeze(1)] = 0
    weight = torch.randn(missions, width, dtype=kind)

    def found():
        read = instruction(mission)
        return read, *torch.autograd.grad((read * weight).sum(), list(instruction.parameters()))

    compiled = found()
    with definitions():
        by_torch = found()
    for own, other in zip(compiled, by_torch, strict=True):
        torch.testing.assert_close(own, other, rtol=close, atol=close)


@pytest.mark.skipif(find_spec("triton") is None, reason="it takes Triton to import the kernels")
def test_on_a_gpu_a_fused_lstm_reads_them(monkeypatch):
    """With a stand-in for the fused kernels, which have tests of their own."""
    instruction = Instruction(40, 32, 16)
    mission = torch.randint(0, 40, (300, 7), dtype=torch.int16)
    by_torch = instruction(mission)
    monkeypatch.setattr("agents.missions.has_fused", lambda x: True)
    monkeypatch.setattr("agents.kernels.fused_lstm.run", stepwise)
    torch.testing.assert_close(instruction(mission), by_torch)


def stepwise(z, h, c, starts, start, weight):
    """Stands in for `agents.kernels.fused_lstm.run`."""
    outputs = []
    for at, begins in zip(z, starts, strict=True):
        h = torch.where(begins.unsqueeze(1), start, h)
        i, f, o, candidate = (at + h @ weight.T).chunk(4, 1)
        c = torch.where(begins.unsqueeze(1), 0.0, c) * f.sigmoid() + i.sigmoid() * candidate.tanh()
        h = o.sigmoid() * c.tanh()
        outputs.append(h)
    return torch.stack(outputs), c
