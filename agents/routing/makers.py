"""The decision makers: each one class, and one row of `MAKERS`.

A decision maker says how a choice is drawn from its scores, and learns from a trace of decisions.
Learning never moves the function blocks; how they learn is the caller's affair.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metarims.errors import check_between, check_choice, check_positive
from metarims.ppo import clipped_policy_loss, entropy_of

from .trace import UNAVAILABLE, Averages, Space, Trace, draw, gumbel, mean_by


@dataclass(frozen=True)
class MakerConfig:
    """Settings of the decision makers; each uses its own.

    Attributes:
        average: the share of the new in running averages of returns.
        entropy: weight of the policy's entropy in policy gradients.
        greedy: share of greedy choices in ε-greedy REINFORCE.
        epsilon: share of uniform choices in Q and Advantage learning, at first.
        half_life: steps of learning by which that share halves.
        trace_decay: λ in Q and Advantage learning; 0 is Watkins' own, which a table has no use for:
            its states do not tell the block before, so every first choice has the same target.
        rate: WPL's learning rate λ_π.
        weighting: WPL's: "algorithm" (Algorithm 3) or "appendix" (§7.4).
        temperature: of Gumbel-softmax and RELAX.
        clip: ε of PPO's ratio.
        top: paths that EM remembers for each key.
    """

    average: float = 0.1
    entropy: float = 0.0
    greedy: float = 0.5
    epsilon: float = 0.4
    half_life: int = 1000
    trace_decay: float = 1.0
    rate: float = 0.2
    weighting: str = "algorithm"
    temperature: float = 0.5
    clip: float = 0.2
    top: int = 1

    def __post_init__(self) -> None:
        check_positive(half_life=self.half_life, temperature=self.temperature, top=self.top)
        check_positive(clip=self.clip, rate=self.rate, average=self.average)
        check_between(0, 1, greedy=self.greedy, epsilon=self.epsilon, average=self.average)
        check_between(0, 1, trace_decay=self.trace_decay)
        check_choice("weighting", self.weighting, WEIGHTINGS)


class DecisionMaker(nn.Module):
    """How to choose by scores, and how to learn from what choices earned.

    Attributes:
        extra: scores beside one for each choice.
        draws: uniform numbers for each choice that a decision takes.
        relaxed: whether blocks are weighted by `weights`, so that the loss teaches the scores.
        tabular: whether it only learns a table.
    """

    extra = 0
    draws = 1
    relaxed = False
    tabular = False

    def __init__(self, space: Space, config: MakerConfig, available: Tensor) -> None:
        super().__init__()
        self.space, self.config = space, config

    def first_scores(self, available: Tensor) -> Tensor:
        """A table's row at first, [depth, C], for bool [depth, K], the choices that are there."""
        return torch.zeros(*available.shape[:-1], available.shape[-1] + self.extra)

    def policy(self, scores: Tensor) -> Tensor:
        """The probabilities that are learnt, [..., C] to [..., K]."""
        return scores.softmax(-1)

    def behaviour(self, scores: Tensor) -> Tensor:
        """The probabilities that choices are drawn from, [..., C] to [..., K]."""
        return self.policy(scores)

    def choose(self, scores: Tensor, noise: Tensor) -> Tensor:
        """Choices int64 [N] by scores [N, C] and uniform numbers [N, draws, K]."""
        return draw(self.behaviour(scores), noise[:, 0])

    def propose(self, keys: Tensor, noise: Tensor) -> Tensor | None:
        """Paths int64 [N, depth] to take whatever the scores say, −1 where they decide."""
        return None

    def weights(self, scores: Tensor, choices: Tensor, noise: Tensor) -> Tensor:
        """What the blocks' outputs are weighted with, [N, K]: one for the choice."""
        return F.one_hot(choices, scores.shape[-1] - self.extra).to(scores)

    def learn(self, trace: Trace) -> Tensor:
        """The loss to descend by gradient; tables that have a rule of their own move at once."""
        raise NotImplementedError


