"""Images in an object store, against moto's server on this machine."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pyarrow import fs, parquet
from test_predict_archive import draw, parts

from free_ports import free_port
from hilum.archives.object_store import list_objects, read_object
from hilum.archives.predict_archive import predict_archive
from hilum.errors import DataError, ImageError

SERVER = shutil.which("moto_server", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
REGION = "region=us-east-1"


def answers(port):
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A server, and the query that leads to it; a bucket with five images in three folders, and what is no image."""
    if SERVER is None:
        pytest.skip("moto's server is not installed: pip install 'moto[s3]' flask flask-cors")
    port = free_port()
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patched:
        for name, value in (("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")):
            patched.setenv(name, value)
        server = subprocess.Popen(
            [SERVER, "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            end = time.monotonic() + 60
            while not answers(port):
                assert time.monotonic() < end
                time.sleep(0.2)
            query = f"?endpoint_override=127.0.0.1:{port}&scheme=http&{REGION}"
            bucket = fs.S3FileSystem(
                endpoint_override=f"127.0.0.1:{port}", scheme="http", region="us-east-1", allow_bucket_creation=True
            )
            bucket.create_dir("xrays")
            images = sorted(draw(folder / "images", 5).iterdir())
            places = ["b/c/IM0001", "a/1.png", "a/2.png", "z.png", "b/3.dcm", "a/.hidden.png", "a/notes.pdf"]
            for place, image in zip(places, [*images, images[0], images[0]], strict=True):
                with bucket.open_output_stream(f"xrays/{place}") as target:
                    target.write(image.read_bytes())
            yield folder, query
        finally:
            server.terminate()
            server.wait()


@pytest.mark.peers
def test_objects_are_listed_and_answered_as_files_are(store):
    folder, query = store
    everything = [f"s3://xrays/{name}{query}" for name in ("z.png", "a/1.png", "a/2.png", "b/3.dcm", "b/c/IM0001")]
    assert sorted(list_objects(f"s3://xrays{query}")) == sorted(everything)
    assert list(list_objects(everything[0])) == everything[:1]
    with pytest.raises(DataError) as found:
        list(list_objects(f"s3://xrays/none{query}"))
    assert found.value.code == "no-object"
    with pytest.raises(ImageError):
        read_object(f"s3://xrays/none.png{query}")
    listed = folder / "list.txt"
    images = sorted((folder / "images").iterdir())
    names = [everything[4], everything[1], f"s3://xrays/none.png{query}", everything[2]]
    listed.write_text("\n".join(names))
    predict_archive([str(listed)], folder / "local", threads=1, shard_size=2)
    counted = predict_archive([str(listed)], folder / "ray", threads=2, shard_size=2, engine="ray")
    assert (counted.images, counted.errors) == (4, 1)
    assert parts(folder / "local") == parts(folder / "ray")
    table = parquet.read_table(folder / "ray")
    assert table["path"].to_pylist() == names
    predict_archive([str(path) for path in images[:3]], folder / "files", threads=1)
    kept = [head for head in table.column_names if head.startswith(("p:", "decision", "label"))]
    expected = parquet.read_table(folder / "files").select(kept).to_pylist()
    rows = table.select(kept).to_pylist()
    assert [rows[0], rows[1], rows[3]] == expected


@pytest.mark.peers
def test_a_store_that_refuses_or_says_nothing_is_one_message(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(50)
        for port in (9, deaf.getsockname()[1]):
            address = f"s3://xrays/a.png?endpoint_override=127.0.0.1:{port}&scheme=http&{REGION}"
            begin = time.monotonic()
            with pytest.raises(DataError) as found:
                predict_archive([address], tmp_path / "out")
            assert found.value.code == "object-store"
            assert time.monotonic() - begin < 30
    for address in ("s3://xrays/a?what=1", "foo://a/b"):
        with pytest.raises(DataError):
            list(list_objects(address))
