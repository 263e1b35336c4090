"""Honest timing of model files on this machine: per stage, with percentiles, memory and the state of the device.

`edgelm.bench.report` plans and collects, `edgelm.bench.worker` is the fresh process that measures one model on one
engine, `edgelm.bench.device` describes the machine and `edgelm.bench.memory` reads what the kernel says about memory.
Needs numpy, OpenCV and one engine.
"""

from edgelm.bench.report import bench

__all__ = ["bench"]
