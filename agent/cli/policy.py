"""`homeplate policy`: the city writes, signs and publishes what its units do.

No person can do it alone: a policy counts when two of three offices have signed it, each with a
key of its own. Nothing here needs a network; folders and files go round on a stick.
"""

import argparse
from pathlib import Path

from agent.cli.policy_edit import diff, discard, edit
from agent.cli.policy_init import init, make_office_key, replace_offices
from agent.cli.policy_page import render
from agent.cli.policy_sign import publish, sign, verify

OFFICES = ("police", "city-manager", "clerk")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add_key(actions.add_parser("key", help="an office makes its signing key"))
    _add_init(actions.add_parser("init", help="begin a city's folder of policies"))
    _add_edit(actions.add_parser("edit", help="change the policy: a draft for signing"))
    _add_discard(actions.add_parser("discard", help="drop the draft; what is published stays"))
    _add_diff(actions.add_parser("diff", help="say in plain words what the draft changes"))
    _add_sign(actions.add_parser("sign", help="sign the draft with one office's key"))
    _add_verify(actions.add_parser("verify", help="judge a bundle as a unit would"))
    _add_publish(actions.add_parser("publish", help="give out the signed policy"))
    _add_render(actions.add_parser("render", help="write the public policy page, HTML"))
    _add_offices(actions.add_parser("offices", help="replace an office's key"))


def run(args: argparse.Namespace) -> int:
    """Do what was asked.

    Raises:
        ConfigError: A file or an argument is wrong.
        CredentialError: A key or a passphrase is.
        PolicyError: Units would refuse it.
        DeviceError: The disk refuses.
    """
    args.act(args)
    return 0


def _add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the city's folder of policies")


def _add_changes(parser: argparse.ArgumentParser, *, first: bool) -> None:
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        dest="assignments",
        type=_read_assignment,
        help="set one field, as in retention.reads=30d (the longest life on the unit); "
        "may be repeated",
    )
    parser.add_argument("--from", type=Path, metavar="FILE", dest="source", help="JSON with fields")
    parser.add_argument(
        "--models",
        type=Path,
        metavar="FILE",
        help="manifest.toml of the models; else the one that came with this software",
    )
    parser.add_argument(
        "--hotlist-key",
        action="append",
        metavar="AGENCY=FILE",
        help="public key that may sign hotlists; named ones replace all before",
    )
    parser.add_argument(
        "--application",
        action="append",
        metavar="FILE",
        help="archive that units are to install, one for each kind of machine; none = no update",
    )
    parser.add_argument(
        "--sealing-key",
        type=Path,
        required=first,
        metavar="FILE",
        help="public half, as `homeplate city keys make` wrote it: reads are sealed to it",
    )
    parser.add_argument("--valid-days", type=int, metavar="N", help="valid for so long from now")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be")


def _read_assignment(text: str) -> str:
    """Return the text where it is an assignment; without this argparse blames the next word."""
    if "=" not in text:
        message = f"found {text}; expected PATH=VALUE in one word, as in {text}=2"
        raise argparse.ArgumentTypeError(message)
    return text


def _add_root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--root",
        type=Path,
        metavar="FILE",
        help="root that the office keeps, under which the policy before must hold; "
        "else root.json beside it",
    )


def _add_passphrase(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--passphrase-file",
        type=Path,
        metavar="FILE",
        help="its first line is the passphrase; without, it is asked for",
    )


def _add_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="new file, best on the office's stick"
    )
    _add_passphrase(parser)
    parser.set_defaults(act=make_office_key)


def _add_init(parser: argparse.ArgumentParser) -> None:
    _add_folder(parser)
    parser.add_argument("--city", required=True, metavar="NAME", help="as the public knows it")
    parser.add_argument(
        "--endpoint",
        type=Path,
        required=True,
        metavar="FILE",
        help="endpoint.json, as `homeplate-endpoint init` wrote it",
    )
    parser.add_argument(
        "--office",
        action="append",
        metavar="NAME=FILE",
        help=f"public key of an office; at least three, for example {', '.join(OFFICES)}",
    )
    parser.add_argument("--threshold", type=int, default=2, help="signatures that are needed (2)")
    _add_changes(parser, first=True)
    parser.set_defaults(act=init)


def _add_edit(parser: argparse.ArgumentParser) -> None:
    _add_folder(parser)
    _add_changes(parser, first=False)
    parser.set_defaults(act=edit)


def _add_discard(parser: argparse.ArgumentParser) -> None:
    _add_folder(parser)
    parser.add_argument("--dry-run", action="store_true", help="only say what would be")
    parser.set_defaults(act=discard)


def _add_diff(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="PATH", help="folder of policies, or a bundle")
    parser.add_argument("--json", action="store_true", help="for machines")
    _add_root(parser)
    parser.set_defaults(act=diff)


def _add_sign(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="PATH", help="folder of policies, or a bundle")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--key", type=Path, metavar="FILE", help="the office's private key")
    how.add_argument(
        "--external",
        metavar="COMMAND",
        help="signs standard input (ECDSA, SHA-256, DER): a smart card or a key module",
    )
    parser.add_argument("--office", metavar="NAME", help="who signs, with --external")
    _add_passphrase(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask; the changes were read")
    _add_root(parser)
    parser.set_defaults(act=sign)


def _add_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="PATH", help="folder of policies, or a bundle")
    parser.add_argument("--root", type=Path, metavar="FILE", help="trusted root; else the bundle's")
    parser.add_argument("--unit", metavar="NAME", help="judge it as this unit would")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.set_defaults(act=verify)


def _add_publish(parser: argparse.ArgumentParser) -> None:
    _add_folder(parser)
    parser.add_argument(
        "out", type=Path, nargs="?", metavar="OUT", help="also here: where the endpoint serves it"
    )
    parser.add_argument("--dry-run", action="store_true", help="check everything, write nothing")
    parser.set_defaults(act=publish)


def _add_render(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="PATH", help="folder of policies, or a bundle")
    parser.add_argument("out", type=Path, metavar="OUT", help="the page, HTML")
    parser.set_defaults(act=render)


def _add_offices(parser: argparse.ArgumentParser) -> None:
    _add_folder(parser)
    parser.add_argument(
        "--replace",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="the office's new public key; without, all keys are confirmed for five years",
    )
    parser.set_defaults(act=replace_offices)
