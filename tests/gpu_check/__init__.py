"""What is to be checked and measured on a machine with a GPU: ``python -m tests.gpu_check``."""
