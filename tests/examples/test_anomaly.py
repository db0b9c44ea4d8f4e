"""The example ``anomaly``: its quick run, the layouts of flows that it reads, captures, and bad files."""

from __future__ import annotations

import gzip
import re
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("dpkt")

import dpkt
import sklearn.datasets

from fusedlstm import load_model, plots
from fusedlstm.examples import anomaly, anomaly_events, anomaly_pictures, captures, flows
from fusedlstm.examples.job import Job, ProblemError
from tests.examples.common import PNG, results, run, words, written
from tests.tools.make_kddcup99_subset import subset

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_quick_run_finds_attacks_and_draws(tmp_path: Path) -> None:
    report, numbers, model = tmp_path / "report", tmp_path / "a.json", tmp_path / "a.safetensors"
    targets = ("--report", report, "--json", numbers, "--save", model)
    result = run("anomaly", "--quick", "--threads", 1, *targets)
    assert result.exit_code == 0, result.output
    for name in anomaly.PICTURES:
        assert (report / name).read_bytes().startswith(PNG)
    content = results(numbers)
    areas = content["curves"]
    assert set(areas) == set(anomaly_pictures.COLOURS)
    # A guess has 0.5, and the attacks' share of the flows as average precision, 0.13.
    assert areas["LSTM"]["roc_auc"] > 0.9
    assert areas["LSTM"]["average_precision"] > 0.6
    assert areas["LSTM"]["roc_auc"] > areas["moving average"]["roc_auc"]
    assert content["false_alarm_rate"] < 0.15
    assert f"attacks found {100 * content['attacks_found']:.3g} %" in words(result.stdout)
    assert written(numbers)["options"]["precision"] == "float32"
    assert 0 < content["precision"] <= 1
    assert content["attacks_found"] > 0.3
    assert content["flows_a_second"] > 0
    assert content["stream_differs_by"] == 0  # the same bits
    assert sum(kind["found"] for kind in content["by_attack"].values()) > 0
    first = content["events"][0]
    assert first["score"] > content["threshold"]
    for event in content["events"]:
        assert sum(event["labels"].values()) == event["flows"]
        assert event["label"] == next(iter(event["labels"]))
    shares = [one["share"] for one in first["surprises"]]
    assert shares == sorted(shares, reverse=True)
    assert 0 < sum(shares) <= 1
    assert all(one["feature"] in flows.KDD_COLUMNS for one in first["surprises"])
    assert load_model(model).predict(
        np.zeros((1, 3, load_model(model).layers[1].weights[0].shape[0])), verbose=0
    ).shape == (1, 3, 76)


def test_the_loss_has_its_gradient() -> None:
    rng = np.random.default_rng(0)
    truth, said = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3, 8))
    losses, gradients = anomaly.gaussian_loss(truth, said)
    assert losses.shape == (2, 3)
    step = 1e-6
    for index in np.ndindex(said.shape):
        moved = said.copy()
        moved[index] += step
        slope = (anomaly.gaussian_loss(truth, moved)[0].sum() - losses.sum()) / step
        assert slope == pytest.approx(gradients[index], abs=1e-5)


def test_a_flow_is_predicted_without_its_own_numbers() -> None:
    traffic = flows.bundled()
    data, _, _ = anomaly.scaled(traffic, np.arange(1000))
    changed = data.numbers.copy()
    changed[7] = 5
    same = np.flatnonzero((anomaly.Scaled(changed, data.kinds).x == data.x).all(axis=1))
    assert sorted(set(range(len(changed))) - set(same.tolist())) == [8]


def test_scales_are_those_of_the_training_flows() -> None:
    traffic = flows.bundled()
    training = np.arange(500)
    numbers = traffic.numbers.copy()
    numbers[500:] *= 1000
    data, _, _ = anomaly.scaled(traffic, training)
    other, _, _ = anomaly.scaled(traffic._replace(numbers=numbers), training)
    np.testing.assert_array_equal(data.numbers[training], other.numbers[training])
    assert np.isfinite(other.numbers).all()
    assert np.abs(other.numbers).max() <= 8


