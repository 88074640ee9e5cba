"""Equal frames: numbered as by comparison, encoded once, and never with old parameters."""

import numpy as np
import pytest
import torch

import envs
from agents.encoder import EncoderConfig
from agents.frames import ROOM, Frames, Memory, Numbers, as_frames, find_different
from agents.kernels.compiling import definitions
from envs.rgb import draw_sprites
from metarims.rollout import begin, collect_rollout

from ..metarims.small import configured
from .test_encoder import random_cells


def frames_of(count, different, missions=3):
    """One step of ``count`` frames, few of them distinct."""
    which = torch.randint(different, (count,))
    image, mission = random_cells(different, 7, 7), torch.randint(1, 9, (missions, 4))
    asked = mission[torch.randint(missions, (count,))].to(torch.int16)
    return {"image": image[which].unsqueeze(0), "mission": asked.unsqueeze(0)}


@pytest.mark.parametrize(("rows", "values"), [(1, 2), (300, 2), (300, 3), (ROOM + 7, 256)])
def test_rows_are_numbered_as_they_come(rows, values):
    x = torch.randint(values, (rows, 5), dtype=torch.int16)
    which, first = find_different(x)
    assert torch.equal(x[first][which], x)
    assert len(first) == len(x.unique(dim=0))
    assert torch.equal(which[first], torch.arange(len(first)))
    assert (first.diff() > 0).all()


def test_all_that_the_engine_paints_is_told_apart():
    sprites = torch.from_numpy(draw_sprites(8)).flatten(1)
    which, examples = find_different(sprites)
    assert len(examples) == len(sprites.unique(dim=0))
    assert torch.equal(sprites[examples[which]], sprites)


def test_a_row_that_comes_again_keeps_its_number():
    """By hand: a, b, a; then b, c, c beside another, c."""
    a, b, c = torch.eye(3, dtype=torch.uint8)
    x, y = torch.tensor([[0, 0], [0, 1]], dtype=torch.int16)
    numbers = Numbers(torch.stack([a, b, a]), torch.stack([x, x, x]))
    which, new = numbers.number(torch.stack([a, b, a]), torch.stack([x, x, x]))
    assert (which.tolist(), new.tolist()) == ([0, 1, 0], [0, 1])
    which, new = numbers.number(torch.stack([b, c, c, c]), torch.stack([x, x, y, x]))
    assert (which.tolist(), new.tolist()) == ([1, 2, 3, 2], [1, 2])
    assert numbers.count == 4
    assert numbers.has_room(ROOM - 4)
    assert not numbers.has_room(ROOM - 3)


def test_rows_whose_hashes_meet_are_told_apart():
    """More rows than half of the table's slots, so that some collide."""
    x = torch.from_numpy(np.arange(ROOM, dtype=np.int32)).view(-1, 1)
    which, first = find_different(x)
    assert torch.equal(which, torch.arange(ROOM))
    assert torch.equal(first, torch.arange(ROOM))


def test_rows_for_kernels_and_what_they_give_back():
    which = torch.tensor([[0, 1, 1], [2, 1, 0]])
    made = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    rows = Frames(torch.empty(4, 2), which).rows(made)
    assert rows.shape == (32, 6)
    real = rows.view(2, 16, 6)[:, :3]
    assert torch.equal(real, made[which])
    weight = torch.randn(2, 3, 6, dtype=torch.float64)
    (real * weight).sum().backward()
    plain = torch.zeros(4, 6, dtype=torch.float64)
    plain.index_add_(0, which.flatten(), weight.flatten(0, 1))
    torch.testing.assert_close(made.grad, plain)


def test_a_tensor_s_frames_are_all_different():
    x = torch.randn(3, 4, 5)
    frames = as_frames(x)
    assert len(frames.different) == 12
    assert torch.equal(frames.spread(), x)
    assert as_frames(frames) is frames


@pytest.mark.parametrize("slots", [False, True])
@pytest.mark.parametrize("learning", [False, True])
def test_frames_are_encoded_as_by_the_definition(slots, learning):
    encoder = EncoderConfig(slots=slots).build(9)
    for _ in range(3):
        obs = frames_of(40, 6)
        with torch.set_grad_enabled(learning):
            found = encoder(obs)
            with definitions():
                torch.testing.assert_close(found.spread(), encoder(obs).spread())
        assert len(found.different) < 40 or not learning


def test_what_was_seen_is_not_encoded_again(monkeypatch):
    encoder, seen = EncoderConfig().build(9), []
    see = encoder.see

    def watched(image, which, asked):
        seen.append(image)
        return see(image, which, asked)

    monkeypatch.setattr(encoder, "see", watched)
    obs, memory = frames_of(64, 5), Memory()
    first = {name: x[:, :20] for name, x in obs.items()}
    with torch.no_grad():
        for each in (first, obs, obs, first):
            encoder(each, memory)
    both = torch.cat([obs["image"].flatten(0, 1).flatten(1).int(), obs["mission"][0].int()], 1)
    assert len(torch.cat(seen)) == len(both.unique(dim=0))
    assert len(seen) <= 2


def test_without_a_memory_nothing_is_remembered():
    encoder, obs = EncoderConfig().build(9), frames_of(20, 4)
    with torch.no_grad():
        before = encoder(obs).spread()
        encoder.project.weight.data *= 2
        after = encoder(obs).spread()
        with definitions():
            torch.testing.assert_close(after, encoder(obs).spread())
    assert not torch.equal(before, after)


def test_more_than_there_is_room_for_is_forgotten():
    encoder, memory = EncoderConfig().build(9), Memory()
    with torch.no_grad():
        for count in (ROOM - 10, 30, ROOM + 40, 8):
            obs = {
                "image": random_cells(1, count, 7, 7),
                "mission": torch.ones(1, count, 3, dtype=torch.int16),
            }
            found = encoder(obs, memory).spread()
            with definitions():
                torch.testing.assert_close(found, encoder(obs).spread())


@pytest.mark.parametrize("way", ["in place", "through data", "another tensor", "fused Adam"])
def test_a_rollout_is_by_the_parameters_it_begins_with(way):
    """Whoever changes them: one rollout's cache is not used in the next."""
    env = envs.make("BabyAI-GoToLocal-v0", num_envs=8)
    agent = configured("lstm").agent.make(env, 1)
    cursor, state = begin(env, agent, 1), env.state

    def collect(act):
        env.state = state
        return collect_rollout(env, act, cursor, 6, 3, torch.Generator().manual_seed(1))[0]

    before = collect(agent)
    changed = agent.encoder.project.weight, agent.policy[0].weight
    for weight in changed:
        if way == "in place":
            weight.detach().mul_(2)
        elif way == "through data":
            weight.data[3] += 1
        elif way == "another tensor":
            weight.data = torch.randn_like(weight)
        else:
            weight.grad = torch.ones_like(weight)
    if way == "fused Adam":
        torch.optim.Adam(changed, fused=True).step()
    after, anew = collect(agent), collect(agent.__call__)  # which has no `acting`
    assert torch.equal(after.actions, anew.actions)
    torch.testing.assert_close(after.log_probs, anew.log_probs)
    torch.testing.assert_close(after.values, anew.values)
    assert not torch.allclose(before.log_probs, after.log_probs)
    assert not torch.allclose(before.values, after.values)
