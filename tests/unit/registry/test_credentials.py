"""Finding credentials: which file counts, which entry, helpers, and that nothing is shown."""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from container_kit._registry.credentials import Credentials, credential_files
from container_kit._registry.login import Login
from container_kit.errors import AuthenticationError, InvalidSpecError

SECRET = "the-s3cret"


def entry(user: str, password: str = SECRET) -> dict[str, str]:
    """Return what a file has for a login."""
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write(path: Path, **document: object) -> str:
    """Write a file of credentials."""
    path.write_text(json.dumps(document))
    return str(path)


def user_of(credentials: Credentials, registry: str, repository: str = "") -> str | None:
    """Return whose login is found."""
    found = credentials.find(registry, repository)
    return None if found is None else found.username


@pytest.mark.parametrize(
    ("registry", "repository", "user"),
    [
        ("quay.test", "", "host"),
        ("quay.test", "other/app", "host"),
        ("quay.test", "team", "team"),
        ("quay.test", "team/app", "team"),
        ("quay.test", "team/special/x", "special"),
        ("quay.test", "teams/app", "host"),
        ("quay.test:5000", "team/app", None),
        ("sub.quay.test", "", None),
        ("docker.io", "library/debian", "hub"),
        ("index.docker.io", "", "hub"),
        ("registry-1.docker.io", "", "hub"),
        ("old.test", "", "old"),
        ("plain.test", "", "plain"),
        ("empty.test", "", None),
    ],
)
def test_the_most_specific_entry_counts(tmp_path: Path, registry: str, repository: str, user: str | None) -> None:
    """From the repository up to the registry, however the file spells it."""
    auths = {
        "quay.test": entry("host"),
        "quay.test/team": entry("team"),
        "quay.test/team/special": entry("special"),
        "https://index.docker.io/v1/": entry("hub"),
        "https://old.test/v2/": entry("old"),
        "plain.test": {"username": "plain", "password": SECRET},
        "empty.test": {},
    }
    credentials = Credentials(files=[write(tmp_path / "auth.json", auths=auths)])

    assert user == user_of(credentials, registry, repository)


def test_code_comes_before_our_file_and_that_before_others(tmp_path: Path) -> None:
    """The first that knows the registry."""
    ours = write(tmp_path / "own.json", auths={name: entry("ours") for name in ("a.test", "b.test")})
    podman = write(tmp_path / "auth.json", auths={name: entry("podman") for name in ("a.test", "b.test", "c.test")})
    docker = write(tmp_path / "config.json", auths={name: entry("docker") for name in ("c.test", "d.test")})
    explicit = {"a.test": Login(username="explicit")}
    credentials = Credentials(own_file=ours, explicit=explicit, files=[podman, str(tmp_path / "missing"), docker])

    found = [user_of(credentials, f"{name}.test") for name in "abcde"]

    assert ["explicit", "ours", "podman", "docker", None] == found


def test_an_identity_token_comes_before_a_password(tmp_path: Path) -> None:
    """Docker writes both."""
    auths = {"a.test": {**entry("<token>"), "identitytoken": SECRET}}

    assert Login(identity_token=SECRET) == Credentials(files=[write(tmp_path / "f", auths=auths)]).find("a.test")


def test_passwords_may_have_colons_and_any_letters(tmp_path: Path) -> None:
    """The first colon ends the name."""
    auths = {"a.test": entry("robin", "a:b:ü")}

    assert Login(username="robin", password="a:b:ü") == Credentials(  # noqa: S106
        files=[write(tmp_path / "f", auths=auths)]
    ).find("a.test")


def test_what_is_added_is_found_and_private(tmp_path: Path) -> None:
    """In our own file, mode 0600 whatever was there, in a directory of its own; other entries stay."""
    own = tmp_path / "new" / "auth.json"
    credentials = Credentials(own_file=str(own))

    credentials.add("a.test", "first", SECRET)
    credentials.add("docker.io", "hub", SECRET)
    credentials.add("a.test", "second", SECRET)

    assert ["second", "hub"] == [user_of(credentials, name) for name in ("a.test", "docker.io")]
    assert 0o600 == stat.S_IMODE(own.stat().st_mode)
    assert {"a.test", "docker.io"} == set(json.loads(own.read_text())["auths"])


