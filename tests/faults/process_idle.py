"""Crowds that only hold the door: what ten thousand idle connections cost, and whom they keep out."""
import os
import socket
import time

from harness import case, info_hash, same, wait_for
from rogue import FAST, HAVE_NONE, handshake, message

IDLE = 10_000
# Connections that wait for their handshake.
AT_ONCE = 50
# Addresses of this machine, so that no limit for one host is what is measured.
HOSTS = [f'127.{a}.{b}.1' for a in range(1, 11) for b in range(100)]


def crowd(box, port, meta, count):
    """So many peers that shake hands, have nothing, and stay silent; returns their sockets."""
    hash_, sockets = info_hash(meta), []
    for number in range(count):
        if number >= AT_ONCE:
            # At the pace of the seed: in a rush the oldest handshakes give way to newcomers.
            assert sockets[number - AT_ONCE].recv(68, socket.MSG_PEEK), 'no handshake'
        sock = socket.create_connection(('127.0.0.1', port), 20, source_address=(HOSTS[number % len(HOSTS)], 0))
        sock.sendall(handshake(hash_, b'-IDLE01-' + b'%012d' % number, FAST) + message(HAVE_NONE))
        sockets.append(sock)
    box.on_close(lambda: [sock.close() for sock in sockets])
    return sockets


@case('10,000 idle connections', '≤ 8 KiB each, < 2 % CPU, a good newcomer is served', alone=True)
def idle_connections(box):
    payload = box.payload(2_000_000)
    meta = box.meta(payload)
    seed = box.seed(meta, '--max-peers', IDLE)
    seed.wait('state', state='seeding')
    time.sleep(0.5)
    before = seed.rss_kib()
    crowd(box, seed.port, meta, IDLE)
    wait_for(lambda: seed.last().get('peers') == IDLE, 20, 'all of them to be connected')
    time.sleep(2)
    each = (seed.rss_kib() - before) / IDLE
    share = seed.cpu_share(5)
    fetch = box.fetch(meta, '--peer', f'127.0.0.1:{seed.port}')
    fetch.wait('completed', 45)
    assert fetch.exit() == 0 and same(payload, f'{box.path}/copy/payload.bin')
    counted = f'{IDLE} connections of {each:.1f} KiB, {share:.1%} of a core, the newcomer fetched all'
    assert each <= 8 and share < 0.02, counted
    return counted


@case('10,000 connections come and go', 'memory stays flat', alone=True)
def churn(box):
    meta = box.meta(box.payload(2_000_000))
    seed = box.seed(meta)
    seed.wait('state', state='seeding')
    hash_ = info_hash(meta)
    descriptors = lambda: len(os.listdir(f'/proc/{seed.pid}/fd'))

    def come_and_go(rounds):
        for round_ in range(rounds):
            sockets = []
            for number in range(AT_ONCE):
                host = HOSTS[(round_ * AT_ONCE + number) % len(HOSTS)]
                sock = socket.create_connection(('127.0.0.1', seed.port), 20, source_address=(host, 0))
                sock.sendall(handshake(hash_, b'-IDLE01-' + b'%04d%08d' % (number, round_), FAST) + message(HAVE_NONE))
                sockets.append(sock)
            for sock in sockets:
                assert sock.recv(68), 'no handshake'
                sock.close()
        wait_for(lambda: seed.last().get('peers') == 0, 20, 'the last of them to be gone')
        time.sleep(0.5)
        return seed.rss_kib(), descriptors()
    before, open_before = come_and_go(40)
    after, open_after = come_and_go(200)
    counted = f'{after - before} KiB and {open_after - open_before} descriptors more after 10,000'
    assert after - before <= 1_024 and open_after <= open_before, counted
    return counted
