"""How the endpoint says no."""


class RefusalError(Exception):
    """A request is not taken; the HTTP layer turns this into its answer.

    Args:
        status: Of HTTP.
        error: One word for machines.
        detail: For people.
        known_size: Of the unit's log, where that is what does not fit.
    """

    def __init__(
        self, *, status: int, error: str, detail: str, known_size: int | None = None
    ) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.detail = detail
        self.known_size = known_size
