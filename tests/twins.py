"""Upstream-style twins of our levels that upstream lacks, registered under the same ids."""

from typing import Any

import gymnasium
from minigrid.core.mission import MissionSpace
from minigrid.envs.fourrooms import FourRoomsEnv
from minigrid.minigrid_env import MiniGridEnv


class FourRoomsS13(FourRoomsEnv):
    """Upstream's four rooms, smaller."""

    def __init__(self, **kwargs: Any) -> None:
        self._agent_default_pos = self._goal_default_pos = None
        missions = MissionSpace(mission_func=self._gen_mission)
        MiniGridEnv.__init__(self, missions, width=13, height=13, max_steps=100, **kwargs)


gymnasium.register("MetaRIMs-FourRoomsS13-v0", f"{__name__}:FourRoomsS13")