class Reinforce(DecisionMaker):
    """REINFORCE: R ∇ log π(a) (Williams 1992; Rosenbaum et al. 2018, §3.1.2)."""

    def learn(self, trace: Trace) -> Tensor:
        """−R log π(a), summed over depth."""
        log_policy = trace.scores.log_softmax(-1)
        gain = self.advantages(trace) * trace.chosen(log_policy)
        return -(gain + self.config.entropy * entropy_of(log_policy)).sum(1).mean()

    def advantages(self, trace: Trace) -> Tensor:
        """What multiplies ∇ log π(a), [N, depth]."""
        return trace.returns


class ReinforceBaseline(Reinforce):
    """REINFORCE less a running average r̂ ← (1 − α) r̂ + α R (Rosenbaum et al. 2019, Fig. 9)."""

    def __init__(self, space: Space, config: MakerConfig, available: Tensor) -> None:
        super().__init__(space, config, available)
        self.averages = Averages(space, config.average)

    def advantages(self, trace: Trace) -> Tensor:
        """R − r̂, with the average as it was before these returns, so as to stay unbiased."""
        before = self.averages.values[trace.cells]
        self.averages.follow(trace)
        return trace.returns - before


class GreedyReinforce(ReinforceBaseline):
    """REINFORCE that takes the best choice ε of the time (Rosenbaum et al. 2019, §5.1).

    What it earned is weighted by π(a) / b(a), b being the probabilities it was drawn from (Precup
    et al. 2000).
    """

    def behaviour(self, scores: Tensor) -> Tensor:
        """b = ε [a is best] + (1 − ε) π(a)."""
        return torch.lerp(self.policy(scores), _best(scores), self.config.greedy)

    def advantages(self, trace: Trace) -> Tensor:
        """(R − r̂) π(a) / b(a)."""
        log_ratio = trace.chosen(trace.scores.detach().log_softmax(-1)) - trace.log_probs
        return super().advantages(trace) * log_ratio.exp()


class PPO(ReinforceBaseline):
    """PPO's clipped ratio, for passing over the same decisions again (Chang et al. 2019)."""

    def learn(self, trace: Trace) -> Tensor:
        """−min(r Â, clip(r) Â) with Â = R − r̂, summed over depth."""
        log_policy = trace.scores.log_softmax(-1)
        ratio = (trace.chosen(log_policy) - trace.log_probs).exp()
        loss = clipped_policy_loss(ratio, self.advantages(trace), self.config.clip)
        bonus = self.config.entropy * entropy_of(log_policy).mean()
        return self.space.depth * (loss - bonus)


class QLearning(DecisionMaker):
    """Q-learning over the decisions of a path (Watkins 1989; Rosenbaum et al. 2018, §3.1.2)."""

    learnt: Tensor

    def __init__(self, space: Space, config: MakerConfig, available: Tensor) -> None:
        super().__init__(space, config, available)
        self.register_buffer("learnt", torch.zeros(()))

    def policy(self, scores: Tensor) -> Tensor:
        """All on the best choice."""
        return _best(scores)

    def behaviour(self, scores: Tensor) -> Tensor:
        """ε-greedy."""
        there = (scores > UNAVAILABLE / 2).to(scores)
        epsilon = self.config.epsilon * 0.5 ** (self.learnt / self.config.half_life)
        return torch.lerp(_best(scores), there / there.sum(-1, keepdim=True), epsilon)

    def targets(self, best: Tensor, trace: Trace) -> Tensor:
        """y, [N, depth], for the best choices' values [N, depth]."""
        return q_targets(best, trace, self.config.trace_decay)

    def learn(self, trace: Trace) -> Tensor:
        """½ (y − Q(a))², the squared temporal difference error, summed over depth."""
        if trace.scores.requires_grad:
            self.learnt += 1
        error = self.targets(trace.scores.amax(-1), trace) - trace.chosen(trace.scores)
        return 0.5 * error.square().sum(1).mean()


