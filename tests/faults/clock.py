"""Clocks that jump, machines that sleep, processes that are stopped; and years of announces in seconds.

libfaketime stands between the process and its clocks: an offset in a file that changes while the process runs, or a factor.
"""
import glob
import os
import shutil
import signal
import subprocess
import time

from harness import case, same, wait_for
from tracker import GOOD, Tracker, body, interval

FACTOR = 60


def preload():
    found = glob.glob('/usr/lib/*/faketime/libfaketimeMT.so.1')
    assert found, 'libfaketime is missing (apt: faketime)'
    return found[0]


def faster():
    """An environment in which each second lasts a minute."""
    return {'LD_PRELOAD': preload(), 'FAKETIME': f'+0 x{FACTOR}', 'NO_FAKE_STAT': '1'}


class Clock:
    """A clock that can be set while processes read it; the monotonic one too if it is to jump as after a sleep."""

    def __init__(self, box, sleeps=False):
        self.path = f'{box.path}/clock'
        self.set('+0')
        self.env = {'LD_PRELOAD': preload(), 'FAKETIME_TIMESTAMP_FILE': self.path, 'FAKETIME_NO_CACHE': '1',
                    'NO_FAKE_STAT': '1', **({} if sleeps else {'FAKETIME_DONT_FAKE_MONOTONIC': '1', 'DONT_FAKE_MONOTONIC': '1'})}

    def set(self, offset):
        with open(f'{self.path}.new', 'w') as out:
            out.write(offset + '\n')
        shutil.move(f'{self.path}.new', self.path)

    def shows(self):
        """The time that a process sees, in seconds since 1970: what says that the trick works at all."""
        return int(subprocess.run(['date', '+%s'], env={**os.environ, **self.env}, capture_output=True, check=True).stdout)


class Transfer:
    """A fetch of some ten seconds from two seeds, with a tracker that counts, all under the same clock."""

    def __init__(self, box, length, rate, env=None):
        self.box, self.payload = box, box.payload(length)
        self.tracker = Tracker(box, body(GOOD))
        meta = box.meta(self.payload)
        options = ('--up-limit', rate, '--tracker', self.tracker.url)
        self.seeds = [box.seed(meta, *options, env=env) for _ in range(2)]
        peers = [word for seed in self.seeds for word in ('--peer', f'127.0.0.1:{seed.port}')]
        self.fetch = box.fetch(meta, *peers, '--tracker', self.tracker.url, '--seed-after', env=env)
        self.all = [*self.seeds, self.fetch]
        wait_for(lambda: len(self.fetch.all('piece')) > 3, 15, 'the first pieces')

    def goes_on(self, limit_s):
        """Seconds until the next piece is there."""
        began = time.monotonic()
        wait_for(lambda: self.fetch.all('completed') or self.fetch.all('piece')[-1]['at'] > began, limit_s, 'another piece')
        return time.monotonic() - began

    def closed(self):
        """Connections of the fetch that ended before its end; two seeds part from each other by intent."""
        end = (self.fetch.all('completed') or [{'at': time.monotonic()}])[0]['at']
        return sum(event['at'] < end for event in self.fetch.all('peer_closed'))

    def finish(self):
        self.fetch.wait('completed', 60)
        assert same(self.payload, f'{self.box.path}/copy/payload.bin')


@case('the clock jumps by an hour, ten years, to 1970', 'no mass disconnect, no storm of announces, on again ≤ 30 s')
def wall_clock(box):
    clock = Clock(box)
    transfer = Transfer(box, 8_000_000, '400K', clock.env)
    longest = jumped = 0
    for offset in ('+1h', '-1h', '+3650d', '1970-01-02 00:00:00', '+0'):
        clock.set(offset)
        time.sleep(0.5)
        jumped += abs(clock.shows() - time.time()) > 3_000
        longest = max(longest, transfer.goes_on(30))
    closed = transfer.closed()
    transfer.finish()
    asked = transfer.tracker.events()
    assert jumped == 4, 'libfaketime does nothing here'
    assert closed == 0 and len(asked) <= 4, (closed, asked)
    return f'5 jumps, {closed} connections lost, {len(asked)} announces of 3 peers, the next piece after {longest:.1f} s at most'


