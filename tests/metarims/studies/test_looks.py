"""What agents look like in figures, read off the figures that are drawn."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

import agents.presets  # noqa: F401  # the first of them have colours of their own
from metarims.studies import figures
from metarims.studies.curves import read_curve
from metarims.studies.looks import FIXED, FURTHER, colors, looks, seeds, shared_ends, without
from metarims.studies.onward import read_onward
from metarims.studies.transfer import Score, matrix, profiles
from metarims.studies.unseen import key, read_courses

from .test_studies import make_run

NOVEL = {"ppo.novelty": 0.02}
LEVELS = [f"MiniGrid-DoorKey-{size}-v0" for size in ("5x5", "6x6", "16x16")]


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draws by a function of `figures`, and gives the figure instead of an image."""
    kept = []
    monkeypatch.setattr(figures, "save_figure", lambda figure, path: kept.append(figure))

    def draw(function, *what):
        function(*what, tmp_path / "unwritten.png")
        return kept[-1]

    return draw


def lines(axis):
    return {line.get_label(): line for line in axis.lines}


def colors_of(axis):
    """By the agent's name, the count of its runs aside."""
    return {name.split(" (")[0]: to_hex(line.get_color()) for name, line in lines(axis).items()}


def legend_of(figure):
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def scores(*who):
    """Two runs each of what it learnt, agent and perhaps start, on all levels."""
    return [
        Score(str(n), source, agent, " ".join(start), seed, level, "", 9, 0.3 * seed, 0.5, 9)
        for n, (source, agent, *start) in enumerate(who)
        for seed in (1, 2)
        for level in LEVELS
    ]


def test_an_agent_has_its_colour_in_every_figure(tmp_path, drawn):
    runs = {
        name: make_run(tmp_path / name, [0.1, 0.9], name) for name in ("lstm", "metarims", "slow8")
    }
    changed = make_run(tmp_path / "changed", [0.2, 0.4], "metarims", **NOVEL)
    one = colors_of(drawn(figures.draw_curves, [*runs.values(), changed]).axes[0])
    few = colors_of(drawn(figures.draw_curves, [changed, runs["slow8"]]).axes[0])
    names = ["slow8", "metarims ppo.novelty=0.02", "metarims", "lstm"]
    other = profiles(scores(*((LEVELS[0], name) for name in names)))
    assert one == colors_of(drawn(figures.draw_profiles, other).axes[0])
    assert few.items() <= one.items()
    assert len({*one.values()}) == 4


def test_presets_have_fixed_colours_that_no_other_name_gets():
    everyone = [f"agent {n}" for n in range(len(FURTHER))]
    found = colors(["rims", *everyone, "lstm"])
    assert [found["rims"], found["lstm"]] == [FIXED[1], FIXED[2]]
    assert {found[name] for name in everyone} == {*FURTHER}
    assert colors([*reversed(everyone), "lstm", "rims"]) == found
    assert [*colors(["rims", "agent 1", "lstm"])] == ["rims", "agent 1", "lstm"]


def test_more_agents_than_further_colours_have_those_that_are_left():
    everyone = ["lstm", *(f"agent {n}" for n in range(len(FURTHER) + len(FIXED) - 1))]
    assert len({*colors(everyone).values()}) == len(FURTHER) + len(FIXED)
    assert len(colors([*everyone, "one more"])) == len(everyone) + 1


def test_what_all_agents_share_is_in_the_title(tmp_path, drawn):
    runs = [make_run(tmp_path / name, [0.1, 0.9], name, **NOVEL) for name in ("lstm", "rims")]
    figure = drawn(figures.draw_curves, runs)
    assert "ppo.novelty=0.02" in figure.get_suptitle()
    assert legend_of(figure) == ["lstm (1)", "rims (1)"]
    plain = make_run(tmp_path / "plain", [0.1, 0.9], "lstm")
    figure = drawn(figures.draw_curves, [*runs, plain])
    assert figure.get_suptitle() == ""
    assert "rims ppo.novelty=0.02 (1)" in legend_of(figure)


def test_settings_are_told_apart_even_with_spaces_in_them():
    labels = ["rims eval.env=('A', 'B') ppo.clip=0.1 from X", "rims eval.env=('A', 'C') from X"]
    shared, shown = looks(labels)
    assert shared == "from X"
    assert [shown[label].name for label in labels] == [
        "rims eval.env=('A', 'B') ppo.clip=0.1",
        "rims eval.env=('A', 'C')",
    ]
    start = "from X (fast.groups=('a', 'b') ppo.clip={}) from Y"
    labels = [f"rims ppo.clip=0.1 {start.format(clip)}" for clip in (0.1, 0.2)]
    shared, shown = looks(labels)
    assert shared == "ppo.clip=0.1 from Y"
    assert [shown[label].name for label in labels] == [
        f"rims from X (fast.groups=('a', 'b') ppo.clip={clip})" for clip in (0.1, 0.2)
    ]
    shared, shown = looks(["lstm from X", "lstm from scratch", "lstm"])
    assert (shared, len({look.color for look in shown.values()})) == ("", 1)
    assert [look.line for look in shown.values()] == ["--", "-", "-"]


