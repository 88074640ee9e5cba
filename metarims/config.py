"""A run's configuration: environment, agent, loops, algorithm and the run itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, cast

from tyro.conf import arg

from .algorithms import AlgorithmConfig
from .algorithms.ppo import PPO
from .errors import UsageError, check_between, check_choice, check_positive, check_seed
from .loops import Loops
from .protocols import AgentConfig, MakeEnvironments, Stage
from .registry import find
from .settings import FLAT, NAMED, Json, as_json, read_json

FORMAT = 2  # of config.json
TOGETHER = "+"  # between levels that are learnt together
OBSERVATIONS = ("symbolic", "rgb")  # kinds that agents can learn from

# Settings by path that affect how long a run is, where it runs and what it shows, but not what it
# learns.
OF_NO_MATTER = (
    *("out", "frames", "device", "capture", "checkpoint_frames", "keep_checkpoints", "pictures"),
    *("eval.env", "eval.every", "eval.episodes"),
)


@dataclass(frozen=True)
class EnvironmentConfig:
    """The environments to train in.

    Attributes:
        env: level ids; several levels share the batch equally.
        num_envs: number of environments stepped in parallel.
        observation: "symbolic" (type, colour and state of each cell in view) or "rgb" (the view in
            pixels).
        view: side of the agent's square view in cells, odd; 7 in pixels.
        max_steps: steps after which a training episode is truncated (default: the level's own
            limit).
    """

    env: tuple[str, ...] = ()
    num_envs: int = 64
    observation: str = "symbolic"
    view: int = 7
    max_steps: int | None = None

    def __post_init__(self) -> None:
        check_choice("observation", self.observation, OBSERVATIONS)
        check_positive(num_envs=self.num_envs)
        if self.observation == "rgb" and self.view != EnvironmentConfig.view:
            raise UsageError(f"view must be {EnvironmentConfig.view} in pixels, got {self.view}")
        if self.max_steps is not None:
            check_positive(max_steps=self.max_steps)

    @property
    def label(self) -> str:
        """Joint name of its levels."""
        return TOGETHER.join(self.env)

    def elsewhere(self, env: tuple[str, ...], num_envs: int) -> EnvironmentConfig:
        """Other environments that an agent sees as these, with the levels' own step limits."""
        return replace(self, env=env, num_envs=num_envs, max_steps=None)

    def made(
        self,
        make: MakeEnvironments,
        device: str,
        seed: int,
        autoreset: bool = True,
        part: tuple[int, int] = (0, 1),
    ) -> Stage:
        """The environments, or a part of them, as `MakeEnvironments`."""
        return make(
            list(self.env),
            num_envs=self.num_envs,
            device=device,
            seed=seed,
            autoreset=autoreset,
            part=part,
            observation=self.observation,
            view=self.view,
            max_steps=self.max_steps,
        )


@dataclass(frozen=True)
class RunSettings:
    """Length, seed, device and output of a run.

    Attributes:
        out: the run's folder.
        frames: environment steps in total, including those collected for the slow loop.
        seed: seed of parameters, actions, minibatches and environments; runs with other seeds, and
            evaluations, draw other layouts. The noise for drawing modules and for routers' choices
            does not depend on it.
        device: "auto" (the GPU if there is one), "cpu" or "cuda".
        capture: capture a training iteration as a CUDA graph and replay it (GPU only).
        tf32: train with matrix products in TF32, with the range of single precision and the
            mantissa of half precision (GPU only).
        origin: a run whose parameters initialise the agent's; with several seeds, one run for all
            or a folder with a run for each seed.
        imitate: demonstrations for the policy to imitate, as written by `demos`, instead of
            learning from its own actions.
        until: stop once this share of the last 200 episodes of each level succeeds; 0 trains for
            all frames.
        checkpoint_frames: frames between checkpoints; there is also one at least every minute, and
            at the end.
        keep_checkpoints: keep all of them, not only the newest two and the best.
        pictures: seconds until TensorBoard gets the first pictures of the agent at work; the next
            ones follow whenever the elapsed time has doubled, and at the end. A run that ends
            before the first has none, as drawing takes seconds. 0 for none in any run.
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
    keep_checkpoints: bool = False
    pictures: float = 20.0

    def __post_init__(self) -> None:
        check_positive(frames=self.frames, checkpoint_frames=self.checkpoint_frames)
        check_seed(self.seed)
        check_between(0, 1, until=self.until)
        check_between(0, math.inf, pictures=self.pictures)


@dataclass(frozen=True)
class EvaluationConfig:
    """Zero-shot evaluations during training, which they do not affect, bit for bit.

    Attributes:
        env: level ids; none for no evaluations.
        every: frames between evaluations; there is also one at the end.
        episodes: episodes on each level, the same ones every time.
    """

    env: tuple[str, ...] = ()
    every: int = 100_000
    episodes: int = 100

    def __post_init__(self) -> None:
        check_positive(every=self.every, episodes=self.episodes)


@dataclass(frozen=True)
class RunConfig:
    """The complete configuration of a run. A preset is a named value of it; config.json stores it.

    Attributes:
        agent: what learns.
        environment: what it learns in.
        loops: which parameters learn, how often, and over which spans.
        algorithm: the loss.
        run: length, seed, device and output.
        evaluation: zero-shot evaluations during training.
        preset: name of the preset that it is based on.
    """

    agent: AgentConfig = field(metadata=FLAT)
    environment: EnvironmentConfig = field(default=EnvironmentConfig(), metadata=FLAT)
    loops: Loops = field(default=Loops(), metadata=FLAT)
    algorithm: AlgorithmConfig = field(default=PPO(), metadata=NAMED)
    run: RunSettings = field(default=RunSettings(), metadata=FLAT)
    evaluation: EvaluationConfig = field(default=EvaluationConfig(), metadata={"path": "eval"})
    preset: str = ""

    def as_json(self) -> dict[str, Json]:
        """The content of config.json."""
        return {"format": FORMAT, **cast(dict[str, Json], as_json(self))}

    @classmethod
    def from_json(cls, content: Mapping[str, Json]) -> RunConfig:
        """Read the content of config.json.

        Raises:
            UsageError: it is of another version, or a setting is unknown, missing or invalid.
        """
        if content.get("format") != FORMAT:
            raise UsageError(
                "made by another version of this package, whose settings had other names: "
                "train it again"
            )
        values = {name: value for name, value in content.items() if name != "format"}
        return cast(RunConfig, read_json(cls, values, "config.json"))


def find_preset(name: str) -> RunConfig:
    """The preset of that name; `UsageError` with the nearest names if there is none."""
    try:
        return cast(RunConfig, find("preset", name))
    except UsageError as error:
        raise UsageError(str(error).replace("unknown preset", "unknown agent")) from None
