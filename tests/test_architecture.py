"""The shape of the project, checked: layers, sizes, names, and that the two halves of a contract agree.

Each test reads source text only; nothing here needs a kernel feature.
"""

from __future__ import annotations

import ast
import inspect
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

import container_kit
from container_kit import errors
from container_kit._plan import flags, ops, settings

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "container_kit"
NATIVE = ROOT / "_native"
HEADER = (NATIVE / "ckit.h").read_text(encoding="utf-8")
MODULES = sorted(PACKAGE.rglob("*.py"))
SOURCES = sorted([*MODULES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "examples").glob("*.py")])

DOORS = {
    "cffi": "container_kit/_linux/shim.py",
    "container_kit._shim": "container_kit/_linux/shim.py",
    "pyroute2": "container_kit/_linux/rtnl.py",
    "urllib3": "container_kit/_registry/transport.py",
    "zstandard": "container_kit/_store/compression.py",
}
MOST_LINES_OF_A_FILE = 400
MAY_BE_LONGER = {"container_kit/errors.py"}  # one tree, drawn on its first screen
MOST_LINES_OF_A_FUNCTION = 60
# Each has no name of its own yet, only a place where something was put.
NAMES_WITHOUT_AN_IDEA = {"utils", "util", "helpers", "common", "misc", "manager", "handler", "base"}


def name_of(path: Path) -> str:
    """Return a path as people write it, from the checkout on."""
    return str(path.relative_to(ROOT))


def parse(path: Path) -> ast.Module:
    """Return the syntax tree of a Python file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def calls(tree: ast.Module) -> Iterator[ast.Call]:
    """Yield the calls in a syntax tree."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def test_imports_go_strictly_downward() -> None:
    """The contracts in pyproject.toml hold: layers and purity."""
    program = shutil.which("lint-imports", path=sysconfig.get_path("scripts")) or shutil.which("lint-imports")
    assert program is not None, "lint-imports is missing: install the `dev` extra"

    done = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


