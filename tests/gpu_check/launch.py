"""The step that all others need: kernels run at all, as they are and from a CUDA graph."""

from __future__ import annotations

from contextlib import nullcontext

import torch

import envs
from envs import Environments

from .exactness import Seen, first_difference, threads_of_a_gpu
from .report import Outcome
from .scale import DOORKEY, Scale

COUNT = 64  # environments


def try_launches(scale: Scale) -> Outcome:
    """Three steps of one level beside the CPU's: launched, and the last replayed from a graph."""
    expected = list(three_steps("cpu", captured=False))
    ways = {"launched": False} if scale.dry else {"launched": False, "replayed": True}
    with threads_of_a_gpu() if scale.dry else nullcontext():
        found = {
            way: first_difference(iter(expected), three_steps(scale.device, captured))
            for way, captured in ways.items()
        }
    lines = [f"- {way}: {where or 'as the CPU'}" for way, where in found.items()]
    return Outcome(not any(found.values()), lines)


def three_steps(device: str, captured: bool) -> Seen:
    """What an agent that walks ahead sees, and how the environments stand after each step."""
    env = envs.make(DOORKEY, num_envs=COUNT, device=device)
    env.reset(seed=0)
    ahead = torch.full((COUNT,), 2, device=env.device)
    for _ in range(2):
        yield seen(env, env.step(ahead).obs)
    if not captured:
        yield seen(env, env.step(ahead).obs)
        return
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        obs = env.step(ahead).obs
    graph.replay()
    yield seen(env, obs)


def seen(env: Environments, obs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """An observation and the environments' state, on the CPU."""
    return {name: each.cpu() for name, each in (obs | {"state": env.state}).items()}
