"""Many small things: files of 4 KiB in one torrent, torrents of 64 KiB in one session."""
import hashlib
import os
import subprocess
import sys
import time

from clients import CLIENTS, HERE
from folders import Folder
from rows import Line, row
from world import SWARM, TRACKER, World, settle

KIB = 1 << 10


def files(client, count):
    """One folder of so many files of 4 KiB from seed to leecher."""
    def run(scratch, quick):
        torrent = Folder(scratch, count // 10 if quick else count, 4 * KIB, 64 * KIB, TRACKER)
        with World(scratch, 2) as world:
            world.track(torrent)
            seed = world.start(0, CLIENTS[client]('seed', torrent, torrent.folder, 7001), f'{client}-seed')
            settle(seed)
            seed_s, copy = seed.cpu_s(), scratch.fresh('copy')
            fetch = world.start(1, CLIENTS[client]('fetch', torrent, copy, 7002, f'{world.ip(0)}:7001'), f'{client}-fetch')
            fetch.wait(120)
            seed_s = seed.cpu_s() - seed_s
            if not torrent.is_in(copy):
                raise RuntimeError('the copy is wrong')
        scratch.fresh('copy')
        return {'wall_s': fetch.ended - fetch.began, 'leecher_us': fetch.used_s() * 1e6 / torrent.count,
                'seeder_us': seed_s * 1e6 / torrent.count}
    return run


def both(samples, name):
    seed, leecher = (samples.show(name, figure, '.0f') for figure in ('seeder_us', 'leecher_us'))
    return f'CPU of seed and leecher {seed} + {leecher} µs'


def growth(samples, small, large, *figures):
    """What one thing costs among many, over what it costs among few."""
    return sum(samples.median(large, it) for it in figures) / sum(samples.median(small, it) for it in figures)


@row('small-files', '1,000 and 8,000 files of 4 KiB', {'1,000': files('swarm', 1_000), '8,000': files('swarm', 8_000),
                                                        'libtorrent 1,000': files('libtorrent', 1_000),
                                                        'aria2 1,000': files('aria2', 1_000)})
def small_files(samples):
    show = lambda name: f'{samples.show(name, "wall_s")} s, {both(samples, name)} a file'
    rivals = '; '.join(f'{name.split()[0]} {show(name)}' for name in ('libtorrent 1,000', 'aria2 1,000') if samples.has(name))
    more = growth(samples, '1,000', '8,000', 'seeder_us', 'leecher_us')
    return [Line('1,000 files of 4 KiB', f'{show("1,000")}; of 8,000 one costs {more:.2f} × as much', rivals,
                 'measured, nothing quadratic (≤ 1.5 ×)', more <= 1.5)]


class Several:
    """Torrents of one file each."""

    def __init__(self, scratch, count):
        self.folder, self.metainfos = f'{scratch.path}/several', []
        os.makedirs(self.folder, exist_ok=True)
        for number in range(count):
            name = f't{number:05}'
            content = hashlib.sha256(b'%d' % number).digest() * (64 * KIB // 32)
            with open(f'{self.folder}/{name}', 'wb') as out:
                out.write(content)
            pieces = b''.join(hashlib.sha1(content[at:at + 32 * KIB]).digest() for at in range(0, 64 * KIB, 32 * KIB))
            info = {'length': 64 * KIB, 'name': name, 'piece length': 32 * KIB, 'pieces': pieces}
            self.metainfos.append(scratch.write_metainfo(name, info))


def several(client, mode, torrents, folder, port, peer=None):
    known = ['--peer', peer] if peer else []
    if client == 'libtorrent':
        return [sys.executable, f'{HERE}/libtorrent_peer.py', mode, folder, port, *known, *torrents.metainfos]
    where = ['--path', folder] if mode == 'seed' else ['-o', folder]
    return [SWARM, mode, *where, '--listen', f'0.0.0.0:{port}', '--quiet', *known, *torrents.metainfos]


def torrents(client, count):
    """So many torrents of 64 KiB, all from one process to another."""
    def run(scratch, quick):
        all_of_them = Several(scratch, count // 10 if quick else count)
        with World(scratch, 2) as world:
            seed = world.start(0, several(client, 'seed', all_of_them, all_of_them.folder, 7001), f'{client}-seed')
            settle(seed)
            seed_s, copy = seed.cpu_s(), scratch.fresh('copy')
            argv = several(client, 'fetch', all_of_them, copy, 7002, f'{world.ip(0)}:7001')
            fetch = world.start(1, argv, f'{client}-fetch')
            fetch.wait(180)
            seed_s = seed.cpu_s() - seed_s
            if subprocess.call(['diff', '-r', '-q', all_of_them.folder, copy], stdout=subprocess.DEVNULL):
                raise RuntimeError('the copies are wrong')
            # What was served is hashed once more before the seed is at rest.
            settle(seed)
            idle, span = seed.cpu_s(), 4
            time.sleep(span)
            idle = (seed.cpu_s() - idle) / span
            rss = seed.rss_kib()
        number = len(all_of_them.metainfos)
        for path in all_of_them.metainfos:
            os.remove(path)
        scratch.fresh('copy')
        scratch.fresh('several')
        return {'wall_s': fetch.ended - fetch.began, 'leecher_us': fetch.used_s() * 1e6 / number,
                'seeder_us': seed_s * 1e6 / number, 'idle': idle, 'kib': rss / number}
    return run


@row('small-torrents', '250 and 1,000 torrents of 64 KiB in one session',
     {'250': torrents('swarm', 250), '1,000': torrents('swarm', 1_000), 'libtorrent 1,000': torrents('libtorrent', 1_000)})
def small_torrents(samples):
    def show(name):
        return (f'{samples.show(name, "wall_s", ".1f")} s, {both(samples, name)} a torrent, then the seed is idle at '
                f'{samples.show(name, "idle", ".1%")} of a core with {samples.show(name, "kib", ".0f")} KiB a torrent')
    more = growth(samples, '250', '1,000', 'seeder_us', 'leecher_us')
    rival = f'libtorrent {show("libtorrent 1,000")}' if samples.has('libtorrent 1,000') else 'libtorrent: no run'
    return [Line('1,000 torrents of 64 KiB in one session', f'{show("1,000")}; of 250 one costs {1 / more:.2f} × as much',
                 rival, 'measured, nothing quadratic (1,000 over 250: ≤ 1.5 ×)', more <= 1.5)]
