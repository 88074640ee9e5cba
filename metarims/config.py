"""All that decides a run, checked when built and kept beside it as config.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .errors import UsageError, check_between, check_choice, check_positive

Setting = str | int | float | bool


@dataclass(frozen=True)
class TrainConfig:
    """A training run.

    Attributes:
        env: level ids; several share the batch equally.
        agent: a preset's name.
        out: the run's folder.
        frames: environment steps in all, slow data included.
        seed: of parameters, actions, minibatches and, counted on, environments.
        device: "cpu" or "cuda".
        num_envs: environments stepped together.
        options: named settings over the preset's row.
        discount: γ.
        gae_lambda: λ of the advantages' estimate (GAE).
        clip: ε of PPO's ratio.
        entropy: weight of the entropy bonus in the loss.
        value_weight: weight of the value loss.
        max_grad_norm: each loop's gradient is clipped to this norm.
        target_kl: a minibatch whose policy is further than this from the one that acted is skipped.
        anneal_frames: frames over which learning rates fall to a tenth, linearly; there they stay.
        reward_scale: factor on rewards in the loss; reported returns are the environment's.
        checkpoint_frames: a checkpoint is written this often, and at the end.
    """

    env: tuple[str, ...]
    agent: str
    out: str
    frames: int = 500_000
    seed: int = 1
    device: str = "cpu"
    num_envs: int = 64
    options: Mapping[str, Setting] = field(default_factory=dict)
    discount: float = 0.99
    gae_lambda: float = 0.95
    clip: float = 0.2
    entropy: float = 0.01
    value_weight: float = 0.5
    max_grad_norm: float = 0.5
    target_kl: float = 0.05
    anneal_frames: int = 1_000_000
    reward_scale: float = 1.0
    checkpoint_frames: int = 100_000

    def __post_init__(self) -> None:
        if not self.env:
            raise UsageError("env must name at least one level")
        check_positive(
            frames=self.frames,
            num_envs=self.num_envs,
            clip=self.clip,
            max_grad_norm=self.max_grad_norm,
            target_kl=self.target_kl,
            anneal_frames=self.anneal_frames,
            reward_scale=self.reward_scale,
            checkpoint_frames=self.checkpoint_frames,
        )
        check_between(0, 1, discount=self.discount, gae_lambda=self.gae_lambda)
        check_between(0, float("inf"), entropy=self.entropy, value_weight=self.value_weight)
        check_between(0, 2**32, seed=self.seed)

    def as_json(self) -> dict[str, Any]:
        """For config.json."""
        return asdict(self) | {"env": list(self.env), "options": dict(self.options)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TrainConfig:
        """From config.json's content; an unknown or missing setting is a `UsageError`."""
        known = [field.name for field in fields(cls)]
        for name in values:
            check_choice("setting", name, known)
        try:
            return cls(**{**values, "env": tuple(values["env"])})
        except (KeyError, TypeError) as error:
            raise UsageError(f"incomplete configuration: {error}") from None
