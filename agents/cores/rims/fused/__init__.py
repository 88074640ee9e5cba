"""The cell's fused form: a span as one autograd function with its backward pass written out.

The same function of the same parameters as the definition in `agents.cores.rims.cell`, at several
times its speed. Inside, tensors keep the batch last, ``[n, features, B]``: every mask and weight is
then a broadcast over the contiguous axis, and each product is one batched matrix product over the
modules. It covers every attention and dynamics that has a row of its own here.
"""

from .run import covers, run

__all__ = ["covers", "run"]
