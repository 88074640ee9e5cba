"""Third parties' code on our environments: upstream's wrappers, and learners for Gymnasium."""

from __future__ import annotations

import re
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.wrappers.vector import FlattenObservation, RecordEpisodeStatistics
from minigrid import wrappers
from torch import nn

import envs  # noqa: F401 (registers our ids)

DOOR_KEY = "MiniGrid-DoorKey-5x5-v0"
OURS = f"metarims/{DOOR_KEY}"
LOCAL = "BabyAI-GoToLocal-v0"


# --- upstream's wrappers --------------------------------------------------------------------------


def assert_equal(ours, theirs):
    """Check that observations of any structure are equal."""
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for name in theirs:
            np.testing.assert_array_equal(ours[name], theirs[name])
    else:
        np.testing.assert_array_equal(ours, theirs)


WRAPPERS = {
    "ViewSize": lambda env: wrappers.ViewSizeWrapper(env, agent_view_size=5),
    "FullyObs": wrappers.FullyObsWrapper,
    "RGBImgPartialObs": wrappers.RGBImgPartialObsWrapper,
    "RGBImgObs": wrappers.RGBImgObsWrapper,
    "ImgObs": wrappers.ImgObsWrapper,
    "FlatObs": wrappers.FlatObsWrapper,
    "DictObservationSpace": wrappers.DictObservationSpaceWrapper,
    "OneHotPartialObs": wrappers.OneHotPartialObsWrapper,
    "SymbolicObs": wrappers.SymbolicObsWrapper,
    "DirectionObs": wrappers.DirectionObsWrapper,
    "PositionBonus": wrappers.PositionBonus,
    "ActionBonus": wrappers.ActionBonus,
    "NoDeath": lambda env: wrappers.NoDeath(env, no_death_types=("lava",)),
    "pixels of a small view": lambda env: wrappers.ImgObsWrapper(
        wrappers.RGBImgPartialObsWrapper(wrappers.ViewSizeWrapper(env, agent_view_size=3))
    ),
}
NOT_FOR_BABYAI = ("DictObservationSpace", "DirectionObs")


@pytest.mark.parametrize(
    ("id", "wrap"),
    [(DOOR_KEY, name) for name in WRAPPERS]
    + [(LOCAL, name) for name in WRAPPERS if name not in NOT_FOR_BABYAI],
)
def test_upstreams_wrappers_give_what_they_give_of_upstreams(id, wrap):
    env = WRAPPERS[wrap](gymnasium.make(f"metarims/{id}", mission="text"))
    other = WRAPPERS[wrap](gymnasium.make(id))
    assert env.observation_space == other.observation_space
    assert_equal(env.reset(seed=2)[0], other.reset(seed=2)[0])
    for action in np.random.default_rng(3).integers(0, 7, 25):
        mine, theirs = env.step(action), other.step(action)
        assert_equal(mine[0], theirs[0])
        assert mine[1:] == theirs[1:]


# --- rl-starter-files and torch-ac ----------------------------------------------------------------


class StarterVocabulary:
    """Numbers words as rl-starter-files' ``utils/format.py`` does."""

    def __init__(self):
        self.words = {}

    def __call__(self, mission):
        tokens = re.findall("([a-z]+)", mission.lower())
        return np.array([self.words.setdefault(token, len(self.words) + 1) for token in tokens])


def starter_preprocessing(vocabulary, torch_ac):
    """Preprocess observations as it does: images float [B, 7, 7, 3], texts long [B, words]."""

    def preprocess(observations, device=None):
        texts = [vocabulary(obs["mission"]) for obs in observations]
        padded = np.zeros((len(texts), max(map(len, texts))), int)
        for row, text in zip(padded, texts, strict=True):
            row[: len(text)] = text
        images = np.array([obs["image"] for obs in observations])
        return torch_ac.DictList(
            {"image": torch.tensor(images, dtype=torch.float), "text": torch.tensor(padded)}
        )

    return preprocess


