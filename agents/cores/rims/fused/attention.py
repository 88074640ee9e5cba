"""Input attention, by which modules compete, and back. Scores and weights are [TILE, n]."""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language import constexpr, tensor

from ....kernels.fusing import take
from ..cell import EPSILON

LEAST = tl.constexpr(EPSILON)


@triton.jit
def there(s: tl.tuple, v: tl.tuple) -> tensor:
    """Which modules exist, and are not padding, [1, n]."""
    return (v.each < s.modules)[None, :]


@triton.jit
def attention(s: tl.tuple, v: tl.tuple, scores: tensor, sparse: constexpr) -> tensor:
    """Softmax over modules, or over each one's score and the empty slot's; 0 for padding."""
    scores = tl.where(there(s, v), scores, -float("inf"))
    if sparse:
        shifted = tl.exp(scores - tl.max(scores, 1)[:, None])
        return shifted / tl.sum(shifted, 1)[:, None]
    else:  # noqa: RET505 (Triton's compile-time branch)
        return tl.sigmoid(scores)


@triton.jit
def rank(
    x: tl.tuple, s: tl.tuple, v: tl.tuple, scores: tensor, sparse: constexpr, ordered: constexpr
) -> tensor:
    """Each module's rank: as given, or by attention, the most first (ties: by index)."""
    if ordered:
        return take(x.ranks + v.now, s.modules, v.own, v.end, v.each, s.modules)
    else:  # noqa: RET505
        attended = attention(s, v, scores, sparse)
        theirs, ours = attended[:, None, :], attended[:, :, None]
        first = (v.each[None, :] < v.each[:, None])[None, :, :]
        before = (theirs > ours) | ((theirs == ours) & first)
        return tl.sum((before & there(s, v)[:, None, :]).to(tl.int32), 2)


@triton.jit
def choose(s: tl.tuple, v: tl.tuple, place: tensor) -> tensor:
    """1 for active modules, else 0."""
    return tl.where((place < s.active) & there(s, v), 1.0, 0.0)


@triton.jit
def share(
    s: tl.tuple, v: tl.tuple, attended: tensor, place: tensor, ordered: constexpr
) -> tl.tuple:
    """Whose attention is the threshold, the active modules' excess over it, normalised, and what it
    was divided by for that, [TILE, 1].
    """
    after = (place == s.active) & there(s, v) & (not ordered)
    threshold = tl.sum(tl.where(after, attended, 0.0), 1)[:, None]
    excess = choose(s, v, place) * (attended - threshold)
    total = tl.sum(excess, 1)[:, None] + LEAST
    return after, excess / total, total


@triton.jit
def weigh(
    s: tl.tuple, v: tl.tuple, scores: tensor, place: tensor, sparse: constexpr, ordered: constexpr
) -> tl.tuple:
    """The modules' weights and the distribution over them."""
    attended = attention(s, v, scores, sparse)
    if sparse:
        _, weights, _ = share(s, v, attended, place, ordered)
        return weights, attended
    else:  # noqa: RET505
        return attended, attended / tl.sum(attended, 1)[:, None]


@triton.jit
def weigh_back(
    s: tl.tuple,
    v: tl.tuple,
    scores: tensor,
    place: tensor,
    d_weights: tensor,
    sparse: constexpr,
    ordered: constexpr,
) -> tensor:
    """From gradients of the weights to those of the scores."""
    attended = attention(s, v, scores, sparse)
    if sparse:
        after, weights, total = share(s, v, attended, place, ordered)
        shared = tl.sum(d_weights * weights, 1)[:, None]
        gradient = choose(s, v, place) * (d_weights - shared) / total
        gradient = tl.where(after, gradient - tl.sum(gradient, 1)[:, None], gradient)
        return attended * (gradient - tl.sum(attended * gradient, 1)[:, None])
    else:  # noqa: RET505
        return d_weights * attended * (1 - attended)
