"""Find the official Firestore and Pub/Sub emulators, without starting anything.

They come from one of three places, in this order: running already and named by their usual
environment variables; the gcloud SDK on the PATH; the cache of firebase-tools. An SDK that
merely lies on the disk, with no `gcloud` on the PATH and no variable that names it, is not
used: taking it off the PATH is how a user says "without".
"""

import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

#: The variables by which installers and users name the root of the gcloud SDK.
_SDK_VARIABLES = ("CLOUDSDK_ROOT_DIR", "GOOGLE_CLOUD_SDK")
#: Where the SDK lies, seen from the folder above that of the real `gcloud`.
_SDK_PLACES = (".", "lib/google-cloud-sdk", "share/google-cloud-sdk")
_HOST = re.compile(r"(?:[^\s/:]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}")
_VERSION = re.compile(r"[0-9]+(?:\.[0-9]+)+")
_JAVA_VERSION = re.compile(r'(?:JAVA_VERSION=|version )"(?:1\.)?([0-9]+)')
_JAVA_SECONDS = 10.0
# Class file versions are the Java version plus 44 (Java Virtual Machine Specification, 4.1).
_CLASS_VERSION_OFFSET = 44


@dataclass(frozen=True, slots=True, kw_only=True)
class JarCommand:
    """An emulator to start: this class of this jar, under this Java."""

    java: Path
    jar: Path
    main_class: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningAt:
    """An emulator that the user started; `host` is host:port."""

    host: str


Emulator = JarCommand | RunningAt


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Both emulators can be used."""

    firestore: Emulator
    pubsub: Emulator


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """At least one emulator cannot be used: each reason says what is missing and the remedy."""

    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One emulator as its distributors ship it; the jars are patterns below their root."""

    title: str
    host_variable: str
    component: str
    sdk_jar: str
    cache_jar: str
    main_class: str


_FIRESTORE = _Part(
    title="Firestore",
    host_variable="FIRESTORE_EMULATOR_HOST",
    component="cloud-firestore-emulator",
    sdk_jar="platform/cloud-firestore-emulator/cloud-firestore-emulator.jar",
    cache_jar="cloud-firestore-emulator-v*.jar",
    main_class="com.google.cloud.datastore.emulator.firestore.CloudFirestore",
)
_PUBSUB = _Part(
    title="Pub/Sub",
    host_variable="PUBSUB_EMULATOR_HOST",
    component="pubsub-emulator",
    sdk_jar="platform/pubsub-emulator/lib/cloud-pubsub-emulator-*.jar",
    cache_jar="pubsub-emulator-*/**/lib/cloud-pubsub-emulator-*.jar",
    main_class="com.google.cloud.pubsub.testing.v1.Main",
)


class _Unusable(Exception):
    """An emulator cannot be used; the message is the reason."""


def java_version(java: Path) -> int | None:
    """Return the major version of a Java, such as 17; None if it does not run.

    Installations say it in a file beside them, which spares starting a virtual machine.
    """
    try:
        text = (java.resolve().parent.parent / "release").read_text()
    except OSError:
        text = _asked_version(java)
    match = _JAVA_VERSION.search(text)
    return int(match[1]) if match else None


def find_emulators(
    environ: Mapping[str, str],
    home: Path,
    *,
    version_of: Callable[[Path], int | None] = java_version,
) -> Found | Missing:
    """Decide which emulators to use, given the environment and the user's home folder."""
    usable: list[Emulator] = []
    reasons: list[str] = []
    for part in (_FIRESTORE, _PUBSUB):
        try:
            usable.append(_find(part, environ, home, version_of))
        except _Unusable as error:
            reasons.append(str(error))
    if reasons:
        # Both parts may lack the same Java.
        return Missing(reasons=tuple(dict.fromkeys(reasons)))
    firestore, pubsub = usable
    return Found(firestore=firestore, pubsub=pubsub)


def _find(
    part: _Part,
    environ: Mapping[str, str],
    home: Path,
    version_of: Callable[[Path], int | None],
) -> Emulator:
    if host := environ.get(part.host_variable):
        return _running_at(part, host)
    jar = _jar(part, environ, home)
    java = _java(part, environ)
    present, needed = version_of(java), _needed_java(jar, part)
    if present is None:
        raise _Unusable(f"{java} is no working Java: install a Java 17 runtime or later")
    if present < needed:
        raise _Unusable(f"{java} is Java {present}, the {part.title} emulator needs {needed}")
    return JarCommand(java=java, jar=jar, main_class=part.main_class)


def _running_at(part: _Part, host: str) -> RunningAt:
    if not _HOST.fullmatch(host):
        raise _Unusable(f"{part.host_variable} is {host!r}, which is not host:port")
    return RunningAt(host=host)


def _jar(part: _Part, environ: Mapping[str, str], home: Path) -> Path:
    cache = Path(environ.get("FIREBASE_EMULATORS_PATH") or home / ".cache/firebase/emulators")
    roots = list(_sdk_roots(environ))
    jars = [_newest(root.glob(part.sdk_jar)) for root in roots]
    for jar in (*jars, _newest(cache.glob(part.cache_jar))):
        if jar is not None:
            return jar
    place = "" if roots else "gcloud is not on the PATH; with it: "
    raise _Unusable(
        f"no {part.title} emulator: {place}gcloud components install {part.component} "
        f"(Debian: apt-get install google-cloud-cli-{part.component.removeprefix('cloud-')}), "
        f"or set {part.host_variable} to the host:port of a running one"
    )


def _sdk_roots(environ: Mapping[str, str]) -> Iterator[Path]:
    for name in _SDK_VARIABLES:
        if root := environ.get(name):
            yield Path(root)
    if gcloud := shutil.which("gcloud", path=environ.get("PATH", "")):
        above = Path(gcloud).resolve().parent.parent
        yield from (above / place for place in _SDK_PLACES)


def _newest(jars: Iterable[Path]) -> Path | None:
    return max((jar for jar in jars if jar.is_file()), key=_version, default=None)


def _version(jar: Path) -> tuple[int, ...]:
    match = _VERSION.search(jar.name)
    return tuple(int(number) for number in match[0].split(".")) if match else ()


def _java(part: _Part, environ: Mapping[str, str]) -> Path:
    home = environ.get("JAVA_HOME")
    search = [f"{home}/bin"] if home else []
    for path in (*search, environ.get("PATH", "")):
        if java := shutil.which("java", path=path):
            return Path(java)
    raise _Unusable(
        "Java is not on the PATH: install a Java 17 runtime or later (Debian: apt-get install "
        f"default-jre-headless), or set {part.host_variable} to a running emulator"
    )


def _needed_java(jar: Path, part: _Part) -> int:
    name = f"{part.main_class.replace('.', '/')}.class"
    try:
        with zipfile.ZipFile(jar) as archive, archive.open(name) as entry:
            return int.from_bytes(entry.read(8)[6:8], "big") - _CLASS_VERSION_OFFSET
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise _Unusable(f"{jar} is damaged ({error}): install the emulator again") from error


def _asked_version(java: Path) -> str:
    """Ask Java itself, as for the stand-in of macOS that only says where to get one."""
    try:
        answer = subprocess.run(
            [java, "-version"],
            capture_output=True,
            text=True,
            timeout=_JAVA_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stderr
