"""Homeplate: licence plate reads that never leave home.

The road of a frame, one module a stage:

    camera → detect → track → read → gate → seal → spool → uplink → audit

The watcher (`homeplate watch`) carries frames from the camera to the spool and has no network.
The sender (`homeplate send`) carries sealed frames from the spool over the uplink to the city's
endpoint, deletes what the city has receipted, and holds no key that opens anything. Each keeps
its own audit log. `agent/pipeline.py` is the road in code.
"""

__version__ = "0.1.0"
