"""Classifiers: every head on a small data set, costs, the estimator study, files."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from agents.classify import reports
from agents.classify.command import Classify
from agents.classify.config import ClassifyConfig
from agents.classify.costs import measure_steps
from agents.classify.data import MultiTask, Samples
from agents.classify.estimators import StudyConfig, study_estimators
from agents.classify.figures import _thinned
from agents.classify.heads import HEADS, RoutedHead
from agents.classify.outcomes import by_task, routing_figures
from agents.classify.training import BLOCKS, ROUTER, Classifier, Trainer, train_classifier
from agents.cores.routing.makers.q import QConfig
from agents.cores.routing.network import Routed
from agents.cores.routing.router import RouterConfig
from agents.cores.routing.trace import Trace
from metarims.errors import UsageError
from metarims.registry import names
from metarims.settings import replace_at

SMALL = ClassifyConfig(batch=32, width=16, learning_rate=0.1)


def stripes(count=240, seed=0):
    """Two opposite tasks: is there a vertical bar, and is there none."""
    generator = torch.Generator().manual_seed(seed)
    bar = torch.rand(count, generator=generator) < 0.5
    images = 0.1 * torch.rand(count, 1, 8, 8, generator=generator)
    images[bar, :, :, 3] = 1.0
    tasks = torch.randint(2, (count,), generator=generator)
    samples = Samples(images, torch.arange(count), tasks, (bar ^ tasks.bool()).long())
    return MultiTask("stripes", samples, samples, 2, 2)


@pytest.mark.parametrize("method", HEADS)
def test_every_head_learns_tasks_that_disagree(method):
    router = RouterConfig(QConfig(half_life=20))
    epochs = 25 if method == "soft-mixture" else 12
    config = replace(SMALL, epochs=epochs, router=router)
    outcome = train_classifier(method, config, stripes(), seed=1)
    assert outcome.accuracy[-1] > 0.95
    if method == "routing":
        assert outcome.routes is not None
        assert outcome.policies is not None
        assert outcome.routes.shape == (2, 3)
        assert outcome.policies.shape == (12 * 8, 2, 3, 2)
        assert outcome.routes[0].tolist() != outcome.routes[1].tolist()
        assert outcome.figures["paths"] == 2


@pytest.mark.parametrize("maker", names("decision maker"))
@pytest.mark.parametrize("recursive", [False, True])
def test_every_maker_takes_a_step(maker, recursive):
    router = replace_at(RouterConfig(), {"maker": maker})
    config = replace(SMALL, router=router, recursive=recursive, reward="loss")
    trainer = Trainer("routing", config, stripes(32), seed=1)
    trainer.epoch()
    accuracy, routed = trainer.test()
    assert 0 <= accuracy <= 1
    assert routed is not None
    assert all(torch.isfinite(parameter).all() for parameter in trainer.model.parameters())


def test_only_chosen_blocks_learn():
    trainer = Trainer("routing", replace(SMALL, blocks=6), stripes(), seed=1)
    head = trainer.model.head
    assert isinstance(head, RoutedHead)
    before = [parameter.clone() for parameter in head.network.blocks.parameters()]
    trainer.step(trainer.data.train, torch.arange(2))  # two samples: two blocks of six at most
    after = head.network.blocks.parameters()
    moved = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    assert 0 < sum(moved) <= 3 * 2 * 2


def moved(trainer, learners=(BLOCKS, ROUTER)):
    """Whether a step changes the blocks, and whether it changes the router."""
    router = trainer.model.router_parameters()
    deciding = {id(parameter) for parameter in router}
    parts = [[p for p in trainer.model.parameters() if id(p) not in deciding], router]
    before = [[parameter.clone() for parameter in part] for part in parts]
    trainer.step(trainer.data.train, torch.arange(64), learners)
    return [
        not all(torch.equal(a, b) for a, b in zip(old, new, strict=True))
        for old, new in zip(before, parts, strict=True)
    ]


@pytest.mark.parametrize("maker", ["wpl", "q", "gumbel", "relax"])
def test_a_step_teaches_whom_it_is_to_teach(maker):
    config = replace(SMALL, router=replace_at(RouterConfig(), {"maker": maker}))
    trainer = Trainer("routing", config, stripes(), seed=1)
    assert moved(trainer) == [True, True]
    assert moved(trainer, (BLOCKS,)) == [True, False]
    assert moved(trainer, (ROUTER,)) == [False, True]


def test_split_images_teach_either_blocks_or_router():
    trainer = Trainer("routing", replace(SMALL, block_share=0.75), stripes(240), seed=1)
    seen: dict[str, list[int]] = {}
    for rows, learners in trainer.batches():
        (who,) = learners
        assert len(rows) <= SMALL.batch
        seen.setdefault(who, []).extend(rows.tolist())
    assert {who: len(rows) for who, rows in seen.items()} == {BLOCKS: 180, ROUTER: 60}
    assert sorted(seen[BLOCKS] + seen[ROUTER]) == list(range(240))
    again = [rows for rows, (who,) in trainer.batches() if who == BLOCKS]
    assert sorted(torch.cat(again).tolist()) == sorted(seen[BLOCKS])
    without = Trainer("cross-stitch", replace(SMALL, block_share=0.75), stripes(240), seed=1)
    assert sum(len(rows) for rows, _ in without.batches()) == 180


def test_blocks_and_router_have_an_optimizer_each():
    config = replace(
        SMALL, router=RouterConfig(QConfig()), router_optimizer="adam", router_rate=0.5
    )
    trainer = Trainer("routing", config, stripes(), seed=1)
    assert isinstance(trainer.optimizers[BLOCKS], torch.optim.SGD)
    assert isinstance(trainer.optimizers[ROUTER], torch.optim.Adam)
    (table,) = trainer.model.router_parameters()
    before = table.detach().clone()
    trainer.step(trainer.data.train, torch.arange(64))
    change = (table - before).abs()  # Adam's first step is its rate, whatever the gradient
    torch.testing.assert_close(change[change > 0], torch.full_like(change[change > 0], 0.5))
    assert (change > 0).any()


def test_figures_of_routes_worked_out_by_hand():
    choices = torch.tensor([[0, 1], [0, 1], [1, 1], [1, 1]])
    probabilities = F.one_hot(choices, 3).float()
    probabilities[:, 1] = torch.tensor([0.0, 0.5, 0.5])
    nobody, nothing = torch.zeros(4, dtype=torch.int64), torch.zeros(4, 2)
    trace = Trace(
        probabilities, choices, nothing, probabilities, nobody, nobody, nothing, nothing[:, 0]
    )
    figures = routing_figures(Routed(nothing, probabilities, trace, None))
    assert figures["paths"] == 2
    assert figures["depth_0/blocks"] == 2
    assert figures["blocks"] == 1.5
    two = math.log(2)
    assert figures["selection_entropy"] == pytest.approx(two / 2)  # ln 2 and 0
    assert figures["H_A"] == pytest.approx(two)
    assert figures["information"] == pytest.approx(two / 2)


def test_the_same_seed_trains_the_same_classifier():
    config = replace(SMALL, epochs=1)
    first, second = (train_classifier("routing", config, stripes(), 3) for _ in range(2))
    assert first.policies is not None
    assert second.policies is not None
    assert torch.equal(first.policies, second.policies)
    assert first.accuracy == second.accuracy


def test_a_classifier_counts_its_features():
    for side, features in ((8, 128), (28, 288), (32, 128), (84, 800)):
        samples = Samples(torch.zeros(2, 3, side, side), *torch.zeros(3, 2, dtype=torch.int64))
        data = MultiTask("zeros", samples, samples, 2, 2)
        model = Classifier("task-specific-1-fc", SMALL, data)
        assert model.convolutions(samples.images).shape == (2, features)
        logits, _ = model(samples.images, samples.tasks, samples.image, None)
        assert logits.shape == (2, 2)


def test_means_by_task():
    values, tasks = torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([2, 2, 0])
    assert by_task(values, tasks, 3).flatten().tolist() == pytest.approx(
        [5.0, math.nan, 2.0], nan_ok=True
    )


def test_a_step_without_samples_of_a_task_says_nothing_about_its_policy():
    trainer = Trainer("routing", SMALL, stripes(), seed=1)
    trainer.step(trainer.data.train, (trainer.data.train.tasks == 0).nonzero()[:2, 0])
    trainer.step(trainer.data.train, (trainer.data.train.tasks == 1).nonzero()[:2, 0])
    first, second = trainer.policies
    assert not first[0].isnan().any()
    assert first[1].isnan().all()
    assert torch.equal(_thinned(torch.stack([first, second]), 1)[0, 0], first[0])


def test_the_soft_mixture_has_as_many_blocks_as_asked_for():
    def size(blocks):
        head = Classifier("soft-mixture", replace(SMALL, blocks=blocks), stripes()).head
        return sum(parameter.numel() for parameter in head.parameters())

    assert size(0) == size(2) < size(4)  # there are two tasks


def test_costs_are_measured_for_each_size():
    rows = measure_steps(SMALL, (2, 3), ("routing", "cross-stitch"), rounds=1)
    assert [(row["method"], row["blocks"]) for row in rows] == [
        ("routing", 2),
        ("cross-stitch", 2),
        ("routing", 3),
        ("cross-stitch", 3),
    ]
    assert all(float(row["milliseconds"]) > 0 for row in rows)


def test_the_study_finds_gumbel_biased_and_of_lower_variance():
    config = StudyConfig(dimensions=(4,), pairs=3, samples=4000, warm=50)
    rows = {quality.estimator: quality for quality in study_estimators(config)}
    assert rows["gumbel"].variance < rows["reinforce"].variance
    assert rows["baseline"].variance < rows["reinforce"].variance
    noise = {name: quality.variance / 16_000 for name, quality in rows.items()}
    assert rows["gumbel"].bias > 10 * noise["gumbel"]
    for name in ("reinforce", "baseline", "relax"):
        assert abs(rows[name].bias) < 3 * noise[name]
    for quality in rows.values():
        assert quality.error == pytest.approx(quality.variance + quality.bias, rel=0.05)


def test_a_comparison_leaves_its_table_and_figures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("agents.classify.training.load", lambda *_: stripes(64))
    config = replace(SMALL, methods=("routing", "cross-stitch"), seeds=2, epochs=1)
    reports.report_comparison(config, tmp_path / "out")
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"comparison.json", "accuracy.png", "routing-1-routes.png", "cross-stitch-2"} <= left
    assert {"routing-2-policies.png"} <= left
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [row["method"] for row in content["summary"]] == ["routing", "cross-stitch"]
    assert len(content["trainings"]) == 4
    assert all(not path.name.endswith(".aside") for path in (tmp_path / "out").iterdir())
    assert "cross-stitch" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"methods": ("crossstitch",)}, "unknown method 'crossstitch'; nearest: cross-stitch"),
        ({"methods": ()}, "methods must be one or more of routing, cross-stitch, "),
        ({"methods": ("routing", "routing")}, "method routing is given 2 times"),
        ({"optimizer": "sdg"}, "unknown optimizer 'sdg'; nearest: sgd"),
        ({"reward": "corect"}, "unknown reward 'corect'; nearest: correct"),
        ({"router_optimizer": "adm"}, "unknown router_optimizer 'adm'; nearest: adam"),
        ({"block_share": 0.0}, "block_share must be positive, got 0.0"),
        ({"block_share": 1.5}, "block_share must lie between 0 and 1, got 1.5"),
        ({"epochs": 0}, "epochs must be positive, got 0"),
        ({"blocks": -1}, "blocks must be positive or 0, got -1"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(UsageError) as error:
        ClassifyConfig(**settings)
    assert message in str(error.value)


def test_the_command_says_what_is_missing():
    with pytest.raises(UsageError) as error:
        Classify(data="cifar100", folder=Path("nowhere")).run(None)
    assert str(error.value).startswith("cifar100: there is no nowhere/train.bin")
    with pytest.raises(UsageError, match="unknown decision maker 'wp'; nearest: wpl"):
        replace_at(Classify(), {"router.maker": "wp"})


@pytest.mark.parametrize(
    ("what", "settings", "named"),
    [
        ("cost", {"methods": ("routing",), "seeds": 9}, "methods, seeds"),
        ("cost", {"block_share": 0.5}, "block_share"),
        ("estimators", {"seeds": 9, "batch": 7}, "seeds, batch"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(what, settings, named, tmp_path):
    with pytest.raises(UsageError, match=f"this study sets {named} itself; leave it out"):
        Classify(what=what, out=tmp_path / "out", **settings).run(None)
    assert not (tmp_path / "out").exists()


def test_the_command_leaves_what_it_reports(tmp_path, capsys):
    out = tmp_path / "a" / "b"
    Classify(what="cost", batch=4, width=4, out=out).run(None)
    content = json.loads((out / "cost.json").read_text())
    assert len(content) == len(reports.COSTS) * len(reports.COST_METHODS)
    assert f"figures and tables in {out}" in capsys.readouterr().out
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write to .*file"):
        Classify(what="cost", batch=4, width=4, out=tmp_path / "file").run(None)