def test_what_is_removed_is_gone_however_it_was_spelled(tmp_path: Path) -> None:
    """Removing twice is no error."""
    own = write(tmp_path / "f", auths={"https://index.docker.io/v1/": entry("hub"), "a.test": entry("a")})
    credentials = Credentials(own_file=own)

    assert credentials.remove("docker.io")
    assert not credentials.remove("docker.io")
    assert [None, "a"] == [user_of(credentials, name) for name in ("docker.io", "a.test")]


def test_without_a_file_nothing_is_added() -> None:
    """It says so."""
    with pytest.raises(InvalidSpecError):
        Credentials().add("a.test", "robin", SECRET)


@pytest.mark.parametrize(
    "content",
    [
        f'{{"auths": {{\n"a.test": "{SECRET}"\n',
        f'["{SECRET}"]',
        f'{{"auths": ["{SECRET}"]}}',
        f'{{"auths": {{"a.test": "{SECRET}"}}}}',
        f'{{"auths": {{"a.test": {{"auth": "{SECRET}"}}}}}}',
        f'{{"auths": {{"a.test": {{"auth": "{base64.b64encode(SECRET.encode()).decode()}"}}}}}}',
        f'{{"credHelpers": "{SECRET}"}}',
        SECRET + "[" * 100_000,
        f"\udcff{SECRET}",
    ],
)
def test_a_broken_file_is_named_and_not_quoted(tmp_path: Path, content: str) -> None:
    """It holds secrets, broken or not."""
    path = tmp_path / "auth.json"
    path.write_bytes(content.encode(errors="surrogateescape"))

    with pytest.raises(InvalidSpecError, match=r"auth\.json") as caught:
        Credentials(files=[str(path)]).find("a.test")

    shown = f"{caught.value!r} {caught.value} {caught.value.__cause__!r}"
    assert SECRET not in shown
    assert base64.b64encode(SECRET.encode()).decode() not in shown


def test_the_line_of_a_fault_is_told(tmp_path: Path) -> None:
    """So that it can be found."""
    path = tmp_path / "auth.json"
    path.write_text('{\n"auths": {\n}')

    with pytest.raises(InvalidSpecError, match=r"auth\.json:3"):
        Credentials(files=[str(path)]).find("a.test")


def test_nothing_shows_a_password(tmp_path: Path) -> None:
    """Neither a login nor the credentials."""
    login = Login(username="robin", password=SECRET, identity_token=SECRET)

    assert SECRET not in f"{login!r} {login} {Credentials(explicit={'a.test': login})!r}"


@pytest.mark.parametrize("field", ["username", "password", "identity_token"])
@pytest.mark.parametrize("letter", "\0\r\n")
def test_what_would_break_a_header_is_refused(field: str, letter: str) -> None:
    """Without being shown."""
    with pytest.raises(InvalidSpecError):
        Login(**{field: f"a{letter}b"})


def test_other_tools_files_are_found_by_their_variables() -> None:
    """Podman's, then Docker's."""
    plain = credential_files({"HOME": "/home/robin"}, uid=1000)
    told = credential_files(
        {
            "HOME": "/home/robin",
            "REGISTRY_AUTH_FILE": "/a",
            "XDG_RUNTIME_DIR": "/run/user/7",
            "XDG_CONFIG_HOME": "/c",
            "DOCKER_CONFIG": "/d",
        },
        uid=7,
    )

    podman = ("/run/containers/1000/auth.json", "/home/robin/.config/containers/auth.json")
    assert (*podman, "/home/robin/.docker/config.json") == plain
    assert ("/a", "/run/user/7/containers/auth.json", "/c/containers/auth.json", "/d/config.json") == told


