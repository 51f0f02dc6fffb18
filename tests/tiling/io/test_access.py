from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio.io import MemoryFile

from tests.tiling.rasters import noise, write
from tiling.errors import InputError
from tiling.io import drivers
from tiling.io.access import ANYWHERE, AccessPolicy, check_access, restrict_access
from tiling.io.datasets import open_dataset
from tiling.io.drivers import driver_for
from tiling.io.vector_files import read_frame
from tiling.scene.from_files import open_scene

NOBODY = AccessPolicy(hosts=())


def refusal(path: str | Path) -> str:
    with pytest.raises(InputError) as caught:
        open_dataset(str(path))
    return str(caught.value)


# Formats


@pytest.mark.parametrize("driver", ["GTiff", "COG", "HFA", "ENVI", "JP2OpenJPEG"])
def test_the_formats_of_sources_are_told_by_content_and_read(tmp_path: Path, driver: str) -> None:
    pixels = noise(1, 64, 64)
    source = write(tmp_path / "a.tif", pixels)
    lossless = {"QUALITY": 100, "REVERSIBLE": "YES"} if driver == "JP2OpenJPEG" else {}
    rasterio.shutil.copy(source, tmp_path / "b.dat", driver=driver, **lossless)
    with open_dataset(str(tmp_path / "b.dat")) as dataset:
        assert dataset.driver == driver.replace("COG", "GTiff")
        assert np.array_equal(dataset.read(), pixels)


@pytest.mark.parametrize(
    ("driver", "mend"),
    [
        (
            "PNG",
            "b.tif is a PNG picture, and only GeoTIFF, VRT, .* "
            "gdal_translate -a_srs EPSG:… -a_ullr",
        ),
        ("JPEG", "b.tif is a JPEG picture, and only GeoTIFF, VRT"),
        ("AAIGrid", "b.tif is an ASCII grid, and only GeoTIFF, VRT, .* gdal_translate"),
        ("GPKG", "b.tif is a database such as a GeoPackage, and only GeoTIFF, VRT"),
        (
            "netCDF",
            r"b.tif is a\S* .*netCDF\S* file, and only GeoTIFF, VRT, .* gdal_translate "
            r"NETCDF:\S*b.tif:VARIABLE",
        ),
    ],
)
def test_other_formats_are_refused_by_name_whatever_they_are_called(
    tmp_path: Path, driver: str, mend: str
) -> None:
    rasterio.shutil.copy(
        write(tmp_path / "a.tif", noise(1, 64, 64)), tmp_path / "b.tif", driver=driver
    )
    with rasterio.open(tmp_path / "b.tif") as dataset:
        assert dataset.driver == driver  # GDAL would
    assert re.search(mend, refusal(tmp_path / "b.tif"))


