"""Wrong bytes: from links that are noisy and from peers that lie."""
import time

from harness import case, same, wait_for
from namespaces import Net, shell
from relay import Relay, losses, noise, resets
from rogue import Peer, Rogue, block, serve

PIECE_LENGTH = 131_072


def corrupt(content, piece_length, index, begin, length):
    reply = bytearray(block(content, piece_length, index, begin, length))
    reply[-1] ^= 1
    return bytes(reply)


def made(box, length):
    """A payload, its metainfo and its bytes."""
    payload = box.payload(length)
    with open(payload, 'rb') as file:
        return payload, box.meta(payload, piece_length='128K'), file.read()


def right(box, fetch, payload):
    assert fetch.exit() == 0 and same(payload, f'{box.path}/copy/payload.bin')


@case('bits flipped on the way', 'the copy right, a few pieces wasted; the peer behind the link is not banned')
def noisy_link(box):
    payload, meta, _ = made(box, 12_000_000)
    seed = box.seed(meta)
    flips = []
    relay = Relay(box, ('127.0.0.1', seed.port), alter=noise(1_300_000, box.random, flips))
    fetch = box.fetch(meta, '--peer', relay.address)
    done = fetch.wait('completed')
    right(box, fetch, payload)
    failed = len(fetch.all('piece_failed'))
    assert flips and failed and not fetch.all('peer_banned') and relay.accepted == 1
    assert done['wasted'] <= (len(flips) + 1) * PIECE_LENGTH, (done, len(flips))
    return f'{len(flips)} bits flipped, {failed} pieces fetched again, 0 bans, 1 connection'


@case('so many bits flipped that the peer is banned', 'dialled again after a minute, and the copy right', slow=True)
def very_noisy_link(box):
    payload, meta, _ = made(box, 1_500_000)
    seed = box.seed(meta)
    flips = []
    relay = Relay(box, ('127.0.0.1', seed.port), alter=lambda: noisy() if relay.accepted == 1 else bytes)
    noisy = noise(300_000, box.random, flips)
    fetch = box.fetch(meta, '--peer', relay.address)
    banned = fetch.wait('peer_banned')['at']
    back = fetch.wait('completed', 90)['at'] - banned
    right(box, fetch, payload)
    assert relay.accepted == 2 and back >= 59, (relay.accepted, back)
    return f'{len(flips)} bits flipped, banned, and done {back:.0f} s later'


@case('bits flipped in headers', 'the copy right; a connection out of step ends and comes again')
def noisy_headers(box):
    payload, meta, _ = made(box, 8_000_000)
    seed = box.seed(meta)
    flips = []
    relay = Relay(box, ('127.0.0.1', seed.port), alter=noise(1_200, box.random, flips, headers=True))
    fetch = box.fetch(meta, '--peer', relay.address)
    done = fetch.wait('completed', 60)
    right(box, fetch, payload)
    assert flips and not fetch.all('peer_banned')
    return f'{len(flips)} bits flipped, {relay.accepted} connections, {done["wasted"]} bytes wasted, {done["time_s"]:.1f} s'


@case('a corrupting seed alone', 'banned within 2 pieces (256 KiB where pieces are shorter), no reconnect')
def corrupting_alone(box):
    payload, meta, content = made(box, 3_000_000)
    rogue = Rogue(box, meta, lambda peer: serve(peer, content, PIECE_LENGTH, corrupt))
    fetch = box.fetch(meta, '--peer', rogue.address)
    banned = fetch.wait('peer_banned')
    assert banned['peer'] == rogue.address, banned
    took = banned['at'] - fetch.wait('peer_connected')['at']
    time.sleep(12)
    failed = len(fetch.all('piece_failed'))
    wasted = fetch.last()['wasted']
    assert failed <= 2 and wasted <= 2 * PIECE_LENGTH and rogue.accepted == 1, (failed, wasted, rogue.accepted)
    return f'banned after {failed} pieces and {took:.2f} s, {wasted} bytes wasted, 0 reconnects in 12 s'


@case('a corrupting seed beside a good one', 'waste at most 2 pieces (256 KiB where pieces are shorter), only the bad '
                                             'one banned')
def corrupting_beside_good(box):
    payload, meta, content = made(box, 6_000_000)
    rogue = Rogue(box, meta, lambda peer: serve(peer, content, PIECE_LENGTH, corrupt), peer_id=b'-RG0006-............')
    good = Rogue(box, meta, lambda peer: serve(peer, content, PIECE_LENGTH, rate=2_000_000),
                 peer_id=b'-RG0007-............')
    fetch = box.fetch(meta, '--peer', rogue.address, '--peer', good.address)
    done = fetch.wait('completed')
    right(box, fetch, payload)
    banned = [event['peer'] for event in fetch.all('peer_banned')]
    assert banned == [rogue.address], banned
    assert done['wasted'] <= 2 * PIECE_LENGTH, done
    return f'{done["wasted"]} bytes wasted, 1 of 1 bad and 0 of 1 good banned'


