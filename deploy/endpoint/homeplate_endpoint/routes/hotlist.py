"""`POST /v1/hotlist`: a watcher's signed request for the list, sealed to the key it names."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agent.trust.hotlist import REQUEST_LIMIT_BYTES
from homeplate_endpoint.desk import Desk
from homeplate_endpoint.requests import CBOR, read_body, require_unit


def make_route(desk: Desk) -> Route:
    """Return the route."""

    async def post_hotlist(request: Request) -> Response:
        unit = await require_unit(request, desk)
        body = await read_body(request, limit_bytes=REQUEST_LIMIT_BYTES)
        tag = request.headers.get("if-none-match", "").strip('"')
        answer = await run_in_threadpool(desk.lists.answer, unit, body, tag)
        if answer is None:
            return Response(status_code=204)
        headers = {"ETag": answer.tag}
        if answer.sealed is None:
            return Response(status_code=304, headers=headers)
        return Response(answer.sealed, media_type=CBOR, headers=headers)

    return Route("/v1/hotlist", post_hotlist, methods=["POST"])
