"""The former place of `howdah.visualize`."""

import warnings

from howdah.engine.delayed.drawing import visualize

warnings.warn(
    "howdah.engine.observe.drawing is the former place of visualize: use `from howdah import visualize`",
    DeprecationWarning,
    stacklevel=2,
)

__all__ = ["visualize"]
