"""Trackers that refuse, hang, flap, and talk nonsense."""
import gzip
import os
import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from harness import case, wait_for

GOOD = b'd8:intervali1800e5:peers0:e'
MIB = 1_048_576


class Tracker:
    """An HTTP tracker that answers as `answer(handler)` does; notes when it was asked, and with which event."""

    def __init__(self, box, answer, port=0):
        self.asked, outer = [], self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                event = self.path.partition('event=')[2].partition('&')[0] or 'regular'
                outer.asked.append((time.monotonic(), event))
                try:
                    answer(self)
                except OSError:
                    pass  # whoever has heard enough hangs up

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(('127.0.0.1', port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f'http://127.0.0.1:{self.port}/announce'
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        box.on_close(self.close)

    def close(self):
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def events(self):
        return [event for _, event in self.asked]


def body(content, status=200, **headers):
    """An answer with this body."""
    def answer(handler):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace('_', '-'), value)
        handler.end_headers()
        handler.wfile.write(content)
    return answer


def endless(handler):
    handler.send_response(200)
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(bytes(MIB))


def redirect(target):
    return body(b'', 302, Location=target)


def interval(number):
    return body(b'd8:intervali%de5:peers0:e' % number)


ODD_REASON = b'd14:failure reason%d:' % MIB + b'\x1b[2J' * (MIB // 4) + b'e'
NONSENSE = {
    'HTML': (body(b'<html>Log in to the Wi-Fi</html>'), 'HTML'),
    'half a dictionary': (body(GOOD[:20]), 'makes no sense'),
    '100 MB': (endless, 'larger than'),
    'a gzip bomb': (body(gzip.compress(bytes(100 * MIB), 6), Content_Encoding='gzip'), 'larger than'),
    '7 bytes of peers': (body(b'd8:intervali1800e5:peers7:1234567e'), None),
    'port 70000': (body(b'd8:intervali1800e5:peersld2:ip9:127.0.0.14:porti70000eeee'), None),
    'a reason of 1 MB': (body(ODD_REASON), 'larger than'),
    'a reason of 100 kB': (body(b'd14:failure reason100000:' + b'\x1b[2J' * 25_000 + b'e'), 'refuses'),
    'a loop of redirects': (redirect('/announce'), 'redirects more than'),
    'a redirect to file:': (redirect('file:///etc/passwd'), 'not an http'),
    'a redirect to a door on loopback': (redirect('http://127.0.0.1:1/admin'), ''),
    'interval 0': (interval(0), None),
    'interval -1': (interval(-1), None),
    'interval 2^63': (interval(2 ** 63), None),
    'HTTP 500': (body(b'oops', 500), 'HTTP status 500'),
}


def peak_kib(process):
    with open(f'/proc/{process.pid}/status') as status:
        return next(int(line.split()[1]) for line in status if line.startswith('VmHWM'))


def asked_once(box, meta, answer):
    """What a seed says of its first announce, and its peak of memory after it."""
    tracker = Tracker(box, answer)
    seed = box.seed(meta, '--tracker', tracker.url)
    wait_for(lambda: seed.all('tracker') or seed.all('tracker_failed'), 25, 'an end of the announce')
    time.sleep(0.1)
    peak, said = peak_kib(seed), (seed.all('tracker') + seed.all('tracker_failed'))[0]
    again = len(tracker.asked) - 1
    assert seed.process.poll() is None, 'the seed is gone'
    seed.send(signal.SIGKILL)
    return said, peak, again


@case('trackers that talk nonsense', 'no crash, ≤ 2 MiB of memory more, a readable message, no storm of announces')
def nonsense(box):
    meta = box.meta(box.payload(200_000))
    _, good, _ = asked_once(box, meta, body(GOOD))
    worst, longest = 0, 0
    for name, (answer, expected) in NONSENSE.items():
        said, peak, again = asked_once(box, meta, answer)
        worst = max(worst, peak - good)
        text = said.get('error') or said.get('warning') or ''
        longest = max(longest, len(text))
        assert text.isprintable() and len(text) < 400, (name, text[:500])
        if expected is not None:
            assert said['event'] == 'tracker_failed' and expected in text, (name, said)
            assert 3 <= said['retry_in_s'] <= 3_600, (name, said)
        assert again <= (6 if 'redirect' in name else 0), (name, again)
        assert peak - good <= 2_048, (name, peak - good)
    return f'{len(NONSENSE)} kinds, {worst} KiB more at most, the longest message of {longest} characters'


@case('a tracker that hangs', '`stopped` delays the exit by 5 s at most')
def hangs(box):
    release = threading.Event()
    box.on_close(release.set)

    def answer(handler):
        if 'event=stopped' in handler.path:
            release.wait(60)
        else:
            body(GOOD)(handler)
    tracker = Tracker(box, answer)
    deaf = socket.create_server(('127.0.0.1', 0))
    box.on_close(deaf.close)
    deaf_udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    deaf_udp.bind(('127.0.0.1', 0))
    box.on_close(deaf_udp.close)
    meta = box.meta(box.payload(200_000))
    seed = box.seed(meta, '--tracker', tracker.url, '--tracker', f'http://127.0.0.1:{deaf.getsockname()[1]}/announce',
                    '--tracker', f'native://127.0.0.1:{deaf.getsockname()[1]}',
                    '--tracker', f'udp://127.0.0.1:{deaf_udp.getsockname()[1]}/announce')
    seed.wait('tracker')
    began = time.monotonic()
    assert seed.stop(limit_s=10) == 0
    took = time.monotonic() - began
    assert 'stopped' in tracker.events() and took <= 6, f'{took:.1f} s, {tracker.events()}'
    return f'gone {took:.1f} s after SIGTERM, with one tracker deaf to `stopped` and three to everything'


def native_answers():
    """What a native tracker may send instead of an answer."""
    yield 'garbage', os.urandom(65_536)
    yield 'a frame of 4 GiB', b'\xff' * 16
    yield 'zeros', bytes(65_536)
    yield 'another protocol', b'HTTP/1.1 400 Bad Request\r\n\r\n'
    yield 'nothing', b''


@case('native trackers that talk nonsense', 'no crash, ≤ 2 MiB of memory more, asked again after a pause')
def native_nonsense(box):
    meta = box.meta(box.payload(200_000))
    _, good, _ = asked_once(box, meta, body(GOOD))
    worst, asked = 0, 0
    for name, data in native_answers():
        server = socket.create_server(('127.0.0.1', 0))
        box.on_close(server.close)
        dialled = []

        def serve(server=server, data=data, dialled=dialled):
            while True:
                try:
                    sock, _ = server.accept()
                    dialled.append(sock)
                    sock.recv(1_000)
                    sock.sendall(data)
                    if not data:
                        sock.close()
                except OSError:
                    if server.fileno() < 0:
                        return
        threading.Thread(target=serve, daemon=True).start()
        seed = box.seed(meta, '--tracker', f'native://127.0.0.1:{server.getsockname()[1]}')
        failed = seed.wait('tracker_failed', 25)
        time.sleep(0.5)
        assert failed['error'].isprintable() and 3 <= failed['retry_in_s'] <= 3_600, (name, failed)
        assert len(dialled) <= 4, f'{name}: dialled {len(dialled)} times in half a second'
        asked = max(asked, len(dialled))
        worst = max(worst, peak_kib(seed) - good)
        assert worst <= 2_048 and seed.process.poll() is None, (name, worst)
        seed.send(signal.SIGKILL)
    return f'5 kinds, {worst} KiB more at most, {asked} connections at most in the first half second'
