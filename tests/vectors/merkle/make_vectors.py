"""Writes the tree vectors beside itself: `python tests/vectors/merkle/make_vectors.py`.

Leaves and roots are the known ones of Certificate Transparency's reference tests. Proofs are made
here by the recursive definitions of RFC 6962, sections 2.1.1 and 2.1.2, word by word, not by our
code.

A vector is lines of `name: value`, the first is what must happen: `included`, `consistent`,
`not included`, `not consistent` or `root`.
"""

from hashlib import sha256
from pathlib import Path

FOLDER = Path(__file__).parent
ENTRIES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


def tree_hash(entries: list[bytes]) -> bytes:
    """MTH of section 2.1."""
    if not entries:
        return sha256().digest()
    if len(entries) == 1:
        return sha256(b"\x00" + entries[0]).digest()
    k = split(len(entries))
    return sha256(b"\x01" + tree_hash(entries[:k]) + tree_hash(entries[k:])).digest()


def path(m: int, entries: list[bytes]) -> list[bytes]:
    """PATH of section 2.1.1."""
    if len(entries) == 1:
        return []
    k = split(len(entries))
    if m < k:
        return [*path(m, entries[:k]), tree_hash(entries[k:])]
    return [*path(m - k, entries[k:]), tree_hash(entries[:k])]


def subproof(m: int, entries: list[bytes], *, whole: bool) -> list[bytes]:
    """SUBPROOF of section 2.1.2; `whole` is its b."""
    if m == len(entries):
        return [] if whole else [tree_hash(entries)]
    k = split(len(entries))
    if m <= k:
        return [*subproof(m, entries[:k], whole=whole), tree_hash(entries[k:])]
    return [*subproof(m - k, entries[k:], whole=False), tree_hash(entries[:k])]


def split(size: int) -> int:
    """Return the largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1


def main() -> None:
    """Write all vectors."""
    for size, root in enumerate(ROOTS):
        assert tree_hash(ENTRIES[:size]).hex() == root, size
        write(f"root_{size}", "root", entries=ENTRIES[:size], root=[bytes.fromhex(root)])
    for size in (1, 3, 7, 8):
        for index in range(size):
            write_inclusion(size, index)
        for old_size in range(1, size + 1):
            write_consistency(old_size, size)


def write_inclusion(size: int, index: int) -> None:
    """Write a proof that holds and, where there is a sibling, one that does not."""
    leaf = tree_hash([ENTRIES[index]])
    proof = path(index, ENTRIES[:size])
    values = {"root": [tree_hash(ENTRIES[:size])], "leaf": [leaf]}
    numbers = {"index": index, "size": size}
    write(f"inclusion_{index}_of_{size}", "included", **numbers, **values, proof=proof)
    if proof:
        changed = [bytes(32), *proof[1:]]
        write(
            f"inclusion_{index}_of_{size}_bad", "not included", **numbers, **values, proof=changed
        )


def write_consistency(old_size: int, size: int) -> None:
    """Write a proof that holds and, where there is one, one that does not."""
    proof = subproof(old_size, ENTRIES[:size], whole=True)
    values = {"old_root": [tree_hash(ENTRIES[:old_size])], "root": [tree_hash(ENTRIES[:size])]}
    numbers = {"old_size": old_size, "size": size}
    name = f"consistency_{old_size}_to_{size}"
    write(name, "consistent", **numbers, **values, proof=proof)
    if proof:
        write(f"{name}_bad", "not consistent", **numbers, **values, proof=[*proof[:-1], bytes(32)])


def write(name: str, expect: str, **values: object) -> None:
    """Write one vector; hashes and entries as hex, several with spaces between."""
    lines = [f"expect: {expect}"]
    for key, value in values.items():
        text = " ".join(item.hex() or "-" for item in value) if isinstance(value, list) else value
        lines.append(f"{key}: {text}")
    (FOLDER / f"{name}.txt").write_text("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
