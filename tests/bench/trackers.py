"""Trackers under load from the same machine: announces a second, what one costs, and how long it waits for its answer.

Aquatic is not in Debian: `cargo install --root target/rivals aquatic_http aquatic_udp` (both 0.9) has it found.
"""
import os
import re
import socket
import struct

from rows import Line, row
from world import SWARM, TOOLS, World, wait_for

RIVALS = os.path.abspath(os.environ.get('BENCH_RIVALS', 'target/rivals/bin'))
PORT = 7100
#: What http_load announces, in its order.
TORRENTS = 1_000
#: Swarms are full when these have announced: then every answer has as many peers as are wanted.
WANT = 30

#: Lines of the reports of the loads, and what is called what here.
FIGURES = {
    'rate': r'^(?:announces|answers)/s +(\d+)',
    'peers': r'^peers an answer +([\d.]+)',
    'bytes': r'^bytes an answer +([\d.]+)',
    'p99_us': r'^time .*p99 (\d+) µs',
    'cpu_us': r'^processor time +([\d.]+) µs',
    'refused': r'^refused, lost +(\d+)',
    'lost': r'^refused, lost +\d+, (\d+)',
    'push_p99_us': r'^push .*p99 (\d+) µs',
    'missed': r'^missed +(\d+)',
    'turned_away': r'^refused +(\d+)',
    'standing': r'^memory +(\d+) bytes a connection standing',
    'busy': r'^memory .*standing, (\d+) after',
    'torrent': r'^resident .* that is ([\d.]+) B a torrent',
    'resident_mb': r'^resident (\d+) MB',
}


def load(world, tool, *words, limit_s=120):
    """Runs a load to its end; what its report says."""
    process = world.start(0, [f'{TOOLS}/{tool}', *words], tool)
    process.wait(limit_s)
    with open(process.log, encoding='utf-8') as log:
        text = log.read()
    found = {name: re.search(pattern, text, re.MULTILINE) for name, pattern in FIGURES.items()}
    return {name: float(match[1]) for name, match in found.items() if match}


def swarm(*words):
    def start(world, _scratch):
        return world.start(0, [SWARM, 'tracker', *words], 'swarm-tracker')
    return start


def aquatic(name, **options):
    """With what its own page says for a machine of few cores, which are its usual values, but for these."""
    def start(world, scratch):
        program, path = f'{RIVALS}/{name}', f'{scratch.fresh("aquatic")}/aquatic.toml'
        if not os.path.exists(program):
            raise RuntimeError(f'{program} is not there; see tests/bench/trackers.py')
        lines = [f'{key} = {value}' for key, value in options.items()]
        network = [f'address_ipv4 = "127.0.0.1:{PORT}"', 'use_ipv6 = false']
        protocol = [f'max_peers = {WANT}'] if name == 'aquatic_http' else [f'max_response_peers = {WANT}']
        with open(path, 'w') as out:
            out.write('\n'.join([*lines, '[network]', *network, '[protocol]', *protocol]))
        return world.start(0, [program, '-c', path], name)
    return start


def opentracker(world, scratch):
    """Debian's answers for listed torrents only."""
    listed = f'{scratch.path}/listed-for-load'
    with open(listed, 'w') as out:
        out.writelines(f'{(struct.pack(">I", number) + b"--torrent-http--").hex()}\n' for number in range(TORRENTS))
    return world.start(0, ['opentracker', '-i', '127.0.0.1', '-p', PORT, '-P', PORT, '-w', listed], 'opentracker')


def listens():
    with socket.socket() as probe:
        return probe.connect_ex(('127.0.0.1', PORT)) == 0


def over_http(start, new=False):
    def run(scratch, quick):
        with World(scratch) as world:
            tracker = start(world, scratch)
            wait_for(listens, 10, f'a tracker, see {tracker.log}')
            seconds = 1 if quick else 8
            figures = load(world, 'http_load', f'127.0.0.1:{PORT}', f'torrents={TORRENTS}', f'want={WANT}', 'warm=3',
                              f'seconds={seconds}', f'new={int(new)}', f'pid={tracker.pid}')
            return checked(figures)
    return run


def over_udp(start):
    def run(scratch, quick):
        with World(scratch) as world:
            tracker = start(world, scratch)
            # The first load fills the swarms, and is not measured; it also waits for the tracker.
            torrents = 10_000 if quick else 100_000
            # Two threads, for each has one socket, and of a tracker with a thread a core one socket reaches but one.
            words = [f'127.0.0.1:{PORT}', f'torrents={torrents}', 'peers=32', 'want=22', 'threads=2',
                     f'pid={tracker.pid}']
            wait_for(lambda: load_once(world, words, 1), 10, f'a tracker, see {tracker.log}')
            load(world, 'udp_load', *words, f'seconds={5 if quick else 20}')
            figures = load(world, 'udp_load', *words, f'seconds={1 if quick else 8}')
            return checked(figures)
    return run


def load_once(world, words, seconds):
    """Whether anything was answered."""
    try:
        return load(world, 'udp_load', *words, f'seconds={seconds}')['rate'] > 0
    except RuntimeError:
        return False


def checked(figures):
    """A tracker that refuses or forgets is not a fast one."""
    asked = figures['rate']
    if figures['refused'] or figures['lost'] > asked / 100:
        raise RuntimeError(f'refused {figures["refused"]:.0f}, lost {figures["lost"]:.0f} at {asked:.0f} a second')
    return figures


