"""The commands of ``run.py``: each is a dataclass whose fields are its flags."""

from .base import Wiring
from .bench import Bench
from .compare import Compare
from .demos import Demos
from .evaluate import Evaluate
from .levels import Levels
from .play import Play
from .plot import Plot
from .record import Record
from .reproduce import Reproduce
from .search import Search
from .train import Resume, Train
from .transfer import Transfer

__all__ = [
    "Bench",
    "Compare",
    "Demos",
    "Evaluate",
    "Levels",
    "Play",
    "Plot",
    "Record",
    "Reproduce",
    "Resume",
    "Search",
    "Train",
    "Transfer",
    "Wiring",
]
