"""Bet against a promised escape rate, lot after lot, until the promise no longer holds.

Source: Waudby-Smith and Ramdas 2023, "Estimating means of bounded random variables by betting",
arXiv 2010.09686, section 4: a capital that is multiplied by 1 + bet * gain.
"""

import numpy as np
from numpy.typing import ArrayLike

from helpers.core.metrics import LEVEL

BETS = np.array([0.05, 0.1, 0.2, 0.4, 0.8])  # shares of the capital: small ones win surely
BROKEN_FROM = 1 / (1 - LEVEL)  # the capital that breaks a promise


def gain(escaped_share: ArrayLike, held_bad_share: ArrayLike, promised: ArrayLike) -> np.ndarray:
    """Return the gain of a bet of all the capital on a lot, at least -1; its mean is at most 0.

    The mean is at most 0 if each bad part passes with a probability of at most `promised` > 0: then
    the bad parts held back are on average at least (1 - promised) / promised times those that
    escape, whatever the bad rates of the lots, and however alike the parts of a lot.

    Args:
        escaped_share: bad parts that passed, as a share of all parts of the lot. Estimate it by the
            bad share in a random sample of the passed parts, times the share that passed.
        held_bad_share: bad parts that did not pass, as a share of all parts of the lot. If good
            parts are counted too, alarms, true and false, become rarer.
    """
    promised = np.asarray(promised, dtype=np.float64)
    escaped, held = np.asarray(escaped_share), np.asarray(held_bad_share)
    return ((1 - promised) * escaped - promised * held) / promised


def capital(gains: ArrayLike) -> np.ndarray:
    """Return the capital (L,) after each lot, from the `gain` (L,) of each lot in order of time.

    It starts at 1 and is the mean over `BETS` of players who each bet their share on every lot. If
    the promise is kept nobody gains on average, and the chance to ever reach `BROKEN_FROM` is 5 %
    at most (Ville's inequality), however often one looks.
    """
    return np.cumprod(1 + BETS[:, None] * np.asarray(gains), axis=1).mean(axis=0)
