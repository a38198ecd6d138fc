"""`GET /v1/application/<name>`: an archive of the application, in the pieces that are asked for."""

import re

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from agent.trust.release import NAME, RELEASE_PATH
from homeplate_endpoint.desk import Desk
from homeplate_endpoint.refusals import RefusalError
from homeplate_endpoint.requests import require_unit

PIECE_LIMIT_BYTES = 1_048_576


def make_route(desk: Desk) -> Route:
    """Return the route."""

    async def get_application(request: Request) -> Response:
        await require_unit(request, desk)
        name = request.path_params["name"]
        path = desk.applications / name
        if re.fullmatch(NAME, name) is None or not path.is_file() or path.is_symlink():
            detail = "no such archive here; `homeplate policy edit --application` names them"
            raise RefusalError(status=404, error="unknown-application", detail=detail)
        require_piece(request.headers.get("range", ""))
        return FileResponse(path, media_type="application/zstd", stat_result=path.stat())

    return Route(RELEASE_PATH + "{name}", get_application, methods=["GET"])


def require_piece(asked: str) -> None:
    """Refuse all but one piece of a bounded size: a unit asks for one after the other.

    Raises:
        RefusalError: `range`.
    """
    found = re.fullmatch(r"bytes=(\d{1,12})-(\d{1,12})", asked)
    first, last = map(int, found.groups()) if found else (1, 0)
    if not 0 <= last - first < PIECE_LIMIT_BYTES:
        detail = f"expected one range of at most {PIECE_LIMIT_BYTES} bytes"
        raise RefusalError(status=416, error="range", detail=detail)
