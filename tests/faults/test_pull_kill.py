"""Pulls that are killed, interrupted or raced: never a broken image, and what had come is not fetched again.

Rows F3 and F19 of the fault model. The registry kills the process that pulls, before the byte of a certain number or
so long after the last one; or it lets eight processes have the image at once.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import container_kit as ck
from container_kit._images.pull import pull
from container_kit._spec.digest import Digest
from container_kit._store.collect import collect
from tests.conftest import LedgerWatch
from tests.e2e.interpreters import Interpreters, first_line
from tests.e2e.patience import eventually
from tests.fault_registry import FaultRegistry, Reply, Seen
from tests.image_places import Place, open_client
from tests.small_images import digest_of, make_image, make_tar, noise

PATIENCE = 30.0
LAYERS = [
    make_tar({f"{number}/": b"", f"{number}/data": noise(size, number)})
    for number, size in enumerate([3_000_000, 40_000, 1_000_000])
]
IMAGE = make_image(*LAYERS)
LARGEST = IMAGE.layers[0]
SIZE = len(IMAGE.blobs[LARGEST])
SCRIPT = """
    from container_kit._images.pull import pull
    from container_kit._spec.reference import parse_reference
    from tests.image_places import open_client

    with open_client() as client:
        print(os.getpid(), flush=True)
        sys.stdin.readline()
        entry = pull(engine.site.images, client, parse_reference("{name}"))
        print("pulled", entry.descriptor.digest, flush=True)