@case('a liar that leaves and comes again', 'banned by the blocks that it left behind, under its old name and its new')
def liar_comes_again(box):
    payload, meta, content = made(box, 6_000_000)
    sent = []

    def behave(peer):
        def answer(*request):
            if len(sent) % 2:  # the second block of a connection is its last
                sent.append(0)
                raise EOFError
            sent.append(0)
            return corrupt(*request)
        serve(peer, content, PIECE_LENGTH, answer)
    rogue = Rogue(box, meta, behave, peer_id=b'-RG0008-............')
    good = Rogue(box, meta, lambda peer: serve(peer, content, PIECE_LENGTH, rate=1_000_000),
                 peer_id=b'-RG0009-............')
    fetch = box.fetch(meta, '--peer', rogue.address, '--peer', good.address)
    done = fetch.wait('completed')
    right(box, fetch, payload)
    banned = [event['peer'] for event in fetch.all('peer_banned')]
    assert banned == [rogue.address], banned
    # Each of its blocks spoils a piece to which others gave the rest.
    assert done['wasted'] <= 3 * PIECE_LENGTH, done
    return f'banned after {rogue.accepted} connections, {done["wasted"]} bytes wasted, the good one not'


@case('50 corrupting peers among 5 honest ones', 'the download finishes, no honest one banned, 2 pieces of waste a liar')
def fifty_liars(box):
    payload, meta, content = made(box, 8_000_000)
    lies = [0] * 50

    def liar(n):
        def lie(*request):
            lies[n] += 1
            return corrupt(*request)
        return Rogue(box, meta, lambda peer: serve(peer, content, PIECE_LENGTH, lie, rate=500_000),
                     host=f'127.0.1.{n + 1}', peer_id=b'-RG0010-%012d' % n)
    liars = [liar(n) for n in range(50)]
    honest = [Rogue(box, meta, lambda peer: serve(peer, content, PIECE_LENGTH, rate=300_000),
                    host=f'127.0.1.{n + 101}', peer_id=b'-RG0011-%012d' % n) for n in range(5)]
    peers = [word for rogue in liars + honest for word in ('--peer', rogue.address)]
    fetch = box.fetch(meta, *peers)
    done = fetch.wait('completed', 60)
    right(box, fetch, payload)
    banned = {event['peer'] for event in fetch.all('peer_banned')}
    assert banned <= {rogue.address for rogue in liars}, banned
    assert done['wasted'] <= 50 * 2 * PIECE_LENGTH, done
    # With fewer blocks than a piece has, the end of the download may come before the verdict.
    unpunished = [n for n in range(50) if lies[n] >= 8 and liars[n].address not in banned]
    assert len(banned) >= 25 and not unpunished, (len(banned), unpunished, lies)
    without = sum(rogue.accepted == 0 for rogue in liars)
    assert max(rogue.accepted for rogue in liars) <= 2, [rogue.accepted for rogue in liars]
    return f'{len(banned)} of 50 liars banned, 0 of 5 honest, {without} never connected, ' \
           f'{done["wasted"] // 1024} KiB wasted of 7,812, {done["time_s"]:.1f} s'


@case('a link that resets connections', 'the copy right, goes on after each reset, 100 ms away')
def resetting_link(box):
    payload, meta, _ = made(box, 6_000_000)
    seed = box.seed(meta)
    cuts = []
    relay = Relay(box, ('127.0.0.1', seed.port), delay_s=0.05, alter=resets(1_500_000, box.random, cuts))
    fetch = box.fetch(meta, '--peer', relay.address)
    done = fetch.wait('completed', 60)
    right(box, fetch, payload)
    assert len(cuts) >= 2 and relay.accepted == len(cuts) + 1, (len(cuts), relay.accepted)
    wait_for(lambda: seed.process.poll() is None, 1, 'the seed')
    return f'{len(cuts)} resets, {relay.accepted} connections, {done["wasted"]} bytes wasted, {done["time_s"]:.1f} s'


@case('a link of 300 ms that loses packets', 'the copy right, nothing wasted, no connection given up')
def late_link(box):
    payload, meta, _ = made(box, 8_000_000)
    seed = box.seed(meta)
    stalls = []
    relay = Relay(box, ('127.0.0.1', seed.port), delay_s=0.15, alter=losses(600_000, box.random, stalls))
    fetch = box.fetch(meta, '--peer', relay.address)
    done = fetch.wait('completed', 60)
    right(box, fetch, payload)
    assert len(stalls) >= 5 and relay.accepted == 1 and done['wasted'] == 0, (stalls, relay.accepted, done)
    return f'{len(stalls)} stalls of {sum(stalls):.1f} s in all, 1 connection, 0 bytes wasted, {done["time_s"]:.1f} s'


@case('a liar that comes again under another name', 'a ban holds for its address, and for no other')
def ban_of_an_address(box):
    payload, meta, content = made(box, 2_000_000)
    net = Net(box, 2)
    shell(f'ip -n {net.host(1)} addr add 10.97.0.50/24 dev eth0')
    fetch = box.swarm('fetch', meta, '-o', box.folder('copy'), '--listen', '0.0.0.0:6881', prefix=net.on(0))
    fetch.wait('added')

    def come(number, source):
        return net.inside(1, lambda: Peer.dial(6881, meta, b'-RG0012-%012d' % number, host=net.ip(0), source=source))

    def lie():
        try:
            serve(come(0, net.ip(1)), content, PIECE_LENGTH, corrupt)
        except (OSError, EOFError):
            pass
    lie()
    assert fetch.wait('peer_banned', 5)['peer'].startswith(net.ip(1) + ':')
    refused = sum(come(number, net.ip(1)).closed_after(2) is not None for number in range(1, 6))
    assert refused == 5 and len(fetch.all('peer_connected')) == 1, (refused, fetch.all('peer_connected'))
    honest = come(6, '10.97.0.50')
    try:
        serve(honest, content, PIECE_LENGTH)
    except (OSError, EOFError):
        pass
    fetch.wait('completed', 20)
    right(box, fetch, payload)
    return '5 of 5 new names from the banned address refused, the peer at the address beside it gave all'
