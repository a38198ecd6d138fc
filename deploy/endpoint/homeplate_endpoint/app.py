"""The HTTP interface (deploy/docs/formats.md, chapter 9): one address, one method."""

import logging

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agent.base.errors import DeviceError
from homeplate_endpoint.intake import Intake, RefusalError
from homeplate_endpoint.peer import peer_name

log = logging.getLogger(__name__)


def make_app(intake: Intake, *, body_limit_bytes: int) -> Starlette:
    """Return the application."""

    async def post_frames(request: Request) -> Response:
        unit = peer_name(request.scope)
        body = await _read_body(request, body_limit_bytes)
        key = request.headers.get("idempotency-key", "")
        receipt = await run_in_threadpool(intake.receive, unit, key, body)
        return Response(receipt, media_type="application/cbor")

    return Starlette(
        routes=[Route("/v1/frames", post_frames, methods=["POST"])],
        exception_handlers={
            RefusalError: _answer_refusal,
            DeviceError: _answer_failure,
            HTTPException: _answer_http,
        },
    )


async def _read_body(request: Request, limit_bytes: int) -> bytes:
    """Return the body of a CBOR request.

    Raises:
        RefusalError: It is larger than the limit, of another type or broken off.
    """
    if request.headers.get("content-type") != "application/cbor":
        raise RefusalError(status=415, error="media-type", detail="expected application/cbor")
    if int(request.headers.get("content-length", "0")) > limit_bytes:
        raise _too_large(limit_bytes)
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit_bytes:
                raise _too_large(limit_bytes)
    except ClientDisconnect as error:
        raise RefusalError(status=400, error="broken-off", detail="the body ends early") from error
    return bytes(body)


def _too_large(limit_bytes: int) -> RefusalError:
    return RefusalError(
        status=413, error="too-large", detail=f"the body is larger than {limit_bytes} bytes"
    )


async def _answer_refusal(_: Request, error: Exception) -> Response:
    if not isinstance(error, RefusalError):
        raise error
    log.info("upload refused", extra={"status": error.status, "error": error.error})
    content: dict[str, object] = {"error": error.error, "detail": error.detail}
    if error.known_size is not None:
        content["known_size"] = error.known_size
    return JSONResponse(content, status_code=error.status)


async def _answer_failure(_: Request, error: Exception) -> Response:
    log.error("storage failed", extra={"detail": str(error)})
    return JSONResponse({"error": "storage", "detail": "not stored; try again"}, status_code=503)


async def _answer_http(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = "only POST /v1/frames is served here"
    return JSONResponse({"error": "http", "detail": detail}, status_code=status)
