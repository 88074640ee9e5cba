"""Data in their standard formats, written by hand, and the messages if they are missing."""

import gzip

import numpy as np
import pytest
import torch
from PIL import Image

from agents.classify import data
from metarims.errors import UsageError


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    content = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_mnist(folder, count=60, suffix=""):
    generator = np.random.default_rng(0)
    for part in ("train", "t10k"):
        images, labels = generator.integers(256, size=(count, 4, 4)), np.arange(count) % 10
        write_idx(folder / f"{part}-images-idx3-ubyte{suffix}", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte{suffix}", labels)


def test_digits_are_ten_tasks_against_the_rest():
    digits = data.load("digits", None, seed=1)
    assert (digits.tasks, digits.classes) == (10, 2)
    assert (len(digits.train), len(digits.test)) == (12_570, 5_400)
    for samples in (digits.train, digits.test):
        asked = samples.labels.view(10, -1)
        assert torch.equal(asked.sum(0), torch.ones_like(asked[0]))  # each digit is one of ten
        assert samples.images.max() == 1
    again = data.load("digits", None, seed=1)
    assert torch.equal(again.test.labels, digits.test.labels)
    other = data.load("digits", None, seed=2)
    assert not torch.equal(other.test.labels, digits.test.labels)


def test_few_digits_are_as_often_it_as_not():
    few = data.load("digits-few", None, seed=1)
    assert len(few.train) == 10 * 2 * data.FEW
    for samples in (few.train, few.test):
        for task in range(10):
            answers = samples.labels[samples.tasks == task]
            assert answers.float().mean() == 0.5
            assert len(samples.image[samples.tasks == task].unique()) == len(answers)
    whole = data.load("digits", None, seed=1)
    assert torch.equal(few.train.images, whole.train.images)  # the same split
    asked = dict(zip(zip(whole.test.image.tolist(), whole.test.tasks.tolist(), strict=True),
                     whole.test.labels.tolist(), strict=True))  # fmt: skip
    told = zip(few.test.image.tolist(), few.test.tasks.tolist(), strict=True)
    assert [asked[key] for key in told] == few.test.labels.tolist()


def test_a_task_of_rotated_digits_sees_its_own_images_turned():
    plain, _ = data.digit_images(seed=1)
    rotated = data.load("digits-rotated", None, seed=1)
    assert (rotated.tasks, rotated.classes, len(rotated.train), len(rotated.test)) == (
        10, 10, 1257, 540)  # fmt: skip
    assert rotated.train.tasks.bincount().tolist() == [126] * 7 + [125] * 3
    assert torch.equal(rotated.train.labels, plain[1])
    for task, turns in ((0, 0), (5, 2)):  # by 0° and by 180°
        mine = rotated.train.tasks == task
        expected = plain[0][mine].rot90(turns, (2, 3))
        torch.testing.assert_close(rotated.train.images[mine], expected)
    mine = rotated.train.tasks == 3
    assert (rotated.train.images[mine] - plain[0][mine]).abs().mean() > 0.1


def test_a_task_of_permuted_digits_has_one_order_of_pixels_throughout():
    plain, held_out = data.digit_images(seed=1)
    permuted = data.load("digits-permuted", None, seed=1)
    places = set()
    for task in range(10):
        seen, was = [], []
        for samples, (images, _) in ((permuted.train, plain), (permuted.test, held_out)):
            mine = samples.tasks == task
            seen.append(samples.images[mine].flatten(1))
            was.append(images[mine].flatten(1))
        same = (torch.cat(seen).T.unsqueeze(1) == torch.cat(was).T).all(-1)  # [pixel, pixel before]
        assert same.any(1).all()
        assert same.any(0).all()
        places.add(int(same[:, 20].nonzero()))
    assert len(places) > 5


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist(tmp_path, suffix):
    write_mnist(tmp_path, suffix=suffix)
    mnist = data.load("mnist", tmp_path, seed=1)
    assert mnist.train.images.shape == (60, 1, 4, 4)
    assert len(mnist.train) == len(mnist.test) == 600
    assert mnist.train.labels.sum() == 60


def test_cifar_numbers_fine_labels_within_their_coarse_one(tmp_path):
    for part in ("train", "test"):
        rows = np.random.default_rng(0).integers(256, size=(200, 3074)).astype(np.uint8)
        rows[:, 1] = np.arange(200) % 100
        rows[:, 0] = rows[:, 1] % 20
        rows[:, 2:1026] = 255  # red
        (tmp_path / f"{part}.bin").write_bytes(rows.tobytes())
    cifar = data.load("cifar100", tmp_path, seed=1)
    assert (cifar.tasks, cifar.classes) == (20, 5)
    assert (cifar.train.images[:, 0] == 1).all()
    assert cifar.train.tasks[:3].tolist() == [0, 1, 2]
    assert cifar.train.labels[[7, 27, 47, 67, 87]].tolist() == [0, 1, 2, 3, 4]


def test_mini_imagenet(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "MINI_SIDE", 8)
    (tmp_path / "images").mkdir()
    for part, labels in (("train", range(30)), ("val", range(30, 52))):
        lines = ["filename,label"]
        for label in labels:
            Image.new("RGB", (9, 7), (label, 0, 0)).save(tmp_path / "images" / f"{label}.png")
            lines += [f"{label}.png,n{label}"] * 52
        (tmp_path / f"{part}.csv").write_text("\n".join(lines))
    mini = data.load("miniimagenet", tmp_path, seed=1)
    assert (len(mini.train), len(mini.test)) == (100, 2500)
    assert mini.test.images.shape == (2500, 3, 8, 8)
    kinds = torch.stack([mini.test.tasks, mini.test.labels, mini.test.images[:, 0, 0, 0] * 255])
    assert len(kinds.unique(dim=1).T) == 50
    assert mini.test.tasks.unique().tolist() == list(range(10))


@pytest.mark.parametrize(
    ("name", "put", "message"),
    [
        ("digit", {}, "unknown data 'digit'; nearest: digits"),
        ("mnist", {}, "train-images-idx3-ubyte; the folder must hold {train,t10k}"),
        ("mnist", {"train-images-idx3-ubyte": b"12345"}, "is not an idx file of bytes"),
        ("mnist", {"train-images-idx3-ubyte.gz": b"12345"}, "cannot be read"),
        ("cifar100", {"train": b""}, "train.bin and test.bin of CIFAR-100's binary version"),
        ("cifar100", {"train.bin": b"abc"}, "is not CIFAR-100's binary version"),
        ("miniimagenet", {}, "the folder must hold train.csv, val.csv or test.csv"),
    ],
)
def test_what_is_not_there_is_named(tmp_path, name, put, message):
    for file, content in put.items():
        (tmp_path / file).write_bytes(content)
    with pytest.raises(UsageError) as error:
        data.load(name, tmp_path, seed=1)
    assert message in str(error.value)


def test_without_a_folder_it_is_asked_for():
    with pytest.raises(UsageError, match="cifar100: give its folder with --folder"):
        data.load("cifar100", None, seed=1)
