"""The measured world: hosts as network namespaces, payloads in memory-backed files, processes and what they cost.

Figures are comparable only within one session on one machine: that is why every row has rivals or the floor in it.
"""
import glob
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

SWARM = os.path.abspath(os.environ.get('SWARM', 'target/release/swarm'))
TOOLS = os.path.abspath(os.environ.get('BENCH_TOOLS', 'target/release'))
FAMILY = 'swarm-bm'
PREFIX = f'{FAMILY}{os.getpid()}'
TICKS = os.sysconf('SC_CLK_TCK')
GIB = 1 << 30


def bencode(value):
    if isinstance(value, int):
        return b'i%de' % value
    if isinstance(value, bytes):
        return b'%d:%b' % (len(value), value)
    if isinstance(value, str):
        return bencode(value.encode())
    if isinstance(value, list):
        return b'l%be' % b''.join(map(bencode, value))
    pairs = sorted((key.encode(), item) for key, item in value.items())
    return b'd%be' % b''.join(bencode(key) + bencode(item) for key, item in pairs)


class Scratch:
    """A folder in memory with everything that the rows make; payloads and metainfo files stay until the end."""

    def __init__(self, path):
        self.path = path
        os.makedirs(path, exist_ok=True)
        os.chmod(path, 0o755)
        self.serial = 0

    def fresh(self, name):
        """An empty folder."""
        path = f'{self.path}/{name}'
        shutil.rmtree(path, ignore_errors=True)
        os.makedirs(path)
        return path

    def log(self, name):
        os.makedirs(f'{self.path}/logs', exist_ok=True)
        self.serial += 1
        return f'{self.path}/logs/{self.serial:04d}-{name}'

    def payload(self, size):
        """A file of random bytes: its folder and its name."""
        folder, name = f'{self.path}/payload', f'{size}.bin'
        os.makedirs(folder, exist_ok=True)
        path = f'{folder}/{name}'
        if not os.path.exists(path) or os.stat(path).st_size != size:
            with open(path, 'wb') as out:
                for at in range(0, size, 1 << 24):
                    out.write(os.urandom(min(1 << 24, size - at)))
        return folder, name

    def torrent(self, size, piece_length, tracker=None):
        """A payload with its metainfo file."""
        folder, name = self.payload(size)
        hashes = []
        with open(f'{folder}/{name}', 'rb') as file:
            while piece := file.read(piece_length):
                hashes.append(hashlib.sha1(piece).digest())
        info = {'length': size, 'name': name, 'piece length': piece_length, 'pieces': b''.join(hashes)}
        return Torrent(self.write_metainfo(f'{size}-{piece_length}', info, tracker), info, folder, name)

    def write_metainfo(self, name, info, tracker=None):
        path = f'{self.path}/{name}.torrent'
        with open(path, 'wb') as out:
            out.write(bencode({'info': info, **({'announce': tracker} if tracker else {})}))
        return path

    def clear(self):
        shutil.rmtree(self.path, ignore_errors=True)


class Torrent:
    def __init__(self, metainfo, info, folder, name):
        self.metainfo, self.folder, self.name = metainfo, folder, name
        self.piece_length, self.size = info['piece length'], info['length']
        self.info_hash = hashlib.sha1(bencode(info)).hexdigest()
        self.path = f'{folder}/{name}'

    def is_in(self, folder):
        """Whether a whole and right copy lies there. Cheap as long as it is not."""
        copy = f'{folder}/{self.name}'
        try:
            seen = os.stat(copy)
        except OSError:
            return False
        if seen.st_size != self.size or seen.st_blocks * 512 < self.size:
            return False
        return subprocess.call(['cmp', '-s', copy, self.path]) == 0


