"""Events: by hand from symbols, and the same from pixels as from symbols."""

import pytest
import torch

import envs
from envs.cells import KEY_TYPE, WALL_TYPE
from envs.events import FACED

LEVELS = ["MiniGrid-DoorKey-5x5-v0", "BabyAI-GoToImpUnlock-v0", "MiniGrid-LavaGapS5-v0"]


def test_what_is_ahead_and_what_is_carried_by_hand():
    image = torch.ones(2, 7, 7, 3, dtype=torch.uint8)  # empty everywhere
    image[0, 3, 5, 0] = WALL_TYPE
    image[1, 3, 6, 0] = KEY_TYPE
    events = envs.find_events({"image": image})
    assert events.keys() == {*(f"facing {name}" for name in FACED), "carrying"}
    assert events["facing a wall"].tolist() == [True, False]
    assert events["carrying"].tolist() == [False, True]
    assert sum(int(event.sum()) for event in events.values()) == 2


@pytest.mark.parametrize("id", LEVELS)
def test_pixels_show_the_same_as_symbols(id):
    symbols, pixels = (envs.make(id, 64, observation=o) for o in ("symbolic", "rgb"))
    seen = [(symbols.reset(seed=1), pixels.reset(seed=1))]
    for action in torch.randint(0, 6, (40, 64), generator=torch.Generator().manual_seed(0)):
        seen.append((symbols.step(action).obs, pixels.step(action).obs))
    sides = zip(*seen, strict=True)
    both = [{"image": torch.stack([obs["image"] for obs in side])} for side in sides]
    one, other = (envs.find_events(obs) for obs in both)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert {name for name in one if one[name].any()} >= {"facing a wall"}


def test_other_images_are_refused():
    with pytest.raises(ValueError, match=r"the agent's view, got \[8, 8, 3\]"):
        envs.find_events({"image": torch.zeros(1, 8, 8, 3, dtype=torch.uint8)})
    with pytest.raises(ValueError, match="matches no cell"):
        envs.find_events({"image": torch.full((1, 56, 56, 3), 7, dtype=torch.uint8)})
