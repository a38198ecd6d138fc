"""One module a route, each with `make_route`; all of them ask for an enrolled unit but `OPEN`."""

from typing import Final

from starlette.routing import BaseRoute

from homeplate_endpoint.desk import Desk
from homeplate_endpoint.routes import (
    application,
    enroll,
    frames,
    heartbeat,
    hotlist,
    policy,
    renew,
    retire,
)

OPEN: Final = frozenset({"/v1/enroll", "/v1/renew", "/v1/retire"})
"""A unit that enrols has no certificate yet, and one that renews or retires may have an expired
one: all three prove in the request itself who sends it."""


MODULES: Final = (
    frames,
    policy,
    application,
    hotlist,
    heartbeat,
    enroll,
    renew,
    retire,
)


def make_routes(desk: Desk) -> list[BaseRoute]:
    """Return all routes; a new one is added here."""
    return [module.make_route(desk) for module in MODULES]
