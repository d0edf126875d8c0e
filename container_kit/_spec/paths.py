"""Paths on the host and paths in a container are different types.

Mixing them up is the oldest container bug there is; `NewType` lets the type checker
find it. Both are absolute and hold no NUL.
"""

from __future__ import annotations

from typing import NewType

HostPath = NewType("HostPath", str)
ContainerPath = NewType("ContainerPath", str)
