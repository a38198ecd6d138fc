"""A camera that speaks RTSP (RFC 2326): one client, interleaved TCP, MPEG-TS in RTP (RFC 2250)."""

import socket
import struct
import threading
from pathlib import Path
from typing import Self

TS_PACKETS = 7 * 188
TICKS_PER_PACKET = 300
SDP = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
SDP += "m=video 0 RTP/AVP 33\r\na=control:track\r\n"
ANSWERS = {
    "OPTIONS": "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n\r\n",
    "DESCRIBE": f"Content-Type: application/sdp\r\nContent-Length: {len(SDP)}\r\n\r\n{SDP}",
    "SETUP": "Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n",
    "PLAY": "Session: 1\r\n\r\n",
    "TEARDOWN": "Session: 1\r\n\r\n",
}


class RtspServer:
    """Sends one recording to whoever asks, then hangs up."""

    def __init__(self, recording: Path) -> None:
        self._content = recording.read_bytes()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"rtsp://user:secret@127.0.0.1:{self._listener.getsockname()[1]}/main"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self._thread.join(timeout=10)

    def _serve(self) -> None:
        client, _ = self._listener.accept()
        with client, client.makefile("rb") as lines:
            while (method := self._answer(client, lines)) not in {"TEARDOWN", ""}:
                if method == "PLAY":
                    self._send(client)
                    return

    def _answer(self, client: socket.socket, lines) -> str:
        """Answer one request; return its method, or nothing where the client has gone."""
        request = []
        while (line := lines.readline().decode().strip()) or not request:
            if not line:
                return ""
            request.append(line)
        method = request[0].split()[0]
        number = next(line for line in request if line.lower().startswith("cseq"))
        client.sendall(f"RTSP/1.0 200 OK\r\n{number}\r\n{ANSWERS[method]}".encode())
        return method

    def _send(self, client: socket.socket) -> None:
        """Send the recording in RTP packets of the payload type 33."""
        for number, start in enumerate(range(0, len(self._content), TS_PACKETS)):
            payload = self._content[start : start + TS_PACKETS]
            header = struct.pack(">BBHII", 0x80, 33, number, number * TICKS_PER_PACKET, 7)
            length = len(header) + len(payload)
            client.sendall(struct.pack(">cBH", b"$", 0, length) + header + payload)
