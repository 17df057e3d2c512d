"""The former place of `howdah.account`."""

import warnings

from howdah.engine.client.account import account

warnings.warn(
    "howdah.engine.observe.account is the former place of account: use `from howdah import account`",
    DeprecationWarning,
    stacklevel=2,
)

__all__ = ["account"]
