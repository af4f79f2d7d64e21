"""Who meets whom: oneself, the same peer twice, and peers that come and go."""
import signal
import socket
import threading
import time

from harness import Swarm, case, same, wait_for
from rogue import FAST, Peer, Rogue, handshake, info_hash, serve

PIECE_LENGTH = 65_536


def free_port(host):
    """A port on a loopback address of our own, where nobody else looks for one."""
    with socket.create_server((host, 0)) as listener:
        return listener.getsockname()[1]


@case('connected to oneself', 'noticed by the id, not tried again, and no harm to the download')
def oneself(box):
    payload = box.payload(3_000_000)
    meta = box.meta(payload)
    seed = box.seed(meta, '--up-limit', '400K')
    own = f'127.77.0.1:{free_port("127.77.0.1")}'
    fetch = box.swarm('fetch', meta, '-o', box.folder('copy'), '--listen', own, '--peer', own, '--peer',
                      f'127.0.0.1:{seed.port}', '-vv')
    fetch.wait('completed')
    assert fetch.exit() == 0 and same(payload, f'{box.path}/copy/payload.bin')
    with open(fetch.log) as log:
        refused = log.read().count('connected to ourselves')
    met = [event for event in fetch.all('peer_connected') if event['peer'].startswith('127.77.')]
    # Both ends of one connection notice it.
    assert 1 <= refused <= 2 and not met, (refused, met)
    return f'1 connection to oneself in {fetch.last()["total_bytes"] // 400_000} s, refused by both its ends'


def crossing(box, meta, peer_id, name):
    """A peer that connects while it is being dialled. Returns whether the connection that we opened is the one kept, and
    whether exactly one is kept."""
    ours, ends = [], {}

    def listen(peer):  # we are dialled; the answer waits until the other connection stands
        wait_for(lambda: ours, 10, 'the other connection')
        peer.sock.sendall(handshake(info_hash(meta), peer_id, FAST))
        ends['dialled'] = peer.closed_after(3)
    with socket.create_server(('127.0.0.1', 0)) as listener:
        def accept():
            sock, _ = listener.accept()
            peer = Peer(sock)
            peer.take(68)
            listen(peer)
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        fetch = box.fetch(meta, '--peer', '%s:%d' % listener.getsockname(), folder=name)
        second = Peer.dial(fetch.port, meta, peer_id)
        second.receive()
        ours.append(True)
        ends['accepted'] = second.closed_after(3)
        thread.join(10)
    second.close()
    fetch.stop()
    return ends['dialled'] is None, (ends['dialled'] is None) != (ends['accepted'] is None)


@case('two connections between the same pair', 'both sides keep the one that the larger id opened')
def same_pair(box):
    payload = box.payload(300_000)
    meta = box.meta(payload)
    dialled_kept, one = crossing(box, meta, bytes(20), 'small')
    assert dialled_kept and one, 'its id is smaller: our connection stays'
    dialled_kept, one = crossing(box, meta, b'\xff' * 20, 'large')
    assert not dialled_kept and one, 'its id is larger: its connection stays'
    counts = []
    for number in range(4):
        names = [f'127.77.{number + 1}.{side}' for side in (1, 2)]
        addresses = [f'{name}:{free_port(name)}' for name in names]
        pair = [box.swarm('fetch', meta, '-o', box.folder(f'pair{number}{side}'), '--listen', addresses[side], '--peer',
                          addresses[1 - side]) for side in (0, 1)]
        wait_for(lambda: all(it.all('peer_connected') for it in pair), 10, 'the pair to meet')
        time.sleep(2.5)  # a second connection would have come by now
        counts.append([len(it.all('peer_connected')) - len(it.all('peer_closed')) for it in pair])
        for it in pair:
            it.stop()
    assert all(count == [1, 1] for count in counts), counts
    return f'2 of 2 crossings right, 1 connection at both ends of {len(counts)} of {len(counts)} pairs that dial each other'


@case('an honest peer behind the address of a liar', 'on the loopback a ban holds for the liar alone')
def behind_one_address(box):
    payload = box.payload(3_000_000)
    meta = box.meta(payload)
    with open(payload, 'rb') as file:
        content = file.read()
    liar = Rogue(box, meta, lambda peer: serve(peer, bytes(len(content)), PIECE_LENGTH), peer_id=b'-RG0040-............')
    fetch = box.fetch(meta, '--peer', liar.address)
    fetch.wait('peer_banned')
    seed = box.seed(meta, '--peer', f'127.0.0.1:{fetch.port}')
    fetch.wait('completed')
    assert fetch.exit() == 0 and same(payload, f'{box.path}/copy/payload.bin')
    assert len(fetch.all('peer_banned')) == 1 and seed.all('peer_connected')
    return '1 of 2 peers at 127.0.0.1 banned, the other one gave all'


def answers(address):
    host, port = address.split(':')
    try:
        socket.create_connection((host, int(port)), 1).close()
        return True
    except OSError:
        return False


def pieces(fetch):
    return {event['piece'] for event in fetch.all('piece')}


def churn(box, rate, every_s, life_s):
    """Guests come and are killed until half of the payload has left the seed; then it is killed too."""
    payload = box.payload(6_000_000)
    meta = box.meta(payload)
    http = f'127.77.9.1:{free_port("127.77.9.1")}'
    tracker = Swarm(box, ['tracker', 'http', '--listen', http])
    box.running.append(tracker)
    wait_for(lambda: answers(http), 10, 'the tracker')
    url = f'http://{http}/announce'
    seed = box.seed(meta, '--tracker', url, '--up-limit', rate)
    seed.wait('added')

    def join(name):
        return box.fetch(meta, '--tracker', url, '--up-limit', rate, folder=name)
    stay, guests, lived = [join(f'stay{n}') for n in range(4)], [], 0
    while seed.last().get('uploaded', 0) < 3_000_000:
        guests.append((time.monotonic(), join(f'guest{lived}')))
        lived += 1
        time.sleep(every_s)
        if time.monotonic() - guests[0][0] > life_s:
            guests.pop(0)[1].stop(signal.SIGKILL)
    seed.stop(signal.SIGKILL)
    for _, guest in guests:
        guest.stop(signal.SIGKILL)
    wait_for(lambda: len({frozenset(pieces(it)) for it in stay}) == 1, 90, 'all that is left at all who stay')
    left = len(pieces(stay[0]))
    assert 0 < left < 92, left
    box.seed(meta, '--tracker', url, '--up-limit', '2M')
    for it in stay:
        it.wait('completed', 60)
        assert it.exit() == 0
    assert all(same(payload, f'{box.path}/stay{n}/payload.bin') for n in range(4))
    assert tracker.process.poll() is None
    return f'{lived} guests came and were killed; 4 of 4 had the same {left} of 92 pieces when the seed had gone, and ' \
           f'4 of 4 finished when one was back'


@case('churn, and the seed leaves at half availability', 'who stays gets all that is left among them; all finish when a '
                                                         'seed is back')
def some_churn(box):
    return churn(box, '500K', 0.8, 4)


@case('churn of 50 peers that live for 20 s each', 'who stays gets all that is left among them; all finish when a seed is '
                                                   'back', slow=True)
def much_churn(box):
    return churn(box, '50K', 1.1, 20)
