"""A timeout ends everything the command started, also what made itself a session of its own."""

import container_kit as ck

with ck.start(ck.Image.host(), ["sleep", "60"]) as box:
    result = box.exec(ck.shell("setsid sleep 1000 & sleep 1000"), timeout=0.5)

    print("timed out:", result.timed_out, "- exit code", result.returncode)
    print("left in the container:", [process.command for process in box.top()])
    assert [process.command for process in box.top()] == ["sleep 60"]
