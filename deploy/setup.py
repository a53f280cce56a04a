"""Makes .venv as the locks say; the standard library only, and old Pythons can read it, to be told so in words."""

import argparse
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "setup-stamp"
OLDEST, NEWEST = 11, 14
PLATFORMS = (("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dev", action="store_true", help="also what tests and checks need")
    dev = parser.parse_args().dev
    use_new_enough_python()
    wanted = digest()
    found, kind = stamp()
    # What was once set up for development stays so.
    dev = dev or kind == "dev"
    if found == wanted and (kind == "dev" or not dev) and (VENV / "bin/agent-runtime").exists():
        return
    check_machine()
    began = time.monotonic()
    say("Setting up .venv (once; a minute with an empty cache) …")
    make_venv()
    install(dev)
    STAMP.write_text("{} {}\n".format(wanted, "dev" if dev else "run"), encoding="utf-8")
    say(f"Ready in {time.monotonic() - began:.0f} s.")


def use_new_enough_python() -> None:
    """Go on in a Python that fits, when this one does not."""
    if (3, OLDEST) <= sys.version_info[:2] <= (3, NEWEST):
        return
    for minor in range(NEWEST, OLDEST - 1, -1):
        found = shutil.which(f"python3.{minor}")
        # A version manager's stand-in can be on PATH without the Python that it stands for.
        if found and quietly(found, "-c", "import venv, ensurepip"):
            os.execv(found, [found, str(Path(__file__).resolve()), *sys.argv[1:]])  # noqa: S606 - the same script
    fail(
        f"Python 3.{OLDEST} to 3.{NEWEST} is needed, this is {platform.python_version()}; "
        "install one, or name it: make PYTHON=/path/to/python3"
    )


def digest() -> str:
    """Of everything that decides what .venv holds."""
    content = hashlib.sha256(f"{sys.version} {sys.base_prefix} {ROOT}".encode())
    names = (
        "requirements.lock",
        "requirements-dev.lock",
        "requirements-uv.lock",
        "pyproject.toml",
        "libs/sdk/pyproject.toml",
    )
    for name in (*names, "deploy/setup.py"):
        content.update((ROOT / name).read_bytes())
    return content.hexdigest()


def stamp() -> "tuple[str, str]":
    """The digest that .venv was made from, and whether for running or for development; empty when there is none."""
    try:
        found, kind = STAMP.read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return "", ""
    return found, kind


def check_machine() -> None:
    """Fail in one line where the wheels of the servers do not exist, or pip cannot be had."""
    system, machine = platform.system(), platform.machine()
    if (system, machine) not in PLATFORMS:
        fail(f"{system} on {machine} is not supported: Linux (glibc) on x86-64 or arm64, or macOS on arm64, is needed")
    if system == "Linux" and platform.libc_ver()[0] != "glibc":
        fail("this Linux has no glibc (Alpine's musl?), for which the servers are built; use a glibc distribution")
    for module in ("venv", "ensurepip"):
        if importlib.util.find_spec(module) is None:
            fail(f"this Python has no module {module}; install it (Debian, Ubuntu: apt install python3-venv)")


def make_venv() -> None:
    """Make .venv; one of this Python that is there keeps what it has."""
    python = str(VENV / "bin/python")
    if not quietly(python, "-c", f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]!r})"):
        run(sys.executable, "-m", "venv", "--clear", str(VENV))
    elif not quietly(python, "-c", "import pip"):
        run(python, "-m", "ensurepip", "--default-pip")


def install(dev: bool) -> None:
    """pip brings uv, by its hash; uv brings the rest, by theirs; then the two projects themselves."""
    python = str(VENV / "bin/python")
    quiet = ("--quiet", "--disable-pip-version-check")
    run(python, "-m", "pip", "install", *quiet, "--require-hashes", "-r", str(ROOT / "requirements-uv.lock"))
    uv = (str(VENV / "bin/uv"), "pip", "install", "--quiet", "--python", python, "--no-deps")
    run(
        *uv,
        "--compile-bytecode",
        "--require-hashes",
        "-r",
        str(ROOT / ("requirements-dev.lock" if dev else "requirements.lock")),
    )
    run(*uv, "--no-build-isolation", "-e", str(ROOT), "-e", str(ROOT / "libs/sdk"))


def quietly(*command: str) -> bool:
    """Whether a command succeeds; what it says is dropped."""
    try:
        answer = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)  # noqa: S603 - our own commands
    except OSError:
        return False
    return answer.returncode == 0


def run(*command: str) -> None:
    STAMP.unlink(missing_ok=True)
    code = subprocess.run(command, cwd=str(ROOT), check=False).returncode  # noqa: S603 - our own commands
    if code != 0:
        fail(f"`{' '.join(Path(part).name for part in command[:3])} …` failed (exit code {code}); its reason is above")


def say(line: str) -> None:
    sys.stderr.write(line + "\n")


def fail(line: str) -> None:
    sys.exit(f"setup: {line}")


if __name__ == "__main__":
    main()
