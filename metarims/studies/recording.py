"""An agent at work as an animated picture, with its modules' activity and its value beside it."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from ..errors import UsageError
from ..evaluation import sample_at, seeded
from ..files import aside, write_bytes
from ..protocols import Agent, Stage
from ..rollout import actor_of, advance, begin, exploiting, forward_step

SIDE = 320  # pixels of the picture, and of the panel beside it
HEAD, ROW, LEFT = 54, 20, 68  # pixels of the text above, of a module's row and left of the panel
MARGIN, LINE = 8, 18  # pixels at the edges, and of a line of text
LOWEST = 100  # pixels of the value's box at least
SHOWN = 40  # steps in the panel
STEP = SIDE // SHOWN  # pixels of one
STEP_MS, END_MS = 150, 1000
FPS = 20  # of a video, in which a step is three pictures
INK, PAPER, GRID = (30, 30, 30), (255, 255, 255), (215, 215, 215)
ACTIVE, CURVE, BEGUN = (0, 114, 178), (213, 94, 0), (120, 120, 120)


@dataclass(frozen=True)
class Frame:
    """One moment.

    Attributes:
        picture: uint8 [H, W, 3].
        text: what to write above it.
        active: which modules step, empty where there are none.
        value: what the agent expects.
        first, last: whether an episode begins or ends.
        success: whether it ends with success.
    """

    picture: np.ndarray
    text: str
    active: tuple[bool, ...]
    value: float
    first: bool
    last: bool
    success: bool = False


@torch.no_grad()
def record_episodes(
    agent: Agent, env: Stage, episodes: int, seed: int, temperature: float = 1.0
) -> Iterator[Frame]:
    """What the first environment shows through some episodes; no autoreset, please.

    The temperature is of the policy, as for `metarims.evaluation.evaluate`.
    """
    act, generator = actor_of(agent), seeded(env.device, seed)
    for episode in range(episodes):
        cursor = begin(env, agent, seed + episode)
        title = f"{env.missions()[0]}\nepisode {episode + 1}"
        ended, success, steps, reward = False, False, 0, 0.0
        while True:
            with exploiting(agent):
                output = forward_step(act, cursor)
            mask = output.diagnostics.get("module_mask", torch.zeros(1, 1, 0))
            yield Frame(
                env.render(0),
                f"{title}, step {steps}" + (f", reward {reward:.2f}" if ended else ""),
                tuple(mask[0, 0].flatten().bool().tolist()),
                float(output.value[0, 0]),
                steps == 0,
                ended,
                success,
            )
            if ended:
                break
            actions = sample_at(temperature, output.logits[0], generator)
            step, cursor = advance(env, cursor, output.state, actions)
            steps, reward, ended = steps + 1, float(step.reward[0]), bool(cursor.starts[0])
            success = bool(step.terminated[0]) and reward > 0
            cursor.starts.zero_()  # the last observation belongs to the episode that it ends


def outcome(frames: Sequence[Frame]) -> str:
    """How many of the recorded episodes succeeded, in words."""
    ended = [frame.success for frame in frames if frame.last]
    told = f"{len(ended)} episode{'s' * (len(ended) != 1)}, {sum(ended)} succeeded"
    return told if frames[-1].last else f"{told}, and the beginning of another"


def save_gif(frames: Sequence[Frame], path: Path) -> None:
    """Write the frames as an animated GIF, whole or not at all."""
    write_bytes(path, as_gif(frames))


def as_gif(frames: Sequence[Frame]) -> bytes:
    """The frames as an animated GIF."""
    palette = _palette(frames)
    first, *others = [
        _compose(frames, i).quantize(palette=palette, dither=Image.Dither.NONE)
        for i in range(len(frames))
    ]
    file = io.BytesIO()
    first.save(
        file,
        format="GIF",
        save_all=True,
        append_images=others,
        duration=[END_MS if frame.last else STEP_MS for frame in frames],
        loop=0,
    )
    return file.getvalue()


def _palette(frames: Sequence[Frame]) -> Image.Image:
    """64 colours, of every fourth pixel of some pictures: with the same ones for all pictures only
    what changes from one to the next takes room.
    """
    some = range(0, len(frames), 1 + len(frames) // 32)
    seen = np.concatenate([np.asarray(_compose(frames, i))[::4, ::4] for i in some])
    return Image.fromarray(seen).quantize(64, Image.Quantize.FASTOCTREE)


def save_mp4(frames: Sequence[Frame], path: Path) -> None:
    """Write the frames as a video, whole or not at all, by imageio's ffmpeg.

    Raises:
        UsageError: that is not installed.
    """
    try:
        import imageio_ffmpeg

        imageio_ffmpeg.get_ffmpeg_exe()
    except (ModuleNotFoundError, RuntimeError):
        raise UsageError("MP4 needs imageio's ffmpeg: pip install 'metarims[video]'") from None
    size = _compose(frames, 0).size
    with aside(path) as temporary:
        writer = imageio_ffmpeg.write_frames(
            str(temporary), size, fps=FPS, macro_block_size=2, output_params=["-f", "mp4"]
        )
        writer.send(None)
        for i, frame in enumerate(frames):
            picture = np.asarray(_compose(frames, i))
            for _ in range(round((END_MS if frame.last else STEP_MS) * FPS / 1000)):
                writer.send(picture)
        writer.close()


def _compose(frames: Sequence[Frame], now: int) -> Image.Image:
    """The picture, and to its right the last steps' activity and value with what they are."""
    frame, shown = frames[now], frames[max(0, now + 1 - SHOWN) : now + 1]
    left, right = SIDE + LEFT + 2 * MARGIN, 2 * SIDE + LEFT + 2 * MARGIN
    rows = HEAD + ROW * len(frame.active)
    top = rows + LINE + MARGIN if frame.active else HEAD
    bottom = max(HEAD + SIDE, top + LOWEST)
    canvas = Image.new("RGB", (right + MARGIN, bottom + LINE + MARGIN), PAPER)
    canvas.paste(Image.fromarray(frame.picture).resize((SIDE, SIDE)), (MARGIN, HEAD))
    draw = ImageDraw.Draw(canvas)
    _write(draw, (MARGIN, MARGIN), frame.text, size=13)
    _draw_modules(draw, [past.active for past in shown], left)
    axis = _axis([each.value for each in frames])
    _draw_values(draw, [past.value for past in shown], axis, (left, top, bottom))
    _write(draw, (left, bottom + 4), "gray line: an episode begins")
    _write(draw, (right, bottom + 4), f"the last {SHOWN} steps", anchor="ra")
    for column, past in enumerate(shown):
        x = left + column * STEP - 1
        for above, below in ((HEAD, rows), (top, bottom)) if past.first else ():
            draw.line((x, above, x, below), BEGUN, 2)
    return canvas


