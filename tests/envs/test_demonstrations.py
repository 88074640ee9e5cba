"""The bot's episodes: equal when replayed, readable by Minari, and complete or refused."""

import json
import shutil
from dataclasses import replace

import minari
import numpy as np
import pytest
import torch
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage

import envs
from envs.bot import walk
from envs.demonstrations import DATA, HOPELESS, METADATA, _kept, dataset_id
from envs.vocabulary import decode

LEVEL, SEED, EPISODES = "BabyAI-PickupLoc-v0", 500, 40


def demonstrate(folder, level=LEVEL):
    told = []
    envs.demonstrate(
        folder,
        level,
        name=folder.name,
        episodes=EPISODES,
        seed=SEED,
        observation="symbolic",
        workers=2,
        report=lambda count, passed_over: told.append((count, passed_over.total())),
    )
    return told


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demonstrations") / "pickup"
    told = demonstrate(folder)
    assert told[-1][0] == EPISODES
    assert len(told) == sum(told[-1])
    return folder


@pytest.fixture(scope="module")
def env():
    return envs.make(LEVEL, num_envs=1, seed=0)


def episodes_of(dataset):
    return list(minari.MinariDataset(dataset / "data").iterate_episodes())


def seeds_of(dataset):
    storage = minari.MinariDataset(dataset / "data").storage
    return [row["seed"] for row in storage.get_episode_metadata(range(EPISODES))]


def test_minari_reads_what_was_written(dataset):
    found = minari.MinariDataset(dataset / "data")
    assert (found.total_episodes, found.spec.dataset_id) == (EPISODES, "pickup-v0")
    assert found.env_spec.id == LEVEL
    assert found.total_steps == sum(len(episode) for episode in episodes_of(dataset))
    for episode in episodes_of(dataset):
        assert episode.terminations.tolist() == [False] * (len(episode) - 1) + [True]
        assert episode.rewards[-1] > 0
        assert len(set(episode.observations["mission"])) == 1
        first = {name: values[0] for name, values in episode.observations.items()}
        assert found.observation_space.contains(first)


def test_replayed_from_its_seed_an_episode_is_the_same(dataset):
    for seed, episode in zip(seeds_of(dataset)[::7], episodes_of(dataset)[::7], strict=True):
        replay = envs.make(LEVEL, num_envs=1, autoreset=False)
        seen, rewards = [replay.reset(seed)], []
        assert replay.missions()[0] == episode.observations["mission"][0]
        for action in episode.actions:
            step = replay.step(torch.tensor([action]))
            seen.append(step.obs)
            rewards.append(step.reward.item())
        images = torch.cat([obs["image"] for obs in seen]).numpy()
        directions = torch.cat([obs["direction"] for obs in seen]).numpy()
        assert np.array_equal(images, episode.observations["image"])
        assert np.array_equal(directions, episode.observations["direction"])
        assert np.array_equal(rewards, episode.rewards)
        assert step.terminated.item()


def test_processes_walk_what_one_alone_would(dataset):
    alone = walk(LEVEL, range(SEED, SEED + 3))
    assert [each.failure for each in alone] == [""] * 3
    for each, seed, episode in zip(alone, seeds_of(dataset), episodes_of(dataset), strict=False):
        assert each.seed == seed
        assert np.array_equal(each.actions, episode.actions)


def test_what_is_read_is_what_the_environments_show(dataset, env):
    found = envs.read_demonstrations(dataset, env)
    episodes = episodes_of(dataset)
    assert found.level == envs.read_level(dataset) == LEVEL
    assert found.ends.nonzero().squeeze(1).tolist() == (
        (np.cumsum([len(episode) for episode in episodes]) - 1).tolist()
    )
    images = np.concatenate([episode.observations["image"][:-1] for episode in episodes])
    assert np.array_equal(found.obs["image"], images)
    assert np.array_equal(found.actions, np.concatenate([e.actions for e in episodes]))
    shown = envs.make(LEVEL, num_envs=1).reset(seeds_of(dataset)[0])
    for name, tensor in shown.items():
        assert found.obs[name].dtype == tensor.dtype
        assert torch.equal(found.obs[name][0], tensor[0])
    missions = [decode(row) for row in found.obs["mission"][found.ends].numpy()]
    assert missions == [episode.observations["mission"][0] for episode in episodes]


