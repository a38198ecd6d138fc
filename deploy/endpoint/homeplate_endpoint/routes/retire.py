"""`POST /v1/retire`: a unit's certificate of destruction; from now on it is none of the city's."""

import logging

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agent.trust.retirement import RETIRE_PATH, STATEMENT_LIMIT_BYTES
from homeplate_endpoint.desk import Desk
from homeplate_endpoint.requests import read_body

log = logging.getLogger(__name__)


def make_route(desk: Desk) -> Route:
    """Return the route."""

    async def post_retire(request: Request) -> Response:
        body = await read_body(request, limit_bytes=STATEMENT_LIMIT_BYTES)
        unit = await run_in_threadpool(desk.registrar.retire, body)
        log.info("unit retired", extra={"unit": unit})
        return Response(status_code=204)

    return Route(RETIRE_PATH, post_retire, methods=["POST"])
