"""What TensorBoard shows of a run: scalars by group, pictures, settings and a guide to them.

============== ====================================================================================
Time series    every figure; Scalars has these alone, grouped by the word before the slash
Custom Scalars related figures in one chart: each module's use, each loop's loss
Images         the agent at work at the time: an animated episode, values, modules at events
Text           a guide, the agent's parameters and where they learn, all settings
HParams        runs side by side by their settings, with their last success rate and return
============== ====================================================================================
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from . import registry
from .config import OF_NO_MATTER, find_preset
from .evaluation import EVALUATED
from .loops import count
from .protocols import Agent
from .runs import Row, Run
from .settings import Leaf, differences, flatten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Settings that HParams always compares runs by, and their outcomes.
COMPARED = ("env", "seed", "fast.learning_rate")
OUTCOMES = ("rollout/success_rate", "rollout/ep_rew_mean", "rollout/ep_len_mean", "time/fps")

WIDEST = 6.0  # inches; wider figures would be illegible in TensorBoard's cards

GUIDE = """
Is it learning? Look at **Scalars**, `rollout/success_rate`: the share of the last 200 episodes that
reached their goal. `rollout/ep_rew_mean` is their mean return, `rollout/ep_len_mean` their mean
length in steps.

- **Scalars**: `rollout/` is about episodes (of each level in `rollout_…/`, if there are several),
  `time/` about speed; `train/` has losses (those of each loop in `train_fast/` and `train_slow/`),
  `modules/` shows which modules are active, and `eval_…/` how the agent does on levels it is not
  trained on, if there are any (`--eval.env`)
- **Custom Scalars**: the same, with related figures in one chart
- **Images**: the agent at work: an episode, values along episodes and before success, which
  modules are active and at which events; the slider shows earlier ones
- **Text**: the agent's parameters, the loop in which each group learns, and all settings
- **HParams**: the settings and outcomes of several runs in a folder, side by side

The x-axis is environment frames. `approx_kl` should stay near 0.01, `explained_variance` rise
towards 1 and `nonfinite` stay 0; no module should be `dead`, and `information` measures how much
the choice of modules depends on the input.
"""


@dataclass(frozen=True)
class Pictures:
    """An agent at work: figures by name, and an episode as a GIF."""

    figures: Mapping[str, Figure]
    animation: bytes


class Board:
    """Writes a run's events for TensorBoard.

    Args:
        run: the run, whose folder they are written to.
        agent: the agent being trained.
        begun_at: frames at the start; later events are dropped.
    """

    def __init__(self, run: Run, agent: Agent, begun_at: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        # Events after the checkpoint will be written again.
        self._writer = SummaryWriter(str(run.path), purge_step=begun_at + 1)
        self._events = self._writer._get_file_writer()
        self._has_layout = False
        self._now_and_then = [f"{EVALUATED}{level}" for level in run.config.evaluation.env]
        levels = set(run.config.environment.env)
        self._now_and_then += [f"levels/{level}" for level in levels if len(levels) > 1]
        self._end = self._begin_session(run)
        self._writer.add_text("run/1_guide", GUIDE, begun_at)
        self._writer.add_text("run/2_agent", agent_table(run, agent), begun_at)
        self._writer.add_text("run/3_settings", settings_table(run), begun_at)

    def add_scalars(self, row: Row, frames: int) -> None:
        """Write an iteration's figures whose names have a slash, also by loop if there are two."""
        own = {name: value for name, value in row.items() if "/" in name}
        if not self._has_layout:
            self._writer.add_custom_scalars(layout([*own, *self._now_and_then]))
            self._has_layout = True
        for name, value in own.items():
            if not name.startswith("train/joint/"):  # train/ has the same
                self._writer.add_scalar(tag(name), value, frames)
        self._writer.flush()  # detects a full disk now

    def add_pictures(self, pictures: Pictures, frames: int) -> None:
        """Write pictures of the agent at `frames`."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        for name, figure in pictures.figures.items():
            width, height = figure.get_size_inches()
            figure.set_size_inches(min(width, WIDEST), height)
            self._writer.add_figure(f"agent/{name}", figure, frames)
        with Image.open(io.BytesIO(pictures.animation)) as gif:
            width, height = gif.size
        image = Summary.Image(
            height=height, width=width, colorspace=3, encoded_image_string=pictures.animation
        )
        value = Summary.Value(tag="agent/an_episode", image=image)
        self._events.add_summary(Summary(value=[value]), frames)

    def close(self) -> None:
        """Flush, and mark the run as ended in HParams."""
        self._events.add_summary(self._end)
        self._writer.close()

    def _begin_session(self, run: Run) -> object:
        """Write the run's settings for HParams; returns the event that ends the session."""
        from torch.utils.tensorboard.summary import hparams

        own = {name: words(leaf) for name, leaf in compared(run).items()}
        experiment, begin, end = hparams(own, dict.fromkeys(OUTCOMES, 0.0))
        for summary in (experiment, begin):
            self._events.add_summary(summary)
        return end


