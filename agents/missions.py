"""Encoding missions, word by word."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .kernels.compiling import has_fused, has_kernels, is_stacked
from .kernels.reading import read, reads


class Instruction(nn.Module):
    """torch's LSTM over the mission's words: on a CPU it is twice as fast as torch's GRU.

    On a CPU the kernels in `agents.kernels.reading` read missions if they are few; on a GPU a fused
    LSTM reads any number, in the precision of all other products (cuDNN has its own).
    """

    def __init__(self, vocabulary: int, words: int, width: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, words, padding_idx=0)
        self.lstm = nn.LSTM(words, width)

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *rest: object) -> None:
        """Words that are newer than a checkpoint keep their initial vectors."""
        name, own = f"{prefix}words.weight", self.words.weight.detach()
        if name in state and len(state[name]) < len(own):
            state[name] = torch.cat([state[name], own[len(state[name]) :].to(state[name])])
        super()._load_from_state_dict(state, prefix, *rest)

    def forward(self, mission: Tensor) -> Tensor:
        """Missions int16 [M, L] to the last hidden state of each, [M, width]."""
        table, weights = self.words.weight, _weights(self.lstm)
        stacked, few = is_stacked(table), reads(len(mission), self.lstm.hidden_size)
        if few and has_kernels(table):
            return read(mission.contiguous(), table, *weights)
        lengths = (mission != 0).sum(1).clamp_min(1)
        if mission.device.type == "cpu" and not stacked:
            # Not on a GPU, where reading the maximum would synchronise.
            mission = mission[:, : int(lengths.max())]
        words: Tensor = self.words(mission.T.int())  # [L, M, words]
        if has_fused(words):
            states = run_fused(weights, words)  # [L, M, width]
        else:  # `torch.func.vmap` cannot batch nn.LSTM
            states = run_lstm(weights, words) if stacked else self.lstm(words)[0]
        return states[lengths - 1, torch.arange(len(lengths), device=lengths.device)]


def single(mission: Tensor) -> Tensor:
    """The mission [1, L] that all of int16 [M, L] must be, which is asserted on the device, without
    synchronising.
    """
    if not is_stacked(mission):  # `torch.func.vmap` cannot batch the assertion
        alike = (mission == mission[:1]).all()
        torch._assert_async(alike, "the agent was made for environments with a single mission")
    return mission[:1]


Weights = tuple[Tensor, Tensor, Tensor, Tensor]  # input and hidden weights, and their biases


def _weights(lstm: nn.LSTM) -> Weights:
    parts = (lstm.weight_ih_l0, lstm.weight_hh_l0, lstm.bias_ih_l0, lstm.bias_hh_l0)
    return cast(Weights, parts)


def run_fused(weights: Weights, x: Tensor) -> Tensor:
    """As `run_lstm`, fused."""
    from .kernels import fused_lstm  # needs Triton

    input_weight, hidden_weight, bias = map(
        _candidate_last, (*weights[:2], weights[2] + weights[3])
    )
    nothing = x.new_zeros(x.shape[1], hidden_weight.shape[1])
    never = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
    z = F.linear(x, input_weight, bias)
    return fused_lstm.run(z, nothing, nothing, never, nothing[0], hidden_weight)[0]


def _candidate_last(x: Tensor) -> Tensor:
    """Move the candidate last: torch's gates are input, forget, candidate and output."""
    i, f, candidate, o = x.chunk(4)
    return torch.cat([i, f, o, candidate])


def run_lstm(weights: Weights, x: Tensor) -> Tensor:
    """As `nn.LSTM`, word by word: x [L, M, E] to hidden states [L, M, width]."""
    input_weight, hidden_weight, input_bias, hidden_bias = weights
    h = c = x.new_zeros(x.shape[1], hidden_weight.shape[1])
    states = []
    for from_word in F.linear(x, input_weight, input_bias + hidden_bias).unbind():
        i, f, candidate, o = (from_word + F.linear(h, hidden_weight)).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * candidate.tanh()
        h = o.sigmoid() * c.tanh()
        states.append(h)
    return torch.stack(states)
