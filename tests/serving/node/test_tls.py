"""Mutual TLS: peers with a certificate of the known authority are heard, others are not, and hold nobody up."""

import socket
import subprocess
import time

import pytest

from node_peers import image, saved, settings, store, tool, until


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Two authorities, and of each a certificate for 127.0.0.1, made by openssl."""
    folder = tmp_path_factory.mktemp("tls")
    openssl = tool("openssl")

    def run(*command):
        subprocess.run([openssl, *map(str, command)], check=True, capture_output=True, cwd=folder)

    for authority in ("known", "other"):
        new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        run(
            *new,
            "-x509",
            "-days",
            2,
            "-subj",
            f"/CN={authority}",
            "-keyout",
            f"{authority}-ca.key",
            "-out",
            f"{authority}-ca.pem",
        )
        run(*new, "-subj", "/CN=127.0.0.1", "-keyout", f"{authority}.key", "-out", f"{authority}.csr")
        (folder / "names").write_text("subjectAltName=IP:127.0.0.1")
        sign = (
            "x509",
            "-req",
            "-in",
            f"{authority}.csr",
            "-CA",
            f"{authority}-ca.pem",
            "-CAkey",
            f"{authority}-ca.key",
        )
        run(*sign, "-CAcreateserial", "-days", 2, "-extfile", "names", "-out", f"{authority}.pem")
    return folder


def tls(folder, name="known"):
    return {
        "certificate": str(folder / f"{name}.pem"),
        "key": str(folder / f"{name}.key"),
        "authorities": str(folder / "known-ca.pem"),
    }


def options(folder, name="known"):
    return ("+tls", folder / f"{name}.key", folder / f"{name}.pem", "+cf", folder / "known-ca.pem")


def test_only_known_certificates_are_heard(node, archive, certificates, tmp_path):
    running = node(archive, listen={"tls": tls(certificates)})
    files = saved(tmp_path / "in", [image(1)])
    silent = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(5)]  # never shake hands
    try:
        begin = time.monotonic()
        assert store(files, running.port, options=("-to", "5", "-ta", "5")).returncode != 0  # in plain text
        assert store(files, running.port, options=options(certificates, "other")).returncode != 0
        assert running.status()["jobs"]["received"] == 0
        assert store(files, running.port, options=options(certificates)).returncode == 0
        assert time.monotonic() - begin < 30
        echo = [tool("echoscu"), "-aet", "SENDER", "-aec", "HILUM", *options(certificates), "127.0.0.1", running.port]
        assert subprocess.run(list(map(str, echo)), capture_output=True, timeout=60).returncode == 0
    finally:
        for one in silent:
            one.close()
    until(lambda: archive.reports())
    assert any(line["event"] == "association-refused" and "TLS" in line["reason"] for line in running.events())


def test_reports_are_sent_over_tls(node, certificates, tmp_path):
    """storescp of dcmtk asks for a certificate, and the node checks its."""
    from free_ports import free_port

    port, got = free_port(), tmp_path / "got"
    got.mkdir()
    command = [tool("storescp"), "-aet", "ARCHIVE", "-od", got, *options(certificates), "+xa", port]
    peer = subprocess.Popen(list(map(str, command)))
    try:
        tried = {
            "name": "ARCHIVE",
            "dicom": {"host": "127.0.0.1", "port": port, "ae_title": "ARCHIVE", "tls": tls(certificates)},
        }
        running = node(tried)
        assert store(saved(tmp_path / "in", [image(1)]), running.port).returncode == 0
        until(lambda: list(got.iterdir()))
        until(lambda: running.status()["jobs"]["sent"] == 1)
    finally:
        peer.kill()
        peer.wait()


def test_a_missing_certificate_ends_the_start(tmp_path, hilum, archive, certificates):
    import tomli_w

    from node_peers import to

    wrong = tls(certificates) | {"key": str(certificates / "other.key")}
    config = tmp_path / "node.toml"
    config.write_text(tomli_w.dumps(settings(tmp_path, to(archive), listen={"tls": wrong})))
    result = hilum("node", "--config", config)
    assert result.returncode == 2
    assert "known.pem" in result.stderr
