"""Stands in for the writer of raw photographs, which has no wheel and is not used."""
