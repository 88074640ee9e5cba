"""Studies: valid rows of settings; what is trained, kept, resumed and shown."""

import csv
import json
import math
from dataclasses import replace

import pytest

from agents.classify import figures, trials
from agents.classify.command import Classify
from agents.classify.config import ClassifyConfig
from agents.classify.outcomes import Outcome
from agents.classify.studies import STUDIES, Axis, Study
from agents.classify.trials import (
    Result,
    Trial,
    as_csv,
    as_markdown,
    plan,
    read_results,
    trial_file,
)
from metarims.errors import UsageError
from metarims.settings import differences, replace_at

from .test_classify import stripes

SMALL = ClassifyConfig(epochs=2, batch=64, width=8, seeds=2)
TWO = Study(
    "which of two?",
    {"learning_rate": 0.2},
    (
        Axis("rate", {"low": {"router_rate": 0.1}, "high": {"router_rate": 1.0}}, "high"),
        Axis("method", {"all": {"methods": ("task-specific-all-fc",)}, "routed": {}}, "neither"),
    ),
)


@pytest.mark.parametrize("name", STUDIES)
def test_the_rows_of_a_study_are_settings_that_there_are(name):
    planned = plan(STUDIES[name], SMALL)
    arms = [(axis.about, arm) for axis in STUDIES[name].axes for arm in axis.arms]
    assert [(each.axis, each.arm) for each in planned] == 2 * arms
    assert {each.seed for each in planned} == {1, 2}
    for each in planned:
        assert (each.config.epochs, each.config.width) == (2, 8)
    for axis in STUDIES[name].axes:  # no two arms side by side are the same
        settings = [str(each.config) for each in planned if each.axis == axis.about]
        assert len(set(settings)) == len(axis.arms)


def test_the_axes_of_the_paper_are_there():
    varied = {
        path
        for each in plan(STUDIES["collapse"], SMALL)
        for path in differences(each.config, ClassifyConfig())
    }
    assert varied >= {
        "router_rate", "router.maker", "router.maker.epsilon", "router.collaboration",
        "router.layout",
    }  # fmt: skip
    pairs = {
        (each.config.optimizer, each.config.router_optimizer)
        for each in plan(STUDIES["optimisers"], SMALL)
    }
    assert pairs == {(a, b) for a in ("sgd", "adam") for b in ("sgd", "adam")}
    assert {each.config.block_share for each in plan(STUDIES["split"], SMALL)} > {1.0, 0.5}


def test_a_study_says_what_it_settles_itself():
    with pytest.raises(UsageError, match="sets learning_rate, router_rate itself; leave it out"):
        plan(TWO, replace(SMALL, learning_rate=0.5, router_rate=0.5))
    with pytest.raises(UsageError, match="sets block_share itself; leave it out"):
        Classify(what="split", block_share=0.5).run(None)
    own = replace_at(ClassifyConfig(), {"router.maker.rate": 0.5})
    assert own.router in [trial.config.router for trial in plan(STUDIES["split"], own)]
    with pytest.raises(UsageError, match=r"sets router\.maker\.rate itself; leave it out"):
        plan(STUDIES["collapse"], own)