class AdvantageLearning(QLearning):
    """Learns V and A = Q − V apart (Rosenbaum et al. 2019, §4.1.3).

    V, the last score, takes in what all blocks gain by training; A compares blocks only.
    """

    extra = 1

    def policy(self, scores: Tensor) -> Tensor:
        """All on the best advantage."""
        return super().policy(scores[..., :-1])

    def behaviour(self, scores: Tensor) -> Tensor:
        """ε-greedy in the advantages."""
        return super().behaviour(scores[..., :-1])

    def learn(self, trace: Trace) -> Tensor:
        """½ (y − V)² + ½ (y − V − A(a))², summed over depth; V gets no gradient from the second."""
        if trace.scores.requires_grad:
            self.learnt += 1
        advantages, value = trace.scores[..., :-1], trace.scores[..., -1]
        target = self.targets(advantages.amax(-1) + value, trace)
        error = target - value.detach() - trace.chosen(advantages)
        return 0.5 * ((target - value).square() + error.square()).sum(1).mean()


class WPL(DecisionMaker):
    """The weighted policy learner (Abdallah & Lesser 2006; Rosenbaum et al. 2018, Algorithm 3).

    Its scores are the policy itself, a table. The paper weights changes in two opposite ways:
    Algorithm 3 positive ones by π(a) and negative ones by 1 − π(a), §7.4 (and Abdallah & Lesser)
    the other way round. Of a batch, the mean change of an agent's choices is weighted; of a batch
    of one this is Algorithm 3, line by line.
    """

    tabular = True
    available: Tensor

    def __init__(self, space: Space, config: MakerConfig, available: Tensor) -> None:
        super().__init__(space, config, available)
        self.averages = Averages(space, config.rate)
        self.register_buffer("available", available, persistent=False)

    def first_scores(self, available: Tensor) -> Tensor:
        """Every choice equally likely."""
        return project(available.float(), available)

    def policy(self, scores: Tensor) -> Tensor:
        """The scores themselves; 0 for choices that are not there."""
        return scores.clamp_min(0)

    @torch.no_grad()
    def learn(self, trace: Trace) -> Tensor:
        """Lines 1 to 13; the loss left to descend is 0."""
        table = trace.table
        if table is not None and table.requires_grad:
            surprise = trace.returns - self.averages.follow(trace)  # lines 5 and 7
            slots = trace.cells * self.space.choices + trace.choices
            change, sizes = mean_by(slots, surprise, table.numel())
            change, sizes = change.view_as(table), sizes.view_as(table)
            change = change * sizes / sizes.sum(-1, keepdim=True).clamp_min(1)
            step = self.config.rate * WEIGHTINGS[self.config.weighting](change, table)
            table.copy_(project(table + step, self.available))
        return torch.zeros((), device=trace.scores.device)


class Gumbel(DecisionMaker):
    """Gumbel-softmax, straight through (Jang et al. 2016; Maddison et al. 2016).

    The hard choice goes forward and the softened one backward, so the network's own loss teaches
    the scores; every block is computed.
    """

    relaxed = True

    def weights(self, scores: Tensor, choices: Tensor, noise: Tensor) -> Tensor:
        """One for the choice, with the gradient of softmax((log π + g) / τ)."""
        soft = ((scores + gumbel(noise[:, 0])) / self.config.temperature).softmax(-1)
        return super().weights(scores, choices, noise) + soft - soft.detach()

    def learn(self, trace: Trace) -> Tensor:
        """Nothing beside the network's loss."""
        return trace.scores.new_zeros(())


