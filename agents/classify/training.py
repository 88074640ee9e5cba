"""Training multi-task classifiers: Algorithm 2 of Rosenbaum et al. 2018."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..cores.routing.network import Routed
from .config import OPTIMIZERS, ClassifyConfig
from .data import MultiTask, Samples, load
from .heads import HEADS, HeadConfig, RoutedHead, convolutions
from .outcomes import Outcome, by_task, routing_figures

BLOCKS, ROUTER = "blocks", "router"  # what learns: all that transforms, and what decides
Learners = tuple[str, ...]


class Classifier(nn.Module):
    """SimpleConvNet: convolutions, then a head.

    Args:
        method: the head's name.
        config: the comparison's settings.
        data: for the numbers of tasks and classes and the images' shape.
    """

    def __init__(self, method: str, config: ClassifyConfig, data: MultiTask) -> None:
        super().__init__()
        _, channels, side, _ = data.train.images.shape
        self.convolutions, features = convolutions(channels, side)
        self.head = HEADS[method](
            HeadConfig(
                features,
                config.width,
                data.tasks,
                data.classes,
                len(data.train),
                config.blocks or data.tasks,
                config.recursive,
                config.router,
            )
        )

    def forward(
        self, images: Tensor, tasks: Tensor, keys: Tensor, noise: Tensor | None
    ) -> tuple[Tensor, Routed | None]:
        """Images [N, C, H, W] to logits [N, classes], and the routing, if any."""
        logits, routed = self.head(self.convolutions(images), tasks, keys, noise)
        return logits, routed

    def router_parameters(self) -> list[nn.Parameter]:
        """The router's, if there is one."""
        head = self.head
        return head.network.router_parameters() if isinstance(head, RoutedHead) else []

    def noise(self, count: int, generator: torch.Generator) -> Tensor | None:
        """Uniform numbers to draw N samples' decisions with, [N, decisions, draws, K], if any."""
        if not isinstance(self.head, RoutedHead):
            return None
        return torch.rand(count, *self.head.network.noise_shape, generator=generator)


class Trainer:
    """A classifier and all that is needed to train it."""

    def __init__(self, method: str, config: ClassifyConfig, data: MultiTask, seed: int) -> None:
        self.config, self.data = config, data
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = Classifier(method, config, data)
        self.generator = torch.Generator().manual_seed(seed)
        router = self.model.router_parameters()
        deciding = {id(parameter) for parameter in router}
        others = [p for p in self.model.parameters() if id(p) not in deciding]
        self.optimizers = {BLOCKS: make_optimizer(others, config.optimizer, config.learning_rate)}
        if router:
            made = make_optimizer(router, config.router_optimizer, config.router_rate)
            self.optimizers[ROUTER] = made
        self.anneal = [
            torch.optim.lr_scheduler.StepLR(optimizer, config.anneal_epochs, 0.1)
            for optimizer in self.optimizers.values()
        ]
        self.taught = split_images(len(data.train.images), config.block_share, self.generator)
        self.policies: list[Tensor] = []

    def epoch(self) -> None:
        """One pass over the training samples in random order."""
        self.model.train()
        for rows, learners in self.batches():
            self.step(self.data.train, rows, learners)
        for schedule in self.anneal:
            schedule.step()

    def batches(self) -> list[tuple[Tensor, Learners]]:
        """Minibatches in random order: rows int64 [≤ batch], and what learns from them."""
        samples = self.data.train
        order = torch.randperm(len(samples), generator=self.generator)
        found = [
            (rows, learners)
            for learners, images in self.taught.items()
            for rows in order[images[samples.image[order]]].split(self.config.batch)
            if len(rows) and self.optimizers.keys() & set(learners)
        ]
        turns = torch.randperm(len(found), generator=self.generator)
        return [found[turn] for turn in turns]

    def step(self, samples: Samples, rows: Tensor, learners: Learners = (BLOCKS, ROUTER)) -> None:
        """One step on the samples `rows`, int64 [N]: Algorithm 2 of Rosenbaum et al. 2018."""
        images, tasks = samples.images[samples.image[rows]], samples.tasks[rows]
        labels, noise = samples.labels[rows], self.model.noise(len(rows), self.generator)
        logits, routed = self.model(images, tasks, rows, noise)
        losses = F.cross_entropy(logits, labels, reduction="none")
        loss = losses.mean()
        if routed is not None and isinstance(self.model.head, RoutedHead):
            if ROUTER in learners:
                correct = 2.0 * (logits.argmax(1) == labels) - 1
                final = correct if self.config.reward == "correct" else -losses.detach()
                loss = loss + self.model.head.network.learn(routed, final)
            self.policies.append(by_task(routed.probabilities.detach(), tasks, self.data.tasks))
        self.model.zero_grad()
        loss.backward()
        for learner in self.optimizers.keys() & set(learners):
            self.optimizers[learner].step()

    @torch.no_grad()
    def test(self) -> tuple[float, Routed | None]:
        """Accuracy on the test samples with the best decisions, and their routing, if any."""
        self.model.eval()
        samples = self.data.test
        keys = torch.zeros(len(samples), dtype=torch.int64)
        features = self.model.convolutions(samples.images)[samples.image]
        logits, routed = self.model.head(features, samples.tasks, keys, None)
        return float((logits.argmax(1) == samples.labels).float().mean()), routed


def make_optimizer(parameters: list[nn.Parameter], name: str, rate: float) -> torch.optim.Optimizer:
    """One of `OPTIMIZERS`, with a learning rate."""
    optimizer: torch.optim.Optimizer = OPTIMIZERS[name](parameters, lr=rate, fused=True)
    return optimizer


def split_images(count: int, share: float, generator: torch.Generator) -> dict[Learners, Tensor]:
    """Which images each of the learners learns from, bool [count] (Rosenbaum et al. 2019, §4.4).

    Args:
        count: number of images.
        share: fraction for the blocks; the others are for the router. At 1 both have all.
        generator: for drawing them.
    """
    if share == 1:
        return {(BLOCKS, ROUTER): torch.ones(count, dtype=torch.bool)}
    of_blocks = torch.randperm(count, generator=generator) < round(share * count)
    return {(BLOCKS,): of_blocks, (ROUTER,): ~of_blocks}


def compare(config: ClassifyConfig) -> Iterator[Outcome]:
    """Train every method with every seed, all methods on the same data; an outcome after each."""
    for seed in range(1, config.seeds + 1):
        data = load(config.data, config.folder, seed)
        for method in config.methods:
            yield train_classifier(method, config, data, seed)


def train_classifier(method: str, config: ClassifyConfig, data: MultiTask, seed: int) -> Outcome:
    """One training from the first to the last epoch."""
    trainer = Trainer(method, config, data, seed)
    accuracy: list[float] = []
    figures: list[dict[str, float]] = []
    seconds = 0.0
    for _ in range(config.epochs):
        begun = time.perf_counter()
        trainer.epoch()
        seconds += time.perf_counter() - begun
        share, routed = trainer.test()
        accuracy.append(share)
        figures.append({} if routed is None else routing_figures(routed))
    if routed is None:
        return Outcome(method, seed, accuracy, seconds, figures)
    routes = F.one_hot(routed.trace.choices, routed.probabilities.shape[2]).float()
    return Outcome(
        method,
        seed,
        accuracy,
        seconds,
        figures,
        torch.stack(trainer.policies),
        by_task(routes, data.test.tasks, data.tasks).argmax(-1),
    )
