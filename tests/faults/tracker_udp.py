"""UDP trackers that lose, cut, repeat and mix up datagrams, and strangers who answer in their name."""
import os
import signal
import socket
import struct
import threading
import time

from harness import case, wait_for

CONNECT, ANNOUNCE, SCRAPE, ERROR = range(4)
EVENTS = ['regular', 'completed', 'started', 'stopped']


class Tracker:
    """Answers each datagram as `answer(tracker, datagram, address)` does; notes when which action was asked for."""

    def __init__(self, box, answer):
        self.asked, self.wrong = [], 0
        self.sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for one in self.sockets:
            one.bind(('127.0.0.1', 0))
            box.on_close(one.close)
        self.own, self.stranger = self.sockets
        self.url = f'udp://127.0.0.1:{self.own.getsockname()[1]}/announce'
        threading.Thread(target=self.serve, args=(answer,), daemon=True).start()

    def serve(self, answer):
        while True:
            try:
                datagram, address = self.own.recvfrom(4_096)
            except OSError:
                return
            self.asked.append((time.monotonic(), struct.unpack('>I', datagram[8:12])[0], datagram))
            answer(self, datagram, address)

    def all(self, action):
        return [(at, datagram) for at, asked, datagram in self.asked if asked == action]


def right(datagram):
    """The right answer."""
    action, transaction = datagram[8:12], datagram[12:16]
    if action == struct.pack('>I', CONNECT):
        return action + transaction + b'connect!'
    assert datagram[:8] == b'connect!', 'a connection id that was never given'
    return action + transaction + struct.pack('>III', 1_800, 0, 1)


def wrong(datagram):
    """All that is no answer to it."""
    action, transaction = struct.unpack('>II', datagram[8:16])
    good = right(datagram)
    yield good[:7]
    yield b''
    yield good[:len(good) - 1] if action == CONNECT else good[:19]
    yield struct.pack('>II', action, transaction ^ 1) + good[8:]
    yield struct.pack('>II', ANNOUNCE if action == CONNECT else CONNECT, transaction ^ 1) + good[8:]
    yield struct.pack('>II', SCRAPE, transaction) + good[8:]
    yield struct.pack('>II', ERROR, transaction ^ 0x8000_0000) + b'not you'
    yield struct.pack('>II', 9, transaction) + good[8:]
    yield os.urandom(2_000)


@case('a UDP tracker that lies, and one in its name', 'all but the right answer from the right address is ignored; what is '
      'lost is asked again after 15 s, and not before')
def lies(box):
    lost = []

    def answer(tracker, datagram, address):
        for nonsense in wrong(datagram):
            tracker.own.sendto(nonsense, address)
            tracker.wrong += 1
        tracker.stranger.sendto(struct.pack('>II', ERROR, *struct.unpack('>I', datagram[12:16])) + b'go away', address)
        tracker.stranger.sendto(right(datagram), address)
        tracker.wrong += 2
        if not lost:
            lost.append(datagram)
            return
        for _ in range(3):  # once, and twice more for nothing
            tracker.own.sendto(right(datagram), address)

    tracker = Tracker(box, answer)
    seed = box.seed(box.meta(box.payload(200_000)), '--tracker', tracker.url)
    seed.wait('tracker', 25)
    (first, _), (second, _) = tracker.all(CONNECT)
    assert 14.9 <= second - first <= 17, f'asked again after {second - first:.1f} s'
    assert len(tracker.all(ANNOUNCE)) == 1 and not seed.all('tracker_failed'), tracker.asked
    began = time.monotonic()
    assert seed.stop() == 0
    took = time.monotonic() - began
    events = [EVENTS[struct.unpack('>I', datagram[80:84])[0]] for _, datagram in tracker.all(ANNOUNCE)]
    assert events == ['started', 'stopped'] and took < 3, (events, took)
    return f'{tracker.wrong} datagrams ignored, asked again after {second - first:.1f} s, `stopped` heard'


@case('a UDP tracker that refuses, and one that is gone', 'a readable message, and a pause that grows')
def refuses(box):
    def answer(tracker, datagram, address):
        is_connect = datagram[8:12] == struct.pack('>I', CONNECT)
        reason = struct.pack('>I', ERROR) + datagram[12:16] + b'\x1b[2J' * 500
        tracker.own.sendto(right(datagram) if is_connect else reason, address)

    tracker = Tracker(box, answer)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(('127.0.0.1', 0))
        gone = f'udp://127.0.0.1:{free.getsockname()[1]}/announce'
    seed = box.seed(box.meta(box.payload(200_000)), '--tracker', tracker.url, '--tracker', gone)
    failed = wait_for(lambda: len({it['url']: it for it in seed.all('tracker_failed')}) == 2
                      and seed.all('tracker_failed'), 10, 'both failures')
    told = {it['url']: it for it in reversed(failed)}
    refused, unreachable = told[tracker.url], told[gone]
    assert 'refuses' in refused['error'] and refused['error'].isprintable() and len(refused['error']) < 400, refused
    assert 'cannot be reached' in unreachable['error'] and 3 <= unreachable['retry_in_s'] <= 5, unreachable
    assert refused['retry_in_s'] >= 45 and len(tracker.all(ANNOUNCE)) == 1, (refused, tracker.asked)
    seed.send(signal.SIGKILL)
    return f"asked again after {refused['retry_in_s']:.0f} s and {unreachable['retry_in_s']:.0f} s"
