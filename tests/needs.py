"""What the tests of a module need installed."""

import importlib.util

import pytest


def needs(*packages: str, reason: str) -> None:
    """Skip the tests of the module that calls this, unless these packages are installed.

    None is imported: every process of a run collects every module, and what some of these take to import is
    worth seconds of each.
    """
    if any(importlib.util.find_spec(package) is None for package in packages):
        pytest.skip(reason, allow_module_level=True)
