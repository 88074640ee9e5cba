"""What TensorBoard gets, checked by its own reader; training does not depend on it."""

import io

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageSequence
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

import envs
import metarims
from metarims.board import Pictures, compared, layout, tag
from metarims.monitor import Onlookers
from metarims.settings import replace_at
from metarims.studies.gallery import Gallery
from metarims.studies.unseen import Examiner

from .probes import Contexts
from .small import agent_of, configured

LEVEL = "MiniGrid-DoorKey-5x5-v0"
UNSEEN = "BabyAI-GoToObj-v0"


def still(agent):
    """A figure and a GIF of two frames."""
    file = io.BytesIO()
    frames = [Image.new("RGB", (6, 4), color) for color in ("red", "blue")]
    frames[0].save(file, format="GIF", save_all=True, append_images=frames[1:])
    return Pictures({"values": Figure()}, file.getvalue())


def read(folder):
    events = EventAccumulator(str(folder), size_guidance={"images": 0})
    events.Reload()
    return events


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The events of a run of two iterations, with pictures of each."""
    out = tmp_path_factory.mktemp("board")
    run = configured(env=("probe-0",), out=str(out), frames=320, seed=3, pictures=1e-9)
    run = replace_at(run, {"fast.learning_rate": 0.01})
    metarims.train(run, Contexts(8), agent_of(run), onlookers=Onlookers(still))
    return read(out)


def test_scalars_are_grouped_by_one_slash(shown):
    names = shown.Tags()["scalars"]
    assert all(name.count("/") == 1 for name in names)
    groups = {name.split("/")[0] for name in names}
    assert groups == {"rollout", "time", "train", "train_fast", "train_slow", "modules"}
    assert tag("modules/depth_0/use_1") == "modules_depth_0/use_1"
    assert tag("rollout/a level/success_rate") == "rollout_a level/success_rate"


def test_pictures_are_there_and_move(shown):
    assert {"agent/values", "agent/an_episode"} <= set(shown.Tags()["images"])
    first, *_ = shown.Images("agent/an_episode")
    assert first.encoded_image_string[:4] == b"GIF8"
    with Image.open(io.BytesIO(first.encoded_image_string)) as gif:
        assert len(list(ImageSequence.Iterator(gif))) == 2
    assert [image.step for image in shown.Images("agent/values")][-1] == 320


def test_text_has_the_agent_and_its_settings(shown):
    def text(name):
        return shown.Tensors(f"run/{name}/text_summary")[0].tensor_proto.string_val[0].decode()

    assert "rollout/success_rate" in text("1_guide")
    assert "| attention |" in text("2_agent")
    assert "slow loop at 0.00039" in text("2_agent")
    assert "| **fast.learning_rate** | **0.01** |" in text("3_settings")
    assert "| ppo.clip |" in text("3_settings")


def test_hparams_and_the_layout(shown):
    def plugin_data(name):
        return shown.SummaryMetadata(name).plugin_data.content

    begun = HParamsPluginData.FromString(plugin_data("_hparams_/session_start_info"))
    values = begun.session_start_info.hparams
    assert values["agent"].string_value == "metarims"
    assert values["fast.learning_rate"].number_value == 0.01
    whole = HParamsPluginData.FromString(plugin_data("_hparams_/experiment"))
    metrics = [info.name.tag for info in whole.experiment.metric_infos]
    assert "rollout/success_rate" in metrics
    assert set(metrics) <= set(shown.Tags()["scalars"]) | {"rollout/ep_len_mean"}
    assert HParamsPluginData.FromString(plugin_data("_hparams_/session_end_info"))
    (event,) = shown.Tensors("custom_scalars__config__")
    charts = Layout.FromString(event.tensor_proto.string_val[0])
    assert [category.title for category in charts.category] == ["episodes", "loops", "modules"]
    assert [*layout(["rollout/ep_len_mean"])] == ["episodes", "loops"]
    assert [*layout(["eval/a level"])] == ["episodes", "loops", "eval"]
    assert [*layout(["levels/one of several"])] == ["episodes", "loops", "levels"]


def test_without_pictures_nobody_looks(tmp_path):
    def look(agent):
        raise AssertionError("it was looked at")

    for name, pictures in (("never", 0.0), ("later", 1e9)):
        out = str(tmp_path / name)
        run = configured(env=("probe-0",), out=out, frames=160, pictures=pictures)
        metarims.train(run, Contexts(8), agent_of(run), onlookers=Onlookers(look))
    assert compared(metarims.load_run(out))["seed"] == 1


@pytest.mark.parametrize("preset", ["random", "routing"])
def test_a_run_that_is_looked_at_learns_the_same_to_the_bit(tmp_path, preset):
    left = {}
    for name, pictures in (("alone", 0.0), ("seen", 1e-9)):
        run = configured(
            preset, env=(LEVEL,), out=str(tmp_path / name), frames=320, pictures=pictures
        )
        settings = {"eval.env": (UNSEEN,), "eval.every": 1, "eval.episodes": 4} if pictures else {}
        run = replace_at(run, settings)
        env = envs.make(LEVEL, num_envs=8, seed=1)
        examiner = Examiner(envs, run, env.device) if pictures else None
        onlookers = Onlookers(Gallery(envs, run, env.device), examiner)
        metarims.train(run, env, run.agent.make(env, 1), onlookers=onlookers)
        left[name] = metarims.load_run(tmp_path / name).load().tensors
    there = read(tmp_path / "seen").Tags()
    assert set(there["images"]) >= {"agent/an_episode", "agent/episodes"}
    assert f"eval_{UNSEEN}/success_rate" in there["scalars"]
    assert left["alone"].keys() == left["seen"].keys()
    for name, tensor in left["alone"].items():
        assert torch.equal(tensor, left["seen"][name]), name
