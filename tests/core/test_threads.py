import os

import pytest

from helpers.core import threads


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    for name in threads.POLICIES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads.os, "cpu_count", lambda: 2)


def policy_inside(monkeypatch, per_cent: float) -> str | None:
    monkeypatch.setattr(threads.psutil, "cpu_percent", lambda seconds: per_cent)
    with threads.polite_waiting():
        return os.environ.get("OMP_WAIT_POLICY")


@pytest.mark.parametrize(("per_cent", "policy"), [(0, None), (20, None), (25, "passive")])
def test_waiting_threads_sleep_if_others_use_half_a_core(monkeypatch, per_cent, policy):
    assert policy_inside(monkeypatch, per_cent) == policy
    assert "OMP_WAIT_POLICY" not in os.environ  # the next stage looks again


@pytest.mark.parametrize("name", threads.POLICIES)
def test_a_policy_of_the_user_counts(monkeypatch, name):
    monkeypatch.setenv(name, "active")
    assert policy_inside(monkeypatch, 100) == os.environ.get("OMP_WAIT_POLICY")
