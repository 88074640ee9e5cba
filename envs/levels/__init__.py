"""All levels, grouped by theme: importing this package registers them."""

from . import (  # noqa: F401
    babyai_goto,
    crossings,
    doors,
    goals,
    mazes,
    memory,
    objects,
    obstacles,
)
