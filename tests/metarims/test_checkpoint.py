"""A checkpoint is complete or absent; a damaged one is skipped."""

import json

import pytest
import torch

from metarims.checkpoint import (
    MANIFEST,
    TENSORS,
    Checkpoint,
    DamagedError,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from metarims.errors import UsageError


def written(number: float) -> Checkpoint:
    return Checkpoint({"x": torch.full((3,), number)}, {"number": number})


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-5])


def empty(path):
    path.write_bytes(b"")


def test_gives_back_what_was_saved(tmp_path):
    tensors = {
        "float": torch.randn(3, 2),
        "double": torch.randn(2, dtype=torch.float64),
        "bytes": torch.arange(4, dtype=torch.uint8),
        "flags": torch.tensor([True, False]),
        "long": torch.tensor(2**40),
        "turned": torch.randn(2, 3).T,
        "none": torch.zeros(0, 3),
    }
    save_checkpoint(tmp_path, 5, Checkpoint(tensors, {"frames": 5}))
    loaded = load_checkpoint(tmp_path)
    assert loaded.numbers == {"frames": 5}
    for name, tensor in tensors.items():
        assert torch.equal(loaded.tensors[name], tensor)
        assert loaded.tensors[name].dtype == tensor.dtype


def test_keeps_two_and_leaves_nothing_aside(tmp_path):
    for frames in (5, 40, 300):
        save_checkpoint(tmp_path, frames, written(frames))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000000040", "000000000300"]
    assert load_checkpoint(tmp_path).numbers == {"number": 300}


@pytest.mark.parametrize("file", [TENSORS, MANIFEST])
@pytest.mark.parametrize("damage", [flip_a_bit, cut_short, empty, lambda path: path.unlink()])
def test_a_damaged_one_is_passed_over(tmp_path, file, damage):
    save_checkpoint(tmp_path, 1, written(1))
    newest = save_checkpoint(tmp_path, 2, written(2))
    damage(newest / file)
    with pytest.raises(DamagedError):
        read_checkpoint(newest)
    assert load_checkpoint(tmp_path).numbers == {"number": 1}


def test_an_interrupted_write_does_not_count(tmp_path):
    save_checkpoint(tmp_path, 1, written(1))
    (tmp_path / ".000000000002.aside").mkdir()
    (tmp_path / ".000000000002.aside" / TENSORS).write_bytes(b"half")
    assert load_checkpoint(tmp_path).numbers == {"number": 1}
    save_checkpoint(tmp_path, 2, written(2))
    assert load_checkpoint(tmp_path).numbers == {"number": 2}


def test_says_what_is_wrong_when_none_is_whole(tmp_path):
    with pytest.raises(UsageError, match="there is none"):
        load_checkpoint(tmp_path / "checkpoints")
    path = save_checkpoint(tmp_path, 1, written(1))
    flip_a_bit(path / TENSORS)
    with pytest.raises(UsageError, match=r"000000000001: .*digest"):
        load_checkpoint(tmp_path)


def test_a_format_of_the_future_is_refused(tmp_path):
    path = save_checkpoint(tmp_path, 1, written(1))
    manifest = json.loads((path / MANIFEST).read_text()) | {"format": 99}
    (path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match="format 99, expected 2"):
        load_checkpoint(tmp_path)
