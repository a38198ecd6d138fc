"""Which alerts stand open: one alert a passage, however often its vehicle is followed anew."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAlert:
    """An alert whose passage goes on."""

    sequence: int
    """In the lane hits."""
    text: str = field(repr=False)


class OpenAlerts:
    """The alerts of passages that go on, with the tracks of their vehicles."""

    def __init__(self) -> None:
        """Begin without alerts."""
        self._tracks: dict[OpenAlert, frozenset[int]] = {}
        self._lost: set[OpenAlert] = set()

    def __len__(self) -> int:
        return len(self._tracks)

    def covers(self, tracks: tuple[int, ...], text: str) -> bool:
        """Tell whether an alert for this plate stands open; if so, these tracks are its too.

        The same plate followed twice is one vehicle that was lost for a moment.
        """
        for alert, known in self._tracks.items():
            if alert.text == text:
                self._tracks[alert] = known.union(tracks)
                return True
        return False

    def add(self, tracks: tuple[int, ...], alert: OpenAlert) -> None:
        """Take note of a new alert."""
        self._tracks[alert] = frozenset(tracks)

    def close(self, tracks: tuple[int, ...]) -> tuple[OpenAlert, ...]:
        """Return the alerts of a passage that is over, less those that were lost.

        They stand open no longer.
        """
        over = [alert for alert, known in self._tracks.items() if not known.isdisjoint(tracks)]
        for alert in over:
            del self._tracks[alert]
        kept = tuple(alert for alert in over if alert not in self._lost)
        self._lost.difference_update(over)
        return kept

    def lose(self, text: str) -> None:
        """Take note that the open alert for this plate could not be kept."""
        self._lost.update(alert for alert in self._tracks if alert.text == text)
