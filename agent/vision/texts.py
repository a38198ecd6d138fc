"""Texts of plates compared: how far apart, and whether one is part of the other."""

SMALLEST_PART = 4
"""Characters that tell a vehicle from others, whole text or part of it."""


def count_changes(one: str, other: str) -> int:
    """Return how many characters must be put in, left out or changed (Levenshtein, 1966)."""
    row = list(range(len(other) + 1))
    for before, character in enumerate(one):
        corner, row[0] = row[0], before + 1
        for place, letter in enumerate(other, start=1):
            change = corner + (character != letter)
            corner, row[place] = row[place], min(change, row[place] + 1, row[place - 1] + 1)
    return row[-1]


def is_same_plate(one: str, other: str) -> bool:
    """Tell whether two texts, a moment apart, are of one vehicle: one is the other, or part of it.

    Texts that merely resemble each other are not: plates of a fleet follow each other in number.
    Neither are texts of a few characters: two vehicles whose plates cannot be read stay two.
    """
    shorter, longer = sorted((one, other), key=len)
    return len(shorter) >= SMALLEST_PART and shorter in longer