def imported_names(tree: ast.Module) -> Iterator[str]:
    """Yield the full name of each module that is imported and of each name taken from one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(("foreign", "door"), sorted(DOORS.items()))
def test_what_is_untyped_has_one_door(foreign: str, door: str) -> None:
    """The compiled shim and untyped libraries are imported by one module, which gives them types."""
    importers = {
        name_of(path)
        for path in MODULES
        for name in imported_names(parse(path))
        if name == foreign or name.startswith(f"{foreign}.")
    }

    assert importers <= {door}


def test_importing_costs_no_more_than_what_it_needs() -> None:
    """Nothing heavy is loaded before it is used: not asyncio, no network client, no database, not the shim."""
    heavy = ["asyncio", "urllib3", "pyroute2", "zstandard", "tarfile", "sqlite3", "json", "container_kit._shim"]
    script = f"import sys, container_kit; print(*[name for name in {heavy!r} if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.split() == []


def test_the_package_imports_where_there_is_no_linux() -> None:
    """Elsewhere importing works; only using it says that this is not Linux."""
    script = (
        "import sys\n"
        "sys.platform = 'darwin'\n"
        "sys.modules['container_kit._shim'] = None  # as if it had not been built\n"
        "sys.modules['_cffi_backend'] = None\n"
        "import container_kit\n"
        "[getattr(container_kit, name) for name in container_kit.__all__]\n"
    )

    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_public_names_are_sorted_and_there() -> None:
    """`__all__` lists each public name once, in order, and each can be had."""
    names = list(container_kit.__all__)

    assert sorted(set(names), key=isort_order) == names
    assert [name for name in names if not hasattr(container_kit, name)] == []


def isort_order(name: str) -> tuple[bool, bool, str]:
    """Return the sort key of a name: constants, then classes, then the rest."""
    return not name.isupper(), not name[0].isupper(), name


def test_every_public_name_has_a_docstring() -> None:
    """What users meet is explained where they meet it."""
    public = {name: getattr(container_kit, name) for name in container_kit.__all__}
    documented = {name for name, value in public.items() if inspect.getdoc(value)}

    assert sorted(name for name in public if name not in documented and callable(public[name])) == []


def test_no_file_is_too_long() -> None:
    """A file of more than 400 lines has a second idea in it."""
    files = [*SOURCES, *NATIVE.glob("*.[ch]"), *(ROOT / "tests" / "payload").glob("*.[ch]")]
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in files}

    assert {
        name: lines for name, lines in lengths.items() if lines > MOST_LINES_OF_A_FILE and name not in MAY_BE_LONGER
    } == {}


def test_no_function_is_too_long() -> None:
    """A function of more than 60 lines does more than one thing; only a test may tell a long story."""
    too_long = {
        f"{name_of(path)}:{node.lineno} {node.name}"
        for path in SOURCES
        for node in ast.walk(parse(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("test_")
        if (node.end_lineno or 0) - node.lineno + 1 > MOST_LINES_OF_A_FUNCTION
    }

    assert set() == too_long


def test_every_module_has_a_name_and_says_what_it_is() -> None:
    """No drawer called `utils`; each module opens with what it is about."""
    nameless = [name_of(path) for path in MODULES if path.stem.strip("_") in NAMES_WITHOUT_AN_IDEA]
    silent = [name_of(path) for path in MODULES if path.stat().st_size and not ast.get_docstring(parse(path))]

    assert nameless == []
    assert silent == []


def error_classes() -> dict[str, type[BaseException]]:
    """Return the public exception classes of container_kit.errors."""
    return {
        name: value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, Exception) and value.__module__ == errors.__name__
        if not name.startswith("_")
    }


def test_every_error_is_drawn_in_the_tree() -> None:
    """The drawing on top of errors.py shows each class, and only classes that are there."""
    drawn = set(re.findall(r"\b[A-Z]\w*Error\b", (errors.__doc__ or "").split("An error is")[0]))
    builtin = {name for name in drawn if name in vars(__import__("builtins")) or name == "CalledProcessError"}

    assert set(error_classes()) == drawn - builtin


def test_every_error_descends_from_the_one_root() -> None:
    """`except ContainerKitError` catches all that container_kit raises on purpose."""
    strangers = [n for n, cls in error_classes().items() if not issubclass(cls, errors.ContainerKitError)]

    assert strangers == []


def ops_of_header() -> dict[str, tuple[int, str]]:
    """Return name → (code, wire format) as CK_OPS in ckit.h has them."""
    rows = re.findall(r'^\s*X\((\w+), (\d+), "(\w*)"\)', HEADER, flags=re.MULTILINE)
    return {name: (int(code), wire) for name, code, wire in rows}


def ops_of_python() -> dict[str, tuple[int, str]]:
    """Return the same as the classes of container_kit._plan.ops have them."""
    steps = [v for v in vars(ops).values() if inspect.isclass(v) and issubclass(v, ops.Step) and v is not ops.Step]
    return {upper_case(step.__name__): (step.CODE, step.wire_format()) for step in steps}


def upper_case(name: str) -> str:
    """Return NEW_OVERLAY for NewOverlay."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper()


def test_both_halves_know_the_same_steps() -> None:
    """Name, number and wire format of each step agree between ckit.h and ops.py."""
    assert ops_of_header() == ops_of_python()


def test_both_halves_know_the_same_settings() -> None:
    """The record that MonitorSettings encodes is the one that ckit.h describes."""
    found = re.search(r'#define CK_SETTINGS_FORMAT "(\w+)"', HEADER)
    fields = attrs.fields(settings.MonitorSettings)

    assert found is not None
    assert found[1] == "".join(field.metadata["wire"] for field in fields)


