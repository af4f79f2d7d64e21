"""Rules of the wire, broken one after the other by a peer of ours; and what looks odd but breaks none."""
import struct

from harness import case, same, wait_for
from rogue import (ALLOWED_FAST, BITFIELD, CANCEL, EXTENDED, FAST, HAVE, HAVE_ALL, HAVE_NONE, PIECE, PLAIN, REJECT,
                   REQUEST, SUGGEST, UNCHOKE, Peer, Rogue, message, serve)

PIECE_LENGTH = 262_144
PIECES = 11
AT_ONCE_S = 2
EXTENSIONS = bytes([0, 0, 0, 0, 0, 0x10, 0, 4])
DEEP = b'd1:m' + b'l' * 30_000 + b'e' * 30_000 + b'e'


def numbers(*them):
    return struct.pack(f'>{len(them)}I', *them)


def requested(index, begin, length):
    return message(PIECE, numbers(index, begin) + bytes(length))


# What is sent, with which reserved bits, and the word in the reason for which we close.
FATAL = {
    'length of 2^32-1': (FAST, b'\xff\xff\xff\xff\x07', 'length'),
    'have of 5 bytes': (FAST, message(HAVE, bytes(5)), 'length'),
    'request of 11 bytes': (FAST, message(REQUEST, bytes(11)), 'length'),
    'choke with a body': (FAST, message(0, b'x'), 'length'),
    'block without bytes': (FAST, message(PIECE, bytes(8)), 'length'),
    'block of 128 KiB': (FAST, requested(0, 0, 131_072)[:13], 'length'),
    'block of 16 KiB and a byte': (FAST, requested(0, 0, 16_385)[:13], 'length'),
    'block of 10,000 bytes': (FAST, requested(0, 0, 10_000)[:13], 'nobody asks for'),
    'block off the grid': (FAST, requested(0, 1, 16_384)[:13], 'nobody asks for'),
    'block beyond its piece': (FAST, requested(0, PIECE_LENGTH, 16_384)[:13], 'does not exist'),
    'block of no piece': (FAST, requested(PIECES, 0, 16_384)[:13], 'does not exist'),
    'unknown message of 65 KiB': (FAST, b'\x00\x01\x04\x00\x63', 'length'),
    'bitfield a byte short': (FAST, message(BITFIELD, bytes(1)), 'length'),
    'bitfield a byte long': (FAST, message(BITFIELD, bytes(3)), 'length'),
    'bitfield with spare bits': (FAST, message(BITFIELD, b'\x00\x10'), 'bitfield'),
    'have of no piece': (FAST, message(HAVE, numbers(PIECES)), 'does not exist'),
    'have of piece 2^32-1': (FAST, message(HAVE, numbers(2**32 - 1)), 'does not exist'),
    'request of no piece': (FAST, message(REQUEST, numbers(PIECES, 0, 16_384)), 'does not exist'),
    'request beyond its piece': (FAST, message(REQUEST, numbers(0, 2**32 - 1, 16_384)), 'does not exist'),
    'request of 128 KiB and a byte': (FAST, message(REQUEST, numbers(0, 0, 131_073)), 'does not exist'),
    'request of nothing': (FAST, message(REQUEST, numbers(0, 0, 0)), 'does not exist'),
    'cancel of no piece': (FAST, message(CANCEL, numbers(PIECES, 0, 16_384)), 'does not exist'),
    'reject of no piece': (FAST, message(REJECT, numbers(PIECES, 0, 16_384)), 'does not exist'),
    'suggest of no piece': (FAST, message(SUGGEST, numbers(PIECES)), 'does not exist'),
    'allowed fast of no piece': (FAST, message(ALLOWED_FAST, numbers(PIECES)), 'does not exist'),
    'have all without BEP 6': (PLAIN, message(HAVE_ALL), 'fast-extension'),
    'reject without BEP 6': (PLAIN, message(REJECT, numbers(0, 0, 16_384)), 'fast-extension'),
    'extension without BEP 10': (FAST, message(EXTENDED, b'\x00de'), 'extension message'),
    'extension handshake that is none': (EXTENSIONS, message(EXTENDED, b'\x00le'), 'extension message'),
    'extension handshake 30,000 lists deep': (EXTENSIONS, message(EXTENDED, b'\x00' + DEEP), 'extension message'),
    'extension handshake with a string of 2 GB':
        (EXTENSIONS, message(EXTENDED, b'\x00d2222222222:l'), 'extension message'),
    'extension handshake of 65 KiB': (EXTENSIONS, b'\x00\x01\x04\x01\x14\x00', 'length'),
    'lt_donthave of 3 bytes': (EXTENSIONS, message(EXTENDED, b'\x01abc'), 'extension message'),
    'lt_donthave of no piece': (EXTENSIONS, message(EXTENDED, b'\x01' + numbers(PIECES)), 'does not exist'),
    '40 blocks that nobody asked for': (FAST, requested(0, 0, 16_384) * 40, 'not requested'),
    '40 rejects of nothing': (FAST, message(REJECT, numbers(0, 0, 16_384)) * 40, 'not requested'),
    '40 bitfields without news': (FAST, message(HAVE_NONE) * 40, 'bitfield'),
    '12,000 requests while choked': (FAST, message(REQUEST, numbers(0, 0, 16_384)) * 12_000, 'requests'),
}


