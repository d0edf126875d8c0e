"""What registries.conf, daemon.json and certs.d say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from container_kit._registry.config_files import RegistryFiles, find_registry_files, load_registries
from container_kit._spec.reference import Reference
from container_kit._spec.registries import Registries
from container_kit.errors import InvalidSpecError, RegistryError

CONF = """
unqualified-search-registries = ["quay.test", "docker.io"]
short-name-mode = "enforcing"

[[registry]]
location = "plain.test:5000"
insecure = true

[[registry]]
prefix = "docker.io"
location = "docker.io"
[[registry.mirror]]
location = "mirror.test:5000/hub"
insecure = true
[[registry.mirror]]
location = "second.test"
pull-from-mirror = "digest-only"

[[registry]]
prefix = "moved.test/team"
location = "new.test/old/team"

[[registry]]
prefix = "*.bad.test"
blocked = true

[[registry]]
prefix = "pinned.test"
mirror-by-digest-only = true
[[registry.mirror]]
location = "third.test"
"""


def load(tmp_path: Path, conf: str = "", daemon: str = "", drop_ins: dict[str, str] | None = None) -> Registries:
    """Load these files."""
    (tmp_path / "registries.conf").write_text(conf)
    (tmp_path / "daemon.json").write_text(daemon)
    (tmp_path / "conf.d").mkdir()
    for name, text in (drop_ins or {}).items():
        (tmp_path / "conf.d" / name).write_text(text)
    files = RegistryFiles(
        registries_conf=str(tmp_path / "registries.conf"),
        drop_ins=(str(tmp_path / "conf.d"), str(tmp_path / "missing.d")),
        daemon_json=(str(tmp_path / "daemon.json"), str(tmp_path / "missing.json")),
        certificates=(str(tmp_path / "certs.d"),),
    )
    return load_registries(files)


def ask(registries: Registries, registry: str, repository: str, tag: str | None = "1") -> list[str]:
    """Return whom would be asked, `url repository` with ! for insecure ones."""
    reference = Reference(registry=registry, repository=repository, tag=tag, digest=None)
    if tag is None:
        from container_kit._spec.digest import digest_of

        reference = reference.with_digest(digest_of(b""))
    pairs = registries.endpoints_for(reference)
    return [f"{'!' if endpoint.insecure else ''}{endpoint.url} {repository}" for endpoint, repository in pairs]


def test_registries_conf_is_understood(tmp_path: Path) -> None:
    """Mirrors, locations, insecure and blocked ones, wildcards."""
    registries = load(tmp_path, CONF)

    hub = ["!https://mirror.test:5000 hub/library/debian", "https://registry-1.docker.io library/debian"]
    assert ("quay.test", "docker.io") == registries.search
    assert ["!https://plain.test:5000 a/b"] == ask(registries, "plain.test:5000", "a/b")
    assert hub == ask(registries, "docker.io", "library/debian")
    assert [hub[0], "https://second.test library/debian", hub[1]] == ask(
        registries, "docker.io", "library/debian", None
    )
    assert ["https://new.test old/team/app"] == ask(registries, "moved.test", "team/app")
    assert ["https://moved.test teams/app"] == ask(registries, "moved.test", "teams/app")
    assert ["https://pinned.test a"] == ask(registries, "pinned.test", "a")
    assert ["https://third.test a", "https://pinned.test a"] == ask(registries, "pinned.test", "a", None)
    with pytest.raises(RegistryError, match="blocks"):
        ask(registries, "very.bad.test", "a")
    assert ["https://bad.test a"] == ask(registries, "bad.test", "a")


def test_later_files_replace_what_they_name(tmp_path: Path) -> None:
    """In the order of their names; others in the directory are not read."""
    drop_ins = {
        "20-b.conf": '[[registry]]\nlocation = "plain.test:5000"\ninsecure = false\n',
        "10-a.conf": 'unqualified-search-registries = ["a.test"]\n'
        '[[registry]]\nlocation = "plain.test:5000"\nblocked = true\n',
        "readme": "not TOML",
    }

    registries = load(tmp_path, CONF, drop_ins=drop_ins)

    assert ("a.test",) == registries.search
    assert ["https://plain.test:5000 a"] == ask(registries, "plain.test:5000", "a")


def test_daemon_json_is_understood(tmp_path: Path) -> None:
    """Mirrors are for Docker Hub, insecure ones are hosts and networks."""
    daemon = '{"registry-mirrors": ["https://mirror.test/", "http://plain.test:5000", "https://m.test/proxy"], '
    daemon += '"insecure-registries": ["10.0.0.0/8", "weak.test:5000", "http://old.test"], "debug": true}'

    registries = load(tmp_path, daemon=daemon)

    assert [
        "https://mirror.test library/debian",
        "!http://plain.test:5000 library/debian",
        "https://m.test/proxy library/debian",
        "https://registry-1.docker.io library/debian",
    ] == ask(registries, "docker.io", "library/debian")
    assert ["!https://10.1.2.3:5000 a"] == ask(registries, "10.1.2.3:5000", "a")
    assert ["https://11.1.2.3:5000 a"] == ask(registries, "11.1.2.3:5000", "a")
    assert ["!https://weak.test:5000 a"] == ask(registries, "weak.test:5000", "a")
    assert ["https://weak.test a"] == ask(registries, "weak.test", "a")
    assert ["!https://old.test a"] == ask(registries, "old.test", "a")


def test_authorities_are_found_by_host(tmp_path: Path) -> None:
    """ca.crt, else the first certificate; client certificates are no authority."""
    files = {
        "a.test": ["ca.crt", "aa.crt"],
        "b.test:5000": ["x.crt", "client.cert"],
        "c.test": ["k.key"],
    }
    for host, names in files.items():
        (tmp_path / "certs.d" / host).mkdir(parents=True)
        for name in names:
            (tmp_path / "certs.d" / host / name).write_text("")

    registries = load(tmp_path)

    assert {
        "a.test": f"{tmp_path}/certs.d/a.test/ca.crt",
        "b.test:5000": f"{tmp_path}/certs.d/b.test:5000/x.crt",
    } == dict(registries.ca_files)


def test_nothing_there_is_nothing_said() -> None:
    """No files: Docker Hub and no exceptions."""
    assert Registries() == load_registries(RegistryFiles())


@pytest.mark.parametrize(
    ("conf", "said"),
    [
        ("a = 1\nb = \n", "line 2"),
        ("[registries.search]\nregistries = []\n", "version 1"),
        ('unqualified-search-registries = "a"', "list of strings"),
        ("[[registry]]\ninsecure = true\n", "registry 1 has neither"),
        ('[[registry]]\nlocation = "a"\n[[registry]]\nlocation = "b"\ninsecure = "yes"\n', "registry 2: insecure"),
        ("[[registry]]\nlocation = 5\n", "must be a string"),
        ('[[registry]]\nlocation = "a b"\n', "registry 1"),
        ('[registry]\nlocation = "a"\n', r"\[\[registry\]\]"),
        ('[[registry]]\nlocation = "a"\n[[registry.mirror]]\nlocation = ""\n', "registry 1"),
        ('[[registry]]\nlocation = "a"\n[[registry.mirror]]\nlocation = "b"\npull-from-mirror = "x"\n', "pull-from"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_registries_conf_is_told(tmp_path: Path, conf: str, said: str) -> None:
    """With the file's name and the place in it."""
    with pytest.raises(InvalidSpecError, match=rf"registries\.conf.*{said}"):
        load(tmp_path, conf)


