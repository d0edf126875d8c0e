"""User namespaces: which ids a container has, and whose its files are on the host (user_namespaces(7))."""

from __future__ import annotations

import os
from pathlib import Path

import container_kit as ck


def map_of(pid: int, kind: str) -> list[list[int]]:
    """Return the rows of a process's id map: first inside, first outside, count."""
    return [[int(word) for word in line.split()] for line in Path(f"/proc/{pid}/{kind}").read_text().splitlines()]


def init_of(box: ck.Container) -> int:
    """Return the pid of a running container's init."""
    assert box.pid is not None
    return box.pid


def test_root_inside_is_the_caller_outside(box: ck.Container) -> None:
    """For root the whole range is the host's own; for others id 0 is their own id."""
    assert [0, os.geteuid()] == map_of(init_of(box), "uid_map")[0][:2]
    assert [0, os.getegid()] == map_of(init_of(box), "gid_map")[0][:2]


def test_the_map_is_what_the_engine_says(engine: ck.Engine, box: ck.Container) -> None:
    """Subordinate ids where there are some, a single one else."""
    expected = [[part.inside, part.outside, part.size] for part in engine.site.id_map.uids]

    assert expected == map_of(init_of(box), "uid_map") or os.geteuid() == 0


def test_a_users_containers_are_in_a_user_namespace_of_its_own(box: ck.Container) -> None:
    """Root's containers share the host's; nobody else's do."""
    same = os.readlink(f"/proc/{init_of(box)}/ns/user") == os.readlink("/proc/self/ns/user")

    assert same == (os.geteuid() == 0)


def test_containers_of_one_engine_share_their_user_namespace(
    engine: ck.Engine, image: ck.Image, box: ck.Container
) -> None:
    """It is made once, since its maps cost more than a container."""
    with ck.start(image, ["payload", "sleep", "1000"], engine=engine) as other:
        first, second = (os.readlink(f"/proc/{init_of(one)}/ns/user") for one in (box, other))

    assert first == second


def test_files_that_root_makes_inside_are_the_callers(engine: ck.Engine, box: ck.Container) -> None:
    """On the host's side, in the upper directory and through a bind mount alike."""
    box.exec(["payload", "write", "/srv/file", "x"], check=True)

    file = Path(engine.site.home.container_dir(box.id), "upper", "srv", "file")

    assert (os.geteuid(), os.getegid()) == (file.stat().st_uid, file.stat().st_gid)


def test_an_id_that_the_namespace_does_not_have_is_refused(engine: ck.Engine, image: ck.Image) -> None:
    """Every id that there is works; the first one beyond is a typed error."""
    last = engine.site.id_map.uids[-1]
    beyond = last.inside + last.size
    if beyond > 2**32 - 2:  # root has them all
        assert 0 == ck.run(image, ["payload", "true"], user=2**32 - 2, engine=engine).returncode
        return

    inside = ck.run(image, ["payload", "id"], user=beyond - 1, text=True, engine=engine)
    refused = refusal(engine, image, beyond)

    assert inside.stdout.startswith(f"uid={beyond - 1} ")
    assert refused.hint


def refusal(engine: ck.Engine, image: ck.Image, user: int) -> ck.errors.InvalidUserError:
    """Return the error of a run as this user."""
    try:
        ck.run(image, ["payload", "true"], user=user, engine=engine)
    except ck.errors.InvalidUserError as error:
        return error
    raise AssertionError(f"uid {user} was accepted")
