"""Who may see the live page: names, sites, slow and silent clients, and places, with real clients."""

import contextlib
import http.client
import ipaddress
import socket
import threading
import time
from email.message import Message

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from biot_bd.deploy.live import server as live_server
from biot_bd.deploy.live.broadcast import Hub
from biot_bd.deploy.live.server import PageServer
from biot_bd.deploy.serving import http as serving_http
from biot_bd.deploy.serving.admission import Places, refusal, split_authority


@pytest.fixture(scope="module")
def hub():
    return Hub({"source": "x", "notes": []})


@pytest.fixture(scope="module")
def server(hub):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live_server, "KEEP_ALIVE_S", 0.05)  # by which viewers that went are found
        server = PageServer(hub, allow_hosts=["eeg.hospital.example", "192.0.2.7"])
        yield server
        server.close()


def left(hub, seconds=10):
    """Wait until viewers that went are found, and return how many are left."""
    until = time.monotonic() + seconds
    while hub.n_viewers and time.monotonic() < until:
        time.sleep(0.01)
    return hub.n_viewers


def told(data):
    """Return status and the one line that a whole answer holds."""
    head, _, body = data.partition(b"\r\n\r\n")
    assert body.endswith(b"\n")
    assert len(body.splitlines()) == 1
    return int(head.split()[1]), body.decode().rstrip("\n")


def ask(server, head, seconds=5.0, address="127.0.0.1"):
    """Send bytes and return what comes until the server hangs up."""
    with socket.create_connection((address, server.port), timeout=seconds) as client:
        client.sendall(head)
        data = b""
        while more := client.recv(65536):
            data += more
    return data


def request(path="/", *headers):
    return "\r\n".join([f"GET {path} HTTP/1.1", *headers, "", ""]).encode("latin-1")


