"""Files under a transfer: overwritten, cut off, deleted, replaced, rotten."""
import os
import shutil
import struct
import time

from harness import case, same, wait_for
from rogue import HAVE_NONE, INTERESTED, PIECE as PIECE_MESSAGE, REJECT, REQUEST, UNCHOKE, Peer

PIECE = 65_536


def pieces(swarm):
    return swarm.last().get('have_pieces')


def flip(path, at, keep_time=False):
    """Turns one bit of a file, in place."""
    before = os.stat(path)
    with open(path, 'r+b') as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
    if keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def seeding(box, length=2_000_000, folder='source', options=()):
    """A seed of one file that has checked it: payload, metainfo, process."""
    payload = box.payload(length, folder=folder)
    meta = box.meta(payload)
    seed = box.seed(meta, *options, folder=folder)
    seed.wait('state', state='seeding')
    return payload, meta, seed


def since(began, event):
    return event['at'] - began


def bytes_of(peer, piece, length=16_384):
    """Asks for the first block of a piece; returns it, or None if the other side refuses or closes."""
    peer.send(REQUEST, struct.pack('>III', piece, 0, length))
    try:
        while True:
            number, body = peer.receive()
            if number == PIECE_MESSAGE:
                return body[8:]
            if number == REJECT:
                return None
    except (EOFError, OSError):
        return None


def unchoked(seed, meta):
    """A peer by hand that may ask."""
    peer = Peer.dial(seed.port, meta)
    peer.send(HAVE_NONE)
    peer.send(INTERESTED)
    while peer.receive()[0] != UNCHOKE:
        pass
    return peer


@case('a file under a seed is overwritten in place', 'noticed <= 1 s, before anything more leaves; only the piece is lost')
def overwritten(box):
    payload, meta, seed = seeding(box)
    peer = unchoked(seed, meta)
    with open(payload, 'rb') as file:
        right = file.read()
    assert bytes_of(peer, 3) == right[3 * PIECE:3 * PIECE + 16_384]
    # At once: between two looks at the name.
    began = time.monotonic()
    flip(payload, 5 * PIECE + 7)
    assert bytes_of(peer, 5) is None, 'the wrong bytes left'
    lost = seed.wait('pieces_lost', 10)
    assert since(began, lost) <= 1, since(began, lost)
    wait_for(lambda: pieces(seed) == 30, 10, 'all but the wrong piece')
    fetch = box.fetch(meta, '--peer', f'127.0.0.1:{seed.port}')
    wait_for(lambda: pieces(fetch) == 30, 20, 'the others are served')
    assert fetch.last()['failed_pieces'] == 0
    return f'noticed after {since(began, lost):.2f} s; the request at once after the write got no byte; {len(lost["pieces"])} of 31 pieces withdrawn first, 1 in the end'


@case('a file under a seed is cut off', 'never zero bytes as data; the torrent is checked again')
def cut_off(box):
    # Limited, so that the cut comes in the middle.
    payload, meta, seed = seeding(box, 4_000_000, options=['--up-limit', '1M'])
    fetch = box.fetch(meta, '--peer', f'127.0.0.1:{seed.port}')
    wait_for(lambda: (pieces(fetch) or 0) >= 4, 10, 'some pieces')
    os.truncate(payload, 20 * PIECE + 100)
    wait_for(lambda: pieces(seed) == 20, 10, 'the seed knows what is left')
    wait_for(lambda: pieces(fetch) >= 20, 20, 'what is left is served')
    assert fetch.last()['failed_pieces'] == 0, 'zero bytes were sent as data'
    return f'{pieces(seed)} of 62 pieces left and served, 0 wrong pieces at the other end'


