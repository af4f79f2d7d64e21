"""Floods: of connections, of messages, of requests. A good transfer goes on beside them."""
import os
import resource
import select
import socket
import struct
import threading
import time

from harness import case, same, wait_for
from rogue import (ALLOWED_FAST, BITFIELD, CANCEL, EXTENDED, HAVE, HAVE_ALL, HAVE_NONE, INTERESTED, NOT_INTERESTED, PIECE,
                   REJECT, REQUEST, SUGGEST, UNCHOKE, Peer, Rogue, message)

EXTENSIONS = bytes([0, 0, 0, 0, 0, 0x10, 0, 4])
CONNECTIONS_A_SECOND = 1_000
DESCRIPTORS = 12_000


class Dials:
    """Dials a port from 40 addresses as often as asked, and says on each connection what
    `speak()` gives, once a second. Closes none."""

    def __init__(self, port, speak):
        self.port, self.speak, self.count, self.closed, self.stop = port, speak, 0, 0, False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        began, open_, spoken, poll = time.monotonic(), {}, time.monotonic(), select.epoll()
        while not self.stop:
            due = int((time.monotonic() - began) * CONNECTIONS_A_SECOND) - self.count
            for _ in range(min(due, 50)):
                sock = socket.socket()
                sock.setblocking(False)
                sock.bind((f'127.0.5.{self.count % 40 + 1}', 0))
                sock.connect_ex(('127.0.0.1', self.port))
                open_[sock.fileno()] = sock
                poll.register(sock, select.EPOLLIN)
                self.count += 1
            for number, _ in poll.poll(0.005):
                # A fork elsewhere keeps the socket open for a moment, and with it what is watched of it.
                poll.unregister(number)
                open_.pop(number).close()
                self.closed += 1
            if time.monotonic() - spoken >= 1:
                spoken = time.monotonic()
                for sock in open_.values():
                    try:
                        sock.send(self.speak())
                    except OSError:
                        pass
        poll.close()
        for sock in open_.values():
            sock.close()


def rate_limited(box, meta, port, folder):
    """Fetches beside a flood; how long it took from its start to the end."""
    began = time.monotonic()
    fetch = box.fetch(meta, '--peer', f'127.0.0.1:{port}', folder=folder)
    fetch.wait('completed', 40)
    took = time.monotonic() - began
    assert fetch.exit() == 0
    return took


@case('1,000 connections a second', 'a newcomer among them is served at full rate, whether they are silent, slow or speak '
                                    'nonsense', alone=True)
def connection_flood(box):
    payload = box.payload(8_000_000)
    meta = box.meta(payload)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, DESCRIPTORS), hard))
    box.on_close(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)))
    seed = box.seed(meta, '--up-limit', '2M')
    port = seed.port
    alone = rate_limited(box, meta, port, 'alone')
    before, report = seed.rss_kib(), []
    kinds = {'silent': lambda: b'', 'a byte a second': lambda: b'\x13', 'random': lambda: os.urandom(100)}
    for name, speak in kinds.items():
        cpu, began, dials = seed.cpu_s(), time.monotonic(), Dials(port, speak)
        wait_for(lambda: dials.count >= 1_000, 10, 'the flood')
        took = rate_limited(box, meta, port, name)
        rate = dials.count / (time.monotonic() - began)
        assert dials.thread.is_alive() and rate >= 0.8 * CONNECTIONS_A_SECOND, f'{name}: {rate:.0f} connections a second'
        dials.stop = True
        dials.thread.join()
        assert same(payload, f'{box.path}/{name}/payload.bin')
        assert took <= 1.5 * alone + 1, f'{name}: {took:.1f} s, alone {alone:.1f} s'
        report.append(f'{name}: {dials.count} connections, {took:.1f} s, {seed.cpu_s() - cpu:.1f} s of CPU')
    grown = seed.rss_kib() - before
    assert grown <= 32_768, f'{grown} KiB more'
    return f'alone {alone:.1f} s; {"; ".join(report)}; {max(grown, 0) // 1024} MiB more memory'


def numbers(*them):
    return struct.pack(f'>{len(them)}I', *them)


