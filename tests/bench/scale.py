"""Torrents as large as they come: 4,000,000 pieces, or 200,000 files."""
import hashlib
import os
import time

from folders import Folder
from rows import Line, row
from world import SWARM, TOOLS, Torrent, World, settle, wait_for

PIECE_LENGTH = 16 << 10
MANY_PIECES = 4_000_000
MANY_FILES = 200_000
MIB = 1 << 20


class Zeros(Torrent):
    """One file of nothing but holes: it takes no room, and every piece has the same hash."""

    def __init__(self, scratch, pieces):
        name = f'zeros-{pieces}'
        folder = f'{scratch.path}/zeros'
        os.makedirs(folder, exist_ok=True)
        with open(f'{folder}/{name}', 'wb') as out:
            out.truncate(pieces * PIECE_LENGTH)
        info = {'length': pieces * PIECE_LENGTH, 'name': name, 'piece length': PIECE_LENGTH,
                'pieces': hashlib.sha1(bytes(PIECE_LENGTH)).digest() * pieces}
        super().__init__(scratch.write_metainfo(name, info), info, folder, name)


def opened(process):
    """Whether it has begun to fetch."""
    return any(event['event'] == 'state' and event['state'] == 'fetching' for event in process.events())


def open_torrent(world, torrent, folder, *more):
    """Starts a fetch; the process, and how long it took until it could ask peers."""
    argv = [SWARM, 'fetch', torrent.metainfo, '-o', folder, '--listen', '127.0.0.1:7002', '--json', *more]
    fetch = world.start(0, argv, 'swarm-fetch')
    wait_for(lambda: opened(fetch), 120, f'{torrent.name} to be opened', 0.01)
    return fetch, time.monotonic() - fetch.began


def pieces(count):
    """Opens a torrent of so many pieces and fetches some of it from a peer that has it all."""
    def run(scratch, quick):
        torrent = Zeros(scratch, count // 16 if quick and count > 100_000 else count)
        with World(scratch) as world:
            fetch, open_s = open_torrent(world, torrent, scratch.fresh('copy'))
            time.sleep(1)
            rss, peak = fetch.rss_kib(), fetch.status_kib('VmHWM')
            fetch.stop()
            seed = ['seeds', torrent.info_hash, torrent.path, PIECE_LENGTH, '127.1.0.1:7004', 1]
            world.start(0, [f'{TOOLS}/crowd', *seed], 'crowd')
            time.sleep(0.3)
            fetch, _ = open_torrent(world, torrent, scratch.fresh('copy'), '--peer', '127.1.0.1:7004')
            cpu, cost = fetch.cpu_s(), None

            def far():
                last = [event for event in fetch.events() if event['event'] == 'progress'][-1:]
                return last and last[0]['downloaded'] >= min(512 * MIB, torrent.size) and last[0]['downloaded']
            done = wait_for(far, 60, 'half a GiB', 0.05)
            cost = (fetch.cpu_s() - cpu) / (done / PIECE_LENGTH)
        scratch.fresh('copy')
        metainfo = os.path.getsize(torrent.metainfo)
        os.remove(torrent.metainfo)
        return {'open_s': open_s, 'rss_kib': rss, 'peak_kib': peak, 'metainfo_kib': metainfo / 1024,
                'pieces': torrent.size // PIECE_LENGTH, 'us_a_piece': cost * 1e6}
    return run


@row('pieces', '4,000,000 pieces of 16 KiB', {'32,768': pieces(32_768), '4,000,000': pieces(MANY_PIECES)})
def of_pieces(samples):
    few, many = '32,768', '4,000,000'
    extra = [samples.median(who, 'rss_kib') - samples.median(who, 'metainfo_kib') for who in (few, many)]
    count = samples.median(many, 'pieces') - samples.median(few, 'pieces')
    each = (extra[1] - extra[0]) * 1024 / count
    seconds, more = samples.median(many, 'open_s'), samples.median(many, 'us_a_piece') / samples.median(few, 'us_a_piece')
    good = seconds < 3 and each <= 32 and more <= 1.25
    hashes = samples.median(many, 'metainfo_kib') * 1024 / samples.median(many, 'pieces')
    show = lambda who: f'{samples.show(who, "open_s")} s, {samples.show(who, "us_a_piece", ".1f")} µs'
    return [Line('a torrent of 4,000,000 pieces: until it asks peers, CPU of a piece that is fetched, memory',
                 f'{show(many)}, {each:.1f} B a piece (and {hashes:.1f} B of metainfo)',
                 f'swarm with 32,768 pieces: {show(few)}, so {more:.2f} × the CPU',
                 '< 3 s, ≤ 32 B a piece, ≤ 1.25 × the CPU', good)]


def many_files(scratch, quick):
    """Opens a torrent of so many files, seeds it, and leaves it alone."""
    torrent = Folder(scratch, MANY_FILES // 20 if quick else MANY_FILES, 1 << 10, 64 << 10)
    with World(scratch) as world:
        fetch, open_s = open_torrent(world, torrent, scratch.fresh('copy'))
        time.sleep(1)
        descriptors, rss = len(os.listdir(f'/proc/{fetch.pid}/fd')), fetch.rss_kib()
        fetch.stop()
        home = scratch.fresh('homes/seed')
        argv = [SWARM, 'seed', torrent.metainfo, '--path', torrent.folder, '--listen', '127.0.0.1:7001', '--json']
        seed = world.start(0, argv, 'swarm-seed', home)
        settle(seed)
        seed.stop()
        # With a record of what was verified, as every start but the first.
        seed = world.start(0, argv, 'swarm-seed', home)
        wait_for(lambda: any(event.get('state') == 'seeding' for event in seed.events()), 60, 'the seed', 0.005)
        again_s = time.monotonic() - seed.began
        settle(seed)
        busy, span = seed.cpu_s(), 4 if quick else 8
        time.sleep(span)
        idle = (seed.cpu_s() - busy) / span
        before, copy = seed.cpu_s(), scratch.fresh('copy')
        fetch, _ = open_torrent(world, torrent, copy, '--peer', '127.0.0.1:7001')
        fetch.wait(240)
        descriptors = max(descriptors, len(os.listdir(f'/proc/{seed.pid}/fd')))
        cost = (fetch.used_s() + seed.cpu_s() - before) / torrent.count
        took = fetch.ended - fetch.began
        if not torrent.is_in(copy):
            raise RuntimeError('the copy is wrong')
    scratch.fresh('copy')
    return {'open_s': open_s, 'again_s': again_s, 'descriptors': descriptors, 'idle': idle, 'rss_mib': rss / 1024,
            'us_a_file': cost * 1e6, 'fetch_s': took}


@row('files', '200,000 files of 1 KiB', {'swarm': many_files}, at_most={'swarm': 3})
def of_files(samples):
    show = lambda figure, form='.2f': samples.show('swarm', figure, form)
    opens = max(samples.median('swarm', 'open_s'), samples.median('swarm', 'again_s'))
    good = opens < 3 and samples.median('swarm', 'descriptors') < 500
    return [Line('a torrent of 200,000 files: until it asks peers, or serves what is recorded',
                 f'{show("open_s")} s, {show("again_s")} s; {show("descriptors", ".0f")} descriptors, '
                 f'idle at {show("idle", ".2%")} of a core, fetched in {show("fetch_s", ".1f")} s, '
                 f'{show("us_a_file", ".0f")} µs of both sides a file', '-', '< 3 s, < 500 descriptors', good)]
