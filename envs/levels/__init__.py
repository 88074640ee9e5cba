"""All levels, grouped by theme: importing this package registers them."""

from . import babyai_goto, crossings, doors, goals, memory, obstacles  # noqa: F401
