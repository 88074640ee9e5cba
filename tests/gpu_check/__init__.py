"""Checks and measurements for a machine with a GPU: ``python -m tests.gpu_check``."""