def test_as_many_seeds_as_the_panels_have():
    assert seeds([{"a": [1, 2], "b": [1]}, {"a": [1, 2, 3]}]) == {"a": "2 – 3", "b": "1"}


def test_nothing_is_drawn_before_episodes_of_all_runs_count(tmp_path, drawn):
    runs = [make_run(tmp_path / str(n), [], seed=n) for n in (1, 2)]
    for run, first in zip(runs, (2, 3), strict=True):
        for n in range(1, 6):
            rate = {"rollout/success_rate": 0.1 * n} if n >= first else {}
            run.write_metrics(
                {"frames": 100 * n, "rollout/episodes": n, "rollout/window": n} | rate
            )
    axis = drawn(figures.draw_curves, runs).axes[0]
    (line,), (band,) = axis.lines, axis.collections
    assert line.get_xdata()[0] == 300
    assert line.get_ydata()[0] == pytest.approx(0.3)
    assert band.get_paths()[0].vertices[:, 0].min() == 300
    assert axis.get_xlim()[0] == 0
    area = read_curve(runs[0]).area()  # 0 at 0 and 100 frames
    assert area == pytest.approx((0 + 0.2 / 2 + 0.25 + 0.35 + 0.45) / 5)


def test_a_run_without_an_episode_leaves_no_line(tmp_path, drawn):
    runs = [make_run(tmp_path / str(n), [0.5] * n, seed=n) for n in (0, 1)]
    runs[0].write_metrics({"frames": 100, "rollout/episodes": 0})
    axis = drawn(figures.draw_curves, runs).axes[0]
    assert [len(line.get_xdata()) for line in axis.lines] == [0]
    assert [text.get_text() for text in axis.texts] == ["no episode of some runs has counted yet"]
    axis = drawn(figures.draw_curves, runs[:1]).axes[0]
    assert [text.get_text() for text in axis.texts] == ["no episode has counted yet"]
    assert axis.get_xlim() == (0, 100)
    assert all(tick % 1 == 0 for tick in axis.figure.axes[-1].get_xticks())
    axis = drawn(figures.draw_curves, runs[1:]).axes[0]
    assert not axis.texts


def test_a_curve_of_one_point_is_a_dot(tmp_path, drawn):
    runs = [make_run(tmp_path / "once", [0.5]), make_run(tmp_path / "twice", [0.5, 0.6], "rims")]
    once, twice = drawn(figures.draw_curves, runs).axes[0].lines
    assert (once.get_xdata().tolist(), once.get_marker()) == ([100], "o")
    assert not twice.get_marker().strip("None")


def test_frames_say_whether_those_of_the_level_before_are_with_them(tmp_path, drawn):
    easy = make_run(tmp_path / "easy", [0.5, 1.0])
    after = {"env": ("Hard-v0",), "from": str(easy.path), "eval.env": ("Far-v0",)}
    hard = make_run(tmp_path / "hard", [0.5, 1.0], before=200, **after)
    hard.write_metrics({"frames": 300, "time/frames_before": 200, key("Far-v0", "success_rate"): 1})
    axes = drawn(figures.draw_curves, [easy, hard]).axes
    assert [axis.get_xlabel() for axis in axes[:2]] == [
        "frames",
        "frames, with those of the level before",
    ]
    assert axes[-1].get_xlabel() == "seconds (wall clock, without compilation)"
    (axis,) = drawn(figures.draw_courses, read_courses([hard])).axes
    assert axis.get_xlabel() == "frames of Hard-v0, with those of the level before"
    (axis,) = drawn(figures.draw_onward, read_onward([easy, hard])).axes
    assert (axis.get_title(), axis.get_xlabel()) == ("Hard-v0", "frames of this level alone")
    assert axis.lines[0].get_xdata()[0] == 100


def test_one_legend_below_all_axes(tmp_path, drawn):
    runs = [
        make_run(tmp_path / f"{name}{level}", [0.1, 0.9], name, env=(level,))
        for name in ("lstm", "rims")
        for level in ("A", "B")
    ]
    figure = drawn(figures.draw_curves, runs)
    figure.draw_without_rendering()
    assert legend_of(figure) == ["lstm (1)", "rims (1)"]
    assert all(axis.get_legend() is None for axis in figure.axes)
    top = figure.legends[0].get_window_extent().y1
    assert top <= min(axis.get_tightbbox().y0 for axis in figure.axes)


