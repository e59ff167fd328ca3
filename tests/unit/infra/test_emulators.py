"""Where the program looks for the emulators, and what it says when there are none."""

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.local.emulators.finding import (
    Found,
    JarCommand,
    Missing,
    RunningAt,
    find_emulators,
    java_version,
)

_FIRESTORE_CLASS = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
_PUBSUB_CLASS = "com.google.cloud.pubsub.testing.v1.Main"
_SDK_FIRESTORE = "platform/cloud-firestore-emulator/cloud-firestore-emulator.jar"
_SDK_PUBSUB = "platform/pubsub-emulator/lib/cloud-pubsub-emulator-0.8.20.jar"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Machine:
    """A disk with an SDK, a firebase cache and a Java; a test's PATH says which are used."""

    root: Path

    def environ(self, *tools: str, **variables: str) -> Mapping[str, str]:
        path = ":".join(str(self.root / tool / "bin") for tool in tools)
        return {"PATH": path, **variables}

    def find(self, environ: Mapping[str, str], *, java: int | None = 17) -> Found | Missing:
        return find_emulators(environ, self.root / "home", version_of=lambda _: java)

    def sdk(self, *, needs_java: int = 11) -> None:
        _program(self.root / "sdk/bin/gcloud")
        _jar(self.root / "sdk" / _SDK_FIRESTORE, _FIRESTORE_CLASS, needs_java)
        _jar(self.root / "sdk" / _SDK_PUBSUB, _PUBSUB_CLASS, needs_java)

    def cache(self, *versions: str) -> Path:
        folder = self.root / "home/.cache/firebase/emulators"
        for version in versions:
            _jar(folder / f"cloud-firestore-emulator-v{version}.jar", _FIRESTORE_CLASS, 11)
        inner = "pubsub-emulator-0.8.14/pubsub-emulator/lib/cloud-pubsub-emulator-0.8.14.jar"
        _jar(folder / inner, _PUBSUB_CLASS, 11)
        return folder


@pytest.fixture
def machine(tmp_path: Path) -> _Machine:
    _program(tmp_path / "java/bin/java")
    return _Machine(root=tmp_path)


def _program(path: Path, script: str = "#!/bin/sh\n") -> None:
    path.parent.mkdir(parents=True)
    path.write_text(script)
    path.chmod(0o755)


