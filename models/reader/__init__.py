"""The reader: one small network that turns rectified plate crops into text."""
