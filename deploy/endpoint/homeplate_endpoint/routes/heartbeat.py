"""`POST /v1/heartbeat`: how a unit is; the last beat of each is kept."""

import logging

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agent.base.errors import IntegrityError
from agent.trust.heartbeat import HEARTBEAT_LIMIT_BYTES, HEARTBEAT_PATH, decode_heartbeat
from homeplate_endpoint.desk import Desk
from homeplate_endpoint.refusals import RefusalError
from homeplate_endpoint.requests import read_body, require_unit

log = logging.getLogger(__name__)


def make_route(desk: Desk) -> Route:
    """Return the route."""

    async def post_heartbeat(request: Request) -> Response:
        unit = await require_unit(request, desk)
        limit, media_type = HEARTBEAT_LIMIT_BYTES, "application/json"
        body = await read_body(request, limit_bytes=limit, media_type=media_type)
        try:
            beat = decode_heartbeat(body, place=unit)
        except IntegrityError as error:
            raise RefusalError(status=400, error="heartbeat", detail=str(error)) from error
        await run_in_threadpool(desk.heartbeats.keep, unit, beat)
        return Response(status_code=204)

    return Route(HEARTBEAT_PATH, post_heartbeat, methods=["POST"])