"""


@pytest.fixture
def registry(ledger: LedgerWatch) -> Iterator[FaultRegistry]:
    """Give a registry with one image, `box:1`."""
    with FaultRegistry() as registry:
        for data in IMAGE.blobs.values():
            registry.add_blob(data)
        registry.add_manifest("box", "1", IMAGE.data, IMAGE.media_type)
        yield registry


@pytest.fixture
def place(engine: ck.Engine) -> Iterator[Place]:
    """Give the store that all processes of a test share, and a client of this one."""
    with open_client() as client:
        yield Place(store=engine.site.images, client=client)


def name_at(registry: FaultRegistry) -> str:
    """Return the name of the image."""
    return f"{registry.authority}/box:1"


class Puller:
    """A process that pulls the image when it is told to."""

    def __init__(self, interpreters: Interpreters, registry: FaultRegistry) -> None:
        self.process: subprocess.Popen[str] = interpreters.start(SCRIPT.format(name=name_at(registry)))
        self.pid = int(first_line(self.process))

    def begin(self) -> None:
        """Let it pull."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """Kill it, and return when it is gone."""
        os.kill(self.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)

    def outcome(self) -> str:
        """Wait for its end, and return what it said."""
        out, _ = self.process.communicate(timeout=PATIENCE)
        return out.strip()


def check_no_broken_image(place: Place, registry: FaultRegistry) -> None:
    """What has a name has all its content; what is in the store is what its name says."""
    blobs = place.blobs()
    names = place.names()
    assert names in ([], [name_at(registry)])
    if names:
        assert {*IMAGE.blobs, IMAGE.digest} == blobs
        assert all(place.store.layers.find(Digest(digest_of(tar))) for tar in LAYERS)


def check_image(place: Place, registry: FaultRegistry) -> None:
    """The image is there, and nothing else once what the dead left is swept."""
    collect(place.store)
    assert [name_at(registry)] == place.names()
    assert {*IMAGE.blobs, IMAGE.digest} == place.blobs()
    assert [] == place.partials()
    assert sorted(f"sha256-{digest_of(tar).partition(':')[2]}" for tar in LAYERS) == place.layers()
    assert [(0,)] == place.store.database.query("SELECT count(*) FROM leases")
    for number, tar in enumerate(LAYERS):
        assert place.file(digest_of(tar), f"{number}/data") in tar


def stored_bytes(place: Place) -> dict[str, int]:
    """Return how much of each layer is in the store, complete or not."""
    found: dict[str, int] = {}
    for digest in IMAGE.layers:
        path = Path(place.store.home.ingest, f"{digest.replace(':', '-')}.partial")
        blob = Path(place.store.layout.blob_path(Digest(digest)))
        found[digest] = path.stat().st_size if path.exists() else blob.stat().st_size if blob.exists() else 0
    return found


def pull_again(place: Place, registry: FaultRegistry) -> None:
    """Pull; only what the store did not have is asked for."""
    had = stored_bytes(place)
    before = len(registry.requests)

    pull(place.store, place.client, place.reference(name_at(registry)))

    for seen in registry.requests[before:]:
        digest = seen.path.rpartition("/")[2]
        if digest in had:
            assert had[digest] < len(IMAGE.blobs[digest])
            assert (f"bytes={had[digest]}-" if had[digest] else "") == seen.header("Range")
    check_image(place, registry)


# ── killed ───────────────────────────────────────────────────────────────────────────────────────


BYTES = [
    ("HEAD", "/manifests/1", 0),
    ("GET", f"/manifests/{IMAGE.digest}", 0),
    ("GET", f"/blobs/{IMAGE.config}", 0),
    *(("GET", f"/blobs/{LARGEST}", at) for at in (0, 1, 65_536, 500_000, 1_000_000, 2_000_000, 2_900_000, SIZE)),
    *(("GET", f"/blobs/{IMAGE.layers[2]}", at) for at in (0, 100_000, 900_000)),
]


@pytest.mark.parametrize(("method", "path", "at"), BYTES, ids=lambda value: str(value)[:14])
def test_killed_before_a_byte_it_leaves_what_the_next_pull_goes_on_with(
    registry: FaultRegistry, place: Place, interpreters: Interpreters, method: str, path: str, at: int
) -> None:
    """No name, no wrong blob; the next pull asks for the rest only."""
    puller = Puller(interpreters, registry)
    registry.script(method, path, at_reply(at, puller.kill))
    puller.begin()

    puller.outcome()

    check_no_broken_image(place, registry)
    assert [] == place.names() or at == SIZE
    pull_again(place, registry)


def at_reply(at: int, act: Callable[[], object]) -> Callable[[Seen, Reply], Reply]:
    """Return a step that acts before the byte of a number is sent, and sends nothing more; 0: before the answer."""

    def step(seen: Seen, reply: Reply) -> Reply:
        if at == 0:
            act()
        return reply.evolve(at_byte=(at, act), end_at=at) if at else reply

    return step


@pytest.mark.parametrize("milliseconds", [0, 1, 2, 4, 7, 11, 16, 22, 30, 40, 55, 75, 100, 150])
def test_killed_some_time_after_the_last_byte_it_leaves_nothing_broken(
    registry: FaultRegistry, place: Place, interpreters: Interpreters, milliseconds: int
) -> None:
    """While it verifies, unpacks, records, or has just ended: the image is there as a whole, or not."""
    puller = Puller(interpreters, registry)
    never = threading.Event()

    def blow() -> None:
        never.wait(milliseconds / 1000)
        puller.process.kill()  # nothing happens when it has ended

    blows = threading.Thread(target=blow)
    registry.script("GET", f"/blobs/{LARGEST}", lambda _, reply: reply.evolve(at_byte=(SIZE, blows.start)))
    puller.begin()

    puller.outcome()
    blows.join()

    check_no_broken_image(place, registry)
    pull_again(place, registry)


def test_killed_again_and_again_it_gets_there(
    registry: FaultRegistry, place: Place, interpreters: Interpreters
) -> None:
    """Each process brings a part; together they ask for little more than the layer has."""
    sent: list[int] = []
    for _ in range(6):
        puller = Puller(interpreters, registry)

        def step(seen: Seen, reply: Reply, puller: Puller = puller) -> Reply:
            assert isinstance(reply.body, bytes)
            at = min(500_000, len(reply.body))
            sent.append(at)
            return reply.evolve(at_byte=(at, puller.kill), end_at=at)

        registry.script("GET", f"/blobs/{LARGEST}", step)
        puller.begin()
        puller.outcome()
        check_no_broken_image(place, registry)

    pull_again(place, registry)
    assert 6 == len(sent)


# ── interrupted ──────────────────────────────────────────────────────────────────────────────────


INTERRUPTED = """
    from container_kit._images.pull import pull
    from container_kit._spec.reference import parse_reference
    from tests.image_places import open_client

    store = engine.site.images
    with open_client() as client:
        print(os.getpid(), flush=True)
        sys.stdin.readline()
        try:
            try:
                pull(store, client, parse_reference("{name}"))
            finally:
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # who is impatient may go on being so
        except KeyboardInterrupt:
            threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
            leases = store.database.query("SELECT count(*) FROM leases")
            print("interrupted", threads, store.layout.entries(), leases, flush=True)
        sys.stdin.readline()
        print("pulled", pull(store, client, parse_reference("{name}")).descriptor.digest, flush=True)
