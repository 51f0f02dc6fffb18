"""Files of runs by address: what is shown, what is not, and to whom."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from flows.deployments.prefect_app import guard_app
from flows.pages.fileserver import MARK, PREFIX, answer_to, link, path_of, show

HERE = "http://127.0.0.1:4200"


async def prefect(scope: Scope, receive: Receive, send: Send) -> None:
    """Stands for Prefect's app, which answers everything else."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"Prefect"})


@pytest.fixture
def client() -> TestClient:
    return TestClient(
        guard_app(prefect, "127.0.0.1", files=True), base_url=HERE, follow_redirects=False
    )


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of products that is shown, beside one that is not."""
    monkeypatch.setenv("LANDWEAVE_FILES", f"{HERE}{PREFIX}")
    monkeypatch.delenv("LANDWEAVE_DATA_ROOTS", raising=False)
    run = tmp_path / "my run (1)"
    for folder in (run / "inner", run / "parts", tmp_path / "private"):
        folder.mkdir(parents=True)
        (folder / "areas.csv").write_text("class,ha\n")
    (run / "classes.tif").write_bytes(bytes(range(256)) * 40)
    (run / "landcover.gpkg").write_bytes(b"SQLite format 3\0")
    (run / "quicklook.png").write_bytes(b"\x89PNG")
    (run / "report.html").write_text("<script>alert(1)</script>")
    (run / "id_rsa").write_text("secret")
    (run / ".env.json").write_text("secret")
    show(run)
    return run


def address_of(path: Path) -> str:
    return PREFIX + quote(str(path))


def status(path: str) -> int:
    """Of a request as it comes from the network, without what a client makes of it."""
    return answer_to("GET", path.encode()).status_code


def test_a_link_leads_to_the_file(client: TestClient, run: Path) -> None:
    for name in ("classes.tif", "landcover.gpkg", "quicklook.png", "inner/areas.csv"):
        answer = client.get(link(run / name))
        assert answer.status_code == 200
        assert answer.content == (run / name).read_bytes()
    assert not re.search(r"[ ()]", link(run))  # which would end a link in Markdown


def test_rasters_and_packages_are_downloaded_pictures_and_reports_opened(
    client: TestClient, run: Path
) -> None:
    wanted = {
        "classes.tif": ("attachment", "image/tiff; application=geotiff"),
        "landcover.gpkg": ("attachment", "application/geopackage+sqlite3"),
        "quicklook.png": ("inline", "image/png"),
        "report.html": ("inline", "text/html; charset=utf-8"),
    }
    for name, (kind, content) in wanted.items():
        answer = client.get(link(run / name))
        assert answer.headers["content-disposition"] == f'{kind}; filename="{name}"'
        assert answer.headers["content-type"] == content


def test_a_range_of_a_raster_is_read_alone(client: TestClient, run: Path) -> None:
    """As GDAL's /vsicurl/ does."""
    asked = client.head(link(run / "classes.tif"))
    assert asked.headers["accept-ranges"] == "bytes"
    assert asked.headers["content-length"] == "10240"
    assert asked.content == b""
    part = client.get(link(run / "classes.tif"), headers={"range": "bytes=250-259"})
    assert part.status_code == 206
    assert part.headers["content-range"] == "bytes 250-259/10240"
    assert part.content == bytes([250, 251, 252, 253, 254, 255, 0, 1, 2, 3])
    assert (
        client.get(link(run / "classes.tif"), headers={"range": "bytes=99999-"}).status_code == 416
    )


def test_a_page_of_a_run_runs_no_script_beside_the_api(client: TestClient, run: Path) -> None:
    for name in ("report.html", "quicklook.png", "classes.tif", "missing.tif", ""):
        headers = client.get(link(run) + name).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script" not in policy.replace("'none'", "")
        assert "sandbox" in policy
        assert "form-action 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers


def test_a_folder_lists_its_products_with_sizes_and_nothing_else(
    client: TestClient, run: Path
) -> None:
    bare = link(run).rstrip("/")
    assert client.get(bare).headers["location"] == link(run).removeprefix(HERE)
    page = client.get(link(run)).text
    names = re.findall(r'<a href="\./([^"]*)"', page)
    assert names == ["inner/", "classes.tif", "landcover.gpkg", "quicklook.png", "report.html"]
    assert "10 kB" in page
    assert "../" not in page  # the folder above is not shown
    assert 'href="../"' in client.get(link(run / "inner")).text


def test_names_are_text_on_the_page(client: TestClient, run: Path) -> None:
    (run / '"><script>alert(1)<.csv').write_text("")
    (run / os.fsdecode(b"\xff.csv")).write_text("")
    page = client.get(link(run)).text
    assert "<script>" not in page
    for href in re.findall(r'<a href="\./([^"]*)"', page):
        assert client.get(f"{link(run)}{href}").status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"])
