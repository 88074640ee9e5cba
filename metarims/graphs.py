"""How iterations run on a GPU: in TF32, and as a CUDA graph, captured once and replayed from then
on by one launch.

An iteration reads nothing off the device and has the same shapes every time, so that all of it is
one graph, acting and environments included. What differs from one to the next lies in tensors that
stay where they are: the cursor, which a captured iteration ends by writing; environments,
parameters and moments; how many frames there were; and the generators' states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

import torch

from . import ranks
from .config import RunSettings
from .errors import UsageError
from .learner import Iteration, Learner
from .protocols import Environment
from .rollout import Cursor, copied, overwrite

WARM = 2  # iterations before one is captured: by then all is compiled, and all moments are there

Result = TypeVar("Result")
Iterate = Callable[[Environment, Cursor], tuple[Iteration, Cursor]]


def iterating(learner: Learner, run: RunSettings, device: torch.device) -> Iterate:
    """What does a learner's iterations, as they are or as a run has them on a GPU.

    Raises:
        UsageError: they are to be captured, or in TF32, and cannot be.
    """
    check_has(device, run.capture, run.tf32)
    iterate = _captured(learner, device) if run.capture else learner.iterate
    return in_tf32()(iterate) if run.tf32 else iterate


def check_has(device: torch.device, capture: bool, tf32: bool) -> None:
    """Refuse a device that has not what is asked of it."""
    if capture and device.type != "cuda":
        raise UsageError("a GPU alone captures: it learns the same without --capture")
    if tf32 and device.type != "cuda":
        raise UsageError("a GPU alone has TF32: without --tf32 it is single precision")


@contextmanager
def in_tf32() -> Iterator[None]:
    """Within it products on a GPU, PyTorch's and the fused kernels', are TF32's."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _captured(learner: Learner, device: torch.device) -> Iterate:
    """Iterations that are captured."""
    if reason := _why_not_captured(learner):
        raise UsageError(f"{reason}: it learns the same without --capture")
    return Captured(learner, Graphs(device)).iterate


def _why_not_captured(learner: Learner) -> str:
    """What keeps a learner's iterations from being captured, or nothing."""
    if ranks.size() > 1:
        return "several ranks are not captured"
    if learner.teacher is not None:
        return "a run that imitates is not captured: what it is shown is settled on the host"
    if any(loop.per_task for _, loop in learner.loops.turns()):
        return "per_task is not captured: how much there is of each task is read off the device"
    return ""


class Capturing(Protocol):
    """What captures work for a device: `Graphs`, or what stands in for it."""

    def aside(self, work: Callable[[], Result]) -> Result:
        """Work that is done and not captured, but where capturing takes place."""

    def capture(
        self, work: Callable[[], Result], generators: Sequence[torch.Generator]
    ) -> tuple[Result, Callable[[], None]]:
        """Note what work, which draws from generators, asks of the device, and do none of it.

        Returns:
            What it made, tensors that are filled by every replay; and what replays.
        """


def first_of(error: BaseException) -> BaseException:
    """What went wrong before all else: a capture that it breaks off raises an error of its own."""
    while error.__context__ is not None:
        error = error.__context__
    return error


class Graphs:
    """CUDA graphs, captured on a stream of their own."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)

    def aside(self, work: Callable[[], Result]) -> Result:
        """As `Capturing` says."""
        around = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(around)
        with torch.cuda.stream(self._stream):
            made = work()
        around.wait_stream(self._stream)
        return made

    def capture(
        self, work: Callable[[], Result], generators: Sequence[torch.Generator]
    ) -> tuple[Result, Callable[[], None]]:
        """As `Capturing` says."""
        graph = torch.cuda.CUDAGraph()
        for generator in generators:
            graph.register_generator_state(generator)
        with torch.cuda.graph(graph, stream=self._stream):
            made = work()
        return made, graph.replay


class Captured:
    """A learner whose iterations are replayed.

    Args:
        learner: reads nothing off its device.
        device: captures its iterations.
    """

    def __init__(self, learner: Learner, device: Capturing) -> None:
        self._learner, self._device = learner, device
        self._warm = 0
        self._captured: tuple[Iteration, Cursor, Callable[[], None]] | None = None

    def iterate(self, env: Environment, cursor: Cursor) -> tuple[Iteration, Cursor]:
        """As `Learner.iterate`, in the same environments every time; what it gives is overwritten
        by the next one.

        Raises:
            UsageError: an iteration cannot be captured.
        """
        if self._warm < WARM:
            self._warm += 1
            return self._device.aside(lambda: self._learner.iterate(env, cursor))
        if self._captured is None:
            self._captured = self._capture(env, copied(cursor))
        iteration, own, replay = self._captured
        overwrite(own, cursor)
        replay()
        return iteration, own

    def _capture(
        self, env: Environment, cursor: Cursor
    ) -> tuple[Iteration, Cursor, Callable[[], None]]:
        """An iteration from a cursor's tensors on, which ends by leaving the next one there."""

        def work() -> Iteration:
            iteration, after = self._learner.iterate(env, cursor)
            overwrite(cursor, after)
            return iteration

        try:
            iteration, replay = self._device.capture(work, self._learner.generators)
        except RuntimeError as error:
            reason = str(first_of(error)).splitlines()[0]
            raise UsageError(
                f"this run cannot be captured ({reason}): it learns the same without --capture"
            ) from error
        return iteration, cursor, replay