def opens(server, *headers, path="/events"):
    """Return the status with which a request begins to be answered; an endless stream is left."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.putrequest("GET", path, skip_host=True)
    for header in headers:
        connection.putheader(*header.split(": ", 1))
    connection.endheaders()
    response = connection.getresponse()
    status = response.status
    response.close()
    connection.close()
    return status


# Names


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:8765", "localhost", "LocalHost:1", "localhost.", "[::1]:80", "127.3.2.1", "[::ffff:127.0.0.1]",
     "eeg.hospital.example", "EEG.hospital.example:443", "192.0.2.7:9", "127.0.0.1:"],
)  # fmt: skip
def test_names_of_the_page(server, host):
    for path in ("/", "/events"):
        assert opens(server, f"Host: {host}", path=path) == 200


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        (["Host: evil.example"], "the page is not at 'evil.example'; where that name leads here"),
        (["Host: evil.example:8765"], "not at 'evil.example'"),
        (["Host: 127.0.0.1.evil.example"], "not at '127.0.0.1.evil.example'"),
        (["Host: localhost.evil.example"], "not at"),
        (["Host: evil-localhost"], "not at"),
        (["Host: 192.0.2.1"], "not at '192.0.2.1'"),
        (["Host: [2001:db8::1]"], "not at '2001:db8::1'"),
        (["Host: "], "malformed: '' is no name or address"),
        ([], "malformed"),
        (["Host: localhost", "Host: localhost"], "malformed: 'localhost, localhost'"),
        (["Host: localhost:99999"], "malformed"),
        (["Host: localhost:x"], "malformed"),
        (["Host: localhost:8765:1"], "malformed"),
        (["Host: ::1"], "malformed"),
        (["Host: [::1"], "malformed"),
        (["Host: [::1]x:1"], "malformed"),
        (["Host: [1.2]"], "malformed"),
        (["Host: me@localhost"], "malformed"),
        (["Host: http://localhost"], "malformed"),
        (["Host: localhost/x"], "malformed"),
        (["Host: local host"], "malformed"),
        (["Host: localhost\tx"], "malformed"),
        (["Host: locälhost"], "malformed: 'loc\\xe4lhost'"),
        (["Host: " + "a" * 5000 + "!"], "malformed: 'aaa"),
    ],
)
@pytest.mark.parametrize("path", ["/", "/events"])
def test_other_names_are_refused(server, hub, path, headers, said):
    status, line = told(ask(server, request(path, *headers)))
    assert status == 400
    assert said in line
    assert len(line) < 250
    assert left(hub) == 0


NAMES = ("localhost", "eeg.hospital.example")
HOSTS = st.one_of(
    st.sampled_from([*NAMES, "127.0.0.1", "10.1.2.3", "[::1]", "[fe80::1]", "evil.example", ""]),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
    st.text(st.sampled_from("alocst.:[]@/1 %\\é\x00\x7f-_#?"), max_size=12),
    st.text(max_size=8),
)
PORTS = st.one_of(st.just(""), st.integers(-5, 70000).map(lambda port: f":{port}"), st.sampled_from([":", "::", ":x"]))


@settings(max_examples=150, deadline=None)
@given(host=HOSTS, port=PORTS, own=st.sampled_from(["127.0.0.1", "10.1.2.3", "::ffff:10.1.2.3", "fe80::1%eth0"]))
@example(host="LOCALHOST", port=":0", own="10.1.2.3")
def test_a_host_comes_in_exactly_if_it_is_one_of_ours(host, port, own):
    headers = Message()
    headers["Host"] = host + port
    # By hand: what is in front of the port is one of few spellings.
    number = port[1:]
    right = port in ("", ":") or (port[0] == ":" and number.isascii() and number.isdigit() and int(number) < 65536)
    bare = host.lower().removesuffix(".")
    text = bare[1:-1] if bare[:1] == "[" and bare[-1:] == "]" else bare
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        address = None
    bracketed = text != bare
    if address is None:
        ours = bare in NAMES
    else:
        plain = getattr(address, "ipv4_mapped", None) or address
        here = {"127.0.0.1": "127.0.0.1", "10.1.2.3": "10.1.2.3", "::ffff:10.1.2.3": "10.1.2.3"}.get(own, "fe80::1")
        ours = bracketed == (address.version == 6) and (plain.is_loopback or str(plain) == here)
        ours = ours and "%" not in text
    refused = refusal(headers, own, NAMES)
    if refused is None:
        assert right
        assert ours
    else:
        assert not (right and ours)
        assert refused[0] == 400
        assert refused[1].isprintable()


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(codec="ascii"), max_size=20))
def test_a_split_authority_is_what_was_written(text):
    try:
        name, port = split_authority(text)
    except ValueError:
        return
    assert name == name.lower()
    assert name in text.lower()
    assert port is None or text.endswith(str(port))


def test_the_page_of_a_network_is_found_under_its_address():
    server = PageServer(Hub({}), host="0.0.0.0")
    try:
        for address in ("127.0.0.1", "127.0.0.9"):
            host = f"Host: {address}:{server.port}"
            assert ask(server, request("/", host), address=address).startswith(b"HTTP/1.1 200")
        assert told(ask(server, request("/", "Host: 192.0.2.1")))[0] == 400
    finally:
        server.close()


# Sites


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("127.0.0.1:{port}", "http://127.0.0.1:{port}", 200),
        ("localhost:{port}", "http://localhost:{port}", 200),
        ("eeg.hospital.example", "https://eeg.hospital.example", 200),
        ("127.0.0.1:{port}", "http://localhost:{port}", 403),
        ("localhost:{port}", "http://localhost:3000", 403),
        ("localhost:{port}", "http://localhost", 403),
        ("localhost:{port}", "https://evil.example", 403),
        ("localhost:{port}", "http://localhost:{port}.evil.example", 403),
        ("localhost:{port}", "http://localhost:{port}/", 403),
        ("localhost:{port}", "http://evil@localhost:{port}", 403),
        ("localhost:{port}", "localhost:{port}", 403),
        ("localhost:{port}", "file://localhost:{port}", 403),
        ("localhost:{port}", "null", 403),
        ("localhost:{port}", "", 403),
    ],
)
@pytest.mark.parametrize("path", ["/", "/events"])
def test_other_origins_are_refused(server, path, host, origin, status):
    headers = [f"Host: {host}".format(port=server.port), f"Origin: {origin}".format(port=server.port)]
    assert opens(server, *headers, path=path) == status
    if status == 403:
        assert "answers no other site" in told(ask(server, request(path, *headers)))[1]


@pytest.mark.parametrize(
    ("site", "stream"),
    [("same-origin", 200), ("none", 200), ("cross-site", 403), ("same-site", 403), ("x", 403), ("", 403)],
)
def test_the_stream_is_for_the_page_alone(server, hub, site, stream):
    headers = ["Host: localhost", f"Sec-Fetch-Site: {site}"]
    assert opens(server, *headers) == stream
    assert opens(server, *headers, path="/") == 200  # a link to the page may stand anywhere


# Requests


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "BREW"])
def test_other_methods_are_one_line(server, method):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.request(method, "/", body=b"x")
    response = connection.getresponse()
    assert (response.status, response.getheader("Allow")) == (405, "GET")
    assert response.read() == b"the page can only be read (GET)\n"
    connection.close()


def test_the_answer_to_head_has_no_body(server):
    data = ask(server, b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert data.startswith(b"HTTP/1.1 405")
    assert data.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n", 400),  # https
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"GET / FTP/1.1\r\n\r\n", 400),
        (b"GET /a b c HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * 150 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: " + b"x" * 20_000, 431),
        (b"GET /" + b"x" * 20_000, 431),
    ],
)
def test_what_is_no_request_is_one_line(server, head, status):
    assert told(ask(server, head))[0] == status


def test_one_request_a_connection(server):
    data = ask(server, request("/", "Host: localhost", "Connection: keep-alive") * 2)
    assert data.count(b"HTTP/1.1 ") == 1


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=60), path=st.sampled_from([b"/", b"/nothing", b"//"]))
def test_any_bytes_are_answered_or_dropped_and_the_page_goes_on(server, data, path):
    for head in (data + b"\n\n", b"GET " + path + b" HTTP/1.1\r\nHost: " + data + b"\r\n\r\n"):
        answer = ask(server, head)
        if not head.split(b"\n")[0].decode("latin-1").split():
            assert answer == b""  # a first line of blanks asks for nothing
            continue
        assert answer.startswith(b"HTTP/1.1 ")
        assert b"\r\nConnection: close\r\n" in answer
    assert opens(server, "Host: localhost", path="/") == 200


# Slow and silent clients


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(serving_http, "REQUEST_S", 0.4)
    monkeypatch.setattr(serving_http, "SLOW_S", 0.4)


@pytest.mark.parametrize("head", [b"", b"GET", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\n"])
def test_silence_and_half_a_request_time_out(quick, server, head):
    begin = time.monotonic()
    status, line = told(ask(server, head))
    assert (status, line) == (408, "no whole request came within 0.4 s")
    assert 0.3 < time.monotonic() - begin < 3


def test_a_byte_now_and_then_gains_no_time(quick, server):
    begin = time.monotonic()
    client = socket.create_connection(("127.0.0.1", server.port), timeout=5)
    with client, contextlib.suppress(ConnectionError):
        while time.monotonic() - begin < 3:
            client.sendall(b"G")
            time.sleep(0.05)
    assert time.monotonic() - begin < 2


def test_a_viewer_that_never_reads_gives_its_place_back(quick, server, hub):
    assert left(hub) == 0
    client = socket.create_connection(("127.0.0.1", server.port), timeout=5)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.sendall(request("/events", "Host: localhost"))
    until = time.monotonic() + 10
    while not hub.n_viewers and time.monotonic() < until:
        time.sleep(0.01)
    assert hub.n_viewers == 1
    while hub.n_viewers and time.monotonic() < until:
        hub.line({"type": "gap", "x": "x" * 20_000})
        time.sleep(0.02)
    assert hub.n_viewers == 0
    client.close()


def test_silent_clients_do_not_keep_others_out(server):
    silent = [socket.create_connection(("127.0.0.1", server.port), timeout=5) for _ in range(40)]
    assert opens(server, "Host: localhost", path="/") == 200
    for client in silent:
        client.close()


# Places


def test_viewers_have_places_and_the_rest_is_told(server, hub):
    assert left(hub) == 0
    clients = []
    for _ in range(32):
        clients.append(socket.create_connection(("127.0.0.1", server.port), timeout=5))
        clients[-1].sendall(request("/events", "Host: localhost"))
        assert clients[-1].recv(15) == b"HTTP/1.1 200 OK"
    status, line = told(ask(server, request("/events", "Host: localhost")))
    assert (status, hub.n_viewers) == (503, 32)
    assert "32 viewers are the most" in line
    assert opens(server, "Host: localhost", path="/") == 200
    clients.pop().close()
    until = time.monotonic() + 10
    while opens(server, "Host: localhost") != 200:
        assert time.monotonic() < until
        time.sleep(0.05)
    for client in clients:
        client.close()


def test_connections_beyond_the_most_are_told_at_once(monkeypatch):
    monkeypatch.setattr(serving_http, "CONNECTIONS", {"total": 3, "each": 2, "kept": 1})
    server = PageServer(Hub({}))
    try:
        held = [socket.create_connection(("127.0.0.1", server.port), timeout=5) for _ in range(3)]
        until = time.monotonic() + 5
        while server._server.connections._taken.total() < 3 and time.monotonic() < until:
            time.sleep(0.01)
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as late:
            assert told(late.recv(4096)) == (503, "too many connections")
        for client in held:
            client.close()
        while server._server.connections._taken and time.monotonic() < until:
            time.sleep(0.01)
        assert opens(server, "Host: localhost", path="/") == 200
    finally:
        server.close()


ADDRESSES = ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1", "::ffff:10.0.0.2", "2001:db8::1"]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(ADDRESSES), st.booleans()), max_size=60),
    st.integers(1, 12), st.integers(1, 5), st.integers(0, 5),
)  # fmt: skip
def test_other_machines_never_have_all_places(moves, total, each, kept):
    places = Places(total, each, min(kept, total))
    held = dict.fromkeys(ADDRESSES, 0)
    foreign = ADDRESSES[3:]
    for address, come in moves:
        if not come:
            if held[address]:
                places.give_back(address)
                held[address] -= 1
            continue
        n, others = sum(held.values()), sum(held[a] for a in foreign)
        free = n < total
        if address in foreign:
            free = free and others < total - min(kept, total) and held[address] < each
        assert places.take(address) == free
        held[address] += free
        assert sum(held[a] for a in foreign) <= total - min(kept, total)


def test_places_are_counted_by_all_threads_together():
    places, got = Places(50, 50, 0), []

    def take():
        got.extend([places.take("127.0.0.1") for _ in range(20)])

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(got) == 50