@pytest.mark.parametrize(
    ("name", "content", "mend"),
    [
        ("x.zip", b"PK\3\4rest", "is a ZIP archive, .*; unpack it"),
        ("x.tar", bytes(257) + b"ustar\0" + bytes(200), "is a tar archive, .*; unpack it"),
        ("MTD_MSIL2A.xml", b"<?xml", "describes a Sentinel product; give its folder"),
        ("LC09_L2SP_022049_MTL.txt", b"GROUP = X", "describes a Landsat product; give its folder"),
    ],
)
def test_what_comes_with_an_image_is_told_apart_from_it(
    tmp_path: Path, name: str, content: bytes, mend: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert re.search(mend, refusal(tmp_path / name))


@pytest.mark.parametrize(
    "path",
    [
        "/vsizip/a.zip/a.tif",
        "/vsitar/a.tar/a.tif",
        "/vsigzip/a.tif.gz",
        "/vsistdin/",
        "/vsimem/a.tif",
        "/vsisubfile/0_100,a.tif",
        "/vsicurl_streaming/http://localhost/a.tif",
        "/vsicurl?url=http://localhost/a.tif",
        "/vsicurl/ftp://localhost/a.tif",
        "zip://a.zip!a.tif",
        "zip+http://localhost/a.zip!a.tif",
        "vrt://a.tif?bands=1",
        "WMS:http://localhost/",
        "WCS:http://localhost/",
        "STACIT:a.json",
        "DERIVED_SUBDATASET:AMPLITUDE:a.tif",
        "PG:dbname=x",
        "http://",
        "http:a.tif",
        "https://[/a.tif",
    ],
)
def test_ways_around_a_file_are_refused(path: str) -> None:
    sentence = refusal(path)
    assert path in sentence
    assert any(
        word in sentence
        for word in ("virtual file", "neither a file nor an address", "names no host")
    )


def test_a_directory_inside_a_tiff_is_a_source(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", noise(1, 16, 16))
    with open_dataset(f"GTIFF_DIR:1:{path}") as dataset:
        assert dataset.shape == (16, 16)
    with (
        restrict_access(AccessPolicy(roots=(tmp_path / "elsewhere",))),
        pytest.raises(InputError, match="outside the folders"),
    ):
        open_dataset(f"GTIFF_DIR:1:{path}")


def test_a_name_like_an_address_is_a_file_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "WMS:x.tif", noise(1, 16, 16))
    assert driver_for("WMS:x.tif") == "GTiff"


def test_a_name_to_which_nothing_can_be_added_is_read(tmp_path: Path) -> None:
    """What may lie beside a file has a longer name, and no file system takes one of more than 255
    bytes."""
    for name in (f"{'x' * 251}.tif", "x" * 255):
        path = tmp_path / name
        write(path, noise(1, 16, 16))
        assert open_scene([str(path)]).width == 16
        path.write_text("no raster")
        assert "is not a raster that GDAL can read" in refusal(path)


# VRT


def write_vrt(
    folder: Path,
    band: str,
    *,
    kind: str = "",
    attributes: str = "",
    head: str = "",
    name: str = "a.vrt",
) -> Path:
    (folder / name).write_text(
        f'{head}<VRTDataset rasterXSize="16" rasterYSize="16"{kind}><SRS>EPSG:32633</SRS>'
        "<GeoTransform>500000, 10, 0, 5000000, 0, -10</GeoTransform>"
        f'<VRTRasterBand dataType="Byte" band="1"{attributes}>{band}</VRTRasterBand></VRTDataset>'
    )
    return folder / name


def shown(source: object, relative: int = 1) -> str:
    return (
        "<SimpleSource><SourceFilename "
        f'relativeToVRT="{relative}">{source}</SourceFilename></SimpleSource>'
    )


def test_a_vrt_shows_what_lies_beside_it(tmp_path: Path) -> None:
    pixels = noise(1, 16, 16)
    path = write(tmp_path / "a.tif", pixels)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "b.vrt").symlink_to(write_vrt(tmp_path, shown("a.tif")))
    nested = write_vrt(tmp_path, shown("a.vrt"), name="nested.vrt")
    for one in (
        write_vrt(tmp_path, shown(path, 0), name="c.vrt"),
        tmp_path / "linked" / "b.vrt",
        nested,
    ):
        with open_dataset(str(one)) as dataset:
            assert np.array_equal(dataset.read(), pixels)


def test_warped_and_pansharpened_views_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", noise(1, 16, 16))
    with rasterio.open(path) as dataset, rasterio.vrt.WarpedVRT(dataset, crs="EPSG:3857") as warped:
        rasterio.shutil.copy(warped, tmp_path / "w.vrt", driver="VRT")
        expected = warped.read()
    with open_dataset(str(tmp_path / "w.vrt")) as dataset:
        assert np.array_equal(dataset.read(), expected)


DERIVED = ' subClass="VRTDerivedRasterBand"'
PYTHON = (
    "<PixelFunctionLanguage>Python</PixelFunctionLanguage><PixelFunctionType>f</PixelFunctionType>"
)
CODE = "<PixelFunctionCode>open('{ran}', 'w')</PixelFunctionCode>"


def python_inside(folder: Path) -> Path:
    return write_vrt(folder, PYTHON + CODE.format(ran=folder / "ran"), attributes=DERIVED)


def python_of_a_module(folder: Path) -> Path:
    return write_vrt(folder, PYTHON.replace(">f<", ">os.system<"), attributes=DERIVED)


def python_in_small_letters(folder: Path) -> Path:
    return write_vrt(folder, PYTHON.lower(), attributes=DERIVED.lower())


def python_in_attributes(folder: Path) -> Path:
    return write_vrt(
        folder,
        "",
        attributes=f'{DERIVED} PixelFunctionLanguage="Python" PixelFunctionType="os.system"',
    )


def python_under_comments(folder: Path) -> Path:
    band = "<PixelFunctionLanguage>Py<!-- -->th<![CDATA[on]]></PixelFunctionLanguage>"
    return write_vrt(folder, band, attributes=DERIVED)


