"""Runs against levels: the matrix by hand, its files, and resuming an experiment."""

import json
from dataclasses import replace

import numpy as np
import pytest

from agents import EXPERIMENTS
from metarims.checkpoint import MANIFEST
from metarims.studies.experiments import FIRST_SEED, Arm, Experiment, Scale
from metarims.studies.figures import draw_matrix, draw_profiles
from metarims.studies.transfer import (
    ALL,
    THRESHOLDS,
    Score,
    as_csv,
    as_markdown,
    evaluation_file,
    improvements,
    matrix,
    profiles,
    read_scores,
)

from .test_studies import make_run


def scores(agent, *rates, start=""):
    """Scores of one run per seed on a near level, and at half these success rates on a far one."""
    runs = [(str(n), "Small", agent, start, n) for n in range(len(rates))]
    near = [Score(*run, "Near", "", 100, r, r / 2, 9) for run, r in zip(runs, rates, strict=True)]
    far = [Score(*run, "Far", "", 100, r / 2, 0.0, 12) for run, r in zip(runs, rates, strict=True)]
    return [*near, *far]


def test_the_matrix_by_hand():
    """The middle half of 0, .4, .6, 1 has mean .5; on all levels of 0, 0, .2, .3, .4, .5, .6, 1."""
    found = matrix(scores("a", 0.0, 0.4, 0.6, 1.0), "success_rate")[("Small", "a")]
    assert found["Near"].value == pytest.approx(0.5)
    assert found["Far"].value == pytest.approx(0.25)
    assert found[ALL].value == pytest.approx((0.2 + 0.3 + 0.4 + 0.5) / 4)
    assert found["Near"].low < 0.5 < found["Near"].high
    alone = matrix(scores("a", 0.5), "mean_return")[("Small", "a")]
    assert alone["Near"].text(100, 1) == "25.0"  # no interval from a single run


def test_agents_without_modules_have_no_figure_of_modules_switched_off(tmp_path):
    whole = [*scores("lstm", 0.2, 0.4), *scores("rims", 0.3, 0.5)]
    off = [
        replace(score, knocked_out="1 off", success_rate=0.1)
        for score in whole
        if score.agent == "rims"
    ]
    both = matrix([*whole, *off], "success_rate")
    assert set(both[("Small", "rims")]) == {"Near", "Far", "Near, 1 off", "Far, 1 off", ALL}
    assert both[("Small", "rims")][ALL] == matrix(whole, "success_rate")[("Small", "rims")][ALL]
    table = as_markdown([*whole, *off])
    assert "| Near | Far | Near, 1 off | Far, 1 off | all |" in table
    assert "| Small | lstm | 30.0 (20.0 – 40.0) | 15.0 (10.0 – 20.0) | – | – | 20.0" in table
    draw_matrix(both, "success", tmp_path / "matrix.png")
    assert profiles([*whole, *off])["Small"]["rims"][0][25] == 0.0  # none is above a half


def test_who_is_better_than_whom():
    table = improvements([*scores("a", 0.1, 0.2), *scores("b", 0.3, 0.4), *scores("c", 0.2, 0.3)])
    assert set(table) == {("Small", "b", "a"), ("Small", "c", "a"), ("Small", "c", "b")}
    assert table[("Small", "b", "a")]["Near"].value == 1.0
    assert table[("Small", "c", "b")]["Far"].value == 0.125  # one tie of four pairs


def test_runs_that_differ_in_agent_and_start_are_not_compared():
    further = [*scores("a", 0.3, start="from Tiny"), *scores("b", 0.4, start="from Tiny")]
    table = improvements([*scores("a", 0.1), *scores("b", 0.2), *further])
    assert set(table) == {
        ("Small", "b", "a"),
        ("Small", "a from Tiny", "a"),
        ("Small", "b from Tiny", "b"),
        ("Tiny, then Small", "b", "a"),
    }
    assert table[("Small", "b from Tiny", "b")]["Near"].value == 1.0


def test_levels_learnt_are_told_in_their_order():
    one, *_ = scores("a", 0.1)
    assert one.learnt == "Small"
    start = "from Tiny+Odd from Wee (defaults) from another run (a/C from B)"
    assert replace(one, start=start).learnt == (
        "another run (a/C from B), then Wee (defaults), then Tiny+Odd, then Small"
    )
    table = as_markdown([*scores("a", 0.1), *scores("a", 0.3, start="from Tiny")])
    assert "| Tiny, then Small | a | 30.0 | 15.0 | 22.5 |" in table
    assert "| Small | a from Tiny over a | 1.00 | 1.00 |" in table


