"""`POST /v1/frames`: sealed frames for a receipt."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from homeplate_endpoint.desk import Desk
from homeplate_endpoint.requests import CBOR, read_body, require_unit


def make_route(desk: Desk) -> Route:
    """Return the route."""

    async def post_frames(request: Request) -> Response:
        unit = await require_unit(request, desk)
        body = await read_body(request, limit_bytes=desk.body_limit_bytes)
        key = request.headers.get("idempotency-key", "")
        receipt = await run_in_threadpool(desk.intake.receive, unit, key, body)
        return Response(receipt, media_type=CBOR)

    return Route("/v1/frames", post_frames, methods=["POST"])