def _jar(path: Path, main_class: str, needs_java: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        head = b"\xca\xfe\xba\xbe\x00\x00" + (needs_java + 44).to_bytes(2, "big")
        archive.writestr(f"{main_class.replace('.', '/')}.class", head)


def _jars(found: Found | Missing) -> tuple[Path, Path]:
    assert isinstance(found, Found)
    assert isinstance(found.firestore, JarCommand)
    assert isinstance(found.pubsub, JarCommand)
    return found.firestore.jar, found.pubsub.jar


def _reasons(found: Found | Missing) -> str:
    assert isinstance(found, Missing)
    return "\n".join(found.reasons)


def test_the_sdk_of_the_gcloud_on_the_path_is_used(machine: _Machine) -> None:
    machine.sdk()

    found = machine.find(machine.environ("sdk", "java"))

    sdk = machine.root / "sdk"
    assert _jars(found) == (sdk / _SDK_FIRESTORE, sdk / _SDK_PUBSUB)
    assert isinstance(found, Found)
    assert isinstance(found.firestore, JarCommand)
    assert found.firestore.java == machine.root / "java/bin/java"
    assert found.firestore.main_class == _FIRESTORE_CLASS


@pytest.mark.parametrize("place", ["lib/google-cloud-sdk", "share/google-cloud-sdk"])
def test_the_sdk_is_found_beside_a_packaged_gcloud(machine: _Machine, place: str) -> None:
    _program(machine.root / "usr/bin/gcloud")
    sdk = machine.root / "usr" / place
    _jar(sdk / _SDK_FIRESTORE, _FIRESTORE_CLASS, 11)
    _jar(sdk / _SDK_PUBSUB, _PUBSUB_CLASS, 11)

    found = machine.find(machine.environ("usr", "java"))

    assert _jars(found) == (sdk / _SDK_FIRESTORE, sdk / _SDK_PUBSUB)


def test_a_linked_gcloud_leads_to_its_sdk(machine: _Machine) -> None:
    machine.sdk()
    (machine.root / "links/bin").mkdir(parents=True)
    (machine.root / "links/bin/gcloud").symlink_to(machine.root / "sdk/bin/gcloud")

    found = machine.find(machine.environ("links", "java"))

    assert _jars(found)[0] == machine.root / "sdk" / _SDK_FIRESTORE


@pytest.mark.parametrize("variable", ["CLOUDSDK_ROOT_DIR", "GOOGLE_CLOUD_SDK"])
def test_an_sdk_named_by_a_variable_is_used(machine: _Machine, variable: str) -> None:
    machine.sdk()

    found = machine.find(machine.environ("java", **{variable: str(machine.root / "sdk")}))

    assert _jars(found)[1] == machine.root / "sdk" / _SDK_PUBSUB


def test_an_sdk_that_is_not_on_the_path_is_not_used(machine: _Machine) -> None:
    machine.sdk()

    reasons = _reasons(machine.find(machine.environ("java")))

    assert "gcloud is not on the PATH" in reasons
    assert "gcloud components install cloud-firestore-emulator" in reasons
    assert "gcloud components install pubsub-emulator" in reasons


def test_an_sdk_without_the_components_says_how_to_get_them(machine: _Machine) -> None:
    _program(machine.root / "sdk/bin/gcloud")

    reasons = _reasons(machine.find(machine.environ("sdk", "java")))

    assert "not on the PATH" not in reasons
    assert "apt-get install google-cloud-cli-firestore-emulator" in reasons
    assert "apt-get install google-cloud-cli-pubsub-emulator" in reasons


def test_the_newest_emulator_of_the_firebase_cache_is_used(machine: _Machine) -> None:
    """Versions are compared as numbers, not as text."""
    folder = machine.cache("1.9.9", "1.19.8", "1.2.0")

    found = machine.find(machine.environ("java"))

    assert _jars(found)[0] == folder / "cloud-firestore-emulator-v1.19.8.jar"


def test_a_firebase_cache_elsewhere_is_found_by_its_variable(machine: _Machine) -> None:
    folder = machine.cache("1.19.8").rename(machine.root / "elsewhere")

    found = machine.find(machine.environ("java", FIREBASE_EMULATORS_PATH=str(folder)))

    assert _jars(found)[0].parent == folder


def test_the_sdk_goes_before_the_cache(machine: _Machine) -> None:
    machine.sdk()
    machine.cache("99.0.0")

    assert _jars(machine.find(machine.environ("sdk", "java")))[0].is_relative_to(
        machine.root / "sdk"
    )


def test_running_emulators_need_neither_an_sdk_nor_java(machine: _Machine) -> None:
    hosts = {"FIRESTORE_EMULATOR_HOST": "127.0.0.1:1", "PUBSUB_EMULATOR_HOST": "[::1]:2"}

    found = machine.find(machine.environ(**hosts), java=None)

    assert found == Found(
        firestore=RunningAt(host="127.0.0.1:1"), pubsub=RunningAt(host="[::1]:2")
    )


@pytest.mark.parametrize("host", ["8080", "http://127.0.0.1:80", "127.0.0.1", "a b:1"])
def test_a_host_that_is_none_is_named(machine: _Machine, host: str) -> None:
    machine.sdk()

    environ = machine.environ("sdk", "java", FIRESTORE_EMULATOR_HOST=host)

    assert f"FIRESTORE_EMULATOR_HOST is {host!r}" in _reasons(machine.find(environ))


@pytest.mark.parametrize(
    ("tools", "java", "reason"),
    [
        pytest.param(("sdk",), 17, "Java is not on the PATH", id="absent"),
        pytest.param(("sdk", "java"), None, "is no working Java", id="broken"),
        pytest.param(("sdk", "java"), 17, "the Firestore emulator needs 21", id="old"),
    ],
)
def test_a_java_that_will_not_do_is_reported(
    machine: _Machine, tools: tuple[str, ...], java: int | None, reason: str
) -> None:
    machine.sdk(needs_java=21)

    assert reason in _reasons(machine.find(machine.environ(*tools), java=java))


def test_the_java_home_goes_before_the_path(machine: _Machine) -> None:
    machine.sdk()
    _program(machine.root / "other/bin/java")

    found = machine.find(machine.environ("sdk", "java", JAVA_HOME=str(machine.root / "other")))

    assert isinstance(found, Found)
    assert isinstance(found.pubsub, JarCommand)
    assert found.pubsub.java == machine.root / "other/bin/java"


def test_a_damaged_jar_is_named(machine: _Machine) -> None:
    machine.sdk()
    (machine.root / "sdk" / _SDK_PUBSUB).write_bytes(b"half a downl")

    reasons = _reasons(machine.find(machine.environ("sdk", "java")))

    assert f"{_SDK_PUBSUB} is damaged" in reasons


def _with_release(java: Path) -> None:
    _program(java)
    (java.parent.parent / "release").write_text('IMPLEMENTOR="X"\nJAVA_VERSION="21.0.2"\n')


def _saying(line: str) -> Callable[[Path], None]:
    return lambda java: _program(java, f"#!/bin/sh\necho '{line}' >&2\n")


@pytest.mark.parametrize(
    ("install", "version"),
    [
        pytest.param(_with_release, 21, id="release file"),
        pytest.param(_saying('openjdk version "17.0.15" 2025-04-15'), 17, id="asked"),
        pytest.param(_saying('java version "1.8.0_402"'), 8, id="old numbering"),
        pytest.param(_saying("Unable to locate a Java Runtime."), None, id="stand-in"),
        pytest.param(lambda _: None, None, id="absent"),
    ],
)
def test_the_version_of_a_java(
    install: Callable[[Path], None], version: int | None, tmp_path: Path
) -> None:
    java = tmp_path / "jdk/bin/java"
    install(java)

    assert java_version(java) == version