def kind_in_an_element(folder: Path) -> Path:
    return write_vrt(folder, "<subClass>VRTRawRasterBand</subClass>")


def raw_bytes(folder: Path) -> Path:
    return write_vrt(
        folder,
        "<SourceFilename relativeToVRT='0'>/etc/passwd</SourceFilename>",
        attributes=' subClass="VRTRawRasterBand"',
    )


def processed(folder: Path) -> Path:
    return write_vrt(folder, "", kind=' subClass="VRTProcessedDataset"')


def inside_a_name(folder: Path) -> Path:
    return write_vrt(folder, shown("&lt;VRTDataset rasterXSize='1' rasterYSize='1'/&gt;", 0))


def entities(folder: Path) -> Path:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    return write_vrt(
        folder, "<Description>&l9;</Description>", head=f'<!DOCTYPE x [<!ENTITY l0 "ha">{laughs}]>'
    )


def file_entity(folder: Path) -> Path:
    head = '<!DOCTYPE x [<!ENTITY secret SYSTEM "file:///etc/passwd">]>'
    return write_vrt(folder, "<Description>&secret;</Description>", head=head)


def not_xml(folder: Path) -> Path:
    (folder / "a.vrt").write_text("<VRTDataset rasterXSize=16><Unclosed>")
    return folder / "a.vrt"


def endless(folder: Path) -> Path:
    return write_vrt(folder, shown("a.vrt"))


def archive(folder: Path) -> Path:
    return write_vrt(folder, shown("/vsizip/a.zip/a.tif", 0))


def service(folder: Path) -> Path:
    return write_vrt(folder, shown("WMS:http://localhost/", 0))


@pytest.mark.parametrize(
    ("draw", "fact"),
    [
        (python_inside, "a program in it"),
        (python_of_a_module, "a program in it"),
        (python_in_small_letters, "a program in it"),
        (python_in_attributes, "a program in it"),
        (python_under_comments, "a program in it"),
        (kind_in_an_element, "a kind that is said in an element"),
        (raw_bytes, "a VRTRawRasterBand"),
        (processed, "a VRTProcessedDataset"),
        (inside_a_name, "another description inside a file name"),
        (entities, "a document type"),
        (file_entity, "a document type"),
        (not_xml, "not well-formed XML"),
        (endless, "8 VRTs deep"),
        (archive, "a virtual file of a kind that is not read"),
        (service, "neither a file nor an address"),
    ],
)
def test_a_vrt_that_is_more_than_a_view_is_refused_before_gdal_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, draw: Callable[[Path], Path], fact: str
) -> None:
    monkeypatch.setenv("GDAL_VRT_ENABLE_PYTHON", "YES")
    write(tmp_path / "a.tif", noise(1, 16, 16))
    assert fact in refusal(draw(tmp_path))
    # nor is it let in under another
    assert fact in refusal(write_vrt(tmp_path, shown("a.vrt"), name="outer.vrt"))
    assert not (tmp_path / "ran").exists()


def test_a_vrt_on_another_machine_is_refused() -> None:
    assert "copy it to this machine" in refusal("https://localhost/a.vrt")


# Places


def test_roots_bound_what_is_opened_with_links_and_dots_followed(tmp_path: Path) -> None:
    inside, outside = tmp_path / "data", tmp_path / "private"
    inside.mkdir()
    outside.mkdir()
    secret, plain = (
        write(outside / "a.tif", noise(1, 16, 16)),
        write(inside / "a.tif", noise(1, 16, 16)),
    )
    (inside / "link.tif").symlink_to(secret)
    ways = [
        secret,
        inside / "link.tif",
        f"{inside}/../private/a.tif",
        f"file://{secret}",
        f"GTIFF_DIR:1:{secret}",
        outside / "is-not-there.tif",
        "~nobody-of-that-name/a.tif",
        write_vrt(inside, shown(secret, 0), name="absolute.vrt"),
        write_vrt(inside, shown("../private/a.tif"), name="relative.vrt"),
        write_vrt(inside, shown("link.tif"), name="linked.vrt"),
        write_vrt(inside, f'<SimpleSource SourceFilename="{secret}"/>', name="attribute.vrt"),
        write_vrt(
            inside,
            f"<simplesource><SOURCEFILENAME>{secret}</SOURCEFILENAME></simplesource>",
            name="case.vrt",
        ),
    ]
    with restrict_access(AccessPolicy(roots=(inside,))):
        assert open_scene([plain]).height == 16
        for way in ways:
            assert "outside the folders that this server opens" in refusal(way), way
        with pytest.raises(InputError, match="outside the folders"):
            open_scene([plain], mask=secret)
        with pytest.raises(InputError, match="outside the folders"):
            read_frame(outside / "a.gpkg")
        with pytest.raises(InputError, match="outside the folders"):
            check_access(str(tmp_path / "run"))
    check_access(str(tmp_path / "run"))  # and anywhere again