def test_events_attacks_and_the_moving_average() -> None:
    flagged = np.zeros(60, bool)
    flagged[[3, 5, 8, 40]] = True
    scores = np.arange(60.0)
    assert anomaly_events.events(flagged, scores) == [(40, 40), (3, 8)]
    assert anomaly_events.events(np.zeros(5, bool), scores[:5]) == []
    labels = np.array(["", "a", "a", "b", "", "a"])
    assert anomaly_events.attacks(labels, np.ones(6, bool)) == [("a", 1, 3), ("b", 3, 4), ("a", 5, 6)]
    assert anomaly_events.attacks(labels, np.arange(6) > 1) == [("a", 2, 3), ("b", 3, 4), ("a", 5, 6)]
    numbers = np.zeros((100, 2))
    numbers[50, 1] = 9
    parts = anomaly.moving_average(numbers)
    assert parts[50, 1] == parts.max()
    assert parts[:50].max() == 0


def test_an_event_is_named_by_all_of_its_flows() -> None:
    """Not by the one that surprised most; normal flows beside an attack do not give the name."""
    traffic = flows.bundled()
    labels = np.array(["neptune"] * 50 + ["land", ""] + ["", "", "phf"], dtype="U9")
    count = len(labels)
    traffic = traffic._replace(numbers=traffic.numbers[:count], kinds=traffic.kinds[:count], labels=labels)
    parts = np.ones((count, traffic.numbers.shape[1]))
    parts[50] = 9  # the peak
    event = anomaly_events.explain(traffic, parts, traffic.numbers + 1, (0, 51))
    assert event["labels"] == {"neptune": 50, "land": 1, "normal": 1}
    assert event["label"] == "neptune"
    assert anomaly_events.flows_in_words(event) == "52 flows: 50 neptune, 1 land, 1 normal"
    assert anomaly_events.in_words(event).startswith(" ".join(traffic.kinds[50]) + " (52 flows: 50 neptune,")
    event = anomaly_events.explain(traffic, parts, traffic.numbers + 1, (52, 54))
    assert anomaly_events.flows_in_words(event) == "3 flows: 1 phf, 2 normal"
    event = anomaly_events.explain(traffic, parts, traffic.numbers + 1, (54, 54))
    assert anomaly_events.flows_in_words(event) == "1 flow, phf"
    event = anomaly_events.explain(traffic._replace(labels=None), parts, traffic.numbers + 1, (0, 51))
    assert anomaly_events.flows_in_words(event) == "52 flows, not labelled"


def test_the_bundled_flows_are_those_of_the_rule() -> None:
    lines = ["1,normal."] * 300 + ["2,smurf."] * 300 + ["3,normal.", "4,neptune."]
    assert subset(lines) == ["1,normal"] * 250 + ["2,smurf"] * 50 + ["3,normal", "4,neptune"]
    traffic = flows.bundled()
    assert traffic.labels is not None
    assert len(traffic.numbers) == 24_859
    assert (traffic.labels != "").sum() == 4_189
    assert len(set(traffic.labels)) == 23
    assert traffic.kind_names == ["protocol_type", "service", "flag"]
    assert traffic.numbers.shape == (24_859, 38)


def write(path: Path, rows: list[str], header: str = "") -> Path:
    path.write_text("\n".join([header] * bool(header) + rows) + "\n", encoding="utf-8")
    return path


