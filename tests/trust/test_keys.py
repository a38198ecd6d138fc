"""Keys of the right kind load; all others are refused with what was found; none shows itself."""

import ast
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from agent.base.errors import CredentialError, IntegrityError
from agent.trust.keys import (
    encode_private_key,
    generate_opener,
    generate_signer,
    load_opener,
    load_signer,
)
from agent.trust.signatures import load_public_file, load_public_key, verify_signature

ROOT = Path(__file__).parents[2]
P256 = ec.generate_private_key(ec.SECP256R1())
SIGNER = generate_signer()


def pem(key, *, password=None, form=PrivateFormat.PKCS8):
    protection = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    return key.private_bytes(Encoding.PEM, form, protection)


def spki(key):
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def compressed_spki(key):
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    return bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + point


WRONG_PRIVATE = {
    "rsa": (pem(rsa.generate_private_key(65537, 2048)), "RSA with 2048 bits"),
    "p384": (pem(ec.generate_private_key(ec.SECP384R1())), "curve secp384r1"),
    "ed25519": (pem(ed25519.Ed25519PrivateKey.generate()), "Ed25519"),
    "x25519": (pem(x25519.X25519PrivateKey.generate()), "X25519"),
    "password": (pem(P256, password=b"secret"), "under a password"),
    "old password form": (
        pem(P256, password=b"secret", form=PrivateFormat.TraditionalOpenSSL),
        "under a password",
    ),
    "public key": (
        P256.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "kind PUBLIC KEY",
    ),
    "garbage": (b"garbage", "7 bytes that are not PEM"),
    "nothing": (b"", "0 bytes"),
    "cut": (pem(P256)[:60], "kind PRIVATE KEY"),
    "der": (
        P256.private_bytes(Encoding.DER, PrivateFormat.PKCS8, serialization.NoEncryption()),
        "that are not PEM",
    ),
}
WRONG_PUBLIC = {
    "rsa": (spki(rsa.generate_private_key(65537, 2048)), "RSA"),
    "p384": (spki(ec.generate_private_key(ec.SECP384R1())), "secp384r1"),
    "ed25519": (spki(ed25519.Ed25519PrivateKey.generate()), "Ed25519"),
    "compressed": (compressed_spki(P256), "unusual encoding"),
    "bytes after it": (spki(P256) + b"\0", "no DER public key"),
    "pem": (b"-----BEGIN PUBLIC KEY-----", "no DER public key"),
    "nothing": (b"", "0 bytes"),
}


def cases(table):
    return pytest.mark.parametrize(
        ("content", "found"), table.values(), ids=[key.replace(" ", "_") for key in table]
    )


@pytest.mark.parametrize("load", [load_signer, load_opener], ids=["signer", "opener"])
@cases(WRONG_PRIVATE)
def test_wrong_private_keys_are_refused_with_what_was_found(load, content, found):
    with pytest.raises(CredentialError, match=found) as caught:
        load(bytearray(content), place="some.key")
    assert "some.key: found" in str(caught.value)
    assert "expected a PEM private key on P-256" in str(caught.value)


@cases(WRONG_PUBLIC)
def test_wrong_public_keys_are_refused_with_what_was_found(content, found):
    with pytest.raises(CredentialError, match=found):
        load_public_key(content, place="policy")


@given(st.binary(max_size=200))
def test_hostile_key_files_are_refused_by_our_own_error(content):
    with pytest.raises(CredentialError):
        load_opener(bytearray(content), place="key")
    with pytest.raises(CredentialError):
        load_public_key(content, place="key")


def test_a_signing_key_comes_back_from_its_file():
    loaded = load_signer(bytearray(encode_private_key(SIGNER)), place="watch.key")
    assert loaded.public_spki == SIGNER.public_spki
    assert verify_signature(SIGNER.public_key, b"text", loaded.sign(b"text")) == b"text"


def test_an_opening_key_comes_back_from_its_file():
    city = generate_opener()
    loaded = load_opener(bytearray(encode_private_key(city)), place="city.pem")
    assert (loaded.public_spki, loaded.key_id) == (city.public_spki, city.key_id)


