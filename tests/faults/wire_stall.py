"""Peers that are silent, slow or refuse: nobody waits for them, and their places go to others."""
import socket
import struct
import threading
import time

from harness import case, same, wait_for
from rogue import (FAST, HAVE_ALL, HAVE_NONE, INTERESTED, REJECT, REQUEST, UNCHOKE, Peer, Rogue, handshake, info_hash,
                   message, serve)

PIECE_LENGTH = 65_536


def made(box, length):
    payload = box.payload(length)
    with open(payload, 'rb') as file:
        return payload, box.meta(payload), file.read()


@case('a peer that never answers beside a slow one', "at most 10 % more than the good peer's ideal time")
def never_answers(box):
    payload, meta, content = made(box, 900_000)
    taken = []

    def silent(peer):
        peer.send(HAVE_ALL)
        peer.send(UNCHOKE)
        while True:
            taken.append(peer.receive()[0] == REQUEST)
    rogue = Rogue(box, meta, silent, peer_id=b'-RG0020-............')
    good = Rogue(box, meta, lambda peer: serve(peer, content, PIECE_LENGTH, rate=60_000), peer_id=b'-RG0021-............')
    fetch = box.fetch(meta, '--peer', rogue.address, '--peer', good.address)
    began = fetch.wait('peer_connected', peer=good.address)['at']
    took = fetch.wait('completed', 60)['at'] - began
    assert fetch.exit() == 0 and same(payload, f'{box.path}/copy/payload.bin')
    ideal = len(content) / 60_000
    assert took <= 1.1 * ideal, f'{took:.1f} s, ideal {ideal:.1f} s'
    return f'{took:.1f} s where {ideal:.1f} s is ideal, {sum(taken)} requests to the silent one'


@case('a peer that rejects every request', 'at most 10 requests a second to it, dropped within 60 s')
def rejects_everything(box):
    _, meta, _ = made(box, 3_000_000)
    asked, ends = [], []

    def behave(peer):
        peer.send(HAVE_ALL)
        peer.send(UNCHOKE)
        try:
            while True:
                number, body = peer.receive()
                if number == REQUEST:
                    asked.append(time.monotonic())
                    peer.send(REJECT, body)
        finally:
            ends.append(time.monotonic())
    rogue = Rogue(box, meta, behave)
    fetch = box.fetch(meta, '--peer', rogue.address)
    began = fetch.wait('peer_connected')['at']
    reason = fetch.wait('peer_closed', 60)['reason']
    took = wait_for(lambda: ends, 5, 'the end at the other side')[0] - began
    assert 'rejects' in reason and took <= 60, (reason, took)
    seconds = [sum(begin <= at < begin + 1 for at in asked) for begin in asked]
    # What was asked before the first answer came does not count as asking again.
    assert len(asked) <= 16 + 10 * took and max(seconds) <= 26, (len(asked), max(seconds))
    return f'{len(asked)} requests in {took:.0f} s, then dropped'


@case('handshakes that do not end', 'one deadline of at most 15 s, whatever comes meanwhile, for both directions')
def handshakes(box):
    _, meta, _ = made(box, 100_000)
    seed = box.seed(meta)
    hello = handshake(info_hash(meta))
    took = {}

    def attempt(name, first, then):
        with socket.create_connection(('127.0.0.1', seed.port), source_address=('127.0.4.1', 0)) as sock:
            took[name] = trickle(sock, first, then)
    tries = {'silent': (b'', b''), 'half': (hello[:34], b''), 'a byte each 5 s': (hello[:1], hello[1:])}
    threads = [threading.Thread(target=attempt, args=(name, *what)) for name, what in tries.items()]
    with socket.create_server(('127.0.0.1', 0)) as deaf, socket.create_server(('127.0.0.1', 0)) as slow:
        addresses = ['%s:%d' % it.getsockname() for it in (deaf, slow)]
        fetch = box.fetch(meta, '--peer', addresses[0], '--peer', addresses[1], folder='dialler')

        def answer(name, listener, then):
            sock, _ = listener.accept()
            with sock:
                took[name] = trickle(sock, b'', then, skip=68)
        threads.append(threading.Thread(target=answer, args=('silent when dialled', deaf, b'')))
        threads.append(threading.Thread(target=answer, args=('slow when dialled', slow, hello)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    fetch.stop()
    assert len(took) == 5 and max(took.values()) <= 15, took
    return f'5 kinds, closed after {min(took.values()):.1f} to {max(took.values()):.1f} s'


def trickle(sock, first, then, skip=0):
    """Sends `first`, then a byte of `then` each 5 s, until the other side closes; how long that took."""
    began = time.monotonic()
    sock.sendall(first)
    try:
        while skip and (got := sock.recv(skip)):
            skip -= len(got)
        while time.monotonic() - began < 400:
            sock.settimeout(5)
            try:
                if not sock.recv(1):
                    break
            except TimeoutError:
                sock.sendall(then[:1])
                then = then[1:]
    except OSError:
        pass
    return time.monotonic() - began


@case('silent behind the handshake', 'closed within 180 s; bytes of a message that never ends are no activity', slow=True)
def silent_connections(box):
    _, meta, _ = made(box, 100_000)
    seed = box.seed(meta)
    took = {}
    endless = struct.pack('>IB', 60_000, 99) + bytes(60_000)
    tries = {'silent': (b'', b''), 'half a message': (message(REQUEST, bytes(12))[:9], b''),
             'a byte each 5 s': (b'', endless)}

    def attempt(name, number, first, then):
        peer = Peer.dial(seed.port, meta, b'-RG0022-%012d' % number, source='127.0.4.1')
        took[name] = trickle(peer.sock, first, then)
    threads = [threading.Thread(target=attempt, args=(name, number, *what))
               for number, (name, what) in enumerate(tries.items())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(took) == 3 and max(took.values()) <= 180, took
    return f'3 kinds, closed after {min(took.values()):.0f} to {max(took.values()):.0f} s'


@case('all places taken by silent peers', 'a newcomer is served within 60 s')
def slots_for_newcomers(box):
    payload, meta, _ = made(box, 1_000_000)
    seed = box.seed(meta, '--max-peers', 6)
    kinds = [b'', message(HAVE_NONE), message(INTERESTED), message(HAVE_NONE) + message(INTERESTED),
             message(INTERESTED) + message(REQUEST, bytes(12))[:9], bytes(4)]
    for number, first in enumerate(kinds):
        peer = Peer.dial(seed.port, meta, b'-RG0023-%012d' % number, FAST, source='127.0.4.1')
        peer.sock.sendall(first)
        box.on_close(peer.close)
    wait_for(lambda: len(seed.all('peer_connected')) == 6, 5, 'a full seed')
    began = time.monotonic()
    fetch = box.fetch(meta, '--peer', f'127.0.0.1:{seed.port}')
    fetch.wait('completed', 60)
    took = time.monotonic() - began
    assert fetch.exit() == 0 and same(payload, f'{box.path}/copy/payload.bin')
    return f'6 of 6 places taken, the newcomer has all after {took:.0f} s'
