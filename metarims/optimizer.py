"""Adam over groups of parameters, each laid out as one tensor.

An update of a small agent is mostly calls: a group at a time there are five of them where there
were one for each of its parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

Moments = dict[str, Tensor]


class GroupedAdam:
    """Adam (Kingma & Ba 2015); every group has its own rate, and steps only when it is told to.

    Groups that do not step keep parameters, moments and step counts to the bit: loops over disjoint
    groups thus have an optimiser each, and a group in two loops keeps one set of moments.

    Args:
        groups: the parameters by group, each in one of them; their values become views of one
            tensor a group.
    """

    def __init__(self, groups: Mapping[str, Sequence[nn.Parameter]]) -> None:
        self.groups = {name: list(group) for name, group in groups.items()}
        self.joined = {name: _join(group) for name, group in self.groups.items() if group}
        self._gradients = {name: torch.zeros_like(flat) for name, flat in self.joined.items()}
        self.adam = torch.optim.Adam(
            [{"params": [flat], "name": name} for name, flat in self.joined.items()],
            lr=0.0,
            eps=1e-5,
            fused=True,
        )

    def set_rates(self, rates: Mapping[str, float]) -> None:
        """The learning rates by group; parameters of groups that have none want no gradient."""
        for group in self.adam.param_groups:
            name = group["name"]
            group["lr"] = rates.get(name, 0.0)
            for parameter in self.groups[name]:
                parameter.requires_grad_(name in rates)

    def take_gradients(self, names: Iterable[str]) -> list[Tensor]:
        """Move the gradients of some groups' parameters to where `step` finds them; 0 where there
        is none. Returns the groups' tensors, which have them; all others have none.
        """
        for flat in self.joined.values():
            flat.grad = None
        taken = [name for name in names if name in self.joined]
        for name in taken:
            gradient, parameters = self._gradients[name], self.groups[name]
            for parameter, part in zip(parameters, _apart(gradient, parameters), strict=True):
                part.zero_() if parameter.grad is None else part.copy_(parameter.grad)
                parameter.grad = None
            self.joined[name].grad = gradient
        return [self.joined[name] for name in taken]

    def step(self, skip: Tensor) -> None:
        """One step of the groups that have gradients; where `skip` is true nothing changes."""
        # Fused Adam looks at this, on the device, and leaves everything as it was where it is 1.
        self.adam.found_inf = skip.float()  # type: ignore[attr-defined]
        self.adam.step()

    def moments(self) -> dict[nn.Parameter, Moments]:
        """Of the parameters that have stepped: step count [] and both moments, as each is."""
        found = {}
        for name, flat in self.joined.items():
            state, parameters = self.adam.state.get(flat), self.groups[name]
            if state:
                parts = (_apart(state[key], parameters) for key in _MOMENTS)
                for parameter, *own in zip(parameters, *parts, strict=True):
                    of_both = dict(zip(_MOMENTS, own, strict=True))
                    found[parameter] = {"step": state["step"].clone(), **of_both}
        return found

    def restore(self, moments: Mapping[nn.Parameter, Moments]) -> None:
        """Go on from what `moments` gave; a group whose parameters have none begins anew."""
        for name, flat in self.joined.items():
            of_group = [moments[parameter] for parameter in self.groups[name]]
            if all(of_group):
                joined = {key: _row([m[key] for m in of_group]) for key in _MOMENTS}
                self.adam.state[flat] = {"step": of_group[0]["step"], **joined}


_MOMENTS = ("exp_avg", "exp_avg_sq")
_ALIGNED = 16  # numbers: every parameter begins where one of the processor's vectors may


def _join(parameters: Sequence[nn.Parameter]) -> Tensor:
    """The parameters' values in a row, of which they are views from now on."""
    joined = _row([parameter.detach() for parameter in parameters])
    for parameter, part in zip(parameters, _apart(joined, parameters), strict=True):
        parameter.data = part
    return joined


def _row(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors one after the other, with zeros between."""
    return torch.cat([pad(x.flatten(), (0, -x.numel() % _ALIGNED)) for x in tensors])


def _apart(row: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """What `_row` made a row of, as views."""
    parts = row.split([x.numel() + -x.numel() % _ALIGNED for x in like])
    return [part[: x.numel()].view_as(x) for part, x in zip(parts, like, strict=True)]
