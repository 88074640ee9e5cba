"""Checkpoints: tensors in safetensors beside a JSON manifest with their SHA-256.

A checkpoint is a folder that is written aside, flushed to the disk and only then renamed to its
place, so one with its right name is whole; should it be damaged later, the digest tells. Nothing
that could run code when loaded (pickle) is read or written.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from .errors import UsageError
from .files import aside, make_folder

FORMAT = 2
TENSORS, MANIFEST = "tensors.safetensors", "manifest.json"
BEST = "best"  # the name of the one that succeeds most
KEPT = 2  # checkpoints left in a folder: should the newest be damaged, the one before it loads


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name, and numbers that JSON can hold."""

    tensors: dict[str, Tensor]
    numbers: dict[str, float]


class DamagedError(Exception):
    """A checkpoint that is not what was written."""


def save_checkpoint(folder: Path, frames: int, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint after `frames` frames into `folder`; only the last `KEPT` remain, and
    the first of those with the highest success rate, as "best".
    """
    make_folder(folder)
    tensors = {name: tensor.detach().contiguous() for name, tensor in checkpoint.tensors.items()}
    data = tensors_to_bytes(tensors)
    manifest = {
        "format": FORMAT,
        "frames": frames,
        "sha256": hashlib.sha256(data).hexdigest(),
        "numbers": checkpoint.numbers,
    }
    final, best = folder / f"{frames:012d}", folder / BEST
    places = [final]
    if success_rate(checkpoint) > (_success_rate_in(best) if best.exists() else 0):
        places.append(best)
    for place in places:
        with aside(place) as temporary:
            temporary.mkdir()
            (temporary / TENSORS).write_bytes(data)
            (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1))
    for old in checkpoints(folder)[:-KEPT]:
        shutil.rmtree(folder / old)
    return final


def success_rate(checkpoint: Checkpoint) -> float:
    """Of the last episodes before it; 0 where that is not known."""
    return checkpoint.numbers.get("success_rate", 0.0)


def _success_rate_in(path: Path) -> float:
    try:
        return success_rate(read_checkpoint(path))
    except DamagedError:
        return 0.0


def load_checkpoint(folder: Path, which: str = "") -> Checkpoint:
    """The newest checkpoint in `folder` that is whole, or a certain one: "best", or its frames.

    Raises:
        UsageError: there is none.
    """
    faults = []
    for name in reversed(_called(folder, which)):
        try:
            return read_checkpoint(folder / name)
        except DamagedError as error:
            faults.append(f"{name}: {error}")
    raise UsageError(f"no whole checkpoint in {folder} ({'; '.join(faults) or 'there is none'})")


def read_checkpoint(path: Path) -> Checkpoint:
    """One checkpoint; `DamagedError` says how it differs from what was written."""
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
        data = (path / TENSORS).read_bytes()
        if manifest["format"] != FORMAT:
            raise DamagedError(f"format {manifest['format']}, expected {FORMAT}")
        if hashlib.sha256(data).hexdigest() != manifest["sha256"]:
            raise DamagedError(f"{TENSORS} does not have the digest in {MANIFEST}")
        return Checkpoint(tensors_from_bytes(data), manifest["numbers"])
    except OSError as error:
        raise DamagedError(f"{error.strerror}: {Path(error.filename).name}") from None
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise DamagedError(f"{MANIFEST} or {TENSORS} cannot be read ({error})") from None


def _called(folder: Path, which: str) -> list[str]:
    """The names of the checkpoints that are meant; all but the best one where none is named."""
    known = checkpoints(folder)
    if not which:
        return known
    if which == BEST and (folder / BEST).is_dir():
        return [BEST]
    found = [name for name in known if which.isdecimal() and int(name) == int(which)]
    if not found:
        there = [*(str(int(name)) for name in known), *([BEST] if (folder / BEST).is_dir() else [])]
        raise UsageError(f"no checkpoint {which!r} in {folder}; there are {', '.join(there)}")
    return found


def checkpoints(folder: Path) -> list[str]:
    """The names of the checkpoints in a folder, the newest last."""
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.name.isdecimal())