@case('the machine sleeps five minutes', 'no mass disconnect, no storm of announces, on again ≤ 30 s')
def sleep(box):
    clock = Clock(box, sleeps=True)
    transfer = Transfer(box, 6_000_000, '400K', clock.env)
    longest = 0
    for offset in ('+300', '+600'):
        clock.set(offset)
        time.sleep(0.5)
        longest = max(longest, transfer.goes_on(30))
    closed = transfer.closed()
    transfer.finish()
    asked = transfer.tracker.events()
    lived = transfer.fetch.all('completed')[0]['time_s']
    assert lived > 600, f'libfaketime does nothing here: {lived} s'
    assert closed == 0 and len(asked) <= 7, (closed, asked)
    return f'slept twice, {closed} connections lost, {len(asked)} announces of 3 peers, the next piece after {longest:.1f} s at most'


def stopped_for(box, seconds):
    """A transfer in which first the fetch, then a seed is stopped for so long."""
    transfer = Transfer(box, 300_000 * (seconds + 20), '300K')
    longest = 0
    for process in (transfer.fetch, transfer.seeds[0]):
        process.send(signal.SIGSTOP)
        time.sleep(seconds)
        process.send(signal.SIGCONT)
        longest = max(longest, transfer.goes_on(30))
    closed = transfer.closed()
    transfer.finish()
    asked = transfer.tracker.events()
    assert len(asked) <= 4, asked
    return closed, f'{closed} connections lost, {len(asked)} announces of 3 peers, the next piece after {longest:.1f} s at most'


@case('SIGSTOP for 10 s', 'no disconnect, no storm of announces, on again ≤ 30 s')
def stopped_shortly(box):
    closed, counted = stopped_for(box, 10)
    assert closed == 0, counted
    return counted


@case('SIGSTOP for a minute', 'no mass disconnect, no storm of announces, on again ≤ 30 s', slow=True)
def stopped_long(box):
    closed, counted = stopped_for(box, 60)
    # The seed that was stopped did not answer for a minute: leaving that one is right.
    assert closed <= 2, counted
    return counted


@case('a tracker that flaps', '≤ 1 h between tries, back ≤ 5 min after it returns')
def flaps(box):
    tracker = Tracker(box, body(GOOD))
    port = tracker.port
    tracker.close()
    seed = box.seed(box.meta(box.payload(200_000)), '--tracker', tracker.url, env=faster())
    wait_for(lambda: len(seed.all('tracker_failed')) >= 6, 30, 'five failures')
    pauses = [event['retry_in_s'] for event in seed.all('tracker_failed')]
    back = Tracker(box, body(GOOD), port)
    began = time.monotonic()
    wait_for(lambda: back.asked, 30, 'an announce')
    took = (time.monotonic() - began) * FACTOR
    assert pauses == sorted(pauses) and max(pauses) <= 300 and took <= 310, (pauses, took)
    said = ', '.join(f'{pause:.0f}' for pause in pauses)
    return f'tries after {said} s; told {took:.0f} s after it returned'


@case('intervals of 0, -1 and 2^63', 'clamped to 60 s … 24 h')
def intervals(box):
    meta, counts = box.meta(box.payload(200_000)), []
    trackers = [Tracker(box, interval(number)) for number in (0, -1, 2 ** 63, 60)]
    seeds = [box.seed(meta, '--tracker', tracker.url, env=faster()) for tracker in trackers]
    wait_for(lambda: all(tracker.asked for tracker in trackers), 20, 'the first announces')
    time.sleep(8)
    for tracker in trackers:
        times = [at for at, _ in tracker.asked]
        counts.append(len(times))
        gaps = [(late - early) * FACTOR for early, late in zip(times, times[1:])]
        assert not gaps or min(gaps) > 45, gaps
    assert all(seed.process.poll() is None for seed in seeds) and counts[3] >= 4, counts
    return f'{counts[0]}, {counts[1]}, {counts[2]} announces in 480 s, {counts[3]} at an honest 60'
