"""Real picamera2 on libcamera's virtual pipeline: two streams of NV12, no hardware.

Four adaptations, each for something that the virtual camera, or its place, has not:
sensor modes (it has no sensor), buffers of two planes (it writes NV12 as two), a status of its
frames (libcamera 0.4.0 leaves it unset), and quiet for `Thread.setDaemon`.
"""

import mmap
from types import SimpleNamespace

import libcamera
import picamera2
import picamera2.picamera2 as inner
from picamera2.allocators import DmaAllocator


class TwoPlanes(DmaAllocator):
    """Allocates NV12 as libcamera's virtual pipeline wants it."""

    def allocate(self, libcamera_config, use_case):
        super().allocate(libcamera_config, use_case)
        for part in libcamera_config:
            buffers = self.frame_buffers[part.stream]
            self.frame_buffers[part.stream] = [self._split(buffer, part) for buffer in buffers]

    def _split(self, buffer, part):
        luma, chroma = libcamera.FrameBuffer.Plane(), libcamera.FrameBuffer.Plane()
        size_bytes = part.stride * part.size.height
        luma.fd = chroma.fd = buffer.planes[0].fd
        luma.offset, luma.length = 0, size_bytes
        chroma.offset, chroma.length = size_bytes, size_bytes // 2
        split = libcamera.FrameBuffer([luma, chroma])
        descriptor = split.planes[0].fd
        access = mmap.PROT_READ | mmap.PROT_WRITE
        self.mapped_buffers[split] = mmap.mmap(descriptor, part.frame_size, mmap.MAP_SHARED, access)
        self.mapped_buffers_used[descriptor] = False
        self.libcamera_fds.append(descriptor)
        return split


class VirtualCamera(picamera2.Picamera2):
    """A virtual camera: it has no sensor modes."""

    sensor_modes = ()

    def __init__(self, number=0):
        super().__init__(number, allocator=TwoPlanes())

    def _get_raw_modes(self):
        return [{"format": "NV12", "size": (1920, 1080)}]


class _AnyStatus:
    def __eq__(self, other):
        return True

    __hash__ = None


class _Libcamera:
    FrameMetadata = SimpleNamespace(Status=SimpleNamespace(Success=_AnyStatus()))

    def __getattr__(self, name):
        return getattr(libcamera, name)


inner.libcamera = _Libcamera()
LIBRARY = SimpleNamespace(Picamera2=VirtualCamera, MappedArray=picamera2.MappedArray)
VERSION = getattr(picamera2, "__version__", "")
