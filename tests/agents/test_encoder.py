"""The encoder: sums over cells against plain indexing, missions read whole and only once."""

import pytest
import torch

from agents.cells import COLORS, STATES, TRAITS, TYPES, add_by_definition, add_cells
from agents.encoder import EncoderConfig


def random_cells(*shape):
    traits = [torch.randint(0, count, shape) for count in (TYPES, COLORS, STATES)]
    return torch.stack(traits, -1).to(torch.uint8)


@pytest.mark.parametrize("function", [add_cells, add_by_definition])
@pytest.mark.parametrize(("apart", "dims"), [(False, (1, 2)), (True, (2,))])
def test_the_sum_over_traits_and_its_gradient(function, apart, dims):
    cells = random_cells(9, 49)
    table = torch.randn(49 * TRAITS, 3, dtype=torch.float64, requires_grad=True)
    offsets = torch.arange(49).unsqueeze(1) * TRAITS + torch.tensor([0, TYPES, TYPES + COLORS])
    found = function(cells, table, apart)
    plain = table[cells + offsets].sum(dims)
    torch.testing.assert_close(found, plain)
    weight = torch.randn_like(plain)
    torch.testing.assert_close(
        torch.autograd.grad((found * weight).sum(), table),
        torch.autograd.grad((plain * weight).sum(), table),
    )


@pytest.mark.parametrize("trait", range(3))
def test_a_cell_that_there_is_none_of_is_refused(trait):
    cells = random_cells(9, 49)
    cells[3, 4, trait] = (TYPES, COLORS, STATES)[trait]
    with pytest.raises(ValueError, match="no such cell"):
        add_cells(cells, torch.randn(49 * TRAITS, 3))


def test_a_mission_reads_the_same_beside_any_others():
    encoder = EncoderConfig().build(30)
    missions = torch.tensor([[3, 4, 5, 0], [3, 4, 0, 0], [3, 4, 5, 0], [5, 4, 3, 9]])
    image = random_cells(1, 1, 7, 7).expand(1, 4, 7, 7, 3)
    together = encoder({"image": image, "mission": missions.to(torch.int16).unsqueeze(0)})[0]
    for row, mission in enumerate(missions):
        words = mission[mission != 0].to(torch.int16).view(1, 1, -1)
        alone = encoder({"image": image[:, :1], "mission": words})[0, 0]
        torch.testing.assert_close(together[row], alone)
    assert torch.equal(together[0], together[2])
    assert not torch.equal(together[0], together[1])
    assert not torch.equal(together[0], together[3])


def test_one_mission_more_changes_nothing_in_the_gradients():
    """Reading each different mission once gives the gradients of reading every one."""
    encoder = EncoderConfig().build(30).double()
    missions = torch.randint(1, 4, (1, 40, 3)).to(torch.int16)
    image = random_cells(1, 40, 7, 7)
    weight = torch.randn(1, 40, 128, dtype=torch.float64)
    parameters = list(encoder.parameters())
    together = (encoder({"image": image, "mission": missions}) * weight).sum()
    alone = []
    for row in range(40):
        obs = {"image": image[:, row : row + 1], "mission": missions[:, row : row + 1]}
        alone.append((encoder(obs) * weight[:, row : row + 1]).sum())
    torch.testing.assert_close(
        torch.autograd.grad(together, parameters),
        torch.autograd.grad(torch.stack(alone).sum(), parameters),
    )


def test_a_grown_vocabulary_keeps_what_was_learnt():
    before, after = EncoderConfig().build(20), EncoderConfig().build(25)
    fresh = after.instruction.words.weight.detach().clone()
    after.load_state_dict(before.state_dict())
    words = after.instruction.words.weight
    assert torch.equal(words[:20], before.instruction.words.weight)
    assert torch.equal(words[20:], fresh[20:])


def test_a_slot_tells_of_its_own_cell_only():
    encoder = EncoderConfig(slots=True).build(30)
    image, mission = random_cells(1, 2, 7, 7), torch.ones(1, 2, 3, dtype=torch.int16)
    image[0, 1] = image[0, 0]
    image[0, 1, 2, 3, 0] = (image[0, 0, 2, 3, 0] + 1) % TYPES
    mission[0, 1, 2] = 2
    one, other = encoder({"image": image, "mission": mission})[0]
    assert one.shape == (50, 128)
    assert (one != other).any(1).nonzero().flatten().tolist() == [2 * 7 + 3, 49]
