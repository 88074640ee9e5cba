"""Both heads at once equal each by its definition."""

import pytest
import torch

from agents.heads import make_head, run_heads
from agents.kernels.compiling import definitions

BOTH = "policy", "value"


@pytest.mark.parametrize("learning", [BOTH, BOTH[:1], BOTH[1:], ()])
@pytest.mark.parametrize("wanted", [BOTH, BOTH[:1], BOTH[1:]])
def test_what_they_give_and_its_gradients(wanted, learning):
    torch.manual_seed(0)
    heads = {
        name: make_head(6, 8, outputs, 1.0).double()
        for name, outputs in zip(BOTH, (7, 1), strict=True)
    }
    for name, head in heads.items():
        head.requires_grad_(name in learning)
    x = torch.randn(6, 5, 4, dtype=torch.double).permute(1, 2, 0).requires_grad_()
    parameters = [x, *(each for name in learning for each in heads[name].parameters())]
    weights = torch.randn(5, 4, 7, dtype=torch.double), torch.randn(5, 4, dtype=torch.double)

    def found():
        out = run_heads(heads["policy"], heads["value"], x)
        parts = [(out[BOTH.index(name)] * weights[BOTH.index(name)]).sum() for name in wanted]
        return *out, *torch.autograd.grad(parts, parameters, allow_unused=True)

    at_once = found()
    with definitions():
        apart = found()
    for own, other in zip(at_once, apart, strict=True):
        assert (own is None) == (other is None)
        if own is not None:
            torch.testing.assert_close(own, other, rtol=1e-12, atol=1e-12)