def test_a_vrt_behind_a_link_is_read_beside_its_file(tmp_path: Path) -> None:
    data, private = tmp_path / "data", tmp_path / "private"
    for folder in (data / "real", data / "far" / "off", private, data / "private"):
        folder.mkdir(parents=True)
    write(private / "a.tif", noise(1, 16, 16))
    write(data / "private" / "a.tif", noise(1, 16, 16))  # where the link alone would lead
    link = data / "far" / "off" / "a.vrt"
    link.symlink_to(write_vrt(data / "real", shown("../../private/a.tif")))
    with restrict_access(AccessPolicy(roots=(data,))):
        assert "outside the folders" in refusal(link)


@pytest.mark.parametrize("relative", ["01", " 1", "2", "1x", "+1", "00", "no", "true", "-0", ""])
def test_where_a_vrt_does_not_plainly_say_relative_to_what_both_must_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relative: str
) -> None:
    """GDAL takes it by C's atoi, other programs by other rules."""
    data, private = tmp_path / "data", tmp_path / "private"
    for folder in (data / "private", private / "data", data / "deep"):
        folder.mkdir(parents=True)
    source = (
        "<SimpleSource><SourceFilename "
        f'relativeToVRT="{relative}">../private/a.tif</SourceFilename></SimpleSource>'
    )
    of_vrt, of_process = write_vrt(data, source), write_vrt(data / "deep", source)
    with restrict_access(AccessPolicy(roots=(data,))):
        monkeypatch.chdir(data / "deep")  # from here it is data/private/a.tif
        assert "outside the folders" in refusal(of_vrt)
        # from here private/private/a.tif, from the VRT data/private/a.tif
        monkeypatch.chdir(private)
        assert "outside the folders" in refusal(of_process)


