"""Adam over groups of parameters, each flattened into one tensor.

For a small agent, an update is mostly call overhead: all groups of one rate take a single call
rather than one per parameter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.optim.adam import adam

Moments = dict[str, Tensor]


class GroupedAdam:
    """Adam (Kingma & Ba 2015); each group has its own rate, and steps only when asked to.

    Groups that do not step keep parameters, moments and step counts to the bit: loops over disjoint
    groups thus have separate optimisers, and a group in two loops has one set of moments.

    Args:
        groups: disjoint groups of parameters, which become views of one tensor per group.
        runs: if not 0, parameters are stacked, [runs, ...], and each run steps separately.
    """

    def __init__(self, groups: Mapping[str, Sequence[nn.Parameter]], runs: int = 0) -> None:
        self.groups = {name: list(group) for name, group in groups.items()}
        self._runs = [runs] if runs else []
        self.joined = {name: self._join(group) for name, group in self.groups.items() if group}
        self._rates: Mapping[str, float] = {}
        self._annealed: dict[float, Tensor] = {}  # current value of each of these rates
        self._gradients = {name: torch.zeros_like(flat) for name, flat in self.joined.items()}
        self._parts = {
            name: self._apart(g, self.groups[name]) for name, g in self._gradients.items()
        }
        self._moments: dict[str, Moments] = {}

    def set_rates(self, rates: Mapping[str, float], annealed: Tensor) -> None:
        """Set the learning rates by group, and the factor that annealing leaves of them, float64
        []. Clears gradients; parameters of groups without a rate are frozen.
        """
        self._rates = rates
        self._annealed = {rate: (annealed * rate).float() for rate in set(rates.values())}
        for name, gradient in self._gradients.items():
            gradient.zero_()
            for parameter, part in zip(self.groups[name], self._parts[name], strict=True):
                parameter.requires_grad_(name in rates)
                parameter.grad = part if name in rates else None

    def take_gradients(self, names: Iterable[str]) -> list[Tensor]:
        """Let `step` update some groups, with the gradients accumulated since the last step, 0
        where there were none. Returns the groups' flat tensors, with these as `grad`.
        """
        taken = [name for name in names if name in self.joined]
        for name in taken:
            self.joined[name].grad = self._gradients[name]
        return [self.joined[name] for name in taken]

    def step(self, skip: Tensor) -> None:
        """Step the groups that `take_gradients` named; where `skip` is true, nothing changes.

        Args:
            skip: bool [], or [runs] if stacked.
        """
        stepping = [name for name, flat in self.joined.items() if flat.grad is not None]
        for rate, annealed in self._annealed.items():
            if names := [name for name in stepping if self._rates[name] == rate]:
                self._step_groups(names, annealed, skip)
        for name in stepping:
            self.joined[name].grad = None

    @torch.no_grad()
    def _step_groups(self, names: Sequence[str], rate: Tensor, skip: Tensor) -> None:
        """Step all groups of one rate at once, then zero their gradients."""
        for name in names:
            if name not in self._moments:
                self._moments[name] = self._no_moments(self.joined[name])
        parameters = [self.joined[name] for name in names]
        gradients = [self._gradients[name] for name in names]
        kept = [[self._moments[name][key] for name in names] for key in (*_MOMENTS, "step")]
        changing = list(chain(parameters, *kept))
        before = [x.clone() for x in changing] if self._runs else []
        averages, squares, steps = map(self._each_run, kept)
        adam(
            self._each_run(parameters),
            self._each_run(gradients),
            averages,
            squares,
            [],
            steps,
            fused=True,
            # Read on the device: 1 leaves everything unchanged.
            found_inf=None if self._runs else skip.float(),
            lr=rate,
            beta1=0.9,
            beta2=0.999,
            eps=1e-5,
            weight_decay=0.0,
            amsgrad=False,
            maximize=False,
        )
        # `found_inf` would apply to all runs.
        for now, then in zip(changing, before, strict=False):
            now.copy_(torch.where(skip.view(-1, *[1] * (now.dim() - 1)), then, now))
        torch._foreach_zero_(gradients)

    def _each_run(self, tensors: list[Tensor]) -> list[Tensor]:
        """If stacked, each run's part of each tensor."""
        return [part for x in tensors for part in x.unbind()] if self._runs else tensors

    def moments(self) -> dict[nn.Parameter, Moments]:
        """Per parameter that has stepped: step count, [] or [runs], and moments of its shape."""
        found = {}
        for name, state in self._moments.items():
            parameters = self.groups[name]
            parts = (self._apart(state[key], parameters) for key in _MOMENTS)
            for parameter, *own in zip(parameters, *parts, strict=True):
                of_both = dict(zip(_MOMENTS, own, strict=True))
                found[parameter] = {"step": state["step"].clone(), **of_both}
        return found

    def restore(self, moments: Mapping[nn.Parameter, Moments]) -> None:
        """Continue from what `moments` gave; a group whose parameters have none starts afresh."""
        for name in self.joined:
            of_group = [moments[parameter] for parameter in self.groups[name]]
            if all(of_group):
                joined = {key: self._row([m[key] for m in of_group]) for key in _MOMENTS}
                self._moments[name] = {"step": of_group[0]["step"], **joined}

    def _no_moments(self, flat: Tensor) -> Moments:
        return {
            # Fused Adam on a GPU reads it as single precision, whatever the parameters' dtype.
            "step": torch.zeros(self._runs, dtype=torch.float32, device=flat.device),
            "exp_avg": torch.zeros_like(flat),
            "exp_avg_sq": torch.zeros_like(flat),
        }

    def _join(self, parameters: Sequence[nn.Parameter]) -> Tensor:
        """The parameters' values in one flat tensor, which they become views of."""
        joined = self._row([parameter.detach() for parameter in parameters])
        for parameter, part in zip(parameters, self._apart(joined, parameters), strict=True):
            parameter.data = part
        return joined

    def _row(self, tensors: Sequence[Tensor]) -> Tensor:
        """Tensors flattened and concatenated, with zeros between; if stacked, a row per run."""
        rows = [x.reshape(*self._runs, -1) for x in tensors]
        return torch.cat([pad(row, (0, -row.shape[-1] % _ALIGNED)) for row in rows], -1)

    def _apart(self, row: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
        """The tensors concatenated by `_row`, as views."""
        sizes = [x.numel() // (self._runs or [1])[0] for x in like]
        parts = row.split([size + -size % _ALIGNED for size in sizes], -1)
        trios = zip(parts, sizes, like, strict=True)
        return [part[..., :size].view_as(x) for part, size, x in trios]


_MOMENTS = ("exp_avg", "exp_avg_sq")
_ALIGNED = 16  # elements: every parameter begins where a SIMD vector may


def clip_gradients(tensors: Sequence[Tensor], most: float) -> Tensor:
    """Clip the norm of the gradients over all tensors to at most `most`; returns the norm before.

    As `torch.nn.utils.clip_grad_norm_`, to the bit, and for stacked runs.

    Args:
        tensors: with gradients [L] or, if stacked, [runs, L], each run with its own norm.
        most: the maximum norm.
    """
    gradients = [x.grad for x in tensors if x.grad is not None]
    norms = torch.stack([torch.linalg.vector_norm(x, dim=-1) for x in gradients])
    norm: Tensor = torch.linalg.vector_norm(norms, dim=0)
    scale = (most / (norm + 1e-6)).clamp(max=1.0).unsqueeze(-1)
    for gradient in gradients:
        gradient.mul_(scale)
    return norm
