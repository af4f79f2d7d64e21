"""Killed, and errors of the disk, at each system call; what the resume record is worth afterwards."""
import os
import re
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor

from harness import case, same, wait_for

SMALL = 16_384  # bytes a piece: more than 256 pieces make a record in the middle of the transfer
AT_ONCE = 3
DISK = 4  # the exit code
ALONE = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc']


class Place:
    """One target of many fetches of the same torrent, with a state folder of its own."""

    def __init__(self, box, name, payload, meta, seed):
        self.box, self.payload, self.meta = box, payload, meta
        self.folder, self.log = box.folder(f'{name}/target'), f'{box.path}/{name}/strace'
        self.watched = []
        self.state = box.folder(f'{name}/state')
        self.peer = f'127.0.0.1:{seed.port}'

    def fetch(self, *options, prefix=()):
        return self.box.swarm('fetch', self.meta, '-o', self.folder, '--listen', '127.0.0.1:0', '--peer', self.peer,
                              *options, prefix=prefix, env={'XDG_STATE_HOME': self.state})

    def traced(self, syscall, what):
        """A fetch with this done to one of its system calls; counts are of each thread."""
        return self.fetch(prefix=['strace', '-f', '-y', '-o', self.log, '-e', f'trace={syscall}', '-e',
                                  f'inject={syscall}:{what}'])

    def empty(self):
        """As it was at first."""
        for folder in (self.folder, self.state):
            shutil.rmtree(folder)
            os.mkdir(folder)

    def watch_record(self):
        """Learns the names of the record's files; with their process alone in its namespace, its number among them is
        always the same."""
        fetch = self.fetch(prefix=[*ALONE, 'strace', '-f', '-qq', '-o', self.log, '-e', 'trace=openat'])
        assert fetch.exit(40) == 0
        with open(self.log, errors='replace') as log:
            paths = set(re.findall(rf'"({re.escape(self.state)}/swarm/resume[^"]*)"', log.read()))
        assert any(path.endswith('.new') for path in paths), paths
        self.watched = [word for path in sorted(paths) for word in ('-P', path)]

    @property
    def copy(self):
        return f'{self.folder}/{os.path.basename(self.payload)}'

    def missing_bytes(self, length):
        """Bytes of the pieces that are not on disk as they should be."""
        there = next((path for path in (self.copy, f'{self.copy}.part') if os.path.exists(path)), os.devnull)
        missing = 0
        with open(self.payload, 'rb') as right, open(there, 'rb') as found:
            while piece := right.read(length):
                missing += 0 if found.read(length) == piece else len(piece)
        return missing

    def records(self):
        folder = f'{self.state}/swarm/resume'
        return {name: f'{folder}/{name}' for name in os.listdir(folder)} if os.path.isdir(folder) else {}


def small(box, length):
    payload = box.payload(length)
    meta = box.meta(payload, piece_length='16K')
    seed = box.seed(meta)
    seed.wait('state', state='seeding')
    return payload, meta, seed


def killed_at(place, syscall, number):
    """Kills a fetch in its N-th such call on the record, then lets it go on. Returns whether it came to that."""
    place.empty()
    first = place.fetch(prefix=[*ALONE, 'strace', '-f', '-qq', '-y', '-o', place.log, *place.watched, '-e', f'trace={syscall}',
                                '-e', f'inject={syscall}:signal=KILL:when={number}'])
    first.exit(40)
    with open(place.log, errors='replace') as log:
        killed = '+++ killed by SIGKILL' in log.read()
    missing = place.missing_bytes(SMALL)
    again = place.fetch(prefix=ALONE)
    assert again.exit(40) == 0 and same(place.payload, place.copy), f'{syscall} {number}'
    fetched = sum(event['downloaded'] - event['wasted'] for event in again.all('completed'))
    assert fetched == missing, f'{syscall} {number}: {missing} bytes were missing, {fetched} were fetched'
    return killed


@case('killed at each system call of the resume record',
      'the old state or the new: what is right on disk is kept, all else fetched, never "100 %"')
def killed_in_record(box):
    payload, meta, seed = small(box, 5_000_000)

    def sweep(syscall, numbers):
        """Until a fetch gets through; returns the kills."""
        place, kills = Place(box, syscall, payload, meta, seed), 0
        place.watch_record()
        for number in numbers:
            if not killed_at(place, syscall, number):
                break
            kills += 1
        return kills

    # Each piece is a write to the journal: every eighth of those that follow the first ones.
    plan = {'openat': range(1, 20), 'write': [*range(1, 9), *range(16, 400, 8)], 'fsync': range(1, 20), 'rename': range(1, 20),
            'close': range(1, 20)}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        kills = dict(zip(plan, pool.map(lambda entry: sweep(*entry), plan.items())))
    # A count is of one thread, and which thread does what is left to chance.
    assert min(kills.values()) >= 1 and kills['write'] >= 8 and sum(kills.values()) >= 16, kills
    said = ', '.join(f'{count} in {name}' for name, count in kills.items())
    return f'{sum(kills.values())} kills ({said}); no byte fetched that was there, no piece wrong'


