"""Making and checking a metainfo file of one GiB that is in memory."""
import os

from rows import Line, row
from world import GIB, SWARM, World

PIECE_BITS = 20


def timed(argv):
    """A contestant: argv(payload, metainfo to write, metainfo to check) on one GiB."""
    def run(scratch, quick):
        torrent = scratch.torrent(GIB // 8 if quick else GIB, 1 << PIECE_BITS)
        made = f'{scratch.fresh("made")}/made.torrent'
        process = World(scratch).start(0, argv(torrent.path, made, torrent.metainfo), 'prepare')
        process.wait(60)
        return {'wall_s': process.ended - process.began, 'cpu_s': process.used_s()}
    return run


CONTESTANTS = {
    'make-meta': timed(lambda payload, made, _: [SWARM, 'make-meta', payload, '-o', made, '--piece-length', '1M', '--quiet']),
    'verify': timed(lambda payload, _, known: [SWARM, 'verify', known, payload, '--quiet']),
    'mktorrent': timed(lambda payload, made, _: ['mktorrent', '-l', PIECE_BITS, '-t', os.cpu_count(), '-o', made, payload]),
}


@row('preparing', 'make-meta and verify of one GiB in pieces of 1 MiB, warm', CONTESTANTS)
def lines(samples):
    rival = samples.median('mktorrent', 'wall_s')

    def one(name):
        ratio = samples.median(name, 'wall_s') / rival
        return Line(f'`{name}`, 1 GiB warm: wall s', f'{samples.show(name, "wall_s")}: {ratio:.2f} × mktorrent, '
                    f'CPU {samples.show(name, "cpu_s")} s',
                    f'mktorrent {samples.show("mktorrent", "wall_s")}, CPU {samples.show("mktorrent", "cpu_s")} s',
                    '≤ 0.6 × mktorrent', ratio <= 0.6)
    return [one('make-meta'), one('verify')]
