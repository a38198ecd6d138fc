"""The frozen vectors of the hotlist: what holds is found, what does not is refused."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from pyhpke import AEADId, CipherSuite, KDFId, KEMId, KEMKey

from agent.base.errors import IntegrityError
from agent.gate import index_hotlist
from agent.trust.hotlist import open_hotlist, open_request, unpack_columns, unseal_hotlist
from agent.trust.signatures import load_public_key
from tests.vectors.hotlists.make_vectors import MEMORY_KEY

VECTORS = sorted((Path(__file__).parent.parent / "vectors" / "hotlists").glob("*.txt"))
SUITE = CipherSuite.new(KEMId.DHKEM_P256_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.AES256_GCM)


def fields(path):
    return dict(line.split(": ", 1) for line in path.read_text().splitlines())


def vectors(expected):
    found = [path for path in VECTORS if fields(path)["expect"] == expected]
    assert found
    return pytest.mark.parametrize("path", found, ids=lambda path: path.stem)


def open_vector(path):
    told = fields(path)
    key = load_public_key(bytes.fromhex(told["list_spki"]), place=path.name)
    head = open_hotlist(bytes.fromhex(told["list"]), (key,))
    return head, index_hotlist(head, unpack_columns(head))


@vectors("holds")
def test_a_good_list_holds_and_its_plates_are_found(path):
    head, hotlist = open_vector(path)
    plates = fields(path)["plates"].split()
    assert [plate.decode() for plate in hotlist.plates.tolist()] == plates
    for plate in plates:
        assert len(hotlist.find(plate, now_ms=head.issued_ms)) == 1


@vectors("refused")
def test_a_bad_list_is_refused(path):
    with pytest.raises(IntegrityError):
        open_vector(path)


class Recipient:
    """A watcher's key in memory, by another implementation of HPKE."""

    key_id = b""

    def decrypt(self, sealed, info):
        private = ec.derive_private_key(MEMORY_KEY, ec.SECP256R1())
        key = KEMKey.from_pyca_cryptography_key(private)
        return SUITE.create_recipient_context(sealed[:65], key, info=info).open(sealed[65:])


def test_request_and_answer_are_those_of_the_vector_also_for_another_implementation():
    told = fields(next(path for path in VECTORS if path.stem == "two_entries"))
    request = bytes.fromhex(told["request"])
    watcher = load_public_key(bytes.fromhex(told["watch_spki"]), place="vector")
    found = open_request(request, watcher)
    assert (found.unit, found.boot) == ("unit-0001", bytes(range(16)))
    opened = unseal_hotlist(bytes.fromhex(told["sealed"]), request, Recipient())
    assert opened == bytes.fromhex(told["list"])
