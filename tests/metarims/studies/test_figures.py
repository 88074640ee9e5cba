"""Figures and recordings: the files, and what they show."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from metarims.studies import recording
from metarims.studies.analysis import about_to_succeed
from metarims.studies.figures import draw_curves, draw_run
from metarims.studies.recording import Frame, outcome, record_episodes, save_gif

from ..probes import Recall
from ..small import configured, create_run, make_agent
from .test_analysis import rollout_of


def make_run(folder, seed, successes, **figures):
    run = create_run(configured("rims", env=("level",), out=str(folder), seed=seed))
    for i, success in enumerate(successes, 1):
        row = {"frames": 100 * i, "rollout/episodes": 200 * i, "rollout/success_rate": success}
        row["rollout/window"] = 200
        run.write_metrics(row | figures)
    return run


def draw(run, rollout, folder):
    events = {"carrying": rollout.starts, "about to succeed": about_to_succeed(rollout)}
    return draw_run(run, rollout, events, folder)


def test_curves_of_runs_of_different_length_share_a_panel(tmp_path):
    runs = [make_run(tmp_path / "a", 1, [0, 0.5, 1]), make_run(tmp_path / "b", 2, [0.2, 0.6])]
    draw_curves(runs, tmp_path / "figures" / "curves.png")
    there = {path.name for path in (tmp_path / "figures").iterdir()}
    assert there == {"curves.png", "curves.csv"}
    assert np.asarray(Image.open(tmp_path / "figures" / "curves.png")).std() > 1


def test_the_numbers_of_curves_are_beside_them(tmp_path):
    """Two seeds, known together from 100 frames, where an episode counts, to 200."""
    runs = [make_run(tmp_path / "a", 1, [0, 0.5, 1]), make_run(tmp_path / "b", 2, [0.2, 0.6])]
    draw_curves(runs, tmp_path / "curves.png")
    with (tmp_path / "curves.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["cost"] == "frames"]
    assert {(row["level"], row["seeds"]) for row in rows} == {("level", "2")}
    assert all(row["agent"].startswith("rims ") for row in rows)
    for row, at, success, low, high in (
        (rows[0], 100, 0.1, 0, 0.2),
        (rows[-1], 200, 0.55, 0.5, 0.6),
    ):
        numbers = [float(row[name]) for name in ("at", "success", "low", "high")]
        assert numbers == pytest.approx([at, success, low, high])


def test_a_run_without_modules_gets_no_figure_of_them(tmp_path):
    starts = torch.tensor([[True], [False], [True], [False]])
    run = make_run(tmp_path / "run", 1, [0, 1], **{f"modules/use_{j}": 0.2 for j in range(5)})
    assert draw(run, rollout_of(starts=starts), tmp_path / "lstm").choices == {}
    assert [path.name for path in (tmp_path / "lstm").iterdir()] == ["episodes.png"]
    mask = torch.rand(4, 1, 5) < 0.5
    probabilities = torch.full((4, 1, 5), 0.2)
    rollout = rollout_of(
        starts=starts,
        terminated=~starts,
        rewards=(~starts).float(),
        diagnostics={"module_mask": mask, "module_probabilities": probabilities},
    )
    assert list(draw(run, rollout, tmp_path / "rims").choices) == ["modules"]
    names = sorted(path.name for path in (tmp_path / "rims").iterdir())
    assert names == ["episodes.png", "events.png", "use.png", "values.png"]


def test_every_depth_of_a_routing_network_has_its_figure(tmp_path):
    shares = {f"modules/depth_{i}/use_{j}": 0.5 for i in range(2) for j in range(2)}
    run = make_run(tmp_path / "run", 1, [0, 1], **shares)
    starts = torch.ones(4, 1, dtype=torch.bool)
    mask = torch.tensor([[True, False], [False, True]]).expand(4, 1, 2, 2)
    diagnostics = {"module_mask": mask, "module_probabilities": mask.float()}
    draw(run, rollout_of(starts=starts, diagnostics=diagnostics), tmp_path / "routing")
    names = sorted(path.name for path in (tmp_path / "routing").iterdir())
    assert names == ["episodes.png", "events_depth_0.png", "events_depth_1.png", "use.png"]


class Shown(Recall):
    """Recall, with a picture to render."""

    mission_length = 1

    def render(self, i: int = 0) -> np.ndarray:
        return np.full((4, 6, 3), 10 * int(self.state[i, 0]), np.uint8)

    def missions(self) -> list[str]:
        return ["remember"] * self.num_envs


def test_a_recording_has_every_step_and_the_episodes_end():
    frames = list(record_episodes(make_agent("rims"), Shown(1), episodes=2, seed=3))
    assert len(frames) == 2 * (Recall.length + 1)
    assert [i for i, frame in enumerate(frames) if frame.first] == [0, Recall.length + 1]
    assert [i for i, frame in enumerate(frames) if frame.last] == [Recall.length, len(frames) - 1]
    assert all(sum(frame.active) == 3 for frame in frames)
    assert frames[1].picture.max() == 10
    assert "reward" in frames[-1].text


def test_a_gif_shows_one_picture_a_frame_and_holds_the_last(tmp_path):
    picture = np.zeros((8, 8, 3), np.uint8)
    frames = [
        Frame(picture + 60 * i, "go", (i == 1, True), i / 4, i == 0, i == 2) for i in range(3)
    ]
    save_gif(frames, tmp_path / "a.gif")
    assert [path.name for path in tmp_path.iterdir()] == ["a.gif"]
    with Image.open(tmp_path / "a.gif") as gif:
        durations = [image.info["duration"] for image in ImageSequence.Iterator(gif)]
    assert durations == [150, 150, 1000]


def test_a_recording_says_how_its_episodes_went():
    black = np.zeros((8, 8, 3), np.uint8)

    def step(last=False, success=False):
        return Frame(black, "go", (), 0.0, False, last, success)

    went_well, failed = step(last=True, success=True), step(last=True)
    assert outcome([step(), went_well, failed, went_well]) == "3 episodes, 2 succeeded"
    assert outcome([went_well]) == "1 episode, 1 succeeded"
    assert outcome([failed, step()]) == "1 episode, 0 succeeded, and the beginning of another"


def pictured(monkeypatch, tmp_path, active, values):
    """The last picture of a GIF of as many steps, the third of which begins an episode, as RGB,
    and what is written in it, by place.
    """
    written, write = {}, recording._write
    monkeypatch.setattr(
        recording,
        "_write",
        lambda draw, place, text, **how: (
            written.update({text: place}),
            write(draw, place, text, **how),
        ),
    )
    black = np.zeros((8, 8, 3), np.uint8)
    frames = [
        Frame(black, "go", modules, value, i == 2, False)
        for i, (modules, value) in enumerate(zip(active, values, strict=True))
    ]
    save_gif(frames, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as gif:
        gif.seek(len(frames) - 1)
        return np.asarray(gif.convert("RGB")).astype(int), written


def test_a_picture_says_what_is_what(tmp_path, monkeypatch):
    active = [(True, False), (False, False), (False, True), (False, True)]
    picture, written = pictured(monkeypatch, tmp_path, active, [0.0, 1.0, 0.5, 0.5])
    for text in ("module 0", "module 1", "0", "0.5", "1", "gray line: an episode begins"):
        assert text in written
    assert {text: place for text, place in written.items() if "expects: 0.50" in text}
    left = int(written["modules, blue where active"][0])
    columns = [left + i * recording.STEP + 3 for i in range(4)]

    def shows(color, x, y):
        return abs(picture[int(y), int(x)] - color).max() < 40

    for row in range(2):
        y = written[f"module {row}"][1] + 8
        shown = [shows(recording.ACTIVE, x, y) for x in columns]
        assert shown == [modules[row] for modules in active]
        assert shows(255, columns[3] + recording.STEP, y)  # no step is there yet
    for tick in ("0", "0.5", "1"):  # the curve is as high as its axis says
        value = {"0": columns[0], "1": columns[1], "0.5": columns[3]}[tick]
        assert shows(recording.CURVE, value, written[tick][1])
    for i in range(4):  # a line where the third step begins
        lined = shows(recording.BEGUN, columns[i] - 4, written["1"][1] + 20)
        assert lined == (i == 2)
    assert not shows(recording.BEGUN, columns[2] - 4, written["1"][1] - 5)  # not through the text


def test_the_value_s_axis_covers_the_recording(tmp_path, monkeypatch):
    picture, written = pictured(monkeypatch, tmp_path, [(True,)] * 5, [0, -0.5, 2, 0.75, 0.75])
    x = int(written["modules, blue where active"][0]) + 3
    for column, tick in ((1, "-0.5"), (2, "2"), (4, "0.75")):
        shown = picture[int(written[tick][1]), x + column * recording.STEP]
        assert abs(shown - recording.CURVE).max() < 40, tick


def test_a_picture_of_many_modules_has_room_for_the_value(tmp_path, monkeypatch):
    picture, written = pictured(monkeypatch, tmp_path, [(True,) * 30] * 3, [0.5] * 3)
    assert written["module 29"][1] < written["1"][1] < written["0"][1] < len(picture)
    none, written = pictured(monkeypatch, tmp_path, [()] * 3, [0.5] * 3)
    assert len(none) < len(picture)
    assert not any("module" in text for text in written)
