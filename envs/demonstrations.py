"""Demonstrations as a dataset in Minari's format: ``main_data.hdf5`` beside ``metadata.json``.

``minari.MinariDataset(folder)`` reads what is written here, and Minari's own BabyAI datasets can be
read here. Observations are upstream's, missions as text, an episode's final one included.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

import gymnasium
import numpy as np
import torch
from torch import Tensor

from .batch import Environments
from .bot import SEEDS_A_TASK, Demonstration, check_instructed, walks
from .interface import Observation
from .vocabulary import encode_known

if TYPE_CHECKING:
    import h5py

DATA, METADATA = "main_data.hdf5", "metadata.json"
VERSION = "0.5.4"  # of Minari, whose format this is
LARGE = 1 << 14  # bytes above which an episode's images are compressed
LONGEST_MISSION = 512  # characters
HOPELESS = 200  # failed seeds after which a level is given up if none succeeded


class Shown(Protocol):
    """What reading demonstrations needs to know of the environments."""

    num_actions: int
    mission_length: int

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape of one environment's image."""


@dataclass(frozen=True)
class Demonstrations:
    """Episodes in sequence, N steps in total.

    Attributes:
        level: the id of the level, "" if the dataset does not say.
        obs: the observation before each step, as from the environments: [N, ...] by name.
        actions: int64 [N].
        rewards: float32 [N].
        ends: bool [N], whether the episode ends with this step.
        digest: SHA-256 of the data file.
    """

    level: str
    obs: Observation
    actions: Tensor
    rewards: Tensor
    ends: Tensor
    digest: str


# --- writing ------------------------------------------------------------------------------------


def demonstrate(
    folder: Path,
    id: str,
    *,
    name: str,
    episodes: int,
    seed: int,
    observation: str,
    workers: int,
    report: Callable[[int, Counter[str]], None],
) -> None:
    """Let BabyAI's bot play a level, and write the episodes in which it succeeds.

    Args:
        folder: of the dataset; its files go into a new subfolder ``data``, as in Minari.
        id: the level.
        name: of the dataset, from which Minari's id is made.
        episodes: number of successful episodes; seeds on which the bot fails are skipped.
        seed: the first seed; the others follow it.
        observation: as in `make`.
        workers: processes, at most.
        report: called after each seed with the number of episodes so far and how many seeds were
            skipped, by reason.

    Raises:
        FileExistsError: the folder has a ``data`` already.
        ValueError: the bot cannot play this level, or h5py is not installed.
    """
    h5py = _h5py()
    check_instructed(id)
    workers = min(workers, math.ceil(episodes / SEEDS_A_TASK))
    data = folder / "data"
    data.mkdir(parents=True)
    with (
        h5py.File(data / DATA, "w", libver="latest", track_order=True) as file,
        closing(walks(id, seed=seed, observation=observation, workers=workers)) as walked,
    ):
        steps, shape = _write(file, _kept(walked, episodes, report))
    metadata = {
        "dataset_id": dataset_id(name),
        "minari_version": VERSION,
        "data_format": "hdf5",
        "jpeg_encoding": False,
        "algorithm_name": "BabyAIBot",
        "total_episodes": episodes,
        "total_steps": steps,
        "dataset_size": round((data / DATA).stat().st_size / 1e6, 1),
        "observation_space": json.dumps(_observation_space(shape)),
        "action_space": json.dumps(_discrete(Environments.num_actions)),
        "env_spec": gymnasium.spec(id).to_json(),
        "sha256": _digest(data / DATA),
    }
    (data / METADATA).write_text(json.dumps(metadata, indent=1))


def _kept(
    walked: Iterable[Demonstration], episodes: int, report: Callable[[int, Counter[str]], None]
) -> Iterator[Demonstration]:
    """The first ``episodes`` that succeed."""
    count, passed_over = 0, Counter[str]()
    for walk in walked:
        if walk.failure:
            passed_over[walk.failure] += 1
        else:
            count += 1
            yield walk
        report(count, passed_over)
        if count == episodes:
            return
        if not count and passed_over.total() == HOPELESS:
            ((most, _),) = passed_over.most_common(1)
            raise ValueError(f"BabyAI's bot gave up on {HOPELESS} seeds of {HOPELESS}: {most}")


def _write(file: h5py.File, episodes: Iterable[Demonstration]) -> tuple[int, tuple[int, ...]]:
    """Write episodes into a file; returns their number of steps and the shape of their images."""
    steps, shape = 0, ()
    for number, episode in enumerate(episodes):
        _write_episode(file.create_group(f"episode_{number}"), number, episode)
        steps, shape = steps + len(episode.actions), episode.images.shape[1:]
    return steps, shape


def dataset_id(name: str) -> str:
    """Minari's id for a name: letters, digits, dashes, underscores and a final version."""
    plain = re.sub(r"[^-\w]+", "-", name, flags=re.ASCII).strip("-") or "demonstrations"
    return plain if re.search(r"-v\d+$", plain) else f"{plain}-v0"


