"""How much of a container's output is kept."""

from __future__ import annotations

import attrs

from container_kit._spec.healthcheck import check_count
from container_kit._spec.sizes import parse_size
from container_kit.errors import InvalidSpecError


def _bytes_of(size: int | str) -> int:
    return parse_size(size, "log max_bytes")


@attrs.frozen(kw_only=True)
class LogConfig:
    """At most `max_files` files of `max_bytes` each; sizes may be text such as `10m`."""

    max_bytes: int = attrs.field(default=10 << 20, converter=_bytes_of)
    max_files: int = 3

    def __attrs_post_init__(self) -> None:
        check_count(self.max_files, "log max_files", least=1)
        if self.max_bytes < 4096:
            raise InvalidSpecError(field="log max_bytes", value=self.max_bytes, reason="must be at least 4096")
