"""What `classify` prints and writes: tables, figures, TensorBoard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

from metarims.files import make_folder, write_json, write_text
from metarims.settings import flatten

from .config import ClassifyConfig
from .costs import measure_steps
from .estimators import StudyConfig, study_estimators
from .figures import (
    draw_accuracies,
    draw_axes,
    draw_block,
    draw_estimators,
    draw_policies,
    draw_routes,
)
from .outcomes import Outcome, summary
from .studies import STUDIES
from .training import compare
from .trials import as_csv, as_markdown, plan, read_results, refuse_changes, train_missing

COSTS = (2, 5, 10, 20)  # function blocks
COST_METHODS = ("routing", "cross-stitch", "soft-mixture")
COST_SETTLED = (
    *("data", "folder", "methods", "seeds", "epochs", "anneal_epochs", "blocks", "block_share"),
)
POINTS = 100  # of a policy's curve in TensorBoard


def report_comparison(config: ClassifyConfig, out: Path) -> None:
    """Train every method with every seed; table, curves, routing maps, policies over time."""
    outcomes: list[Outcome] = []
    for outcome in compare(config):
        outcomes.append(outcome)
        make_folder(out)
        print(
            f"{outcome.method:22} seed {outcome.seed}  accuracy {outcome.accuracy[-1]:7.2%}  "
            f"{outcome.seconds:6.1f} s  {_collapse(outcome.figures)}",
            flush=True,
        )
        _log(outcome, out / f"{outcome.method}-{outcome.seed}")
        if outcome.routes is not None and outcome.policies is not None:
            name = f"{outcome.method}-{outcome.seed}"
            draw_routes(outcome.routes, out / f"{name}-routes.png")
            draw_policies(outcome.policies, out / f"{name}-policies.png")
            block = int(outcome.routes[:, 0].mode().values)
            draw_block(outcome.policies, block, out / f"{name}-block{block}.png")
    draw_accuracies(outcomes, out / "accuracy.png")
    rows = summary(outcomes)
    print("\nmethod                  accuracy   ±      seeds  seconds")
    for row in rows:
        deviation = "–" if row["seeds"] == 1 else f"{row['deviation']:.2%}"
        print(
            f"{row['method']:22}{row['accuracy']:>9.2%}{deviation:>7}"
            f"{row['seeds']:>7}{row['seconds']:>9.1f}"
        )
    single = [
        {"method": o.method, "seed": o.seed, "accuracy": o.accuracy, **o.figures} for o in outcomes
    ]
    write_json(out / "comparison.json", {"summary": rows, "trainings": single})


def report_cost(config: ClassifyConfig, out: Path) -> None:
    """What a training step costs with 2 to 20 function blocks."""
    refuse_changes(config, COST_SETTLED)
    rows = measure_steps(config, COSTS, COST_METHODS)
    print("milliseconds per training step, and the ratio to the fewest blocks")
    print("blocks".ljust(16) + "".join(f"{size:>16}" for size in COSTS))
    for method in COST_METHODS:
        times = [float(row["milliseconds"]) for row in rows if row["method"] == method]
        print(method.ljust(16) + "".join(f"{t:>9.2f} {t / times[0]:5.2f}×" for t in times))
    make_folder(out)
    write_json(out / "cost.json", rows)


def report_estimators(config: ClassifyConfig, out: Path) -> None:
    """The estimator study and its figure; it has no other settings."""
    refuse_changes(config, flatten(config))
    qualities = study_estimators(StudyConfig())
    print("estimator   choices       error    variance        bias²")
    for quality in qualities:
        print(
            f"{quality.estimator:12}{quality.choices:7}{quality.error:12.3g}"
            f"{quality.variance:12.3g}{quality.bias:13.3g}"
        )
    make_folder(out)
    draw_estimators(qualities, out / "estimators.png")
    write_json(out / "estimators.json", [asdict(quality) for quality in qualities])


def report_study(name: str, config: ClassifyConfig, out: Path) -> None:
    """One of `STUDIES`: run the missing trainings, then write table, CSV and figure."""
    study = STUDIES[name]
    trials = plan(study, config)
    runs = make_folder(out / "runs")
    train_missing(trials, runs)
    results = read_results(trials, runs)
    table = as_markdown(study, results)
    write_text(out / f"{name}.csv", as_csv(results))
    write_text(out / f"{name}.md", table)
    draw_axes([axis.about for axis in study.axes], results, out / f"{name}.png")
    print(f"\n{table}")


REPORTS: dict[str, Callable[[ClassifyConfig, Path], None]] = {
    "compare": report_comparison,
    "cost": report_cost,
    "estimators": report_estimators,
    **{name: partial(report_study, name) for name in STUDIES},
}


def _collapse(figures: Mapping[str, float]) -> str:
    """How varied the routes are, in words, if anything is routed."""
    if not figures:
        return ""
    depths = [value for name, value in figures.items() if name.endswith("/selection_entropy")]
    return f"entropy {' '.join(f'{abs(d):.2f}' for d in depths)}, {figures['paths']:.0f} paths"


def _log(outcome: Outcome, folder: Path) -> None:
    """Log one training for TensorBoard."""
    from torch.utils.tensorboard import SummaryWriter  # slow to import

    with SummaryWriter(str(folder)) as writer:
        for epoch, share in enumerate(outcome.accuracy, 1):
            writer.add_scalar("test/accuracy", share, epoch)
        for name, value in outcome.figures.items():
            writer.add_scalar(f"modules/{name}", value, len(outcome.accuracy))
        if outcome.policies is None:
            return
        every = max(1, len(outcome.policies) // POINTS)
        for step in range(0, len(outcome.policies), every):
            for task, policy in enumerate(outcome.policies[step, :, 0]):
                if not policy.isnan().any():  # the step has samples of the task
                    writer.add_scalar(f"policy/task_{task}_best", float(policy.max()), step)
