"""Iterations on a GPU: in TF32, and as a CUDA graph, captured once and then replayed by one launch.

An iteration, acting and environments included, reads nothing back from the device and always has
the same shapes, so all of it is one graph. What changes between iterations is in tensors that stay
in place: the cursor, which a captured iteration overwrites at its end; environments, parameters and
moments; the number of frames; and the generators' states.
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

WARM = 2  # iterations before capture: by then everything is compiled, and all moments exist

Result = TypeVar("Result")
Iterate = Callable[[Environment, Cursor], tuple[Iteration, Cursor]]


def iterating(learner: Learner, run: RunSettings, device: torch.device) -> Iterate:
    """A function that runs a learner's iterations, captured or in TF32 if the run says so.

    Raises:
        UsageError: that is impossible.
    """
    check_has(device, run.capture, run.tf32)
    iterate = _captured(learner, device) if run.capture else learner.iterate
    return in_tf32()(iterate) if run.tf32 else iterate


def check_has(device: torch.device, capture: bool, tf32: bool) -> None:
    """Refuse capture and TF32 on a device without them."""
    if capture and device.type != "cuda":
        raise UsageError("--capture needs a GPU; training is the same without it")
    if tf32 and device.type != "cuda":
        raise UsageError("--tf32 needs a GPU; without it training is in single precision")


@contextmanager
def in_tf32() -> Iterator[None]:
    """Within it, matrix products on a GPU, PyTorch's and the fused kernels', are in TF32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _captured(learner: Learner, device: torch.device) -> Iterate:
    """A function that runs captured iterations."""
    if reason := _why_not_captured(learner):
        raise UsageError(f"{reason}; training is the same without --capture")
    return Captured(learner, Graphs(device)).iterate


def _why_not_captured(learner: Learner) -> str:
    """Why a learner's iterations cannot be captured; "" if they can."""
    if ranks.size() > 1:
        return "several ranks cannot be captured"
    if learner.teacher is not None:
        return "imitation cannot be captured, as its data are chosen on the host"
    if any(loop.per_task for _, loop in learner.loops.turns()):
        return "per_task cannot be captured, as the size of each task is read from the device"
    return ""


class Capturing(Protocol):
    """Captures work on a device: `Graphs`, or a stand-in for it."""

    def aside(self, work: Callable[[], Result]) -> Result:
        """Run work without capturing it, but where capture takes place."""

    def capture(
        self, work: Callable[[], Result], generators: Sequence[torch.Generator]
    ) -> tuple[Result, Callable[[], None]]:
        """Record what work, which draws from `generators`, asks of the device, without running it.

        Returns:
            Its result, tensors that every replay fills; and a function that replays.
        """


def first_of(error: BaseException) -> BaseException:
    """The first error in a chain: a capture that is broken off raises one of its own."""
    while error.__context__ is not None:
        error = error.__context__
    return error


class Graphs:
    """CUDA graphs, captured on a separate stream."""

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
        learner: one that reads nothing back from its device.
        device: captures its iterations.
    """

    def __init__(self, learner: Learner, device: Capturing) -> None:
        self._learner, self._device = learner, device
        self._warm = 0
        self._captured: tuple[Iteration, Cursor, Callable[[], None]] | None = None

    def iterate(self, env: Environment, cursor: Cursor) -> tuple[Iteration, Cursor]:
        """As `Learner.iterate`, in the same environments every time; the next call overwrites the
        result.

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
        """Capture an iteration from a cursor's tensors that leaves the next cursor in them."""

        def work() -> Iteration:
            iteration, after = self._learner.iterate(env, cursor)
            overwrite(cursor, after)
            return iteration

        try:
            iteration, replay = self._device.capture(work, self._learner.generators)
        except RuntimeError as error:
            reason = str(first_of(error)).splitlines()[0]
            raise UsageError(
                f"this run cannot be captured ({reason}); training is the same without --capture"
            ) from error
        return iteration, cursor, replay
