"""Levels learnt after easier ones, from runs written by hand."""

from PIL import Image

from metarims.studies.figures import draw_onward
from metarims.studies.onward import onward_markdown, read_onward

from .test_studies import make_run

HARD = {"env": ("Hard-v0",)}


def made(folder):
    """Runs of two agents on an easy level and on a hard one, after the easy one and from scratch.
    Frames to 95 % on the hard one: from scratch, 300 for the LSTM and 200 for RIMs; after 100
    frames of the easy one, 200 or never for the LSTM, 100 for RIMs.
    """
    runs = []
    for agent, seed, scratch, after in (
        ("lstm", 1, [0.1, 0.2, 1.0], [0.5, 1.0]),
        ("lstm", 2, [0.1, 0.2, 1.0], [0.5, 0.6]),
        ("rims", 1, [0.1, 1.0], [1.0]),
        ("rims", 2, [0.1, 1.0], [1.0]),
    ):
        easy = make_run(folder / f"easy-{agent}-{seed}", [1.0], agent, seed)
        runs += [easy, make_run(folder / f"hard-{agent}-{seed}", scratch, agent, seed, **HARD)]
        own = HARD | {"from": str(easy.path)}
        runs.append(
            make_run(folder / f"after-{agent}-{seed}", after, agent, seed, before=100, **own)
        )
    return runs


def test_frames_of_the_harder_level_by_hand(tmp_path):
    text = onward_markdown(read_onward(made(tmp_path)))
    assert "Hard-v0, until 95% of the last 200 episodes succeed" in text
    for line in (
        "| lstm | from scratch | 2 of 2 | 300 (300 to 300) | 300 |",
        "| lstm | from Level-v0 | 1 of 2 | never (200 to never) | never |",
        "| rims | from scratch | 2 of 2 | 200 (200 to 200) | 200 |",
        "| rims | from Level-v0 | 2 of 2 | 100 (100 to 100) | 200 |",
        "|  | from scratch | from Level-v0 | including earlier levels |",
        "| rims over lstm | 1.00 (1.00 – 1.00) | 1.00 (1.00 – 1.00) | 1.00 (1.00 – 1.00) |",
        "| lstm, from Level-v0 | 0.50 (0.00 – 1.00) | 0.25 (0.00 – 0.50) |",  # 300 is a tie
        "| rims, from Level-v0 | 1.00 (1.00 – 1.00) | 0.50 (0.50 – 0.50) |",
    ):
        assert line in text


def test_runs_that_never_get_there_are_alike(tmp_path):
    runs = [run for run in made(tmp_path) if run.path.name in ("after-lstm-2", "easy-rims-1")]
    origin = HARD | {"from": str(runs[1].path)}
    runs.append(make_run(tmp_path / "never", [0.5, 0.5], "rims", 1, before=100, **origin))
    text = onward_markdown(read_onward(runs))
    assert "| rims over lstm | 0.50 |" in text
    assert "| rims | from Level-v0 | 0 of 1 | never | never |" in text
    assert "from scratch" not in text


def test_levels_that_nobody_learns_after_another_are_left_out(tmp_path):
    alone = [run for run in made(tmp_path) if not run.config.run.origin]
    assert onward_markdown(read_onward(alone)) == ""
    onward = read_onward(made(tmp_path / "again"))
    assert {*onward} == {"Hard-v0"}


def test_the_figure(tmp_path):
    draw_onward(read_onward(made(tmp_path)), tmp_path / "onward.png")
    with Image.open(tmp_path / "onward.png") as picture:
        width, height = picture.size
    assert width > 400
    assert height > 250
