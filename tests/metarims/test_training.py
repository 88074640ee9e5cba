"""A run on disk: its files, that it resumes bit for bit, and that it is not overwritten."""

import itertools
import json
import math
from dataclasses import replace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import metarims
from metarims import runs
from metarims.checkpoint import MANIFEST, SEAL, TENSORS
from metarims.errors import UsageError
from metarims.files import write_json
from metarims.settings import replace_at
from metarims.tally import MEANS, WINDOW
from metarims.training import Training, begin_from

from .probes import Contexts
from .small import agent_of, configured, make_agent

ITERATION = 8 * 20  # frames


def config(out, preset="metarims", iterations=4):
    frames = iterations * ITERATION
    return configured(
        preset, env=("probe-0",), out=str(out), frames=frames, checkpoint_frames=ITERATION
    )


def train(out, preset="metarims", iterations=4):
    run = config(out, preset, iterations)
    return metarims.train(run, Contexts(8), agent_of(run))


def resume(out, preset="metarims", **changes):
    run = metarims.load_run(out)
    return metarims.resume(run, Contexts(8), agent_of(run.config), **changes)


def rows(out):
    """The rows of metrics.jsonl without times."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    clock = ("time/fps", "time/time_elapsed")
    return [{name: row[name] for name in row if name not in clock} for row in lines]


@pytest.mark.parametrize("preset", ["metarims", "lstm", "random", "routing"])
def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(tmp_path, preset):
    train(tmp_path / "whole", preset)
    train(tmp_path / "halves", preset, iterations=2)
    summary = resume(tmp_path / "halves", preset, frames=4 * ITERATION)
    assert summary.frames == 4 * ITERATION
    whole, halves = (metarims.load_run(tmp_path / name).load() for name in ("whole", "halves"))
    assert whole.tensors.keys() == halves.tensors.keys()
    for name, tensor in whole.tensors.items():
        assert torch.equal(tensor, halves.tensors[name]), name
    assert rows(tmp_path / "whole") == rows(tmp_path / "halves")


def test_a_run_that_goes_on_further_is_as_one_that_was_planned_so(tmp_path):
    train(tmp_path / "whole", iterations=3)
    train(tmp_path / "further", iterations=1)
    resume(tmp_path / "further", frames=3 * ITERATION)
    whole, further = (metarims.load_run(tmp_path / name) for name in ("whole", "further"))
    own = {"out": further.config.run.out}
    assert further.config == replace_at(whole.config, own)
    assert further.load().config == further.config.as_json()
    run = replace(further, config=replace_at(further.config, {"until": 1.0, "device": "cuda:7"}))
    metarims.resume(run, Contexts(8), agent_of(run.config))
    assert metarims.load_run(run.path).config == replace_at(further.config, {"until": 1.0})
    with run.held(), pytest.raises(UsageError, match="is being trained by another process"):
        resume(tmp_path / "further", frames=9 * ITERATION)
    assert metarims.load_run(run.path).config.run.frames == 3 * ITERATION


def test_runs_and_evaluations_draw_layouts_of_their_own(tmp_path):
    """Of a run's environments none has the seed of another run's, nor of an evaluation's."""
    begun = []

    class Noted(Contexts):
        def reset(self, seed=None):
            assert seed is not None
            begun.append(range(seed, seed + self.num_envs))
            return super().reset(seed)

    for seed in (0, 1, 2):
        run = replace_at(config(tmp_path / str(seed), iterations=1), {"seed": seed})
        metarims.train(run, Noted(8), agent_of(run))
    agent = agent_of(run)
    metarims.evaluate(agent, Noted(8), 8)
    assert len(begun) == 4
    assert len({*itertools.chain(*begun)}) == 4 * 8