def test_the_traditional_form_of_a_private_key_loads_too():
    content = pem(P256, form=PrivateFormat.TraditionalOpenSSL)
    assert load_signer(bytearray(content), place="key").public_spki == spki(P256)


def test_a_public_key_comes_back_from_its_bytes():
    key = load_public_key(SIGNER.public_spki, place="key")
    assert key == SIGNER.public_key
    assert len(key.spki) == 91
    assert key.key_id == SIGNER.key_id == key.sha256[:8]


def public_pem(key):
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("content", [spki(P256), public_pem(P256)], ids=["der", "pem"])
def test_a_public_key_file_is_der_or_pem(content):
    assert load_public_file(content, place="watch.pub").spki == spki(P256)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "PEM that cannot be"),
        (public_pem(rsa.generate_private_key(65537, 2048)), "RSA with 2048 bits"),
        (b"garbage", "7 bytes that are no DER"),
    ],
    ids=["broken", "rsa", "garbage"],
)
def test_a_file_with_something_else_is_no_public_key(content, found):
    with pytest.raises(CredentialError, match=f"watch.pub: found .*{found}"):
        load_public_file(content, place="watch.pub")


@given(st.binary(max_size=100), st.data())
def test_a_signature_holds_for_its_text_only(message, data):
    signature = SIGNER.sign(message)
    assert verify_signature(SIGNER.public_key, message, signature) == message
    other = data.draw(st.binary(max_size=100).filter(lambda text: text != message))
    with pytest.raises(IntegrityError):
        verify_signature(SIGNER.public_key, other, signature)


def test_any_flipped_bit_of_a_signature_is_refused():
    signature = SIGNER.sign(b"text")
    for bit in range(len(signature) * 8):
        changed = bytearray(signature)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IntegrityError):
            verify_signature(SIGNER.public_key, b"text", bytes(changed))


@pytest.mark.parametrize("signature", [b"", b"\x30\x06\x02\x01\x00\x02\x01\x00", bytes(64)])
def test_forged_signatures_are_refused(signature):
    with pytest.raises(IntegrityError, match="does not verify"):
        verify_signature(SIGNER.public_key, b"text", signature)


def test_another_key_s_signature_is_refused():
    with pytest.raises(IntegrityError):
        verify_signature(generate_signer().public_key, b"text", SIGNER.sign(b"text"))


@pytest.mark.parametrize("make", [generate_signer, generate_opener], ids=["signer", "opener"])
def test_keys_do_not_show_themselves(make):
    key = make()
    secret = encode_private_key(key).decode().splitlines()[1]
    shown = repr(key) + str(key)
    assert key.key_id.hex() in shown
    assert secret not in shown
    assert "EllipticCurve" not in shown
    assert not hasattr(key, "__dict__")


@pytest.mark.parametrize("load", [load_signer, load_opener], ids=["signer", "opener"])
@pytest.mark.parametrize("content", [pem(P256), *(bad for bad, _ in WRONG_PRIVATE.values())])
def test_the_buffer_of_a_key_file_is_wiped_whatever_comes_of_it(load, content):
    buffer = bytearray(content)
    with suppress(CredentialError):
        load(buffer, place="key")
    assert buffer == bytes(len(content))


@pytest.mark.parametrize("load", [load_signer, load_opener], ids=["signer", "opener"])
def test_a_key_in_bytes_that_nobody_can_wipe_is_not_taken(load):
    with pytest.raises(TypeError):
        load(pem(P256), place="key")


def calls_of(path, *names):
    """Yield the calls of functions by name in a module, with the module's place."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in names:
            yield f"{path.name}:{node.lineno}", node


def test_every_key_file_is_read_into_a_buffer():
    places = [*(ROOT / "agent").rglob("*.py"), *(ROOT / "deploy/endpoint").rglob("*.py")]
    loads = [call for path in places for call in calls_of(path, "load_signer", "load_opener")]
    assert len(loads) >= 3
    for place, call in loads:
        assert ast.unparse(call.args[0]).startswith("read_secret("), place


def test_a_public_key_hides_the_library_s_object():
    assert "object at" not in repr(SIGNER.public_key)


def test_a_certificate_is_no_key():
    content = b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"
    with pytest.raises(CredentialError, match="kind CERTIFICATE"):
        load_signer(bytearray(content), place="tls.crt")
