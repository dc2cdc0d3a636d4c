# ruff: noqa: INP001, S603, S607 - a script of the image, not a part of the package
"""Leave out of an installation what no program reads, and make the rest the same in every build.

    python3 trim.py /opt/pondflight

Debug symbols, copies of libraries, headers and tests go. Bytecode is made of the modules that
pondflight imports: vendors' clients have thousands that nobody does, and what is needed after all
is compiled when it is. All files get the time of SOURCE_DATE_EPOCH.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import py_compile
import shutil
import subprocess
import sys
from pathlib import Path

UNUSED = (
    "pyarrow/include",
    "pyarrow/includes",
    "pyarrow/src",
    "pyarrow/tests",
    "pyarrow/*_s3*",
    "**/*.pyx",
    "**/*.pxd",
    "**/*.pxi",
    "falcon/bench",
    "_duckdb-stubs",
    "wrapt-stubs",
)
SERVICES = {"dynamodb", "ecs", "sso", "sso-oidc", "sts"}
"""Of AWS's services those that pondflight asks, for workers and for its own credentials."""
ELF = b"\x7fELF"


def remove(site: Path) -> None:
    """Remove what is in wheels for developers."""
    for pattern in UNUSED:
        for path in sorted(site.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    services = [path for path in site.glob("botocore/data/*/") if path.name not in SERVICES]
    for path in [*services, *site.glob("*/tests"), *site.glob("**/__pycache__")]:
        shutil.rmtree(path, ignore_errors=True)


def link_copies(site: Path) -> None:
    """Replace libraries that a wheel has under several names by links to one."""
    seen: dict[bytes, Path] = {}
    for path in sorted(site.glob("pyarrow/*.so*")):
        if path.is_symlink():
            continue
        content = path.read_bytes()
        first = seen.setdefault(content, path)
        if first is not path:
            path.unlink()
            path.symlink_to(first.name)


def strip(site: Path) -> None:
    """Take the symbols that only debuggers read out of shared libraries.

    DuckDB's extensions (*.duckdb_extension) stay as they were signed.
    """
    for path in site.rglob("*.so*"):
        if path.is_file() and not path.is_symlink() and path.read_bytes()[:4] == ELF:
            subprocess.run(["strip", "--strip-unneeded", str(path)], check=True)


def compile_imported(site: Path) -> None:
    """Write bytecode of every module that is loaded once all of pondflight is."""
    import anthropic  # noqa: F401, PLC0415
    import openai  # noqa: F401, PLC0415

    import pondflight  # noqa: PLC0415

    for module in pkgutil.walk_packages(pondflight.__path__, "pondflight."):
        # The dialect is for clients: SQLAlchemy is not in the image.
        if not module.name.endswith("__main__") and ".sqlalchemy" not in module.name:
            importlib.import_module(module.name)
    sources = {
        Path(file)
        for module in list(sys.modules.values())
        if (file := getattr(module, "__file__", None)) and file.endswith(".py")
    }
    for source in sorted(sources | set((site / "pondflight").rglob("*.py"))):
        if source.is_relative_to(site):
            py_compile.compile(
                str(source), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
            )


def date(root: Path) -> None:
    """Give every file one time."""
    moment = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    for path in [root, *root.rglob("*")]:
        os.utime(path, (moment, moment), follow_symlinks=False)


def main(root: Path) -> None:
    """Trim the virtual environment at ``root``, whose Python runs this."""
    (site,) = root.glob("lib/python3*/site-packages")
    remove(site)
    link_copies(site)
    strip(site)
    sys.dont_write_bytecode = True
    compile_imported(site)
    date(root)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