@pytest.mark.parametrize("tasks", [1, 2])
def test_figures_of_several_levels_are_told_apart_even_when_it_goes_on(tmp_path, tasks):
    run = config(tmp_path, iterations=3)
    metarims.train(run, Contexts(8, tasks), agent_of(run))
    saved = metarims.load_run(tmp_path).load()
    early = {name: saved.tensors[name][:, :4] for name in ("waiting", "recent")}
    metarims.load_run(tmp_path).save(
        3 * ITERATION, replace(saved, tensors={**saved.tensors, **early})
    )
    metarims.resume(
        metarims.load_run(tmp_path), Contexts(8, tasks), agent_of(run), frames=4 * ITERATION
    )
    names = {f"rollout/probe-{task}/{name}" for task in range(tasks) for name in MEANS}
    for row in rows(tmp_path)[2:]:
        by_level = {name for name in row if name.startswith("rollout/probe-")}
        assert by_level == (names if tasks > 1 else set())
    if tasks > 1:  # before it was saved as early checkpoints were, without episodes' levels
        row = rows(tmp_path)[2]
        shares = [row[f"rollout/probe-{task}/success_rate"] for task in range(2)]
        assert min(shares) <= row["rollout/success_rate"] <= max(shares)


def test_goes_on_by_other_random_numbers_where_generators_are_of_another_kind(tmp_path):
    """A GPU's generator, whose state takes 16 bytes, on a CPU."""

    def after(name, last_byte):
        train(tmp_path / name, iterations=2)
        run = metarims.load_run(tmp_path / name)
        saved = run.load()
        other = torch.tensor([*range(15), last_byte], dtype=torch.uint8)
        run.save(2 * ITERATION, replace(saved, tensors={**saved.tensors, "generator": other}))
        resume(tmp_path / name, frames=4 * ITERATION)
        return rows(tmp_path / name)

    one = after("one", 1)
    assert after("again", 1) == one
    assert after("other", 2)[:2] == one[:2]
    assert after("others", 2)[2:] != one[2:]


def test_goes_on_from_the_checkpoint_before_a_damaged_one(tmp_path):
    train(tmp_path / "whole")
    train(tmp_path / "damaged", iterations=3)
    newest = max((tmp_path / "damaged" / "checkpoints").iterdir())
    (newest / TENSORS).write_bytes(b"not what was written")
    resume(tmp_path / "damaged", frames=4 * ITERATION)
    assert rows(tmp_path / "whole") == rows(tmp_path / "damaged")


def test_all_checkpoints_are_kept_where_that_is_asked_for(tmp_path):
    run = replace_at(config(tmp_path / "run"), {"keep_checkpoints": True})
    metarims.train(run, Contexts(8), agent_of(run))
    resume(tmp_path / "run", frames=6 * ITERATION)
    kept = metarims.load_run(tmp_path / "run")
    assert kept.checkpoints() == {frames * ITERATION for frames in range(7)}
    assert kept.load(str(3 * ITERATION)).numbers["frames"] == 3 * ITERATION
    train(tmp_path / "usual")
    assert len(metarims.load_run(tmp_path / "usual").checkpoints()) <= 3


