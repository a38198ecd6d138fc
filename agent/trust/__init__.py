"""Arithmetic on bytes: keys, frames, Merkle tree, policy, receipts. No pictures, no disk, no network."""
