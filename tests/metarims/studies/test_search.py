"""Searches over runs written by hand: who runs which trial, and the results."""

import pickle
from pathlib import Path

import pytest
from optuna.storages.journal import JournalFileSymlinkLock

from agents import SEARCH_SPACE
from metarims.config import RunConfig, find_preset
from metarims.errors import UsageError
from metarims.runs import load_run
from metarims.settings import flatten, replace_at
from metarims.studies.finals import make_finals
from metarims.studies.search import JOURNAL, Studies, open_journal
from metarims.studies.search_report import as_csv, as_markdown
from metarims.studies.space import Choice, Range, check_space, read_space, space_of
from metarims.studies.trials import flags

from ..small import create_run

FRAMES = 100
LEVELS = ("A-v0", "B-v0")


@pytest.fixture(autouse=True)
def _disk_that_need_not_last(monkeypatch):
    """Skip syncing to disk, which a search does at each step and a test need not."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def presets(*names):
    return tuple(replace_at(find_preset(n), {"env": LEVELS, "frames": FRAMES}) for n in names)


def studies(folder, *names, trials=5, **options):
    return Studies(folder, presets(*(names or ("lstm",))), SEARCH_SPACE, trials, **options)


class Trainer:
    """Makes runs whose success rises to a value that depends on their learning rate."""

    def __init__(self, worth=lambda config: 1000 * config.loops.fast.learning_rate % 0.5):
        self.worth, self.made = worth, []

    def __call__(self, config, stopped):
        self.made.append(config)
        run = create_run(config)
        for tenth in range(1, 11):
            row = {"frames": 10 * tenth, "rollout/success_rate": self.worth(config) * tenth / 10}
            run.write_metrics(row | {"rollout/episodes": tenth, "train/nonfinite": 0})
            if stopped():
                raise UsageError("it was killed")
        return "done"


def never():
    return False


def test_a_space_is_read_from_words():
    space = read_space(["fast.learning-rate=1e-4..1e-2", "fast.epochs=1..4", "core.attention=a,b"])
    assert space == {
        "fast.learning_rate": Range(1e-4, 1e-2),
        "fast.epochs": Range(1, 4),
        "core.attention": Choice(("a", "b")),
    }
    assert read_space(["x=true,2,0.5"])["x"] == Choice((True, 2, 0.5))
    assert [Range(1, 4).is_whole, Range(0.1, 4).is_whole] == [True, False]


@pytest.mark.parametrize(
    ("low", "high", "drawn", "rounded"),
    [
        (1e-4, 1e-2, 0.0012345, 0.0012),
        (0.95, 0.998, 0.9966, 0.997),
        (0.95, 0.998, 0.99799, 0.998),
        (0.1234, 0.5, 0.1235, 0.1234),
        (10.0, 200.0, 153.2, 150.0),
    ],
)
def test_values_are_rounded_within_their_range(low, high, drawn, rounded):
    assert Range(low, high).rounded(drawn) == rounded


@pytest.mark.parametrize("word", ["x", "x=", "=1,2", "x=a..b", "x=2..1", "x=0..1"])
def test_what_is_no_space_is_refused(word):
    with pytest.raises(UsageError):
        read_space([word])


def test_settings_that_an_agent_lacks_are_passed_over():
    lstm, metarims = presets("lstm", "metarims")
    assert {"slow.epochs", "core.attention"} <= space_of(metarims, SEARCH_SPACE).keys()
    assert not {"slow.epochs", "core.attention"} & space_of(lstm, SEARCH_SPACE).keys()
    check_space([lstm, metarims], SEARCH_SPACE)
    with pytest.raises(UsageError, match="must be of type int"):
        check_space([lstm], read_space(["fast.epochs=0.5..2"]))


def test_settings_as_they_are_typed():
    assert flags({"fast.learning_rate": 0.001, "core": "rims"}) == (
        "--fast.learning-rate 0.001 --core rims"
    )
    assert flags({"encoder.slots": True, "a.b": False}) == "--encoder.slots --a.no-b"


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp"])
def test_each_agent_gets_as_many_trials_and_the_best_comes_first(tmp_path, sampler):
    train, names = Trainer(), ("lstm", "rims")
    search = studies(tmp_path, *names, trials=4, sampler=sampler, pruner="none")
    lines = list(search.work(train, never))
    assert len(lines) == 8
    assert [config.preset for config in train.made] == 4 * [*2 * ["lstm"], *2 * ["rims"]]
    for name in names:
        points = search.points(name)
        assert [point.number for point in points] == [0, 1, 2, 3]
        assert points[0].settings == {}
        assert len({str(point.settings) for point in points}) == 4
        assert all(point.frames == FRAMES * len(LEVELS) for point in points)
        best = max(points[1:], key=lambda point: point.score)
        assert search.finalists(name, 1) == [points[0], best]
    rate = find_preset("lstm").loops.fast.learning_rate
    assert search.points("lstm")[0].score == pytest.approx((1000 * rate % 0.5) / 2)  # a triangle
    assert search.missing() == 0


def test_the_best_are_made_again_with_fresh_seeds(tmp_path):
    search = studies(tmp_path, trials=3, pruner="none")
    list(search.work(Trainer(), never))
    train = Trainer(lambda config: 0.1 * config.run.seed)

    def train_all(configs):
        for config in configs:
            train(config, never)
        return [load_run(config.run.out) for config in configs]

    finals = make_finals(search, 1, 2, train_all)
    assert [config.run.seed for config in train.made] == 2 * [2, 2, 3, 3]
    assert finals["lstm"][0].scores == pytest.approx([0.1, 0.15])
    report, table = as_markdown(search, finals), as_csv(search, finals)
    assert "| lstm | 3 | 0 | 600 |" in report
    assert "python run.py train --agent lstm" in report
    assert "| 0 | the defaults | 0.125 |" in report
    header, *rows = table.splitlines()
    assert header.startswith("agent,trial,ended_early,frames,mean_success,with_fresh_seeds,fast.")
    assert len(rows) == 3


def test_nothing_is_best_where_no_episode_has_counted(tmp_path):
    def train(config, stopped):
        create_run(config).write_metrics({"frames": FRAMES, "rollout/episodes": 0})

    def train_all(configs):
        for config in configs:
            train(config, never)
        return [load_run(config.run.out) for config in configs]

    search = studies(tmp_path, trials=2, pruner="none")
    assert [line.split()[2] for line in search.work(train, never)] == ["–", "–"]
    assert search.overview().endswith("lstm 2, best –")
    finals = make_finals(search, 1, 2, train_all)
    report, table = as_markdown(search, finals), as_csv(search, finals)
    assert "| 0 | the defaults | – | – | – |" in report
    assert "none of the settings is the best" in report
    assert "run.py train" not in report
    assert table.splitlines()[1].startswith("lstm,0,False,200,,,")


def test_finalists_have_settings_of_their_own(tmp_path):
    """Where few values are left to draw, settings come again, the defaults' too."""
    default = find_preset("lstm").loops.fast.epochs
    space = {"fast.epochs": Choice((default, default + 1))}
    search = Studies(tmp_path, presets("lstm"), space, 8, "random", "none")
    list(search.work(Trainer(lambda config: 0.5), never))
    drawn = [point.settings for point in search.points("lstm")[1:]]
    assert drawn.count({}) > 0 < drawn.count({"fast.epochs": default + 1})
    defaults, other = search.finalists("lstm", 9)
    assert (defaults.number, defaults.settings) == (0, {})
    assert other.settings == {"fast.epochs": default + 1}
    assert search.finalists("lstm", 1) == [defaults, other]


