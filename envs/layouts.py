"""Layouts drawn by upstream's code on the host, ahead of time, in worker processes.

A layout depends on the state of the environment's random stream only, which the record holds: any
process can draw any environment's next layout while the current episode lasts. Dynamics are the
engine's.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector.utils import CloudpickleWrapper
from minigrid.minigrid_env import MiniGridEnv
from torch import Tensor

from .record import RECORD, record_bytes, view_records
from .translation.environments import make_stream, read_environment, read_mission, unwrap
from .translation.objects import ForeignRulesError
from .vocabulary import WORDS

Factory = Callable[[], gymnasium.Env[Any, Any]]
Stream = tuple[int, ...]

STREAM = ("rng_high", "rng_low", "increment_high", "increment_low", "has_half_word", "half_word")
TASKS_A_WORKER = 2  # in the pool at a time; the others wait here, where urgent ones overtake
PATIENCE = 5.0  # seconds between progress messages


@dataclass(frozen=True)
class Layout:
    """A drawn layout: the bytes of its record without the mission, and the mission."""

    row: np.ndarray
    mission: str


@dataclass(frozen=True, eq=False)
class Order:
    """A layout to be drawn from a stream's state."""

    stream: Stream
    future: Future[Layout] = field(default_factory=Future)


class Layouts:
    """Draws the layouts of one level by upstream's code.

    Args:
        factory: makes one upstream environment; sent to the workers.
        workers: processes; 0 draws in this process, not ahead of time.

    Raises:
        RuntimeError: the workers died.
    """

    def __init__(self, factory: Factory, workers: int) -> None:
        self.factory, self._workers = factory, workers
        self._env: MiniGridEnv | None = None
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        """Have neither workers nor orders."""
        self._ahead: dict[int, Order] = {}
        self._waiting: OrderedDict[Order, None] = OrderedDict()
        self._running = 0
        self._lock = threading.RLock()
        self._pool: ProcessPoolExecutor | None = None
        self._end: weakref.finalize[..., Layouts] | None = None

    def renew(self, memory: Tensor, chosen: Tensor) -> None:
        """Write the next layouts of some environments into their records.

        Args:
            memory: every environment's record, uint8 [B, record bytes].
            chosen: indices of those that begin an episode.
        """
        count, size = len(chosen), memory.shape[1]
        buffer = np.zeros(count * size + RECORD.itemsize, np.uint8)
        rows, records = (
            buffer[: count * size].reshape(count, size),
            view_records(buffer, count, size),
        )
        rows[:] = take_rows(memory, chosen)
        layouts = self._draw(chosen.tolist(), [stream_of(record) for record in records])
        for row, record, layout in zip(rows, records, layouts, strict=True):
            row[:] = 0
            row[: layout.row.size] = layout.row
            read_known_mission(record, layout.mission)
        put_rows(memory, chosen, rows)
        self._look_ahead(chosen.tolist(), [stream_of(record) for record in records])

    def close(self) -> None:
        """Stop the workers; the next layout drawn starts new ones."""
        if self._pool is not None:
            self._waiting.clear()
            self._ahead.clear()
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def leave_workers(self) -> None:
        """In a forked process: leave the workers and their orders to the process that has them."""
        if self._pool is not None and self._end is not None:
            self._end.detach()
            _others.append(self._pool)
        self._begin()

    def _draw(self, rows: Sequence[int], streams: Sequence[Stream]) -> list[Layout]:
        """The layout for each row's stream."""
        if not self._workers:
            self._env = self._env or unwrap(self.factory())
            return [draw_layout(self._env, stream) for stream in streams]
        orders = [self._find_order(row, stream) for row, stream in zip(rows, streams, strict=True)]
        self._feed()
        return await_layouts([order.future for order in orders])

    def _find_order(self, row: int, stream: Stream) -> Order:
        """The order made ahead if it is for this stream, else a new one; put first if waiting."""
        order = self._ahead.pop(row, None)
        with self._lock:
            if order is not None and order.stream != stream:
                self._waiting.pop(order, None)
                order = None
            if order is not None and order not in self._waiting:
                return order
            order = order or Order(stream)
            self._waiting[order] = None
            self._waiting.move_to_end(order, last=False)
        return order

    def _look_ahead(self, rows: Sequence[int], streams: Sequence[Stream]) -> None:
        """Order the layouts that some rows will need next."""
        if self._workers:
            for row, stream in zip(rows, streams, strict=True):
                self._ahead[row] = Order(stream)
                with self._lock:
                    self._waiting[self._ahead[row]] = None
            self._feed()

    def _feed(self) -> None:
        """Submit orders to the workers, up to their limit."""
        with self._lock:
            while self._waiting and self._running < TASKS_A_WORKER * self._workers:
                order, _ = self._waiting.popitem(last=False)
                try:
                    task = self._open_pool().submit(draw_in_worker, order.stream)
                except RuntimeError as error:  # the pool broke, or Python is about to exit
                    order.future.set_exception(error)
                    continue
                self._running += 1
                task.add_done_callback(partial(deliver, weakref.ref(self), order))

    def _open_pool(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self._workers,
                mp_context=get_context("spawn"),
                initializer=start_worker,
                initargs=(CloudpickleWrapper(self.factory),),
            )
            self._end = weakref.finalize(self, self._pool.shutdown, wait=False, cancel_futures=True)
        return self._pool


