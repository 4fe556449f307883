"""A penalty for those who come and go, that is forgotten with time: the idea of RFC 2439 (route flap damping).

The unit is one flap. Pure; how much time passed is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class DampingRules:
    """RFC 2439's parameters. From ``suppress`` on a flapper is suppressed, until the penalty is below ``reuse``.

    ``ceiling`` bounds the memory: after it, suppression ends in at most ``log2(ceiling / reuse)`` half-lives.
    """

    half_life_seconds: float = 600.0
    suppress: float = 2.0
    reuse: float = 1.0
    ceiling: float = 4.0


@dataclass(frozen=True, slots=True)
class Damping:
    """The penalty as of now, and whether it suppresses."""

    penalty: float = 0.0
    suppressed: bool = False

    def after(self, rules: DampingRules, seconds: float) -> Damping:
        """What is left of it ``seconds`` later."""
        if not self.penalty:
            return self
        penalty = self.penalty * 0.5 ** (seconds / rules.half_life_seconds)
        return replace(self, penalty=penalty, suppressed=self.suppressed and penalty >= rules.reuse)

    def flapped(self, rules: DampingRules) -> Damping:
        """With one flap more."""
        penalty = min(self.penalty + 1.0, rules.ceiling)
        return Damping(penalty, self.suppressed or penalty >= rules.suppress)
