"""Hosts as network namespaces on one bridge, and the processes that run on them.

Real clients refuse peers on the loopback, so each host has an address of its own: 10.98.0.1, 10.98.0.2, …
Traffic never leaves the machine.
"""
import os
import signal
import subprocess

PREFIX = 'swarm-it'


def shell(command, check=True):
    quiet = subprocess.DEVNULL
    subprocess.run(command, shell=True, check=check, stdout=quiet, stderr=None if check else quiet)


class Hosts:
    def __init__(self, count):
        self.running = []
        self.close()
        bridge = f'{PREFIX}-br'
        shell(f'ip netns add {bridge}; ip -n {bridge} link add br0 type bridge; ip -n {bridge} link set br0 up')
        for index in range(count):
            name = f'{PREFIX}-{index}'
            shell(f'ip netns add {name}; ip -n {name} link set lo up; '
                  f'ip link add eth0 netns {name} type veth peer name p{index} netns {bridge}; '
                  f'ip -n {name} addr add {self.ip(index)}/24 dev eth0; ip -n {name} link set eth0 up; '
                  f'ip -n {bridge} link set p{index} master br0 up')

    @staticmethod
    def ip(index):
        return f'10.98.0.{index + 1}'

    def start(self, index, argv, log, stdin=subprocess.DEVNULL):
        """Starts a process on a host, in a group of its own, its output in a file."""
        home = os.path.dirname(log)
        environment = dict(os.environ, HOME=home, XDG_CONFIG_HOME=f'{home}/config', XDG_STATE_HOME=f'{log}.state')
        process = subprocess.Popen(['ip', 'netns', 'exec', f'{PREFIX}-{index}', *map(str, argv)],
                                   stdin=stdin, stdout=open(log, 'wb'), stderr=subprocess.STDOUT,
                                   env=environment, start_new_session=True)
        self.running.append(process)
        return process

    def stop(self, *processes):
        for process in processes:
            try:
                os.killpg(process.pid, signal.SIGTERM)
            except ProcessLookupError:
                pass
        for process in processes:
            try:
                process.wait(8)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process in self.running:
                self.running.remove(process)

    def close(self):
        self.stop(*list(self.running))
        shell(f'for n in $(ip netns list | grep -o "^{PREFIX}-[a-z0-9]*"); do ip netns del $n; done', check=False)