def enum_of_header(prefix: str) -> dict[str, int]:
    """Return the names and numbers of #define CK_<prefix>_… in ckit.h."""
    rows = re.findall(rf"^#define CK_{prefix}_(\w+) (0x[0-9a-fA-F]+|\d+)u\b", HEADER, flags=re.MULTILINE)
    return {name: int(value, 0) for name, value in rows}


@pytest.mark.parametrize(
    ("prefix", "python"),
    [
        ("ATTR", ops.MountAttr),
        ("ATTACH", ops.AttachHow),
        ("NS", ops.Namespace),
        ("INIT", ops.InitFlag),
        ("FILTER", flags.FilterFlag),
        ("SET", settings.MonitorFlag),
        ("RESTART", settings.Restart),
    ],
)
def test_both_halves_number_their_flags_alike(prefix: str, python: type[ops.MountAttr]) -> None:
    """Each flag and choice on the wire has one name and one number."""
    numbers = {member.name: member.value for member in python if not (member.name == "NONE" and not member.value)}
    of_header = {name: value for name, value in enum_of_header(prefix).items() if not name.startswith("IO_")}

    assert of_header == numbers


def test_numbers_on_the_wire_are_used_once() -> None:
    """An op code means one thing."""
    codes = [code for code, _ in ops_of_header().values()]

    assert len(set(codes)) == len(codes)


def test_no_archive_is_unpacked_by_tarfile() -> None:
    """Extraction by tarfile follows what the archive says; ours resolves beneath a directory (CVE-2007-4559 and on)."""
    unsafe = {"extract", "extractall", "unpack_archive"}
    found = [
        f"{name_of(path)}:{call.lineno}"
        for path in MODULES
        for call in calls(parse(path))
        if isinstance(call.func, ast.Attribute) and call.func.attr in unsafe
    ]

    assert found == []


def test_no_shell_and_no_code_between_fork_and_exec() -> None:
    """No command line is pieced together for a shell, and nothing of ours runs in a forked child."""
    forbidden = {"shell", "preexec_fn"}
    found = [
        f"{name_of(path)}:{call.lineno} {keyword.arg}"
        for path in SOURCES
        for call in calls(parse(path))
        for keyword in call.keywords
        if keyword.arg in forbidden and not (isinstance(keyword.value, ast.Constant) and not keyword.value.value)
    ]

    assert found == []


def test_nothing_changes_the_callers_process() -> None:
    """The caller keeps its directory, environment, umask, signal handlers and namespaces, and is never forked."""
    forbidden = {
        "os": {"chdir", "fchdir", "chroot", "umask", "fork", "forkpty", "putenv", "unsetenv", "setuid", "setgid",
               "setgroups", "unshare", "setns", "system", "popen"},
        "signal": {"signal", "sigaction", "set_wakeup_fd", "alarm", "setitimer"},
        "socket": {"setdefaulttimeout"},
        "sys": {"setrecursionlimit", "settrace"},
    }  # fmt: skip
    found = [
        f"{name_of(path)}:{call.lineno} {call.func.value.id}.{call.func.attr}"
        for path in MODULES
        for call in calls(parse(path))
        if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name)
        if call.func.attr in forbidden.get(call.func.value.id, ())
    ]

    assert found == []


def test_nothing_prints() -> None:
    """A library speaks through return values, errors and logging."""
    found = [
        f"{name_of(path)}:{call.lineno}"
        for path in MODULES
        for call in calls(parse(path))
        if isinstance(call.func, ast.Name) and call.func.id == "print"
    ]

    assert found == []


def test_every_module_can_be_imported_first() -> None:
    """No module depends on another one having been imported before it."""
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in MODULES if path.stem != "__init__"]
    script = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    for loaded in [module for module in sys.modules if module.startswith('container_kit')]:\n"
        "        if loaded != 'container_kit._shim':  # an extension is loaded once\n"
        "            del sys.modules[loaded]\n"
        "    importlib.import_module(name)\n"
    )

    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
