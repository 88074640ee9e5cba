"""Multi-task classification: routing networks beside the baselines of Rosenbaum et al. 2018."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metarims.errors import UsageError, check_choice, check_positive
from metarims.statistics import entropy, module_figures

from .data import MultiTask, Samples, load
from .heads import HEADS, HeadConfig, RoutedHead, convolutions
from .network import Routed
from .router import RouterConfig

REWARDS = ("correct", "loss")
SIDE, CHANNELS = 8, 1  # of the images that costs are measured with


@dataclass(frozen=True)
class ClassifyConfig:
    """A comparison of classifiers.

    Attributes:
        data: "digits", "mnist", "cifar100" or "miniimagenet".
        folder: where its files are; digits need none.
        methods: which heads to compare.
        seeds: how many trainings of each.
        epochs: passes over the training samples.
        batch: samples to a step.
        width: units of each fully connected layer.
        blocks: function blocks at each depth; 0 means one for each task.
        recursive: the first two routed layers share their blocks and PASS.
        optimizer: "sgd" or "adam".
        learning_rate: of everything but the router.
        anneal_epochs: learning rates are divided by 10 every so many epochs.
        router_rate: the router's learning rate; WPL has one of its own.
        reward: "correct" (±1) or "loss" (its negative).
        router: the router's settings.
    """

    data: str = "digits"
    folder: Path | None = None
    methods: tuple[str, ...] = tuple(HEADS)
    seeds: int = 3
    epochs: int = 12
    batch: int = 64
    width: int = 128
    blocks: int = 0
    recursive: bool = False
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    anneal_epochs: int = 20
    router_rate: float = 0.1
    reward: str = "correct"
    router: RouterConfig = field(default_factory=RouterConfig)

    def __post_init__(self) -> None:
        for method in self.methods:
            check_choice("method", method, HEADS)
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("reward", self.reward, REWARDS)
        check_positive(
            seeds=self.seeds,
            epochs=self.epochs,
            batch=self.batch,
            width=self.width,
            learning_rate=self.learning_rate,
            anneal_epochs=self.anneal_epochs,
            router_rate=self.router_rate,
        )
        if self.blocks < 0:
            raise UsageError(f"blocks must be positive or 0, got {self.blocks}")


OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}


class Classifier(nn.Module):
    """SimpleConvNet: convolutions, then a head.

    Args:
        method: the head's name.
        config: the comparison's settings.
        data: tells tasks, classes and the images' shape.
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
        """Images [N, C, H, W] to logits [N, classes], and what was routed."""
        logits, routed = self.head(self.convolutions(images), tasks, keys, noise)
        return logits, routed

    def router_parameters(self) -> list[nn.Parameter]:
        """Those that decide."""
        head = self.head
        return head.network.router_parameters() if isinstance(head, RoutedHead) else []

    def noise(self, count: int, generator: torch.Generator) -> Tensor | None:
        """What decisions are drawn with, for that many samples."""
        if not isinstance(self.head, RoutedHead):
            return None
        return torch.rand(count, *self.head.network.noise_shape, generator=generator)


@dataclass(frozen=True)
class Outcome:
    """How one training went.

    Attributes:
        method, seed: which.
        accuracy: on the test samples after each epoch.
        seconds: of training.
        figures: of the routing on the test samples, by depth and name, after the last epoch.
        policies: [steps, tasks, depth, K], the mean probabilities of each task's samples.
        routes: [tasks, depth], the block that most of each task's test samples take.
    """

    method: str
    seed: int
    accuracy: list[float]
    seconds: float
    figures: dict[str, float]
    policies: Tensor | None = None
    routes: Tensor | None = None


class Trainer:
    """A classifier and all that its training takes."""

    def __init__(self, method: str, config: ClassifyConfig, data: MultiTask, seed: int) -> None:
        self.config, self.data = config, data
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = Classifier(method, config, data)
        self.generator = torch.Generator().manual_seed(seed)
        router = self.model.router_parameters()
        deciding = {id(parameter) for parameter in router}
        others = [p for p in self.model.parameters() if id(p) not in deciding]
        groups = [{"params": others, "lr": config.learning_rate}]
        if router:
            groups.append({"params": router, "lr": config.router_rate})
        self.optimizer = OPTIMIZERS[config.optimizer](groups, fused=True)
        self.anneal = torch.optim.lr_scheduler.StepLR(self.optimizer, config.anneal_epochs, 0.1)
        self.policies: list[Tensor] = []

    def epoch(self) -> None:
        """One pass over the training samples in random order."""
        self.model.train()
        order = torch.randperm(len(self.data.train), generator=self.generator)
        for rows in order.split(self.config.batch):
            self.step(self.data.train, rows)
        self.anneal.step()

    def step(self, samples: Samples, rows: Tensor) -> None:
        """One step on the samples `rows`: Algorithm 2 of Rosenbaum et al. 2018."""
        images, tasks = samples.images[samples.image[rows]], samples.tasks[rows]
        labels, noise = samples.labels[rows], self.model.noise(len(rows), self.generator)
        logits, routed = self.model(images, tasks, rows, noise)
        losses = F.cross_entropy(logits, labels, reduction="none")
        loss = losses.mean()
        if routed is not None and isinstance(self.model.head, RoutedHead):
            correct = 2.0 * (logits.argmax(1) == labels) - 1
            final = correct if self.config.reward == "correct" else -losses.detach()
            loss = loss + self.model.head.network.learn(routed, final)
            self.policies.append(by_task(routed.claim.detach(), tasks, self.data.tasks))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    @torch.no_grad()
    def test(self) -> tuple[float, Routed | None]:
        """Accuracy on the test samples, decisions being the best, and how they were routed."""
        self.model.eval()
        samples = self.data.test
        keys = torch.zeros(len(samples), dtype=torch.int64)
        features = self.model.convolutions(samples.images)[samples.image]
        logits, routed = self.model.head(features, samples.tasks, keys, None)
        return float((logits.argmax(1) == samples.labels).float().mean()), routed


