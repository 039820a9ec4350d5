"""Sessions of the page: a cookie names a key, and counts as long as that does."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from lamplighter.control.keyring import Keyring
from lamplighter.control.sources import Sources
from lamplighter.domain.keys import ANYBODY, Role
from lamplighter.errors import NotAllowed
from lamplighter.store.seal import Seal
from lamplighter.web.ended import Ended
from lamplighter.web.paths import rest_path
from lamplighter.web.policy import is_own_origin, with_nonce
from lamplighter.web.sessions import COOKIE, LIFETIME, SECURE_COOKIE, Sessions, set_cookie

SECRET = b"a-secret-key"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def keyring() -> Keyring:
    return Keyring({hashlib.sha256(SECRET).hexdigest()})


def sessions(folder: Path, ring: Keyring, clock: Clock) -> Sessions:
    return Sessions(ring, Seal(folder / "secret.key"), wall=clock)


def cookie(value: str) -> str:
    return f"other=1; {COOKIE}={value}"


def test_a_cookie_opens_what_its_key_opens_and_does_not_hold_it(tmp_path):
    ring = keyring()
    value = sessions(tmp_path, ring, Clock()).begin(ring.find(SECRET, 0.0))
    assert SECRET.decode() not in value
    again = sessions(tmp_path, ring, Clock()).visitor(cookie(value))  # after a restart
    assert again is not None
    assert again.key == ring.find(SECRET, 0.0)
    assert again.may(Role.ADMIN)


def test_a_cookie_ends_after_its_time_and_one_that_is_used_is_renewed(tmp_path):
    ring, clock = keyring(), Clock()
    one = sessions(tmp_path, ring, clock)
    value = one.begin(ring.find(SECRET, 0.0))
    clock.now += LIFETIME * 0.4
    visitor = one.visitor(cookie(value))
    assert visitor is not None
    assert one.renewed(visitor) is None
    clock.now += LIFETIME * 0.2
    renewed = one.renewed(visitor)
    assert renewed is not None
    clock.now += LIFETIME * 0.5
    assert one.visitor(cookie(value)) is None
    assert one.visitor(cookie(renewed)) is not None


def test_who_signs_out_is_out_with_every_cookie_of_the_session(tmp_path):
    ring, clock = keyring(), Clock()
    one = sessions(tmp_path, ring, clock)
    value = one.begin(ring.find(SECRET, 0.0))
    visitor = one.visitor(cookie(value))
    assert visitor is not None
    renewed = one.begin(visitor.key, visitor.session)
    one.end(visitor)
    assert one.visitor(cookie(value)) is one.visitor(cookie(renewed)) is None
    assert not one.counts(visitor)


@pytest.mark.parametrize("value", ["", "x", "gAAAAABmade-up", '"', "a" * 5000])
def test_a_cookie_that_was_made_up_opens_nothing(tmp_path, value):
    assert sessions(tmp_path, keyring(), Clock()).visitor(cookie(value)) is None


def test_what_was_sealed_for_something_else_opens_nothing(tmp_path):
    ring = keyring()
    key = ring.find(SECRET, 0.0)
    value = Seal(tmp_path / "secret.key").seal({"key": key.id, "session": "s", "until": 1e12})
    assert sessions(tmp_path, ring, Clock()).visitor(cookie(value)) is None


async def test_a_revoked_key_ends_its_sessions(tmp_path):
    ring, clock = keyring(), Clock()
    made, secret = await ring.make("ada", actor="test", role=Role.OPERATE)
    one = sessions(tmp_path, ring, clock)
    value = one.begin(ring.find(secret.reveal().encode(), 0.0))
    assert one.visitor(cookie(value)) is not None
    lent = ring.lend(made)
    assert ring.find(lent.encode(), 0.0).name == "ada"
    await ring.revoke("ada", actor="test")
    assert one.visitor(cookie(value)) is None
    with pytest.raises(NotAllowed, match="revoked"):
        ring.find(lent.encode(), 0.0)


def test_what_is_lent_of_a_key_stays_the_same_and_is_not_the_key():
    ring = keyring()
    key = ring.find(SECRET, 0.0)
    assert ring.lend(key) == ring.lend(key) != SECRET.decode()


def test_a_server_without_keys_takes_anybody(tmp_path):
    visitor = sessions(tmp_path, Keyring(), Clock()).visitor("")
    assert visitor is not None
    assert visitor.key is ANYBODY
    assert visitor.actor == "api"


def test_a_cookie_is_out_of_reach_of_scripts_and_other_sites():
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(set_cookie("v", secure=False).split("; "))
    assert set_cookie("v", secure=True).endswith("; Secure")
    assert "Max-Age=0" in set_cookie("", secure=False)


@pytest.mark.parametrize(
    ("origin", "host", "own"),
    [
        ("http://a:1", "a:1", True),
        ("https://a", "a", True),
        ("http://a:2", "a:1", False),
        ("null", "null", False),
        ("ftp://a", "a", False),
        ("http://[::1", "a", False),
        (None, "a", False),
        ("http://a", None, False),
    ],
)
def test_whose_page_asks(origin, host, own):
    assert is_own_origin(origin, host) is own


def test_only_routes_are_reached_through_the_page():
    assert rest_path("/page/rest/api/endpoints/status") == "/api/endpoints/status"
    assert rest_path("/page/rest/v1/chat/completions") == "/v1/chat/completions"
    assert rest_path("/page/rest/page/rest/api/x") is None
    assert rest_path("/page/rest/sign-out") is None
    assert rest_path("/api/endpoints") is None


def test_every_inline_script_and_style_gets_the_nonce_and_text_does_not():
    document = b'<style>a</style><script type="module">x</script><script>y</script><p>&lt;script&gt;</p><scripted>'
    marked = with_nonce(document, "n")
    assert marked.count(b'nonce="n"') == 3
    assert b"<scripted>" in marked
    assert b"style=" not in with_nonce(b'<div style="display: none"></div>', "n")


async def test_a_sign_out_is_remembered_over_a_restart_as_long_as_a_cookie_could_be_shown(tmp_path):
    ring, clock = keyring(), Clock()
    place = tmp_path / "page" / "signed-out.json"
    one = Sessions(ring, Seal(tmp_path / "secret.key"), ended=place, wall=clock)
    value = one.begin(ring.find(SECRET, 0.0))
    visitor = one.visitor(cookie(value))
    assert visitor is not None
    one.end(visitor)
    again = Sessions(ring, Seal(tmp_path / "secret.key"), ended=place, wall=clock)
    assert again.visitor(cookie(value)) is None
    assert visitor.session in json.loads(place.read_text())
    assert list(place.parent.iterdir()) == [place]
    clock.now += LIFETIME + 1
    other = again.visitor(cookie(again.begin(ring.find(SECRET, 0.0))))
    assert other is not None
    again.end(other)
    assert list(json.loads(place.read_text())) == [other.session]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": "b"}', "null"])
def test_a_record_of_sign_outs_that_is_broken_lets_the_server_start(tmp_path, content):
    place = tmp_path / "signed-out.json"
    place.write_text(content)
    one = Ended(place, 0.0)
    one.add("a", 10.0, 0.0)
    assert "a" in Ended(place, 5.0)
    assert "a" not in Ended(place, 11.0)


def test_a_sign_out_that_cannot_be_written_counts_all_the_same(tmp_path):
    (tmp_path / "file").write_text("")
    one = Ended(tmp_path / "file" / "signed-out.json", 0.0)
    one.add("a", 10.0, 0.0)
    assert "a" in one


def test_of_too_many_sign_outs_those_that_end_first_are_forgotten(monkeypatch):
    monkeypatch.setattr("lamplighter.web.ended._MOST", 2)
    one = Ended(None, 0.0)
    for session, until in (("a", 30.0), ("b", 10.0), ("c", 20.0)):
        one.add(session, until, 0.0)
    assert [session in one for session in "abc"] == [True, False, True]


def test_a_session_that_began_behind_https_keeps_its_cookie_there(tmp_path):
    ring, clock = keyring(), Clock()
    one = sessions(tmp_path, ring, clock)
    value = one.begin(ring.find(SECRET, 0.0), secure=True)
    clock.now += LIFETIME * 0.6
    visitor = one.visitor(f"{SECURE_COOKIE}={value}")
    assert visitor is not None
    assert visitor.secure
    renewed = one.renewed(visitor)
    assert renewed is not None
    again = one.visitor(f"{SECURE_COOKIE}={renewed}")
    assert again is not None
    assert again.secure
    assert set_cookie(value, secure=True).startswith("__Host-")


@pytest.mark.parametrize("other", ['a="', "a[b]=c d", "=", "x", 'json={"a": [1, 2]}', "a=b,c", "\x00=\xff"])
def test_cookies_of_others_do_not_sign_anybody_out(tmp_path, other):
    ring = keyring()
    one = sessions(tmp_path, ring, Clock())
    value = one.begin(ring.find(SECRET, 0.0))
    assert one.visitor(f"{other}; {COOKIE}={value}; {other}") is not None
    assert one.visitor(f"{COOKIE}=made-up; {other}; {COOKIE}={value}") is not None


@pytest.mark.parametrize(
    ("scheme", "peer", "said", "secure"),
    [
        ("http", "10.0.0.1", b"https", True),
        ("http", "10.0.0.1", b"HTTPS, http", True),
        ("http", "10.0.0.1", b"http", False),
        ("http", "192.0.2.1", b"https", False),
        ("http", "", b"https", False),
        ("https", "192.0.2.1", b"http", True),
    ],
)
def test_only_a_trusted_proxy_tells_that_a_browser_came_through_tls(scheme, peer, said, secure):
    scope = {"scheme": scheme, "client": (peer, 1) if peer else None, "headers": [(b"x-forwarded-proto", said)]}
    assert Sources(["10.0.0.0/8"]).is_secure(scope) is secure


@pytest.mark.parametrize(
    "address", ["/page/restapi/x", "/page/rest", "/page/rest/", "/page/rest//api/x", "/page/rest/docs"]
)
def test_what_is_no_route_is_not_reached_through_the_page(address):
    assert rest_path(address) is None