def test_torch_ac_trains_with_rl_starter_files_preprocessing():
    torch_ac: Any = pytest.importorskip("torch_ac")

    class Model(nn.Module, torch_ac.ACModel):
        recurrent = False

        def __init__(self):
            super().__init__()
            self.words = nn.EmbeddingBag(100, 8)
            self.both = nn.Linear(7 * 7 * 3 + 8, 8)

        def forward(self, obs):
            seen = torch.cat([obs.image.flatten(1), self.words(obs.text)], dim=1)
            out = self.both(seen)
            return torch.distributions.Categorical(logits=out[:, :7]), out[:, 7]

    env, vocabulary, model = gymnasium.make(OURS, mission="text"), StarterVocabulary(), Model()
    before = model.both.weight.detach().clone()
    preprocess = starter_preprocessing(vocabulary, torch_ac)
    algorithm = torch_ac.PPOAlgo(
        [env], model, num_frames_per_proc=64, recurrence=1, preprocess_obss=preprocess
    )
    experience, _ = algorithm.collect_experiences()
    algorithm.update_parameters(experience)
    assert list(vocabulary.words)[:6] == ["use", "the", "key", "to", "open", "door"]
    assert not torch.equal(before, model.both.weight)


# --- Stable-Baselines3 ----------------------------------------------------------------------------


class Convolutions(nn.Module):
    """The feature extractor of minigrid's tutorial; Stable-Baselines3 puts channels first."""

    def __init__(self, space, features_dim=16):
        super().__init__()
        self.features_dim = features_dim
        self.layers = nn.Sequential(
            nn.Conv2d(space.shape[0], 8, (2, 2)), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 6 * 6, 16)
        )

    def forward(self, images):
        return self.layers(images)


@pytest.mark.filterwarnings("ignore:Training and eval env are not of the same type")
def test_stable_baselines3_trains_as_minigrids_tutorial_does():
    sb3 = pytest.importorskip("stable_baselines3")
    from stable_baselines3.common.callbacks import EvalCallback
    from stable_baselines3.common.monitor import Monitor

    env = wrappers.ImgObsWrapper(gymnasium.make(OURS, mission="text"))
    ppo = sb3.PPO(
        "CnnPolicy",
        env,
        n_steps=32,
        batch_size=32,
        n_epochs=1,
        device="cpu",
        policy_kwargs={"features_extractor_class": Convolutions},
    )
    judge = Monitor(wrappers.ImgObsWrapper(gymnasium.make(OURS, mission="text", max_steps=20)))
    callback = EvalCallback(judge, eval_freq=32, n_eval_episodes=2, verbose=0)
    ppo.learn(64, callback=callback)
    assert callback.n_calls == 64
    assert 0 <= callback.last_mean_reward <= 1


def test_stable_baselines3_checks_and_evaluates():
    pytest.importorskip("stable_baselines3")
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import EvalCallback
    from stable_baselines3.common.vec_env import VecEnvWrapper, VecMonitor

    from envs.sb3 import SB3VecEnv

    class Lengths(VecEnvWrapper):
        """Replaces each mission by its number of letters."""

        def __init__(self, venv):
            letters = gymnasium.spaces.Box(0, 99, (1,), np.int64)
            seen = {**venv.observation_space.spaces, "mission": letters}
            super().__init__(venv, observation_space=gymnasium.spaces.Dict(seen))

        def count(self, obs):
            return {**obs, "mission": np.char.str_len(obs["mission"])[..., None]}

        def reset(self):
            return self.count(self.venv.reset())

        def step_wait(self):
            obs, reward, ended, infos = self.venv.step_wait()
            for info in infos:
                if "terminal_observation" in info:
                    info["terminal_observation"] = self.count(info["terminal_observation"])
            return self.count(obs), reward, ended, infos

    def make():
        return VecMonitor(Lengths(SB3VecEnv(LOCAL, num_envs=4, mission="text", max_steps=8)))

    ppo = PPO("MultiInputPolicy", make(), n_steps=16, batch_size=32, n_epochs=1, device="cpu")
    callback = EvalCallback(make(), eval_freq=16, n_eval_episodes=4, verbose=0)
    ppo.learn(64, callback=callback)
    assert 0 <= callback.last_mean_reward <= 1
    assert ppo.ep_info_buffer
    assert all(1 <= info["l"] <= 8 for info in ppo.ep_info_buffer)


@pytest.mark.filterwarnings("ignore:(It seems that your observation|The minimal resolution)")
def test_stable_baselines3_checks_a_single_environment():
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    checker.check_env(gymnasium.make(OURS).unwrapped, skip_render_check=True)


# --- CleanRL --------------------------------------------------------------------------------------


