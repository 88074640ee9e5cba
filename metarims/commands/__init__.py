"""What ``run.py`` can be asked for: a command is a dataclass whose fields are its flags."""

from .base import Wiring
from .bench import Bench
from .compare import Compare
from .evaluate import Evaluate
from .levels import Levels
from .plot import Plot
from .record import Record
from .search import Search
from .train import Resume, Train

__all__ = [
    "Bench",
    "Compare",
    "Evaluate",
    "Levels",
    "Plot",
    "Record",
    "Resume",
    "Search",
    "Train",
    "Wiring",
]
