"""The wire of BEP 3 by hand, for peers that do what no client would."""
import socket
import struct
import threading
import time

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
    def dial(cls, port, meta, peer_id=b'-RG0001-............', reserved=FAST, host='127.0.0.1', timeout_s=10,
             source='127.0.0.1'):
        """Connects, shakes hands, and returns the peer."""
        peer = cls(socket.create_connection((host, port), timeout_s, (source, 0)))
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

    def closed_after(self, limit_s):
        """Seconds until the other side closes, whatever it says before; None if it does not within the limit."""
        began = time.monotonic()
        try:
            while (left := limit_s - (time.monotonic() - began)) > 0:
                self.sock.settimeout(left)
                if not self.sock.recv(65_536):
                    break
            else:
                return None
        except TimeoutError:
            return None
        except OSError:
            pass
        return time.monotonic() - began

    def close(self):
        self.sock.close()


def block(content, piece_length, index, begin, length):
    """A `piece` message with these bytes of the content."""
    at = index * piece_length + begin
    return message(PIECE, struct.pack('>II', index, begin) + content[at:at + length])


def serve(peer, content, piece_length, answer=block, rate=None):
    """Is a seed: says so, unchokes, and answers each request with the bytes that `answer` makes; None is no answer."""
    peer.send(HAVE_ALL)
    peer.send(UNCHOKE)
    due = time.monotonic()
    while True:
        number, body = peer.receive()
        if number != REQUEST:
            continue
        index, begin, length = struct.unpack('>III', body)
        if rate:
            due = max(due, time.monotonic() - 0.1) + length / rate
            time.sleep(max(0, due - time.monotonic()))
        if (reply := answer(content, piece_length, index, begin, length)) is not None:
            peer.sock.sendall(reply)


class Rogue:
    """Listens; each connection gets the handshake and is handed to `behave(peer)` in a thread of its own."""

    def __init__(self, box, meta, behave, host='127.0.0.1', peer_id=b'-RG0001-............', reserved=FAST):
        self.hash, self.behave, self.peer_id, self.reserved = info_hash(meta), behave, peer_id, reserved
        self.listener = socket.create_server((host, 0))
        self.port = self.listener.getsockname()[1]
        self.address = f'{host}:{self.port}'
        self.accepted, self.sockets = 0, []
        box.on_close(self.close)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        """Hears nobody any more."""
        for sock in [self.listener, *self.sockets]:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            self.sockets.append(sock)
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
