"""`GET /v1/policy`: the published policy bundle, when it is another than the unit has."""

from hashlib import sha256

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agent.base.files import read_handed
from agent.trust.bundle_files import BUNDLE_LIMIT_BYTES
from agent.trust.heartbeat import POLICY_PATH
from homeplate_endpoint.desk import Desk
from homeplate_endpoint.requests import require_unit


def make_route(desk: Desk) -> Route:
    """Return the route."""

    def read() -> bytes | None:
        return read_handed(desk.policy, limit_bytes=BUNDLE_LIMIT_BYTES)

    async def get_policy(request: Request) -> Response:
        await require_unit(request, desk)
        content = await run_in_threadpool(read)
        if content is None:
            return Response(status_code=204)
        tag = f'"{sha256(content).hexdigest()}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"ETag": tag})
        return Response(content, media_type="application/json", headers={"ETag": tag})

    return Route(POLICY_PATH, get_policy, methods=["GET"])