@pytest.mark.parametrize(
    ("daemon", "said"),
    [
        ('{\n"a": }', ":2"),
        ("[]", "object"),
        ('{"registry-mirrors": "x"}', "list of strings"),
        ('{"registry-mirrors": ["ftp://x"]}', "mirror"),
        ('{"insecure-registries": ["10.0.0.0/99"]}', "insecure"),
        ("[" * 100_000, "JSON"),
    ],
)
def test_what_is_wrong_in_daemon_json_is_told(tmp_path: Path, daemon: str, said: str) -> None:
    """As well."""
    with pytest.raises(InvalidSpecError, match=rf"daemon\.json.*{said}"):
        load(tmp_path, daemon=daemon)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A directory in its place, for one."""
    (tmp_path / "x.conf").mkdir()

    with pytest.raises(InvalidSpecError, match=r"x\.conf"):
        load_registries(RegistryFiles(registries_conf=str(tmp_path / "x.conf")))


def test_a_users_own_file_stands_in_place_of_the_systems(tmp_path: Path) -> None:
    """Where it exists; a variable beats both."""
    environ = {"HOME": str(tmp_path)}
    own = tmp_path / ".config" / "containers" / "registries.conf"

    before = find_registry_files(environ)
    own.parent.mkdir(parents=True)
    own.write_text("")
    after = find_registry_files(environ)
    told = find_registry_files({**environ, "CONTAINERS_REGISTRIES_CONF": "/x"})

    found = [files.registries_conf for files in (before, after, told)]
    assert ["/etc/containers/registries.conf", str(own), "/x"] == found
    assert os.path.dirname(str(own)) + "/registries.conf.d" == after.drop_ins[-1]
