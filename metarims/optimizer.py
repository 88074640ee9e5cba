"""Adam over groups of parameters, each laid out as one tensor.

An update of a small agent is mostly calls: a group at a time there are five of them where there
were one for each of its parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.optim.adam import adam

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
        self._rates: Mapping[str, float] = {}
        self._gradients = {name: torch.zeros_like(flat) for name, flat in self.joined.items()}
        self._parts = {name: _apart(g, self.groups[name]) for name, g in self._gradients.items()}
        self._moments: dict[str, Moments] = {}

    def set_rates(self, rates: Mapping[str, float]) -> None:
        """The learning rates by group; parameters of groups that have none want no gradient."""
        self._rates = rates
        for name, gradient in self._gradients.items():
            gradient.zero_()
            for parameter, part in zip(self.groups[name], self._parts[name], strict=True):
                parameter.requires_grad_(name in rates)
                parameter.grad = part if name in rates else None

    def take_gradients(self, names: Iterable[str]) -> list[Tensor]:
        """Have `step` find the gradients of some groups' parameters, which were added up since the
        last step; 0 where there was none. Returns the groups' tensors, which have them.
        """
        taken = [name for name in names if name in self.joined]
        for name in taken:
            self.joined[name].grad = self._gradients[name]
        return [self.joined[name] for name in taken]

    def step(self, skip: Tensor) -> None:
        """One step of the groups that have gradients; where `skip` is true nothing changes."""
        for name, flat in self.joined.items():
            if flat.grad is not None:
                self._step_group(name, flat, flat.grad, skip.float())
                flat.grad.zero_()
                flat.grad = None

    @torch.no_grad()
    def _step_group(self, name: str, flat: Tensor, gradient: Tensor, skip: Tensor) -> None:
        if name not in self._moments:
            self._moments[name] = _no_moments(flat)
        moments = self._moments[name]
        adam(
            [flat],
            [gradient],
            [moments["exp_avg"]],
            [moments["exp_avg_sq"]],
            [],
            [moments["step"]],
            fused=True,
            found_inf=skip,  # looked at on the device: where it is 1 all stays as it was
            lr=self._rates[name],
            beta1=0.9,
            beta2=0.999,
            eps=1e-5,
            weight_decay=0.0,
            amsgrad=False,
            maximize=False,
        )

    def moments(self) -> dict[nn.Parameter, Moments]:
        """Of the parameters that have stepped: step count [] and both moments, as each is."""
        found = {}
        for name, state in self._moments.items():
            parameters = self.groups[name]
            parts = (_apart(state[key], parameters) for key in _MOMENTS)
            for parameter, *own in zip(parameters, *parts, strict=True):
                of_both = dict(zip(_MOMENTS, own, strict=True))
                found[parameter] = {"step": state["step"].clone(), **of_both}
        return found

    def restore(self, moments: Mapping[nn.Parameter, Moments]) -> None:
        """Go on from what `moments` gave; a group whose parameters have none begins anew."""
        for name in self.joined:
            of_group = [moments[parameter] for parameter in self.groups[name]]
            if all(of_group):
                joined = {key: _row([m[key] for m in of_group]) for key in _MOMENTS}
                self._moments[name] = {"step": of_group[0]["step"], **joined}


_MOMENTS = ("exp_avg", "exp_avg_sq")
_ALIGNED = 16  # numbers: every parameter begins where one of the processor's vectors may


def _no_moments(flat: Tensor) -> Moments:
    return {
        "step": torch.zeros((), device=flat.device),
        "exp_avg": torch.zeros_like(flat),
        "exp_avg_sq": torch.zeros_like(flat),
    }


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
