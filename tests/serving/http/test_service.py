"""The HTTP API: its answers are those of the predictor, and every refusal has its status and one message."""

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from hilum.serving.http.served_models import ServedModels
from hilum.serving.http.uploads import Limits
from hilum.serving.predictor import Predictor

TOKEN = "a token that is long enough"
SAFE_NAME = "Doe^Jane_1970.png"


def as_form(files):
    return [("files", (f"{number}.png", content, "image/png")) for number, content in enumerate(files)]


def image_bytes(kind, array):
    target = io.BytesIO()
    Image.fromarray(array).save(target, kind)
    return target.getvalue()


def test_a_form_of_files_is_answered_as_the_predictor_answers(client, radiographs):
    predictor = Predictor()
    wanted = [found.to_json(predictor.model) for found in predictor.predict_many(radiographs)]
    answer = client.post("/v1/predict", files=as_form(radiographs))
    assert answer.status_code == 200
    found = answer.json()["predictions"]
    for one, other in zip(found, wanted, strict=True):
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-6)
        other["p_in_distribution"] = pytest.approx(other["p_in_distribution"], abs=1e-6)
        other["probabilities"] = one["probabilities"]
    assert found == wanted


@pytest.mark.ci
@pytest.mark.parametrize("kind", ["flat", "padded", "cascade", "ensemble", "findings"])
def test_every_kind_of_model_and_container_is_answered_as_by_the_predictor(
    kind, bundle_of, service, radiographs, dicom_file
):
    pixels = np.asarray(Image.open(io.BytesIO(radiographs[0])))
    files = [radiographs[0], dicom_file, *(image_bytes(name, pixels) for name in ("TIFF", "BMP", "JPEG", "WEBP"))]
    models = ServedModels([str(bundle_of(kind))])
    predictor = Predictor(bundle_of(kind))
    answer = service(models=models).post("/v1/predict", files=as_form(files))
    models.close()
    for found, content in zip(answer.json()["predictions"], files, strict=True):
        wanted = predictor.predict(content, "image").to_json(predictor.model)
        assert found["probabilities"] == pytest.approx(wanted["probabilities"], abs=1e-6)
        assert (found["label"], found["decision"], found["reason"]) == (
            wanted["label"],
            wanted["decision"],
            wanted["reason"],
        )
        assert found.get("findings", {}).keys() == wanted.get("findings", {}).keys()


def test_a_raw_body_is_one_image(client, radiographs):
    for kind in ("application/octet-stream", "image/png", "application/dicom", None):
        headers = {"content-type": kind} if kind else {}
        answer = client.post("/v1/predict", content=radiographs[0], headers=headers)
        assert answer.status_code == 200, kind
        (found,) = answer.json()["predictions"]
        assert found["path"] == "image 1"


def test_a_bad_file_does_not_stop_the_others(client, radiographs):
    answer = client.post("/v1/predict", files=as_form([radiographs[0], b"no image at all", radiographs[1]]))
    assert answer.status_code == 200
    first, bad, last = answer.json()["predictions"]
    assert ["error" in one for one in (first, bad, last)] == [False, True, False]
    assert "error" not in answer.json()


def zipped():
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as file:
        file.writestr("a.png", b"x")
    return target.getvalue()


def bomb():
    """A PNG that states a hundred thousand pixels a side, in a few bytes."""
    content = bytearray(image_bytes("PNG", np.zeros((64, 64), np.uint8)))
    content[16:24] = (100_000).to_bytes(4, "big") * 2
    import zlib

    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 422, "empty"),
        (b"%PDF-1.4 and so on", 415, "no-image"),
        (zipped(), 415, "no-image"),
        (b"text", 415, "no-image"),
        (bomb(), 422, "too-many-pixels"),
        (image_bytes("PNG", np.zeros((128, 128), np.uint8)), 422, "constant"),
        (image_bytes("PNG", np.eye(8, dtype=np.uint8) * 255), 422, "too-small"),
        (image_bytes("PNG", np.random.default_rng(0).integers(0, 256, (99, 99), np.uint8))[:600], 422, "damaged"),
    ],
)
def test_what_is_no_radiograph_has_a_status_and_a_code(client, content, status, code):
    answer = client.post("/v1/predict", content=content)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["error"]["message"]


def test_a_colour_photograph_is_abstained_on(client):
    photo = np.random.default_rng(1).integers(0, 256, (128, 128, 3), np.uint8)
    answer = client.post("/v1/predict", content=image_bytes("PNG", photo))
    assert answer.json()["predictions"][0]["decision"] == "abstain"


def test_other_content_types_are_refused(client):
    answer = client.post("/v1/predict", json={"image": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "content-type")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"--x\r\nContent-Disposition: form-data; name=files; filename=a\r\n\r\nhal", "damaged-form"),
        (b"no form at all", "damaged-form"),
        (b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nno file\r\n--x--\r\n", "empty"),
        (b"--x\r\n" + b"A: b\r\n" * 4000 + b"\r\nhal\r\n--x--\r\n", "damaged-form"),
    ],
)
def test_a_damaged_form_is_refused(client, body, code):
    answer = client.post("/v1/predict", content=body, headers={"content-type": "multipart/form-data; boundary=x"})
    assert answer.json()["error"]["code"] == code
    assert answer.status_code == (422 if code == "empty" else 400)


