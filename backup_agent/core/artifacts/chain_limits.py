"""The limits of a chain, as written in the settings. `chains` applies them.

This module is apart from `chains`, because every process reads the settings, but few processes use chains.
"""

from datetime import timedelta

from pydantic import Field

from backup_agent.core.artifacts.records import Value
from backup_agent.core.durations import PositiveDuration


class ChainLimits(Value):
    """Limits beyond which a new full is taken (`chain` in the settings)."""

    max_links: int = Field(24, ge=1, description="most differentials after a full backup")
    max_age: PositiveDuration = Field(timedelta(days=7), description="longest time since the full backup")
    max_diff_share: float = Field(
        0.5,
        gt=0,
        le=100,
        allow_inf_nan=False,
        description="most bytes of differentials together, as a share of the full backup's",
    )
