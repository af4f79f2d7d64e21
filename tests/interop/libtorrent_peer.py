"""libtorrent as a plain peer: libtorrent_peer.py seed|fetch METAINFO DIRECTORY PORT"""
import sys
import time

import libtorrent as lt

mode, metainfo, directory, port = sys.argv[1:5]
session = lt.session({'listen_interfaces': f'0.0.0.0:{port}', 'enable_dht': False, 'enable_lsd': False,
                      'enable_upnp': False, 'enable_natpmp': False, 'enable_outgoing_utp': False,
                      'enable_incoming_utp': False, 'allow_multiple_connections_per_ip': True,
                      'out_enc_policy': 2, 'in_enc_policy': 1, 'alert_mask': 0})
parameters = lt.add_torrent_params()
parameters.ti = lt.torrent_info(metainfo)
parameters.save_path = directory
parameters.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
handle = session.add_torrent(parameters)
while mode == 'seed' or not handle.status().is_seeding:
    time.sleep(0.05)
