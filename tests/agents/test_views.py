"""Cells from pixels: tiles cut in place, distinguished, and read as one by one."""

import pytest
import torch
from minigrid.core.constants import OBJECT_TO_IDX

import envs
from agents.encoder import EncoderConfig
from agents.kernels.compiling import definitions
from agents.views import SIDE, SYMBOLS, Symbols, Tiles, view_of
from metarims.errors import UsageError

SHAPE = (56, 56, 3)


def pictures(frames, kinds=12, tile=8):
    """Images uint8 [N, 7 T, 7 T, 3] of some distinct tiles, which one is where, and the tiles."""
    tiles = torch.randint(0, 256, (kinds, tile, tile, 3), dtype=torch.uint8)
    which = torch.randint(kinds, (frames, 7, 7))  # [N, x, y]
    rows = [torch.cat([torch.cat(list(tiles[row]), 1) for row in w.T]) for w in which]
    return torch.stack(rows), which.flatten(1), tiles


def observations(frames, words=3):
    """One step of frames with missions of two words, which tile is where, and the tiles."""
    image, *rest = pictures(frames)
    mission = torch.randint(1, 1 + words, (1, frames, 2)).to(torch.int16)
    return {"image": image.unsqueeze(0), "mission": mission}, *rest


@pytest.mark.parametrize("tile", [4, 8, 12])
def test_tiles_lie_where_their_cells_do(tile):
    image, which, tiles = pictures(5, tile=tile)
    view = Tiles((7 * tile, 7 * tile, 3))
    numbers, pixels = view(image)
    assert numbers.shape == (5, SIDE**2)
    assert len(pixels) == len(which.unique())
    torch.testing.assert_close(pixels[numbers], tiles[which].flatten(2) / view.white)


def test_a_tile_by_hand():
    """The agent's own cell, (3, 6): columns 24 to 31 of the last 8 rows."""
    image = torch.zeros(1, *SHAPE, dtype=torch.uint8)
    image[0, 48:56, 24:32] = 255
    numbers, pixels = Tiles(SHAPE)(image)
    assert (numbers[0] != numbers[0, 0]).nonzero().flatten().tolist() == [3 * 7 + 6]
    white = pixels[numbers[0, 27]]
    torch.testing.assert_close(white, torch.full((192,), 19.2**-0.5))


def test_an_encoder_reads_each_tile_by_a_linear_layer():
    obs, which, tiles = observations(6)
    cells = EncoderConfig().build(9, SHAPE).cells
    read, film = cells.ask(obs["mission"][0])
    mission = torch.arange(6)
    *seen, most = cells(obs["image"][0], mission, film).unbind(1)
    scale, shift = cells.film(read).chunk(2, 1)
    plain = torch.nn.functional.linear(tiles[which].flatten(2) / cells.view.white, cells.traits.T)
    plain = torch.relu(plain * (1 + scale[mission].unsqueeze(1)) + shift[mission].unsqueeze(1))
    torch.testing.assert_close(torch.stack(seen, 1), plain)
    torch.testing.assert_close(most, plain.amax(1))


@pytest.mark.parametrize("slots", [False, True])
def test_gradients_reach_every_parameter_and_are_the_definition_s(slots):
    obs, *_ = observations(8)
    encoder = EncoderConfig(slots=slots).build(9, SHAPE)
    features = encoder(obs).spread()
    assert features.shape == ((1, 8, 50, 128) if slots else (1, 8, 128))
    weight, parameters = torch.randn_like(features), list(encoder.parameters())
    found = torch.autograd.grad((features * weight).sum(), parameters)
    assert all(gradient.any() for gradient in found)
    with definitions():
        plain = torch.autograd.grad((encoder(obs).spread() * weight).sum(), parameters)
    torch.testing.assert_close(found, plain, rtol=1e-3, atol=1e-4)


def test_beside_other_frames_a_frame_is_read_the_same():
    obs, *_ = observations(7)
    encoder = EncoderConfig().build(9, SHAPE)
    alone = [encoder({name: x[:, [i]] for name, x in obs.items()}).spread() for i in range(7)]
    torch.testing.assert_close(encoder(obs).spread(), torch.cat(alone, 1))


@pytest.mark.parametrize(
    "shape", [(1, 1, 3), (5, 5, 4), (5, 7, 3), (8, 8, 3), (56, 56, 1), (42, 42, 3), (56, 63, 3)]
)
def test_other_images_are_refused(shape):
    with pytest.raises(UsageError, match=rf"got images \[{shape[0]}, {shape[1]}, {shape[2]}\]"):
        view_of(shape)


def test_symbols_need_no_pixels():
    assert not isinstance(view_of(SYMBOLS), Tiles)


@pytest.mark.parametrize("side", [3, 5, 7, 9])
def test_what_is_near_is_ahead_of_the_agent_and_in_its_hands(side):
    """A key ahead, which it then picks up."""
    env = envs.make("MiniGrid-DoorKey-5x5-v0", num_envs=64, view=side)
    view = view_of(env.image_shape)
    assert isinstance(view, Symbols)
    ahead, own = range(side**2)[view.near]
    pick_up = torch.full((64,), 3)
    before, _ = view(env.reset(seed=0)["image"])
    after, _ = view(env.step(pick_up).obs["image"])
    key = OBJECT_TO_IDX["key"]
    carried = after[:, own, 0] == key
    assert torch.equal(before[:, ahead, 0] == key, carried)
    assert 0 < carried.sum() < 64


@pytest.mark.parametrize("slots", [False, True])
@pytest.mark.parametrize("side", [3, 5, 9])
def test_an_encoder_of_another_view_is_as_its_definition(side, slots):
    image = torch.randint(0, 4, (2, 6, side, side, 3), dtype=torch.uint8)
    obs = {"image": image, "mission": torch.randint(1, 9, (2, 6, 4)).to(torch.int16)}
    encoder = EncoderConfig(slots=slots).build(9, (side, side, 3))
    found = encoder(obs).spread()
    with definitions():
        torch.testing.assert_close(found, encoder(obs).spread())
    assert found.shape == ((2, 6, side**2 + 1, 128) if slots else (2, 6, 128))
