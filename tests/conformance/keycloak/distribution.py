"""Keycloak's own distribution: fetched by Maven once, unpacked and built once, in a cache directory."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VERSION = "26.7.5"
ARTIFACT = f"org.keycloak:keycloak-quarkus-dist:{VERSION}:zip"
SHA256 = "30ef87fb7101c43d29688d1ae80c0588ff4a151b3330e9f664bf9692d398658a"
BUILD_OPTIONS = ("--db=dev-file", "--health-enabled=true", "--metrics-enabled=true")
LEAST_JAVA = 17
FETCH_SECONDS, BUILD_SECONDS = 600, 300


class CannotRun(Exception):
    """This machine has no real Keycloak to offer; the message says what is missing."""


def cache_directory() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "agent-runtime/keycloak"


def built(options: tuple[str, ...] = BUILD_OPTIONS) -> Path:
    """The unpacked distribution, built with these options; made when it is not there.

    Raises:
        CannotRun: Java, Maven or the download is missing.
    """
    check_java()
    cache = cache_directory()
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    place = cache / f"{VERSION}-{hashlib.sha256(' '.join(options).encode()).hexdigest()[:12]}"
    with alone(cache, "built"):
        if not place.exists():
            with tempfile.TemporaryDirectory(dir=cache) as draft:
                home = _unpack(_fetch(cache), Path(draft))
                _run([str(home / "bin/kc.sh"), "build", *options], BUILD_SECONDS, "build Keycloak")
                home.rename(place)
    return place


def copied(source: Path, target: Path) -> Path:
    """A home of its own for one server: programs are shared by links, data are copied."""

    def copy(origin: str, place: str) -> None:
        inside = Path(origin).relative_to(source).parts[0]
        if inside in ("lib", "providers", "themes"):
            try:
                os.link(origin, place)
                return
            except OSError:
                pass  # another file system
        shutil.copy2(origin, place)

    shutil.copytree(source, target, copy_function=copy)
    return target


def check_java() -> None:
    java = shutil.which("java")
    if java is None:
        raise CannotRun(f"there is no `java`; a real Keycloak needs a JDK {LEAST_JAVA} or newer")
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    version = said.partition('"')[2].partition(".")[0]
    if not version.isdigit() or int(version) < LEAST_JAVA:
        raise CannotRun(f"`java` is version {version or 'unknown'}; a real Keycloak needs {LEAST_JAVA} or newer")


def _fetch(cache: Path) -> Path:
    archive = cache / f"keycloak-quarkus-dist-{VERSION}.zip"
    if archive.exists() and _digest(archive) == SHA256:
        return archive
    maven = shutil.which("mvn")
    if maven is None:
        raise CannotRun("there is no `mvn`; a real Keycloak is fetched by Maven")
    goal = ["dependency:copy", f"-Dartifact={ARTIFACT}", f"-DoutputDirectory={cache}", "-Dmdep.useBaseVersion=true"]
    _run([maven, "--batch-mode", "--quiet", *goal], FETCH_SECONDS, f"fetch {ARTIFACT}")
    if not archive.exists() or _digest(archive) != SHA256:
        raise CannotRun(f"{ARTIFACT} is not the file that was expected (SHA-256)")
    return archive


def _unpack(archive: Path, target: Path) -> Path:
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(target)
    home = target / f"keycloak-{VERSION}"
    for script in (home / "bin").glob("*.sh"):
        script.chmod(0o755)
    return home


def _run(command: list[str], seconds: float, what: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise CannotRun(f"it took more than {seconds:.0f} s to {what}") from None
    if done.returncode != 0:
        end = "\n".join((done.stdout + done.stderr).splitlines()[-6:])
        raise CannotRun(f"could not {what}:\n{end}")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def alone(directory: Path, name: str) -> Iterator[None]:
    with open(directory / f"{name}.lock", "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