def test_a_dataset_that_minari_wrote_is_read(dataset, env, tmp_path):
    ours = minari.MinariDataset(dataset / "data")
    (tmp_path / "data").mkdir()
    theirs = MinariStorage.new(tmp_path / "data", ours.observation_space, ours.action_space)
    theirs.update_episodes(
        EpisodeBuffer(**{**vars(each), "id": None, "infos": {}}) for each in episodes_of(dataset)
    )
    found, again = (envs.read_demonstrations(path, env) for path in (dataset, tmp_path))
    assert again.level == ""
    assert torch.equal(found.actions, again.actions)
    for name, tensor in found.obs.items():
        assert torch.equal(tensor, again.obs[name])


def test_pixels_can_be_demonstrated():
    (walked,) = walk(LEVEL, range(SEED, SEED + 1), "rgb")
    pixels = envs.make(LEVEL, num_envs=1, observation="rgb")
    assert np.array_equal(walked.images[:1], pixels.reset(SEED)["image"])


def cut_short(folder):
    path = folder / "data" / DATA
    path.write_bytes(path.read_bytes()[:-200])


def flip_a_bit(folder):
    path = folder / "data" / DATA
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_short_and_signed(folder):
    cut_short(folder)
    metadata = json.loads((folder / "data" / METADATA).read_text())
    del metadata["sha256"]
    (folder / "data" / METADATA).write_text(json.dumps(metadata))


def garble(folder):
    (folder / "data" / METADATA).write_text('{"total_episodes": 3')


def miscount(folder):
    metadata = json.loads((folder / "data" / METADATA).read_text())
    (folder / "data" / METADATA).write_text(json.dumps(metadata | {"total_episodes": 4}))


def rename(folder):
    (folder / "data" / METADATA).write_text('{"data_format": "arrow"}')


def lose(folder):
    (folder / "data" / DATA).unlink()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut_short, "was changed or damaged"),
        (flip_a_bit, "was changed or damaged"),
        (cut_short_and_signed, "cannot be read as demonstrations"),
        (garble, "cannot be read as demonstrations"),
        (miscount, "it has 40 episodes, expected 4"),
        (rename, "its format is arrow, expected hdf5"),
        (lose, "there is no .*main_data.hdf5"),
        (shutil.rmtree, "no demonstrations at"),
    ],
)
def test_what_is_damaged_is_refused(dataset, env, tmp_path, damage, said):
    folder = tmp_path / "damaged"
    shutil.copytree(dataset, folder)
    damage(folder)
    with pytest.raises(ValueError, match=said) as refusal:
        envs.read_demonstrations(folder, env)
    assert len(str(refusal.value).splitlines()) == 1


def test_what_others_are_shown_is_refused(dataset):
    with pytest.raises(ValueError, match=r"images are uint8 \(7, 7, 3\), expected uint8 \(56, 56"):
        envs.read_demonstrations(dataset, envs.make(LEVEL, num_envs=1, observation="rgb"))
    with pytest.raises(ValueError, match="more than these levels' 3 words"):
        envs.read_demonstrations(dataset, envs.make("MiniGrid-Unlock-v0", num_envs=1))


def test_levels_without_instructions_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no instruction .* such as BabyAI-GoToLocal-v0"):
        demonstrate(tmp_path / "none", "MiniGrid-DoorKey-5x5-v0")
    with pytest.raises(ValueError, match="did you mean BabyAI-GoToLocal-v0"):
        demonstrate(tmp_path / "none", "BabyAI-GoToLocl-v0")
    assert not list(tmp_path.iterdir())


def test_seeds_where_the_bot_gives_up_are_passed_over():
    (good,), told = walk(LEVEL, range(SEED, SEED + 1)), []
    bad = replace(good, failure="lost")
    walks = [bad, good, bad, good, good]
    kept = _kept(walks, 2, lambda count, passed_over: told.append((count, passed_over["lost"])))
    assert list(kept) == [good, good]
    assert told == [(0, 1), (1, 1), (1, 2), (2, 2)]
    with pytest.raises(ValueError, match="gave up on 200 seeds of 200: lost"):
        list(_kept([bad] * HOPELESS, 2, lambda count, passed_over: None))


def test_the_bot_says_why_it_gives_up():
    (walked,) = walk("BabyAI-KeyInBox-v0", range(1))
    assert walked.failure
    assert len(walked.actions) == len(walked.images) - 1


@pytest.mark.parametrize(
    ("name", "id"), [("a", "a-v0"), ("a-v3", "a-v3"), ("my demos.x", "my-demos-x-v0")]
)
def test_an_id_that_minari_takes(name, id):
    assert dataset_id(name) == id
