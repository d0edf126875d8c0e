#!/usr/bin/env python3
"""run.py [--no-skips] [PYTEST ARGUMENT…]: runs the whole suite in every way this machine allows and adds it up.

    root      everything, as root
    user      integration, e2e, security and faults, as a user with subordinate ids and a delegated cgroup
    plain     the same as a user with one id only
    guest     what is marked `guest` or `smoke`, in a virtual machine that has nothing but cgroup v2
    full      what is marked `guest_full`, in one that has all of it, and is emulated: slow

Some run beside others, and what they say is shown when each is done. Not as root, only what the
present user can do is run. The last line is "N passed, N failed, N skipped".
"""

from __future__ import annotations

import collections
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
HOST = CHECKOUT / "tests" / "host"
GUEST = str(CHECKOUT / "tests" / "cgroup2-vm" / "run")
PYTEST = [sys.executable, "-B", "-m", "pytest", "-q", "--no-header", "--durations=8", "-p", "no:cacheprovider"]
STORIES = ["tests/integration", "tests/e2e", "tests/security", "tests/faults"]
LONGEST = 1800  # seconds of one run, on a slow machine
LONGEST_EMULATED = 600
NOTHING_SELECTED = 5  # pytest's exit status
NO_GUEST = 125  # cgroup2-vm/run: the guest did not run the command


class Run:
    """One pytest process, its report and what it counted."""

    aside = False  # beside another run, and quiet until it is done

    def __init__(self, name: str, what: str, prefix: list[str], arguments: list[str]) -> None:
        """Describe the run: `prefix` is the command that leads to pytest's place."""
        self.name = name
        self.what = what
        self.prefix = prefix
        self.arguments = arguments
        self.counts: collections.Counter[str] = collections.Counter()
        self.skips: collections.Counter[str] = collections.Counter()
        self.failures: list[str] = []

    def obstacle(self) -> str:
        """Return why this machine cannot do the run; mostly nothing, and then it does."""
        return ""

    def execute(self, place: Path) -> None:
        """Run pytest and read its report; what cannot be run counts as one skip."""
        if reason := self.obstacle():
            print(f"\n── {self.name}: not here: {reason}", flush=True)
            self._skip(reason)
            return
        report = place / self.name / "report.xml"
        report.parent.mkdir()
        report.parent.chmod(0o777)  # the report is written by whoever runs the tests
        title = f"\n── {self.name}: {self.what}"
        if not self.aside:
            print(title, flush=True)
        prefix = [part.replace("{report}", str(report.parent)) for part in self.prefix]
        began = time.monotonic()
        command = [*prefix, *PYTEST, f"--junit-xml={report}", *self.arguments]
        said = place / f"{self.name}.txt"
        status = _call(command, said if self.aside else None)
        if status == NO_GUEST:  # an emulator may fail while it boots, which says nothing about the tests
            status = _call(command, said)
        if self.aside:
            print(f"{title}\n{said.read_text(errors='replace')}", flush=True)
        self._read(report)
        if status not in (0, 1, NOTHING_SELECTED) or (status == 1 and not self.counts):
            self._fail(f"pytest ended with status {status}: {_last_words(said)}")
        print(f"   {self.name} took {time.monotonic() - began:.0f} s", flush=True)

    def _read(self, report: Path) -> None:
        if not report.exists():
            self._fail("pytest wrote no report")
            return
        for case in ET.parse(report).iter("testcase"):  # noqa: S314  # written by our own pytest
            outcome, reason = _outcome(case)
            self.counts[outcome] += 1
            if outcome == "skipped":
                self.skips[reason] += 1
            elif outcome == "failed":
                self.failures.append(f"{case.get('classname', '')}::{case.get('name')}")

    def _skip(self, reason: str) -> None:
        self.counts["skipped"] += 1
        self.skips[reason] += 1
        if "--no-skips" in self.arguments:
            self._fail(f"skipped, but --no-skips is set: {reason}")

    def _fail(self, reason: str) -> None:
        self.counts["failed"] += 1
        self.failures.append(reason)


class AsideRun(Run):
    """A run beside the one that comes after it."""

    aside = True