def test_files_are_read_and_nothing_else(client: TestClient, run: Path, method: str) -> None:
    answer = client.request(method, link(run / "quicklook.png"), content=b"x")
    assert answer.status_code == 405
    assert (run / "quicklook.png").read_bytes() == b"\x89PNG"


def test_nothing_is_shown_but_what_a_run_has_written_into_a_folder_that_says_so(run: Path) -> None:
    outside = run.parent / "private" / "areas.csv"
    assert status(address_of(run / "inner" / "areas.csv")) == 200
    for path in (outside, outside.parent, run.parent, Path("/etc/passwd"), run / "id_rsa"):
        assert status(address_of(path)) == 404
    for hidden in (run / MARK, run / ".env.json"):
        assert status(address_of(hidden)) == 404
    (run / MARK).unlink()
    assert status(address_of(run / "inner" / "areas.csv")) == 404


@pytest.mark.parametrize(
    "way",
    [
        "{run}/../private/areas.csv",
        "{run}/%2e%2e/private/areas.csv",
        "{run}/..%2fprivate/areas.csv",
        "{run}/%2E%2E%2Fprivate%2Fareas.csv",
        "{run}/inner%2fareas.csv",
        "{run}/inner%5careas.csv",
        "{run}/./classes.tif",
        "{run}//classes.tif",
        "{run}/classes.tif%00",
        "{run}/classes.tif%00.png",
        "{run}/%252e%252e/private/areas.csv",
        "{run}/classes.tif/",
        "{run}/classes.tif/areas.csv",
        "{run}/" + "a" * 5000 + ".tif",
    ],
)
def test_no_address_leads_out_or_says_a_path_in_disguise(run: Path, way: str) -> None:
    assert status(way.format(run=address_of(run))) == 404


def test_an_address_is_not_taken_apart_twice() -> None:
    assert path_of(b"/a/%252e%252e/b") == Path("/a/%2e%2e/b")


def test_links_are_followed_before_it_is_decided(run: Path) -> None:
    outside = run.parent / "private"
    (run / "leak.csv").symlink_to(outside / "areas.csv")
    (run / "leak").symlink_to(outside)
    (run / "loop.csv").symlink_to(run / "loop.csv")
    (run / "same.csv").symlink_to(run / "inner" / "areas.csv")
    os.mkfifo(run / "pipe.csv")
    for name in ("leak.csv", "leak/areas.csv", "leak/", "loop.csv", "pipe.csv"):
        assert status(address_of(run / name)) == 404
    assert status(address_of(run / "same.csv")) == 200
    page = bytes(answer_to("GET", f"{address_of(run)}/".encode()).body)
    assert b"leak" not in page
    (outside / MARK).symlink_to(run / MARK)  # a mark is a file of the folder's own
    assert status(address_of(outside / "areas.csv")) == 404


def test_data_roots_bind_files_as_they_bind_forms(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANDWEAVE_DATA_ROOTS", str(run.parent / "private"))
    assert status(address_of(run / "classes.tif")) == 404
    monkeypatch.setenv("LANDWEAVE_DATA_ROOTS", f"{run.parent / 'private'}:{run}")
    assert status(address_of(run / "classes.tif")) == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:4200", "127.0.0.1.evil.example", "10.0.0.1:4200", ""]
)
@pytest.mark.parametrize("path", ["/files/", "/api/flow_runs/filter", "/"])
def test_a_name_that_was_made_to_lead_here_is_refused(
    client: TestClient, host: str, path: str
) -> None:
    """Or a page of the internet could ask Prefect to run things, by DNS rebinding."""
    assert client.get(path, headers={"host": host}).status_code == 400


@pytest.mark.parametrize("host", ["127.0.0.1:4200", "localhost:4200", "localhost"])
def test_this_machines_own_names_are_let_in(client: TestClient, host: str) -> None:
    assert client.get("/files/", headers={"host": host}).status_code == 200
    assert client.get("/api/health", headers={"host": host}).text == "Prefect"


def test_switched_off_there_are_no_addresses_and_no_marks(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = TestClient(guard_app(prefect, "127.0.0.1", files=False), base_url=HERE)
    assert without.get(link(run / "classes.tif")).text == "Prefect"
    for value in ("off", ""):
        monkeypatch.setenv("LANDWEAVE_FILES", value)
        assert link(run / "classes.tif") == ""
        show(tmp_path / "private")
        assert not (tmp_path / "private" / MARK).exists()
