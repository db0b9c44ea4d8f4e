"""Packet captures (pcap and pcapng) as flows: packets between the same two ends and ports, read by dpkt."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from fusedlstm.examples.flows import FEWEST, Flows, port_kind
from fusedlstm.examples.job import ProblemError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Of pcap in both byte orders and both resolutions of time, and of pcapng.
_MAGIC = tuple(bytes.fromhex(text) for text in ("a1b2c3d4", "d4c3b2a1", "a1b23c4d", "4d3cb2a1", "0a0d0d0a"))
_IDLE = 60.0  # seconds without a packet, after which the next one of the same addresses begins a flow
_COLUMNS = (
    "seconds", "bytes out", "bytes in", "packets out", "packets in", "longest pause", "SYN", "FIN", "RST",
    "hosts of the last 100 flows from there", "ports of the last 100 flows from there",
)  # fmt: skip


@dataclass
class _Flow:
    """A flow that goes on: from its first packet's sender to the other end, and back."""

    source: bytes
    target: bytes
    port: int
    kind: str
    first: float
    last: float
    counts: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_COLUMNS, 0.0))

    def add(self, time: float, source: bytes, length: int, flags: int) -> None:
        """Count a packet."""
        way = "out" if source == self.source else "in"
        self.counts[f"bytes {way}"] += length
        self.counts[f"packets {way}"] += 1
        self.counts["longest pause"] = max(self.counts["longest pause"], time - self.last)
        for bit, name in ((2, "SYN"), (1, "FIN"), (4, "RST")):
            self.counts[name] += bool(flags & bit)
        self.last = max(self.last, time)
        self.counts["seconds"] = self.last - self.first


def is_capture(path: Path) -> bool:
    """Tell whether a file begins like a capture."""
    if path.is_dir():
        return False
    with path.open("rb") as file:
        return file.read(4) in _MAGIC


def read_pcap(path: Path) -> Flows:
    """Return the flows of a capture: packets between the same two ends and ports, by dpkt.

    Raises
    ------
    ProblemError
        When the file breaks off, is of another kind of network, or has too few flows.
    """
    going: dict[tuple[Any, ...], _Flow] = {}
    ended: list[_Flow] = []
    start = None
    for time, source, target, protocol, ports, length, flags in _packets(path):
        start = time if start is None else start
        ends = sorted(((source, ports[0]), (target, ports[1])))
        key = (*ends, protocol)
        flow = going.get(key)
        if flow is None or time - flow.last > _IDLE:
            if flow is not None:
                ended.append(flow)
            port = min(ports) if protocol != "icmp" else 0
            kind = f"{protocol}/{port_kind(str(port))}" if port else protocol
            flow = going[key] = _Flow(source, target, ports[1], kind, time, time)
        flow.add(time, source, length, flags)
    flows = sorted((*ended, *going.values()), key=lambda flow: flow.last)
    if len(flows) < FEWEST:
        raise ProblemError(f"{path}: expected at least {FEWEST} flows of IP, got {len(flows)}")
    recent: dict[bytes, deque[tuple[bytes, int]]] = {}
    for flow in flows:
        seen = recent.setdefault(flow.source, deque(maxlen=100))
        seen.append((flow.target, flow.port))
        flow.counts[_COLUMNS[-2]] = len({target for target, _ in seen})
        flow.counts[_COLUMNS[-1]] = len({port for _, port in seen})
    numbers = np.array([[flow.counts[name] for name in _COLUMNS] for flow in flows])
    kinds = np.array([[flow.kind] for flow in flows])
    where = np.array([flow.last for flow in flows]) - (start or 0.0)
    return Flows(str(path), list(_COLUMNS), numbers, ["service"], kinds, None, where)


class _Whole:
    """A file for dpkt, which takes what is left for a packet where a file breaks off within one."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._ended = file, False

    def read(self, size: int) -> bytes:
        """Return so many bytes, or none at the end; ValueError where there are fewer."""
        content = self._file.read(size)
        # At the end dpkt asks for a header, and stops. What it asks for after that is a packet's content.
        if 0 < len(content) < size or (self._ended and size):
            raise ValueError("the file breaks off")
        self._ended = len(content) < size
        return content

    def seek(self, place: int) -> None:
        """Go back, to read the file as one of another kind."""
        self._file.seek(place)
        self._ended = False


def _packets(path: Path) -> Iterator[tuple[float, bytes, bytes, str, tuple[int, int], int, int]]:
    """Yield time, addresses, protocol, ports, length and TCP's flags of each IP packet."""
    import dpkt

    layers = {
        dpkt.pcap.DLT_EN10MB: dpkt.ethernet.Ethernet,
        dpkt.pcap.DLT_LINUX_SLL: dpkt.sll.SLL,
        dpkt.pcap.DLT_LINUX_SLL2: dpkt.sll2.SLL2,
        dpkt.pcap.DLT_NULL: dpkt.loopback.Loopback,
        dpkt.pcap.DLT_LOOP: dpkt.loopback.Loopback,
    }
    number = 0
    with path.open("rb") as file:
        try:
            reader = dpkt.pcap.UniversalReader(_Whole(file))
            link = reader.datalink()
            if link not in layers and link not in (12, 14, 101):
                raise ProblemError(f"{path}: expected packets of Ethernet, Linux or IP, got link type {link}")
            for time, content in reader:
                number += 1
                try:
                    packet = layers[link](content).data if link in layers else _ip(dpkt, content)
                except (dpkt.UnpackError, IndexError):
                    continue  # cut off by the capture, or none that dpkt knows
                if isinstance(packet, dpkt.ip.IP | dpkt.ip6.IP6):
                    yield float(time), *_ends(dpkt, packet), *_size(dpkt, packet)
        except ProblemError:
            raise  # It is a ValueError, too.
        except (dpkt.UnpackError, ValueError) as error:
            where = f"after packet {number}" if number else "at its beginning"
            raise ProblemError(f"{path}: no complete capture, it breaks {where}: {error}") from error


def _ip(dpkt: Any, content: bytes) -> Any:
    return dpkt.ip.IP(content) if content[0] >> 4 == 4 else dpkt.ip6.IP6(content)


def _ends(dpkt: Any, packet: Any) -> tuple[bytes, bytes, str, tuple[int, int]]:
    inner = packet.data
    for kind, name in ((dpkt.tcp.TCP, "tcp"), (dpkt.udp.UDP, "udp")):
        if isinstance(inner, kind):
            return packet.src, packet.dst, name, (inner.sport, inner.dport)
    icmp = isinstance(inner, dpkt.icmp.ICMP | dpkt.icmp6.ICMP6)
    return packet.src, packet.dst, "icmp" if icmp else "other", (0, 0)


def _size(dpkt: Any, packet: Any) -> tuple[int, int]:
    length = packet.len if isinstance(packet, dpkt.ip.IP) else packet.plen + 40
    return length, packet.data.flags if isinstance(packet.data, dpkt.tcp.TCP) else 0
