"""`kill -9` in the middle of everything: how much is fetched again, and whether anything verified is lost."""
import signal
import struct
import time

from harness import case, same, wait_for
from rogue import INTERESTED, PIECE, REQUEST, UNCHOKE, Peer

KIB = 1_024


def kill(process):
    """Dead, and all that it wrote is read."""
    process.send(signal.SIGKILL)
    process.exit()


def pieces(process):
    """Which were verified and written, by its own account."""
    return [event['piece'] for event in process.all('piece')]


def uploaded(seed):
    """Bytes that the seed has sent, once it has told the last of them."""
    sums = []

    def settled():
        sums.append(seed.last().get('uploaded'))
        time.sleep(1.05)
        return len(sums) > 1 and sums[-1] == sums[-2]
    wait_for(settled, 15, 'the seed to fall silent')
    return sums[-1]


def rechecked(process):
    """Bytes that it hashed again at its start."""
    return max((event['done_bytes'] for event in process.all('checking')), default=0)


def killed_often(box, length, piece_length, rate, moments):
    """Fetches under `kill -9` at these moments after the start of the transfer. Returns bytes sent beyond the length of the payload, the
    most that was hashed at one start, and how many kills hit a running transfer."""
    payload = box.payload(length)
    meta = box.meta(payload, piece_length=piece_length)
    seed = box.seed(meta, '--up-limit', rate, '--profile', 'lan')
    state, known, hashed, hits = {'XDG_STATE_HOME': box.folder('state')}, [], 0, 0
    arguments = [meta, '--peer', f'127.0.0.1:{seed.port}']
    for moment in moments:
        fetch = box.fetch(*arguments, env=state)
        fetch.wait('peer_connected')
        time.sleep(moment)
        assert not fetch.all('completed'), 'it was over before the kills were'
        kill(fetch)
        known += pieces(fetch)
        hits += bool(pieces(fetch))
        hashed = max(hashed, rechecked(fetch))
    last = box.fetch(*arguments, env=state)
    last.wait('completed', 45)
    assert last.exit() == 0 and same(payload, f'{box.path}/copy/payload.bin')
    known += pieces(last)
    assert len(known) == len(set(known)), 'a verified piece was fetched again'
    hashed = max(hashed, rechecked(last))
    return uploaded(seed) - length, hashed, hits


@case('50 kills of a fetch at random moments', 'no verified piece is lost, ≤ 256 KiB downloaded again a kill')
def fifty_kills(box):
    moments = [box.random.uniform(0, 0.5) for _ in range(50)]
    again, hashed, hits = killed_often(box, 12_000_000, '64K', '700K', moments)
    counted = f'{again / 50 / KIB:.0f} KiB again a kill, none lost; {hits} kills between pieces, ≤ {hashed / KIB:.0f} KiB hashed at a start'
    assert hits >= 20 and again <= 50 * 256 * KIB, counted
    return counted


def served(port, meta, data, piece_length, piece):
    """Whether the first block of a piece comes as it should."""
    peer = Peer.dial(port, meta)
    try:
        peer.send(INTERESTED)
        peer.send(REQUEST, struct.pack('>III', piece, 0, 16_384))
        while True:
            number, body = peer.receive()
            if number == UNCHOKE:
                peer.send(REQUEST, struct.pack('>III', piece, 0, 16_384))
            if number == PIECE:
                at = piece * piece_length
                return body[8:] == data[at:at + 16_384]
    finally:
        peer.close()


@case('50 kills of a seed at random moments', 'it comes back without a recheck and serves right bytes')
def seed_kills(box):
    payload = box.payload(8_000_000)
    meta = box.meta(payload)
    state = {'XDG_STATE_HOME': box.folder('state')}
    first = box.seed(meta, '--profile', 'lan', env=state)
    first.wait('state', state='seeding')
    assert first.stop() == 0
    with open(payload, 'rb') as file:
        data = file.read()
    right = hashed = 0
    for _ in range(50):
        seed = box.seed(meta, '--profile', 'lan', env=state)
        piece = box.random.randrange(len(data) // 65_536)
        if box.random.random() < 0.5:
            right += served(seed.port, meta, data, 65_536, piece)
        time.sleep(box.random.uniform(0, 0.1))
        kill(seed)
        hashed = max(hashed, rechecked(seed))
    last = box.seed(meta, '--profile', 'lan', env=state)
    for piece in range(0, len(data) // 65_536, 7):
        assert served(last.port, meta, data, 65_536, piece)
    assert hashed == 0 and rechecked(last) == 0 and right >= 10, f'{hashed} bytes hashed again, {right} times right'
    return f'0 bytes hashed again, {right} blocks between the kills right'
