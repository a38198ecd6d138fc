"""`POST /v1/enroll`: a one-time token, a certificate request and log keys for a certificate."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agent.trust.enrolment import ENROLL_PATH, MESSAGE_LIMIT_BYTES
from homeplate_endpoint.desk import Desk
from homeplate_endpoint.requests import CBOR, read_body


def make_route(desk: Desk) -> Route:
    """Return the route."""

    async def post_enroll(request: Request) -> Response:
        body = await read_body(request, limit_bytes=MESSAGE_LIMIT_BYTES)
        answer = await run_in_threadpool(desk.registrar.enrol, body)
        return Response(answer, media_type=CBOR)

    return Route(ENROLL_PATH, post_enroll, methods=["POST"])