class Actor(nn.Module):
    """CleanRL's agent, smaller."""

    def __init__(self, env):
        super().__init__()
        inputs = int(np.prod(env.single_observation_space.shape))
        self.body = nn.Sequential(nn.Linear(inputs, 32), nn.Tanh())
        self.policy, self.value = nn.Linear(32, env.single_action_space.n), nn.Linear(32, 1)

    def forward(self, obs):
        features = self.body(obs)
        return torch.distributions.Categorical(logits=self.policy(features)), self.value(features)


def test_cleanrls_loop_trains():
    """Its ppo.py on one minibatch an iteration, returns in place of advantages."""
    env = gymnasium.make_vec(OURS, num_envs=8, max_steps=20, autoreset_mode="NextStep")
    env = RecordEpisodeStatistics(FlattenObservation(env))
    actor = Actor(env)
    before = actor.policy.weight.detach().clone()
    optimizer = torch.optim.Adam(actor.parameters(), lr=1e-3)
    next_obs, lengths = torch.Tensor(env.reset(seed=1)[0]), []
    for _ in range(2):
        lists: list[list[Any]] = [[], [], [], []]
        obs, actions, log_probs, rewards = lists
        for _ in range(32):
            with torch.no_grad():
                policy, _ = actor(next_obs)
            action = policy.sample()
            obs.append(next_obs)
            actions.append(action)
            log_probs.append(policy.log_prob(action))
            seen, reward, _, _, infos = env.step(action.numpy())
            next_obs = torch.Tensor(seen)
            rewards.append(torch.tensor(reward))
            lengths += list(infos["episode"]["l"][infos["_episode"]]) if "episode" in infos else []
        returns = torch.stack(rewards).flip(0).cumsum(0).flip(0).float()
        policy, value = actor(torch.stack(obs))
        ratio = (policy.log_prob(torch.stack(actions)) - torch.stack(log_probs)).exp()
        gain = returns - value.squeeze(-1)
        loss = (
            gain.square().mean()
            - torch.min(ratio * gain.detach(), ratio.clamp(0.8, 1.2) * gain.detach()).mean()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert lengths
    assert max(lengths) == 20
    assert not torch.equal(before, actor.policy.weight)


# --- skrl, Tianshou, TorchRL ----------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
def test_skrls_wrapper(mode):
    torch_wrappers = pytest.importorskip("skrl.envs.wrappers.torch")
    env = torch_wrappers.wrap_env(
        gymnasium.make_vec(OURS, num_envs=3, max_steps=10, autoreset_mode=mode)
    )
    env.reset()
    for _ in range(10):
        obs, reward, _, truncated, _ = env.step(torch.full((3, 1), 6))
    assert obs.shape == (3, 7 * 7 * 3 + 1 + 13)
    assert (reward.shape, truncated.tolist()) == ((3, 1), [[True]] * 3)


def test_tianshou_collects_and_learns():
    pytest.importorskip("tianshou")
    from tianshou.data import Collector, VectorReplayBuffer
    from tianshou.env import DummyVectorEnv
    from tianshou.policy import DQNPolicy
    from tianshou.utils.net.common import Net

    def make():
        return gymnasium.wrappers.FlattenObservation(gymnasium.make(OURS, max_steps=20))

    env = DummyVectorEnv([make] * 3)
    net = Net(env.observation_space[0].shape, 7, [16])
    policy = DQNPolicy(net, torch.optim.Adam(net.parameters()))
    policy.set_eps(1.0)
    collector = Collector(policy, env, VectorReplayBuffer(300, 3))
    assert collector.collect(n_step=90)["n/ep"] >= 3
    assert np.isfinite(policy.update(32, collector.buffer)["loss"])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_envs": 3, "autoreset_mode": "Disabled"},
        {"num_envs": 3, "autoreset_mode": "SameStep"},
    ],
    ids=["one", "disabled", "same-step"],
)
def test_torchrls_wrapper(options):
    """TorchRL does not take NEXT_STEP; its check of SAME_STEP fails on any one-hot directions."""
    torchrl = pytest.importorskip("torchrl.envs")
    make = gymnasium.make_vec if options else gymnasium.make
    env = torchrl.GymWrapper(make(OURS, max_steps=10, **options), categorical_action_encoding=True)
    rolled = env.rollout(25, break_when_any_done=False)
    assert rolled["next", "truncated"].sum() == 2 * options.get("num_envs", 1)