def test_a_study_trains_what_is_missing_and_leaves_its_tables(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(STUDIES, "split", TWO)
    trained = []

    def load(name, folder, seed):
        trained.append(seed)
        return stripes(64, seed)

    monkeypatch.setattr(trials, "load", load)
    command = Classify(what="split", out=tmp_path, epochs=2, batch=64, width=8, seeds=2)
    command.run(None)
    assert trained == [1, 2]  # data are read once for a seed
    said = capsys.readouterr().out
    assert "2/6  rate: high, seed 1  accuracy" in said
    files = {path.name: path.read_bytes() for path in (tmp_path / "runs").iterdir()}
    assert len(files) == 2 * 3
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"runs", "split.csv", "split.md", "split.png"}

    gone = sorted(files)[0]
    (tmp_path / "runs" / gone).unlink()
    command.run(None)
    said = capsys.readouterr().out
    assert said.count(" min left") == 1
    assert "6/6  " in said
    again = json.loads((tmp_path / "runs" / gone).read_text())
    assert again["epochs"] == json.loads(files[gone])["epochs"]  # the same training
    rows = list(csv.DictReader((tmp_path / "split.csv").read_text().splitlines()))
    assert len(rows) == 8  # a line for each arm of each axis; a shared arm is in both
    assert [row["blocks"] == "" for row in rows if row["axis"] == "method"] == [True, False] * 2

    (tmp_path / "runs" / gone).write_text('{"epochs": 3}')
    with pytest.raises(UsageError, match="is damaged; delete it to train again"):
        command.run(None)


def test_a_figure_that_is_no_number_stays_one(tmp_path):
    one = Trial("what", "a", 1, SMALL)
    trial_file(one, tmp_path).write_text('{"epochs": [{"accuracy": 0.5, "H_A": null}]}')
    (result,) = read_results([one], tmp_path)
    assert result.curve("accuracy") == [0.5]
    assert math.isnan(result.curve("H_A")[0])


def test_one_epoch_is_a_dot(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(figures, "_save", lambda figure, path: kept.append(figure))
    outcomes = [Outcome("routing", seed, [0.1 * seed], 1.0, [{}]) for seed in (1, 2)]
    figures.draw_accuracies(outcomes, tmp_path / "accuracy.png")
    (axis,) = kept[0].axes
    assert [line.get_marker() for line in axis.lines] == 3 * ["o"]
    assert [tick for tick in axis.get_xticks() if 0.9 < tick < 1.1] == [1]
    one = Trial("what", "a", 1, SMALL)
    trial_file(one, tmp_path).write_text(json.dumps({"epochs": [routed(0.5, 0.1)]}))
    figures.draw_axes(["what"], read_results([one], tmp_path), tmp_path / "what.png")
    assert [axis.lines[0].get_marker() for axis in kept[1].axes] == 2 * ["o"]


def routed(accuracy, entropy):
    return {
        "accuracy": accuracy, "selection_entropy": entropy, "blocks": 2.0, "H_A": 1.0,
        "information": 0.5, "paths": 3.0,
    }  # fmt: skip


def test_tables_have_the_last_epochs_means():
    study = Study("why?", {}, (Axis("what", {"a": {}, "b": {"width": 4}}, "a wins"),))
    results = [
        Result(Trial("what", "a", 1, SMALL), [routed(0.1, 0.0), routed(0.5, 1.0)]),
        Result(Trial("what", "a", 2, SMALL), [routed(0.1, 0.0), routed(0.7, 1.5)]),
        Result(Trial("what", "b", 1, SMALL), [{"accuracy": 0.1}, {"accuracy": 0.25}]),
    ]
    table = as_markdown(study, results)
    assert "| a | 60.0 (50.0 – 70.0) | 1.25 (1.00 – 1.50) | 2.0 (2.0 – 2.0) | 1.00" in table
    assert "| b | 25.0 | – | – | – | – | – |" in table
    assert "The paper: a wins." in table
    assert as_csv(results).splitlines()[1:] == [
        "what,a,1,0.5,1.0,2.0,1.0,0.5,3.0",
        "what,a,2,0.7,1.5,2.0,1.0,0.5,3.0",
        "what,b,1,0.25,,,,,",
    ]


def test_a_training_is_kept_by_its_settings_and_seed(tmp_path):
    one = Trial("what", "a", 1, SMALL)
    assert trial_file(one, tmp_path) == trial_file(replace(one, axis="x", arm="y"), tmp_path)
    others = [replace(one, seed=2), replace(one, config=replace(SMALL, width=9))]
    assert len({trial_file(each, tmp_path) for each in (one, *others)}) == 3