def _write_episode(group: h5py.Group, number: int, episode: Demonstration) -> None:
    steps = len(episode.actions)
    ends = np.arange(1, steps + 1) == steps
    packed = {"compression": "gzip"} if episode.images.nbytes > LARGE else {}
    group.attrs.update({"id": number, "seed": episode.seed, "total_steps": steps})
    seen = group.create_group("observations")
    seen.create_dataset("image", data=episode.images, **packed)
    seen.create_dataset("direction", data=episode.directions.astype(np.int64))
    seen.create_dataset("mission", data=np.full(steps + 1, episode.mission.encode()))
    group.create_dataset("actions", data=episode.actions)
    group.create_dataset("rewards", data=episode.rewards.astype(np.float64))
    group.create_dataset("terminations", data=ends)
    group.create_dataset("truncations", data=np.zeros_like(ends))
    group.create_group("infos")


def _observation_space(shape: tuple[int, ...]) -> dict[str, object]:
    """Upstream's observation space in Minari's JSON."""
    bounds = [np.full(shape, bound, np.uint8).tolist() for bound in (0, 255)]
    image = {"type": "Box", "dtype": "uint8", "shape": shape, "low": bounds[0], "high": bounds[1]}
    letters = string.ascii_letters + string.digits + " ,-"
    text = {"type": "Text", "max_length": LONGEST_MISSION, "min_length": 1, "charset": letters}
    spaces = {"direction": _discrete(4), "image": image, "mission": text}
    return {"type": "Dict", "subspaces": spaces}


def _discrete(count: int) -> dict[str, object]:
    return {"type": "Discrete", "dtype": "int64", "start": 0, "n": count}


# --- reading ------------------------------------------------------------------------------------


def read_demonstrations(folder: Path, env: Shown) -> Demonstrations:
    """Read a dataset, with observations as the environments give them.

    Args:
        folder: of the dataset, or its subfolder ``data``.
        env: the environments.

    Raises:
        ValueError: it is missing or damaged, or does not match the environments, or h5py is not
            installed.
    """
    h5py, folder = _h5py(), _inner(folder)
    with _refusals(folder):
        metadata = json.loads((folder / METADATA).read_text())
        digest = _digest(folder / DATA)
        if metadata.get("sha256", digest) != digest:
            raise ValueError(f"{DATA} was changed or damaged")
        if (form := metadata["data_format"]) != "hdf5":
            raise ValueError(f"its format is {form}, expected hdf5")
        with h5py.File(folder / DATA) as file:
            if (count := metadata["total_episodes"]) != len(file):
                raise ValueError(f"it has {len(file)} episodes, expected {count}")
            episodes = [_read_episode(file, f"episode_{number}", env) for number in range(count)]
        if not episodes:
            raise ValueError("it has no episodes")
        columns = [np.concatenate(column) for column in zip(*episodes, strict=True)]
    images, directions, missions, actions, rewards, ends = map(torch.from_numpy, columns)
    obs = {"image": images, "direction": directions, "mission": missions}
    return Demonstrations(_level(metadata), obs, actions, rewards, ends, digest)


def _read_episode(file: h5py.File, group: str, env: Shown) -> tuple[np.ndarray, ...]:
    """Images, directions, missions, actions, rewards and ends, T rows each."""
    actions = _column(file, f"{group}/actions").astype(np.int64)
    steps = len(actions)
    images = _column(file, f"{group}/observations/image")[:steps]
    if images.shape != (steps, *env.image_shape) or images.dtype != np.uint8:
        raise ValueError(
            f"images are {images.dtype} {images.shape[1:]}, expected uint8 {env.image_shape}"
        )
    if not steps or actions.min() < 0 or actions.max() >= env.num_actions:
        raise ValueError(f"actions must be 0 to {env.num_actions - 1}, at least one per episode")
    mission = _column(file, f"{group}/observations/mission")[0].decode()
    return (
        images,
        _column(file, f"{group}/observations/direction")[:steps].astype(np.uint8).reshape(steps),
        np.tile(np.array(encode_known(mission, env.mission_length), np.int16), (steps, 1)),
        actions,
        _column(file, f"{group}/rewards").astype(np.float32),
        np.arange(1, steps + 1) == steps,
    )


def _column(file: h5py.File, path: str) -> np.ndarray:
    """The array at a path, by h5py's low-level API, which takes a third of the time."""
    from h5py import h5d, h5s

    data = h5d.open(file.id, path.encode())
    found = np.empty(data.shape, data.dtype)
    data.read(h5s.ALL, h5s.ALL, found)
    return found


def read_level(folder: Path) -> str:
    """The id of a dataset's level, "" if it does not say.

    Raises:
        ValueError: there is no dataset.
    """
    folder = _inner(folder)
    with _refusals(folder):
        return _level(json.loads((folder / METADATA).read_text()))


def _inner(folder: Path) -> Path:
    """The folder of the files, given it or its parent."""
    return folder if (folder / METADATA).exists() else folder / "data"


def _level(metadata: Mapping[str, object]) -> str:
    """The id of the level in a dataset's metadata, "" if there is none."""
    spec = metadata.get("env_spec")
    return str(json.loads(spec).get("id", "")) if isinstance(spec, str) else ""


@contextmanager
def _refusals(folder: Path) -> Iterator[None]:
    """Turn errors in reading a dataset's files into a `ValueError` of one line."""
    try:
        yield
    except FileNotFoundError as error:
        raise ValueError(f"no demonstrations at {folder}: there is no {error.filename}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{folder} cannot be read as demonstrations: {error}") from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _h5py() -> ModuleType:
    """The optional library h5py."""
    try:
        import h5py
    except ImportError:
        raise ValueError("demonstrations need h5py: pip install 'metarims[demos]'") from None
    return h5py