@pytest.mark.parametrize("nonfinite", [1.0, 0.0])
def test_a_finalist_without_finite_gradients_is_not_measured(tmp_path, nonfinite):
    """For any other reason to fail there is no report."""

    def train_all(configs):
        for config in configs:
            Trainer()(config, never)
            run = load_run(config.run.out)
            if "001" in config.run.out:  # a finished run has a checkpoint
                (run.path / "checkpoints" / f"{FRAMES:012}").mkdir(parents=True)
            else:
                row = {"rollout/episodes": 11.0, "train/nonfinite": nonfinite}
                run.write_metrics({"frames": FRAMES + 10.0} | row)
        raise UsageError("some have failed")

    search = studies(tmp_path, trials=2, pruner="none")
    list(search.work(Trainer(), never))
    defaults, other = search.points("lstm")
    if nonfinite:
        found = make_finals(search, 1, 1, train_all)["lstm"]
        assert [(each.point, each.measured) for each in found] == [(other, True), (defaults, False)]
    else:
        with pytest.raises(UsageError, match="some have failed"):
            make_finals(search, 1, 1, train_all)


def test_a_search_goes_on_and_may_have_more_trials(tmp_path):
    train = Trainer()
    list(studies(tmp_path, trials=2).work(train, never))
    assert list(studies(tmp_path, trials=2).work(train, never)) == []
    list(studies(tmp_path, "lstm", "rims", trials=3).work(train, never))
    assert [config.preset for config in train.made] == 4 * ["lstm"] + 4 * ["rims"] + [
        *2 * ["lstm"], *2 * ["rims"]
    ]  # fmt: skip


