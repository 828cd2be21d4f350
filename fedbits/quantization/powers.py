"""Additive powers of two (Li et al., ICLR 2020; QuADD Eq. 9): levels dense around zero, sparse far away."""

from __future__ import annotations

from itertools import product


def magnitudes(bits: int) -> list[int]:
    """The 2^bits sums, ascending integers from 0, of one number from each of the sets of powers of two.

    ``bits`` 0–7 are dealt to ⌊bits/2⌋ sets of two bits, {0 and three powers}, and for odd ``bits`` one of one
    bit, {0 and one power}. Powers fall from set to set, round by round; the one-bit set takes its power after
    the second round. So all sums differ: of 2 bits they are 0, 1, 2, 4; of 3 bits 0, 1, 2, 3, 4, 6, 8, 10.
    """
    pairs, odd = divmod(bits, 2)
    order = [*range(pairs), *range(pairs), *([pairs] if odd else []), *range(pairs)]
    sets: list[list[int]] = [[0] for _ in range(pairs + odd)]
    for place, which in enumerate(order):
        sets[which].append(1 << (len(order) - 1 - place))
    return sorted(sum(chosen) for chosen in product(*sets))


def additive_powers(bits: int) -> tuple[int, ...]:
    """Signed levels of ``bits`` 1–8, ascending, 2^bits of them, symmetric around 0.

    One bit is the sign, so 0 would come twice: of 2 bits and more the last level is repeated instead, and
    its second symbol is never used. One bit alone is −1 and 1.
    """
    if bits == 1:
        return (-1, 1)
    positive = magnitudes(bits - 1)
    return (*(-level for level in reversed(positive[1:])), *positive, positive[-1])