_all: weakref.WeakSet[Layouts] = weakref.WeakSet()
_others: list[ProcessPoolExecutor] = []  # kept: a pool's end would reach for its process's threads


def leave_workers() -> None:
    """In a forked process: let each `Layouts` start workers of its own when it needs them."""
    for layouts in list(_all):
        layouts.leave_workers()


os.register_at_fork(after_in_child=leave_workers)


def deliver(owner: weakref.ref[Layouts], order: Order, task: Future[Layout]) -> None:
    """Pass on a finished or cancelled task's layout, and give the workers the next order."""
    if task.cancelled():
        order.future.cancel()
    elif (error := task.exception()) is None:
        order.future.set_result(task.result())
    else:
        order.future.set_exception(error)
    layouts = owner()
    if layouts is not None:
        with layouts._lock:
            layouts._running -= 1
        layouts._feed()


def await_layouts(futures: Sequence[Future[Layout]]) -> list[Layout]:
    """Wait for layouts, reporting progress if that takes long."""
    pending = set(futures)
    while pending:
        _, pending = wait(pending, PATIENCE)
        if pending:
            done = len(futures) - len(pending)
            print(f"layouts: {done} of {len(futures)} drawn", file=sys.stderr, flush=True)
    try:
        return [future.result() for future in futures]
    except BrokenProcessPool as error:
        raise RuntimeError(
            "the processes that draw layouts died: does the script guard its main part with "
            "`if __name__ == '__main__':`? (workers=0 draws in this process)"
        ) from error


# --- in a worker --------------------------------------------------------------------------------

_worker_env: MiniGridEnv | None = None


def start_worker(factory: CloudpickleWrapper) -> None:
    """Make the environment with which this worker draws."""
    global _worker_env
    _worker_env = unwrap(factory())


def draw_in_worker(stream: Stream) -> Layout:
    """Draw a layout in this worker."""
    assert _worker_env is not None
    return draw_layout(_worker_env, stream)


def draw_layout(env: MiniGridEnv, stream: Stream) -> Layout:
    """The layout that upstream's ``reset()`` draws from a stream's state."""
    env.np_random = make_stream(dict(zip(STREAM, stream, strict=True)))
    with contextlib.redirect_stdout(io.StringIO()):  # upstream prints what it rejects
        env.reset()
    memory = np.zeros(RECORD.itemsize, np.uint8)
    read_environment(memory.view(RECORD)[0], env)
    return Layout(memory[: record_bytes(len(env.grid.grid))], env.mission)


# --- records ------------------------------------------------------------------------------------


def stream_of(record: np.void) -> Stream:
    """The state of a record's random stream."""
    return tuple(int(record[name]) for name in STREAM)


# On the host the two below use NumPy: PyTorch's threads do not survive a fork.


def take_rows(memory: Tensor, chosen: Tensor) -> np.ndarray:
    """The rows of memory, uint8 [B, size], at some indices, on the host."""
    if memory.device.type == "cpu":
        return memory.numpy()[chosen.numpy()]
    return memory[chosen].cpu().numpy()


def put_rows(memory: Tensor, chosen: Tensor, rows: np.ndarray) -> None:
    """Write rows from the host into memory, uint8 [B, size], at some indices."""
    if memory.device.type == "cpu":
        memory.numpy()[chosen.numpy()] = rows
    else:
        memory[chosen] = torch.from_numpy(rows).to(memory.device)


def read_known_mission(record: np.void, mission: str) -> None:
    """Write a mission into a record.

    Raises:
        ForeignRulesError: it has a word that is not in the vocabulary, so not in the environment's
            mission space.
    """
    known = len(WORDS)
    read_mission(record, mission)
    if len(WORDS) > known:
        raise ForeignRulesError(
            f"the mission '{mission}' is not in the environment's mission space"
        )
