"""Each client as a function (mode, torrent, folder, port, peer) -> argv.

seed: serves the complete payload in the folder. fetch: downloads into it and ends when every piece is verified.
stay: downloads, and goes on serving. `peer` is the HOST:PORT of one that is known, or None: then the tracker knows it.
"""
import os
import sys

from world import SWARM, TOOLS

HERE = os.path.dirname(os.path.abspath(__file__))


def swarm(mode, torrent, folder, port, peer=None):
    common = ['--listen', f'0.0.0.0:{port}', '--quiet', *(['--peer', peer] if peer else [])]
    if mode == 'seed':
        return [SWARM, 'seed', torrent.metainfo, '--path', folder, *common]
    return [SWARM, 'fetch', torrent.metainfo, '-o', folder, *common, *(['--seed-after'] if mode == 'stay' else [])]


def libtorrent(mode, torrent, folder, port, peer=None):
    known = ['--peer', peer] if peer else []
    return [sys.executable, f'{HERE}/libtorrent_peer.py', mode, folder, port, *known, torrent.metainfo]


def aria2(mode, torrent, folder, port, _peer=None):
    """It takes peers from a tracker only."""
    ending = {'seed': ['--seed-ratio=0.0', '--check-integrity=true', '-V'],
              'fetch': ['--seed-time=0'], 'stay': ['--seed-ratio=0.0']}[mode]
    return ['aria2c', '--quiet', '--enable-dht=false', '--bt-enable-lpd=false', '--enable-peer-exchange=false',
            '--file-allocation=none', '--bt-max-peers=0', '--bt-request-peer-speed-limit=0', f'--listen-port={port}',
            '--dir', folder, *ending, torrent.metainfo]


def floor(mode, torrent, folder, port, peer=None):
    """No client: the least that it takes. See src/bin/floor.rs."""
    program, path = f'{TOOLS}/floor', f'{folder}/{torrent.name}'
    if mode == 'seed':
        return [program, 'seed', path, f'0.0.0.0:{port}']
    return [program, 'fetch', path, peer, torrent.piece_length]


CLIENTS = {'swarm': swarm, 'libtorrent': libtorrent, 'aria2': aria2, 'floor': floor}
