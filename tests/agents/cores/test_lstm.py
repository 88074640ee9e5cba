"""The LSTM core against torch's: values, gradients and resets."""

import pytest
import torch

from agents.cores.lstm import LSTM, LSTMConfig
from agents.cores.lstm.cell import run_by_definition
from agents.frames import as_frames
from metarims.errors import UsageError


def run(core, x, state, starts):
    output = core(x, state, starts, {})
    return output.features, output.state


def pair(inputs=5, hidden=4):
    """Ours and torch's with the same weights; torch orders the gates i, f, g, o."""
    torch.manual_seed(0)
    theirs, ours = torch.nn.LSTM(inputs, hidden).double(), LSTM(inputs, hidden).double()
    order = torch.arange(4 * hidden).view(4, hidden)[[0, 1, 3, 2]].flatten()
    weights = dict(theirs.named_parameters())
    with torch.no_grad():
        ours.input.weight.copy_(weights["weight_ih_l0"][order])
        ours.input.bias.copy_((weights["bias_ih_l0"] + weights["bias_hh_l0"])[order])
        ours.hidden_weight.copy_(weights["weight_hh_l0"][order])
        ours.start.normal_()
    return ours, theirs, order


@pytest.mark.parametrize("wanted", [True, False])
def test_equals_torch_in_values_and_gradients(wanted):
    ours, theirs, order = pair()
    x = torch.randn(6, 3, 5, dtype=torch.float64, requires_grad=wanted)
    h, c = (torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    out, (last_h, last_c) = run(ours, x, (h, c), torch.zeros(6, 3, dtype=torch.bool))
    expected, (their_h, their_c) = theirs(x, (h.unsqueeze(0), c.unsqueeze(0)))
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(last_c, their_c[0])
    weight = torch.randn_like(out)
    inputs = [h, c, *([x] if wanted else [])]
    mine = torch.autograd.grad(
        (out * weight).sum() + last_c.sum() + last_h.sum(),
        [*inputs, ours.input.weight, ours.input.bias, ours.hidden_weight],
    )
    other = torch.autograd.grad(
        (expected * weight).sum() + their_c.sum() + their_h.sum(),
        [*inputs, theirs.weight_ih_l0, theirs.bias_ih_l0, theirs.weight_hh_l0],
    )
    for a, b in zip(mine, [*other[:-3], *(g[order] for g in other[-3:])], strict=True):
        torch.testing.assert_close(a, b)


def test_equals_the_definition_in_values_and_gradients():
    """With resets, a batch that is not whole tiles, and sizes that are not multiples of four."""
    torch.manual_seed(0)
    for batch, hidden in ((1, 1), (17, 6), (40, 9)):
        core = LSTM(5, hidden).double()
        x = torch.randn(7, batch, 5, dtype=torch.float64, requires_grad=True)
        starts = torch.rand(7, batch) < 0.3
        state = tuple(
            torch.randn(batch, hidden, dtype=torch.float64, requires_grad=True) for _ in range(2)
        )
        fast, fast_state = run(core, as_frames(x), state, starts)
        slow, slow_state = run_by_definition(core, as_frames(x), state, starts)
        inputs = [x, *state, *core.parameters()]
        weight = torch.randn_like(slow)
        totals = [
            (out * weight).sum() + sum(each.sin().sum() for each in last)
            for out, last in ((fast, fast_state), (slow, slow_state))
        ]
        torch.testing.assert_close(fast, slow, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(
            *(torch.autograd.grad(total, inputs) for total in totals), rtol=1e-10, atol=1e-10
        )


def test_gradients_of_the_last_state_may_lie_in_any_order():
    core = LSTM(2, 3)
    x, starts = torch.randn(2, 16, 2), torch.zeros(2, 16, dtype=torch.bool)
    _, (_, fast) = run(core, x, core.initial_state(16), starts)
    _, (_, slow) = run_by_definition(core, as_frames(x), core.initial_state(16), starts)
    found = [
        torch.autograd.grad(torch.where(starts[0].unsqueeze(1), 0, c).sum(), core.hidden_weight)
        for c in (fast, slow)  # row by row, and not as kernels have it
    ]
    torch.testing.assert_close(*found)


def test_a_reset_is_a_fresh_start_and_teaches_the_first_state():
    ours, _, _ = pair()
    x = torch.randn(4, 2, 5, dtype=torch.float64)
    starts = torch.tensor([[False, True], [False, False], [True, False], [False, False]])
    state = tuple(torch.randn(2, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    out, _ = run(ours, x, state, starts)
    none = torch.zeros(2, 1, dtype=torch.bool)
    again, _ = run(ours, x[2:, :1], ours.initial_state(1), none)
    torch.testing.assert_close(out[2:, :1], again)
    d_h, d_c, d_start = torch.autograd.grad(out[2:].sum(), [*state, ours.start])
    assert (d_h == 0).all()
    assert (d_c == 0).all()
    assert (d_start != 0).all()


def test_a_size_below_one_is_refused():
    with pytest.raises(UsageError, match="hidden must be positive, got 0"):
        LSTMConfig(hidden=0)


@pytest.mark.parametrize(
    ("x", "h", "starts", "said"),
    [
        ((6, 3, 9), (3, 4), (6, 3), r"input .* must be of shape \[18, 5\], got \[18, 9\]"),
        ((6, 3, 5), (3, 8), (6, 3), r"h .* must be of shape \[3, 4\], got \[3, 8\]"),
        ((6, 3, 5), (1, 4), (6, 3), r"h .* must be of shape \[3, 4\], got \[1, 4\]"),
        ((6, 3, 5), (3, 4), (7, 3), r"starts .* must be of shape \[6, 3\], got \[7, 3\]"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_kernel_reads_past_it(x, h, starts, said):
    state = torch.zeros(h), torch.zeros(h)
    with pytest.raises(UsageError, match=said):
        run(LSTM(5, 4), torch.zeros(x), state, torch.zeros(starts, dtype=torch.bool))