def _draw_modules(draw: ImageDraw.ImageDraw, shown: Sequence[tuple[bool, ...]], left: int) -> None:
    """A row a module, a column a step, filled where it is active; nothing without modules."""
    if shown[-1]:
        _write(draw, (left, HEAD - LINE), "modules, blue where active")
    for row in range(len(shown[-1])):
        y = HEAD + row * ROW
        _write(draw, (left - 4, y + 2), f"module {row}", anchor="ra")
        draw.rectangle((left, y + 1, left + len(shown) * STEP - 2, y + ROW - 2), GRID)
        for column, active in enumerate(shown):
            if active[row]:
                x = left + column * STEP
                draw.rectangle((x, y + 1, x + STEP - 2, y + ROW - 2), ACTIVE)


def _axis(values: Sequence[float]) -> tuple[float, float]:
    """The lowest and the highest value of an axis for all of them: 0 and 1, or halves beyond."""
    return min(0.0, math.floor(2 * min(values)) / 2), max(1.0, math.ceil(2 * max(values)) / 2)


def _draw_values(
    draw: ImageDraw.ImageDraw,
    values: Sequence[float],
    axis: tuple[float, float],
    box: tuple[int, int, int],
) -> None:
    """A curve in a box, which is left, top, bottom, along an axis from its bottom to its top."""
    left, top, bottom = box
    low, high = axis

    def height(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - top)

    title = f"value, the return that the agent expects: {values[-1]:.2f}"
    _write(draw, (left, top - LINE), title)
    for tick in (low, (low + high) / 2, high):
        draw.line((left, height(tick), left + SIDE, height(tick)), GRID)
        _write(draw, (left - 4, height(tick)), f"{tick:g}", anchor="rm")
    draw.rectangle((left, top, left + SIDE, bottom), outline=INK)
    points = [(left + i * STEP + STEP // 2, height(value)) for i, value in enumerate(values)]
    if len(points) > 1:
        draw.line(points, CURVE, 2)


def _write(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    size: int = 12,
    anchor: str | None = None,
) -> None:
    draw.text(place, text, INK, ImageFont.load_default(size), anchor, spacing=3)
