"""All levels, grouped by theme: importing this package registers them."""

from . import (  # noqa: F401
    babyai_doors,
    babyai_goto,
    babyai_putnext,
    babyai_synth,
    crossings,
    doors,
    goals,
    mazes,
    memory,
    objects,
    obstacles,
)