def show(samples, who):
    return (f'{samples.show(who, "rate", ",.0f", "/s")}, {samples.show(who, "cpu_us", ".1f", " µs")} of CPU each, '
            f'p99 {samples.show(who, "p99_us", ",.0f", " µs")}, {samples.show(who, "peers", ".1f")} peers an answer')


def ratio(samples, rival, figure):
    return samples.median('swarm', figure) / samples.median(rival, figure)


OURS = swarm('http', '--listen', f'127.0.0.1:{PORT}')
HTTP = {'swarm': over_http(OURS), 'aquatic_http': over_http(aquatic('aquatic_http'))}


@row('tracker-http', 'announces over HTTP, 64 connections that are kept', HTTP)
def kept(samples):
    rate, cpu = ratio(samples, 'aquatic_http', 'rate'), ratio(samples, 'aquatic_http', 'cpu_us')
    good = rate >= 2.5 and cpu <= 0.35 and ratio(samples, 'aquatic_http', 'p99_us') < 1
    return [Line('tracker over HTTP, 64 connections that are kept',
                 f'{show(samples, "swarm")}: {rate:.1f} × the rate, {cpu:.2f} × the CPU',
                 f'aquatic_http {show(samples, "aquatic_http")}', '≥ 2.5 × the rate, ≤ 0.35 × the CPU, p99 below', good)]


NEW = {'swarm': over_http(OURS, new=True), 'opentracker': over_http(opentracker, new=True)}


@row('tracker-new', 'announces over HTTP, a new connection for each', NEW)
def new(samples):
    rate, cpu = ratio(samples, 'opentracker', 'rate'), ratio(samples, 'opentracker', 'cpu_us')
    return [Line('tracker over HTTP, a new connection for each announce',
                 f'{show(samples, "swarm")}: {rate:.2f} × the rate, {cpu:.2f} × the CPU',
                 f'opentracker {show(samples, "opentracker")}', '≥ 1.0 × the rate', rate >= 1)]


UDP = {'swarm': over_udp(swarm('udp', '--listen', f'127.0.0.1:{PORT}')),
       'aquatic_udp': over_udp(aquatic('aquatic_udp')),
       'aquatic_udp, 2 workers': over_udp(aquatic('aquatic_udp', socket_workers=2))}


@row('tracker-udp', 'answers over UDP, as many connects as announces, 100,000 torrents', UDP,
     at_most={'aquatic_udp, 2 workers': 2})
def udp(samples):
    rivals = [who for who in UDP if who != 'swarm']
    best = max(rivals, key=lambda who: samples.median(who, 'rate'))
    rate, cpu = ratio(samples, best, 'rate'), ratio(samples, best, 'cpu_us')
    return [Line('tracker over UDP, connects and announces one for one, 100,000 torrents',
                 f'{show(samples, "swarm")}: {rate:.2f} × the rate of the better, {cpu:.2f} × its CPU',
                 '; '.join(f'{who} {show(samples, who)}' for who in rivals), '≥ 1.3 × the rate', rate >= 1.3)]


def filled(scratch, quick):
    """A store with 6 peers in each torrent, and what that takes."""
    with World(scratch) as world:
        return load(world, 'store_load', 20_000 if quick else 2_000_000, 6, 0, limit_s=300)


@row('tracker-memory', 'memory of 2,000,000 torrents with 6 IPv4 peers each', {'swarm': filled}, at_most={'swarm': 2})
def memory(samples):
    each = samples.median('swarm', 'torrent')
    shown = f'{samples.show("swarm", "resident_mb", ",.0f", " MB")}: {samples.show("swarm", "torrent", ".0f", " B")}'
    return [Line('a tracker of 2,000,000 torrents with 6 IPv4 peers each: resident memory',
                 f'{shown} a torrent beside 10 B a peer', '-', '≤ 100 B a torrent + 10 B a peer', each <= 100)]


def pushed(scratch, quick):
    """Peers that join a native tracker, and those who hear of it."""
    with World(scratch) as world:
        tracker = world.start(0, [SWARM, 'tracker', 'native', '--listen', f'127.0.0.1:{PORT}'], 'swarm-tracker')
        wait_for(listens, 10, f'a tracker, see {tracker.log}')
        words = ['connections=1000', 'torrents=100', 'rate=200', 'seconds=2'] if quick else []
        return load(world, 'native_load', f'127.0.0.1:{PORT}', *words, f'pid={tracker.pid}')


@row('tracker-native', '10,000 connections to a native tracker, 2,000 joins a second', {'swarm': pushed})
def native(samples):
    good = samples.median('swarm', 'push_p99_us') <= 50_000 and samples.median('swarm', 'busy') <= 6_000
    shown = (f'{samples.show("swarm", "push_p99_us", ",.0f", " µs")}, {samples.show("swarm", "standing", ",.0f", " B")} a '
             f'connection standing, {samples.show("swarm", "busy", ",.0f", " B")} after; '
             f'{samples.show("swarm", "missed", ".0f")} pushes missed')
    return [Line('native tracker, 10,000 connections, 2,000 joins/s: the others of a torrent know of a join, p99', shown, '-',
                 '≤ 50 ms, ≤ 6 KB a connection', good)]
