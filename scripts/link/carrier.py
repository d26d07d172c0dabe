#!/usr/bin/env python3
"""A slow link: carries packets between two TUN devices at a limited rate, with a delay, and through a queue of limited length. For
kernels without netem. TCP on both sides is the kernel's own.

    carrier.py NEAR_DEVICE FAR_DEVICE BITS_PER_SECOND ROUND_TRIP_MS QUEUE_BYTES

Rate and queue count whole IP packets, in each direction. Creates the devices (root), prints `ready`, and carries until it is ended.
In Python, because Node cannot ask the kernel for a TUN device.
"""
import collections
import fcntl
import os
import select
import struct
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
LARGEST_PACKET = 65536


class Direction:
    """One way: a packet waits until those before it are on the wire, takes its time to be sent, and arrives after the delay."""

    def __init__(self, bits_per_second, delay, queue_bytes):
        self.seconds_per_byte = 8 / bits_per_second
        self.delay = delay
        self.longest_wait = queue_bytes * self.seconds_per_byte
        self.free_at = 0.0
        self.packets = collections.deque()

    def take(self, packet, now):
        start = max(now, self.free_at)
        if start - now > self.longest_wait:
            return
        self.free_at = start + len(packet) * self.seconds_per_byte
        self.packets.append((self.free_at + self.delay, packet))

    def next_arrival(self):
        return self.packets[0][0] if self.packets else float("inf")


def open_device(name):
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


def main():
    near_name, far_name, rate, round_trip_ms, queue_bytes = sys.argv[1:]
    near, far = open_device(near_name), open_device(far_name)
    ways = {
        source: (Direction(float(rate), float(round_trip_ms) / 2000, int(queue_bytes)), target)
        for source, target in ((near, far), (far, near))
    }
    print("ready", flush=True)
    while True:
        arrival = min(way.next_arrival() for way, _ in ways.values())
        wait = None if arrival == float("inf") else max(0, arrival - time.monotonic())
        for source in select.select(list(ways), [], [], wait)[0]:
            way, _ = ways[source]
            try:
                while True:
                    way.take(os.read(source, LARGEST_PACKET), time.monotonic())
            except BlockingIOError:
                pass
        now = time.monotonic()
        for way, target in ways.values():
            while way.next_arrival() <= now:
                try:
                    os.write(target, way.packets.popleft()[1])
                except OSError:
                    pass  # The device is down, or its queue is full: lost, as on any network.


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