@case('a file under an idle seed is deleted, then comes back', 'noticed <= 60 s without being asked; served again')
def deleted(box):
    payload, meta, seed = seeding(box)
    shutil.copy2(payload, f'{box.path}/kept')
    began = time.monotonic()
    os.unlink(payload)
    gone = seed.wait('pieces_lost', 60)
    wait_for(lambda: pieces(seed) == 0, 5, 'nothing is left')
    began_again = time.monotonic()
    shutil.copy2(f'{box.path}/kept', payload)
    wait_for(lambda: pieces(seed) == 31, 60, 'the pieces are back')
    back = time.monotonic() - began_again
    fetch = box.fetch(meta, '--peer', f'127.0.0.1:{seed.port}')
    assert fetch.exit(20) == 0 and same(payload, f'{box.path}/copy/payload.bin')
    return f'gone after {since(began, gone):.1f} s, back after {back:.1f} s'


@case('a file under an idle seed is replaced', 'noticed <= 60 s; what is right of it is served')
def replaced(box):
    payload, meta, seed = seeding(box)
    other = f'{box.path}/other'
    shutil.copy2(payload, other)
    flip(other, 9 * PIECE, keep_time=True)
    began = time.monotonic()
    os.replace(other, payload)
    lost = seed.wait('pieces_lost', 60)
    assert lost['pieces'] == [9], lost
    return f'after {since(began, lost):.1f} s, 1 of 31 pieces withdrawn'


@case('a bit of a served file rots, with its time kept', 'found <= 60 s, the piece withdrawn (BEP 54), nothing else lost')
def rot(box):
    payload, meta, seed = seeding(box)
    flip(payload, 12 * PIECE + 99, keep_time=True)
    began = time.monotonic()
    box.fetch(meta, '--peer', f'127.0.0.1:{seed.port}', folder='first')
    lost = seed.wait('pieces_lost', 60)
    assert lost['pieces'] == [12], lost
    trouble = seed.wait('trouble')['message']
    assert 'wrong bytes in piece 12' in trouble, trouble
    fetch = box.fetch(meta, '--peer', f'127.0.0.1:{seed.port}')
    wait_for(lambda: pieces(fetch) == 30, 20, 'the other pieces')
    assert fetch.last()['failed_pieces'] == 0
    return f'found after {since(began, lost):.1f} s; the next peer got the 30 other pieces and none wrong'


@case('rot under a fetch that goes on serving', 'found <= 60 s and fetched again')
def rot_mended(box):
    payload, meta, origin = seeding(box)
    middle = box.fetch(meta, '--seed-after', '--peer', f'127.0.0.1:{origin.port}', folder='middle')
    middle.wait('completed', 20)
    copy = f'{box.path}/middle/payload.bin'
    flip(copy, 12 * PIECE + 99, keep_time=True)
    assert not same(payload, copy)
    began = time.monotonic()
    box.fetch(meta, '--peer', f'127.0.0.1:{middle.port}', folder='first')
    lost = middle.wait('pieces_lost', 60)
    assert lost['pieces'] == [12], lost
    wait_for(lambda: pieces(middle) == 31 and same(payload, copy), 60, 'the piece is fetched again')
    right = time.monotonic() - began
    last = box.fetch(meta, '--peer', f'127.0.0.1:{middle.port}', folder='last')
    assert last.exit(30) == 0 and same(payload, f'{box.path}/last/payload.bin')
    return f'found after {since(began, lost):.1f} s, right again after {right:.1f} s'


@case('rot before the start', '`--verify-first` hashes before the first byte leaves, for seed and fetch')
def verify_first(box):
    payload, meta, seed = seeding(box)
    state = f'{seed.log}.state'
    seed.stop()
    flip(payload, 3 * PIECE, keep_time=True)
    again = box.seed(meta, '--verify-first', env={'XDG_STATE_HOME': state})
    assert again.wait('checking', done_bytes=2_000_000)
    wait_for(lambda: pieces(again) == 30, 10, 'the wrong piece is known')
    again.stop()
    fetch = box.fetch(meta, '--verify-first', '--overwrite', folder='source')
    assert fetch.wait('checking', done_bytes=2_000_000)
    wait_for(lambda: pieces(fetch) == 30, 10, 'the wrong piece is known to a fetch too')
    return '2,000,000 bytes hashed by each; 1 of 31 pieces not offered'
