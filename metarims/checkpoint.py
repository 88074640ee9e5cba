"""Checkpoints: tensors in safetensors and a JSON manifest, each with its SHA-256.

A checkpoint is a folder that is written under a temporary name, flushed to disk and only then
renamed, so one with its proper name is complete; the digests reveal later damage. Nothing that
could run code when loaded (pickle) is read or written.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from .errors import UsageError, note
from .files import aside, clear_aside, make_folder, refusals
from .settings import Json
from .tally import WINDOW

FORMAT = 2
TENSORS, MANIFEST = "tensors.safetensors", "manifest.json"
SEAL = "seal"  # key of the manifest's own digest
BEST = "best"  # name for the one with the highest success rate
KEPT = 2  # newest ones: if the last is damaged, the one before it loads


@dataclass(frozen=True)
class Checkpoint:
    """A run's state.

    Attributes:
        tensors: by name.
        numbers: by name, as JSON can hold.
        vocabulary: the words of missions by token; empty if unknown.
        config: the configuration that it was made with; empty if unknown.
    """

    tensors: dict[str, Tensor]
    numbers: dict[str, float]
    vocabulary: Sequence[str] = ()
    config: dict[str, Json] = field(default_factory=dict)


class DamagedError(Exception):
    """A checkpoint differs from what was written."""


def save_checkpoint(
    folder: Path, frames: int, checkpoint: Checkpoint, keep_all: bool = False
) -> Path:
    """Write a checkpoint at `frames` into `folder`; then `tidy` it."""
    make_folder(folder)
    tensors = {name: tensor.detach().contiguous() for name, tensor in checkpoint.tensors.items()}
    data = tensors_to_bytes(tensors)
    manifest = {
        "format": FORMAT,
        "frames": frames,
        "sha256": hashlib.sha256(data).hexdigest(),
        "numbers": checkpoint.numbers,
        "vocabulary": list(checkpoint.vocabulary),
        "config": checkpoint.config,
    }
    final = folder / _name(frames)
    with aside(final) as temporary:
        temporary.mkdir()
        (temporary / TENSORS).write_bytes(data)
        (temporary / MANIFEST).write_text(json.dumps(sealed(manifest), indent=1))
    tidy(folder, keep_all)
    return final


def _name(frames: int) -> str:
    """Name of the checkpoint at `frames`."""
    return f"{frames:012d}"


def remove_checkpoint(folder: Path, frames: int) -> None:
    """Remove the checkpoint at `frames`."""
    with refusals(folder):
        shutil.rmtree(folder / _name(frames))


def tidy(folder: Path, keep_all: bool) -> None:
    """Remove temporary files and, unless all are to be kept, all checkpoints but the newest `KEPT`
    and the best one.
    """
    clear_aside(folder)
    if keep_all:
        return
    for old in {*checkpoints(folder)[:-KEPT]} - {best_checkpoint(folder)}:
        with refusals(folder):
            shutil.rmtree(folder / old)


def load_checkpoint(folder: Path, which: str = "") -> Checkpoint:
    """The newest whole checkpoint in `folder`, or a particular one: "best", or its frames.

    Raises:
        UsageError: there is none.
    """
    faults = []
    for name in reversed(_called(folder, which)):
        try:
            checkpoint = read_checkpoint(folder / name)
        except DamagedError as error:
            faults.append(f"{name}: {error}")
            continue
        if faults:
            note(f"{folder}: {'; '.join(faults)}; falling back to the one at {int(name)} frames")
        return checkpoint
    raise UsageError(f"no intact checkpoint in {folder} ({'; '.join(faults) or 'there is none'})")


def read_checkpoint(path: Path) -> Checkpoint:
    """One checkpoint; `DamagedError` if it differs from what was written."""
    manifest = _read_manifest(path)
    try:
        data = (path / TENSORS).read_bytes()
        if hashlib.sha256(data).hexdigest() != manifest["sha256"]:
            raise DamagedError(f"{TENSORS} does not match the digest in {MANIFEST}")
        config, words = manifest.get("config", {}), manifest.get("vocabulary", [])
        if not isinstance(config, dict):
            raise DamagedError(f"{MANIFEST} has no configuration")
        if not isinstance(words, list):
            raise DamagedError(f"{MANIFEST} has no vocabulary")
        return Checkpoint(tensors_from_bytes(data), _numbers(manifest), words, config)
    except OSError as error:
        raise DamagedError(f"{TENSORS}: {error.strerror}") from None
    except (KeyError, SafetensorError) as error:
        raise DamagedError(f"{MANIFEST} or {TENSORS} cannot be read ({error})") from None


def _read_manifest(path: Path) -> dict[str, object]:
    """A checkpoint's manifest; `DamagedError` if it differs from what was written."""
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
    except OSError as error:
        raise DamagedError(f"{MANIFEST}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{MANIFEST} cannot be read ({error})") from None
    if not isinstance(manifest, dict):
        raise DamagedError(f"{MANIFEST} is not a manifest")
    if manifest.get("format") != FORMAT:
        raise DamagedError(f"format {manifest.get('format')}, expected {FORMAT}")
    own = {name: value for name, value in manifest.items() if name != SEAL}
    if manifest.get(SEAL, sealed(own)[SEAL]) != sealed(own)[SEAL]:  # early ones had none
        raise DamagedError(f"{MANIFEST} was changed or damaged")
    return own


