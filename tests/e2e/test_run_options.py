"""Story: say how a command runs: environment, user, directory, names, limits."""

from __future__ import annotations

from pathlib import Path

import pytest

import container_kit as ck
from container_kit import errors

RLIMIT_NOFILE = "7"


def variables(output: str) -> dict[str, str]:
    """Read what `payload env` printed."""
    return dict(line.split("=", 1) for line in output.splitlines())


def test_nothing_of_the_callers_environment_is_inherited(
    engine: ck.Engine, image: ck.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container sees what it was given and the few variables every container has."""
    monkeypatch.setenv("CKT_SECRET", "of the caller")

    seen = variables(ck.run(image, ["payload", "env"], env={"MINE": "a=b c"}, engine=engine, text=True).stdout)

    assert "a=b c" == seen["MINE"]
    assert "CKT_SECRET" not in seen
    assert {"PATH", "HOME", "HOSTNAME"} <= seen.keys()


def test_env_may_be_written_as_docker_does(engine: ck.Engine, image: ck.Image) -> None:
    """A sequence of KEY=VALUE is as good as a mapping."""
    seen = ck.run(image, ["payload", "env", "MINE"], env=["MINE=x"], engine=engine, text=True)

    assert "x\n" == seen.stdout


def test_env_files_are_read_and_env_wins(engine: ck.Engine, image: ck.Image, tmp_path: Path) -> None:
    """Later files win over earlier ones, `env` over all; comments and empty lines are skipped."""
    first, second = tmp_path / "first.env", tmp_path / "second.env"
    first.write_text("# comment\n\nA=first\nB=first\nC=first\n")
    second.write_text('B=second\nC=second\nQUOTED="kept"\n')

    output = ck.run(
        image, ["payload", "env"], env_file=[first, second], env={"C": "env"}, engine=engine, text=True
    ).stdout

    seen = variables(output)
    assert ("first", "second", "env", '"kept"') == (seen["A"], seen["B"], seen["C"], seen["QUOTED"])


def test_a_missing_working_directory_is_made(engine: ck.Engine, image: ck.Image) -> None:
    """As Docker does it, parents included."""
    completed = ck.run(image, ["payload", "pwd"], working_dir="/made/for/this", engine=engine)

    assert b"/made/for/this\n" == completed.stdout


def test_the_image_says_where_a_command_starts_unless_the_caller_does(engine: ck.Engine, image: ck.Image) -> None:
    """The caller's directory wins over the image's."""
    image = ck.Image.from_directory(image.name, config=ck.ImageConfig(working_dir="/srv"))

    by_image = ck.run(image, ["payload", "pwd"], engine=engine)
    by_caller = ck.run(image, ["payload", "pwd"], working_dir="/tmp", engine=engine)

    assert (b"/srv\n", b"/tmp\n") == (by_image.stdout, by_caller.stdout)


@pytest.mark.needs_subids
@pytest.mark.parametrize(
    ("user", "expected"),
    [
        (None, "uid=0 euid=0 gid=0 egid=0 groups=0,2000"),
        ("root", "uid=0 euid=0 gid=0 egid=0 groups=0,2000"),
        ("app", "uid=1000 euid=1000 gid=1000 egid=1000 groups=6,29,1000,2000"),
        (1000, "uid=1000 euid=1000 gid=1000 egid=1000 groups=6,29,1000,2000"),
        ("1000", "uid=1000 euid=1000 gid=1000 egid=1000 groups=6,29,1000,2000"),
        ("app:daemon", "uid=1000 euid=1000 gid=1 egid=1 groups=1"),
        ("1001:100", "uid=1001 euid=1001 gid=100 egid=100 groups=100"),
        ("4321:1234", "uid=4321 euid=4321 gid=1234 egid=1234 groups=1234"),
        (4321, "uid=4321 euid=4321 gid=0 egid=0 groups=0"),
    ],
)
def test_a_user_is_found_in_every_form(
    engine: ck.Engine, image: ck.Image, user: str | int | None, expected: str
) -> None:
    """Names and numbers, with and without group, get what /etc/passwd and /etc/group of the image say."""
    completed = ck.run(image, ["payload", "id"], user=user, engine=engine, text=True)

    assert expected == _with_sorted_groups(completed.stdout)


@pytest.mark.needs_subids
def test_supplementary_groups_can_be_added(engine: ck.Engine, image: ck.Image) -> None:
    """Groups by name and number join those of the user."""
    completed = ck.run(image, ["payload", "id"], user="4321:1234", groups=["audio", 77], engine=engine, text=True)

    assert "uid=4321 euid=4321 gid=1234 egid=1234 groups=29,77,1234" == _with_sorted_groups(completed.stdout)


def _with_sorted_groups(line: str) -> str:
    head, _, groups = line.strip().partition("groups=")
    numbers = sorted({int(number) for number in groups.split(",") if number})
    gid = int(head.split(" gid=")[1].split()[0])
    return head + "groups=" + ",".join(str(number) for number in sorted({*numbers, gid}))


def test_an_unknown_user_is_an_error_that_leaves_nothing(engine: ck.Engine, image: ck.Image) -> None:
    """The image has no such name in /etc/passwd."""
    with pytest.raises(errors.InvalidUserError):
        ck.run(image, ["payload", "id"], user="nosuch", engine=engine)

    assert [] == ck.Container.list(all=True, engine=engine)


def test_hostname_and_domainname_are_set(engine: ck.Engine, image: ck.Image) -> None:
    """uname(2) and /etc/hosts agree on the name."""
    box = ck.Container.create(
        image, ["payload", "sleep", "1000"], hostname="web", domainname="example.test", engine=engine
    )
    box.start()

    names = box.exec(["payload", "hostname"], text=True).stdout
    hosts = box.exec(["payload", "cat", "/etc/hosts"], text=True).stdout
    written = box.exec(["payload", "cat", "/etc/hostname"], text=True).stdout

    assert "web example.test\n" == names
    assert any("web" in line.split() for line in hosts.splitlines())
    assert "web\n" == written


def test_the_short_id_is_the_hostname_unless_given(engine: ck.Engine, image: ck.Image) -> None:
    """As Docker does it."""
    box = ck.start(image, ["payload", "sleep", "1000"], engine=engine)

    assert box.short_id == box.exec(["payload", "hostname"], text=True).stdout.split()[0]


def test_extra_hosts_are_in_etc_hosts(engine: ck.Engine, image: ck.Image) -> None:
    """IPv4 and IPv6, after localhost."""
    hosts = {"db": "10.1.2.3", "six": "fd00::7"}

    output = ck.run(image, ["payload", "cat", "/etc/hosts"], extra_hosts=hosts, engine=engine, text=True).stdout

    lines = [line.split() for line in output.splitlines()]
    assert ["10.1.2.3", "db"] in lines
    assert ["fd00::7", "six"] in lines
    assert any(line[:2] == ["127.0.0.1", "localhost"] for line in lines)


@pytest.mark.parametrize(
    "ulimits", [{"nofile": (256, 512)}, [ck.Ulimit("nofile", 256, 512)]], ids=["mapping", "sequence"]
)
def test_ulimits_are_set(
    engine: ck.Engine, image: ck.Image, ulimits: dict[str, int | tuple[int, int]] | list[ck.Ulimit]
) -> None:
    """Soft and hard limit arrive, for the command and for further processes."""
    box = ck.start(image, ["payload", "sleep", "1000"], ulimits=ulimits, engine=engine)

    assert b"256 512\n" == ck.run(image, ["payload", "rlimit", RLIMIT_NOFILE], ulimits=ulimits, engine=engine).stdout
    assert b"256 512\n" == box.exec(["payload", "rlimit", RLIMIT_NOFILE]).stdout


def test_sysctls_of_its_own_namespaces_are_set(engine: ck.Engine, image: ck.Image) -> None:
    """The container has the value, the host keeps its own."""
    ttl = Path("/proc/sys/net/ipv4/ip_default_ttl")
    before = ttl.read_text()

    completed = ck.run(
        image,
        ["payload", "sysctl", "net.ipv4.ip_default_ttl"],
        sysctls={"net.ipv4.ip_default_ttl": "42"},
        engine=engine,
    )

    assert b"42\n" == completed.stdout
    assert before == ttl.read_text()


def test_shared_memory_has_the_size_asked_for(engine: ck.Engine, image: ck.Image) -> None:
    """/dev/shm is bounded; 64 MiB unless said."""
    asked = ck.run(image, ["payload", "mounts"], shm_size="1m", engine=engine, text=True).stdout
    default = ck.run(image, ["payload", "mounts"], engine=engine, text=True).stdout

    assert "size=1024k" in _mount_at(asked, "/dev/shm")
    assert "size=65536k" in _mount_at(default, "/dev/shm")


def _mount_at(mountinfo: str, target: str) -> str:
    return next(line for line in mountinfo.splitlines() if line.split()[4] == target)


def test_labels_are_kept(engine: ck.Engine, image: ck.Image) -> None:
    """Mappings and Docker's KEY=VALUE both become a dict."""
    by_mapping = ck.Container.create(image, ["payload", "true"], labels={"app": "web", "empty": ""}, engine=engine)
    by_words = ck.Container.create(image, ["payload", "true"], labels=["app=web"], engine=engine)

    assert {"app": "web", "empty": ""} == by_mapping.labels
    assert {"app": "web"} == by_words.labels
