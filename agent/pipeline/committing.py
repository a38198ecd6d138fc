"""Commits in a thread of their own, so that no frame waits for the disk."""

import threading

from agent.pipeline.keeping import Keeping


class CommitThread:
    """Commits what is due, now and then by itself, and alerts at once.

    A card that tidies itself up holds a sync for seconds. The thread waits for it; what is seen
    meanwhile waits in memory, up to a limit (`Keeping`). There is one thread, so the disk and the
    log have one owner at a time.
    """

    def __init__(self, keeping: Keeping, *, wait_s: float) -> None:
        """Begin with the first `commit`; look every `wait_s` whether something is due."""
        self._keeping, self._wait_s = keeping, wait_s
        self._wake = threading.Event()
        self._stopped = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, name="commit", daemon=True)

    def commit(self) -> None:
        """See to it that what is due is committed soon; wait for nothing.

        Raises:
            HomeplateError: A commit before failed: the log cannot be written.
        """
        if self._error is not None:
            raise self._error
        if self._thread.ident is None:
            self._thread.start()
        if self._keeping.has_alerts:
            self._wake.set()

    def close(self) -> None:
        """Commit the rest and sign off, once the thread has ended.

        Raises:
            HomeplateError: As `Keeping.close`.
        """
        self._stopped = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._keeping.close()

    def _serve(self) -> None:
        """Commit until the end, or until it fails."""
        try:
            while not self._stopped:
                self._keeping.commit()
                self._wake.wait(self._wait_s)
                self._wake.clear()
        except BaseException as error:  # noqa: BLE001  it is raised again where commits are asked for
            self._error = error
