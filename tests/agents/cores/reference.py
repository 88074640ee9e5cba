"""The RIMs cell once more, slowly: one environment, one module at a time, from the equations."""

import torch
from torch import Tensor

from agents.cores.rims import RIMs


def lstm(cell: RIMs, j: int, read: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    z = cell.input_weight[j] @ read + cell.hidden_weight[j] @ h + cell.bias[j]
    i, f, o, g = z.chunk(4)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def gru(cell: RIMs, j: int, read: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    d = cell.config.hidden
    from_input = cell.input_weight[j] @ read + cell.bias[j]
    from_state = cell.hidden_weight[j] @ h
    r = torch.sigmoid(from_input[:d] + from_state[:d])
    u = torch.sigmoid(from_input[d : 2 * d] + from_state[d : 2 * d])
    candidate = torch.tanh(from_input[2 * d :] + r * from_state[2 * d :])
    return (1 - u) * candidate + u * h, c


def input_scores(cell: RIMs, slots: Tensor, h: Tensor):
    """q·k / √d_k, [n, H, S]."""
    config = cell.config
    rows = []
    for j in range(config.modules):
        query = (cell.query[j] @ h[j] + cell.query_bias[j]).view(config.heads, config.key)
        keys = cell.key(slots).view(len(slots), config.heads, config.key)
        rows.append(torch.stack([(keys @ query[a])[:, a] for a in range(config.heads)]))
    return torch.stack(rows) / config.key**0.5


def attend(cell: RIMs, scores: Tensor, order: Tensor | None):
    """Weights [n, H, S], the active modules, the distribution over modules [n]."""
    config = cell.config
    if config.attention == "null":
        weights = torch.stack(
            [
                torch.stack([torch.softmax(torch.cat([s, s.new_zeros(1)]), 0)[:-1] for s in heads])
                for heads in scores
            ]
        )
        probability = weights.sum(2).mean(1)
        ranked = (probability if order is None else order).argsort(descending=True).tolist()
        return weights, ranked[: config.active], probability / probability.sum()
    probability = torch.softmax(scores, 0).mean((1, 2))
    ranked = (probability if order is None else order).argsort(descending=True).tolist()
    chosen = ranked[: config.active]
    threshold = probability.new_zeros(())
    if order is None and config.active < config.modules:
        threshold = probability[ranked[config.active]]
    excess = {j: probability[j] - threshold for j in chosen}
    total = sum(excess.values()) + 1e-3
    share = [
        excess[j] / total if j in chosen else 0 * probability[j] for j in range(config.modules)
    ]
    return torch.stack(share)[:, None, None] * torch.softmax(scores, 2), chosen, probability


def communicate(cell: RIMs, h: Tensor, chosen: list[int]):
    config = cell.config
    shape = (3, config.communication_heads, config.communication_key)
    qkv = [(cell.communication[j] @ h[j]).view(shape) for j in range(config.modules)]
    after = []
    for j in range(config.modules):
        if j not in chosen:
            after.append(h[j])
            continue
        values_read = []
        for a in range(config.communication_heads):
            scores = torch.stack([qkv[j][0, a] @ other[1, a] for other in qkv])
            weights = torch.softmax(scores / config.communication_key**0.5, 0)
            values_read.append(sum(w * other[2, a] for w, other in zip(weights, qkv, strict=True)))
        after.append(h[j] + cell.communication_output[j] @ torch.cat(values_read))
    return torch.stack(after)


def knock_out(cell: RIMs, chosen: list[int], lots: Tensor | None):
    standing = [j for j in chosen if j != cell.config.disabled]
    if lots is not None:
        standing.sort(key=lambda j: int(lots[j]))
        standing = standing[: max(0, len(standing) - cell.config.knock_out)]
    return standing


def step(
    cell: RIMs, slots: Tensor, h: Tensor, c: Tensor, order: Tensor | None, lots: Tensor | None
):
    """One step of one environment: slots [S, D], h and c [n, d]; and who was active, the
    probabilities."""
    config = cell.config
    weights, chosen, probability = attend(cell, input_scores(cell, slots, h), order)
    chosen = knock_out(cell, chosen, lots)
    values = cell.value(slots).view(len(slots), config.heads, config.value)
    dynamics = {"lstm": lstm, "gru": gru}[config.dynamics]
    new_h, new_c = [], []
    for j in range(config.modules):
        read = torch.cat([weights[j, a] @ values[:, a] for a in range(config.heads)])
        stepped = dynamics(cell, j, read, h[j], c[j]) if j in chosen else (h[j], c[j])
        new_h.append(stepped[0])
        new_c.append(stepped[1])
    return communicate(cell, torch.stack(new_h), chosen), torch.stack(new_c), chosen, probability


def span(
    cell: RIMs,
    x: Tensor,
    h: Tensor,
    c: Tensor,
    starts: Tensor,
    order: Tensor | None = None,
    lots: Tensor | None = None,
):
    """A span of a batch: as `RIMs.forward`, but h and c [B, n, d], order and lots [T, n, B]."""
    steps, batch = starts.shape
    slots = x if x.dim() == 4 else x.unsqueeze(2)
    outputs, masks, rows = [], [], []
    h, c = [*h], [*c]  # type: ignore[assignment]
    for t in range(steps):
        for b in range(batch):
            if starts[t, b]:
                h[b], c[b] = cell.start, torch.zeros_like(c[b])
            chances = [None if rows is None else rows[t, :, b] for rows in (order, lots)]
            h[b], c[b], chosen, probability = step(cell, slots[t, b], h[b], c[b], *chances)
            masks.append([j in chosen for j in range(cell.config.modules)])
            rows.append(probability)
        outputs.append(torch.stack([row.flatten() for row in h]))
    shape = (steps, batch, -1)
    mask, probability = torch.tensor(masks).view(shape), torch.stack(rows).view(shape)
    return torch.stack(outputs), torch.stack([*h]), torch.stack([*c]), mask, probability
