"""The HTTP interface (deploy/docs/formats.md, chapter 9): the routes and how a no is told."""

import logging

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from agent.base.errors import DeviceError
from homeplate_endpoint.desk import Desk
from homeplate_endpoint.refusals import RefusalError
from homeplate_endpoint.routes import make_routes

log = logging.getLogger(__name__)


def make_app(desk: Desk) -> Starlette:
    """Return the application."""
    return Starlette(
        routes=make_routes(desk),
        exception_handlers={
            RefusalError: _answer_refusal,
            DeviceError: _answer_failure,
            HTTPException: _answer_http,
        },
    )


async def _answer_refusal(request: Request, error: Exception) -> Response:
    if not isinstance(error, RefusalError):
        raise error
    said = {"place": request.url.path, "status": error.status, "error": error.error}
    log.info("request refused", extra=said)
    content: dict[str, object] = {"error": error.error, "detail": error.detail}
    if error.known_size is not None:
        content["known_size"] = error.known_size
    return JSONResponse(content, status_code=error.status)


async def _answer_failure(_: Request, error: Exception) -> Response:
    log.error("storage failed", extra={"detail": str(error)})
    return JSONResponse({"error": "storage", "detail": "not stored; try again"}, status_code=503)


async def _answer_http(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = "no such address or method; see deploy/docs/formats.md, chapter 9"
    return JSONResponse({"error": "http", "detail": detail}, status_code=status)
