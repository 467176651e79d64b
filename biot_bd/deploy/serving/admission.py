"""Who may see a page: under which names, from which sites, and how many at once."""

from __future__ import annotations

import ipaddress
import re
import threading
from collections import Counter
from collections.abc import Collection
from email.message import Message

_AUTHORITY = re.compile(r"(?:([a-z0-9._-]+)|\[([0-9a-f:.]+)\])(?::([0-9]{1,5})?)?", re.IGNORECASE | re.ASCII)


def split_authority(text: str) -> tuple[str, int | None]:
    """Return name (in lower case) and port of what a Host header holds.

    Parameters
    ----------
    text : str
        A name, an IPv4 address or an IPv6 address in brackets, with or without ``:port``.

    Raises
    ------
    ValueError
        It is no such thing.

    See Also
    --------
    refusal : Judges a request by it.

    Examples
    --------
    >>> split_authority("[::1]:8765")
    ('::1', 8765)
    """
    found = _AUTHORITY.fullmatch(text)
    port = int(found[3]) if found and found[3] else None
    if found is None or (port or 0) > 65535 or (found[2] and _address(found[2]) is None):
        raise ValueError(f"{_shown(text)} is no name or address, with a port or without")
    return (found[1] or found[2]).lower().removesuffix("."), port


def refusal(headers: Message, own: str, names: Collection[str], *, same_origin: bool = False) -> tuple[int, str] | None:
    """Return status and reason (one line) of refusing a request, None for one that may come in.

    A browser on this machine reaches the page for whatever site it shows: by a name that its owner
    lets point here (DNS rebinding; the Host header tells it), or by asking across sites (Origin and
    Sec-Fetch-Site tell it).

    Parameters
    ----------
    headers : email.message.Message
        Of the request.
    own : str
        This machine's address on the connection.
    names : collection of str
        Other names and addresses of the page, in lower case.
    same_origin : bool
        Whether only the page itself may ask, and no link from elsewhere.

    See Also
    --------
    biot_bd.deploy.serving.http.PageHandler : Asks it for each request.

    Examples
    --------
    >>> from email.message import Message
    >>> headers = Message()
    >>> headers["Host"] = "evil.example"
    >>> refusal(headers, "127.0.0.1", ())
    (400, "the page is not at 'evil.example'; where that name leads here, add --allow-host")
    """
    hosts = headers.get_all("Host", [])
    try:
        host = split_authority(hosts[0] if len(hosts) == 1 else ", ".join(hosts))
    except ValueError as error:
        return 400, f"the Host header is malformed: {error}"
    if not _is_here(host[0], own, names):
        return 400, f"the page is not at {_shown(host[0])}; where that name leads here, add --allow-host"
    for origin in headers.get_all("Origin", []):
        scheme, _, authority = origin.partition("://")
        try:
            same = scheme in ("http", "https") and split_authority(authority) == host
        except ValueError:
            same = False
        if not same:
            return 403, f"the page answers no other site, and Origin is {_shown(origin)}"
    site = headers.get("Sec-Fetch-Site", "none")
    if same_origin and site not in ("same-origin", "none"):
        return 403, f"this answers no other site, and Sec-Fetch-Site is {_shown(site)}"
    return None


def _is_here(name: str, own: str, names: Collection[str]) -> bool:
    if name == "localhost" or name in names:
        return True
    address = _address(name)
    return address is not None and (address.is_loopback or address == _address(own))


def is_loopback(address: str) -> bool:
    """Return whether an address is this machine's own, which nobody else can have."""
    found = _address(address)
    return found is not None and found.is_loopback


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return an address without its zone; an IPv4 address may come as an IPv6 one."""
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 100 else text[:100] + "...")


class Places:
    """Places that connections take and give back; other machines never have all of them.

    Parameters
    ----------
    total : int
        Of them.
    each : int
        Most for one address of another machine.
    kept : int
        Those that only this machine can take.

    See Also
    --------
    biot_bd.deploy.serving.http.PageHost : Has places for connections.

    Examples
    --------
    >>> places = Places(total=4, each=2, kept=1)
    >>> [places.take("192.0.2.1") for _ in range(3)]
    [True, True, False]
    >>> places.take("192.0.2.2"), places.take("192.0.2.3"), places.take("127.0.0.1")
    (True, False, True)
    """

    def __init__(self, total: int, each: int, kept: int) -> None:
        self.total, self.each, self.kept = total, each, kept
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, address: str) -> bool:
        """Take a place for a client's address; return whether there was one."""
        with self._lock:
            n = self._taken.total()
            if is_loopback(address):
                free = n < self.total
            else:
                others = sum(count for taken, count in self._taken.items() if not is_loopback(taken))
                free = n < self.total and others < self.total - self.kept and self._taken[address] < self.each
            if free:
                self._taken[address] += 1
            return free

    def give_back(self, address: str) -> None:
        """Give back what was taken for an address."""
        with self._lock:
            self._taken[address] -= 1
            self._taken += Counter()  # drops those that have none
