"""One seed, one leecher, a link without a limit: what it costs each of them, and the machine."""
from clients import CLIENTS
from rows import Line, row
from world import GIB, TRACKER, World, machine_s, settle

PIECE_LENGTH = 1 << 20


def pair(seeder, leecher):
    """A contestant: `seeder` serves a payload to `leecher`, each on a host of its own."""
    def run(scratch, quick):
        size = GIB // 16 if quick else GIB
        torrent = scratch.torrent(size, PIECE_LENGTH, TRACKER)
        with World(scratch, 2) as world:
            world.track(torrent)
            seed = world.start(0, CLIENTS[seeder]('seed', torrent, torrent.folder, 7001), f'{seeder}-seed')
            settle(seed)
            copy = scratch.fresh('copy')
            seed_before, machine_before = seed.cpu_s(), machine_s()
            known = f'{World.ip(0)}:7001'
            fetch = world.start(1, CLIENTS[leecher]('fetch', torrent, copy, 7002, known), f'{leecher}-fetch')
            fetch.wait(120)
            machine, seed_s = machine_s() - machine_before, seed.cpu_s() - seed_before
            wall = fetch.ended - fetch.began
            seed.look()
            if not torrent.is_in(copy):
                raise RuntimeError(f'the copy of {leecher} is wrong')
            scratch.fresh('copy')
        gib = size / GIB
        return {'mb_per_s': size / 1e6 / wall, 'seeder_s': seed_s / gib, 'leecher_s': fetch.used_s() / gib,
                'machine_s': machine / gib, 'leecher_mib': fetch.peak_kib / 1024, 'seeder_mib': seed.peak_kib / 1024}
    return run


PAIRS = {'floor': pair('floor', 'floor'), 'swarm → swarm': pair('swarm', 'swarm'),
         'swarm → libtorrent': pair('swarm', 'libtorrent'), 'libtorrent → swarm': pair('libtorrent', 'swarm'),
         'aria2 → libtorrent': pair('aria2', 'libtorrent'), 'libtorrent → libtorrent': pair('libtorrent', 'libtorrent'),
         'libtorrent → aria2': pair('libtorrent', 'aria2')}
RIVALS = [name for name in PAIRS if 'swarm' not in name and name != 'floor']


def each(samples, names, figure, form='.2f', unit=''):
    """What these contestants took, for a cell."""
    return '; '.join(f'{name} {samples.show(name, figure, form, unit)}' for name in names if samples.has(name))


@row('pairs', 'One GiB in pieces of 1 MiB, one connection', PAIRS)
def lines(samples):
    return [line(samples) for line in (seeding, fetching, ours_to_ours, memory)]


def seeding(samples):
    ours, floor = samples.median('swarm → libtorrent', 'seeder_s'), samples.median('floor', 'seeder_s')
    return Line('seeding, plain TCP (to libtorrent): CPU s/GiB of the seed',
                f'{samples.show("swarm → libtorrent", "seeder_s")}, {ours / max(floor, 0.01):.2f} × the floor\'s',
                each(samples, ['aria2 → libtorrent', 'libtorrent → libtorrent', 'floor'], 'seeder_s'),
                '≤ 0.40, or ≤ 1.5 × the floor\'s', ours <= 0.40 or ours <= 1.5 * floor)


def fetching(samples):
    ours, floor = samples.median('libtorrent → swarm', 'leecher_s'), samples.median('floor', 'leecher_s')
    return Line('fetching (from libtorrent): CPU s/GiB of the leecher',
                f'{samples.show("libtorrent → swarm", "leecher_s")}, {ours / floor:.2f} × the floor\'s',
                each(samples, ['libtorrent → aria2', 'libtorrent → libtorrent', 'floor'], 'leecher_s'),
                '≤ 1.15 × the floor\'s', ours <= 1.15 * floor)


def ours_to_ours(samples):
    best = max((name for name in RIVALS if samples.has(name)), key=lambda name: samples.median(name, 'mb_per_s'))
    faster = samples.median('swarm → swarm', 'mb_per_s') / samples.median(best, 'mb_per_s')
    dearer = samples.median('swarm → swarm', 'machine_s') / samples.median('floor', 'machine_s')
    show = lambda name: f'{samples.show(name, "mb_per_s", ".0f", " MB/s")}, {samples.show(name, "machine_s")} s/GiB'
    return Line('swarm → swarm: MB/s, CPU s/GiB of the whole machine',
                f'{show("swarm → swarm")}: {faster:.2f} × the best pair\'s MB/s, {dearer:.2f} × the floor\'s CPU',
                '; '.join(f'{name} {show(name)}' for name in [*RIVALS, 'floor'] if samples.has(name)),
                '≥ 1.8 × the best pair\'s MB/s, ≤ 1.2 × the floor\'s CPU', faster >= 1.8 and dearer <= 1.2)


def memory(samples):
    ours = max(samples.all('swarm → swarm', 'leecher_mib') + samples.all('libtorrent → swarm', 'leecher_mib'))
    return Line('peak memory of a leecher, 1 GiB, one connection, the worst of all runs', f'{ours:.0f} MiB',
                each(samples, ['libtorrent → aria2', 'libtorrent → libtorrent'], 'leecher_mib', '.0f', ' MiB'),
                '≤ 48 MiB', ours <= 48)