class RELAX(DecisionMaker):
    """RELAX (Grathwohl et al. 2018): REINFORCE less a learnt control variate c.

    g = (R − c(z̃)) ∇ log π(a) + ∇ c(z) − ∇ c(z̃), with z the scores and their Gumbel numbers and
    z̃ drawn again given the choice; c, a small network on softmax(z / τ), descends the variance of
    g. Unbiased for the decisions that `noise` led to.
    """

    draws = 2

    def __init__(self, space: Space, config: MakerConfig, available: Tensor) -> None:
        super().__init__(space, config, available)
        self.cell = nn.Embedding(space.agents * space.depth, 32)
        self.hidden = nn.Linear(space.choices, 32, bias=False)
        self.output = nn.Linear(32, 1)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def learn(self, trace: Trace) -> Tensor:
        """A loss with gradient −g for the scores, and E[g²] for the control variate."""
        scores = trace.scores.detach().requires_grad_()
        with torch.enable_grad():
            gain = self.gradient(scores, trace)
        return gain.square().sum((1, 2)).mean() - (gain.detach() * trace.scores).sum((1, 2)).mean()

    def gradient(self, scores: Tensor, trace: Trace) -> Tensor:
        """g, [N, depth, K]; it depends on the control variate's parameters."""
        log_policy = scores.log_softmax(-1)
        soft = self._surrogate(log_policy + gumbel(trace.noise[:, :, 0]), trace)
        again = self._surrogate(redrawn(log_policy, trace.choices, trace.noise[:, :, 1]), trace)
        (score,) = torch.autograd.grad(trace.chosen(log_policy).sum(), scores, create_graph=True)
        (control,) = torch.autograd.grad((soft - again).sum(), scores, create_graph=True)
        return (trace.returns - again).unsqueeze(-1) * score + control

    def _surrogate(self, z: Tensor, trace: Trace) -> Tensor:
        """c(z), [N, depth]."""
        soft = (z / self.config.temperature).softmax(-1)
        hidden = torch.tanh(self.hidden(soft) + self.cell(trace.cells))
        c: Tensor = self.output(hidden).squeeze(-1)
        return c


