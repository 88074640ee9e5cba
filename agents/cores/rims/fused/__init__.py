"""The cell fused: a span on a GPU, forward and backward, as two kernels over tiles of environments.

What depends on the input alone is worked out before, for all steps: with one slot and one head, a
module's score is h · (Qᵀ key), and what its gates get of the input its weight times (W value).
Within a step, phases leave what they made in memory for the next; what the way back needs is kept,
and so is all that gradients of weights are products of, which torch takes at the end. It takes
Triton to import this.
"""

from .span import covers, run

__all__ = ["covers", "run"]
