"""The files that a container gets in /etc."""

from __future__ import annotations

from container_kit._plan.etc_files import hostname_file, hosts_file


def test_hosts_name_the_machine_and_what_was_added() -> None:
    """Localhost first, then what the caller added, then the container itself."""
    lines = hosts_file(hostname="box", extra=(("db", "192.0.2.7"), ("six", "2001:db8::1"))).decode().splitlines()

    assert lines[0].split() == ["127.0.0.1", "localhost"]
    assert lines[1].split()[:2] == ["::1", "localhost"]
    assert [line.split() for line in lines[-3:]] == [["192.0.2.7", "db"], ["2001:db8::1", "six"], ["127.0.1.1", "box"]]


def test_full_name_comes_before_the_short_one() -> None:
    """`hostname --fqdn` takes the first name of the line."""
    assert hosts_file(hostname="box", domainname="example.org").endswith(b"127.0.1.1\tbox.example.org box\n")


def test_hostname_file_is_one_line() -> None:
    """As hostname(5) has it."""
    assert hostname_file("box") == b"box\n"
