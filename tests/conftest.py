"""One thread: the tensors are small, and threads that share a core wait for each other."""

import torch

torch.set_num_threads(1)
