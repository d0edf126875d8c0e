"""The native half of the build: the cffi extension and the static programs (see _native/)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
PACKAGE = Path("container_kit")
PROGRAMS = ("ck-monitor", "ck-files")


def compile_programs(directory: Path) -> None:
    """Run `compile_program` of _native/build.py, which is a file, not a module of the package."""
    spec = importlib.util.spec_from_file_location("ck_native_build", ROOT / "_native" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    build: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    directory.mkdir(parents=True, exist_ok=True)
    for name in PROGRAMS:
        build.compile_program(name, directory / name)


class BuildNative(build_ext):
    """Build the extension as usual and the programs beside it; in place for editable installs."""

    def run(self) -> None:
        super().run()
        compile_programs(ROOT / PACKAGE if self.inplace else Path(self.build_lib) / PACKAGE)

    def get_outputs(self) -> list[str]:
        return [*super().get_outputs(), *(str(Path(self.build_lib) / PACKAGE / name) for name in PROGRAMS)]

    def get_output_mapping(self) -> dict[str, str]:
        mapping = super().get_output_mapping()
        built = {str(Path(self.build_lib) / PACKAGE / name): str(PACKAGE / name) for name in PROGRAMS}
        return {**mapping, **built} if self.inplace else mapping


class StableAbiWheel(bdist_wheel):
    """One wheel per architecture serves every Python from 3.11 on."""

    def finalize_options(self) -> None:
        self.py_limited_api = "cp311"
        super().finalize_options()


# Elsewhere the package installs and imports as pure Python; using it says what is missing.
if sys.platform == "linux":
    setup(
        cffi_modules=["_native/build.py:ffibuilder"],
        cmdclass={"build_ext": BuildNative, "bdist_wheel": StableAbiWheel},
    )
else:
    setup()
