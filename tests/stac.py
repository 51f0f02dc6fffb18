"""Items, a catalogue of files and an API, as catalogues of imagery have them, made of rasters drawn
for a test."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import rasterio
import shapely
from rasterio.warp import transform_bounds

COG = "image/tiff; application=geotiff; profile=cloud-optimized"
CORE = "https://api.stacspec.org/v1.0.0/core"
SEARCH = "https://api.stacspec.org/v1.0.0/item-search"


def asset(
    path: str | Path, names: Sequence[str] = (), *, version: str = "1.0.0", **said: Any
) -> dict[str, Any]:
    """An asset of bands with these common names; `said` is said of each: nodata, scale, offset."""
    found: dict[str, Any] = {"href": str(path), "type": COG, "roles": ["data"]}
    if version == "1.1.0":
        told = {f"raster:{key}" if key != "nodata" else key: value for key, value in said.items()}
        return found | {"bands": [{"name": name, "eo:common_name": name, **told} for name in names]}
    found |= {"eo:bands": [{"name": name, "common_name": name} for name in names]} if names else {}
    return found | ({"raster:bands": [said] * max(1, len(names))} if said else {})


def item(
    name: str,
    assets: dict[str, dict[str, Any]],
    *,
    day: str = "2024-05-03",
    cloud: float | None = None,
    collection: str = "drawn",
    version: str = "1.0.0",
    **about: Any,
) -> dict[str, Any]:
    """An item whose footprint is the outline of its first asset."""
    with rasterio.open(next(iter(assets.values()))["href"]) as source:
        west, south, east, north = transform_bounds(source.crs, "EPSG:4326", *source.bounds)
    about |= {} if cloud is None else {"eo:cloud_cover": cloud}
    return {
        "type": "Feature",
        "stac_version": version,
        "stac_extensions": [],
        "id": name,
        "collection": collection,
        "geometry": shapely.geometry.mapping(shapely.box(west, south, east, north)),
        "bbox": [west, south, east, north],
        "properties": {"datetime": f"{day}T10:20:30Z", **about},
        "links": [],
        "assets": assets,
    }


def write(path: Path, content: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return str(path)


def catalogue(folder: Path, items: Sequence[dict[str, Any]]) -> str:
    """A catalogue of files: a collection for each that items name, each item in a folder of its
    own."""
    extent = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}}
    collections = sorted({one["collection"] for one in items})
    for name in collections:
        inside = [one for one in items if one["collection"] == name]
        for one in inside:
            write(folder / name / one["id"] / f"{one['id']}.json", one)
        links = [{"rel": "root", "href": "../catalog.json"}]
        links += [{"rel": "item", "href": f"./{one['id']}/{one['id']}.json"} for one in inside]
        about = {
            "type": "Collection",
            "stac_version": "1.0.0",
            "id": name,
            "description": name,
            "license": "other",
        }
        write(folder / name / "collection.json", {**about, "extent": extent, "links": links})
    links = [{"rel": "child", "href": f"./{name}/collection.json"} for name in collections]
    about = {"type": "Catalog", "stac_version": "1.0.0", "id": "all", "description": "all"}
    return write(folder / "catalog.json", {**about, "links": links})


@dataclass
class Api:
    """A STAC API on this machine, page by page; what it was asked is written down."""

    url: str
    items: list[dict[str, Any]]
    methods: tuple[str, ...] = ("GET", "POST")
    page: int = 2
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)
    """What it answers first."""
    next_at: str = ""
    """Where it says that the next page is, if not here."""
    moved: str = ""
    """Where it says that `/moved` is."""
    silent: threading.Event | None = None
    """It does not answer before this is set."""

    def answer(self, method: str, path: str, given: dict[str, Any]) -> tuple[int, Any]:
        if path == "/":
            search = {"rel": "search", "href": f"{self.url}/search", "type": "application/geo+json"}
            links = [{**search, "method": method} for method in self.methods] + [
                {"rel": "self", "href": self.url}
            ]
            about = {
                "type": "Catalog",
                "stac_version": "1.0.0",
                "id": "api",
                "description": "drawn",
            }
            return 200, {**about, "conformsTo": [CORE, SEARCH], "links": links}
        if path.startswith("/items/"):
            return 200, next(
                self.told(one) for one in self.items if one["id"] == path.rpartition("/")[2]
            )
        if self.silent is not None:
            self.silent.wait(30)
        self.asked.append((method, given))
        if self.failures:
            return self.failures.pop(0), {"description": "out of order"}
        if "bbox" in given and given["bbox"][0] > 179:
            return 400, {"description": "not there"}
        matching = [one for one in self.items if self.matches(one, given)]
        start = int(given.get("token", 0))
        links = []
        if start + self.page < len(matching):
            after = {**given, "token": start + self.page}
            link = {"rel": "next", "href": f"{self.next_at or self.url}/search", "method": method}
            if method == "POST":
                links = [link | {"body": after}]
            else:
                text = {
                    k: ",".join(map(str, v)) if isinstance(v, list) else v for k, v in after.items()
                }
                links = [
                    link
                    | {"href": link["href"] + "?" + "&".join(f"{k}={v}" for k, v in text.items())}
                ]
        found = [self.told(one) for one in matching[start : start + self.page]]
        return 200, {"type": "FeatureCollection", "features": found, "links": links}

    def told(self, one: dict[str, Any]) -> dict[str, Any]:
        return {**one, "links": [{"rel": "self", "href": f"{self.url}/items/{one['id']}"}]}

    def matches(self, one: dict[str, Any], given: dict[str, Any]) -> bool:
        if given.get("collections") and one["collection"] not in given["collections"]:
            return False
        if given.get("bbox") and not shapely.box(*map(float, given["bbox"])).intersects(
            shapely.box(*one["bbox"])
        ):
            return False
        start, _, end = str(given.get("datetime", "")).replace("..", "").partition("/")
        return start <= one["properties"]["datetime"] <= (end or "9999")


@contextmanager
def serving(items: Sequence[dict[str, Any]], **how: Any) -> Iterator[Api]:
    """An API that finds these items, while the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path == "/moved":
                self.send_response(302)
                self.send_header("Location", api.moved)
                self.end_headers()
                return
            if parts.path.endswith(".tif"):
                self._file(Path(parts.path))
                return
            given: dict[str, Any] = {
                name: values[0] for name, values in parse_qs(parts.query).items()
            }
            for name in ("bbox", "collections"):
                if name in given:
                    given[name] = given[name].split(",")
            given |= {"bbox": [float(v) for v in given["bbox"]]} if "bbox" in given else {}
            self._answer(*api.answer("GET", parts.path or "/", given))

        def do_HEAD(self) -> None:
            self._file(Path(self.path))

        def do_POST(self) -> None:
            given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer(*api.answer("POST", self.path, given))

        def _answer(self, status: int, content: Any) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _file(self, path: Path) -> None:
            """A file of this machine, or the range of it that is asked for."""
            if not path.is_file():
                self.send_error(404)
                return
            content = path.read_bytes()
            whole, asked = (
                len(content),
                re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")),
            )
            start, end = (int(asked[1]), int(asked[2] or whole - 1)) if asked else (0, whole - 1)
            content = content[start : end + 1]
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header(
                    "Content-Range", f"bytes {start}-{start + len(content) - 1}/{whole}"
                )
            self.send_header("ETag", f'"{path.stat().st_mtime_ns}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api = Api(f"http://127.0.0.1:{server.server_address[1]}", list(items), **how)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        if api.silent is not None:
            api.silent.set()
        server.shutdown()
        server.server_close()
        thread.join()
