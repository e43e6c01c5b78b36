"""The application: its routes, and what each answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from threading import Event
from typing import Annotated, Any, Literal, NotRequired

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Route
from typing_extensions import TypedDict

import hilum
from hilum.errors import ExtraError, ImageError, PassingImageError
from hilum.serving.http.description import ModelDescription
from hilum.serving.http.examples import EXAMPLES, make_example
from hilum.serving.http.guard import Guard
from hilum.serving.http.monitoring import Monitoring
from hilum.serving.http.picture import pack_picture
from hilum.serving.http.served_models import Served, ServedModels
from hilum.serving.http.uploads import HttpError, Limits, Room, Upload
from hilum.serving.prediction import ModelName, Prediction, PredictionLine, UnreadableLine

PAGE = {
    "": ("index.html", "text/html; charset=utf-8"),
    "style.css": ("style.css", "text/css; charset=utf-8"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
    **{
        f"{name}.js": (f"{name}.js", "text/javascript; charset=utf-8")
        for name in ("app", "viewer", "answer", "worklist", "service")
    },
}
NOT_IMAGES = ("no-image", "unread-kind")


class Failure(TypedDict):
    """Why a request was refused."""

    code: str
    message: str


class Refusal(TypedDict):
    """The body of every answer that is an error."""

    error: Failure


class Answers(TypedDict):
    """The answer of ``POST /v1/predict``: one prediction an image, in the order of the upload."""

    predictions: list[PredictionLine | UnreadableLine]
    error: NotRequired[Failure]


class Models(TypedDict):
    """The models of a service; the first one answers where none is named."""

    models: list[ModelName]


class State(TypedDict):
    """Whether the service works."""

    status: Literal["ok", "ready", "busy", "ending"]
    version: str


ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": Refusal, "description": "A damaged or broken-off upload."},
    401: {"model": Refusal, "description": "A missing or wrong token."},
    403: {"model": Refusal, "description": "A request from another site, or for another host."},
    404: {"model": Refusal, "description": "No such model."},
    408: {"model": Refusal, "description": "The upload stood still."},
    413: {"model": Refusal, "description": "A file or request that is too large."},
    415: {"model": Refusal, "description": "Not an image."},
    422: {"model": Refusal, "description": "An image that cannot be read as a radiograph, or a wrong parameter."},
    503: {"model": Refusal, "description": "No room at the moment; see Retry-After."},
}
UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1}
                    },
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@dataclass(frozen=True)
class Service:
    """What the routes share.

    Attributes:
        models: Who answers.
        room: How much is under way.
        monitoring: What counts.
        ending: Set when the service ends.
    """

    models: ServedModels
    room: Room
    monitoring: Monitoring
    ending: Event


# Dependencies and handlers of errors are coroutines: FastAPI gives plain functions to a thread each.
async def _service(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


async def _served(
    request: Request,
    model: Annotated[
        str | None, Query(description="Name of a model; by default the first one.", max_length=200)
    ] = None,
) -> Served:
    return (await _service(request)).models.get(model)


Here = Annotated[Service, Depends(_service)]
Chosen = Annotated[Served, Depends(_served)]
router = APIRouter()


def create_app(
    models: ServedModels,
    *,
    limits: Limits | None = None,
    token: str | None = None,
    hosts: tuple[str, ...] = (),
    monitoring: Monitoring | None = None,
) -> FastAPI:
    """The service as an ASGI application.

    Args:
        models: Who answers; they are closed when the application ends.
        limits: What it accepts.
        token: What requests have to carry as ``Authorization: Bearer TOKEN``; None for no such condition.
        hosts: Names under which it may be asked for; none for any. A page of another site cannot reach a service on
            this machine by a name of its own (DNS rebinding).
        monitoring: What counts and logs.
    """
    service = Service(models, Room(limits or Limits()), monitoring or Monitoring(), Event())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.ending.set()
        await asyncio.to_thread(models.close)

    app = FastAPI(
        title="hilum",
        version=hilum.__version__,
        description="Asks a chest X-ray classifier about radiographs. Not for diagnosis.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses={status: ERRORS[status] for status in (401, 403)},
    )
    app.state.service = service
    app.include_router(router)
    _handle_errors(app)
    app.router.routes.insert(0, Route("/v1/predict", _predict, methods=["POST"]))  # sooner there: see `_predict`
    routes = [route for route in (*router.routes, *app.routes) if isinstance(route, Route)]
    app.add_middleware(Guard, routes=routes, monitoring=service.monitoring, token=token, hosts=hosts)
    return app


@router.post("/v1/predict", responses=ERRORS, openapi_extra=UPLOAD, response_model=Answers)
async def predict(request: Request, here: Here, chosen: Chosen) -> Response:
    """Answer about one or many radiographs: images or DICOM objects.

    The status is 200 where at least one image could be read; one that could not is an entry with an `error`.
    """
    with Upload(here.room) as upload:
        contents = await upload.read(request)
        numbered = enumerate(contents, 1)
        found = await asyncio.gather(*(_answer(chosen, content, f"image {number}") for number, content in numbered))
    for said, _ in found:
        here.monitoring.predictions.labels(chosen.description.name, said.decision or "unreadable").inc()
    body: Answers = {"predictions": [said.to_json(chosen.predictor.model) for said, _ in found]}
    failures = [error for _, error in found if error]
    if len(failures) < len(found):
        return JSONResponse(body)
    status, headers = _status(failures[0])
    body["error"] = _failure(failures[0])
    return JSONResponse(body, status, headers)


@router.post(
    "/v1/view",
    responses=ERRORS | {200: {"content": {"application/octet-stream": {}}}},
    openapi_extra=UPLOAD,
    response_class=Response,
)
async def view(
    request: Request,
    here: Here,
    chosen: Chosen,
    heatmaps: Annotated[bool, Query(description="With heatmaps of what supports the answer.")] = False,
) -> Response:
    """Answer about one radiograph, and give its grey values, for the page (see `hilum.serving.http.picture`)."""
    with Upload(here.room) as upload:
        content = (await upload.read(request))[0]
        explanation = await chosen.pipeline.explain(content, "image 1") if heatmaps else None
        if explanation:
            said, pixels = explanation.answer, explanation.pixels
        else:
            viewed = await chosen.pipeline.predict(content, "image 1")
            said, pixels = viewed.prediction, viewed.picture.pixels
            here.monitoring.predictions.labels(chosen.description.name, said.decision).inc()
        line, model_file = said.to_json(chosen.predictor.model), chosen.predictor.model_file
        packed = await asyncio.to_thread(pack_picture, line, pixels, explanation, model_file)
    return Response(packed, media_type="application/octet-stream")


@router.get("/v1/model", responses={404: ERRORS[404]})
async def model(chosen: Chosen) -> ModelDescription:
    """Say what a model is: its labels, operating point, guarantee, data errors and card."""
    return chosen.description


@router.get("/v1/models")
async def list_models(here: Here) -> Models:
    """List the models of this service."""
    found = [one.description for one in here.models.all]
    return {"models": [{"name": one.name, "sha256": one.sha256} for one in found]}


@router.get("/v1/examples/{number}", responses={404: ERRORS[404]}, response_class=Response)
async def example(number: int) -> Response:
    """Give a simulated radiograph to try the service with: 1 to 4."""
    if not 1 <= number <= EXAMPLES:
        msg = f"no such example. Take 1 to {EXAMPLES}."
        raise HttpError(404, msg, code="no-such-example")
    return Response(await asyncio.to_thread(make_example, number), media_type="image/png")


@router.get("/healthz")
async def healthz() -> State:
    """Say that the process lives."""
    return {"status": "ok", "version": hilum.__version__}


@router.get("/readyz", responses={503: {"model": State}}, response_model=State)
async def readyz(here: Here) -> Response:
    """Say whether it takes requests: not while it ends, and not while it has no room."""
    if here.ending.is_set():
        status: Literal["ready", "ending", "busy"] = "ending"
    else:
        status = "ready" if here.room.images < here.room.limits.waiting else "busy"
    found: State = {"status": status, "version": hilum.__version__}
    return JSONResponse(found, 200 if status == "ready" else 503)


@router.get("/metrics", response_class=Response)
async def metrics(here: Here) -> Response:
    """Give metrics for Prometheus."""
    monitoring = here.monitoring
    monitoring.images.set(here.room.images)
    monitoring.bytes.set(here.room.bytes)
    monitoring.models.clear()
    for one in here.models.all:
        monitoring.models.labels(one.description.name, one.description.sha256).set(1)
    return Response(monitoring.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/", include_in_schema=False)
async def index() -> Response:
    """Give the page."""
    return _page_file("")


@router.get("/page/{name}", include_in_schema=False)
async def page(name: str) -> Response:
    """Give a file of the page."""
    return _page_file(name)


async def _predict(request: Request) -> Response:
    """`predict` without FastAPI's routing and dependencies, which cost a seventh of all answers a second."""
    here = await _service(request)
    return await predict(request, here, here.models.get(request.query_params.get("model")))


