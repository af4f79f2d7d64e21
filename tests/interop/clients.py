"""Each client as a function (mode, metainfo, directory, port) -> argv.

mode is `seed` (serve the complete payload in the directory) or `fetch` (download into it). Whether a fetch is done is
seen from the content, so that a client which cannot exit by itself needs no help.
"""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SWARM = os.path.abspath(os.environ.get('SWARM', 'target/release/swarm'))


def swarm(mode, metainfo, directory, port):
    listen = ['--listen', f'0.0.0.0:{port}', '-v']
    if mode == 'seed':
        return [SWARM, 'seed', metainfo, '--path', directory, *listen]
    return [SWARM, 'fetch', metainfo, '-o', directory, *listen]


def libtorrent(mode, metainfo, directory, port):
    return [sys.executable, f'{HERE}/libtorrent_peer.py', mode, metainfo, directory, port]


def aria2(mode, metainfo, directory, port):
    ending = ['--seed-time=0'] if mode == 'fetch' else ['--seed-ratio=0.0', '--check-integrity=true', '-V']
    # Without a DHT, which knows nobody here, aria2 has no socket to ask UDP trackers by.
    dht = ['--enable-dht=true', f'--dht-listen-port={port}', f'--dht-file-path={directory}.dht']
    return ['aria2c', '-q', *dht, '--bt-enable-lpd=false', '--enable-peer-exchange=false',
            '--file-allocation=none', f'--listen-port={port}', '-d', directory, *ending, metainfo]


def transmission(mode, metainfo, directory, port):
    return [f'{HERE}/transmission_peer', mode, metainfo, directory, port]


CLIENTS = {'transmission': transmission, 'aria2': aria2, 'libtorrent': libtorrent}
