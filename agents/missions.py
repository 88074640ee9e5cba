"""What the agent is asked for, read word by word."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Instruction(nn.Module):
    """An LSTM over the mission's words, torch's own: on a CPU it is twice as fast as its GRU."""

    def __init__(self, vocabulary: int, words: int, width: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, words, padding_idx=0)
        self.lstm = nn.LSTM(words, width)

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *rest: object) -> None:
        """Words that came after a checkpoint was written keep their first vectors."""
        name, own = f"{prefix}words.weight", self.words.weight.detach()
        if name in state and len(state[name]) < len(own):
            state[name] = torch.cat([state[name], own[len(state[name]) :].to(state[name])])
        super()._load_from_state_dict(state, prefix, *rest)

    def forward(self, mission: Tensor) -> Tensor:
        """Missions int16 [M, L] to the last state of each, [M, width]."""
        last = (mission != 0).sum(1).clamp_min(1) - 1
        if mission.device.type == "cpu":  # elsewhere to know the longest would wait for the device
            mission = mission[:, : int(last.max()) + 1]
        states: Tensor = self.lstm(self.words(mission.T.int()))[0]  # [L, M, width]
        return states[last, torch.arange(len(last), device=last.device)]
