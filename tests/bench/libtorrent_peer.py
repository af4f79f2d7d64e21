"""libtorrent with nothing around it: libtorrent_peer.py seed|fetch|stay FOLDER PORT [--peer HOST:PORT] METAINFO …

With the settings that its makers give for fast seeds, and only plain TCP. `fetch` ends when every piece of every torrent is
verified, `stay` goes on serving.
"""
import argparse
import os
import time

import libtorrent as lt

parser = argparse.ArgumentParser()
parser.add_argument('mode')
parser.add_argument('folder')
parser.add_argument('port', type=int)
parser.add_argument('--peer')
parser.add_argument('metainfo', nargs='+')
options = parser.parse_args()

settings = lt.high_performance_seed()
settings.update({'listen_interfaces': f'0.0.0.0:{options.port}', 'alert_mask': 0, 'enable_dht': False, 'enable_lsd': False,
                 'enable_upnp': False, 'enable_natpmp': False, 'enable_outgoing_utp': False,
                 'enable_incoming_utp': False, 'allow_multiple_connections_per_ip': True,
                 'out_enc_policy': 2, 'in_enc_policy': 1})
session = lt.session(settings)
handles = []
for metainfo in options.metainfo:
    parameters = lt.add_torrent_params()
    parameters.ti = lt.torrent_info(metainfo)
    parameters.save_path = options.folder
    parameters.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    if options.mode == 'seed':
        # The files are known to be right: they are not hashed first.
        parameters.flags |= lt.torrent_flags.seed_mode
    handle = session.add_torrent(parameters)
    if options.peer:
        host, port = options.peer.rsplit(':', 1)
        handle.connect_peer((host, int(port)))
    handles.append(handle)
while options.mode != 'seed' and handles:
    handles = [handle for handle in handles if not handle.status().is_seeding]
    time.sleep(0.02)
if options.mode == 'fetch':
    # Without the seconds that it takes to say goodbye.
    os._exit(0)
while True:
    time.sleep(1)
