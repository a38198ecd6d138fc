"""Arithmetic on arrays: geometry, image, decode, model sessions. No keys, no disk, no network."""
