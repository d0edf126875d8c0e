"""The whole lifecycle on this machine, with the host's own programs as the image."""

import sys
import tempfile
import time

import container_kit as ck
from container_kit import wait


def show(title: str, value: object) -> None:
    """Print one line of the tour."""
    print(f"  {title:<26} {value}")


def one_shot(engine: ck.Engine, image: ck.Image) -> None:
    """Run to the end: results, errors, time-outs."""
    print("one shot")
    hello = ck.run(image, ["sh", "-c", "echo hello from $(hostname); id -u"], text=True, engine=engine)
    show("output", hello.stdout.split("\n")[:2])
    began = time.perf_counter()
    ck.run(image, ["true"], engine=engine)
    show("time of `true`", f"{(time.perf_counter() - began) * 1000:.1f} ms")
    show("exit code", ck.run(image, ck.shell("exit 7"), engine=engine).returncode)
    show("timed out", ck.run(image, ["sleep", "60"], timeout=0.2, engine=engine).timed_out)
    try:
        ck.run(image, ["no-such-command"], engine=engine)
    except ck.errors.CommandNotFoundError as err:
        show("a typed error", str(err).split(" (")[0])
    try:
        held = ck.run(image, ck.shell("id -u; cat /etc/shadow"), security=ck.Security.untrusted(), engine=engine)
        show("untrusted code", held.stderr.decode().strip())
    except ck.errors.UnsupportedHostError as err:
        show("untrusted code", f"does not start here: {err.reason}")
    isolated = ck.run(image, ck.shell("ls -A /home; ls /sys/class/net"), text=True, engine=engine)
    show("homes and interfaces", isolated.stdout.split())


def lifecycle(engine: ck.Engine, image: ck.Image) -> None:
    """Start, look, exec, pause, stop, start again, remove."""
    print("lifecycle")
    script = "trap 'echo stopping; exit 0' TERM; echo ready; while true; do sleep 0.05; done"
    box = ck.start(image, ck.shell(script), name="demo", wait=wait.log("ready").within(10), engine=engine)
    with box:
        show("status", box.status)
        show("exec", box.exec(["cat", "/etc/hostname"], text=True).stdout.strip())
        show("processes", [process.command for process in box.top()][-1])
        used = box.stats()
        show("uses", f"{used.memory_bytes >> 10} KiB, {used.pids} processes, {used.cpu_seconds:.3f} s of CPU")
        try:
            box.pause()
            show("paused", box.status)
            box.unpause()
        except ck.errors.UnsupportedHostError as err:
            show("cannot pause here", err.reason)
        box.stop()
        show("stopped with code", box.exit_code)
        box.start()
        show("started again", box.status)
        show("log", [line.text for line in box.logs()])
    show("left of it", ck.Container.list(all=True, engine=engine))


def main() -> int:
    """Run the tour in a temporary engine."""
    with tempfile.TemporaryDirectory(prefix="container_kit-demo-", dir="/var/tmp") as root, ck.Engine(root) as engine:
        image = ck.Image.host()
        one_shot(engine, image)
        lifecycle(engine, image)
        print("what this host offers")
        for capability in engine.capabilities():
            sign = "yes" if capability else "no "
            show(f"{sign} {capability.name.split(' (')[0]}", capability.reason)
    print("done: nothing is left behind")
    return 0


if __name__ == "__main__":
    sys.exit(main())