def tag(name: str) -> str:
    """A figure's name in TensorBoard, with a single slash: what is before it is the group."""
    *group, last = name.split("/")
    return f"{'_'.join(group)}/{last}"


def layout(row: Iterable[str]) -> dict[str, dict[str, list[object]]]:
    """Charts of related figures, by category: from title to patterns of tags."""
    charts = {
        "episodes": {
            "success rate": "rollout/success_rate",
            "return": "rollout/ep_rew_mean",
            "steps": "rollout/ep_len_mean",
        },
        "loops": {
            "policy loss": r"train(_.+)?/policy_gradient_loss",
            "value loss": r"train(_.+)?/value_loss",
            "KL divergence per update": r"train(_.+)?/approx_kl",
            "gradient norm": r"train(_.+)?/gradient_norm",
        },
        "modules": {
            "share of steps active": r"modules.*/use_\d+",
            "entropy of the choice of modules, in nats": r"modules.*/(H_A|H_A_given_X|information)",
        },
        "levels": {"success rate by level": r"rollout_.*/success_rate"},
        "eval": {"success rate on levels not trained on": r"eval_.*/success_rate"},
    }
    for category in ("modules", "levels", "eval"):
        if not any(name.startswith(f"{category}/") for name in row):
            del charts[category]
    return {
        category: {title: ["Multiline", [pattern]] for title, pattern in each.items()}
        for category, each in charts.items()
    }


def compared(run: Run) -> dict[str, Leaf]:
    """What HParams shows of a run: its agent, a few settings, and those changed from its preset."""
    leaves = flatten(run.config)
    shown = {path: leaves[path] for path in COMPARED if path in leaves} | changed(run)
    return {"agent": run.config.preset} | shown


def changed(run: Run) -> dict[str, Leaf]:
    """Settings that a run changed from its preset, if that is known."""
    if run.config.preset not in registry.names("preset"):
        return {}
    found = differences(run.config, find_preset(run.config.preset))
    return {path: leaf for path, leaf in found.items() if path not in OF_NO_MATTER}


def words(leaf: Leaf) -> str | int | float | bool:
    """A setting in a form that HParams can hold."""
    if isinstance(leaf, tuple):
        return ", ".join(map(str, leaf))
    return "" if leaf is None else leaf


def agent_table(run: Run, agent: Agent) -> str:
    """An agent's parameters and where they learn, in Markdown."""
    groups = agent.groups()
    total = sum(map(count, groups.values()))
    rows = run.config.loops.where_learnt(groups)
    head = f"**{run.config.preset}**, {total:,} parameters\n\n"
    return head + _table(("group", "parameters", "learns in"), rows)


def settings_table(run: Run) -> str:
    """All settings by path, in Markdown, those changed from the preset first."""
    own = changed(run)
    leaves = {path: leaf for path, leaf in flatten(run.config).items() if path not in own}
    rows = [(f"**{path}**", f"**{words(leaf)}**") for path, leaf in own.items()]
    rows += [(path, str(words(leaf))) for path, leaf in leaves.items()]
    return _table(("setting", "value"), rows)


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
