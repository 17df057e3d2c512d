"""What is done to whom and when: a list that depends on the seed alone, so that a bad run can be had again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple


class Act(NamedTuple):
    """At `at` seconds from the begin, `kind` happens to `targets`, for `seconds` where it is something that ends."""

    at: float
    kind: str
    targets: tuple[str, ...]
    seconds: float = 0.0

    def __str__(self) -> str:
        lasts = f" for {self.seconds:.2f} s" if self.seconds else ""
        return f"{self.at:8.2f} s  {self.kind} {' '.join(self.targets)}{lasts}"


KINDS = {
    "kill": 5,
    "kill two": 1,
    "terminate": 2,
    "kill supervisor": 1,
    "stop": 2,
    "cut off": 3,
    "drop links": 3,
    "freeze": 1,
    "slow down": 2,
    "cut the link of": 2,
    "kill client": 2,
    "kill scheduler": 1,
}
"""What may happen, and how often against the others."""

LASTING = {"stop", "cut off", "freeze", "slow down", "cut the link of"}
PAIRS = {"kill two", "cut the link of"}
MEAN_PAUSE = 1.5


def plan(
    seed: int, seconds: float, workers: Sequence[str], clients: Sequence[str], scheduler: bool = False
) -> list[Act]:
    """Acts until `seconds`; those on the scheduler only where it can be killed.

    >>> acts = plan(7, 60.0, ["w0", "w1"], ["c0"])
    >>> acts == plan(7, 60.0, ["w0", "w1"], ["c0"]), acts == plan(8, 60.0, ["w0", "w1"], ["c0"])
    (True, False)
    """
    dice = random.Random(seed)
    kinds = [kind for kind in KINDS if scheduler or kind != "kill scheduler"]
    weights = [KINDS[kind] for kind in kinds]
    acts: list[Act] = []
    at = 1.0
    while True:
        at += 0.2 + dice.expovariate(1 / MEAN_PAUSE)
        if at > seconds:
            return acts
        (kind,) = dice.choices(kinds, weights)
        names = clients if kind == "kill client" else workers
        targets = (
            tuple(dice.sample(list(names), 2 if kind in PAIRS else 1)) if kind != "kill scheduler" else ("scheduler",)
        )
        lasts = round(dice.choice([0.1, 0.5, 1.0, 3.0, 6.0]) * dice.uniform(0.5, 1.5), 2) if kind in LASTING else 0.0
        acts.append(Act(round(at, 2), kind, targets, lasts))