NSL = (
    "0,tcp,http,SF,{0},5450," + "0," * 16 + "8,8," + "0.00," * 17 + "{1},21",
    "normal",
    "neptune",
)
UNSW = (
    "{0},0.12,tcp,-,FIN,6,4,{0},172,74.1,252,254,14158.9,8495.3,0,0,24.2,8.3,30.1,11.8,255,6,6,255,0.0,0.0,0.0,"
    "43,43,0,0,1,0,1,1,1,0,0,0,1,1,0,{1}",
    "Normal,0",
    "Exploits,1",
)
UNSW_HEADER = (
    "id,dur,proto,service,state,spkts,dpkts,sbytes,dbytes,rate,sttl,dttl,sload,dload,sloss,dloss,sinpkt,dinpkt,"
    "sjit,djit,swin,stcpb,dtcpb,dwin,tcprtt,synack,ackdat,smean,dmean,trans_depth,response_body_len,ct_srv_src,"
    "ct_state_ttl,ct_dst_ltm,ct_src_dport_ltm,ct_dst_sport_ltm,ct_dst_src_ltm,is_ftp_login,ct_ftp_cmd,"
    "ct_flw_http_mthd,ct_src_ltm,ct_srv_dst,attack_cat,label"
)
# The attribute is_sm_ips_ports stands last but two in the real files; the reader goes by names alone.
CIC_HEADER = (
    " Destination Port, Flow Duration, Total Fwd Packets, Total Backward Packets,Total Length of Fwd Packets,"
    "Flow Bytes/s, Flow Packets/s, Flow IAT Mean, Label"
)
CIC = ("80,{0},2,1,12,Infinity,NaN,3.5,{1}", "BENIGN", "Web Attack \x96 XSS")
CIC_2018_HEADER = "Dst Port,Protocol,Timestamp,Flow Duration,Tot Fwd Pkts,Tot Bwd Pkts,Flow IAT Mean,Label"
CIC_2018 = ("50000,6,14/02/2018 08:31:01,{0},3,0,5.5,{1}", "Benign", "FTP-BruteForce")


@pytest.mark.parametrize(
    ("row", "header", "kinds", "named", "attack"),
    [
        (NSL, "", ["tcp", "http", "sf"], ("src_bytes", 7.0), "neptune"),
        (UNSW, UNSW_HEADER, ["tcp", "-", "fin"], ("sbytes", 7.0), "exploits"),
        (CIC, CIC_HEADER, ["80"], ("flow duration", 7.0), "web attack \ufffd xss"),
        (CIC_2018, CIC_2018_HEADER, ["high", "6"], ("flow duration", 7.0), "ftp-bruteforce"),
    ],
)
def test_families_of_flows_are_known_by_their_columns(
    tmp_path: Path,
    row: tuple[str, str, str],
    header: str,
    kinds: list[str],
    named: tuple[str, float],
    attack: str,
) -> None:
    lines = [row[0].format(7, row[1])] * 500 + [row[0].format(9, row[2])]
    if header == CIC_2018_HEADER:
        lines.insert(250, header)  # as in the middle of its files
    path = tmp_path / "flows.csv"
    path.write_bytes(
        "\n".join([header] * bool(header) + lines).encode("cp1252", errors="ignore").replace(b"?", b"")
    )
    if attack.startswith("web"):
        path.write_bytes("\n".join([header, *lines]).encode("latin-1"))
    traffic = flows.read_csv(path)
    assert traffic.labels is not None
    assert len(traffic.numbers) == 501
    assert traffic.kinds[0].tolist() == kinds
    assert traffic.numbers[0, traffic.number_names.index(named[0])] == named[1]
    assert traffic.labels[:500].tolist() == [""] * 500
    assert traffic.labels[500] == attack
    assert np.isfinite(traffic.numbers).all()
    ignored = {"label", "difficulty", "id", "timestamp", "attack_cat"}
    assert not ignored & {*traffic.number_names, *traffic.kind_names}