# ── helpers ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Give what installs `docker-credential-test`, a shell script."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def install(script: str) -> None:
        program = tmp_path / "docker-credential-test"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    return install


def helped(tmp_path: Path, **document: object) -> Credentials:
    """Return credentials that ask the helper."""
    return Credentials(files=[write(tmp_path / "config.json", **document)], helper_timeout=20.0)


ECHO = """read server; printf '{"ServerURL":"%s","Username":"%s","Secret":"from the helper"}' "$server" "$server" """


@pytest.mark.parametrize(
    ("registry", "asked"),
    [("a.test", "a.test"), ("docker.io", "https://index.docker.io/v1/"), ("b.test:5", "b.test:5")],
)
def test_a_helper_is_asked_for_the_registry(
    tmp_path: Path, helper: Callable[[str], None], registry: str, asked: str
) -> None:
    """By the name that Docker's tools use; its user name is the answer's."""
    helper(
        ECHO.replace('"%s","Secret', '"robin","Secret').replace('"$server" "$server"', '"$server"')
        + f'; test "$server" = {asked}'
    )

    found = helped(tmp_path, credsStore="test").find(registry)

    assert Login(username="robin", password="from the helper") == found  # noqa: S106


def test_a_helper_for_one_registry_is_asked_for_no_other(tmp_path: Path, helper: Callable[[str], None]) -> None:
    """credHelpers name registries."""
    helper('printf \'{"Username":"robin","Secret":"x"}\'')
    credentials = helped(tmp_path, credHelpers={"a.test": "test"}, auths={"b.test": entry("file")})

    assert ["robin", "file"] == [user_of(credentials, name) for name in ("a.test", "b.test")]


def test_a_helper_that_knows_nothing_leaves_it_to_the_file(tmp_path: Path, helper: Callable[[str], None]) -> None:
    """As Docker's say it."""
    helper('echo "credentials not found in native keychain"; exit 1')

    assert "file" == user_of(helped(tmp_path, credsStore="test", auths={"a.test": entry("file")}), "a.test")


def test_a_helper_may_give_an_identity_token(tmp_path: Path, helper: Callable[[str], None]) -> None:
    """By a user name that is none."""
    helper('printf \'{"Username":"<token>","Secret":"x"}\'')

    assert Login(identity_token="x") == helped(tmp_path, credsStore="test").find("a.test")  # noqa: S106


@pytest.mark.parametrize(
    "script",
    [
        f"echo {SECRET}; exit 1",
        f"echo {SECRET}",
        f"echo '[\"{SECRET}\"]'",
        f'echo \'{{"Username":"{SECRET}"}}\'',
        f"yes {SECRET}",
        "kill -9 $$",
    ],
)
def test_a_helper_that_fails_is_named_and_not_quoted(
    tmp_path: Path, helper: Callable[[str], None], script: str
) -> None:
    """What it writes may be the password; how much it writes is bounded."""
    helper(script)

    with pytest.raises(AuthenticationError, match="docker-credential-test") as caught:
        helped(tmp_path, credsStore="test").find("a.test")

    assert SECRET not in f"{caught.value!r}{caught.value}"


def test_a_helper_that_hangs_is_ended(tmp_path: Path, helper: Callable[[str], None]) -> None:
    """After its time."""
    helper("exec tail -f /dev/null")
    path = write(tmp_path / "config.json", credsStore="test")

    with pytest.raises(AuthenticationError, match=r"did not answer in 0\.2 s"):
        Credentials(files=[path], helper_timeout=0.2).find("a.test")


@pytest.mark.parametrize("name", ["missing", "../test", "a b", "-x"])
def test_a_helper_that_is_not_there_is_an_error(tmp_path: Path, name: str) -> None:
    """Also one that would be a path."""
    with pytest.raises(AuthenticationError, match="credential helper"):
        helped(tmp_path, credsStore=name).find("a.test")