class EmulatedRun(AsideRun):
    """A run in the emulated guest, whose engine is installed on first use."""

    def obstacle(self) -> str:
        """Return why there is no such guest here: it is booted to see."""
        command = [GUEST, "--timeout", "120", "--", "true"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        return "" if done.returncode == 0 else f"no emulated guest: {' '.join(done.stderr.split()[:80])}"


def _call(command: list[str], said: Path | None) -> int:
    """Run pytest, with its output in a file or shown; one that hangs is ended, so that the sum is still told."""
    with ExitStack() as stack:
        output = None if said is None else stack.enter_context(said.open("wb"))
        process = stack.enter_context(
            subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        )
        try:
            return process.wait(LONGEST)
        except subprocess.TimeoutExpired:
            print(f"   {command[0]}: not done after {LONGEST} s: ended", flush=True)
            process.terminate()
            return process.wait()


def _last_words(said: Path) -> str:
    """Return the end of what a run said; the summary may be all that is kept of it."""
    return " ".join(said.read_text(errors="replace").split()[-80:]) if said.exists() else ""


def _outcome(case: ET.Element) -> tuple[str, str]:
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed", ""
    skipped = case.find("skipped")
    if skipped is not None:
        return "skipped", skipped.get("message", "")
    return "passed", ""


def plan_runs(arguments: list[str]) -> list[Run]:
    """Return what this machine and this user allow."""
    if os.geteuid() != 0:
        print("not root: only the present user's run; the others need root")
        return [Run("own", "everything the present user can do", [], arguments)]
    ordinary = ["-m", "not guest and not guest_full and not soak"]
    as_user = [sys.executable, str(HOST / "as_user.py")]
    guest = [GUEST, "--uml", "--writable", "{report}", "--"]
    full = [GUEST, "--timeout", str(LONGEST_EMULATED), "--writable", "{report}", "--"]
    patient = ["-o", "faulthandler_timeout=0"]  # the guest has a time limit of its own
    return [
        AsideRun("guest", "nothing but cgroup v2", guest, ["-m", "guest or smoke", *STORIES, *arguments]),
        EmulatedRun("full", "all of cgroup v2", full, ["-m", "guest_full", *patient, *for_emulation(), *arguments]),
        Run("root", "everything, as root", [], [*ordinary, *arguments]),
        AsideRun("plain", "a user with one id", [*as_user, "ckplain"], [*ordinary, *STORIES, *arguments]),
        Run("user", "a user with subordinate ids", [*as_user, "cktest"], [*ordinary, *STORIES, *arguments]),
    ]


def for_emulation() -> list[str]:
    """Return the files with tests for the emulated guest: there, even reading the others takes long."""
    files = (CHECKOUT / "tests").rglob("test_*.py")
    return sorted(str(file.relative_to(CHECKOUT)) for file in files if "mark.guest_full" in file.read_text())


def prepare() -> None:
    """Install what the tests need, make their users and a real image; only root can."""
    if os.geteuid() == 0:
        subprocess.run([HOST / "install", "tests"], check=True)
        subprocess.run([HOST / "make-users"], check=True)
        subprocess.run([CHECKOUT / "tests" / "debian_image.py", CHECKOUT / "build" / "debian-image"], check=True)


def summarise(runs: list[Run]) -> int:
    """Print the sums; return the exit status."""
    total: collections.Counter[str] = collections.Counter()
    print("\n── summary")
    for run in runs:
        total += run.counts
        print(f"   {run.name:6}", ", ".join(f"{run.counts[key]} {key}" for key in ("passed", "failed", "skipped")))
    for run in runs:
        for reason, count in run.skips.most_common():
            print(f"   {count} skipped ({run.name}): {reason}")
    for run in runs:
        for failure in run.failures:
            print(f"   FAILED ({run.name}): {failure}")
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    return 1 if total["failed"] or not total["passed"] else 0


def main() -> int:
    """Run everything."""
    prepare()
    runs = plan_runs(sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="ckrun", dir="/var/tmp") as place:
        Path(place).chmod(0o755)
        execute(runs, Path(place))
    return summarise(runs)


def execute(runs: list[Run], place: Path) -> None:
    """Do one run after the other, those aside together with the next that is not."""
    beside: list[Future[None]] = []
    with ThreadPoolExecutor(1) as pool:
        for run in runs:
            if run.aside:
                beside.append(pool.submit(run.execute, place))
                continue
            run.execute(place)
            while beside:
                beside.pop().result()


if __name__ == "__main__":
    sys.exit(main())
