"""File systems for one case: of a size, or that can break. All are unmounted at its end."""
import os
import subprocess


def mount(box, name, *argv):
    """Mounts on a new folder of the case; returns the folder."""
    folder = box.folder(name)
    subprocess.run(['mount', *argv, folder], check=True)
    box.on_close(lambda: subprocess.run(['umount', '-l', folder], check=False, stderr=subprocess.DEVNULL))
    return folder


def tmpfs(box, name, size):
    return mount(box, name, '-t', 'tmpfs', '-o', f'size={size}', f'swarm-ft-{name}')


def ext4(box, name, size):
    """In a file, by a loop device: `mount -o remount,abort` makes it read-only as an error of the disk would."""
    image = f'{box.path}/{os.path.basename(name)}.ext4'
    with open(image, 'wb') as file:
        file.truncate(size)
    subprocess.run(['mkfs.ext4', '-q', '-F', image], check=True)
    return mount(box, name, '-o', 'loop', image)


def remount(folder, options):
    subprocess.run(['mount', '-o', f'remount,{options}', folder], check=True)


def detach(folder):
    subprocess.run(['umount', '-l', folder], check=True)
    assert os.path.isdir(folder) and not os.path.ismount(folder)