class Process:
    """A program that runs on a host, and what it costs."""

    def __init__(self, argv, log, home, prefix=(), stdout=None):
        os.makedirs(home, exist_ok=True)
        environment = dict(os.environ, HOME=home, XDG_CONFIG_HOME=f'{home}/config', XDG_STATE_HOME=f'{home}/state')
        self.argv, self.log, self.peak_kib, self.usage, self.code = argv, log, 0, None, None
        with open(log, 'wb') as output:
            self.child = subprocess.Popen([*prefix, *map(str, argv)], stdin=subprocess.DEVNULL, stdout=stdout or output,
                                          stderr=output, env=environment, start_new_session=True)
        self.pid, self.began, self.ended = self.child.pid, time.monotonic(), None

    def cpu_s(self):
        """Seconds of processor time so far, its own and the system's for it."""
        with open(f'/proc/{self.pid}/stat') as stat:
            fields = stat.read().rsplit(')', 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def status_kib(self, field):
        try:
            with open(f'/proc/{self.pid}/status') as status:
                return next((int(line.split()[1]) for line in status if line.startswith(field)), 0)
        except OSError:
            return 0

    def rss_kib(self):
        return self.status_kib('VmRSS')

    def look(self):
        """Notes the peak of its memory; whether it still runs."""
        if self.usage is None:
            self.peak_kib = max(self.peak_kib, self.status_kib('VmHWM'))
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self.child.returncode = self.code = os.waitstatus_to_exitcode(status)
                self.usage, self.ended = usage, time.monotonic()
        return self.usage is None

    def wait(self, limit_s):
        """Waits for its own end, which must be a good one."""
        until = time.monotonic() + limit_s
        while self.look():
            if time.monotonic() > until:
                self.stop()
                raise RuntimeError(f'{self.argv[0]} has not ended within {limit_s} s, see {self.log}')
            time.sleep(0.005)
        if self.code != 0:
            raise RuntimeError(f'{self.argv[0]} ended with {self.code}, see {self.log}')

    def used_s(self):
        """Processor time of one that has ended."""
        return self.usage.ru_utime + self.usage.ru_stime

    def events(self):
        """What a process of ours with --json has said so far."""
        found = []
        with open(self.log, 'rb') as log:
            for line in log:
                try:
                    found.append(json.loads(line))
                except ValueError:
                    pass
        return found

    def stop(self, limit_s=15):
        if not self.look():
            return
        os.killpg(self.pid, signal.SIGTERM)
        until = time.monotonic() + limit_s
        while self.look():
            if time.monotonic() > until:
                os.killpg(self.pid, signal.SIGKILL)
                until += 60
            time.sleep(0.01)


class World:
    """Hosts 10.99.0.1, 10.99.0.2, … on one bridge, each behind its own link; close() ends all that runs on them."""

    def __init__(self, scratch, count=0, mbit=None):
        """`mbit`: what each link carries each way, one number or one for each host; unlimited without."""
        self.scratch, self.count, self.running = scratch, count, []
        rates = mbit if isinstance(mbit, list) else [mbit] * count
        if not count:
            return
        self.clear()
        lines = [f'ip netns add {PREFIX}-br', f'ip -n {PREFIX}-br link add br0 type bridge',
                 f'ip -n {PREFIX}-br link set br0 up']
        for index, rate in enumerate(rates):
            host = f'{PREFIX}-{index}'
            lines += [f'ip netns add {host}', f'ip -n {host} link set lo up',
                      f'ip link add eth0 netns {host} type veth peer name p{index} netns {PREFIX}-br',
                      f'ip -n {host} addr add {self.ip(index)}/24 dev eth0', f'ip -n {host} link set eth0 up',
                      f'ip -n {PREFIX}-br link set p{index} master br0 up']
            for space, device in ((host, 'eth0'), (f'{PREFIX}-br', f'p{index}')) if rate else ():
                lines += [f'ip netns exec {space} tc qdisc add dev {device} root tbf rate {rate}mbit burst 128kb latency 50ms',
                          f'ip netns exec {space} ethtool -K {device} tso off gso off gro off || true']
        try:
            subprocess.run(['sh', '-e', '-c', '\n'.join(lines)], check=True, stdout=subprocess.DEVNULL,
                           stderr=subprocess.PIPE, text=True)
        except subprocess.CalledProcessError as error:
            self.clear()
            raise RuntimeError(f'hosts cannot be made: {error.stderr}') from error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @staticmethod
    def ip(index):
        return f'10.99.0.{index + 1}'

    def start(self, index, argv, name, home=None):
        """Starts a program on a host; without hosts, on this machine."""
        prefix = ('ip', 'netns', 'exec', f'{PREFIX}-{index}') if self.count else ()
        home = home or self.scratch.fresh(f'homes/{index}-{name}')
        process = Process(argv, self.scratch.log(name), home, prefix)
        self.running.append(process)
        return process

    def track(self, *torrents):
        """A tracker on the first host. Debian's answers for listed torrents only."""
        listed = f'{self.scratch.path}/listed'
        with open(listed, 'w') as out:
            out.writelines(f'{torrent.info_hash}\n' for torrent in torrents)
        address = ['-i', self.ip(0), '-p', '6969', '-P', '6969']
        process = self.start(0, ['opentracker', '-w', listed, *address], 'opentracker')
        time.sleep(0.4)
        return process

    def close(self):
        for process in self.running:
            process.stop()
        self.running = []
        if self.count:
            self.clear()

    def clear(self):
        names = [f'{PREFIX}-br', *(f'{PREFIX}-{index}' for index in range(self.count))]
        for name in names:
            subprocess.run(['ip', 'netns', 'del', name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def sweep(scratch):
    """Takes away what runs that were killed have left: hosts, and folders in memory."""
    alive = lambda pid: os.path.exists(f'/proc/{pid}')
    spaces = os.listdir('/run/netns') if os.path.isdir('/run/netns') else []
    for name in spaces:
        left = re.fullmatch(rf'{FAMILY}(\d+)-\w+', name)
        if left and not alive(left[1]):
            subprocess.run(['ip', 'netns', 'del', name])
    for path in glob.glob(f'{scratch}-*'):
        if not alive(path.rsplit('-', 1)[1]):
            shutil.rmtree(path, ignore_errors=True)


TRACKER = f'http://{World.ip(0)}:6969/announce'


def machine_s():
    """Seconds of processor time that the whole machine has spent, the network stack included."""
    with open('/proc/stat') as stat:
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, stat.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS


def settle(process, limit_s=90):
    """Waits until a program has done what it does at its start, such as hashing its files."""
    until = time.monotonic() + limit_s
    time.sleep(1.2)
    before = process.cpu_s()
    while time.monotonic() < until:
        time.sleep(0.4)
        now = process.cpu_s()
        if now - before < 0.03:
            return
        before = now
    raise RuntimeError(f'{process.argv[0]} is still busy after {limit_s} s, see {process.log}')


def wait_for(condition, limit_s, what, pause_s=0.02):
    """The first true value of the condition."""
    until = time.monotonic() + limit_s
    while not (value := condition()):
        if time.monotonic() > until:
            raise RuntimeError(f'waited {limit_s} s for {what}')
        time.sleep(pause_s)
    return value


def versions():
    """What is compared, for the table's foot."""
    def first_line(*argv):
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=10)
            return (done.stdout or done.stderr).strip().splitlines()[0].strip()
        except (OSError, IndexError, subprocess.TimeoutExpired):
            return 'not there'
    import libtorrent
    commit = first_line('git', 'describe', '--always', '--dirty', '--abbrev=10')
    return {'swarm': f'{first_line(SWARM, "--version").removeprefix("swarm ")} ({commit})',
            'libtorrent': libtorrent.version, 'aria2': first_line('aria2c', '--version').removeprefix('aria2 version '),
            'mktorrent': first_line('dpkg-query', '-W', '-f', '${Version}', 'mktorrent'),
            'opentracker': first_line('dpkg-query', '-W', '-f', '${Version}', 'opentracker'),
            'python': sys.version.split()[0]}


def machine():
    with open('/proc/cpuinfo') as info:
        model = next((line.split(':', 1)[1].strip() for line in info if line.startswith('model name')), 'unknown')
    with open('/proc/meminfo') as info:
        memory = int(info.readline().split()[1]) / (1 << 20)
    release = os.uname()
    return f'{os.cpu_count()} cores of {model}, {memory:.0f} GiB, {release.sysname} {release.release}'
