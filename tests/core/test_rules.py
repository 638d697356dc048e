"""Every error of the package is one that commands report; names of registries."""

import importlib
import pkgutil

import helpers
from helpers.core import rules
from helpers.core.errors import UserError

OF_THE_CODE = {  # caught inside, or no error of the user
    "helpers.datasets.decoding.BitsFound",
    "helpers.core.errors.OutOfTime",
}


def test_all_errors_that_reach_a_user_have_the_base_that_the_commands_report():
    others = set()
    for module in pkgutil.walk_packages(helpers.__path__, "helpers."):
        if module.name.startswith("helpers._"):
            continue
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, type) and issubclass(value, Exception):
                own = value.__module__.startswith("helpers.")
                if own and not issubclass(value, UserError):
                    others.add(f"{value.__module__}.{value.__qualname__}")
    assert others == OF_THE_CODE


def test_another_process_gets_what_a_cell_has_added_and_not_what_it_has_removed():
    toys = rules.Registry("toy", {"ball": 1})
    held = rules.contents()
    assert held["toy"] == {"ball": 1}
    rules.restore({"toy": {"ball": 1, "drum": 3}, "unknown": {"a": 1}})
    assert toys == {"ball": 1, "drum": 3}
    rules.restore(held)
    assert toys == {"ball": 1}
