"""Tests mirror the packages."""

from . import twins as _twins  # noqa: F401 (registers them)
