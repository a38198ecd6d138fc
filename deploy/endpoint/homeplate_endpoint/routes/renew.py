"""`POST /v1/renew`: a certificate request by the enrolled key for the next certificate."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agent.trust.enrolment import MESSAGE_LIMIT_BYTES, RENEW_PATH
from homeplate_endpoint.desk import Desk
from homeplate_endpoint.requests import CBOR, read_body


def make_route(desk: Desk) -> Route:
    """Return the route."""

    async def post_renew(request: Request) -> Response:
        body = await read_body(request, limit_bytes=MESSAGE_LIMIT_BYTES)
        answer = await run_in_threadpool(desk.registrar.renew, body)
        return Response(answer, media_type=CBOR)

    return Route(RENEW_PATH, post_renew, methods=["POST"])
