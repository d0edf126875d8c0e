"""A2: a process that joins a container is looked into before it has become what it is to be (CVE-2016-9962)."""

from __future__ import annotations

import re

import pytest

from tests.security.rigs import Rig

EXECS = 40
# What a payload may show of itself: its own program, streams, directory.
HARMLESS = re.compile(
    r"(denied|seen) \d+|(exe|map_files) /bin/payload|(cwd|root) /|fd (/dev/null|/dev/pts/\d+|pipe:\[\d+\])"
)


@pytest.mark.parametrize("tty", [False, True], ids=["pipes", "terminal"])
def test_A2_nothing_is_seen_of_a_process_until_it_is_executed(rig: Rig, tty: bool) -> None:
    """Root in the container polls its /proc entry: no program, directory or descriptor but the command's own."""
    with rig.start("peep") as box:
        assert next(iter(box.logs(follow=True)), None) is not None
        for _ in range(EXECS):
            if tty:
                with box.spawn(["payload", "true"], tty=True) as process:
                    process.wait(timeout=20)
            else:
                box.exec(["payload", "true"])
        box.stop(timeout=20)
        seen = [line.text for line in box.logs()][1:]

    assert [] == sorted({line for line in seen if not HARMLESS.fullmatch(line)})
    assert any(line.startswith("denied") for line in seen)
