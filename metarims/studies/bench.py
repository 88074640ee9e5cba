"""Frames per second of training, updates included, next to torch-ac; and where our time goes.

Functions here make bursts for a race: a burst does some work and returns its number of frames.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from ..config import RunConfig
from ..graphs import iterating
from ..learner import Learner
from ..protocols import Agent, Environment
from ..rollout import actor_of, begin
from .race import Burst, Start, Timer

Result = TypeVar("Result")

TORCH_AC_PROCESSES = 16
TORCH_AC_RECURRENCE = 4
SIDE = 1024  # of the square matrices whose product is the reference
SHARES = ("environment", "acting", "learning forward", "rest")


def start_learning(config: RunConfig, env: Environment, agent: Agent) -> Burst:
    """A burst of one training iteration of ours, configured as the run."""
    loops, seed = config.loops, config.run.seed
    learner = Learner(agent, loops, config.algorithm, seed, env.device)
    cursor = begin(env, agent, seed, config.algorithm.novelty > 0)
    frames = env.num_envs * loops.steps * loops.rollouts
    iterate = iterating(learner, config.run, env.device)

    def burst() -> int:
        nonlocal cursor
        _, cursor = iterate(env, cursor)
        wait_for(env.device)
        return frames

    return burst


def count_flops(config: RunConfig, env: Environment, agent: Agent) -> float:
    """FLOP per frame, acting and all passes of learning included, by torch's counter.

    It counts matrix products (a multiply-add is two), but not compiled code: the agent should run
    its definition.
    """
    from torch.utils.flop_counter import FlopCounterMode  # imports Triton if installed

    burst = start_learning(config, env, agent)
    with FlopCounterMode(display=False) as counter:
        frames = burst()
    total: int = counter.get_total_flops()
    return total / frames


def start_products(timer: Timer) -> Start:
    """A burst of torch.mm of two square matrices, returning its FLOP; on one core, as learning."""
    torch.set_num_threads(1)
    a, b = torch.randn(2, SIDE, SIDE).unbind()
    return 1, lambda: 2 * len(torch.mm(a, b)) ** 3


def start_torch_ac(level: str) -> Burst:
    """A burst of one iteration of torch-ac's recurrent PPO, at its training script's defaults.

    16 processes of 128 frames, 4 epochs, batches of 256, recurrence 4; three 2x2 convolutions of
    16, 32 and 64 channels, an LSTM of 64, heads of one hidden layer of 64.
    """
    # The package sets the start method at import, which is possible only once.
    multiprocessing.set_start_method(None, force=True)
    import gymnasium
    import minigrid  # noqa: F401 (registers upstream's levels)
    import torch_ac

    environments = [gymnasium.make(level) for _ in range(TORCH_AC_PROCESSES)]
    for seed, env in enumerate(environments):
        env.reset(seed=seed)
    algorithm = torch_ac.PPOAlgo(
        environments,
        _torch_ac_model(int(environments[0].action_space.n)),  # type: ignore[attr-defined]
        device=torch.device("cpu"),
        recurrence=TORCH_AC_RECURRENCE,
        preprocess_obss=_torch_ac_images,
    )

    def burst() -> int:
        experience, _ = algorithm.collect_experiences()
        algorithm.update_parameters(experience)
        return int(algorithm.num_frames)

    return burst


def _torch_ac_images(obss: list[dict[str, Any]], device: torch.device | None = None) -> Any:
    """Observations in torch-ac's form: images float32 [N, 3, 7, 7]."""
    import numpy as np
    from torch_ac.utils import DictList

    images = np.stack([obs["image"] for obs in obss])
    image = torch.as_tensor(images, dtype=torch.float32, device=device).permute(0, 3, 1, 2)
    return DictList({"image": image})


def _torch_ac_model(num_actions: int) -> Any:
    """A model with the sizes of torch-ac's training script, with memory and without text."""
    from torch_ac import RecurrentACModel

    class Model(torch.nn.Module, RecurrentACModel):
        def __init__(self) -> None:
            super().__init__()
            nn = torch.nn
            layers: list[torch.nn.Module] = [nn.Conv2d(3, 16, 2), nn.ReLU(), nn.MaxPool2d(2)]
            layers += [nn.Conv2d(16, 32, 2), nn.ReLU(), nn.Conv2d(32, 64, 2), nn.ReLU()]
            self.see = nn.Sequential(*layers, nn.Flatten())
            self.remember = nn.LSTMCell(64, 64)
            self.policy = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, num_actions))
            self.value = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))

        @property
        def memory_size(self) -> int:
            return 128

        def forward(self, obs: Any, memory: torch.Tensor) -> Any:
            h, c = self.remember(self.see(obs.image), tuple(memory.split(64, 1)))
            dist = torch.distributions.Categorical(logits=self.policy(h))
            return dist, self.value(h).squeeze(1), torch.cat([h, c], 1)

    return Model()


def wait_for(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class _Timed:
    """Wraps an agent or an environment, and adds up the seconds that calls to it take,
    synchronising with the device before and after.
    """

    def __init__(self, target: object, seconds: dict[str, float], device: torch.device) -> None:
        self._target: Any = target
        self._seconds, self._device = seconds, device

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    def _call(self, kind: str, function: Callable[..., Result], *args: object) -> Result:
        wait_for(self._device)
        start = time.perf_counter()
        result = function(*args)
        wait_for(self._device)
        self._seconds[kind] += time.perf_counter() - start
        return result

    def step(self, actions: torch.Tensor) -> object:
        return self._call("environment", self._target.step, actions)

    def acting(self) -> _Timed:
        return _Timed(actor_of(self._target), self._seconds, self._device)

    def __call__(self, *args: object) -> object:
        kind = "learning forward" if torch.is_grad_enabled() else "acting"
        return self._call(kind, self._target, *args)


def time_shares(
    config: RunConfig, env: Environment, agent: Agent, seconds: float
) -> dict[str, float]:
    """Where an iteration's time goes: shares, summing to 1, by the names in `SHARES`.

    "environment" is stepping, "acting" the agent's forward passes without gradients, "learning
    forward" those with, "rest" mostly the backward passes and the optimiser. Measured over at least
    `seconds`; on a GPU each part is synchronised, which takes extra time.
    """
    spent = dict.fromkeys(SHARES, 0.0)
    timed_env: Any = _Timed(env, spent, env.device)
    timed_agent: Any = _Timed(agent, spent, env.device)
    burst = start_learning(config, timed_env, timed_agent)
    burst()
    spent.update(dict.fromkeys(SHARES, 0.0))
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        burst()
    spent["rest"] = elapsed - sum(spent.values())
    return {name: part / elapsed for name, part in spent.items()}