class EM(DecisionMaker):
    """Hard expectation maximisation with a buffer of the best paths (Kirsch et al. 2018).

    E: each key remembers the `top` paths with the highest return; one that is taken again has its
    return averaged, so luck is forgotten. M: log π of remembered paths rises. Half of the samples
    take a remembered path, so that blocks are trained on it too.
    """

    draws = 2
    paths: Tensor
    scores: Tensor
    powers: Tensor

    def __init__(self, space: Space, config: MakerConfig, available: Tensor) -> None:
        super().__init__(space, config, available)
        self.register_buffer("paths", torch.full((space.keys, config.top), -1))
        self.register_buffer("scores", torch.full((space.keys, config.top), -torch.inf))
        powers = torch.tensor([space.choices**i for i in range(space.depth)])
        self.register_buffer("powers", powers, persistent=False)

    def propose(self, keys: Tensor, noise: Tensor) -> Tensor | None:
        """For half of the samples a remembered path, any of the key's alike."""
        paths, u = self.paths[keys], noise[:, 0, 1]
        known = (paths >= 0).sum(1)
        which = (u[:, 1] * known).long().unsqueeze(1)
        path = paths.gather(1, which) // self.powers % self.space.choices
        return torch.where(((u[:, 0] < 0.5) & (known > 0)).unsqueeze(1), path, -1)

    def learn(self, trace: Trace) -> Tensor:
        """−log π of those paths, among the samples', that are remembered."""
        paths = (trace.choices * self.powers).sum(1)
        if trace.scores.requires_grad:
            self._remember(trace.keys, paths, trace.returns[:, 0])
        best = (self.paths[trace.keys] == paths.unsqueeze(1)).any(1).to(trace.scores)
        return -(best * trace.chosen(trace.scores.log_softmax(-1)).sum(1)).mean()

    @torch.no_grad()
    def _remember(self, keys: Tensor, paths: Tensor, returns: Tensor) -> None:
        """Put each key's paths with those it remembers, and keep the best."""
        base = self.space.choices**self.space.depth
        new, which = torch.unique(keys * base + paths, return_inverse=True)
        means = mean_by(which, returns, len(new))[0].to(self.scores)
        touched = torch.unique(keys)
        held, old = self.paths[touched], self.scores[touched][self.paths[touched] >= 0]
        ids = (touched.unsqueeze(1) * base + held)[held >= 0]
        at = torch.searchsorted(new, ids).clamp_max(len(new) - 1)
        old = torch.where(new[at] == ids, torch.lerp(old, means[at], self.config.average), old)
        fresh = ~torch.isin(new, ids)
        ids, scores = torch.cat([ids, new[fresh]]), torch.cat([old, means[fresh]])
        order = scores.argsort(descending=True, stable=True)
        order = order[(ids[order] // base).argsort(stable=True)]
        ids, scores = ids[order], scores[order]
        key = ids // base
        rank = torch.arange(len(key), device=key.device) - torch.searchsorted(key, key)
        kept = rank < self.config.top
        self.paths[touched] = -1
        self.paths[key[kept], rank[kept]] = ids[kept] % base
        self.scores[key[kept], rank[kept]] = scores[kept]


@torch.no_grad()
def q_targets(best: Tensor, trace: Trace, trace_decay: float) -> Tensor:
    """y_i = r_i + γ ((1 − λ) max_a Q(s_{i+1}, a) + λ y_{i+1}), r_i + r_final at the path's end.

    Args:
        best: [N, depth], the best choice's value at each decision.
        trace: the decisions.
        trace_decay: λ.

    Returns:
        [N, depth], without gradient.
    """
    following, targets = trace.final, []
    for reward, value in zip(
        reversed(trace.rewards.unbind(1)), reversed(best.unbind(1)), strict=True
    ):
        target = reward + following
        following = trace.discount * torch.lerp(value, target, trace_decay)
        targets.append(target)
    return torch.stack(targets[::-1], 1)


def weight_as_algorithm(change: Tensor, policy: Tensor) -> Tensor:
    """Algorithm 3, lines 9 to 12: gains by π(a), losses by 1 − π(a)."""
    return change * torch.where(change < 0, 1 - policy, policy)


def weight_as_appendix(change: Tensor, policy: Tensor) -> Tensor:
    """§7.4: gains by 1 − π(a), losses by π(a)."""
    return change * torch.where(change < 0, policy, 1 - policy)


WEIGHTINGS = {"appendix": weight_as_appendix, "algorithm": weight_as_algorithm}


def project(policy: Tensor, available: Tensor) -> Tensor:
    """clip(π) / Σ clip(π), clip to [0, 1] (Algorithm 3); uniform where nothing is left.

    Args:
        policy: [..., K].
        available: bool [..., K], broadcast; the others are 0.
    """
    there = available.to(policy).expand_as(policy)
    clipped = policy.clamp(0, 1) * there
    total = clipped.sum(-1, keepdim=True)
    return torch.where(total > 0, clipped, there) / torch.where(
        total > 0, total, there.sum(-1, keepdim=True)
    )


def redrawn(log_policy: Tensor, choices: Tensor, noise: Tensor) -> Tensor:
    """Scores with Gumbel numbers given which is the largest, [..., K] (Tucker et al. 2017, app. C).

    Args:
        log_policy: [..., K].
        choices: int64 [...].
        noise: uniform [..., K].
    """
    clock = -noise.clamp(1e-20, 1 - 1e-7).log()  # exponential
    first = clock.gather(-1, choices.unsqueeze(-1))
    later = -(clock * (-log_policy).clamp_max(60).exp() + first).log()
    return torch.where(F.one_hot(choices, noise.shape[-1]).bool(), -first.log(), later)


def _best(scores: Tensor) -> Tensor:
    """All probability on the highest score, [..., K]."""
    return F.one_hot(scores.argmax(-1), scores.shape[-1]).to(scores)


MAKERS: dict[str, type[DecisionMaker]] = {
    "reinforce": Reinforce,
    "baseline": ReinforceBaseline,
    "greedy": GreedyReinforce,
    "q": QLearning,
    "advantage": AdvantageLearning,
    "wpl": WPL,
    "gumbel": Gumbel,
    "relax": RELAX,
    "ppo": PPO,
    "em": EM,
}
