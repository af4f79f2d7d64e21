"""People talk in a swarm of which some peers know nothing of it."""
import json
import subprocess
import time

from clients import SWARM, libtorrent, transmission
from hosts import Hosts

NAMES = ['anna', 'bo', 'cleo']
MESSAGES = 10
# How connections end when all is well: by the other side, or for want of anything to do.
USUAL_ENDS = (None, 'nothing to trade', 'second connection to the same peer', 'too many peers')


class Talker:
    """`swarm … --chat --json` on a host."""

    def __init__(self, hosts, index, name, argv, log):
        self.name, self.log, self.host = name, log, Hosts.ip(index)
        options = ['--chat', '--json', '--nick', name, '--listen', '0.0.0.0:7001']
        self.process = hosts.start(index, [SWARM, *argv, *options], log, stdin=subprocess.PIPE)

    def types(self, line):
        self.process.stdin.write(f'{line}\n'.encode())
        self.process.stdin.flush()

    def events(self, *names):
        with open(self.log, errors='replace') as lines:
            objects = (json.loads(line) for line in lines if line.startswith('{') and line.endswith('}\n'))
            return [event for event in objects if event['event'] in names]

    def heard(self):
        """What was said, in the order in which it was shown."""
        return [(event['name'], event['text']) for event in self.events('chat_message')]


def chat_beside_others(root, folder, name, metainfo, copies, start_tracker, wait_for, same):
    """Three people, a libtorrent and a transmission peer: everybody has everything, every message is heard once by each of the
    three, and no connection to the other two clients is closed while they fetch."""
    hosts = Hosts(6)
    try:
        start_tracker(hosts, 'http', '')
        seed = ['seed', metainfo, '--path', folder, '--up-limit', '6M']
        people = [Talker(hosts, 1, NAMES[0], seed, f'{root}/seed.log')]
        for index in (1, 2):
            fetch = ['fetch', metainfo, '-o', copies[index - 1]]
            people.append(Talker(hosts, index + 1, NAMES[index], fetch, f'{root}/fetch{index}.log'))
        others = {Hosts.ip(4): copies[2], Hosts.ip(5): copies[3]}
        # Both only fetch: whether they are served is what is looked at.
        hosts.start(4, libtorrent('fetch', metainfo, copies[2], 7002), f'{root}/libtorrent.log')
        hosts.start(5, transmission('fetch', metainfo, copies[3], 7002), f'{root}/transmission.log')
        wait_for(lambda: all(len(joined(person)) == 2 for person in people), 60, 'the three to meet')
        # At the start two connections to one peer are usual, of which one goes.
        before = {person.name: len(closed(person, others)) for person in people}
        said = []
        for number in range(MESSAGES):
            for person in people:
                said.append((person.name, f'message {number} of {person.name}'))
                person.types(said[-1][1])
            time.sleep(0.3)
        wait_for(lambda: all(len(person.heard()) >= len(said) for person in people), 60, 'every message everywhere')
        during = {person.name: closed(person, others)[before[person.name]:] for person in people}
        assert not any(same(folder, copy, name) for copy in others.values()), 'all is fetched: make SIZE_MB larger'
        assert not any(during.values()), f'connections to others ended while people talked: {during}'
        wait_for(lambda: all(same(folder, copy, name) for copy in copies), 120, 'the content everywhere')
        for person in people:
            assert sorted(person.heard()) == sorted(said), f'{person.name} heard {len(person.heard())} of {len(said)}'
            for speaker in NAMES:
                own = [text for who, text in person.heard() if who == speaker]
                assert own == [text for who, text in said if who == speaker], f'{person.name}: {speaker} out of order'
            faults = [event for event in closed(person, others) if event['event'] == 'peer_banned' or event['reason'] not in USUAL_ENDS]
            assert not faults, f'{person.name} closed connections of others: {faults}'
        missed = [event for person in people for event in person.events('chat_missed', 'missed', 'error', 'trouble')]
        assert not missed, missed
    finally:
        hosts.close()


def joined(person):
    return {event['person']['key'] for event in person.events('chat_joined') if not event['person']['me']}


def closed(person, others):
    """Connections to these addresses that have ended."""
    address = lambda event: event['peer'].rsplit(':', 1)[0].strip('[]').removeprefix('::ffff:')
    return [event for event in person.events('peer_closed', 'peer_banned') if address(event) in others]
