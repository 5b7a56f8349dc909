"""What happens around a fork: a child takes nothing over that its parent has under way."""

import os
from collections.abc import Callable

Hook = Callable[[], None]


def in_child(hook: Hook) -> Hook:
    """Run this first in every forked child. A decorator; systems without forks never run it."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=hook)
    return hook


def around(*, before: Hook, parent: Hook, child: Hook) -> None:
    """Run these before a fork, and after it in the parent and in the child."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=before, after_in_parent=parent, after_in_child=child)
