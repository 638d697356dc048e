import os

import pytest

from helpers.core import threads


@pytest.fixture(autouse=True)
def no_policy(monkeypatch):
    for name in threads.POLICIES:
        monkeypatch.delenv(name, raising=False)


def policy_inside(monkeypatch, per_cent: float) -> str | None:
    monkeypatch.setattr(threads.psutil, "cpu_percent", lambda seconds: per_cent)
    with threads.polite_waiting():
        return os.environ.get("OMP_WAIT_POLICY")


@pytest.mark.parametrize(("per_cent", "policy"), [(0, None), (20, None), (25, "passive")])
def test_waiting_threads_sleep_if_others_use_a_quarter_of_the_cores(monkeypatch, per_cent, policy):
    assert policy_inside(monkeypatch, per_cent) == policy
    assert "OMP_WAIT_POLICY" not in os.environ  # the next stage looks again


@pytest.mark.parametrize("name", threads.POLICIES)
def test_a_policy_of_the_user_counts(monkeypatch, name):
    monkeypatch.setenv(name, "active")
    assert policy_inside(monkeypatch, 100) == os.environ.get("OMP_WAIT_POLICY")