def test_tables_and_figure(tmp_path):
    all_scores = [*scores("a", 0.1, 0.2), *scores("b", 0.3, 0.4)]
    table = as_markdown(all_scores)
    assert "over 2 seeds" in table
    assert "| Small | b | 35.0 (30.0 – 40.0) | 17.5 (15.0 – 20.0) |" in table
    assert "| Small | a | 9.0 (9.0 – 9.0) | 12.0 (12.0 – 12.0) | 10.5 (10.5 – 10.5) |" in table
    assert "| Small | b over a | 1.00 (1.00 – 1.00) | 1.00 (1.00 – 1.00) |" in table
    head, first, *_ = as_csv(all_scores).splitlines()
    figures = "episodes,success_rate,mean_return,mean_length"
    assert head == f"run,source,agent,start,seed,level,knocked_out,{figures}"
    assert first == "0,Small,a,,0,Near,,100,0.1,0.05,9"
    draw_matrix(matrix(all_scores, "success_rate"), "success", tmp_path / "matrix.png")
    draw_profiles(profiles(all_scores), tmp_path / "profiles.png")
    for name in ("matrix.png", "profiles.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_a_profile_is_the_share_of_runs_above_a_rate():
    share, low, high = profiles(scores("a", 0.2, 0.8))["Small"]["a"]  # and .1 and .4 on the far one
    at = {rate: int(np.argmin(abs(THRESHOLDS - rate))) for rate in (0.0, 0.15, 0.3, 0.5, 0.9)}
    assert [share[at[rate]] for rate in at] == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert low[at[0.5]] == 0.0
    assert high[at[0.5]] == 0.5  # both runs on the near level, none on the far one


def test_an_evaluation_is_read_as_its_run_was_configured(tmp_path):
    run = make_run(tmp_path / "run", [0.5], "rims", seed=4, **{"core.active": 2})
    report = {"env": "Far", "episodes": 9, "success_rate": 0.5, "mean_return": 0.25}
    report["mean_length"] = 7.0
    flags = ["--env", "Far"]
    file = evaluation_file(tmp_path, run, flags)
    file.write_text(json.dumps([report, report | {"knocked_out": "1 off"}]))
    whole, lesioned = read_scores(file, run)
    own = (str(run.path), "Level-v0", "rims core.active=2", "", 4)
    assert whole == Score(*own, "Far", "", 9, 0.5, 0.25, 7.0)
    assert lesioned == replace(whole, knocked_out="1 off")
    assert lesioned.column == "Far, 1 off"
    assert evaluation_file(tmp_path, run, [*flags, "Near"]) != file
    newer = run.path / "checkpoints" / "000000000200"
    newer.mkdir(parents=True)
    seen = {evaluation_file(tmp_path, run, flags)}
    for manifest in ("one", "another"):  # the run has gone on since, and was made anew
        (newer / MANIFEST).write_text(manifest)
        seen.add(evaluation_file(tmp_path, run, flags))
    assert len(seen) == 3


def test_the_runs_of_an_experiment():
    arms = (Arm("lstm"), Arm("rims", {"core.active": 2}))
    experiment = Experiment("about", arms, ("A", "B"), {}, until=0.9)
    (configs,) = experiment.stages(Scale(1000, 2), "out")
    assert len({config.run.out for config in configs}) == 2 * 2 * 2
    last = configs[-1]
    assert (last.preset, last.environment.env, last.run.seed) == ("rims", ("B",), FIRST_SEED + 1)
    assert (last.run.frames, last.run.until, last.agent.core.active) == (1000, 0.9, 2)  # type: ignore[attr-defined]
    assert last.run.out == f"out/runs/rims core.active=2/B/seed-{FIRST_SEED + 1}"
    (others,) = experiment.stages(Scale(1000, 2, first_seed=7), "out")
    assert {config.run.seed for config in others} == {7, 8}


def test_runs_that_go_on_to_another_level_follow_those_from_scratch():
    experiment = Experiment("about", (Arm("lstm"),), ("A",), {}, onto=("B",))
    scratch, further = experiment.stages(Scale(1000, 1), "out")
    assert [config.environment.env for config in scratch] == [("A",), ("B",)]
    (config,) = further
    assert config.environment.env == ("B",)
    assert config.run.origin == scratch[0].run.out
    assert config.run.out not in {other.run.out for other in scratch}


def test_levels_that_are_gone_on_to_are_learnt_one_after_the_other():
    experiment = Experiment("about", (Arm("lstm"),), ("A",), {}, onto=("B", "C"), scratch=False)
    stages = [config for (config,) in experiment.stages(Scale(1000, 1), "out")]
    assert [config.environment.env for config in stages] == [("A",), ("B",), ("C",)]
    assert [config.run.origin for config in stages] == ["", *(x.run.out for x in stages[:-1])]
    assert [config.run.out.split("/")[-2] for config in stages][2].startswith("C from B from A")


def test_levels_that_are_learnt_together():
    experiment = Experiment("about", (Arm("lstm"),), ("A+B", "A"), {}, onto=("C+D",), scratch=False)
    first, further = experiment.stages(Scale(1000, 1), "out")
    assert [config.environment.env for config in first] == [("A", "B"), ("A",)]
    assert [config.environment.env for config in further] == [("C", "D"), ("C", "D")]
    assert experiment.levels == ("A", "B", "C", "D")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_papers_experiments_are_of_levels_and_settings_that_there_are(name):
    import envs

    experiment = EXPERIMENTS[name]
    assert {*experiment.levels} <= set(envs.levels())
    for scale in experiment.scales.values():
        runs = [config for configs in experiment.stages(scale, "out") for config in configs]
        assert runs[0].run.frames == scale.frames
        assert len({config.run.out for config in runs}) == len(runs)