def test_a_form_without_a_boundary_is_refused(client):
    answer = client.post("/v1/predict", content=b"x", headers={"content-type": "multipart/form-data"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "damaged-form")


def test_limits_are_counted_as_bytes_come_in(service, radiographs):
    small = service(limits=Limits(file=1000, request=5000, files=2))

    def stated_otherwise():  # no content length: only counting finds it
        yield from (b"x" * 500 for _ in range(4))

    assert small.post("/v1/predict", content=stated_otherwise()).status_code == 413
    assert small.post("/v1/predict", content=b"x" * 6000).status_code == 413
    assert small.post("/v1/predict", files=as_form([b"x" * 1500])).status_code == 413
    answer = small.post("/v1/predict", files=as_form([b"x"] * 3))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too-many-files")
    assert small.app.state.service.room.images == small.app.state.service.room.bytes == 0


def test_without_room_it_says_when_to_come_back(service, radiographs):
    full = service(limits=Limits(waiting=2))
    answer = full.post("/v1/predict", files=as_form(radiographs[:3]))
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert full.post("/v1/predict", files=as_form(radiographs[:2])).status_code == 200
    heavy = service(limits=Limits(total=1000))
    assert heavy.post("/v1/predict", content=radiographs[0]).status_code == 503
    assert heavy.get("/readyz").status_code == 200


def test_a_token_guards_all_but_the_page_and_health(service, radiographs):
    guarded = service(token=TOKEN)
    for path in ("/", "/page/app.js", "/healthz", "/readyz"):
        assert guarded.get(path).status_code == 200, path
    for path in ("/v1/model", "/v1/models", "/metrics", "/v1/examples/1", "/openapi.json"):
        assert guarded.get(path).status_code == 401, path
    wrong = {"authorization": "Bearer no"}
    assert guarded.post("/v1/predict", content=radiographs[0], headers=wrong).status_code == 401
    right = {"authorization": f"Bearer {TOKEN}"}
    assert guarded.post("/v1/predict", content=radiographs[0], headers=right).status_code == 200


def test_other_hosts_and_other_sites_are_refused(service):
    local = service(hosts=("127.0.0.1", "localhost"))
    assert local.get("/v1/model").status_code == 200
    assert local.get("/v1/model", headers={"host": "evil.example"}).json()["error"]["code"] == "other-host"
    assert local.get("/v1/model", headers={"sec-fetch-site": "cross-site"}).json()["error"]["code"] == "other-site"


def test_no_name_leaves_the_request(client, radiographs):
    files = [("files", (SAFE_NAME, radiographs[0], "image/png"))]
    answer = client.post(f"/v1/predict?patient={SAFE_NAME}", files=files)
    broken = client.post("/v1/predict", files=[("files", (SAFE_NAME, b"no image", "image/png"))])
    missing = client.get(f"/{SAFE_NAME}")
    said = answer.text + broken.text + missing.text + client.log.getvalue() + client.get("/metrics").text
    assert "Jane" not in said
    assert len(client.log.getvalue().splitlines()) == 4
    assert all(json.loads(line)["event"] == "request" for line in client.log.getvalue().splitlines())


def test_metrics_count_what_was_done(client, radiographs):
    client.post("/v1/predict", files=as_form(radiographs[:2]))
    client.post("/v1/predict", content=b"")
    text = client.get("/metrics").text
    assert 'hilum_requests_total{route="/v1/predict",status="200"} 1.0' in text
    assert 'hilum_requests_total{route="/v1/predict",status="422"} 1.0' in text
    counted = [line for line in text.splitlines() if line.startswith("hilum_predictions_total")]
    assert sum(float(line.rsplit(" ", 1)[1]) for line in counted) == 2


def test_the_model_is_described(client):
    model = client.get("/v1/model").json()
    predictor = Predictor()
    assert tuple(label["label"] for label in model["labels"]) == predictor.model_file.labels
    assert model["sha256"] == predictor.model_file.sha256
    assert model["threshold"] == predictor.model_file.point.for_images().threshold
    assert [label["label"] for label in model["labels"] if label["flagged"]] == list(predictor.model_file.point.members)
    assert client.get("/v1/model?model=none").status_code == 404
    assert [one["name"] for one in client.get("/v1/models").json()["models"]] == [model["name"]]


def test_examples_are_radiographs_of_size(client):
    sizes = {Image.open(io.BytesIO(client.get(f"/v1/examples/{number}").content)).size for number in range(1, 5)}
    assert sizes == {(512, 512)}
    assert client.get("/v1/examples/5").status_code == 404
    assert client.get("/v1/examples/x").status_code == 422


def test_every_answer_forbids_foreign_scripts(client):
    for path in ("/", "/v1/model", "/nothing", "/page/style.css"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


def test_the_page_holds_no_inline_script_and_no_outside_host(client):
    page = client.get("/").text
    assert not [text for text in ("<script>", " style=", "http") if text in page]
    for name in ("app", "viewer", "answer", "worklist", "service"):
        script = client.get(f"/page/{name}.js")
        assert script.headers["content-type"].startswith("text/javascript")
        for forbidden in ("innerHTML", "insertAdjacentHTML", "eval(", "http://", "https://"):
            assert forbidden not in script.text, (name, forbidden)
