"""One peer at the end of a long link: 1 Gbit/s, 100 ms there and back. Between them is src/bin/relay.rs."""
import json
import time

from clients import CLIENTS
from rows import Line, row
from world import GIB, TOOLS, World, settle, wait_for

ROUND_TRIP_MS = 100
RATE_MBIT = 1_000
PER_TENTH = RATE_MBIT * 1e6 / 8 / 10
#: Of the link, to count as in use.
GOOD = 0.85


def ramp(flow, begun_ms):
    """The share of the link in use in the fifth second since the beginning, and the second from which on half a second was
    good. The first answer takes a round trip, which counts."""
    first = begun_ms // 100
    tenths = flow['tenths'][first:]
    fifth = tenths[40:50]
    half_seconds = [sum(tenths[at:at + 5]) / 5 / PER_TENTH for at in range(len(tenths) - 4)]
    good = next((at / 10 for at, share in enumerate(half_seconds) if share >= GOOD), None)
    return {'share': sum(fifth) / 10 / PER_TENTH, 'best': max(half_seconds), 'good_s': good if good is not None else 99.0}


def through_the_link(client):
    def run(scratch, quick):
        # Even the quick run lasts those five seconds.
        torrent = scratch.torrent(GIB * 3 // 4 if quick else GIB, 1 << 20)
        with World(scratch, 3) as world:
            seed = world.start(0, CLIENTS[client]('seed', torrent, torrent.folder, 7001), f'{client}-seed')
            settle(seed)
            relay = world.start(1, [f'{TOOLS}/relay', '0.0.0.0:7002', f'{world.ip(0)}:7001', ROUND_TRIP_MS, RATE_MBIT], 'relay')
            time.sleep(0.3)
            argv = CLIENTS[client]('fetch', torrent, scratch.fresh('copy'), 7003, f'{world.ip(1)}:7002')
            fetch = world.start(2, argv, f'{client}-fetch')
            fetch.wait(180)
            seed.stop()

            def passed():
                with open(relay.log) as log:
                    return [line for line in map(json.loads, log) if sum(line['tenths']) > torrent.size / 2]
            flow = wait_for(passed, 10, 'what has passed')[0]
        scratch.fresh('copy')
        # The floor asks for nothing: it begins with the connection.
        return ramp(flow, flow['first_request_ms'] or 0)
    return run


@row('distance', '1 Gbit/s, 100 ms round trip, one peer',
     {name: through_the_link(name) for name in ('floor', 'swarm', 'libtorrent')})
def lines(samples):
    percent = '.0%'
    show = lambda name: f'{samples.show(name, "share", percent)}, 85 % from {samples.show(name, "good_s", ".1f")} s on'
    carries = samples.show('floor', 'best', percent)
    ours = samples.median('swarm', 'share')
    return [Line('1 Gbit/s with 100 ms, one peer: share of the link in use in the fifth second since the first request',
                 show('swarm'), f'libtorrent {show("libtorrent")}; floor {show("floor")} (the relay carries {carries} of it)',
                 '≥ 85 % within 5 s', ours >= GOOD)]