def pairs(one, other):
    return (one + other) * (65_536 // len(one + other))


HUGE = message(EXTENDED, b'\x00d1:md11:lt_donthavei7ee1:x50000:' + bytes(50_000) + b'e')
MANY_TOKENS = message(EXTENDED, b'\x00d1:ml' + b'0:' * 32_000 + b'ee')
# What is sent again and again for a while, and whether the other side may end it.
FLOODS = {
    'have and lt_donthave': pairs(message(HAVE, numbers(1)), message(EXTENDED, b'\x01' + numbers(1))),
    'interested and not': pairs(message(INTERESTED), message(NOT_INTERESTED)),
    'unchoke and choke': pairs(message(UNCHOKE), message(0)),
    'suggestions': b''.join(message(SUGGEST, numbers(n % 40)) for n in range(5_000)),
    'allowed fast': b''.join(message(ALLOWED_FAST, numbers(n % 40)) for n in range(5_000)),
    'unknown messages': message(99, bytes(1_000)) * 60,
    'unknown extensions': message(EXTENDED, b'\x63d5:added600:' + bytes(600) + b'e') * 100,
    'extension handshakes': message(EXTENDED, b'\x00d1:md11:lt_donthavei7eee') * 2_000,
    'huge extension handshakes': HUGE,
    'extension handshakes of 32,000 strings': MANY_TOKENS,
    'keep-alives': bytes(65_536),
    'cancels': message(CANCEL, numbers(0, 0, 16_384)) * 3_000,
    'rejects': message(REJECT, numbers(0, 0, 16_384)) * 3_000,
    'bitfields': message(BITFIELD, bytes(5)) * 5_000,
    'requests while choked': message(REQUEST, numbers(0, 0, 16_384)) * 3_000,
    'unasked blocks': message(PIECE, numbers(0, 0) + bytes(16_384)) * 4,
}


def flood(port, meta, number, content, seconds):
    """Sends it as fast as it is taken, reads nothing. Returns the bytes that went out."""
    peer = Peer.dial(port, meta, b'-RG0030-%012d' % number, EXTENSIONS, source=f'127.0.6.{number + 1}')
    peer.send(HAVE_ALL if number % 2 else HAVE_NONE)
    until, sent = time.monotonic() + seconds, 0
    peer.sock.settimeout(0.2)
    try:
        while time.monotonic() < until:
            try:
                sent += peer.sock.send(content)
            except TimeoutError:
                pass
    except OSError:
        pass
    peer.close()
    return sent


@case('floods of messages', 'each is ended or costs little: a transfer beside all of them goes on', alone=True)
def message_floods(box):
    payload = box.payload(40 * 65_536)
    meta = box.meta(payload)
    seed = box.seed(meta, '--up-limit', '300K')
    fetch = box.fetch(meta, '--peer', f'127.0.0.1:{seed.port}')
    fetch.wait('piece')
    before, spent, sent = fetch.rss_kib(), {}, {}
    for number, (name, content) in enumerate(FLOODS.items()):
        cpu = fetch.cpu_s()
        sent[name] = flood(fetch.port, meta, number, content, 0.3)
        spent[name] = fetch.cpu_s() - cpu
    worst = max(sent, key=lambda name: spent[name] / (sent[name] + 1))
    grown = fetch.rss_kib() - before
    done = fetch.wait('completed', 40)
    assert fetch.exit() == 0 and same(payload, f'{box.path}/copy/payload.bin')
    assert grown <= 32_768, f'{grown} KiB more'
    assert done['time_s'] <= 1.3 * 40 * 65_536 / 300_000 + 1, done
    return f'{len(FLOODS)} kinds, {sum(sent.values()) >> 20} MiB in {len(FLOODS) * 0.3:.0f} s, ' \
           f'{sum(spent.values()):.1f} s of CPU, worst {worst}: {spent[worst] * 1000 / (sent[worst] / 2**20 + 0.01):.0f} ms a MiB; ' \
           f'{max(grown, 0) // 1024} MiB more memory; the transfer {done["time_s"]:.1f} s'


@case('20,000 requests in one write', 'at most 2,000 wait, the memory is bounded, every other one is refused')
def request_flood(box):
    payload = box.payload(4_000_000)
    meta = box.meta(payload, piece_length='256K')
    seed = box.seed(meta)
    peer = Peer.dial(seed.port, meta, source='127.0.6.1')
    peer.send(HAVE_NONE)
    peer.send(INTERESTED)
    while peer.receive()[0] != UNCHOKE:
        pass
    before = seed.rss_kib()
    # No two are the same.
    requests = b''.join(message(REQUEST, numbers(n % 15, n // 15 % 16 * 16_384, 16_384 - n // 240)) for n in range(20_000))
    peer.sock.settimeout(5)
    threading.Thread(target=lambda: swallow(peer.sock, requests), daemon=True).start()
    time.sleep(1)  # nothing is read meanwhile
    grown, answers = seed.rss_kib() - before, {}
    try:
        while sum(answers.values()) < 20_000:
            number = peer.receive()[0]
            answers[number] = answers.get(number, 0) + 1
    except (OSError, EOFError):
        pass
    blocks, rejects = answers.get(PIECE, 0), answers.get(REJECT, 0)
    assert grown <= 16_384, f'{grown} KiB more'
    ended = fetch_ended(seed)
    assert ended or blocks + rejects == 20_000, answers
    assert blocks <= 2_100, answers
    return f'{blocks} blocks, {rejects} rejects, {"then closed" if ended else "all answered"}, ' \
           f'{max(grown, 0) >> 10} MiB more memory'


def fetch_ended(seed):
    return any('requests' in (event['reason'] or '') for event in seed.all('peer_closed'))


def swallow(sock, content):
    try:
        sock.sendall(content)
    except OSError:
        pass