@pytest.mark.parametrize(
    "option",
    ["DEM", "dem", "RPC_DEM", "X_DATASET", "Y_DATASET", "OVERVIEW_FILE", "mask_overview_file"],
)
@pytest.mark.parametrize("attribute", ["name", "key"])
def test_options_that_name_a_file_are_within_reach_too(
    tmp_path: Path, option: str, attribute: str
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    secret = write(tmp_path / "secret.tif", noise(1, 16, 16))
    vrt = write_vrt(data, f'<Option {attribute}="{option}">{secret}</Option>')
    with restrict_access(AccessPolicy(roots=(data,))):
        assert "outside the folders" in refusal(vrt)


def test_a_root_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    write(tmp_path / "disk" / "a.tif", noise(1, 16, 16))
    with restrict_access(AccessPolicy(roots=(tmp_path / "data",))):
        assert open_scene([str(tmp_path / "data" / "a.tif")]).height == 16
        check_access(str(tmp_path / "data" / "run"))


def test_a_vrt_too_long_to_be_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.tif", noise(1, 16, 16))
    path = write_vrt(tmp_path, shown("a.tif"))
    monkeypatch.setattr(drivers, "_LARGEST_VRT", path.stat().st_size)
    open_dataset(str(path)).close()
    monkeypatch.setattr(drivers, "_LARGEST_VRT", path.stat().st_size - 1)
    assert "split it" in refusal(path)


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """The host and port of a server, and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}", asked
        server.shutdown()


def overviews_elsewhere(folder: Path, host: str) -> Path:
    path = write(folder / "o.tif", noise(1, 64, 64))
    Path(path + ".aux.xml").write_text(
        '<PAMDataset><Metadata domain="OVERVIEWS"><MDI '
        f'key="OVERVIEW_FILE">/vsicurl/http://{host}/o.ovr</MDI></Metadata>'
        "</PAMDataset>"
    )
    return Path(path)


@pytest.mark.parametrize(
    "draw",
    [
        lambda folder, host: f"http://{host}/a.tif",
        lambda folder, host: f"/vsicurl/http://{host}/a.tif",
        lambda folder, host: write_vrt(folder, shown(f"/vsicurl/http://{host}/a.tif", 0)),
        lambda folder, host: write_vrt(folder, shown(f"http://{host}/a.tif", 0)),
        overviews_elsewhere,
    ],
)
def test_a_host_out_of_reach_is_never_asked(
    tmp_path: Path, listener: tuple[str, list[str]], draw: Callable[[Path, str], Any]
) -> None:
    host, asked = listener
    with (
        restrict_access(NOBODY),
        pytest.raises(InputError, match=r"lies on 127\.0\.0\.1, and this server opens files of"),
    ):
        open_scene([str(draw(tmp_path, host))])
    assert asked == []


def test_a_host_in_reach_is_asked(listener: tuple[str, list[str]]) -> None:
    host, asked = listener
    with (
        restrict_access(AccessPolicy(hosts=("127.0.0.1",))),
        pytest.raises(InputError, match="does not exist"),
    ):
        open_dataset(f"http://{host}/a.tif")
    assert asked


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("https://data.example.org/a.tif", "data.example.org"),
        ("https://user:word@data.example.org:8443/a.tif", "data.example.org"),
        ("/vsicurl/https://DATA.example.org/a.tif", "data.example.org"),
        ("s3://bucket/a.tif", "s3://bucket"),
        ("/vsis3/bucket/a.tif", "s3://bucket"),
        ("gs://bucket/a.tif", "gs://bucket"),
        ("az://container/a.tif", "az://container"),
    ],
)
def test_hosts_and_buckets_are_named_apart(path: str, allowed: str) -> None:
    AccessPolicy(hosts=(allowed,)).check(path)
    ANYWHERE.check(path)
    for other in ((), ("example.org",), ("s3://other",), (f"{allowed}.evil.org",)):
        with pytest.raises(InputError, match="this server opens files of"):
            AccessPolicy(hosts=other).check(path)


# Vector files


def test_a_vector_file_that_names_others_is_refused(tmp_path: Path) -> None:
    shapes = [
        (
            "a.vrt",
            "<OGRVRTDataSource><SrcDataSource>b.gpkg</SrcDataSource></OGRVRTDataSource>",
        ),
        ("a.geojson", "<OGRVRTDataSource></OGRVRTDataSource>"),
        (
            "a.gml",
            "<?xml version='1.0'?><FeatureCollection "
            "xmlns:gml='http://www.opengis.net/gml'></FeatureCollection>",
        ),
        ("a.zip", "PK\x03\x04"),
    ]
    for name, text in shapes:
        (tmp_path / name).write_text(text)
        with pytest.raises(
            InputError, match="cannot be read as a vector file: it is no GeoPackage"
        ):
            read_frame(tmp_path / name)
    with pytest.raises(InputError, match="Is a directory"):
        read_frame(tmp_path)


@pytest.mark.parametrize("name", ["a.gpkg", "a.shp", "a.geojson", "a.fgb", "a.kml", "a.parquet"])
def test_vector_files_are_read(tmp_path: Path, name: str) -> None:
    import geopandas
    import shapely

    frame = geopandas.GeoDataFrame(
        {"Name": ["one"]}, geometry=[shapely.box(13, 50, 14, 51)], crs="EPSG:4326"
    )
    if name.endswith("parquet"):
        frame.to_parquet(tmp_path / name)
    else:
        frame.to_file(tmp_path / name, driver="KML" if name.endswith("kml") else None)
    (shape,) = read_frame(tmp_path / name).geometry
    assert shape.equals(frame.geometry[0])


def test_a_reach_is_that_of_all_threads(tmp_path: Path) -> None:
    path, found = write(tmp_path / "a.tif", noise(1, 16, 16)), []

    def look() -> None:
        try:
            open_dataset(path)
        except InputError as mistake:
            found.append(str(mistake))

    with restrict_access(AccessPolicy(roots=(tmp_path / "elsewhere",))):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert len(found) == 1
    assert os.path.sep in found[0]


def test_a_file_in_memory_is_a_geotiff_whatever_it_holds(tmp_path: Path) -> None:
    """Parts of a run come from stores as bytes, and GDAL would take them for what they say they
    are."""
    raw = raw_bytes(tmp_path)
    with MemoryFile(raw.read_bytes()) as memory:
        assert "is not a raster that GDAL can read" in refusal(Path(memory.name))
    with MemoryFile(Path(write(tmp_path / "a.tif", noise(1, 16, 16))).read_bytes()) as memory:
        assert open_dataset(memory.name).shape == (16, 16)
