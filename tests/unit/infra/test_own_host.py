"""Local servers answer programs of this machine, but no page in anybody's browser."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from infra.local.gemini import create_app as gemini_app
from infra.local.serving.asgi import serve
from infra.local.storage.objects import ObjectFolder, ObjectFolderError
from infra.local.storage.server import create_app as storage_app

UPLOAD = "/upload/storage/v1/b/reports/o?uploadType=media&name=planted"


@asynccontextmanager
async def served(kind: str, root: Path) -> AsyncIterator[tuple[str, ObjectFolder]]:
    folder = ObjectFolder(root)
    folder.create_bucket("reports")
    app: Any = storage_app(folder) if kind == "storage" else gemini_app(latency_seconds=0)
    async with serve(app, name=kind) as url:
        yield url, folder


@pytest.mark.parametrize("kind", ["storage", "gemini"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"host": "evil.example"}, 421, id="rebound name"),
        pytest.param({"host": "127.0.0.1.evil.example"}, 421, id="name like ours"),
        pytest.param({"host": "[::"}, 421, id="no name"),
        pytest.param({"origin": "http://evil.example"}, 403, id="another site"),
        pytest.param({"origin": "null"}, 403, id="a sandboxed page"),
        pytest.param({"origin": "http://127.0.0.1:9"}, 403, id="another server here"),
        pytest.param({"sec-fetch-site": "cross-site"}, 403, id="no origin named"),
    ],
)
async def test_a_page_s_request_changes_nothing(
    kind: str, headers: dict[str, str], status: int, tmp_path: Path
) -> None:
    async with (
        served(kind, tmp_path) as (url, folder),
        httpx2.AsyncClient(trust_env=False, timeout=30) as client,
    ):
        faults = await client.post(f"{url}/control/faults", json=[], headers=headers)
        upload = await client.post(url + UPLOAD, content=b"x", headers=headers)

        assert (faults.status_code, upload.status_code) == (status, status)
        assert folder.stat("reports", "planted") is None


@pytest.mark.parametrize("kind", ["storage", "gemini"])
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_a_program_s_request_is_answered(kind: str, name: str, tmp_path: Path) -> None:
    async with (
        served(kind, tmp_path) as (url, _),
        httpx2.AsyncClient(trust_env=False, timeout=30) as client,
    ):
        own = f"{name}:{urlsplit(url).port}"
        headers = {"host": own, "origin": f"http://{own}", "sec-fetch-site": "same-origin"}
        assert (await client.get(url, headers=headers)).status_code == 200
        assert (await client.get(url, headers={"host": own})).status_code == 200


@pytest.mark.parametrize("linked", ["planted", "folder", "bucket", "dangling"])
def test_no_link_is_followed_out_of_the_folder(linked: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    secret = outside / "secret"
    secret.write_text("secret")
    folder = ObjectFolder(tmp_path / "objects")
    folder.create_bucket("reports")
    bucket = folder.root / "reports"
    match linked:
        case "planted":
            (bucket / "secret").symlink_to(secret)
        case "folder":
            (bucket / "a").symlink_to(outside)
        case "dangling":
            (bucket / "secret").symlink_to(outside / "not there yet")
        case _:
            bucket.rmdir()
            bucket.symlink_to(outside)

    for name in ("secret", "a/secret"):
        assert folder.stat("reports", name) is None
        with pytest.raises(ObjectFolderError):
            folder.read("reports", name)
        with suppress(ObjectFolderError):
            folder.write("reports", name, b"overwritten")

    assert secret.read_text() == "secret"
    assert [entry.name for entry in outside.iterdir()] == ["secret"]
    if linked != "bucket":
        names = {record.name for record in folder.list("reports")}
        assert names <= {"a/secret", "secret"}
