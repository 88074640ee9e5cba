"""The encoder: cells against plain indexing, missions read completely and only once."""

import math

import pytest
import torch

import envs
from agents.cells import (
    CODES,
    COLORS,
    COPIES,
    STATES,
    TYPES,
    in_copies,
    look,
    look_by_definition,
    traits_of_codes,
)
from agents.encoder import Cells, EncoderConfig
from agents.kernels.compiling import definitions
from agents.views import SYMBOLS


def random_cells(*shape):
    traits = [torch.randint(0, count, shape) for count in (TYPES, COLORS, STATES)]
    return torch.stack(traits, -1).to(torch.uint8)


def looking(missions, features, frames=30):
    """Cells, missions, a table, scales and shifts, in double precision."""
    cells, which = random_cells(frames, 49), torch.randint(missions, (frames,))
    shapes = (CODES, features), (missions, features), (missions, features)
    return cells, which, [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]


def check_alike(found, plain, given):
    """Check a tensor and the gradients of the inputs against the definition."""
    torch.testing.assert_close(found, plain)
    weight = torch.randn_like(plain)
    gradients = [torch.autograd.grad((each * weight).sum(), given) for each in (found, plain)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("numbered", [False, True])
@pytest.mark.parametrize("missions", [1, 4])
@pytest.mark.parametrize("features", [3, 16, 20])
def test_what_is_seen_and_its_gradients(missions, features, numbered):
    cells, which, given = looking(missions, features)
    cells = torch.randint(CODES, cells.shape[:2]) if numbered else cells
    cells[:, 10:20] = cells[:, :1]  # some cells are equal: the maximum is not unique
    found, plain = look(cells, which, *given), look_by_definition(cells, which, *given)
    check_alike(found, plain, given)


def test_copies_of_a_table_have_its_vectors_and_their_gradients_together():
    table = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    cells = torch.randint(5, (COPIES + 9, 7))
    copied, copies = in_copies(cells, table)
    assert copied[0].max() < 5
    assert copied[1].min() >= 5
    assert torch.equal(copied[COPIES], cells[COPIES])
    assert torch.equal(copied % 5, cells)
    check_alike(torch.nn.functional.embedding(copied, copies), table[cells], [table])


def test_the_definition_by_hand():
    """A red key, code (5 · 6 + 0) · 4: relu(2 · 3 − 1) and relu(2 · −3 − 1)."""
    table = torch.zeros(CODES, 2)
    table[120] = torch.tensor([3.0, -3.0])
    cells = torch.tensor([[[5, 0, 0], [0, 0, 0]]], dtype=torch.uint8)
    scale, shift = torch.tensor([[2.0, 2.0]]), torch.tensor([[-1.0, -1.0]])
    for function in (look, look_by_definition):
        seen = function(cells, torch.zeros(1, dtype=torch.int64), table, scale, shift)
        assert seen.tolist() == [[[5.0, 0.0], [0.0, 0.0], [5.0, 0.0]]]


def test_every_code_has_its_three_traits():
    traits = traits_of_codes()
    assert traits.sum(1).tolist() == [3.0] * CODES
    kind, color, state = 5, 2, 1
    code = (kind * COLORS + color) * STATES + state
    assert traits[code].nonzero().flatten().tolist() == [5, TYPES + 2, TYPES + COLORS + 1]


@pytest.mark.parametrize("trait", range(3))
def test_a_cell_that_there_is_none_of_is_refused(trait):
    cells, which, given = looking(1, 16)
    cells[3, 4, trait] = (TYPES, COLORS, STATES)[trait]
    with pytest.raises(ValueError, match="no such cell"):
        look(cells, which, *given)


def test_no_number_is_no_zero():
    cells, which, (table, scale, shift) = looking(1, 16)
    shift = shift.detach() * math.nan
    assert look(cells, which, table, scale, shift).isnan().all()


def test_a_mission_reads_the_same_beside_any_others():
    encoder = EncoderConfig().build(30)
    missions = torch.tensor([[3, 4, 5, 0], [3, 4, 0, 0], [3, 4, 5, 0], [5, 4, 3, 9]])
    image = random_cells(1, 1, 7, 7).expand(1, 4, 7, 7, 3)
    obs = {"image": image, "mission": missions.to(torch.int16).unsqueeze(0)}
    together = encoder(obs).spread()[0]
    for row, mission in enumerate(missions):
        words = mission[mission != 0].to(torch.int16).view(1, 1, -1)
        alone = encoder({"image": image[:, :1], "mission": words}).spread()[0, 0]
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
    together = (encoder({"image": image, "mission": missions}).spread() * weight).sum()
    alone = []
    for row in range(40):
        obs = {"image": image[:, row : row + 1], "mission": missions[:, row : row + 1]}
        alone.append((encoder(obs).spread() * weight[:, row : row + 1]).sum())
    torch.testing.assert_close(
        torch.autograd.grad(together, parameters),
        torch.autograd.grad(torch.stack(alone).sum(), parameters),
    )


@pytest.mark.parametrize("slots", [False, True])
def test_a_single_mission_is_read_once_where_frames_are_not_told_apart(slots):
    """By the definitions, as on a GPU: the same features and gradients from one mission read."""
    config = EncoderConfig(cell=8, hidden=12, features=10, width=6, slots=slots)
    encoder = config.build(40, one_mission=True).double()
    mission = torch.tensor([3, 7, 5, 0], dtype=torch.int16).repeat(4, 6, 1)
    obs = {"image": random_cells(4, 6, 7, 7), "mission": mission}
    read, found = [], []
    reader = encoder.cells.instruction
    reader.register_forward_pre_hook(lambda _, given: read.append(len(given[0])))
    with definitions():
        for encoder.one_mission in (True, False):
            features = encoder(obs).spread()
            weight = torch.linspace(-1, 1, features.numel()).view_as(features)
            gradients = torch.autograd.grad((features * weight).sum(), [*encoder.parameters()])
            found.append((features, gradients))
        assert read == [1, 24]
        torch.testing.assert_close(*found)
        encoder.one_mission = True
        mission[2, 3, 1] = 8
        with pytest.raises(RuntimeError, match="made for environments with a single mission"):
            encoder(obs)


def test_which_levels_have_one_mission():
    for levels, one in (
        (["MiniGrid-DoorKey-5x5-v0"], True),
        (["MiniGrid-DoorKey-5x5-v0", "MiniGrid-DoorKey-8x8-v0"], True),
        (["MiniGrid-DoorKey-5x5-v0", "MiniGrid-Empty-5x5-v0"], False),
        (["BabyAI-GoToObj-v0"], False),
    ):
        assert envs.make(levels, num_envs=4).one_mission is one


def test_a_grown_vocabulary_keeps_what_was_learnt():
    before, after = (Cells(EncoderConfig(), words, SYMBOLS) for words in (20, 25))
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
    one, other = encoder({"image": image, "mission": mission}).spread()[0]
    assert one.shape == (50, 128)
    assert (one != other).any(1).nonzero().flatten().tolist() == [2 * 7 + 3]
    mission[0, 1, 2] = 2
    asked = encoder({"image": image, "mission": mission}).spread()[0, 1]
    assert (asked != other).any(1).all()  # every cell is seen under the mission
