"""The reference city endpoint: takes sealed frames over mutual TLS, stores them, signs receipts.

It holds no key that opens a frame and refuses to start with one.
"""
