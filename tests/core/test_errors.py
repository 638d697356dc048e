"""Every error of the package is one that commands report."""

import importlib
import pkgutil

import helpers
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