@case('the resume record is damaged', 'all on disk is hashed again, never "100 %"')
def damaged_record(box):
    payload, meta, seed = small(box, 1_000_000)
    damages = {
        'cut off': lambda bytes_: bytes_[:len(bytes_) // 2],
        'empty': lambda _: b'',
        'a bit': lambda bytes_: bytes_[:40] + bytes([bytes_[40] ^ 1]) + bytes_[41:],
        'garbage': lambda bytes_: os.urandom(len(bytes_)),
        'too long': lambda bytes_: bytes_ + bytes(100_000),
    }
    for name, damage in damages.items():
        place = Place(box, name, payload, meta, seed)
        assert place.fetch().exit(20) == 0
        with open(place.copy, 'r+b') as file:
            file.write(b'not what it was')
        # As if it was still trusted: the time of the file is the recorded one.
        path = next(path for name, path in place.records().items() if name.endswith('.resume'))
        with open(path, 'rb') as file:
            record = file.read()
        with open(path, 'wb') as file:
            file.write(damage(record))
        again = place.fetch('--overwrite')
        assert again.exit(20) == 0 and same(payload, place.copy), name
        assert again.all('checking')[-1]['total_bytes'] == 1_000_000, name
        assert again.all('completed')[0]['downloaded'] == SMALL, name
    return f'{len(damages)} damages: 1,000,000 bytes hashed each time, the one wrong piece fetched'


@case('six times kill -9 in 48 MiB', '<= 1 MiB downloaded again in all, no full recheck')
def six_kills(box):
    length = 48 << 20
    payload = box.payload(length)
    meta = box.meta(payload, piece_length='256K')
    seed = box.seed(meta, '--up-limit', '4M')
    seed.wait('state', state='seeding')
    place = Place(box, 'place', payload, meta, seed)
    hashed, right = [], 0
    for kill in range(7):
        fetch = place.fetch()
        if kill == 6:
            break
        goal = length * (kill + 1) // 7 // 262_144
        wait_for(lambda: len(fetch.all('piece')) * 262_144 + right >= goal * 262_144, 30, 'progress')
        fetch.send(signal.SIGKILL)
        fetch.exit()
        hashed += [event['total_bytes'] for event in fetch.all('checking')[-1:]]
        right = length - place.missing_bytes(262_144)
    assert fetch.exit(40) == 0 and same(payload, place.copy)
    hashed += [event['total_bytes'] for event in fetch.all('checking')[-1:]]
    seed.stop()
    again = seed.all('summary')[0]['uploaded'] - length
    assert again <= 1 << 20, f'{again} bytes left the seed twice; hashed {hashed}'
    assert max(hashed) < length // 2, hashed
    return f'{again / (1 << 20):.2f} MiB left the seed twice; at most {max(hashed) / (1 << 20):.1f} MiB hashed at a start'


@case('EIO and EINTR at each write and sync', 'no crash, no lost piece, right after the retry; at the very start a refusal with the cause')
def errors(box):
    payload, meta, seed = small(box, 1_000_000)

    def attempt(entry):
        syscall, error, number = entry
        place = Place(box, f'{syscall}{error}{number}', payload, meta, seed)
        fetch = place.traced(syscall, f'error={error}:when={number}')
        code = fetch.exit(40)
        if code == DISK:
            # Refused at the very start, with the cause: whoever runs it runs it again.
            code = place.fetch().exit(40)
        assert code == 0 and same(payload, place.copy), f'{entry}: exit code {code}'
        with open(place.log, errors='replace') as log:
            return log.read().count('(INJECTED)')

    plan = [(syscall, error, number) for error in ('EIO', 'EINTR')
            for syscall, most in (('pwritev', 8), ('fdatasync', 2), ('fsync', 2), ('rename', 2), ('renameat2', 1), ('ftruncate', 1))
            for number in range(1, most + 1)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        met = list(pool.map(attempt, plan))
    assert sum(map(bool, met)) >= 20, list(zip(plan, met))
    return f'{sum(met)} errors injected in {len(plan)} fetches, all complete and right'