async def _answer(chosen: Served, content: bytes, name: str) -> tuple[Prediction, Exception | None]:
    """The answer about one of several images: what cannot be read is an answer, too."""
    try:
        return (await chosen.pipeline.predict(content, name)).prediction, None
    except (ImageError, ExtraError) as error:
        return Prediction(name, error=str(error).removeprefix(f"{name}: ")), error


def _status(error: Exception) -> tuple[int, dict[str, str]]:
    if isinstance(error, HttpError):
        return error.status, {"Retry-After": str(error.retry_after)} if error.retry_after is not None else {}
    if isinstance(error, PassingImageError):
        return 503, {"Retry-After": "5"}
    if isinstance(error, ImageError):
        return 415 if error.code in NOT_IMAGES else 422, {}
    return (501 if isinstance(error, ExtraError) else 500), {}


def _failure(error: Exception) -> Failure:
    return {"code": getattr(error, "code", "internal"), "message": str(error)}


def _handle_errors(app: FastAPI) -> None:
    from fastapi.exceptions import RequestValidationError

    async def refuse(_: Request, error: Exception) -> Response:
        status, headers = _status(error)
        return JSONResponse({"error": _failure(error)}, status, headers)

    for kind in (HttpError, ImageError, ExtraError):
        app.add_exception_handler(kind, refuse)

    async def wrong_parameter(_: Request, error: Exception) -> Response:
        found = error.errors()[0] if isinstance(error, RequestValidationError) and error.errors() else {}
        where = ".".join(str(part) for part in found.get("loc", ())[1:])
        message = f"parameter '{where}': {str(found.get('msg', 'wrong')).lower()}."
        return JSONResponse({"error": {"code": "parameter", "message": message}}, 422)

    app.add_exception_handler(RequestValidationError, wrong_parameter)

    async def other(_: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        message = str(error.detail) if isinstance(error, HTTPException) else "an internal error"
        headers = error.headers if isinstance(error, HTTPException) else None
        return JSONResponse({"error": {"code": "request", "message": f"{message}."}}, status, headers)

    app.add_exception_handler(HTTPException, other)


def _page_file(name: str) -> Response:
    if name not in PAGE:
        msg = "no such file."
        raise HttpError(404, msg, code="no-such-file")
    file, kind = PAGE[name]
    return Response(_read(file), media_type=kind)


@cache
def _read(file: str) -> bytes:
    return files("hilum.serving.http").joinpath("page", file).read_bytes()
