"""What every case stands on: a folder of its own, payloads, our binary with its `--json` lines, and the list of cases."""
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from typing import Callable

SWARM = os.path.abspath(os.environ.get('SWARM', 'target/release/swarm'))
CASES = []


@dataclass
class Case:
    name: str
    promise: str
    body: Callable
    alone: bool
    slow: bool


def case(name, promise, alone=False, slow=False):
    """Registers a case: body(box) returns what it counted, in a few words, or raises. `alone` for what measures CPU or
    changes the machine; `slow` for what takes more than a minute and is left to `--all`."""
    def register(body):
        CASES.append(Case(name, promise, body, alone, slow))
        return body
    return register


def wait_for(condition, limit_s, what):
    """The first true value of the condition."""
    until = time.monotonic() + limit_s
    while not (value := condition()):
        if time.monotonic() > until:
            raise AssertionError(f'waited {limit_s} s for {what}')
        time.sleep(0.02)
    return value


class Swarm:
    """A running process of ours; its events are read as they come. Own state folder unless one is given."""

    def __init__(self, box, argv, env=None, prefix=(), **options):
        self.box, self.events = box, []
        self.log = f'{box.path}/{len(box.running)}-{argv[0]}.log'
        environment = dict(os.environ, HOME=box.path, XDG_CONFIG_HOME=f'{box.path}/config', **(env or {}))
        environment.setdefault('XDG_STATE_HOME', f'{self.log}.state')
        self.process = subprocess.Popen([*prefix, SWARM, *map(str, argv)], stdin=subprocess.DEVNULL, text=True,
                                        stdout=subprocess.PIPE, stderr=open(self.log, 'w'), env=environment,
                                        start_new_session=True, **options)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            try:
                self.events.append(dict(json.loads(line), at=time.monotonic()))
            except ValueError:
                self.events.append({'event': 'text', 'text': line, 'at': time.monotonic()})

    @property
    def pid(self):
        return self.process.pid

    def all(self, event, **fields):
        """The events of this name so far, with these fields."""
        return [it for it in list(self.events)
                if it['event'] == event and all(it.get(key) == value for key, value in fields.items())]

    def wait(self, event, limit_s=30, **fields):
        """The first event of this name with these fields."""
        def found():
            return self.all(event, **fields) or (self.process.poll() is not None and 'gone')
        first = wait_for(found, limit_s, f'{event} {fields or ""} of {self.log}')
        if first == 'gone':
            self.reader.join(2)
            first = self.all(event, **fields)
            assert first, f'{self.log} ended with {self.process.returncode} without {event} {fields or ""}'
        return first[0]

    def last(self, event='progress'):
        """The newest event of this name, or an empty one."""
        return (self.all(event) or [{}])[-1]

    @property
    def port(self):
        return self.wait('added')['listen_port']

    def send(self, number):
        os.killpg(self.pid, number)

    def stop(self, number=signal.SIGTERM, limit_s=10):
        """Ends it; returns the exit code."""
        if self.process.poll() is None:
            self.send(number)
        return self.exit(limit_s)

    def exit(self, limit_s=60):
        """Waits for its own end; returns the exit code."""
        code = self.process.wait(limit_s)
        self.reader.join(2)
        return code

    def child(self):
        """Of a process that was started by way of another one: its id."""
        with open(f'/proc/{self.pid}/task/{self.pid}/children') as children:
            return int(children.read().split()[0])

    def rss_kib(self):
        with open(f'/proc/{self.pid}/status') as status:
            return next(int(line.split()[1]) for line in status if line.startswith('VmRSS'))

    def cpu_s(self):
        with open(f'/proc/{self.pid}/stat') as stat:
            fields = stat.read().rsplit(')', 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    def cpu_share(self, seconds):
        """Share of one core that it uses over so many seconds from now."""
        before = self.cpu_s()
        time.sleep(seconds)
        return (self.cpu_s() - before) / seconds


class Box:
    """The folder of a case and all that runs in it."""

    def __init__(self, name):
        self.path = tempfile.mkdtemp(prefix='swarm-faults-')
        self.running, self.closers = [], []
        self.random = random.Random(name)

    def folder(self, name):
        path = f'{self.path}/{name}'
        os.makedirs(path, exist_ok=True)
        return path

    def payload(self, length, name='payload.bin', folder='source'):
        """A file of random bytes; returns its path."""
        path = f'{self.folder(folder)}/{name}'
        with open(path, 'wb') as out:
            out.write(self.random.randbytes(length))
        return path

    def meta(self, path, *options, piece_length='64K'):
        """Makes a metainfo; returns its path."""
        meta = f'{self.path}/{os.path.basename(path)}.meta'
        subprocess.run([SWARM, 'make-meta', path, '-o', meta, '--piece-length', piece_length, '--force', '--quiet',
                        *options], check=True)
        return meta

    def swarm(self, *argv, **options):
        """Starts our binary with `--json` behind the given words."""
        swarm = Swarm(self, [*argv, '--json'], **options)
        self.running.append(swarm)
        return swarm

    def seed(self, meta, *options, folder='source', **more):
        return self.swarm('seed', meta, '--path', self.folder(folder), '--listen', '127.0.0.1:0', *options, **more)

    def fetch(self, meta, *options, folder='copy', **more):
        return self.swarm('fetch', meta, '-o', self.folder(folder), '--listen', '127.0.0.1:0', *options, **more)

    def on_close(self, action):
        self.closers.append(action)

    def logs(self):
        """The end of each process's log, for a case that failed."""
        ends = []
        for swarm in self.running:
            with open(swarm.log, errors='replace') as log:
                ends.append(f'       {os.path.basename(swarm.log)}: {log.read()[-500:].strip()}')
            ends += [f'         {event}' for event in list(swarm.events)[-4:]]
        return '\n'.join(ends)

    def close(self):
        for swarm in self.running:
            if swarm.process.poll() is None:
                swarm.send(signal.SIGCONT)
                swarm.send(signal.SIGKILL)
                swarm.process.wait()
        for action in reversed(self.closers):
            action()
        shutil.rmtree(self.path, ignore_errors=True)


def info_hash(meta):
    """Of a metainfo that we made, as 20 bytes."""
    shown = subprocess.run([SWARM, 'show', meta, '--json'], check=True, capture_output=True, text=True).stdout
    return bytes.fromhex(json.loads(shown)['info_hash'])


def digest(path):
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha1').hexdigest()


def same(one, two):
    """Whether two files hold the same bytes."""
    return os.path.exists(two) and digest(one) == digest(two)
