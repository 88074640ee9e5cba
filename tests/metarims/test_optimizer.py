"""Adam over joined groups against torch's own over single parameters."""

import pytest
import torch
from torch import nn

from metarims.optimizer import GroupedAdam

SHAPES: dict[str, list[tuple[int, ...]]] = {"one": [(3, 5), (7,)], "other": [(2, 2, 2)], "none": []}
ALL = torch.tensor(1.0).double()  # of the rates is left


def make(seed: int = 0) -> dict[str, list[nn.Parameter]]:
    torch.manual_seed(seed)
    return {name: [nn.Parameter(torch.randn(s)) for s in shapes] for name, shapes in SHAPES.items()}


def flat(groups: dict[str, list[nn.Parameter]]) -> list[nn.Parameter]:
    return [parameter for group in groups.values() for parameter in group]


def descend(groups: dict[str, list[nn.Parameter]]) -> None:
    """Gradients of a function of every parameter that requires one."""
    wanted = [parameter for parameter in flat(groups) if parameter.requires_grad]
    torch.stack([(p - 1).pow(4).sum() for p in wanted]).sum().backward()


def test_counts_steps_in_single_precision_whatever_the_parameters_have():
    """As the GPU's kernel expects."""
    groups = {"one": [nn.Parameter(torch.randn(3, dtype=torch.float64))]}
    optimizer = GroupedAdam(groups)
    optimizer.set_rates({"one": 0.1}, ALL)
    torch.set_default_dtype(torch.float64)
    try:
        descend(groups)
        optimizer.take_gradients(("one",))
        optimizer.step(torch.tensor(False))
    finally:
        torch.set_default_dtype(torch.float32)
    assert optimizer.moments()[groups["one"][0]]["step"].dtype == torch.float32


def test_steps_as_adam_does_on_each_parameter():
    ours, plain = make(), make()
    optimizer = GroupedAdam(ours)
    adam = torch.optim.Adam(
        [{"params": plain["one"], "lr": 0.1}, {"params": plain["other"], "lr": 0.3}], eps=1e-5
    )
    for _ in range(5):
        optimizer.set_rates({"one": 0.2, "other": 0.6}, ALL / 2)
        descend(ours)
        optimizer.take_gradients(("one", "other", "none"))
        optimizer.step(torch.tensor(False))
        adam.zero_grad()
        descend(plain)
        adam.step()
        for name in SHAPES:
            torch.testing.assert_close(ours[name], plain[name])


def test_parameters_are_views_that_begin_on_whole_vectors():
    groups = make()
    before = [p.detach().clone() for p in groups["one"]]
    optimizer = GroupedAdam(groups)
    flat = optimizer.joined["one"]
    assert [torch.equal(p, b) for p, b in zip(groups["one"], before, strict=True)] == [True, True]
    assert all((p.data_ptr() - flat.data_ptr()) % 64 == 0 for p in groups["one"])
    flat.zero_()
    assert not any(p.any() for p in groups["one"])


@pytest.mark.parametrize("reason", ["no rate", "skipped"])
def test_what_does_not_step_stays_bit_equal_moments_included(reason):
    groups = make()
    optimizer = GroupedAdam(groups)
    both = {"one": 0.1, "other": 0.1}
    for again in (False, True):
        before = [p.detach().clone() for p in groups["other"]]
        moments = {p: m["exp_avg"].clone() for p, m in optimizer.moments().items()}
        rates = {"one": 0.1} if again and reason == "no rate" else both
        optimizer.set_rates(rates, ALL)
        descend(groups)
        optimizer.take_gradients(rates)
        optimizer.step(torch.tensor(again and reason == "skipped"))
    assert torch.equal(groups["other"][0], before[0])
    after = optimizer.moments()[groups["other"][0]]
    assert torch.equal(after["exp_avg"], moments[groups["other"][0]])
    assert after["step"] == 1


def test_a_parameter_without_gradient_counts_as_zero():
    groups = make()
    optimizer = GroupedAdam(groups)
    optimizer.set_rates({"one": 0.1}, ALL)
    before = groups["one"][1].detach().clone()
    groups["one"][0].sum().backward()
    (flat,) = optimizer.take_gradients(["one"])
    assert flat.grad is not None
    assert flat.grad.sum() == groups["one"][0].numel()
    optimizer.step(torch.tensor(False))
    assert torch.equal(groups["one"][1], before)


def test_goes_on_from_restored_moments_to_the_bit():
    ours, again = make(), make()
    first, second = GroupedAdam(ours), GroupedAdam(again)
    for step in range(4):
        if step == 2:
            pairs = zip(flat(ours), flat(again), strict=True)
            of = first.moments()
            second.restore({b: {k: m.clone() for k, m in of[a].items()} for a, b in pairs})
            for name in SHAPES:
                for a, b in zip(ours[name], again[name], strict=True):
                    b.data.copy_(a.data)
        for optimizer, groups in ((first, ours), (second, again))[: 1 + (step >= 2)]:
            optimizer.set_rates({"one": 0.1, "other": 0.2}, ALL)
            descend(groups)
            optimizer.take_gradients(SHAPES)
            optimizer.step(torch.tensor(False))
    for name in SHAPES:
        for a, b in zip(ours[name], again[name], strict=True):
            assert torch.equal(a, b)
