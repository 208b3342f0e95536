"""Sizes, ages and moments as people say them: the examples of the docstrings hold."""

import doctest

from backup_agent.cli import printing


def test_the_examples_hold() -> None:
    assert doctest.testmod(printing).failed == 0
