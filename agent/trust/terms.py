"""What the law wants published, and what reads may be used for: words that people sign.

California Civil Code 1798.90.51(b)(2) lists seven things that the operator of a plate reader has to
make available to the public in writing. A unit takes no policy in which one of them is blank.
"""

import re
from typing import Annotated, Final

import msgspec
from msgspec import Meta

LEGAL_LIMIT: Final = 4000
PURPOSES: Final = {
    "stolen-vehicle": "Recovery of a stolen vehicle",
    "stolen-plate": "Recovery of a stolen plate",
    "missing-person": "Search for a missing or endangered person",
    "amber-alert": "Search for an abducted child (AMBER Alert)",
    "silver-alert": "Search for a missing older person (Silver Alert)",
    "felony-warrant": "Arrest on a judge's warrant for a felony under state law",
    "felony-investigation": "Investigation of a felony under state law",
}
"""All that a hotlist entry may be for: code → words on the public page.

The list is closed: there is no code for immigration enforcement, and a city cannot word one.
"""

LegalText = Annotated[str, Meta(max_length=LEGAL_LIMIT)]


class Legal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The seven fields of 1798.90.51(b)(2), (A) to (G)."""

    authorized_purposes: LegalText
    """(A) The authorized purposes for using the system and collecting its information."""
    authorized_users_and_training: LegalText
    """(B) Job titles of those who may use the system, and the training that they need."""
    monitoring: LegalText
    """(C) How the system is monitored for security and compliance with privacy laws."""
    sharing_restrictions: LegalText
    """(D) Purposes of, process for and restrictions on sale, sharing or transfer to others."""
    custodian_title: LegalText
    """(E) Title of the official custodian, or owner, who is responsible."""
    accuracy_measures: LegalText
    """(F) Measures that ensure accuracy and correct errors."""
    retention_and_destruction: LegalText
    """(G) How long information is kept, and how it is decided whether and when to destroy it."""


def blank_fields(legal: Legal) -> tuple[str, ...]:
    """Return the names of the fields that say nothing."""
    fields = msgspec.structs.asdict(legal)
    return tuple(name for name, text in fields.items() if not re.search(r"\w", text))