# What other clients do, and what does no harm.
HARMLESS = {
    'keep-alives': bytes(400),
    'unknown messages': message(99, b'what') * 100 + message(255) * 100,
    'a DHT port': message(9, b'\x1a\xe1'),
    'cancels of what was never asked': message(CANCEL, numbers(0, 0, 16_384)) * 500,
    'requests while choked': message(REQUEST, numbers(0, 0, 16_384)) * 250,
    'requests of 128 KiB': message(REQUEST, numbers(0, 0, 131_072)),
    'the same have again': message(HAVE, numbers(3)) * 300,
    'unchoke and choke in turn': (message(UNCHOKE) + message(0)) * 300,
    'suggestions of what it lacks': message(SUGGEST, numbers(5)) * 300,
    '10 extension handshakes': message(EXTENDED, b'\x00d1:md11:lt_donthavei7eee') * 10,
    'a new number for each extension':
        b''.join(message(EXTENDED, b'\x00d1:md6:ut_pexi%deee' % n) for n in range(9)),
    'extensions that we never named': message(EXTENDED, b'\x63' + bytes(1_000)) * 300,
}


@case('rules of the wire broken', 'each breach closes the connection at once, with its reason, and harms no transfer')
def broken_rules(box):
    payload = box.payload(PIECE_LENGTH * (PIECES - 1) + 100_000)
    meta = box.meta(payload, piece_length='256K')
    fetch = box.fetch(meta)
    slowest = 0
    for number, (name, (reserved, sent, word)) in enumerate(FATAL.items()):
        source = f'127.0.2.{number + 1}'
        peer = Peer.dial(fetch.port, meta, b'-RG0002-%012d' % number, reserved, source=source)
        address = '%s:%d' % peer.sock.getsockname()
        try:
            peer.sock.sendall(sent)
        except OSError:
            pass  # closed before all of it was sent
        took = peer.closed_after(AT_ONCE_S)
        assert took is not None, f'{name}: still open after {AT_ONCE_S} s'
        slowest = max(slowest, took)
        peer.close()
        reason = fetch.wait('peer_closed', 2, peer=address)['reason']
        assert word in (reason or ''), f'{name}: closed because of "{reason}"'
    seed = box.seed(meta)
    honest = Peer.dial(seed.port, meta)  # the seed is well: it takes newcomers
    honest.close()
    done = fetch_from(box, fetch, seed, payload, meta)
    return f'{len(FATAL)} of {len(FATAL)} closed, the slowest after {slowest * 1000:.0f} ms; {done}'


