"""Swarms behind links of their own: when the last leecher holds a right copy, over the time that no swarm can go below.

That fluid limit is the largest of: what the seeds need to send one copy, what the slowest link down needs to take one, and
what all links up together need for all copies. A link carries 95 % payload at most (headers of packets and frames).
"""
import time

from clients import CLIENTS
from rows import Line, row
from world import TRACKER, World, machine_s, settle, wait_for

MIB = 1 << 20
PIECE_LENGTH = 256 << 10
#: Bytes of payload a second for each megabit of a link.
PAYLOAD = 1e6 / 8 * 0.95


def fluid_limit_s(size, seeds, leechers):
    """The limit for leechers that start together; seeds and leechers are the megabits of their links."""
    up = sum(seeds) * PAYLOAD
    everybody = up + sum(leechers) * PAYLOAD
    return max(size / up, size / (min(leechers) * PAYLOAD), len(leechers) * size / everybody)


def swarm_of(client, seeds, leechers, mib, join_every_s=0):
    """A contestant: all hosts run the same client. The tracker is on the first seed's host."""
    def run(scratch, quick):
        size, count = (mib // 4 if quick else mib) * MIB, len(leechers)
        torrent = scratch.torrent(size, PIECE_LENGTH, TRACKER)
        with World(scratch, len(seeds) + count, [*seeds, *leechers]) as world:
            world.track(torrent)

            def start(host, mode, folder):
                return world.start(host, CLIENTS[client](mode, torrent, folder, 7001), f'{client}-{host}')
            for seed in [start(host, 'seed', torrent.folder) for host in range(len(seeds))]:
                settle(seed)
            copies = {host: scratch.fresh(f'copy{host}') for host in range(len(seeds), len(seeds) + count)}
            busy, began = machine_s(), time.monotonic()
            joined, done, todo = {}, {}, list(copies)

            def step():
                now = time.monotonic() - began
                while todo and len(joined) * join_every_s <= now:
                    host = todo.pop(0)
                    joined[host] = time.monotonic() - began
                    start(host, 'stay', copies[host])
                for host in joined:
                    if host not in done and torrent.is_in(copies[host]):
                        done[host] = time.monotonic() - began
                return len(done) == count
            wait_for(step, 240, f'{count} copies', 0.05)
            busy = machine_s() - busy
        for host in copies:
            scratch.fresh(f'copy{host}')
        last = max(done.values())
        # With leechers that come one by one, how long each took by itself over what its link needs for one copy.
        alone = max((done[host] - joined[host]) / (size / (rate * PAYLOAD)) for host, rate in zip(copies, leechers))
        limit = fluid_limit_s(size, seeds, leechers)
        return {'last_s': last, 'limit_s': limit, 'over': alone if join_every_s else last / limit,
                'cores': busy / last}
    return run


def clients(names, *shape, **options):
    return {name: swarm_of(name, *shape, **options) for name in names}


def line(samples, what, most):
    rivals = '; '.join(f'{name} {samples.show(name, "over")}' for name in ('aria2', 'libtorrent') if samples.has(name))
    ours = samples.median('swarm', 'over')
    cores = samples.median('swarm', 'cores')
    shown = f'{samples.show("swarm", "over")} ({cores:.1f} cores busy)'
    return [Line(what, shown, rivals or '-', f'≤ {most:.2f}', ours <= most)]


ALL = ('swarm', 'aria2', 'libtorrent')


@row('fanout-8', '1 → 8, 80 Mbit/s links, 64 MiB in pieces of 256 KiB', clients(ALL, [80], [80] * 8, 64))
def eight(samples):
    return line(samples, '1 → 8 over 80 Mbit/s links: last leecher / fluid limit', 1.20)


@row('fanout-24', '1 → 24, the same links', clients(ALL, [80], [80] * 24, 64), at_most={'aria2': 1, 'libtorrent': 1})
def twenty_four(samples):
    return line(samples, '1 → 24 over 80 Mbit/s links: last leecher / fluid limit', 1.25)


@row('unequal', '3 seeds behind 20, 40 and 80 Mbit/s → 6 leechers behind 80 Mbit/s',
     clients(ALL[:2], [20, 40, 80], [80] * 6, 64), at_most={'aria2': 2})
def unequal(samples):
    return line(samples, '3 seeds of unequal links (20, 40, 80 Mbit/s) → 6 leechers: last leecher / fluid limit', 1.25)


@row('joining', '1 → 8, a leecher more each second, 80 Mbit/s links',
     clients(ALL[:2], [80], [80] * 8, 64, join_every_s=1), at_most={'aria2': 2})
def joining(samples):
    return line(samples, '8 leechers that join one by one, each second: the slowest leecher / what its link takes', 1.25)
