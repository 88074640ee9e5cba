"""The compiled RIMs cell against its definition, step by step, and in edge cases."""

import gc
import inspect
import random
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from agents.cores.rims import RIMs, RIMsConfig
from agents.cores.rims.cell import ATTENTIONS, run_by_definition
from metarims.errors import UsageError


def random_config(seed: int) -> RIMsConfig:
    draw = random.Random(seed)
    modules = draw.randint(1, 6)
    return RIMsConfig(
        modules=modules,
        active=draw.randint(1, modules),
        hidden=draw.randint(1, 6),
        attention=draw.choice(["sparse", "null"]),
        dynamics=draw.choice(["lstm", "gru"]),
        choice=draw.choice(["top", "top", "random", "fixed"]),
        heads=draw.randint(1, 3),
        key=draw.randint(1, 5),
        value=draw.randint(1, 5),
        communication_heads=draw.randint(1, 3),
        communication_key=draw.randint(1, 4),
        knock_out=draw.choice([0, 0, draw.randint(0, 1)]),
        disabled=draw.choice([-1, -1, draw.randrange(modules)]),
    )


def random_case(seed: int, dtype: torch.dtype = torch.float64, **settings):
    """A cell, its input (one slot or several), its state, and where episodes start."""
    draw = random.Random(seed + 1)
    inputs = draw.randint(1, 7)
    torch.manual_seed(seed)
    cell = replace(random_config(seed), **settings).make_cell(inputs).to(dtype)
    with torch.no_grad():
        cell.bias.normal_()
    steps, batch, slots = draw.randint(1, 4), draw.randint(1, 3), draw.choice([None, 1, 2, 3])
    shape = (steps, batch, inputs) if slots is None else (steps, batch, slots, inputs)
    x = torch.randn(shape, dtype=dtype, requires_grad=True)
    h, c, draws = cell.initial_state(batch)
    h, c = (torch.randn_like(tensor).requires_grad_() for tensor in (h, c))
    return cell, x, (h, c, draws), torch.rand(steps, batch) < 0.3


def run(cell, x, state, starts):
    """Features, state and diagnostics."""
    output = cell(x, state, starts, {})
    return output.features, output.state, output.diagnostics


def by_definition(cell):
    """The same cell, run by its definition."""
    plain = RIMs(cell.config, cell.key.in_features).to(cell.start.dtype)
    plain.load_state_dict(cell.state_dict())
    return plain


def gradients(outputs, inputs, seed: int = 0):
    """The gradients of a random linear function of the outputs."""
    generator = torch.Generator().manual_seed(seed)
    loss = sum(
        (out * torch.randn(out.shape, dtype=torch.float64, generator=generator)).sum()
        for out in outputs
    )
    return torch.autograd.grad(loss, inputs, allow_unused=True, materialize_grads=True)


@pytest.mark.parametrize("block", range(10))
def test_equals_the_definition_in_values_and_gradients(block):
    for seed in range(20 * block, 20 * block + 20):
        cell, x, (h, c, draws), starts = random_case(seed)
        assert cell.run is not run_by_definition
        plain = by_definition(cell)
        fast, (fast_h, fast_c, _), diagnostics = run(cell, x, (h, c, draws), starts)
        slow, (slow_h, slow_c, _), expected = run(plain, x, (h, c, draws), starts)
        torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(fast_h, slow_h, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(fast_c, slow_c, rtol=1e-10, atol=1e-10)
        assert torch.equal(diagnostics["module_mask"], expected["module_mask"])
        probabilities = (each["module_probabilities"] for each in (diagnostics, expected))
        torch.testing.assert_close(*probabilities, rtol=1e-10, atol=1e-10)
        inputs = [x, h, c, *cell.parameters()]
        torch.testing.assert_close(
            gradients([fast, fast_h, fast_c], inputs),
            gradients([slow, slow_h, slow_c], [x, h, c, *plain.parameters()]),
            rtol=1e-10,
            atol=1e-10,
        )


def test_gradients_of_the_last_state_may_lie_in_any_order():
    cell = RIMsConfig(modules=3, active=2, hidden=4).make_cell(2)
    x, starts = torch.randn(2, 16, 2), torch.zeros(2, 16, dtype=torch.bool)
    found = []
    for form in (cell, by_definition(cell)):
        _, (_, c, _), _ = run(form, x, form.initial_state(16), starts)
        total = torch.where(starts[0].unsqueeze(1), 0, c.flatten(1)).sum()
        found.append(torch.autograd.grad(total, form.hidden_weight))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("seed", range(20))
def test_single_precision_agrees_with_double(seed):
    """To 1e-5, or as closely as the definition, where modules nearly tie and slopes are steep."""
    cell, x, (h, c, draws), starts = random_case(seed)
    double, _, masks = run(cell, x, (h, c, draws), starts)
    exact = gradients([double], [x, *cell.parameters()])
    cell, x, state = cell.float(), x.float(), (h.float(), c.float(), draws)
    plain = by_definition(cell)
    single, _, single_masks = run(cell, x, state, starts)
    assert torch.equal(masks["module_mask"], single_masks["module_mask"])
    torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=1e-5)
    found = gradients([single], [x, *cell.parameters()])
    slow = gradients([run(plain, x, state, starts)[0]], [x, *plain.parameters()])
    for rough, defined, fine in zip(found, slow, exact, strict=True):
        off = 10 * (defined.double() - fine).abs().max().item()
        torch.testing.assert_close(rough, fine.to(rough), rtol=1e-5, atol=max(1e-5, off))


