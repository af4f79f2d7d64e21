"""Too few descriptors for all who want in."""
import os
import resource
import socket
import time

from harness import case, info_hash, same, wait_for
from process_idle import HOSTS
from rogue import FAST, HAVE_NONE, handshake, message


def crowd(box, port, meta, count):
    """Half of them silent, half of them idle peers; those that are turned away do not matter."""
    hash_, sockets = info_hash(meta), []
    for number in range(count):
        sock = socket.create_connection(('127.0.0.1', port), 20, source_address=(HOSTS[number], 0))
        if number % 2:
            try:
                sock.sendall(handshake(hash_, b'-IDLE01-' + b'%012d' % number, FAST) + message(HAVE_NONE))
            except OSError:
                pass
        sockets.append(sock)
    box.on_close(lambda: [sock.close() for sock in sockets])


def descriptors(process):
    return len(os.listdir(f'/proc/{process.pid}/fd'))


@case('accept fails for lack of descriptors', 'it pauses with < 2 % CPU, and recovers', alone=True)
def accept_fails(box):
    payload = box.payload(500_000)
    meta = box.meta(payload)
    seed = box.seed(meta, '-v')
    seed.wait('state', state='seeding')
    limits = resource.prlimit(seed.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(seed.pid, resource.RLIMIT_NOFILE, (descriptors(seed), limits[1]))
    crowd(box, seed.port, meta, 50)
    share = seed.cpu_share(3)
    with open(seed.log) as log:
        complaints = log.read().count('cannot accept')
    resource.prlimit(seed.pid, resource.RLIMIT_NOFILE, limits)
    began = time.monotonic()
    fetch = box.fetch(meta, '--peer', f'127.0.0.1:{seed.port}')
    fetch.wait('completed', 30)
    waited = time.monotonic() - began
    assert fetch.exit() == 0 and same(payload, f'{box.path}/copy/payload.bin')
    counted = f'{share:.1%} of a core, {complaints} lines of complaint in 3 s, a newcomer done {waited:.1f} s after'
    assert share < 0.02 and 1 <= complaints <= 20, counted
    return counted


@case('64 descriptors and 200 connections', 'files and records keep a reserve, who is in stays in, a newcomer is served', alone=True)
def few_descriptors(box):
    names = [f'{number:02}.bin' for number in range(40)]
    for name in names:
        box.payload(100_000, name, folder='source/many')
    meta = box.meta(f'{box.path}/source/many')
    seed = box.seed(meta, '--profile', 'lan', prefix=['prlimit', '--nofile=64:64'])
    seed.wait('state', state='seeding')
    early = box.fetch(meta, '--peer', f'127.0.0.1:{seed.port}', '--down-limit', '600K', folder='early')
    wait_for(lambda: early.all('piece'), 10, 'the first piece')
    crowd(box, seed.port, meta, 200)
    share = seed.cpu_share(3)
    early.wait('completed', 30)
    late = box.fetch(meta, '--peer', f'127.0.0.1:{seed.port}', folder='late')
    began = time.monotonic()
    late.wait('completed', 40)
    waited = time.monotonic() - began
    assert early.exit() == 0 and late.exit() == 0 and not seed.all('trouble'), seed.all('trouble')
    counted = f'{share:.1%} of a core with 600 kB/s going out, the peer inside undisturbed, a newcomer done in {waited:.0f} s'
    assert share < 0.05, counted
    return counted