def test_the_agent_of_a_run_can_be_loaded(tmp_path):
    agent = make_agent()
    metarims.train(config(tmp_path), Contexts(8), agent)
    again = make_agent(seed=5)
    metarims.load_run(tmp_path).load_agent(again)
    for a, b in zip(agent.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(UsageError, match="the checkpoint belongs to another agent"):
        metarims.load_run(tmp_path).load_agent(make_agent("lstm"))


def test_words_are_read_as_they_were_learnt(tmp_path):
    """A checkpoint stores words by token; those of the user's levels depend on their order."""
    train(tmp_path)
    run, agent = metarims.load_run(tmp_path), make_agent()
    learnt = agent.vocabulary
    agent.vocabulary = (*learnt, "pond")  # a word added later
    run.load_agent(agent)
    agent.vocabulary = learnt[:-1]
    with pytest.raises(UsageError, match=r"the word 'go', which no level here uses: --import the"):
        run.load_agent(agent)
    agent.vocabulary = (*learnt[:-1], "pond", "go")
    with pytest.raises(UsageError, match="has the word 'go' where 'pond' is here: --import the"):
        run.load_agent(agent)
    manifest = max((tmp_path / "checkpoints").glob(f"*/{MANIFEST}"))
    before = {name: x for name, x in json.loads(manifest.read_text()).items() if name != SEAL}
    manifest.write_text(json.dumps({**before, "vocabulary": []}))  # as in the oldest runs
    run.load_agent(agent)


def test_scalars_have_the_names_of_stable_baselines(tmp_path, capsys):
    summary = train(tmp_path, iterations=3)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    names = set(events.Tags()["scalars"])
    expected = {
        "rollout/ep_rew_mean",
        "rollout/ep_len_mean",
        "rollout/success_rate",
        "time/fps",
        "time/iterations",
        "time/time_elapsed",
        "time/total_timesteps",
        "train/approx_kl",
        "train/clip_fraction",
        "train/entropy_loss",
        "train/explained_variance",
        "train/loss",
        "train/n_updates",
        "train/policy_gradient_loss",
        "train/value_loss",
        "train_fast/approx_kl",
        "train_slow/approx_kl",
        "modules/use_0",
        "modules/H_A",
        "modules/H_A_given_X",
        "modules/information",
        "modules/dead",
    }
    assert expected <= names, expected - names
    assert [event.step for event in events.Scalars("time/fps")] == [160, 320, 480]
    last = rows(tmp_path)[-1]
    assert last["frames"] == 480
    loops = configured().loops.turns()
    assert last["train/n_updates"] == 3 * sum(loop.epochs * loop.minibatches for _, loop in loops)
    assert summary.frames == 480
    assert summary.success_rate == last["rollout/success_rate"]
    assert sum(last[f"modules/use_{j}"] for j in range(5)) == pytest.approx(3)
    assert all(math.isfinite(value) for value in last.values())
    assert "480/480 frames" in capsys.readouterr().out


def test_a_folder_that_holds_a_run_is_left_alone(tmp_path):
    train(tmp_path / "run", iterations=1)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    with pytest.raises(UsageError, match="run holds another run: resume it, or choose another"):
        train(tmp_path / "run")
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds other files"):
        train(tmp_path)
    with pytest.raises(UsageError, match=r"notes.txt is a file"):
        train(tmp_path / "notes.txt")


def test_a_run_that_failed_in_its_first_iteration_is_in_nobodys_way(tmp_path, monkeypatch):
    out = tmp_path / "run"

    def fail(training):
        raise AttributeError

    with monkeypatch.context() as mistaken:
        mistaken.setattr(Training, "iterate", fail)
        with pytest.raises(AttributeError):
            train(out, "lstm")
    assert runs.find_run(config(out, "lstm")) is None
    with pytest.raises(UsageError, match="holds another run"):  # runs within a run
        runs.check_out_for_several(config(out))
    (run := metarims.load_run(out)).write_metrics({"frames": ITERATION})
    with pytest.raises(UsageError, match="holds another run"):
        train(out)
    (out / "metrics.jsonl").write_text("")
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds another run"):
        train(out)
    (out / "notes.txt").unlink()
    with run.held(), pytest.raises(UsageError, match="is being trained by another process"):
        train(out)
    train(out)
    train(tmp_path / "alone")
    assert rows(out) == rows(tmp_path / "alone")
    files = [sorted(path.name for path in place.iterdir()) for place in (out, tmp_path / "alone")]
    assert len(files[0]) == len(files[1])  # no events of the run that failed


def test_a_new_run_is_held_before_its_configuration_is_there(tmp_path, monkeypatch):
    def held_then_written(path, content):
        with pytest.raises(UsageError, match="is being trained"), runs.Run(tmp_path, wanted).held():
            pass
        write_json(path, content)

    wanted = config(tmp_path)
    monkeypatch.setattr(runs, "write_json", held_then_written)
    with runs.create_run(wanted) as run:
        with pytest.raises(UsageError, match="is being trained"), run.held():
            pass
        assert metarims.load_run(tmp_path).config == wanted


@pytest.mark.parametrize("written", [True, False])
def test_a_run_that_was_killed_as_it_wrote_its_configuration_is_in_nobodys_way(tmp_path, written):
    if written:
        with runs.create_run(config(tmp_path)):
            pass
    (tmp_path / f".{runs.CONFIG}.1.aside").write_text("{")
    assert runs.find_run(config(tmp_path)) is None
    with runs.create_run(config(tmp_path)):
        assert {path.name for path in tmp_path.iterdir()} == {runs.CONFIG, runs.LOCK}


def test_a_missing_or_damaged_run_is_named(tmp_path):
    train(tmp_path / "doorkey", iterations=1)
    with pytest.raises(UsageError, match=r"no run at .*dorkey; nearest: .*doorkey"):
        metarims.load_run(tmp_path / "dorkey")
    path = tmp_path / "doorkey" / "config.json"
    for text, message in (
        ("{", "cannot be read"),
        ("[]", "does not hold a configuration"),
        ('{"format": 2, "preset": "lstm"}', "config.json is incomplete"),
        ('{"env": ["A"], "agent": "lstm", "options": {}}', "another version .* train it again"),
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match=message):
            metarims.load_run(tmp_path / "doorkey")


def test_a_run_begins_with_another_ones_parameters(tmp_path):
    train(tmp_path / "first", iterations=2)
    later = replace_at(config(tmp_path / "second"), {"from": str(tmp_path / "first"), "seed": 7})
    agent = agent_of(later, seed=3)
    before = begin_from(metarims.load_run(tmp_path / "first"), later, agent)
    assert before == 2 * ITERATION
    known = metarims.load_run(tmp_path / "first").load().tensors
    for name, parameter in agent.named_parameters():
        assert torch.equal(parameter, known[f"agent.{name}"]), name
    metarims.train(later, Contexts(8), agent_of(later, seed=3))
    third = replace_at(config(tmp_path / "third"), {"from": str(tmp_path / "second")})
    metarims.train(third, Contexts(8, tasks=2), agent_of(third))
    assert {row["time/frames_before"] for row in rows(tmp_path / "second")} == {2 * ITERATION}
    assert rows(tmp_path / "third")[0]["time/frames_before"] == 6 * ITERATION


def test_what_a_run_learns_from_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wanted = replace_at(config(tmp_path / "run"), {"from": "first", "imitate": "lessons"})
    with runs.create_run(wanted) as run:
        settings = metarims.load_run(run.path).config.run
    assert (settings.origin, settings.imitate) == (f"{tmp_path}/first", f"{tmp_path}/lessons")
    with runs.create_run(config(tmp_path / "other")) as run:
        assert metarims.load_run(run.path).config.run.imitate == ""


def test_a_run_of_another_agent_is_no_beginning(tmp_path):
    train(tmp_path / "first", iterations=1)
    other = replace_at(
        config(tmp_path / "other"), {"from": str(tmp_path / "first"), "core.active": 2}
    )
    with pytest.raises(
        UsageError, match=r"first has another agent: core.active is 3 there, 2 here"
    ):
        metarims.train(other, Contexts(8), agent_of(other))
    assert not (tmp_path / "other").exists()


def test_a_run_ends_where_it_has_learnt_what_it_was_to_learn(tmp_path):
    run = replace_at(config(tmp_path / "run", iterations=40), {"until": 0.01})
    summary = metarims.train(run, Contexts(8), agent_of(run))
    assert summary.frames < 40 * ITERATION
    last = rows(tmp_path / "run")[-1]
    assert (last["frames"], last["rollout/window"]) == (summary.frames, WINDOW)
    assert last["rollout/success_rate"] >= 0.01
    again = metarims.load_run(tmp_path / "run")
    assert metarims.resume(again, Contexts(8), agent_of(run)).frames == summary.frames