@pytest.mark.parametrize("seed", range(10))
def test_a_sequence_at_once_is_the_same_step_by_step(seed):
    cell, x, state, starts = random_case(seed)
    at_once, last, _ = run(cell, x, state, starts)
    rows = []
    for x_t, starts_t in zip(x, starts, strict=True):
        row, state, _ = run(cell, x_t.unsqueeze(0), state, starts_t.unsqueeze(0))
        rows.append(row)
    by_step = torch.cat(rows)
    torch.testing.assert_close(at_once, by_step, rtol=1e-12, atol=1e-12)
    assert torch.equal(last[2], state[2])
    inputs = [x, *cell.parameters()]
    torch.testing.assert_close(
        gradients([at_once], inputs), gradients([by_step], inputs), rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("attention", ["sparse", "null"])
@pytest.mark.parametrize("dynamics", ["lstm", "gru"])
def test_an_inactive_module_stands_still_and_learns_nothing(attention, dynamics):
    cell, x, state, _ = random_case(
        3,
        torch.float32,
        modules=4,
        active=2,
        attention=attention,
        dynamics=dynamics,
        choice="fixed",
        knock_out=0,
        disabled=-1,
    )
    x, starts = x[:1], torch.zeros(1, x.shape[1], dtype=torch.bool)
    out, (h, c, _), diagnostics = run(cell, x, state, starts)
    assert diagnostics["module_mask"].tolist() == [[[True, True, False, False]] * x.shape[1]]
    assert torch.equal(h[:, 2:], state[0][:, 2:])
    assert torch.equal(c[:, 2:], state[1][:, 2:])
    assert not torch.equal(h[:, :2], state[0][:, :2])
    out.square().sum().backward()
    for weight in (cell.input_weight, cell.hidden_weight, cell.bias):
        assert (weight.grad[2:] == 0).all()
        assert (weight.grad[:2] != 0).any()


def test_a_result_that_is_dropped_frees_what_its_backward_pass_would_have_needed():
    cell = RIMsConfig().make_cell(3)
    starts = torch.zeros(4, 2, dtype=torch.bool)
    gc.disable()  # a cycle of references would keep it until the collector comes by
    try:
        result = run(cell, torch.randn(4, 2, 3), cell.initial_state(2), starts)
        span = weakref.ref(result[0]._base.grad_fn)
        assert span() is not None
        del result
        assert span() is None
    finally:
        gc.enable()


def test_a_reset_forgets_and_teaches_the_first_state():
    cell, x, (h, c, draws), _ = random_case(5, choice="top")
    starts = torch.zeros(x.shape[:2], dtype=torch.bool)
    starts[0, 0] = True
    out, _, _ = run(cell, x, (h, c, draws), starts)
    fresh, _, _ = run(
        cell,
        x,
        (*(t.expand_as(s) for t, s in zip(_zero_state(cell), (h, c), strict=True)), draws),
        starts,
    )
    assert torch.equal(out[:, 0], fresh[:, 0])
    first = torch.autograd.grad(out[:, 0].sum(), [h, cell.start])
    assert (first[0][0] == 0).all()
    assert (first[1] != 0).any()


def _zero_state(cell):
    h, c, _ = cell.initial_state(1)
    return torch.zeros_like(h), torch.zeros_like(c)


def test_random_choice_uses_every_module_alike_and_replays():
    cell = RIMsConfig(modules=5, active=2, choice="random").make_cell(2)
    x, starts = torch.randn(400, 16, 2), torch.zeros(400, 16, dtype=torch.bool)
    state = cell.initial_state(16)
    masks = run(cell, x, state, starts)[2]["module_mask"]
    assert torch.equal(masks, run(cell, x, state, starts)[2]["module_mask"])
    use = masks.float().mean((0, 1))
    assert ((use - 0.4).abs() < 0.03).all(), use
    assert (masks.sum(-1) == 2).all()
    pairs = {tuple(row) for row in masks.flatten(0, 1).int().tolist()}
    assert len(pairs) == 10


def test_a_knock_out_takes_any_active_module_alike_and_those_alone():
    config = RIMsConfig(modules=5, active=3)
    intact, lesioned = config.make_cell(2), replace(config, knock_out=2).make_cell(2)
    lesioned.load_state_dict(intact.state_dict())
    x, starts = torch.randn(1, 4096, 2), torch.zeros(1, 4096, dtype=torch.bool)
    state = intact.initial_state(4096)
    whole = run(intact, x, state, starts)[2]["module_mask"]
    left = run(lesioned, x, state, starts)[2]["module_mask"]
    assert (left.sum(-1) == 1).all()
    assert not (left & ~whole).any()
    share = left.sum((0, 1)) / whole.sum((0, 1))
    assert ((share - 1 / 3).abs() < 0.05)[whole.sum((0, 1)) > 500].all(), share


def test_a_disabled_module_never_moves_and_its_place_stays_free():
    cell = RIMsConfig(modules=3, active=2, disabled=1, choice="fixed").make_cell(2)
    x, starts = torch.randn(6, 4, 2), torch.zeros(6, 4, dtype=torch.bool)
    state = cell.initial_state(4)
    _, (h, c, _), diagnostics = run(cell, x, state, starts)
    assert diagnostics["module_mask"].flatten(0, 1).unique(dim=0).tolist() == [[True, False, False]]
    assert torch.equal(h[:, 1], state[0][:, 1])
    assert torch.equal(c[:, 1], state[1][:, 1])


def test_the_first_choice_is_no_tie():
    cell = RIMsConfig().make_cell(3)
    seen = run(
        cell, torch.randn(1, 8, 3), cell.initial_state(8), torch.ones(1, 8, dtype=torch.bool)
    )[2]
    ranked = seen["module_probabilities"].sort(-1).values
    assert (ranked.diff(dim=-1) > 1e-4).float().mean() > 0.9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"modules": 0}, "modules must be positive, got 0"),
        ({"active": 6}, "active must be at most modules, 5, got 6"),
        ({"knock_out": 4}, "knock_out must lie between 0 and 3, got 4"),
        ({"disabled": 5}, "disabled must lie between -1 and 4, got 5"),
        ({"attention": "sparce"}, "unknown attention 'sparce'; nearest: sparse"),
        ({"dynamics": "rnn"}, "unknown dynamics 'rnn'; nearest:"),
    ],
)
def test_refuses_a_wrong_configuration(settings, message):
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        RIMsConfig(**settings)