def sealed(manifest: Mapping[str, object]) -> dict[str, object]:
    """A manifest with a digest of its content."""
    content = json.dumps(manifest, sort_keys=True).encode()
    return {**manifest, SEAL: hashlib.sha256(content).hexdigest()}


def _numbers(manifest: Mapping[str, object]) -> dict[str, float]:
    numbers = manifest.get("numbers")
    known = numbers.values() if isinstance(numbers, dict) else [None]
    if not all(isinstance(number, int | float) for number in known):
        raise DamagedError(f"{MANIFEST} has no numbers")
    return cast(dict[str, float], numbers)


def best_checkpoint(folder: Path) -> str:
    """The first of the checkpoints with the highest success rate; "" if none is above 0."""
    rates = {name: _success_rate(folder / name) for name in checkpoints(folder)}
    best = max(rates, key=lambda name: rates[name], default="")
    return best if rates.get(best) else ""


def _success_rate(path: Path) -> float:
    """Success rate of the last episodes before a checkpoint; 0 if unknown."""
    try:
        return _numbers(_read_manifest(path)).get("success_rate", 0.0)
    except DamagedError:
        return 0.0


def fingerprint(folder: Path) -> str:
    """Identifies a folder's newest checkpoint; "" if there is none."""
    manifests = [folder / name / MANIFEST for name in checkpoints(folder)[-1:]]
    return "".join(hashlib.sha256(x.read_bytes()).hexdigest() for x in manifests if x.exists())


def _called(folder: Path, which: str) -> list[str]:
    """Names of the requested checkpoints; of all if `which` is empty."""
    known, best = checkpoints(folder), best_checkpoint(folder) if which else ""
    if not which:
        return known
    if which == BEST and best:
        return [best]
    found = [name for name in known if f"{name:0>12}" == f"{which:0>12}"]
    if not found:
        there = [*(str(int(name)) for name in known), *([BEST] if best else [])]
        why = f", which needs a success in {WINDOW} episodes that count" if which == BEST else ""
        raise UsageError(
            f"no checkpoint {which!r} in {folder}{why}; there are {', '.join(there) or 'none'}"
        )
    return found


def checkpoints(folder: Path) -> list[str]:
    """Names of the checkpoints in a folder, newest last."""
    if not folder.is_dir():
        return []
    names = (path.name for path in folder.iterdir())
    return sorted((name for name in names if name.isdecimal()), key=int)
