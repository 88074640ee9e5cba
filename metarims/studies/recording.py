"""An agent at work as an animated picture, with its modules' activity and its value beside it."""

from __future__ import annotations

import io
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
from ..rollout import actor_of, advance, begin, forward_step

SIDE = 320  # pixels of the picture, and of the panel beside it
HEAD, ROW, NUMBER = 40, 20, 14  # pixels of the text above, of a module's row and of its number
SHOWN = 40  # steps in the panel
STEP_MS, END_MS = 150, 1000
FPS = 20  # of a video, in which a step is three pictures
INK, PAPER, ACTIVE, CURVE = (30, 30, 30), (255, 255, 255), (40, 90, 160), (200, 60, 40)


@dataclass(frozen=True)
class Frame:
    """One moment.

    Attributes:
        picture: uint8 [H, W, 3].
        text: what to write above it.
        active: which modules step, empty where there are none.
        value: what the agent expects.
        first, last: whether an episode begins or ends.
    """

    picture: np.ndarray
    text: str
    active: tuple[bool, ...]
    value: float
    first: bool
    last: bool


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
        ended, steps, reward = False, 0, 0.0
        while True:
            output = forward_step(act, cursor)
            mask = output.diagnostics.get("module_mask", torch.zeros(1, 1, 0))
            yield Frame(
                env.render(0),
                f"{title}, step {steps}" + (f", reward {reward:.2f}" if ended else ""),
                tuple(mask[0, 0].flatten().bool().tolist()),
                float(output.value[0, 0]),
                steps == 0,
                ended,
            )
            if ended:
                break
            actions = sample_at(temperature, output.logits[0], generator)
            step, cursor = advance(env, cursor, output.state, actions)
            steps, reward, ended = steps + 1, float(step.reward[0]), bool(cursor.starts[0])
            cursor.starts.zero_()  # the last observation belongs to the episode that it ends


def save_gif(frames: Sequence[Frame], path: Path) -> None:
    """Write the frames as an animated GIF, whole or not at all."""
    write_bytes(path, as_gif(frames))


def as_gif(frames: Sequence[Frame]) -> bytes:
    """The frames as an animated GIF."""
    first, *others = [
        _compose(frames, i).quantize(64, Image.Quantize.FASTOCTREE) for i in range(len(frames))
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
    """The picture, and the last steps' activity and value to its right."""
    frame = frames[now]
    canvas = Image.new("RGB", (2 * SIDE + NUMBER + 3 * 8, SIDE + HEAD + 8), PAPER)
    canvas.paste(Image.fromarray(frame.picture).resize((SIDE, SIDE)), (8, HEAD))
    draw = ImageDraw.Draw(canvas)
    draw.text((8, 4), frame.text, INK, ImageFont.load_default(13), spacing=3)
    shown = frames[max(0, now + 1 - SHOWN) : now + 1]
    left, width = SIDE + NUMBER + 16, SIDE // SHOWN
    below = HEAD + ROW * len(frame.active)
    for column, past in enumerate(shown):
        x = left + column * width
        for row, active in enumerate(past.active):
            if active:
                y = HEAD + row * ROW
                draw.rectangle((x, y + 1, x + width - 2, y + ROW - 2), ACTIVE)
        if past.first:
            draw.line((x - 1, HEAD, x - 1, HEAD + SIDE), CURVE)
    for row in range(len(frame.active)):
        draw.text((left - NUMBER, HEAD + row * ROW + 2), str(row), INK, ImageFont.load_default(12))
    _draw_values(draw, [past.value for past in shown], (left, below + 8, HEAD + SIDE), width)
    return canvas


def _draw_values(
    draw: ImageDraw.ImageDraw, values: Sequence[float], box: tuple[int, int, int], width: int
) -> None:
    """A curve from 0 at the box's bottom to 1 at its top; box is left, top, bottom."""
    left, top, bottom = box
    points = [
        (left + i * width + width // 2, bottom - min(max(value, 0.0), 1.0) * (bottom - top))
        for i, value in enumerate(values)
    ]
    draw.rectangle((left, top, left + SIDE, bottom), outline=INK)
    draw.text(
        (left + 4, top + 2), f"value {values[-1]:.2f}, from 0 to 1", INK, ImageFont.load_default(12)
    )
    if len(points) > 1:
        draw.line(points, CURVE, 2)
