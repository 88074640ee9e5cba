"""Multi-task classification data: scikit-learn's digits in four variants, and MNIST, CIFAR-100 and
mini-ImageNet from a local folder in their standard formats."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy
import torch
from torch import Tensor

from metarims.errors import UsageError, check_choice

DIGITS = 10  # classes, and as many tasks
FEW = 20  # training images of either answer to a task of digits-few
MNIST_FILES = "{train,t10k}-images-idx3-ubyte[.gz] and {train,t10k}-labels-idx1-ubyte[.gz]"
MINI_SIDE = 84


@dataclass(frozen=True)
class Samples:
    """N samples over M images.

    Attributes:
        images: float32 [M, C, H, W].
        image: int64 [N], each sample's image.
        tasks: int64 [N], each sample's task.
        labels: int64 [N], the right answer.
    """

    images: Tensor
    image: Tensor
    tasks: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.image)


@dataclass(frozen=True)
class MultiTask:
    """Training and test samples of several tasks with equally many classes."""

    name: str
    train: Samples
    test: Samples
    tasks: int
    classes: int


def load(name: str, folder: Path | None, seed: int) -> MultiTask:
    """The data set of that name.

    Args:
        name: one of `DATA`.
        folder: where its files are; digits need none.
        seed: of whatever is random: the split, the tasks.

    Raises:
        UsageError: an unknown name, or missing or malformed files.
    """
    check_choice("data", name, DATA)
    return DATA[name](folder, seed)


def load_digits(folder: Path | None, seed: int) -> MultiTask:
    """A small MNIST-MTL: ten one-against-rest tasks on 1,797 digits of 8×8, 540 to test on."""
    train, test = (against_the_rest(*part, DIGITS) for part in digit_images(seed))
    return MultiTask("digits", train, test, DIGITS, 2)


def load_few(folder: Path | None, seed: int) -> MultiTask:
    """Ten one-against-rest tasks, `FEW` training images of either answer each; chance is 50 %."""
    train, test = digit_images(seed)
    random = np.random.default_rng(seed)
    samples = halves(*train, random, FEW), halves(*test, random)
    return MultiTask("digits-few", *samples, DIGITS, 2)


def load_rotated(folder: Path | None, seed: int) -> MultiTask:
    """Which digit is it? Each of ten tasks has a tenth of the images, rotated by 36° more."""

    def turn(images: Tensor, task: int) -> Tensor:
        angle = 360 * task / DIGITS
        turned = scipy.ndimage.rotate(images.numpy(), angle, (3, 2), reshape=False, order=1)
        return torch.from_numpy(turned)

    train, test = (shared_out(*part, turn) for part in digit_images(seed))
    return MultiTask("digits-rotated", train, test, DIGITS, DIGITS)


def load_permuted(folder: Path | None, seed: int) -> MultiTask:
    """Which digit is it? Each of ten tasks has a tenth of the images, its own order of pixels."""
    random = np.random.default_rng(seed)
    orders = [torch.from_numpy(random.permutation(64)) for _ in range(DIGITS)]

    def permute(images: Tensor, task: int) -> Tensor:
        return images.flatten(1)[:, orders[task]].view_as(images)

    train, test = (shared_out(*part, permute) for part in digit_images(seed))
    return MultiTask("digits-permuted", train, test, DIGITS, DIGITS)


def load_mnist(folder: Path | None, seed: int) -> MultiTask:
    """MNIST-MTL (Rosenbaum et al. 2018, Table 1): 1,000 images per class; 200 in all to test."""
    parts = []
    for part, each in (("train", 1000), ("t10k", 20)):
        images = _read_idx(_found(folder, f"{part}-images-idx3-ubyte", "mnist", MNIST_FILES), 3)
        labels = _read_idx(_found(folder, f"{part}-labels-idx1-ubyte", "mnist", MNIST_FILES), 1)
        if len(images) != len(labels):
            raise UsageError(f"{folder}: {len(images)} {part} images but {len(labels)} labels")
        kept = np.concatenate([np.flatnonzero(labels == digit)[:each] for digit in range(10)])
        scaled = torch.from_numpy(images[kept]).float().unsqueeze(1) / 255
        parts.append(against_the_rest(scaled, torch.from_numpy(labels[kept]).long(), 10))
    return MultiTask("mnist", parts[0], parts[1], 10, 2)


def load_cifar(folder: Path | None, seed: int) -> MultiTask:
    """CIFAR-MTL: each of the 20 coarse labels of CIFAR-100 is a task of five classes."""
    wanted = (
        "train.bin and test.bin of CIFAR-100's binary version (the Python version is a pickle, "
        "which is never loaded)"
    )
    parts = []
    for part in ("train", "test"):
        path = _found(folder, f"{part}.bin", "cifar100", wanted)
        content = np.frombuffer(path.read_bytes(), np.uint8)
        if not len(content) or len(content) % 3074:
            raise UsageError(
                f"{path} is not CIFAR-100's binary version: its rows must have 3,074 bytes"
            )
        rows = content.reshape(-1, 3074)
        coarse, fine = (torch.from_numpy(rows[:, i].astype(np.int64)) for i in (0, 1))
        images = torch.from_numpy(rows[:, 2:].reshape(-1, 3, 32, 32).astype(np.float32)) / 255
        parts.append(Samples(images, torch.arange(len(images)), coarse, fine))
    train, test = parts
    place = torch.zeros(100, dtype=torch.int64)
    for task in range(20):
        classes = train.labels[train.tasks == task].unique()
        place[classes] = torch.arange(len(classes))
    train, test = (Samples(s.images, s.image, s.tasks, place[s.labels]) for s in (train, test))
    return MultiTask("cifar100", train, test, 20, 5)


def load_mini(folder: Path | None, seed: int) -> MultiTask:
    """MIN-MTL: 50 random labels of mini-ImageNet, ten tasks of five; 50 test images each."""
    from PIL import Image

    wanted = "train.csv, val.csv or test.csv (filename, label) and the folder images/"
    tables = [] if folder is None else sorted(folder.glob("*.csv"))
    if folder is None or not tables or not (folder / "images").is_dir():
        raise _missing(folder, "miniimagenet", wanted)
    files: dict[str, list[str]] = {}
    for table in tables:
        with table.open(newline="") as lines:
            for row in csv.DictReader(lines):
                if "filename" not in row or "label" not in row:
                    raise UsageError(f"{table} must have the columns filename and label")
                files.setdefault(row["label"], []).append(row["filename"])
    if len(files) < 50:
        raise UsageError(f"{folder}: its tables must have at least 50 labels, got {len(files)}")
    chosen = np.random.default_rng(seed).permutation(sorted(files))[:50]
    parts: dict[bool, list[tuple[Tensor, int, int]]] = {False: [], True: []}
    for i, label in enumerate(chosen):
        for j, name in enumerate(reversed(files[label])):
            path = _found(folder / "images", name, "miniimagenet", wanted)
            with Image.open(path) as picture:
                small = picture.convert("RGB").resize((MINI_SIDE, MINI_SIDE))
                pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1)
            parts[j < 50].append((pixels, i // 5, i % 5))
    train, test = (_stacked(parts[part]) for part in (False, True))
    return MultiTask("miniimagenet", train, test, 10, 5)


DATA: dict[str, Callable[[Path | None, int], MultiTask]] = {
    "digits": load_digits,
    "digits-few": load_few,
    "digits-rotated": load_rotated,
    "digits-permuted": load_permuted,
    "mnist": load_mnist,
    "cifar100": load_cifar,
    "miniimagenet": load_mini,
}


def digit_images(seed: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """scikit-learn's digits, 1,257 to train and 540 to test on: images float32 [M, 1, 8, 8] from 0
    to 1, and labels int64 [M].
    """
    try:
        from sklearn import datasets
    except ModuleNotFoundError:
        raise UsageError("digits need scikit-learn: pip install 'metarims[classify]'") from None
    pixels, digits = datasets.load_digits(return_X_y=True)
    images, labels = (
        torch.from_numpy(pixels).float().view(-1, 1, 8, 8) / 16,
        torch.from_numpy(digits),
    )
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(images)))
    test, train = order[:540], order[540:]
    return (images[train], labels[train]), (images[test], labels[test])


def against_the_rest(images: Tensor, labels: Tensor, classes: int) -> Samples:
    """For each class the task of telling it from the others, on all images."""
    tasks = torch.arange(classes).repeat_interleave(len(images))
    image = torch.arange(len(images)).repeat(classes)
    return Samples(images, image, tasks, (labels[image] == tasks).long())


def halves(
    images: Tensor, labels: Tensor, random: np.random.Generator, each: int | None = None
) -> Samples:
    """For each digit the task of telling it from the others, on as many of it as of them: `each`,
    or as many as there are of it, drawn anew for every task.
    """
    rows: list[Tensor] = []
    for digit in range(DIGITS):
        is_it = labels == digit
        own, others = (
            torch.from_numpy(random.permutation(part.nonzero().squeeze(1).numpy()))
            for part in (is_it, ~is_it)
        )
        rows += [own[:each], others[: len(own[:each])]]
    tasks = torch.cat([torch.full_like(part, i // 2) for i, part in enumerate(rows)])
    image = torch.cat(rows)
    return Samples(images, image, tasks, (labels[image] == tasks).long())


def shared_out(images: Tensor, labels: Tensor, change: Callable[[Tensor, int], Tensor]) -> Samples:
    """Every tenth image for each task, transformed by `change` for that task."""
    tasks = torch.arange(len(images)) % DIGITS
    changed = torch.empty_like(images)
    for task in range(DIGITS):
        changed[tasks == task] = change(images[tasks == task], task)
    return Samples(changed, torch.arange(len(images)), tasks, labels)


def _stacked(rows: list[tuple[Tensor, int, int]]) -> Samples:
    images = torch.stack([pixels for pixels, _, _ in rows]).float() / 255
    tasks, labels = (torch.tensor([row[i] for row in rows]) for i in (1, 2))
    return Samples(images, torch.arange(len(rows)), tasks, labels)


def _read_idx(path: Path, dimensions: int) -> np.ndarray:
    """An array of bytes in MNIST's idx format."""
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    header = 4 + 4 * dimensions
    begun = content[:4] == bytes([0, 0, 8, dimensions]) and len(content) >= header
    shape = tuple(np.frombuffer(content[4:header], ">u4").tolist()) if begun else ()
    if not begun or len(content) != header + int(np.prod(shape)):
        raise UsageError(f"{path} is not an idx file of bytes in {dimensions} dimensions")
    return np.frombuffer(content[header:], np.uint8).reshape(shape)


def _found(folder: Path | None, name: str, data: str, wanted: str) -> Path:
    """The file, or its gzipped form."""
    for path in () if folder is None else (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise _missing(folder, data, wanted, name)


def _missing(folder: Path | None, data: str, wanted: str, name: str = "") -> UsageError:
    where = "give its folder with --folder" if folder is None else f"there is no {folder / name}"
    return UsageError(f"{data}: {where}; the folder must hold {wanted}")
