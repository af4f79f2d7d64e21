"""Links that are cut, come back, change their address, or carry only short packets. In namespaces: needs root."""
import time

from harness import Swarm, case, same, wait_for
from namespaces import Net

PORT = 6881


def peer_of(net, index):
    return '--peer', f'{net.ip(index)}:{PORT}'


class Links:
    """A seed on host 0 that sends so much a second, and leechers on the others."""

    def __init__(self, box, hosts, length, limit, mtu=1_500, options=()):
        self.box, self.net, self.options = box, Net(box, hosts, mtu), options
        self.payload = box.payload(length)
        self.meta = box.meta(self.payload)
        if options:
            tracker = ['tracker', 'http', '--listen', '0.0.0.0:6969']
            box.running.append(Swarm(box, tracker, prefix=self.net.on(hosts - 1)))
            time.sleep(1)
        self.seed = box.swarm('seed', self.meta, '--path', box.folder('source'), '--listen', f'0.0.0.0:{PORT}',
                              '--up-limit', limit, *options, prefix=self.net.on(0))
        self.seed.wait('added')

    def fetch(self, index, *options):
        folder = self.box.folder(f'copy{index}')
        return self.box.swarm('fetch', self.meta, '-o', folder, '--listen', f'0.0.0.0:{PORT}', *self.options, *options,
                              prefix=self.net.on(index))

    def assert_right(self, index):
        assert same(self.payload, f'{self.box.path}/copy{index}/payload.bin')


def have(fetch):
    return fetch.last().get('have_bytes', 0)


def connected(fetch, ip):
    """Connections that stand with this host now."""
    ups = sum(event['peer'].startswith(f'{ip}:') for event in fetch.all('peer_connected'))
    return ups - sum(event['peer'].startswith(f'{ip}:') for event in fetch.all('peer_closed'))


@case('two hosts cut from each other, both see a third', 'data flows by way of the third, direct again within 2 min of the '
                                                         'end of the cut', slow=True)
def partition(box):
    links = Links(box, 3, 150_000_000, '400K', options=('--tracker', f'http://{Net.ip(2)}:6969/announce'))
    net = links.net
    through, fetch = links.fetch(2, '--seed-after'), links.fetch(1)
    wait_for(lambda: have(fetch) > 1_000_000 and connected(fetch, net.ip(0)), 60, 'a transfer')
    net.cut(0, 1)
    cut_at, before = time.monotonic(), have(fetch)
    wait_for(lambda: have(fetch) > before + 3_000_000, 60, 'data by way of the third')
    detour = time.monotonic() - cut_at
    wait_for(lambda: not connected(fetch, net.ip(0)), 70, 'the cut connection to be given up')
    given_up = time.monotonic() - cut_at
    # So long that an address which only a tracker named would have been forgotten.
    time.sleep(100)
    net.cut(0, 1, False)
    whole_at = time.monotonic()
    wait_for(lambda: connected(fetch, net.ip(0)), 120, 'a direct connection')
    direct = time.monotonic() - whole_at
    assert through.process.poll() is None
    return f'3 MB by way of the third after {detour:.0f} s, cut connection given up after {given_up:.0f} s, ' \
           f'direct again {direct:.0f} s after the end of a cut of {whole_at - cut_at:.0f} s'


def total_cut(box, seconds):
    links = Links(box, 2, 9_000_000, '1M')
    net = links.net
    fetch = links.fetch(1, *peer_of(net, 0))
    wait_for(lambda: have(fetch) > 1_000_000, 30, 'a transfer')
    net.plug(1, False)
    time.sleep(seconds)
    before = have(fetch)
    net.plug(1)
    whole_at = time.monotonic()
    wait_for(lambda: have(fetch) > before + 500_000, 60, 'data after the cut')
    on = time.monotonic() - whole_at
    done = fetch.wait('completed', 60)
    assert fetch.exit() == 0
    links.assert_right(1)
    return f'cut for {seconds} s, data flows {on:.0f} s after, {done["wasted"]} bytes wasted'


@case('the network gone for 15 s', 'data flows within 60 s of its return')
def short_cut(box):
    return total_cut(box, 15)


@case('the network gone for 3 minutes', 'data flows within 60 s of its return', slow=True)
def long_cut(box):
    return total_cut(box, 180)


@case('a host with a new address', 'data flows again within 60 s')
def new_address(box):
    links = Links(box, 2, 9_000_000, '1M')
    net = links.net
    fetch = links.fetch(1, *peer_of(net, 0))
    wait_for(lambda: have(fetch) > 1_000_000, 30, 'a transfer')
    net.renumber(1, '10.97.0.99')
    at = time.monotonic()
    wait_for(lambda: connected(links.seed, '10.97.0.99'), 60, 'a connection from the new address')
    before = have(fetch)
    wait_for(lambda: have(fetch) > before + 500_000, 60 - (time.monotonic() - at), 'data over the new address')
    on = time.monotonic() - at
    fetch.wait('completed', 60)
    assert fetch.exit() == 0
    links.assert_right(1)
    return f'data flows over the new address after {on:.0f} s'


@case('an MTU of 1280', 'the transfer is right, no packet is longer')
def short_packets(box):
    links = Links(box, 2, 8_000_000, '100M', mtu=1_280)
    fetch = links.fetch(1, *peer_of(links.net, 0))
    done = fetch.wait('completed', 30)
    assert fetch.exit() == 0 and done['wasted'] == 0
    links.assert_right(1)
    return f'{done["downloaded"]} bytes in {done["time_s"]:.1f} s, 0 wasted'
