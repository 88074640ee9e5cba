"""Settings of a comparison of classifiers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from metarims.errors import UsageError, check_between, check_choice, check_positive

from ..cores.routing.makers.reinforce import BaselineConfig
from ..cores.routing.makers.wpl import WPLConfig
from ..cores.routing.router import RouterConfig
from .heads import HEADS

OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
REWARDS = ("correct", "loss")
ROUTER = RouterConfig(WPLConfig(rate=0.2), dispatcher=BaselineConfig(entropy=0.0))


@dataclass(frozen=True)
class ClassifyConfig:
    """A comparison of classifiers.

    Attributes:
        data: data set: "digits-rotated", "digits-permuted", "digits-few", "digits", "mnist",
            "cifar100" or "miniimagenet".
        folder: folder with the files of the last three data sets.
        methods: heads to compare.
        seeds: number of trainings of each method.
        epochs: passes over the training samples.
        batch: samples per step.
        width: units of each fully connected layer.
        blocks: function blocks at each depth; 0 means one for each task.
        recursive: the first two routed layers choose among the blocks of both, and PASS.
        optimizer: optimiser of everything but the router: "sgd" or "adam".
        learning_rate: learning rate of everything but the router.
        router_optimizer: optimiser of the router: "sgd" or "adam"; WPL updates its table itself.
        router_rate: learning rate of the router.
        anneal_epochs: both learning rates are divided by 10 every so many epochs.
        block_share: fraction of the training images that everything but the router learns from; the
            router learns from the others. At 1 both learn from all.
        reward: the router's: "correct" (±1) or "loss" (the negative loss).
        router: what decides on the routes, and how that is learnt.
    """

    data: str = "digits-rotated"
    folder: Path | None = None
    methods: tuple[str, ...] = tuple(HEADS)
    seeds: int = 3
    epochs: int = 25
    batch: int = 32
    width: int = 128
    blocks: int = 0
    recursive: bool = False
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    router_optimizer: str = "sgd"
    router_rate: float = 0.1
    anneal_epochs: int = 25
    block_share: float = 1.0
    reward: str = "correct"
    router: RouterConfig = ROUTER

    def __post_init__(self) -> None:
        if not self.methods:
            raise UsageError(f"methods must be one or more of {', '.join(HEADS)}, got none")
        for method in self.methods:
            check_choice("method", method, HEADS)
            if (times := self.methods.count(method)) > 1:
                raise UsageError(f"method {method} is given {times} times")
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("router_optimizer", self.router_optimizer, OPTIMIZERS)
        check_choice("reward", self.reward, REWARDS)
        check_positive(
            seeds=self.seeds,
            epochs=self.epochs,
            batch=self.batch,
            width=self.width,
            learning_rate=self.learning_rate,
            anneal_epochs=self.anneal_epochs,
            router_rate=self.router_rate,
            block_share=self.block_share,
        )
        check_between(0, 1, block_share=self.block_share)
        if self.blocks < 0:
            raise UsageError(f"blocks must be positive or 0, got {self.blocks}")
