"""The public policy page: what a city's plate readers do, for everyone who lives there.

One HTML file without scripts, fonts or pictures from elsewhere. The policy's hash on it is the one
that every unit reports: whoever reads the page can hold the city to it.
"""

import argparse
import sys
from datetime import datetime
from html import escape
from typing import Final

from agent.base.errors import DeviceError
from agent.base.files import read_bounded, write_whole
from agent.cli.policy_book import PENDING, Book, find_bundle, judge, published_before
from agent.cli.policy_edit import warn_of_stray
from agent.cli.policy_words import LABELS, describe_bundle
from agent.trust.bundle import Decision
from agent.trust.bundle_files import BUNDLE_LIMIT_BYTES, Bundle, parse_bundle
from agent.trust.publishing import office_names, review_standing
from agent.trust.terms import PURPOSES

KEPT: Final = (
    "mode",
    "crops",
    "retention.hits",
    "retention.reads",
    "retention.crops",
    "min_hit_confidence",
    "min_hit_frames",
    "hotlist",
    "hotlist_entries",
)
SENT: Final = (
    "endpoint.server_name",
    "endpoint.addresses",
    "endpoint.port",
    "sealing.public_key",
    "units",
    "dhcp",
    "time_servers",
)
LEGAL: Final = tuple(path for path in LABELS if path.startswith("legal."))
STYLE: Final = """
:root { color-scheme: light dark }
body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem; line-height: 1.5;
  font-family: system-ui, sans-serif }
h1 { line-height: 1.2 }
code { overflow-wrap: anywhere; font-size: 1.05em }
table { border-collapse: collapse; width: 100% }
caption { text-align: left; font-weight: bold; padding: .5rem 0 }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem .4rem 0;
  border-bottom: 1px solid; overflow-wrap: anywhere }
th { width: 45%; font-weight: normal }
dt { font-weight: bold; margin-top: 1rem }
dd { margin: .2rem 0 0; white-space: pre-line }
@media print { body { margin: 0; max-width: none; font-size: 11pt }
  section { break-inside: avoid } }
"""
_MODE: Final = 0o644


def render(args: argparse.Namespace) -> None:
    """Write the page of a policy that units take."""
    path = find_bundle(args.path)
    content = read_bounded(path, limit_bytes=BUNDLE_LIMIT_BYTES)
    decision = judge(content, published_before(path), now=None, place=str(path))
    page = draw_page(parse_bundle(content, place=str(path)), decision)
    try:
        write_whole(args.out, page.encode(), mode=_MODE)
    except OSError as error:
        message = f"{args.out}: cannot be written ({error.strerror})"
        raise DeviceError(message) from error
    print(f"{args.out}: policy {decision.version}, hash {decision.policy_hash.hex()}")
    if path.name == PENDING:
        print("note: it is signed, and not published yet", file=sys.stderr)
    if args.path.is_dir():
        warn_of_stray(Book(args.path), path.name)


def draw_page(bundle: Bundle, decision: Decision) -> str:
    """Return the page as HTML."""
    said = describe_bundle(bundle)
    city = escape(decision.policy.city)
    title = f"Licence plate readers of {city}: the policy in force"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{_draw_identity(decision)}
{_draw_table("What is kept on the units, and for how long", KEPT, said)}
<p>Retention is the longest time for which a unit keeps what it has sealed. In the city's own
storage nothing is deleted by age: what was sealed in a period can be opened until the city destroys
the key of that period.</p>
{_draw_purposes(decision)}
{_draw_table("Where it goes", SENT, said)}
<p>Reads are encrypted on the camera unit and can be opened by the city alone. The units send them
to this one place. There is no setting for a second one, and no software for sharing.</p>
{_draw_offices(bundle, decision)}
{_draw_legal(said)}
</main>
</body>
</html>
"""


def _draw_identity(decision: Decision) -> str:
    policy = decision.policy
    return f"""<section aria-labelledby="identity">
<h2 id="identity">Policy {decision.version}</h2>
<p>In force from {_day(policy.issued_at)}, valid until {_day(decision.expires_at)}.
A unit whose policy has expired stops collecting.</p>
<p>Hash of the policy, as every unit reports it:<br><code>{decision.policy_hash.hex()}</code></p>
</section>"""


def _draw_table(caption: str, paths: tuple[str, ...], said: dict[str, str]) -> str:
    rows = "\n".join(
        f'<tr><th scope="row">{escape(_sentence(LABELS[path]))}</th>'
        f"<td>{escape(said[path])}</td></tr>"
        for path in paths
    )
    return f"<table>\n<caption>{escape(caption)}</caption>\n<tbody>\n{rows}\n</tbody>\n</table>"


def _draw_purposes(decision: Decision) -> str:
    items = "\n".join(f"<li>{escape(PURPOSES[code])}</li>" for code in decision.policy.purposes)
    return f"""<section aria-labelledby="purposes">
<h2 id="purposes">What a plate may be looked for</h2>
<ul>
{items}
</ul>
<p>Nothing else. Units know purposes by a closed list in their software and refuse every other; none
of that list is immigration enforcement.</p>
</section>"""


def _draw_offices(bundle: Bundle, decision: Decision) -> str:
    circle = review_standing(bundle).present
    items = "\n".join(
        f"<li>{escape(name)} (key <code>{key.key_id.hex()}</code>)"
        f"{', has signed' if name in decision.signed_by else ''}</li>"
        for name, key in office_names(bundle).items()
    )
    return f"""<section aria-labelledby="offices">
<h2 id="offices">Who can change this</h2>
<p>Units take a policy only when {circle.threshold} of these offices have signed it:</p>
<ul>
{items}
</ul>
</section>"""


def _draw_legal(said: dict[str, str]) -> str:
    items = "\n".join(
        f"<dt>{escape(_sentence(LABELS[path]))}</dt>\n<dd>{escape(said[path])}</dd>"
        for path in LEGAL
    )
    return f"""<section aria-labelledby="law">
<h2 id="law">As California Civil Code 1798.90.51(b)(2) asks</h2>
<dl>
{items}
</dl>
</section>"""


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def _day(moment: datetime) -> str:
    return f'<time datetime="{moment.isoformat()}">{moment:%-d %B %Y}</time>'
