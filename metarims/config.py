"""A run as one value: environment, agent, loops, algorithm and the run itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, cast

from tyro.conf import arg

from .algorithms import AlgorithmConfig
from .algorithms.ppo import PPO
from .errors import UsageError, check_between, check_choice, check_positive, check_seed
from .loops import Loops
from .protocols import AgentConfig
from .registry import find
from .settings import FLAT, NAMED, Json, as_json, read_json

FORMAT = 2  # of config.json
OBSERVATIONS = ("symbolic", "rgb")  # that agents learn from

# Settings by path that say how long, where, and what is shown of it, and not what is learnt.
OF_NO_MATTER = (
    *("out", "frames", "device", "capture", "checkpoint_frames", "pictures"),
    *("eval.env", "eval.every", "eval.episodes"),
)


@dataclass(frozen=True)
class EnvironmentConfig:
    """What is stepped.

    Attributes:
        env: level ids; several share the batch equally.
        num_envs: environments stepped together.
        observation: "symbolic", a type, color and state for each cell of the view, or "rgb", the
            view in pixels.
        max_steps: steps until an episode is cut, while training; by default the levels' own number.
    """

    env: tuple[str, ...] = ()
    num_envs: int = 64
    observation: str = "symbolic"
    max_steps: int | None = None

    def __post_init__(self) -> None:
        check_choice("observation", self.observation, OBSERVATIONS)
        check_positive(num_envs=self.num_envs)
        if self.max_steps is not None:
            check_positive(max_steps=self.max_steps)

    @property
    def label(self) -> str:
        """What its levels are called together."""
        return "+".join(self.env)


@dataclass(frozen=True)
class RunSettings:
    """How long, how often, where.

    Attributes:
        out: the run's folder.
        frames: environment steps in all, slow data included.
        seed: of parameters, actions, minibatches and, counted on, environments; the noise by which
            modules are drawn and routers choose does not depend on it.
        device: "auto" (the GPU where there is one), "cpu" or "cuda".
        capture: whether, on a GPU, an iteration is captured as a CUDA graph and replayed.
        tf32: whether, on a GPU, products of matrices are learnt from in TF32, of single precision's
            range and half precision's digits.
        origin: a run whose agent's parameters are the first ones of this one's; many seeds take a
            folder of as many, and each the one of its seed.
        imitate: demonstrations, as `demos` leaves them, to learn from and not from what the agent
            does itself.
        until: stop once the last 200 episodes succeed this often; with 0 all frames are trained.
        checkpoint_frames: a checkpoint is written this often, at the latest after a minute, and at
            the end.
        pictures: TensorBoard gets pictures of the agent at work after so many seconds, each time
            that twice as many have passed, and at the end; with 0 none.
    """

    out: str = ""
    frames: int = 500_000
    seed: int = 1
    device: str = "auto"
    capture: bool = False
    tf32: bool = False
    origin: Annotated[str, arg(name="from")] = field(default="", metadata={"path": "from"})
    imitate: str = ""
    until: float = 0.0
    checkpoint_frames: int = 100_000
    pictures: float = 20.0

    def __post_init__(self) -> None:
        check_positive(frames=self.frames, checkpoint_frames=self.checkpoint_frames)
        check_seed(self.seed)
        check_between(0, 1, until=self.until)
        check_between(0, math.inf, pictures=self.pictures)


@dataclass(frozen=True)
class EvaluationConfig:
    """Zero-shot evaluations while a run learns, which learns the same for them, to the bit.

    Attributes:
        env: level ids; with none there are no evaluations.
        every: frames from one to the next; there is one at the end, too.
        episodes: on each level, the same ones every time.
    """

    env: tuple[str, ...] = ()
    every: int = 100_000
    episodes: int = 100

    def __post_init__(self) -> None:
        check_positive(every=self.every, episodes=self.episodes)


@dataclass(frozen=True)
class RunConfig:
    """All that decides a run. A preset is a name for such a value; config.json is the value.

    Attributes:
        agent: what learns.
        environment: on what.
        loops: which of its parameters, how often and how far back.
        algorithm: by which loss.
        run: for how long, and where to.
        evaluation: on which other levels, while it learns.
        preset: the name of the value that this one was made from.
    """

    agent: AgentConfig = field(metadata=FLAT)
    environment: EnvironmentConfig = field(default=EnvironmentConfig(), metadata=FLAT)
    loops: Loops = field(default=Loops(), metadata=FLAT)
    algorithm: AlgorithmConfig = field(default=PPO(), metadata=NAMED)
    run: RunSettings = field(default=RunSettings(), metadata=FLAT)
    evaluation: EvaluationConfig = field(default=EvaluationConfig(), metadata={"path": "eval"})
    preset: str = ""

    def as_json(self) -> dict[str, Json]:
        """For config.json."""
        return {"format": FORMAT, **cast(dict[str, Json], as_json(self))}

    @classmethod
    def from_json(cls, content: Mapping[str, Json]) -> RunConfig:
        """From config.json's content.

        Raises:
            UsageError: it is of another version, or a setting is unknown, missing or wrong.
        """
        if content.get("format") != FORMAT:
            raise UsageError(
                "made by another version of this package, whose settings had other names: "
                "train it anew"
            )
        values = {name: value for name, value in content.items() if name != "format"}
        return cast(RunConfig, read_json(cls, values, "config.json"))


def find_preset(name: str) -> RunConfig:
    """The run that a name stands for; `UsageError` if there is none, with the nearest."""
    try:
        return cast(RunConfig, find("preset", name))
    except UsageError as error:
        raise UsageError(str(error).replace("unknown preset", "unknown agent")) from None
