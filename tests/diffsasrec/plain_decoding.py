"""Decoding of one user in plain loops, straight from the table of rules: what the tensors are compared with."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from diffsasrec.decode_config import RULES, DecodeConfig
from diffsasrec.randomness import gumbel, uniform
from tests.diffsasrec.decode_cases import Case


def allowed_logits(case: Case, user: int, tokens: list[int], *, keeps_own: bool = False) -> torch.Tensor:
    """Return the logits (K, N) of one user, -inf for what is forbidden or stands in a slot (``keeps_own``: another)."""
    history, slots = case.history[user], torch.tensor(tokens)
    logits = case.logits_of(torch.cat([history, slots])[None])[0]
    if w := case.config.guidance:
        hidden = torch.tensor([item and case.num_items + 1 for item in history.tolist()])
        without = case.logits_of(torch.cat([hidden, slots])[None])[0]
        logits = without + (w + 1) * (logits - without)
    given = logits.clone()
    for item in {*case.forbidden[user], *tokens}:
        if item <= case.num_items:
            logits[:, item - 1] = -math.inf
    for slot, item in enumerate(tokens):
        if keeps_own and item <= case.num_items:
            logits[slot, item - 1] = given[slot, item - 1]
    return logits


def first_columns(logits: torch.Tensor, k: int) -> list[list[int]]:
    """Return the k columns of the largest logits of each row, of equal ones the first."""
    return logits.sort(dim=-1, descending=True, stable=True).indices[:, :k].tolist()


def softmax_and_entropy(logits: torch.Tensor) -> tuple[torch.Tensor, list[float]]:
    """Return p of each row, and H = log Z - sum of p (x - max), where Z = 1 / p(best)."""
    shifted = logits - logits.amax(dim=1, keepdim=True)
    chances = shifted.softmax(dim=1)
    moment = (chances * shifted.clamp(min=-1e30)).sum(dim=1)
    return chances, (-chances.amax(dim=1).log() - moment).tolist()


@dataclass
class PlainStep:
    """One step of one user, in plain numbers, as the rules of the papers speak of it."""

    case: Case
    user: int
    step: int
    num_steps: int
    open: list[int]  # slots that were empty when the step began
    order: list[list[int]]  # of each slot, the columns by falling probability
    chances: list[list[float]]
    entropies: list[float]
    tau: float
    filled: dict[int, tuple[int, float]]
    held: dict[int, int]  # what an earlier step filled, by slot: the items
    committed: dict[int, float]  # the probability of those when they were filled

    @property
    def empty(self) -> list[int]:
        return [slot for slot in self.open if slot not in self.filled]

    def wishes(self, slot: int) -> list[int]:
        """Return the free columns of a slot, the best first; a filled slot wishes for no item that it has."""
        taken = {item - 1 for item, _ in self.filled.values()} | {self.held.get(slot, 0) - 1}
        return [column for column in self.order[slot] if column not in taken]

    def chance(self, slot: int) -> float:
        """Return the probability of what the slot has taken in this step, or else wishes for."""
        if slot in self.filled:
            return self.filled[slot][1]
        wishes = self.wishes(slot)
        return self.chances[slot][wishes[0]] if wishes else 0.0

    def own(self, slot: int) -> float:
        """Return the probability that the model now gives to the item of a filled slot."""
        return self.chances[slot][self.held[slot] - 1]

    def entropy(self, slot: int) -> float:
        """Return the entropy as torch sums it: sums in another order differ in their last bits."""
        return self.entropies[slot]

    def margin(self, slot: int) -> float:
        taken = {item - 1 for item, _ in self.filled.values()}
        left = [chance for column, chance in enumerate(self.chances[slot]) if column not in taken]
        first, second = sorted([*left, 0.0], reverse=True)[:2]
        return float(np.float32(first) - np.float32(second))

    def draws(self, draw, *column: int) -> list[float]:
        counters = self.case.user_seeds[self.user], torch.tensor(self.step)
        slots = torch.arange(self.case.config.num_slots)
        return draw(self.case.config.seed, *counters, slots, *map(torch.tensor, column)).tolist()


def plain_wants(rule: str, at: PlainStep, quota: int) -> list[int]:
    """Return the slots that a rule would fill now, of those that are still empty; ``quota`` is n_s."""
    config, left = at.case.config, quota - len(at.filled)

    def first(score: Callable[[int], float]) -> list[int]:
        return sorted(at.empty, key=lambda slot: (-score(slot), slot))[: max(0, left)]

    if rule in ("low_confidence", "remask"):
        return first(at.chance)
    if rule == "plan":
        kept = plain_kept(at, quota)
        return [slot for slot in at.empty if slot in kept]
    if rule == "refine":
        return plain_refined(at)
    if rule == "random":
        return first(at.draws(uniform).__getitem__)
    if rule == "left_to_right":
        return at.empty[:left]
    if rule == "margin":
        return first(at.margin)
    if rule == "entropy":
        return first(lambda slot: -at.entropy(slot))
    if rule == "cosine":
        remaining = 1 - (at.step + 1) / at.num_steps
        noise = at.draws(gumbel)
        return first(
            lambda slot: (
                math.log(max(at.chance(slot), 1e-300)) + config.choice_temperature * remaining * noise[slot]
            )
        )
    if rule == "entropy_bound":
        run = sorted(at.open, key=lambda slot: (at.entropy(slot), slot))
        while sum(at.entropy(slot) for slot in run[:-1]) > config.gamma:
            run.pop()
        return [slot for slot in run if slot in at.empty]
    if rule == "factor":
        run = sorted(at.open, key=lambda slot: (-at.chance(slot), slot))
        fits = [at.chance(slot) > 1 - config.factor / (n + 1) for n, slot in enumerate(run, start=1)]
        length = max(1, [*fits, False].index(False))
        return [slot for slot in run[:length] if slot in at.empty]
    assert rule == "threshold_decay"
    if at.step == at.num_steps - 1:
        return at.empty
    if not at.filled and not config.decay_is_a_step:
        while max(map(at.chance, at.empty)) < at.tau:
            at.tau *= config.decay
    return [slot for slot in at.empty if at.chance(slot) >= at.tau]


def plain_kept(at: PlainStep, share: int) -> list[int]:
    """Return the slots that the rule ``plan`` keeps or fills."""

    def score(slot: int) -> float:
        if slot in at.held:
            return at.case.config.plan_eta * math.log(max(at.own(slot), 1e-300))
        return math.log(max(at.chance(slot), 1e-300))

    return sorted([*at.open, *at.held], key=lambda slot: (-score(slot), slot))[: len(at.held) + share]


def plain_refined(at: PlainStep) -> list[int]:
    """Return the slots that the rule ``refine`` would fill or change now."""
    config = at.case.config
    if at.step == at.num_steps - 1:
        return at.empty
    fill = [slot for slot in at.empty if at.chance(slot) >= config.fill_threshold]
    if not fill and not set(at.filled) & set(at.open):
        fill = sorted(at.empty, key=lambda slot: (-at.chance(slot), slot))[:1]
        fill = [slot for slot in fill if at.chance(slot) > 0]
    left = [slot for slot in at.held if slot not in at.filled]
    return fill + [slot for slot in left if at.chance(slot) >= config.edit_threshold]


def plain_emptied(at: PlainStep, share: int) -> list[int]:
    """Return the slots that the rule ``remask`` empties before it fills any."""
    config, num_filled = at.case.config, len(at.held)
    room = len(at.open) - share
    if not num_filled or room <= 0:
        return []
    most = min(1.0, room / num_filled)
    weight = {slot: math.exp(-share) for slot, share in at.committed.items()}
    sigma = {
        slot: {
            "cap": min(config.eta, most),
            "rescale": config.eta * most,
            "confidence": weight[slot] / sum(weight.values()) * most,
        }[config.remask_by]
        for slot in at.held
    }
    draws = at.draws(uniform, -1)
    return sorted((slot for slot in at.held if draws[slot] < sigma[slot]), key=draws.__getitem__)[:room]


def plain_share(step: int, num_steps: int, num_slots: int) -> int:
    """Return how many slots a step of an even schedule fills."""
    return num_slots // num_steps + (1 if step < num_slots % num_steps else 0)


def plain_quota(config: DecodeConfig, at: PlainStep, num_slots: int) -> int:
    """Return how many of the M0 slots a step fills, by the even schedule or the cosine one."""
    if config.rule != "cosine":
        return plain_share(at.step, at.num_steps, num_slots)
    kept = math.floor(num_slots * math.cos(math.pi / 2 * (at.step + 1) / at.num_steps) + 1e-9)
    return max(1, len(at.open) - kept)


def plain_slots(case: Case, user: int) -> list[int]:
    """Return the slots before the first step."""
    mask_id = case.num_items + 1
    pinned = [0] * case.config.num_slots if case.pinned is None else case.pinned[user].tolist()
    return [item or mask_id for item in pinned]


def plain_decode(case: Case, user: int) -> list[tuple[dict[int, tuple[int, float]], list[int]]]:
    """Return what each step of one user filled, with what and how probable, and what it emptied; no temperature."""
    config, mask_id = case.config, case.num_items + 1
    if config.rule == "beam":
        return plain_beam(case, user)
    tokens, revises = plain_slots(case, user), RULES[config.rule].revises
    free = [slot for slot, token in enumerate(tokens) if token == mask_id]  # M0 of them
    num_steps = config.num_steps if "num_steps" in RULES[config.rule].driver else None
    limit = min(num_steps or len(free), len(free))
    if "max_steps" in RULES[config.rule].driver:
        limit = config.max_steps
    tau, steps, logits, committed = config.threshold, [], None, {}
    for step in range(limit):
        if logits is None:
            logits = allowed_logits(case, user, tokens, keeps_own=revises)
        is_open = [slot for slot in free if tokens[slot] == mask_id]
        held = {slot: tokens[slot] for slot in free if revises and tokens[slot] != mask_id}
        most = min(config.num_slots + int(revises), case.num_items)
        order = first_columns(logits, most)
        chances, entropies = softmax_and_entropy(logits)
        before = {slot: committed[slot] for slot in held}
        at = PlainStep(
            case, user, step, limit, is_open, order, chances.tolist(), entropies, tau, {}, held, before
        )
        rule, quota = config.rule, plain_quota(config, at, len(free))
        emptied = plain_emptied(at, quota) if rule == "remask" else []
        if rule == "blocks":
            rule, quota = config.inner, plain_block(config, at, free)
        while wanted := plain_wants(rule, at, quota + len(emptied)):
            surest = max(wanted, key=lambda slot: (at.chance(slot), -slot))
            at.filled[surest] = at.wishes(surest)[0] + 1, at.chance(surest)
        if rule == "plan":
            emptied = [slot for slot in held if slot not in plain_kept(at, quota)]
        if at.filled or emptied or is_open:
            steps.append((dict(sorted(at.filled.items())), sorted(emptied)))
        for slot, (item, chance) in at.filled.items():
            tokens[slot], committed[slot] = item, chance
        for slot in emptied:
            tokens[slot] = mask_id
        tau = at.tau
        if at.filled or emptied:
            logits = None
            tau = at.tau if config.keep_tau else config.threshold
        else:
            tau *= config.decay
        if mask_id not in tokens and not (config.rule == "refine" and at.filled):
            return steps
    assert mask_id not in tokens, "the last step must fill the rest"
    return steps


def plain_block(config: DecodeConfig, at: PlainStep, free: list[int]) -> int:
    """Leave only the current block open and return how many of its slots the step fills."""
    block = at.open[0] // config.block_size
    slots = [slot for slot in free if slot // config.block_size == block]
    at.open = [slot for slot in at.open if slot in slots]
    num_steps = min(config.num_steps or config.block_size, len(slots))
    num_before = len(slots) - len(at.open)
    for step in range(num_steps):
        if num_before <= 0:
            return plain_share(step, num_steps, len(slots))
        num_before -= plain_share(step, num_steps, len(slots))
    return 1


def plain_beam(case: Case, user: int) -> list[tuple[dict[int, tuple[int, float]], list[int]]]:
    """Return the steps of the most probable of ``beam_width`` hypotheses."""
    mask_id, width = case.num_items + 1, case.config.beam_width
    beams = [(0.0, plain_slots(case, user), [])]  # log product, slots, steps
    while mask_id in beams[0][1]:
        children = []
        for product, tokens, steps in beams:
            logits = allowed_logits(case, user, tokens)
            chances, _ = softmax_and_entropy(logits)
            order = torch.tensor(first_columns(logits, min(max(len(tokens), width), case.num_items)))
            is_open = [slot for slot, token in enumerate(tokens) if token == mask_id]
            slot = max(is_open, key=lambda slot: (float(chances[slot, order[slot, 0]]), -slot))
            for place, column in enumerate(order[slot, :width].tolist()):
                chance = float(chances[slot, column])
                if chance > 0 or place == 0:
                    filled = [*tokens[:slot], column + 1, *tokens[slot + 1 :]]
                    gain = float(chances[slot, column].double().log())
                    children.append((product + gain, filled, [*steps, ({slot: (column + 1, chance)}, [])]))
        beams = sorted(children, key=lambda child: -child[0])[:width]
    return beams[0][2]
