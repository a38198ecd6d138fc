"""The road in code, one module a process: `watch` from camera to spool, `send` from spool to city.

Each order of calls in them is a promise: sealed before stored, stored before logged, logged
before it counts; receipted and logged before deleted. Everything arrives as an argument. Two
modules, so that the watcher never loads the uplink and the sender never loads the pictures;
`deletion` and `retention` are parts of `send`, `adoption` and `owed` of `watch`.
"""
