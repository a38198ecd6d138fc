"""What all routes do with a request: who sends it, and its body within a limit."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from agent.base.clock import to_ms
from homeplate_endpoint.desk import Desk
from homeplate_endpoint.peer import find_peer
from homeplate_endpoint.refusals import RefusalError

CBOR = "application/cbor"


async def require_unit(request: Request, desk: Desk) -> str:
    """Return the name of the enrolled unit whose certificate this connection showed.

    Every route calls this first; those that do not are listed in `routes.OPEN`, and why.

    Raises:
        RefusalError: No certificate, one that was revoked or that this endpoint did not issue, or
            the unit is not enrolled (any more).
    """
    peer = find_peer(request.scope)
    if peer is None:
        raise RefusalError(
            status=401, error="no-certificate", detail="expected an enrolled unit's certificate"
        )
    now_ms = to_ms(desk.clock.now())
    await run_in_threadpool(desk.units.require_known, peer.name, peer.serial, now_ms=now_ms)
    return peer.name


async def read_body(request: Request, *, limit_bytes: int, media_type: str = CBOR) -> bytes:
    """Return the body of a request.

    Raises:
        RefusalError: It is larger than the limit, of another type or broken off.
    """
    if request.headers.get("content-type") != media_type:
        raise RefusalError(status=415, error="media-type", detail=f"expected {media_type}")
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
