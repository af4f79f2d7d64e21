"""Torrents of many files."""
import hashlib
import os
import subprocess

from world import Torrent, bencode


class Folder(Torrent):
    """A torrent of many files; they are made when they are not there yet."""

    def __init__(self, scratch, count, length, piece_length, tracker=None):
        name, top = f'{count}-files', f'{scratch.path}/folders'
        self.count, root = count, f'{scratch.path}/folders/{count}-files'
        paths = [f'd{number // 500:04}/f{number:06}' for number in range(count)]
        made, hashes, rest = not os.path.isdir(root), [], b''
        for number, path in enumerate(paths):
            content = hashlib.sha256(b'%d' % number).digest() * (length // 32)
            if made:
                os.makedirs(os.path.dirname(f'{root}/{path}'), exist_ok=True)
                with open(f'{root}/{path}', 'wb') as out:
                    out.write(content)
            rest += content
            while len(rest) >= piece_length:
                hashes.append(hashlib.sha1(rest[:piece_length]).digest())
                rest = rest[piece_length:]
        if rest:
            hashes.append(hashlib.sha1(rest).digest())
        files = [{'length': length, 'path': path.split('/')} for path in paths]
        info = {'files': files, 'name': name, 'piece length': piece_length, 'pieces': b''.join(hashes)}
        super().__init__(scratch.write_metainfo(name, info, tracker), {**info, 'length': count * length}, top, name)
        self.info_hash = hashlib.sha1(bencode(info)).hexdigest()

    def is_in(self, folder):
        return subprocess.call(['diff', '-r', '-q', self.path, f'{folder}/{self.name}'], stdout=subprocess.DEVNULL) == 0
