"""Connections that want nothing, and the memory of many that do."""
import resource
import socket
import time

from clients import CLIENTS
from rows import Line, row
from world import GIB, SWARM, TOOLS, World, settle, wait_for

CROWD = 2_000
BUSY = 50
#: Addresses of this machine to come from, so that no limit for one host is what is measured.
HOSTS = [f'127.{first}.{second}.1' for first in range(2, 12) for second in range(20)]
FAST = bytes([0, 0, 0, 0, 0, 0, 0, 4])
HAVE_NONE = b'\x00\x00\x00\x01\x0f'
#: Connections whose handshake is not answered yet.
AT_ONCE = 40


def connect(port, info_hash, count):
    """So many peers that shake hands, have nothing, want nothing, and stay silent."""
    sockets = []
    for number in range(count):
        if number >= AT_ONCE and not sockets[number - AT_ONCE].recv(68):
            raise RuntimeError('the seed has hung up')
        peer = socket.create_connection(('127.0.0.1', port), 20, source_address=(HOSTS[number % len(HOSTS)], 0))
        peer.sendall(b'\x13BitTorrent protocol' + FAST + bytes.fromhex(info_hash) + b'-ID0001-%012d' % number + HAVE_NONE)
        sockets.append(peer)
    return sockets


def crowd(client, count=CROWD):
    def run(scratch, quick):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        torrent = scratch.torrent(16 << 20, 1 << 18)
        many = count // 10 if quick else count
        argv = CLIENTS[client]('seed', torrent, torrent.folder, 7001)
        world, sockets = World(scratch), []
        try:
            seed = world.start(0, argv + (['--max-peers', count] if client == 'swarm' else []), f'{client}-seed')
            settle(seed)
            before = seed.rss_kib()
            sockets = connect(7001, torrent.info_hash, many)
            time.sleep(2)
            each = (seed.rss_kib() - before) / many
            busy, span = seed.cpu_s(), 4 if quick else 10
            time.sleep(span)
            share = (seed.cpu_s() - busy) / span
            closed = sum(is_closed(peer) for peer in sockets)
        finally:
            for peer in sockets:
                peer.close()
            world.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if closed > many // 100:
            raise RuntimeError(f'{closed} of {many} connections were closed')
        return {'kib': each, 'share': share, 'connections': many - closed}
    return run


def is_closed(peer):
    peer.setblocking(False)
    try:
        while peer.recv(4_096):
            pass
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True


@row('idle', '2,000 connected, uninterested peers', {'swarm': crowd('swarm'), 'libtorrent': crowd('libtorrent')},
     at_most={'libtorrent': 2})
def lines(samples):
    def show(name):
        return f'{samples.show(name, "share", ".2%")} of a core, {samples.show(name, "kib", ".1f")} KiB a connection'
    good = samples.median('swarm', 'share') <= 0.01 and samples.median('swarm', 'kib') <= 12_000 / 1024
    return [Line('a seed with 2,000 connected, uninterested peers', show('swarm'), f'libtorrent {show("libtorrent")}',
                 '≤ 1 % of a core, ≤ 12 KB a connection', good)]


def fetch_from_many(scratch, quick):
    """The peak of a leecher with so many seeds."""
    torrent = scratch.torrent(GIB // 8 if quick else GIB, 1 << 20)
    with World(scratch) as world:
        seeds = ['seeds', torrent.info_hash, torrent.path, torrent.piece_length, '127.1.0.1:7004', BUSY]
        world.start(0, [f'{TOOLS}/crowd', *seeds], 'crowd')
        time.sleep(0.5)
        peers = [word for number in range(BUSY) for word in ('--peer', f'127.1.0.{number + 1}:7004')]
        argv = [SWARM, 'fetch', torrent.metainfo, '-o', scratch.fresh('copy'), '--listen', '127.0.0.1:7002', '--json', *peers]
        fetch = world.start(0, argv, 'swarm-fetch')
        fetch.wait(120)
        most = max(event.get('peers', 0) for event in fetch.events())
    if not torrent.is_in(f'{scratch.path}/copy'):
        raise RuntimeError('the copy is wrong')
    scratch.fresh('copy')
    return {'mib': fetch.peak_kib / 1024, 'peers': most}


def seed_to_many(scratch, quick):
    """The peak of a seed with so many leechers that all ask at once."""
    torrent = scratch.torrent(GIB // 8 if quick else GIB, 1 << 20)
    with World(scratch) as world:
        argv = CLIENTS['swarm']('seed', torrent, torrent.folder, 7001)
        seed = world.start(0, [*argv, '--profile', 'lan'], 'swarm-seed')
        settle(seed)
        crowd = world.start(0, [f'{TOOLS}/crowd', 'leechers', torrent.info_hash, torrent.path, torrent.piece_length,
                                '127.0.0.1:7001', BUSY], 'crowd')
        crowd.wait(120)
        seed.look()
        return {'mib': seed.peak_kib / 1024}


@row('memory-50', 'peak memory with 50 busy connections, 1 GiB', {'fetch': fetch_from_many, 'seed': seed_to_many})
def memory(samples):
    worst = max(samples.all('fetch', 'mib') + samples.all('seed', 'mib'))
    shown = f'fetch {samples.show("fetch", "mib", ".0f", " MiB")}, seed {samples.show("seed", "mib", ".0f", " MiB")}'
    return [Line('peak memory, 1 GiB, 50 busy connections', shown, '-', '≤ 96 MiB in every run', worst <= 96)]
