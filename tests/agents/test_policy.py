"""A core of one's own that is not as the policy needs it is named, before anything comes of it."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from agents.cores import CoreConfig, CoreOutput
from agents.policy import PolicyConfig
from metarims.errors import UsageError

from .test_presets import SPEC, observations


class Own(nn.Module):
    """A layer that remembers nothing, with as many outputs as it says, or not."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.outputs = 32
        self.layer = nn.Linear(inputs, width)

    def forward(self, x: Tensor, state, starts, obs):
        return CoreOutput(self.layer(x), state)

    def initial_state(self, batch: int):
        return ()

    def module_parameters(self):
        return list(self.parameters())

    def attention_parameters(self):
        return []


@dataclass(frozen=True)
class OwnConfig(CoreConfig):
    width: int = 32

    def build(self, inputs, spec, levels):
        return Own(inputs, self.width)


def act(**settings):
    agent = PolicyConfig(OwnConfig(**settings)).make(SPEC)
    return agent(observations(3, 5), (), torch.zeros(3, 5, dtype=torch.bool))


def test_a_core_that_is_as_wide_as_it_says_acts():
    assert act().logits.shape == (3, 5, 7)


@pytest.mark.parametrize("width", [16, 48])
def test_a_core_of_another_width_than_it_says_is_refused(width):
    said = rf"core's features .*`outputs`.* of shape \[3, 5, 32\], got \[3, 5, {width}\]"
    with pytest.raises(UsageError, match=said):
        act(width=width)


WHOLE = {
    "outputs": 32,
    "initial_state": lambda batch: (),
    "module_parameters": list,
    "attention_parameters": list,
}


@pytest.mark.parametrize("missing", WHOLE)
def test_a_core_that_lacks_what_the_policy_needs_is_refused(monkeypatch, missing):
    core = nn.Module()
    vars(core).update({name: value for name, value in WHOLE.items() if name != missing})
    monkeypatch.setattr(OwnConfig, "build", lambda *_: core)
    with pytest.raises(UsageError, match=f"the core Module lacks {missing}: see agents/cores"):
        PolicyConfig(OwnConfig()).make(SPEC)
