"""A link of ours between two peers: late, noisy, or cut off now and then."""
import queue
import socket
import struct
import threading
import time

from rogue import PIECE


class Relay:
    """Listens at `address`; what comes there goes on to the target, and what comes back goes back, `delay_s` later each
    way. `alter(sock, data)` may change what flows from the target, or raise OSError to reset the connection."""

    def __init__(self, box, target, host='127.0.0.1', delay_s=0.0, alter=None):
        self.target, self.delay_s, self.alter = target, delay_s, alter
        self.listener = socket.create_server((host, 0))
        self.address = '%s:%d' % self.listener.getsockname()
        self.accepted = 0
        box.on_close(self.listener.close)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            try:
                far = socket.create_connection(self.target, 5)
                far.settimeout(None)
            except OSError:
                near.close()
                continue
            alter = self.alter() if self.alter else None
            for one, other, change in ((near, far, None), (far, near, alter)):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                flow = queue.Queue(4_096)
                threading.Thread(target=self._read, args=(one, other, flow, change), daemon=True).start()
                threading.Thread(target=self._write, args=(other, flow), daemon=True).start()

    def _read(self, one, other, flow, change):
        try:
            while data := one.recv(65_536):
                flow.put((time.monotonic() + self.delay_s, change(data) if change else data))
        except OSError:
            for sock in (one, other):
                reset(sock)
        flow.put((time.monotonic() + self.delay_s, b''))

    def _write(self, other, flow):
        try:
            while True:
                due, data = flow.get()
                time.sleep(max(0, due - time.monotonic()))
                if not data:
                    other.shutdown(socket.SHUT_WR)
                    return
                other.sendall(data)
        except OSError:
            reset(other)


def reset(sock):
    """Cuts a connection with RST, as a router does that forgot it."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        sock.shutdown(socket.SHUT_RD)
    except OSError:
        pass
    sock.close()


def noise(every, random, flips, headers=False):
    """Flips a bit about each so many bytes of the payload of blocks, or of their headers and `have` and the like;
    `flips` counts them."""
    def new_connection():
        state = {'skip': 68, 'header': b'', 'payload': 0, 'left': random.randrange(every, 2 * every)}

        def flip(data, start, end):
            while state['left'] < end - start:
                start += state['left']
                data[start] ^= 1 << random.randrange(8)
                state['left'] = random.randrange(every, 2 * every)
                flips.append(time.monotonic())
                start += 1
            state['left'] -= end - start

        def alter(chunk):
            data, at = bytearray(chunk), 0
            while at < len(data):
                if state['skip']:
                    step = min(state['skip'], len(data) - at)
                    state['skip'] -= step
                elif state['payload']:
                    step = min(state['payload'], len(data) - at)
                    if not headers:
                        flip(data, at, at + step)
                    state['payload'] -= step
                else:
                    step = 1
                    state['header'] += data[at:at + 1]
                    read_header(state)
                    if headers:
                        flip(data, at, at + step)
                at += step
            return bytes(data)
        return alter
    return new_connection


def read_header(state):
    """Goes on once the length, the number and, of a `piece`, the place are there."""
    header = state['header']
    if len(header) < 4:
        return
    length = struct.unpack('>I', header[:4])[0]
    if length == 0:
        state['header'] = b''
    elif len(header) >= 5 and header[4] != PIECE:
        state['skip'], state['header'] = length - 1, b''
    elif len(header) == 13:
        state['payload'], state['header'] = length - 9, b''


def resets(every, random, cuts):
    """Cuts the connection after so many bytes, more or less."""
    def new_connection():
        left = [random.randrange(every // 2, every * 3 // 2)]

        def alter(data):
            left[0] -= len(data)
            if left[0] < 0:
                cuts.append(time.monotonic())
                raise ConnectionResetError
            return data
        return alter
    return new_connection


def losses(every, random, stalls):
    """What the loss or a reordering of packets is to a connection: all that follows waits for what is sent again, then
    comes in one burst. Every so many bytes, more or less; and a little jitter always."""
    def new_connection():
        left = [random.randrange(every // 2, every * 3 // 2)]

        def alter(data):
            left[0] -= len(data)
            pause = random.uniform(0, 0.01)
            if left[0] < 0:
                left[0] = random.randrange(every // 2, every * 3 // 2)
                pause = random.uniform(0.2, 1.2)
                stalls.append(pause)
            time.sleep(pause)
            return data
        return alter
    return new_connection