def fetch_from(box, fetch, seed, payload, meta):
    """Finishes a download that waits for peers: a second one brings the data to the first."""
    bridge = box.fetch(meta, '--peer', f'127.0.0.1:{seed.port}', '--peer', f'127.0.0.1:{fetch.port}', '--seed-after',
                       folder='bridge')
    done = fetch.wait('completed')
    assert fetch.exit() == 0 and same(payload, f'{box.path}/copy/payload.bin')
    bridge.stop()
    return f'the copy right, {done["wasted"]} bytes wasted'


@case('odd but allowed messages', 'none of them ends the connection')
def odd_messages(box):
    payload = box.payload(PIECE_LENGTH * PIECES)
    meta = box.meta(payload, piece_length='256K')
    fetch = box.fetch(meta)
    for number, (name, sent) in enumerate(HARMLESS.items()):
        peer = Peer.dial(fetch.port, meta, b'-RG0003-%012d' % number, EXTENSIONS, source=f'127.0.2.{number + 1}')
        peer.send(HAVE_NONE)
        peer.sock.sendall(sent)
        # Only the answer to this one proves that all before it was read and allowed.
        peer.send(REQUEST, numbers(PIECES - 1, 0, 77))
        while peer.receive() != (REJECT, numbers(PIECES - 1, 0, 77)):
            pass
        peer.close()
    reasons = [event['reason'] for event in fetch.all('peer_closed') if event['reason']]
    assert not reasons, reasons
    return f'{len(HARMLESS)} kinds of them, 0 connections closed'


@case('late bitfields', 'a bitfield for each 20 new pieces, as aria2 sends them, is taken')
def late_bitfields(box):
    payload = box.payload(400 * 16_384)
    meta = box.meta(payload, piece_length='16K')
    with open(payload, 'rb') as file:
        content = file.read()

    def behave(peer):
        for count in range(20, 401, 20):
            bits = (1 << 400) - (1 << (400 - count))
            peer.send(BITFIELD, bits.to_bytes(50, 'big'))
        serve(peer, content, 16_384)
    rogue = Rogue(box, meta, behave)
    fetch = box.fetch(meta, '--peer', rogue.address)
    done = fetch.wait('completed')
    assert fetch.exit() == 0 and same(payload, f'{box.path}/copy/payload.bin')
    assert rogue.accepted == 1 and done['wasted'] == 0, (rogue.accepted, done)
    return '20 bitfields in a row, 1 connection, 0 bytes wasted'


@case('blocks one byte short or shifted', 'closed at once')
def short_blocks(box):
    payload = box.payload(PIECE_LENGTH * PIECES)
    meta = box.meta(payload, piece_length='256K')
    with open(payload, 'rb') as file:
        content = file.read()
    closed = {}

    def rogue(name, answer):
        def behave(peer):
            try:
                serve(peer, content, PIECE_LENGTH, answer)
            finally:
                closed[name] = closed.get(name, 0) + 1
        return Rogue(box, meta, behave, peer_id=b'-RG0004-' + name.encode().ljust(12, b'.'))
    rogues = {
        'short': rogue('short', lambda content, _, index, begin, length: requested(index, begin, length - 1)),
        'shifted': rogue('shifted', lambda content, _, index, begin, length: requested(index, begin + 1, length - 1)),
        'long': rogue('long', lambda content, _, index, begin, length: requested(index, begin, length + 16_384)),
    }
    fetch = box.fetch(meta, *[word for it in rogues.values() for word in ('--peer', it.address)])
    wait_for(lambda: len(closed) == len(rogues), 10, f'all of {list(rogues)} closed, not only {closed}')
    took = max(event['at'] for event in fetch.all('peer_closed')[:3]) - fetch.wait('peer_connected')['at']
    assert took <= AT_ONCE_S, f'{took:.1f} s'
    seed = box.seed(meta, '--peer', f'127.0.0.1:{fetch.port}')
    done = fetch.wait('completed')
    assert fetch.exit() == 0 and same(payload, f'{box.path}/copy/payload.bin')
    seed.stop()
    assert done['wasted'] <= 3 * 16_384, done
    return f'{len(rogues)} of {len(rogues)} closed within {took * 1000:.0f} ms, {done["wasted"]} bytes wasted'
