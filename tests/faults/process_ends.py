"""Signals, pipes and terminals: how the process ends, and what it does when nobody listens to it."""
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import termios
import time

from harness import SWARM, case, same, wait_for

SLOW = ('--up-limit', '1M')


class Plain:
    """Our binary without `--json` and with pipes of one's own; ended with the box."""

    def __init__(self, box, *argv, env=None, drop=(), prefix=(), **streams):
        environment = {**os.environ, 'HOME': box.path, 'XDG_STATE_HOME': box.folder('plain.state'), **(env or {})}
        for name in drop:
            environment.pop(name, None)
        streams.setdefault('stdin', subprocess.DEVNULL)
        streams.setdefault('stdout', subprocess.DEVNULL)
        streams.setdefault('stderr', subprocess.PIPE)
        self.process = subprocess.Popen([*prefix, SWARM, *map(str, argv), '--listen', '127.0.0.1:0'],
                                        env=environment, start_new_session=True, **streams)
        self.pid = self.process.pid
        box.on_close(self.process.kill)

    def exit(self, limit_s=30):
        return self.process.wait(limit_s)


def slow_seed(box, length=4_000_000):
    """A payload, its metainfo, and the words that fetch it from a seed which takes seconds for it."""
    payload = box.payload(length)
    meta = box.meta(payload)
    seed = box.seed(meta, *SLOW)
    return payload, meta, ('--peer', f'127.0.0.1:{seed.port}')


@case('SIGTERM, SIGHUP and SIGINT', 'each ends a transfer cleanly in seconds, the next run goes on; `nohup` outlives SIGHUP')
def signals(box):
    payload, meta, words = slow_seed(box)
    state, times, known = {'XDG_STATE_HOME': box.folder('state')}, [], []
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        fetch = box.fetch(meta, *words, env=state)
        wait_for(lambda: len(fetch.all('piece')) >= 3, 15, 'three pieces')
        began = time.monotonic()
        assert fetch.stop(number) == 130, number
        times.append(time.monotonic() - began)
        assert not fetch.all('checking', done_bytes=len(payload))
        known += [event['piece'] for event in fetch.all('piece')]
    stubborn = box.fetch(meta, *words, env=state, prefix=['nohup'])
    wait_for(lambda: stubborn.all('piece'), 15, 'a piece')
    stubborn.send(signal.SIGHUP)
    stubborn.wait('completed')
    assert stubborn.exit() == 0 and same(payload, f'{box.path}/copy/payload.bin')
    known += [event['piece'] for event in stubborn.all('piece')]
    assert len(known) == len(set(known)) and max(times) < 3, (times, sorted(known))
    return f'gone in {max(times):.1f} s at most, {len(known)} pieces in 4 runs, none twice'


@case('SIGINT twice', 'the second ends the process at once, though a tracker hangs')
def twice(box):
    import tracker
    import threading
    release = threading.Event()
    box.on_close(release.set)
    hanging = tracker.Tracker(
        box, lambda handler: release.wait(60) if 'stopped' in handler.path else tracker.body(tracker.GOOD)(handler))
    seed = box.seed(box.meta(box.payload(200_000)), '--tracker', hanging.url)
    seed.wait('tracker')
    seed.send(signal.SIGINT)
    wait_for(lambda: 'stopped' in hanging.events(), 5, 'the goodbye')
    began = time.monotonic()
    seed.send(signal.SIGINT)
    code = seed.exit(5)
    took = time.monotonic() - began
    assert code == 130 and took < 1, (code, took)
    return f'gone in {took * 1_000:.0f} ms, code {code}'


@case('nobody reads the output', 'a closed pipe ends it like Ctrl-C; a full pipe stops no transfer, and SIGTERM still ends it')
def pipes(box):
    payload, meta, words = slow_seed(box)
    head = subprocess.Popen(['head', '-1'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    closed = Plain(box, 'fetch', meta, '-o', box.folder('closed'), *words, '--json', stdout=head.stdin)
    head.stdin.close()
    assert json.loads(head.stdout.read())['event'] == 'added' and head.wait(5) == 0
    assert closed.exit(5) == 130
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4_096)
    full = Plain(box, 'fetch', meta, '-o', box.folder('full'), *words, '--json', '--seed-after', stdout=writer)
    os.close(writer)
    wait_for(lambda: same(payload, f'{box.path}/full/payload.bin'), 30, 'the copy behind a full pipe')
    began = time.monotonic()
    full.process.terminate()
    code = full.exit(25)
    took = time.monotonic() - began
    os.close(reader)
    assert code in (0, 130) and took < 20, (code, took)
    return f'`| head -1` ended with 130; behind a full pipe of 4 KiB all came, and SIGTERM took {took:.1f} s'


@case('no input, no error output, no home', 'the transfer runs, and says what it goes without')
def nothing_there(box):
    payload, meta, words = slow_seed(box, 1_000_000)
    runs = 0

    def fetched(name, *argv, words=words, **options):
        nonlocal runs
        run = Plain(box, 'fetch', meta, '-o', box.folder(name), *words, *argv, **options)
        text = run.process.communicate(timeout=30)[1] if options.get('stderr', -1) == -1 else b''
        assert run.exit() == 0 and same(payload, f'{box.path}/{name}/payload.bin'), (name, text)
        runs += 1
        return (text or b'').decode()

    reader, writer = os.pipe()
    os.close(reader)
    fetched('broken', '-vv', stderr=writer)
    os.close(writer)
    fetched('closed', prefix=['sh', '-c', 'exec "$@" <&- >&- 2>&-', 'sh'])
    fetched('homeless', drop=['HOME', 'XDG_STATE_HOME'])
    box.payload(1, 'file', folder='in-the-way')
    text = fetched('stateless', env={'XDG_STATE_HOME': f'{box.path}/in-the-way/file'})
    assert 'no resume records' in text, text
    fetched('readonly', env={'XDG_STATE_HOME': '/sys'})
    fetched('termless', drop=['TERM'])
    return f'{runs} runs, each copy right'


@case('a terminal of 0 columns that changes its size', 'no crash, the transfer completes')
def terminal(box):
    payload, meta, words = slow_seed(box, 2_000_000)
    master, slave = pty.openpty()
    size = lambda rows, columns: fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))
    size(0, 0)
    fetch = Plain(box, 'fetch', meta, '-o', box.folder('copy'), *words, stdin=slave, stdout=slave, stderr=slave,
                  env={'TERM': 'xterm'})
    os.close(slave)
    shown, sizes = 0, 0
    os.set_blocking(master, False)
    while fetch.process.poll() is None:
        size(box.random.choice([0, 1, 24]), box.random.choice([0, 1, 3, 80, 65_535]))
        os.killpg(fetch.pid, signal.SIGWINCH)
        sizes += 1
        time.sleep(0.05)
        try:
            shown += len(os.read(master, 65_536))
        except OSError:
            pass
    os.close(master)
    assert fetch.exit() == 0 and same(payload, f'{box.path}/copy/payload.bin')
    assert shown > 0 and sizes > 10
    return f'{sizes} sizes, {shown} bytes drawn'
