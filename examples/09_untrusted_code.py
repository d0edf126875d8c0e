"""Code that nobody vouches for: what it tries, and what it gets."""

import sys
import textwrap
import time

import container_kit as ck

TRICKS = {
    "fork bomb": """
        while True:
            try:
                os.fork()
            except OSError as err:
                if os.getpid() == 1:
                    sys.exit(f"fork: {err.strerror}")""",
    "memory bomb": "hoard = b'x' * (1 << 30)",
    "disk filler": "with open('/tmp/fill', 'wb', 0) as file:\n    while True: file.write(b'x' * (1 << 20))",
    "output flood": "while True: os.write(1, b'x' * 65536)",
    "timeout dodger": """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork() == 0:
            os.setsid()
        time.sleep(3600)""",
    "network caller": "socket.create_connection(('192.0.2.1', 80), timeout=2)",
    "kernel's crypto sockets": "socket.socket(38, socket.SOCK_SEQPACKET)",
    "host's passwords": "open('/etc/shadow').read()",
    "kernel's memory": "open('/proc/kcore', 'rb').read(64) or sys.exit('nothing to read')",
    "host's core pattern": "open('/proc/sys/kernel/core_pattern', 'w').write('|/tmp/evil')",
    "reboot by sysrq": "open('/proc/sysrq-trigger', 'w').write('b')",
    "mount": "call('mount', b'none', b'/tmp', b'tmpfs', 0, None)",
    "a namespace of its own": "call('unshare', 0x10000000)",
    "the host's disk": "os.mknod('/tmp/disk', 0o60666, os.makedev(8, 0))",
    "another user's rights": "os.setuid(1)",
    "another program": "open(os.path.realpath('/bin/sh'), 'r+b')",
}
NEEDED = {"memory bomb": {"memory"}, "fork bomb": {"pids", "userns"}}  # any one of these holds it
TOOLS = """
import ctypes, os, signal, socket, sys, time
def call(name, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
"""


def outcome(result: ck.Completed[str]) -> str:
    """Say in a few words how it ended."""
    if result.oom_killed:
        return "ended: out of its memory"
    if result.timed_out:
        return "ended: out of its time" + (", output cut" if result.truncated else "")
    said = result.stderr.strip().splitlines()
    return said[-1] if said else "it worked"


def main(waived: list[str]) -> int:
    """Try all of it, each in a container of its own; say as arguments what this host may lack: memory, pids, userns."""
    profile = ck.Security.untrusted(memory="64m", pids=32, scratch="16m", time_limit=10, waive=waived)  # type: ignore[arg-type]  # it checks the words
    image = ck.Image.host(include=[sys.prefix])
    for name, code in TRICKS.items():
        if name in NEEDED and NEEDED[name] <= set(waived):
            continue  # nothing would hold it
        began = time.monotonic()
        program = [sys.executable, "-c", TOOLS + textwrap.dedent(code)]
        try:
            result = ck.run(image, program, text=True, security=profile, max_output=1 << 20)
        except ck.errors.UnsupportedHostError as err:
            print(err)
            break
        print(f"{name:<24}{outcome(result):<62}{time.monotonic() - began:5.2f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