def compare(config: ClassifyConfig) -> Iterator[Outcome]:
    """Train every method with every seed on the same data, an outcome after each."""
    for seed in range(1, config.seeds + 1):
        data = load(config.data, config.folder, seed)
        for method in config.methods:
            yield train_classifier(method, config, data, seed)


def train_classifier(method: str, config: ClassifyConfig, data: MultiTask, seed: int) -> Outcome:
    """One training from the first to the last epoch."""
    trainer = Trainer(method, config, data, seed)
    accuracy, seconds = [], 0.0
    for _ in range(config.epochs):
        begun = time.perf_counter()
        trainer.epoch()
        seconds += time.perf_counter() - begun
        share, routed = trainer.test()
        accuracy.append(share)
    if routed is None:
        return Outcome(method, seed, accuracy, seconds, {})
    routes = F.one_hot(routed.trace.choices, routed.claim.shape[2]).float()
    return Outcome(
        method,
        seed,
        accuracy,
        seconds,
        routing_figures(routed),
        torch.stack(trainer.policies),
        by_task(routes, data.test.tasks, data.tasks).argmax(-1),
    )


def routing_figures(routed: Routed) -> dict[str, float]:
    """How varied the routes are at each depth, and how many paths there are.

    See Kirsch et al. 2018 and Rosenbaum et al. 2019, §5; ``selection_entropy`` is that of the
    blocks taken, in nats; 0 is collapse.
    """
    figures: dict[str, float] = {}
    choices, claims = routed.trace.choices, routed.claim
    for i in range(choices.shape[1]):
        mask = F.one_hot(choices[:, i], claims.shape[2])
        layer = module_figures(mask.bool().unsqueeze(0), claims[:, i].unsqueeze(0))
        layer["selection_entropy"] = entropy(mask.double().mean(0))
        figures |= {f"depth_{i}/{name}": float(value) for name, value in layer.items()}
    figures["paths"] = len(choices.unique(dim=0))
    return figures


def by_task(values: Tensor, tasks: Tensor, count: int) -> Tensor:
    """Mean of values [N, ...] over each task's samples, [tasks, ...]; 0 for one without."""
    sums = values.new_zeros(count, *values.shape[1:]).index_add_(0, tasks, values)
    sizes = tasks.bincount(minlength=count).clamp_min(1).to(values)
    return sums / sizes.view(-1, *[1] * (values.dim() - 1))


def summary(outcomes: list[Outcome]) -> list[dict[str, float | str]]:
    """For each method the mean test accuracy over seeds, its deviation, the best, the seconds."""
    rows: list[dict[str, float | str]] = []
    for method in dict.fromkeys(outcome.method for outcome in outcomes):
        mine = [outcome for outcome in outcomes if outcome.method == method]
        last = [outcome.accuracy[-1] for outcome in mine]
        rows.append(
            {
                "method": method,
                "accuracy": statistics.mean(last),
                "deviation": statistics.stdev(last) if len(last) > 1 else 0.0,
                "seeds": len(mine),
                "seconds": statistics.mean(outcome.seconds for outcome in mine),
            }
        )
    return rows


def measure_steps(
    config: ClassifyConfig, sizes: tuple[int, ...], methods: tuple[str, ...], rounds: int = 60
) -> list[dict[str, float | str]]:
    """Milliseconds of the processor for a training step, for so many function blocks and tasks.

    Each task is given its own block, as in Rosenbaum et al. 2018, Fig. 13; images are random ones
    of 8×8. Methods and sizes take turns, step by step, and the least time counts.
    """
    generator = torch.Generator().manual_seed(0)
    trainers, times = {}, {}
    for size in sizes:
        samples = Samples(
            torch.rand(config.batch, CHANNELS, SIDE, SIDE, generator=generator),
            torch.arange(config.batch),
            torch.randint(size, (config.batch,), generator=generator),
            torch.randint(2, (config.batch,), generator=generator),
        )
        data = MultiTask("random", samples, samples, size, 2)
        for method in methods:
            trainers[method, size] = Trainer(method, replace(config, blocks=size), data, 0)
            times[method, size] = float("inf")
    rows = torch.arange(config.batch)
    for _ in range(rounds):
        for key, trainer in trainers.items():
            begun = time.process_time()
            trainer.step(trainer.data.train, rows)
            times[key] = min(times[key], time.process_time() - begun)
    return [
        {"method": method, "blocks": size, "milliseconds": 1e3 * seconds}
        for (method, size), seconds in times.items()
    ]
