"""The wire of BEP 3 by hand, for peers that do what no client would."""
import socket
import struct
import threading

from harness import info_hash

CHOKE, UNCHOKE, INTERESTED, NOT_INTERESTED, HAVE, BITFIELD, REQUEST, PIECE, CANCEL = range(9)
SUGGEST, HAVE_ALL, HAVE_NONE, REJECT, ALLOWED_FAST, EXTENDED = 13, 14, 15, 16, 17, 20
FAST = bytes([0, 0, 0, 0, 0, 0, 0, 4])
PLAIN = bytes(8)


def message(number, payload=b''):
    return struct.pack('>IB', len(payload) + 1, number) + payload


def handshake(hash_, peer_id=b'-RG0001-............', reserved=FAST):
    return b'\x13BitTorrent protocol' + reserved + hash_ + peer_id


class Peer:
    """One connection, blocking; reads whole messages."""

    def __init__(self, sock):
        self.sock, self.buffer = sock, b''

    @classmethod
    def dial(cls, port, meta, peer_id=b'-RG0001-............', reserved=FAST, host='127.0.0.1', timeout_s=10):
        """Connects, shakes hands, and returns the peer."""
        peer = cls(socket.create_connection((host, port), timeout_s))
        peer.sock.sendall(handshake(info_hash(meta), peer_id, reserved))
        peer.take(68)
        return peer

    def take(self, length):
        while len(self.buffer) < length:
            chunk = self.sock.recv(65_536)
            if not chunk:
                raise EOFError('closed by the other side')
            self.buffer += chunk
        taken, self.buffer = self.buffer[:length], self.buffer[length:]
        return taken

    def receive(self):
        """The next message as (number, payload); keep-alives are passed over."""
        while (length := struct.unpack('>I', self.take(4))[0]) == 0:
            pass
        body = self.take(length)
        return body[0], body[1:]

    def send(self, number, payload=b''):
        self.sock.sendall(message(number, payload))

    def close(self):
        self.sock.close()


class Rogue:
    """Listens; each connection gets the handshake and is handed to `behave(peer)` in a thread of its own."""

    def __init__(self, box, meta, behave, host='127.0.0.1', peer_id=b'-RG0001-............', reserved=FAST):
        self.hash, self.behave, self.peer_id, self.reserved = info_hash(meta), behave, peer_id, reserved
        self.listener = socket.create_server((host, 0))
        self.port = self.listener.getsockname()[1]
        self.address = f'{host}:{self.port}'
        self.accepted = 0
        box.on_close(self.listener.close)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._serve, args=(Peer(sock),), daemon=True).start()

    def _serve(self, peer):
        try:
            peer.take(68)
            peer.sock.sendall(handshake(self.hash, self.peer_id, self.reserved))
            self.behave(peer)
        except (OSError, EOFError):
            pass
        finally:
            peer.close()
