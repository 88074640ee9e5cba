"""The routing policy: decisions come again when learning, levels find their own router."""

from types import SimpleNamespace

import pytest
import torch

import agents
from agents.routing.makers import MAKERS
from agents.routing.policy import uniform
from metarims import TrainConfig
from metarims.errors import UsageError
from metarims.learner import Learner
from metarims.ppo import log_prob_of
from metarims.returns import generalized_advantages
from metarims.rollout import begin, collect_rollout, cut
from tests.metarims.probes import Contexts
from tests.metarims.test_learner import SMALL, Features

LEVELS = ["A", "B", "C"]
SPEC = SimpleNamespace(
    num_actions=2, vocabulary_size=9, device=torch.device("cpu"), level_ids=LEVELS
)


def make_agent(env, **options):
    agent = agents.make("routing", env, SMALL | {"features": 16, "lstm_hidden": 8} | options, 1)
    agent.encoder = Features(env, agent)
    return agent
