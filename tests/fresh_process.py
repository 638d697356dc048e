"""What a fresh process tells of itself; imports little, so that a test of it is quick."""

import multiprocessing
import os

from tests.benchmarks.measure import Timed


def who_am_i(greeting: str) -> Timed:
    """Its number, and how a DataLoader in it would start workers; the greeting comes back."""
    facts = {"pid": os.getpid(), "workers": multiprocessing.get_start_method()}
    return Timed(2.0, 4, facts, result=greeting)
