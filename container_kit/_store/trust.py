"""Which unpacked layers count: those that a power cut cannot have damaged since they were recorded.

Apart from the rest of the store, since it is asked at each start of a container, which needs nothing else of it.
"""

from __future__ import annotations

import time

from container_kit._state.content_records import LayerRecord

_SETTLED_SECONDS = 60.0


def is_trusted(record: LayerRecord | None, boot_id: str) -> bool:
    """Say whether a layer's directory, if it is there, holds what was unpacked into it."""
    return record is not None and (record.durable or record.boot_id == boot_id)


def may_settle(record: LayerRecord) -> bool:
    """Say whether a layer has probably reached the disk but is not known to."""
    return not record.durable and time.time() - record.unpacked_at > _SETTLED_SECONDS
