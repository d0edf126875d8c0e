"""What happened to a container, as one line of the journal."""

from __future__ import annotations

from datetime import datetime

import attrs

from container_kit._spec.ids import ContainerId
from container_kit._spec.text import Pairs


@attrs.frozen(kw_only=True)
class Event:
    """One thing that happened. `sequence` grows and is a cursor; `time` is aware UTC; `action` is Docker's word."""

    sequence: int
    time: datetime
    id: ContainerId
    name: str
    action: str
    attributes: Pairs = ()
