"""The fused cell: a span on a GPU, forward and backward, as two kernels over tiles of environments.

What depends on the input alone is computed beforehand, for all steps: with one slot and one head, a
module's score is h · (Qᵀ key), and the input's part in its gates is its weight times (W value).
Within a step, phases pass their results on through memory. What the backward pass needs is kept,
including the factors of all weights' gradients, which torch multiplies at the end. Importing this
needs Triton.
"""

from .span import covers, run

__all__ = ["covers", "run"]
