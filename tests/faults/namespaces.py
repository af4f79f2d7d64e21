"""Hosts as network namespaces on one bridge, for links that are cut, short or renamed. Needs root.

Cases run four at once: each `Net` has names and a bridge of its own.
"""
import ctypes
import itertools
import os
import subprocess
import threading

PREFIX = 'swarm-ft-w'
SERIAL = itertools.count()
CLONE_NEWNET = 0x40000000


def shell(command, check=True):
    subprocess.run(command, shell=True, check=check, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Net:
    def __init__(self, box, count, mtu=1_500):
        assert os.geteuid() == 0, 'network namespaces need root'
        self.name = f'{PREFIX}{os.getpid()}-{next(SERIAL)}'
        self.bridge, self.count = f'{self.name}-br', count
        box.on_close(self.close)
        shell(f'ip netns add {self.bridge} && ip -n {self.bridge} link add br0 type bridge && '
              f'ip -n {self.bridge} link set br0 up mtu {mtu}')
        for index in range(count):
            host = self.host(index)
            shell(f'ip netns add {host} && ip -n {host} link set lo up && '
                  f'ip link add eth0 netns {host} mtu {mtu} type veth peer name p{index} netns {self.bridge} mtu {mtu} && '
                  f'ip -n {host} addr add {self.ip(index)}/24 dev eth0 && ip -n {host} link set eth0 up && '
                  f'ip -n {self.bridge} link set p{index} master br0 up')

    def host(self, index):
        return f'{self.name}-{index}'

    @staticmethod
    def ip(index):
        return f'10.97.0.{index + 1}'

    def on(self, index):
        """What to put in front of a command for it to run on this host."""
        return ('ip', 'netns', 'exec', self.host(index))

    def inside(self, index, action):
        """What the action returns; the sockets that it makes are on this host, whoever uses them later."""
        result = []

        def run():
            with open(f'/run/netns/{self.host(index)}') as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), 'setns')
            result.append(action())
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        return result[0]

    def cut(self, one, other, cut=True):
        """No packet goes from either to the other any more; or they go again."""
        verb = 'add' if cut else 'del'
        for here, there in ((one, other), (other, one)):
            shell(f'ip -n {self.host(here)} route {verb} blackhole {self.ip(there)}/32')

    def plug(self, index, plugged=True):
        """Pulls the cable of a host, or puts it in again. The host itself notices nothing."""
        shell(f'ip -n {self.bridge} link set p{index} {"master br0" if plugged else "nomaster"}')

    def renumber(self, index, ip):
        """Gives a host another address."""
        # In this order: with the first address of a subnet all others of it would go.
        shell(f'ip -n {self.host(index)} addr del {self.ip(index)}/24 dev eth0 && '
              f'ip -n {self.host(index)} addr add {ip}/24 dev eth0')

    def close(self):
        for name in [self.bridge, *map(self.host, range(self.count))]:
            shell(f'ip netns del {name}', check=False)