def test_a_matrix_says_what_was_learnt_and_repeats_nothing(drawn):
    further = (LEVELS[0], "rims", f"from {LEVELS[1]}")
    who = [(LEVELS[0], "lstm"), (LEVELS[1], "lstm"), (LEVELS[0], "rims"), further]
    rows = matrix(scores(*who), "success_rate")
    figure = drawn(figures.draw_matrix, rows, "success, %")
    assert figure.get_suptitle() == "success, % on MiniGrid-DoorKey-…-v0"
    titles = ["trained on 5x5", "trained on 6x6", "trained on 6x6, then 5x5"]
    assert [axis.get_title("left") for axis in figure.axes] == titles
    ticks = [[tick.get_text() for tick in axis.get_yticklabels()] for axis in figure.axes]
    assert ticks == [["lstm", "rims"], ["lstm"], ["rims"]]
    columns = [tick.get_text() for tick in figure.axes[-1].get_xticklabels()]
    assert columns == ["5x5", "6x6", "16x16", "all"]
    framed = [
        {tuple(np.rint(patch.get_center())) for patch in axis.patches} for axis in figure.axes
    ]
    assert framed == [{(0, 0), (0, 1)}, {(1, 0)}, {(0, 0), (1, 0)}]
    assert all(isinstance(patch, Rectangle) for axis in figure.axes for patch in axis.patches)
    assert legend_of(figure) == ["a level trained on"]
    assert figure.axes[0].images[0].get_array().shape == (2, 4)


def overlap(figure, titles):
    """Whether two of some titles, or one of them and the figure's edge, do."""
    figure.draw_without_rendering()
    boxes = [title.get_window_extent() for title in titles]
    inside = all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
    pairs = itertools.combinations(boxes, 2)
    return not inside or any(one.overlaps(other) for one, other in pairs)


def test_titles_of_several_levels_have_room(tmp_path, drawn):
    sources = ["+".join([*LEVELS, "BabyAI-GoToRedBallGrey-v0"]), "+".join(LEVELS)]
    found = [score for source in sources for score in scores((source, "lstm"))]
    figure = drawn(figures.draw_matrix, matrix(found, "success_rate"), "success, %")
    assert not overlap(figure, [axis._left_title for axis in figure.axes])
    assert figure.axes[0].get_title("left") == (
        "trained on 5x5 + 6x6 + 16x16 +\nBabyAI-GoToRedBallGrey-v0"
    )
    figure = drawn(figures.draw_profiles, profiles(found))
    assert not overlap(figure, [axis.title for axis in figure.axes])
    runs = [
        make_run(tmp_path / str(n), [0.5], env=tuple(source.split("+")))
        for n, source in enumerate(sources)
    ]
    figure = drawn(figures.draw_curves, runs)
    assert not overlap(figure, [axis.title for axis in figure.axes[:2]])


@pytest.mark.parametrize(
    ("levels", "ends"),
    [
        (LEVELS, ("MiniGrid-DoorKey-", "-v0")),
        (["MiniGrid-MemoryS7-v0", "MiniGrid-MemoryS11-v0"], ("MiniGrid-Memory", "-v0")),
        (["BabyAI-GoToRedBall-v0", "BabyAI-GoToRedBallGrey-v0"], ("BabyAI-GoToRed", "-v0")),
        (["Near", "Far"], ("", "")),
        (LEVELS[:1] * 2, ("", "")),
    ],
)
def test_what_ids_share_are_whole_words(levels, ends):
    assert shared_ends(levels) == ends
    assert [ends[0] + without(ends, level) + ends[1] for level in levels] == levels
    assert without(ends, "all") == "all"


def test_evaluations_of_a_run_that_has_learnt_go_on_as_they_ended(tmp_path, drawn):
    unseen = {"eval.env": ("Far-v0",), "until": 0.9}
    runs = [make_run(tmp_path / str(n), [], seed=n, **unseen) for n in (1, 2)]
    for run, rates in zip(runs, ([0.9], [0.5, 0.5, 0.5]), strict=True):
        for n, rate in enumerate(rates, 1):
            row = {"frames": 100 * n, "rollout/window": 200, "rollout/success_rate": rate}
            run.write_metrics(row | {key("Far-v0", "success_rate"): rate})
    (axis,) = drawn(figures.draw_courses, read_courses(runs)).axes
    assert axis.lines[0].get_xdata().tolist() == [100, 200, 300]
    assert axis.lines[0].get_ydata()[-1] == pytest.approx(0.7)
