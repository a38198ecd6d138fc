"""The files through which the two processes hand things to each other, in a folder on a tmpfs."""

from typing import Final

REQUEST_FILE: Final = "hotlist.request"
"""The watcher's wish for the hotlist, signed with its log key."""
SEALED_FILE: Final = "hotlist.sealed"
"""The list, sealed by the endpoint to the key in the request."""
