"""A detached container outlives the Python that made it; any later one finds it by name."""

import subprocess
import sys

import container_kit as ck

MAKE = """
import container_kit as ck
ck.start(ck.Image.host(), ck.shell("echo started; sleep 0.2; exit 1"), name="worker", detach=True, restart="always")
"""

subprocess.run([sys.executable, "-c", MAKE], check=True)  # that interpreter is gone now

worker = ck.Container.get("worker")
try:
    worker.wait(condition=ck.wait.log("started.*"))
    print(worker.name, "is", worker.status, "after", worker.inspect().restarts, "restarts")
    print([line.text for line in worker.logs(tail=3)])
finally:
    worker.remove(force=True)
