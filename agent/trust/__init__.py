"""Arithmetic on bytes: keys, frames, Merkle tree, policy, receipts. No picture, disk or network."""