"""


@pytest.mark.parametrize("signals", [1, 5])
def test_an_interrupt_leaves_nothing_running_and_nothing_locked(
    registry: FaultRegistry, place: Place, interpreters: Interpreters, signals: int
) -> None:
    """Ctrl-C, once or by an impatient user, while the registry stalls; then the same process pulls again."""
    process = interpreters.start(INTERRUPTED.format(name=name_at(registry)))
    pid = int(first_line(process))
    stalled = threading.Event()
    registry.script(
        "GET", f"/blobs/{LARGEST}", lambda _, reply: reply.evolve(at_byte=(500_000, stalled.set), stall_at=500_000)
    )
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert stalled.wait(PATIENCE)

    for _ in range(signals):
        os.kill(pid, signal.SIGINT)

    assert "interrupted [] () [(0,)]" == first_line(process)
    assert [] == [name for name in place.layers() if name.startswith(".")]
    had = stored_bytes(place)
    out, _ = process.communicate("\n", timeout=PATIENCE)
    assert f"pulled {IMAGE.digest}" == out.strip()
    if had[LARGEST]:
        assert f"bytes={had[LARGEST]}-" == registry.asked("GET", LARGEST)[-1].header("Range")


def test_an_interrupt_ends_waiting_for_another_process(
    registry: FaultRegistry, place: Place, interpreters: Interpreters
) -> None:
    """Another one has the work and does not get on: who waits for it can be interrupted."""
    holder = Puller(interpreters, registry)
    stalled = threading.Event()
    registry.script(
        "GET",
        f"/blobs/{LARGEST}",
        lambda _, reply: reply.evolve(at_byte=(500_000, stalled.set), stall_at=500_000),
    )
    holder.begin()
    assert stalled.wait(PATIENCE)
    waiting = interpreters.start(INTERRUPTED.format(name=name_at(registry)))
    pid = int(first_line(waiting))
    assert waiting.stdin is not None
    waiting.stdin.write("\n")
    waiting.stdin.flush()
    eventually(lambda: len(os.listdir(f"/proc/{pid}/task")) > 1, "threads that download")
    began = time.monotonic()

    os.kill(pid, signal.SIGINT)

    assert "interrupted []" == first_line(waiting)[:14]
    assert time.monotonic() - began < 9  # who stalls is overtaken after ten seconds
    holder.kill()
    out, _ = waiting.communicate("\n", timeout=PATIENCE)
    assert f"pulled {IMAGE.digest}" == out.strip()


# ── several at once ──────────────────────────────────────────────────────────────────────────────


def test_eight_processes_fetch_each_blob_once(
    registry: FaultRegistry, place: Place, interpreters: Interpreters
) -> None:
    """They share the work, and each has the image."""
    pullers = [Puller(interpreters, registry) for _ in range(8)]

    for puller in pullers:
        puller.begin()

    assert {f"pulled {IMAGE.digest}"} == {puller.outcome() for puller in pullers}
    assert {1} == set(Counter(seen.path for seen in registry.asked("GET", "/blobs/")).values())
    check_image(place, registry)


def test_eight_threads_fetch_each_blob_once(registry: FaultRegistry, place: Place) -> None:
    """What processes do for each other threads do as well."""
    digests: list[str] = []

    def work() -> None:
        digests.append(pull(place.store, place.client, place.reference(name_at(registry))).descriptor.digest)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [IMAGE.digest] * 8 == digests
    assert {1} == set(Counter(seen.path for seen in registry.asked("GET", "/blobs/")).values())
    check_image(place, registry)


def test_one_that_dies_holding_the_work_is_survived(
    registry: FaultRegistry, place: Place, interpreters: Interpreters
) -> None:
    """The kernel releases its lock, and another one goes on where it was."""
    first, *others = [Puller(interpreters, registry) for _ in range(4)]
    begun, may_die = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        may_die.wait(PATIENCE)
        first.kill()

    registry.script(
        "GET", f"/blobs/{LARGEST}", lambda _, reply: reply.evolve(at_byte=(1_000_000, hold), end_at=1_000_000)
    )
    first.begin()
    assert begun.wait(PATIENCE)
    for puller in others:
        puller.begin()
    eventually(lambda: stored_bytes(place)[LARGEST] > 0, "something that came")
    may_die.set()

    assert {f"pulled {IMAGE.digest}"} == {puller.outcome() for puller in others}
    assert 2 == len(registry.asked("GET", LARGEST))
    assert registry.asked("GET", LARGEST)[1].header("Range").startswith("bytes=")
    check_image(place, registry)


def test_what_has_come_is_not_collected(registry: FaultRegistry, place: Place) -> None:
    """While the last layer comes, somebody prunes: what came before has no name yet, and stays."""
    others = [digest for digest in IMAGE.layers if digest != LARGEST]

    def prune() -> None:
        eventually(lambda: all(place.store.layout.has(Digest(digest)) for digest in others), "the other layers")
        eventually(lambda: place.store.layers.find(Digest(digest_of(LAYERS[1]))) is not None, "a layer unpacked")
        collect(place.store)

    registry.script("GET", f"/blobs/{LARGEST}", lambda _, reply: reply.evolve(at_byte=(1_000_000, prune)))

    pull(place.store, place.client, place.reference(name_at(registry)))

    check_image(place, registry)
    assert {1} == set(Counter(seen.path for seen in registry.asked("GET", "/blobs/")).values())