@pytest.mark.parametrize("seed", range(10))
def test_the_definition_is_the_equations_once_more_for_one_module(seed):
    """One module, active, one slot: an LSTM that reads σ(q·k/√d) v, and attends to itself alone."""
    settings: dict[str, Any] = {
        "modules": 1,
        "active": 1,
        "attention": "null",
        "dynamics": "lstm",
        "heads": 1,
    }
    cell, x, (h, c, draws), _ = random_case(
        seed, choice="top", knock_out=0, disabled=-1, communication_heads=1, **settings
    )
    cell = by_definition(cell)
    x, starts = (
        x.flatten(2)[:1, :, : cell.key.in_features],
        torch.zeros(1, len(h), dtype=torch.bool),
    )
    output, (_, after, _), _ = run(cell, x, (h, c, draws), starts)
    for b in range(len(h)):
        query = cell.query[0] @ h[b, 0] + cell.query_bias[0]
        weight = torch.sigmoid(query @ cell.key(x[0, b]) / cell.config.key**0.5)
        read = weight * cell.value(x[0, b])
        z = cell.input_weight[0] @ read + cell.hidden_weight[0] @ h[b, 0] + cell.bias[0]
        i, f, o, g = z.chunk(4)
        expected_c = f.sigmoid() * c[b, 0] + i.sigmoid() * g.tanh()
        new = o.sigmoid() * expected_c.tanh()
        value = (cell.communication[0] @ new).chunk(3)[2]
        torch.testing.assert_close(after[b, 0], expected_c)
        torch.testing.assert_close(output[0, b], new + cell.communication_output[0] @ value)


def test_a_variant_of_ones_own_is_a_function_and_a_row_and_trains_by_the_definition(monkeypatch):
    def everything(scores, k, order):
        mask = torch.ones_like(scores[:, :, 0, 0], dtype=torch.bool)
        return torch.ones_like(scores), mask, scores.mean((2, 3)).softmax(1)

    monkeypatch.setitem(ATTENTIONS, "everything", everything)
    cell = RIMsConfig(attention="everything").make_cell(3)
    assert cell.run is run_by_definition
    x, starts = torch.randn(4, 2, 3), torch.zeros(4, 2, dtype=torch.bool)
    features, _, diagnostics = run(cell, x, cell.initial_state(2), starts)
    assert diagnostics["module_mask"].all()
    features.sum().backward()
    assert cell.input_weight.grad is not None
    assert cell.input_weight.grad.abs().sum() > 0


def test_the_definition_is_read_in_one_sitting():
    lines = Path(inspect.getfile(RIMs)).read_text().splitlines()
    assert len(lines) <= 250
    assert not any("autograd.Function" in line or "def backward" in line for line in lines)


@pytest.mark.parametrize("which", ["h", "c", "draws"])
def test_a_state_of_another_shape_is_refused_before_a_kernel_reads_past_it(which):
    cell = RIMsConfig(modules=3, active=2, hidden=4).make_cell(5)
    state = dict(zip(("h", "c", "draws"), cell.initial_state(6), strict=True))
    state[which] = state[which][:2]
    with pytest.raises(UsageError, match=f"RIMs' {which}.*got \\[2"):
        cell(torch.zeros(7, 6, 5), (*state.values(),), torch.zeros(7, 6, dtype=torch.bool), {})