def test_a_trial_that_its_worker_left_is_made_with_the_same_settings(tmp_path):
    def fail(config, stopped):
        left.append(config)
        raise UsageError("the disk is full")

    left: list[RunConfig] = []
    train = Trainer()
    search = studies(tmp_path, trials=3)
    next(search.work(train, never))
    with pytest.raises(UsageError, match="the disk is full"):
        list(search.work(fail, never))
    again = studies(tmp_path, trials=3)
    assert len(list(again.work(train, never))) == 2
    assert flatten(train.made[2]) == flatten(left[0])
    assert [point.number for point in again.points("lstm")] == [0, 1, 2]


def test_workers_share_the_trials(tmp_path):
    one, other = studies(tmp_path, trials=4), studies(tmp_path, trials=4)
    train = Trainer()
    first = one.work(train, never)
    second = other.work(train, never)
    lines = [next(first), next(second), *first, *second]
    assert sorted(line.split()[1] for line in lines) == ["0", "1", "2", "3"]
    outs = [config.run.out for config in train.made]
    assert len(outs) == len(set(outs)) == 4 * len(LEVELS)


def test_a_trial_that_another_makes_is_left_to_it(tmp_path):
    def slow(config, stopped):
        if not others:
            others.append(list(other.work(train, never)))
        return train(config, stopped)

    one, other = studies(tmp_path, trials=3), studies(tmp_path, trials=3)
    others: list[list[str]] = []
    train = Trainer()
    assert [line.split()[1] for line in one.work(slow, never)] == ["0"]
    assert [line.split()[1] for line in others[0]] == ["1", "2"]


def test_trials_that_lag_behind_are_ended(tmp_path):
    def worth(config):
        return 0.0 if "007" in config.run.out else 0.9

    train = Trainer(worth)
    search = studies(tmp_path, trials=8)
    lines = list(search.work(train, never))
    assert [point.pruned for point in search.points("lstm")] == [*7 * [False], True]
    assert search.points("lstm")[7].frames < FRAMES
    assert "ended early" in lines[7]
    assert 7 not in [point.number for point in search.finalists("lstm", 9)]


def test_a_run_without_finite_gradients_counts_as_one_that_lags(tmp_path):
    def lose(config, stopped):
        run = create_run(config)
        run.write_metrics({"frames": 10, "rollout/episodes": 1, "train/nonfinite": 1})
        raise UsageError("no gradient was finite")

    search = studies(tmp_path, trials=2)
    list(search.work(lose, never))
    assert [(point.pruned, point.score) for point in search.points("lstm")] == 2 * [(True, 0.0)]


def test_the_journal_is_read_without_a_pickle_and_mended(tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("a pickle was loaded")

    list(studies(tmp_path, trials=2).work(Trainer(), never))
    monkeypatch.setattr(pickle, "loads", refuse)
    journal = tmp_path / JOURNAL
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code": 4, "wor')
    assert len(studies(tmp_path, trials=2).points("lstm")) == 2
    assert (journal.read_bytes() == whole) is True  # they are long
    journal.write_bytes(b"\x80\x04K\x01." + whole)
    with pytest.raises(UsageError, match="journal cannot be read"):
        studies(tmp_path, trials=2)


def test_locks_lead_to_the_journal_from_wherever_they_are_seen(tmp_path, monkeypatch):
    """One that a killed worker left is broken by the age of what it leads to."""

    def release(lock):
        led.append(Path(lock._lock_file).exists())
        let_go(lock)

    led: list[bool] = []
    let_go = JournalFileSymlinkLock.release
    monkeypatch.setattr(JournalFileSymlinkLock, "release", release)
    monkeypatch.chdir(tmp_path)
    Path("search").mkdir()
    for _ in range(2):
        open_journal(Path("search") / JOURNAL)
    assert led == 2 * [True]


def test_another_search_is_not_gone_on_with(tmp_path):
    studies(tmp_path)
    with pytest.raises(UsageError, match="holds a search with other"):
        studies(tmp_path, seed=1)
