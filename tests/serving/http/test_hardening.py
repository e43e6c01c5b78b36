"""Requests and files that nobody meant: no answer may be an internal error, and memory must not grow."""

import gc
import io
import os
import random
from pathlib import Path

import pytest
from PIL import Image

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

from hypothesis import HealthCheck, given, settings  # noqa: E402
from schemathesis import checks  # noqa: E402

from hilum.serving.http.served_models import ServedModels  # noqa: E402
from hilum.serving.http.uploads import Limits  # noqa: E402
from sizes import sized  # noqa: E402


def mutated(content, chance):
    """A file with some bytes changed, cut, repeated or put in; most of the damage at its head, where it matters."""
    damaged = bytearray(content)
    for _ in range(chance.randint(1, 8)):
        at = int(len(damaged) * chance.random() ** chance.choice((1, 4)))
        kind = chance.randrange(5)
        if kind == 0 and damaged:
            damaged[at % len(damaged)] = chance.randrange(256)
        elif kind == 1:
            damaged[at:at] = chance.randbytes(chance.randint(1, 40))
        elif kind == 2:
            del damaged[at : at + chance.randint(1, 200)]
        elif kind == 3:
            damaged[at:at] = damaged[at : at + chance.randint(1, 200)]
        else:
            damaged[at : at + 4] = chance.choice((b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff"))
    return bytes(damaged)


def send_mutated(client, seeds, count):
    chance = random.Random(20261126)
    statuses = {}
    for number in range(count):
        answer = client.post("/v1/predict", content=mutated(seeds[number % len(seeds)], chance))
        statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
        assert answer.status_code in (200, 413, 415, 422), (number, answer.status_code, answer.text)
    room = client.app.state.service.room
    assert room.images == room.bytes == 0
    return statuses


@pytest.fixture
def seeds(radiographs, dicom_file):
    jpeg = io.BytesIO()
    Image.open(io.BytesIO(radiographs[0])).save(jpeg, "JPEG")
    return [radiographs[0], jpeg.getvalue(), dicom_file]


def test_mutated_files_are_answered(client, seeds):
    statuses = send_mutated(client, seeds, 150)
    assert {200, 422} <= set(statuses)


@pytest.mark.slow
def test_ten_thousand_mutated_files_are_answered_and_leave_nothing(service, seeds):
    def memory():
        gc.collect()
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20

    client = service()
    send_mutated(client, seeds, sized(400, 1000))
    client.log.truncate(0)
    before = memory()
    send_mutated(client, seeds, sized(1500, 10_000))
    client.log.truncate(0)
    assert memory() - before < 100, "MiB"


CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]


def test_requests_after_the_description_are_answered_as_it_says(service):
    """No status that the description lacks, no answer of another shape, never an internal error."""
    client = service(models=ServedModels(), limits=Limits(request=2**20, file=2**20))  # its end closes them
    schema = schemathesis.openapi.from_asgi("/openapi.json", client.app)
    operations = [result.ok() for result in schema.get_all_operations()]
    assert {operation.path for operation in operations} >= {"/v1/predict", "/v1/view", "/v1/model", "/metrics"}
    for operation in operations:

        @settings(
            max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
        )
        @given(case=operation.as_strategy())
        def ask(case):
            case.call_and_validate(checks=CHECKS)

        ask()
