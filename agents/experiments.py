"""What Madan et al. 2021 show, as experiments: `run.py reproduce NAME`."""

from __future__ import annotations

from metarims.studies.experiments import Arm, Experiment, Scale

THREE = (Arm("lstm"), Arm("rims"), Arm("metarims"))
DOORKEYS = tuple(f"MiniGrid-DoorKey-{size}-v0" for size in ("5x5", "6x6", "8x8", "16x16"))
LEARNT = 0.98  # of the last 200 episodes: a source level that counts as learnt

SCALES = {"small": Scale(500_000, 3), "full": Scale(3_000_000, 10)}

EXPERIMENTS = {
    "table1": Experiment(
        "zero-shot transfer to larger rooms",
        THREE,
        DOORKEYS[:2],
        {"small": Scale(1_000_000, 10), "full": Scale(3_000_000, 30)},
        targets=DOORKEYS,
        until=LEARNT,
        paper=(
            "| trained on the easiest DoorKey | difficult, R and S | more difficult, R and S |\n"
            "|---|---|---|\n"
            "| LSTM | .95 / 1.0 | .18 / .19 |\n"
            "| RIMs | .85 / .89 | .01 / .02 |\n"
            "| Meta-RIMs | .97 / 1.0 | .45 / .47 |\n"
        ),
    ),
    "fig3": Experiment(
        "sample efficiency on MiniGrid",
        THREE,
        (
            "MiniGrid-DoorKey-8x8-v0",
            "MiniGrid-Dynamic-Obstacles-6x6-v0",
            "MiniGrid-PutNear-6x6-N2-v0",
            "MiniGrid-Fetch-5x5-N2-v0",
            "MiniGrid-LavaCrossingS9N1-v0",
            "MiniGrid-MultiRoom-N2-S4-v0",
            "MiniGrid-MemoryS7-v0",
        ),
        SCALES,
    ),
    "fig4": Experiment(
        "sample efficiency on BabyAI",
        THREE,
        (
            "BabyAI-GoToLocal-v0",
            "BabyAI-PickupDist-v0",
            "BabyAI-GoToObj-v0",
            "BabyAI-GoToRedBall-v0",
            "BabyAI-GoToRedBallGrey-v0",
            "BabyAI-PickupLoc-v0",
        ),
        SCALES,
    ),
    "fig5b": Experiment(
        "fast and slow learning of an LSTM",
        (Arm("metalstm"), Arm("lstm"), Arm("metarims")),
        (DOORKEYS[1], "BabyAI-GoToRedBallGrey-v0"),
        SCALES,
    ),
    "fig6": Experiment(
        "how many modules are active, and how slow the slow loop is",
        (
            Arm("metarims"),
            *(Arm("metarims", {"core.active": active}) for active in (1, 2, 4)),
            Arm("dense"),
            Arm("slow1"),
            Arm("slow2"),
            Arm("slow8"),
        ),
        (DOORKEYS[1], "BabyAI-GoToRedBallGrey-v0"),
        SCALES,
    ),
    "fig8": Experiment(
        "turned round, and slow by its rate alone",
        (Arm("metarims"), Arm("metaflip"), Arm("slowlr"), Arm("rims")),
        (DOORKEYS[1], "BabyAI-GoToRedBallGrey-v0"),
        SCALES,
    ),
}
