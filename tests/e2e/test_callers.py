"""Story: callers of every kind: careless, forked, or in odd circumstances."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import container_kit as ck
from tests.e2e.interpreters import Interpreters

LIFE = """
assert ck.run(image, ["payload", "exit", "3"], engine=engine).returncode == 3
with ck.start(image, ["payload", "sleep", "1000"], engine=engine) as box:
    assert box.exec(["payload", "echo", "hi"]).stdout == b"hi\\n"
    with box.spawn(["payload", "cat"], stdin=ck.PIPE) as process:
        assert process.communicate(b"data") == (b"data", b"")
    box.stop(timeout=0)
    assert box.exit_code == 137
assert ck.Container.list(all=True, engine=engine) == []
"""


@pytest.mark.parametrize("disposition", ["SIG_IGN", "lambda *_: None"])
def test_the_callers_handling_of_sigchld_does_not_matter(interpreters: Interpreters, disposition: str) -> None:
    """Exit codes do not come from waiting for children, which an ignored SIGCHLD makes impossible (wait(2))."""
    handler = disposition if disposition.startswith("lambda") else f"signal.{disposition}"

    output = interpreters.run(f"signal.signal(signal.SIGCHLD, {handler})\n{LIFE}\nprint('fine')")

    assert "fine\n" == output


def test_what_the_caller_ignores_is_not_ignored_inside(interpreters: Interpreters) -> None:
    """Python ignores SIGPIPE; an ignored signal stays ignored across exec, unless somebody sees to it."""
    output = interpreters.run(
        """
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
status = ["payload", "cat", "/proc/self/status"]
outcomes = [ck.run(image, status, text=True, init=init, engine=engine) for init in (False, True)]
with ck.start(image, ["payload", "sleep", "1000"], engine=engine) as box:
    outcomes.append(box.exec(status, text=True))
masks = [line.split()[1] for outcome in outcomes for line in outcome.stdout.splitlines() if line.startswith("SigIgn")]
print([int(mask, 16) for mask in masks])
"""
    )

    assert "[0, 0, 0]\n" == output


def test_the_default_timeout_of_sockets_does_not_matter(interpreters: Interpreters, payload_rootfs: Path) -> None:
    """A caller's socket.setdefaulttimeout() is about its own sockets."""
    output = interpreters.run(
        f"""
import socket
socket.setdefaulttimeout(0.0)
{LIFE}
made = ck.Image.from_directory({str(payload_rootfs)!r}, "made:1", engine=engine)
print(ck.run(made, ["payload", "echo", "hi"], text=True, engine=engine).stdout, end="")
"""
    )

    assert "hi\n" == output


def test_closed_standard_streams_do_not_confuse(interpreters: Interpreters, tmp_path: Path) -> None:
    """Our own descriptors then have the numbers 0 to 2, which must not become the container's."""
    interpreters.run(
        f"""
result = os.open({str(tmp_path / "result")!r}, os.O_WRONLY | os.O_CREAT)
os.dup2(result, 100)
os.close(result)
engine.close()
for fd in (0, 1, 2):
    os.close(fd)
engine = ck.Engine(root=engine.root, runtime={str(tmp_path / "r")!r})
{LIFE}
out = ck.run(image, ["payload", "interleave", "2"], input="x", engine=engine)
assert (out.stdout, out.stderr) == (b"out 0\\nout 1\\n", b"err 0\\nerr 1\\n")
fds = ck.run(image, ["payload", "fds"], engine=engine, text=True).stdout
assert [line.split()[0] for line in fds.splitlines()] == ["0", "1", "2"], fds
os.write(100, b"fine")
"""
    )

    assert "fine" == (tmp_path / "result").read_text()


@pytest.mark.parametrize("umask", [0, 0o777], ids=["0000", "0777"])
def test_the_callers_umask_does_not_matter(interpreters: Interpreters, tmp_path: Path, umask: int) -> None:
    """Neither for what is made on disk nor inside, nor does the caller's change."""
    output = interpreters.run(
        f"""
os.umask({umask})
engine = ck.Engine(root={str(tmp_path / "fresh")!r}, runtime={str(tmp_path / "r")!r})
{LIFE}
print(ck.run(image, ["payload", "umask"], engine=engine, text=True).stdout.strip())
print(ck.run(image, ["payload", "stat", "/dev", "/dev/shm"], engine=engine, text=True).stdout)
assert os.umask(0) == {umask}
engine.close()
"""
    )

    words = output.split()
    assert "0022" == words[0]
    assert ["directory", "0755"] == words[1:3]
    assert "1777" == words[9]
    for place in ("fresh", "fresh/state.sqlite", "fresh/containers"):
        mode = (tmp_path / place).stat().st_mode
        assert not mode & 0o022, f"{place} may be written by others"
        assert mode & 0o600 == 0o600, f"{place} cannot be used by its owner"


