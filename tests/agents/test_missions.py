"""Missions: read by the compiled LSTM as by torch's own."""

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
    mission[torch.arange(12) >= torch.arange(missions).unsqueeze(1) + 5] = 0  # of 5 words and more
    weight = torch.randn(missions, width, dtype=kind)

    def found():
        read = instruction(mission)
        return read, *torch.autograd.grad((read * weight).sum(), list(instruction.parameters()))

    compiled = found()
    with definitions():
        by_torch = found()
    for own, other in zip(compiled, by_torch, strict=True):
        torch.testing.assert_close(own, other, rtol=close, atol=close)