def test_a_file_without_labels_has_events_and_no_curves(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [f"80,{rng.integers(90, 110)},2,1,12,1,1,3.5" for _ in range(700)]
    rows[650:655] = ["22,900000,900,0,9,9,9,900"] * 5
    path = write(tmp_path / "flows.csv", rows, CIC_HEADER.rpartition(",")[0])
    numbers, report = tmp_path / "a.json", tmp_path / "report"
    result = run("anomaly", "--quick", "--data", path, "--json", numbers, "--report", report, "--threads", 1)
    assert result.exit_code == 0, result.output
    content = results(numbers)
    assert "curves" not in content
    assert "roc_auc" not in result.output
    top = content["events"][0]
    assert 650 + 2 <= top["where"] <= 656 + 2  # lines of the file
    assert top["label"] == "not labelled"
    assert {one["feature"] for one in top["surprises"]} & {
        "flow duration",
        "total fwd packets",
        "flow iat mean",
    }
    for name in anomaly.PICTURES:
        assert (report / name).read_bytes().startswith(PNG)


def test_flows_without_kinds(tmp_path: Path) -> None:
    """A file of CIC-IDS with no column of protocols or ports; of its numbers some are unknown."""
    rng = np.random.default_rng(0)
    rows = [f"{rng.integers(90, 110)},{rng.random():.3f},2,Benign" for _ in range(700)]
    rows[3], rows[8], rows[650] = "100,NaN,,Benign", "Infinity,0.5,2,Benign", "900000,900,900,DoS"
    path = write(tmp_path / "flows.csv", rows, "Flow Duration,Flow IAT Mean,Tot Fwd Pkts,Label")
    numbers = tmp_path / "a.json"
    result = run("anomaly", "--quick", "--data", path, "--json", numbers, "--threads", 1)
    assert result.exit_code == 0, result.output
    assert "\n3 numbers are missing or not finite, and count as 0\n" in result.stdout
    top = results(numbers)["events"][0]
    assert top["kind"] == "flow"
    assert top["label"] == "dos"


def test_check_data_of_few_normal_flows(tmp_path: Path) -> None:
    """With less than one window there is nothing to compare, with one there is too little; both is said."""
    for normal, told in (
        (30, "WARNING: --check-data: expected 50 normal flows to test or more, got 30"),
        (60, "WARNING: Train and test have too few samples to test whether they agree"),
    ):
        rng = np.random.default_rng(0)
        rows = [f"80,{rng.integers(90, 110)},{rng.integers(1, 9)},1,12,1,1,3.5,BENIGN" for _ in range(700)]
        rows[490 + normal :] = ["80,900,9,9,9,9,9,9,DoS"] * (210 - normal)
        path = write(tmp_path / "flows.csv", rows, CIC_HEADER)
        result = run("anomaly", "--quick", "--data", path, "--check-data", "--quiet", "--threads", 1)
        assert result.exit_code == 0, result.output
        assert told in words(result.stderr)


def test_reasons_are_drawn_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of features as long as KDD's fit, whatever their share, and longer ones are cut by us."""
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(Job, "picture", lambda _, name, figure: drawn.update({name: figure}))
    shares = (0.9, 0.05, 0.03, 0.02)
    names = ("dst_host_diff_srv_rate", "hosts of the last 100 flows from there", "a", "urgent")
    surprises = [
        {"feature": name, "was": 1.0, "expected": 2.0, "share": share}
        for name, share in zip(names, shares, strict=True)
    ]
    event = {"label": "scan", "labels": {"scan": 2, "normal": 1}, "kind": "tcp", "flows": 3}
    anomaly_pictures.draw_events(Job("anomaly"), [{**event, "surprises": surprises}], "a model")
    figure = drawn["events.png"]
    plots.save(figure, tmp_path / "events.png")
    (axes,) = figure.axes
    told = [text.get_text().partition(",")[0] for text in axes.texts]
    assert told == ["dst_host_diff_srv_rate", "hosts of the last 100 flo…", "a", "urgent"]
    ends = [text.get_window_extent().x1 for text in axes.texts]
    starts = [text.get_window_extent().x0 for text in axes.texts]
    assert all(end < start for end, start in zip(ends, starts[1:], strict=False))
    assert ends[-1] <= figure.bbox.x1
    assert axes.get_yticklabels()[0].get_text() == "scan: tcp\n3 flows: 2 scan, 1 normal"


@pytest.mark.parametrize("best", anomaly_pictures.COLOURS)
def test_the_title_of_the_curves_is_a_sentence(best: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(Job, "picture", lambda _, name, figure: drawn.update({name: figure}))
    scores = {name: np.arange(9) * (1 if name == best else -1.0) for name in anomaly_pictures.COLOURS}
    anomaly_pictures.draw_curves(Job("anomaly"), anomaly.curves(np.arange(9) > 4, scores), "a model")
    title = drawn["curves.png"].get_suptitle()
    assert re.match(r"The [a-z LSTM]+ tells attacks best: average precision 1\.000", title)
    scores["LSTM"] = scores["no memory"] = np.arange(9) * 2.0
    anomaly_pictures.draw_curves(Job("anomaly"), anomaly.curves(np.arange(9) > 4, scores), "a model")
    title = drawn["curves.png"].get_suptitle().replace("\n", " ")
    assert re.search(r"LSTM and .* tell attacks equally well: average precision 1\.000", title)


def test_nothing_above_the_threshold(tmp_path: Path) -> None:
    path = write(tmp_path / "flows.csv", ["80,7,2,1,12,1,1,3.5,BENIGN"] * 700, CIC_HEADER)
    result = run("anomaly", "--quick", "--data", path, "--threads", 1)
    assert result.exit_code == 0, result.output
    assert "No flow is above the threshold.\n" in result.stdout
    assert "the most surprising" not in result.stdout


# Captures.


def packet(source: int, target: int, ports: tuple[int, int], flags: int | None = 16, size: int = 10) -> bytes:
    """Return a frame of Ethernet with TCP, or UDP without flags."""
    inner: Any
    if flags is None:
        inner = dpkt.udp.UDP(sport=ports[0], dport=ports[1], data=b"x" * size, ulen=8 + size)
    else:
        inner = dpkt.tcp.TCP(sport=ports[0], dport=ports[1], flags=flags, data=b"x" * size)
    outer = dpkt.ip.IP(
        src=bytes((10, 0, 0, source)), dst=bytes((10, 0, 0, target)), p=17 if flags is None else 6
    )
    outer.data = inner
    outer.len = 20 + len(inner)
    return bytes(dpkt.ethernet.Ethernet(src=b"a" * 6, dst=b"b" * 6, type=0x0800, data=outer))


def conversations(count: int) -> list[tuple[float, bytes]]:
    """Return packets of flows from one host to a web server, each with an answer, and one UDP packet each."""
    packets = []
    for number in range(count):
        ports = (40_000 + number, 80)
        start = 0.5 * number
        packets += [
            (start, packet(1, 2, ports, flags=2, size=0)),
            (start + 0.125, packet(2, 1, (80, ports[0]), size=100)),
            (start + 0.25, packet(1, 2, ports, flags=17, size=5)),
            (start + 0.3, packet(3, 4, (5000 + number, 53), None, size=20)),
        ]
    return packets


def capture(
    path: Path, packets: list[tuple[float, bytes]], writer: Callable[..., Any], **options: Any
) -> Path:
    with path.open("wb") as file:
        out = writer(file, **options)
        for time, content in packets:
            out.writepkt(content, ts=time)
    return path


@pytest.mark.parametrize(
    ("writer", "options"),
    [(dpkt.pcap.Writer, {}), (dpkt.pcap.Writer, {"nano": True}), (dpkt.pcapng.Writer, {})],
)
def test_packets_become_flows(tmp_path: Path, writer: Callable[..., Any], options: dict[str, Any]) -> None:
    packets = conversations(300)
    packets.insert(5, (0.9, b"\x00" * 12 + b"\x08\x06" + b"\x00" * 28))  # ARP is no flow
    # The same addresses and ports a minute and more later are another flow.
    packets.append((300.0, packet(1, 2, (40_000, 80), flags=4, size=0)))
    path = capture(tmp_path / "a.pcap", packets, writer, **options)
    assert captures.is_capture(path)
    traffic = captures.read_pcap(path)
    assert traffic.labels is None
    assert len(traffic.numbers) == 601
    assert traffic.kinds[:2, 0].tolist() == ["tcp/80", "udp/53"]
    first = dict(zip(traffic.number_names, traffic.numbers[0], strict=True))
    assert first == pytest.approx(
        {
            "seconds": 0.25,
            "bytes out": 40 + 45,
            "bytes in": 140,
            "packets out": 2,
            "packets in": 1,
            "longest pause": 0.125,
            "SYN": 1,
            "FIN": 1,
            "RST": 0,
            "hosts of the last 100 flows from there": 1,
            "ports of the last 100 flows from there": 1,
        }
    )
    last = dict(zip(traffic.number_names, traffic.numbers[-1], strict=True))
    assert last["RST"] == 1
    assert last["packets out"] == 1
    assert traffic.where[-1] == 300


def test_a_scan_in_a_capture_is_an_event(tmp_path: Path) -> None:
    packets = conversations(400)
    scan = [(180 + 0.001 * port, packet(9, 2, (60_000, port), flags=2, size=0)) for port in range(1, 60)]
    path = capture(tmp_path / "a.pcap", sorted(packets + scan), dpkt.pcap.Writer)
    numbers = tmp_path / "a.json"
    result = run("anomaly", "--quick", "--data", path, "--json", numbers, "--threads", 1)
    assert result.exit_code == 0, result.output
    top = results(numbers)["events"][0]
    assert 180 <= top["where"] <= 181
    assert top["flows"] >= 50


def test_other_links_and_versions_of_ip(tmp_path: Path) -> None:
    def six(number: int) -> bytes:
        inner = dpkt.icmp6.ICMP6(type=128, data=b"ping")
        packed = bytes(inner)
        return bytes(
            dpkt.ip6.IP6(
                src=number.to_bytes(16, "big"), dst=b"\x02" * 16, nxt=58, plen=len(packed), data=inner
            )
        )

    packets = [(float(number), six(number)) for number in range(1, 501)]
    traffic = captures.read_pcap(
        capture(tmp_path / "a.pcap", packets, dpkt.pcap.Writer, linktype=dpkt.pcap.DLT_RAW)
    )
    assert set(traffic.kinds[:, 0]) == {"icmp"}
    assert traffic.numbers[0, 1] == 48
    path = capture(tmp_path / "b.pcap", packets, dpkt.pcap.Writer, linktype=dpkt.pcap.DLT_IEEE802_11)
    with pytest.raises(ProblemError, match=r"b\.pcap: expected packets of Ethernet, .* got link type 105$"):
        captures.read_pcap(path)


@pytest.mark.parametrize(("writer", "record"), [(dpkt.pcap.Writer, 16 + 62), (dpkt.pcapng.Writer, 96)])
def test_a_capture_that_is_cut_in_its_last_packet(
    tmp_path: Path, writer: Callable[..., Any], record: int
) -> None:
    """Wherever it is cut: in the packet, right behind its header, or in that."""
    path = capture(tmp_path / "a.pcap", conversations(300), writer)
    content = path.read_bytes()
    for left in range(1, record):
        path.write_bytes(content[:-left])
        with pytest.raises(ProblemError, match=r"no complete capture, it breaks after packet (1199|1200): "):
            captures.read_pcap(path)
    path.write_bytes(content[:-record])
    assert len(captures.read_pcap(path).numbers) == 599


def test_bad_captures_are_one_sentence(tmp_path: Path) -> None:
    path = capture(tmp_path / "a.pcap", conversations(10), dpkt.pcap.Writer)
    with pytest.raises(ProblemError, match=r"a\.pcap: expected at least 500 flows of IP, got 20"):
        captures.read_pcap(path)
    content = path.read_bytes()
    path.write_bytes(content[: 24 + 8])  # within the header of the first packet
    with pytest.raises(ProblemError, match="no complete capture, it breaks at its beginning"):
        captures.read_pcap(path)
    path.write_bytes(content[: 24 + 16 + 54 + 7])  # within that of the second
    with pytest.raises(ProblemError, match="no complete capture, it breaks after packet 1"):
        captures.read_pcap(path)
    path.write_bytes(content[:10])
    with pytest.raises(ProblemError, match="no complete capture"):
        captures.read_pcap(path)
    path.write_bytes(struct.pack("<I", 0x0A0D0D0A) + b"\x00" * 30)
    result = run("anomaly", "--quick", "--data", path)
    assert result.exit_code == 1
    assert "no complete capture" in words(result.output)


@pytest.mark.parametrize(
    ("header", "row", "error"),
    [
        ("a,b,c", "1,2,3", "flows.csv: expected a header with the columns of one of these: NSL-KDD"),
        (
            CIC_HEADER,
            "80,7,2,1,12,Infinity,NaN,soon,BENIGN",
            "line 2, column 'flow iat mean': expected a number",
        ),
        (CIC_HEADER, "80,7,2", "flows.csv, line 2: expected 9 fields as in the first line, got 3"),
        (CIC_HEADER, CIC[0].format(1, "BENIGN"), "flows.csv: expected at least 500 flows, got 1"),
    ],
)
def test_bad_files_are_one_sentence(tmp_path: Path, header: str, row: str, error: str) -> None:
    path = write(tmp_path / "flows.csv", [row], header)
    result = run("anomaly", "--quick", "--data", path, "--report", tmp_path / "report")
    assert result.exit_code == 1
    assert error in words(result.output)
    assert not (tmp_path / "report").exists()


def test_one_class_only(tmp_path: Path) -> None:
    attacks = [CIC[0].format(7, "DDoS")] * 600
    path = write(tmp_path / "flows.csv", attacks, CIC_HEADER)
    result = run("anomaly", "--quick", "--data", path)
    assert result.exit_code == 1
    assert "expected 100 normal flows in the first half, got 0" in words(result.output)
    result = run("anomaly", "--quick", "--data", tmp_path)
    assert result.exit_code == 1
    assert "expected a file, got a folder" in words(result.output)


@pytest.mark.parametrize("option", [("--false-alarms", 0), ("--false-alarms", 1), ("--units", 0)])
def test_options_that_make_no_sense(option: tuple[str, float]) -> None:
    result = run("anomaly", "--quick", *option)
    assert result.exit_code == 1
    assert "expected --false-alarms between 0 and 1" in words(result.output)


def test_all_of_kdd_cup_99_comes_from_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fetched:
        data = np.array([[0, b"tcp", b"http", b"SF", *[1.5] * 37]] * 600, dtype=object)
        target = np.array([b"normal."] * 599 + [b"smurf."], dtype=object)

    monkeypatch.setattr(sklearn.datasets, "fetch_kddcup99", lambda **_: Fetched)
    traffic = flows.kdd_cup_99()
    assert traffic.labels is not None
    assert traffic.numbers.shape == (600, 38)
    assert traffic.labels[-2:].tolist() == ["", "smurf"]

    def fails(**_: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(sklearn.datasets, "fetch_kddcup99", fails)
    result = run("anomaly", "--full", "--quick")
    assert result.exit_code == 1
    assert "KDD Cup 99 is not at hand and could not be downloaded: no network" in words(result.output)


def test_packed_files(tmp_path: Path) -> None:
    lines = [CIC_HEADER, *[CIC[0].format(7, "BENIGN")] * 500]
    path = tmp_path / "flows.csv.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    assert len(flows.read_csv(path).numbers) == 500


def test_a_digit_of_another_script_is_no_port() -> None:
    assert [flows.port_kind(field) for field in ("80", "8080", "\u00b2", "\u0661", "")] == [
        "80",
        *["high"] * 4,
    ]


def test_a_compressed_file_that_is_damaged(tmp_path: Path) -> None:
    whole = bytearray(gzip.compress(b"a,b\n" + b"1,2\n" * 5000))
    whole[20:60] = bytes(40)
    (tmp_path / "flows.csv.gz").write_bytes(bytes(whole))
    for name in ("anomaly", "forecast"):
        result = run(name, "--quick", "--data", tmp_path / "flows.csv.gz")
        assert result.exit_code == 1
        assert "flows.csv.gz: damaged" in result.output, result.output


def test_events_of_flows_with_few_numbers_are_drawn(tmp_path: Path) -> None:
    surprise = {"feature": "flow duration", "was": 1.0, "expected": 2.0, "share": 1.0}
    event = {"label": "scan", "labels": {"scan": 1}, "kind": "tcp", "flows": 1, "surprises": [surprise]}
    anomaly_pictures.draw_events(Job("anomaly", report=tmp_path), [event], "a model")
    assert (tmp_path / "events.png").read_bytes().startswith(PNG)