@pytest.mark.needs_subids
def test_a_strict_umask_does_not_hide_the_host_image_from_its_users(interpreters: Interpreters, tmp_path: Path) -> None:
    """What the library makes for containers can be read by whoever they run as."""
    output = interpreters.run(
        f"""
os.umask(0o077)
engine = ck.Engine(root={str(tmp_path / "fresh")!r}, runtime={str(tmp_path / "r")!r})
script = "find / -xdev -path /proc -prune -o -type d ! -executable ! -path /root -print 2>/dev/null | grep -v ^/sys"
print(ck.run(host, ck.shell(script), user=1000, engine=engine, text=True).stdout.split())
print(ck.run(image, ["payload", "open", "r", "/etc/hosts"], user=1000, engine=engine, text=True).stdout.strip())
engine.close()
"""
    )

    assert ["[]", "ok"] == output.splitlines()


def test_a_forked_child_uses_the_engine_it_inherited(
    engine: ck.Engine, image: ck.Image, interpreters: Interpreters
) -> None:
    """The child has containers of its own; ending it ends those and not its parent's."""
    output = interpreters.run(
        """
        import multiprocessing

        def child(name):
            assert ck.run(image, ["payload", "exit", "3"], engine=engine).returncode == 3
            assert ck.Container.get("parents", engine=engine).exec(["payload", "true"]).returncode == 0
            ck.start(image, ["payload", "sleep", "1000"], name=name, engine=engine)
            engine.close()

        box = ck.start(image, ["payload", "sleep", "1000"], name="parents", engine=engine)
        fork = multiprocessing.get_context("fork")
        children = [fork.Process(target=child, args=(f"child{n}",)) for n in range(3)]
        for process in children:
            process.start()
        for process in children:
            process.join(60)
        print([process.exitcode for process in children])
        print(box.status, box.exec(["payload", "echo", "alive"], text=True).stdout.strip())
        print([one.name for one in ck.Container.list(all=True, engine=engine)])
        """
    )

    assert ["[0, 0, 0]", "running alive", "['parents']"] == output.splitlines()


def test_a_pool_of_forked_workers_runs_containers(interpreters: Interpreters) -> None:
    """What test runners and servers do."""
    output = interpreters.run(
        """
        import multiprocessing

        def work(n):
            return ck.run(image, ["payload", "echo", str(n)], engine=engine, text=True).stdout.strip()

        with multiprocessing.get_context("fork").Pool(4) as pool:
            print(pool.map(work, range(12)))
        """
    )

    assert f"{[str(n) for n in range(12)]}\n" == output


def test_a_caller_whose_directory_is_gone(interpreters: Interpreters, tmp_path: Path) -> None:
    """Nothing depends on the working directory."""
    place = tmp_path / "gone"
    place.mkdir()

    output = interpreters.run(f"os.chdir({str(place)!r})\nos.rmdir({str(place)!r})\n{LIFE}\nprint('fine')")

    assert "fine\n" == output


def test_a_caller_with_another_locale(interpreters: Interpreters) -> None:
    """Text is UTF-8 whatever the locale says."""
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

    output = interpreters.run(
        """
        word = "gr\\u00fc\\u00dfe"
        result = ck.run(image, ["payload", "echo", word], env={"W": word}, input=word, engine=engine, text=True)
        print(result.stdout == word + "\\n")
        """,
        env=environment,
    )

    assert "True\n" == output


def test_interrupting_a_run_leaves_nothing(engine: ck.Engine, interpreters: Interpreters) -> None:
    """Ctrl-C in the middle of a blocking call: KeyboardInterrupt, and the container is gone."""
    output = interpreters.run(
        """
        from tests.e2e.patience import eventually

        try:
            threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
            ck.run(image, ["payload", "fork-tree", "2"], engine=engine)
        except KeyboardInterrupt:
            print("interrupted", ck.Container.list(all=True, engine=engine))
        box = ck.start(image, ["payload", "sleep", "1000"], engine=engine)
        for call in (box.wait, lambda: box.exec(["payload", "sleep", "1000"]), lambda: list(box.logs(follow=True))):
            try:
                threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
                call()
            except KeyboardInterrupt:
                eventually(lambda: len(box.top()) == 1, "the interrupted command is gone")
                print(box.status)
        """
    )

    assert ["interrupted []", *["running"] * 3] == output.splitlines()
