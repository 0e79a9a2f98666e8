"""Folding, masks and canonical texts, and that the cache of keys is exact."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import BundleError
from agent.text.canonical import MASKS, MAX_TEXT, Normalizer, fold, select_masks
from agent.text.lines import LineSplitter


def block(*lines: str, source: str = "log"):
    return LineSplitter(source).feed(("\n".join(lines) + "\n").encode())


def canonical(line: str, header: str = "auto") -> str:
    normalizer = Normalizer(header, MASKS)
    return normalizer.texts[normalizer.ids(block(line))[0]]


@pytest.mark.parametrize(
    ("line", "folded"),
    [
        (b"port 52683 ssh2\n", b"port 0 ssh0\n"),
        (b"id 3fa94c0d done\n", b"id 0 done\n"),
        (b"dead beef\n", b"dead beef\n"),
        (b"at 0x7ffe12ab and 0xdeadbeef\n", b"at 0 and 0\n"),
        (b"sda1 eth12 x86_64\n", b"sda0 eth0 x0_0\n"),
        (b"1\n22\n\n333\n", b"0\n0\n\n0\n"),
        (b"\n", b"\n"),
    ],
)
def test_fold(line, folded):
    assert fold(line) == folded


def slow_fold(data: bytes) -> bytes:
    """The rule of `fold` word by word."""

    def word(match: re.Match[bytes]) -> bytes:
        text = match[0]
        digits = re.search(rb"[0-9]", text)
        hexadecimal = re.fullmatch(rb"(?:[0-9a-fA-F]|(?<=0)[xX])+", text)
        return b"0" if digits and hexadecimal else re.sub(rb"[0-9]+", b"0", text)

    return re.sub(rb"[0-9A-Za-z]+", word, data)


@given(st.lists(st.text(alphabet="0129afxXgz. -\n\u00e4\0", max_size=40)).map(lambda parts: "\n".join(parts).encode()))
def test_fold_follows_its_rule(data):
    assert fold(data) == slow_fold(data)
    assert fold(data).count(b"\n") == data.count(b"\n")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (
            "Jun  9 06:06:20 web1 sshd[731]: Failed password for root from 192.0.2.7 port 4711 ssh2",
            "sshd: Failed password for root from <ip> port <num> ssh0",
        ),
        ("2026-05-01T10:00:00.123456+02:00 web1 kernel: eth0: link up", "kernel: eth0: link up"),
        ('<34>1 2026-05-01T10:00:00Z web1 app 12 ID7 [x@1 a="b\\"]"] started in 3 ms', "app: started in <num> ms"),
        (
            "081109 203530 147 WARN dfs.Node: got blk_-12 from /192.0.2.1:50",
            "WARN dfs.Node: got blk_<num> from /<ip>:<num>",
        ),
        (
            "081109 203530 148 WARN dfs.Node: got blk_77 from /192.0.2.9:51",
            "WARN dfs.Node: got blk_<num> from /<ip>:<num>",
        ),
        ("connect fe80::1ff:fe23:4567:890a failed", "connect <ip> failed"),
        ("std::string at Foo::bar", "std::string at Foo::bar"),
        ("key RSA SHA256:93Q8S4dMxw1ZzPp+aY/b7Lk0fQ2rTn accepted", "key RSA <hash> accepted"),
        ("key RSA 3a:9f:ff:b1:00:12:9c:aa:01:02:03:04:05:06:07:08", "key RSA <hash>"),
        ("mac 00:1a:2b:3c:4d:5e up", "mac <mac> up"),
        ("session 123e4567-e89b-12d3-a456-426614174000 closed", "session <uuid> closed"),
        ("rhost=gw.example.com user=x", "rhost=<host> user=x"),
        ("started at 10:31:07, took 3-4 s", "started at <time>, took <num>-<num> s"),
        ("tab\tand\x1b[31m escape", "tab and [31m escape".replace("31", "<num>").replace("[<num>m", "[0m")),
        ("allocate: /user/root/sort7/_tmp/_task_2008_m_81/part-81. blk_5", "allocate: /user/root/<path> blk_<num>"),
        ("exe=/usr/sbin/sshd dir=/usr/lib/php5/sessions", "exe=/usr/sbin/sshd dir=/usr/lib/php0/sessions"),
        ("", ""),
    ],
)
def test_canonical_text(line, text):
    assert canonical(line) == text


def test_lines_that_differ_in_variable_parts_share_an_id():
    normalizer = Normalizer("auto", MASKS)
    ids = normalizer.ids(
        block(
            "Jun  9 06:06:20 web1 cron[1]: run 5",
            "Dec 31 23:59:59 web2 cron[99999]: run 12345",
            "2026-01-01T00:00:00Z web2 cron[7]: run 0",
            "Dec 31 23:59:59 web2 cron[99999]: ran 12345",
        )
    )
    assert ids.tolist() == [1, 1, 1, 2]


@given(st.lists(st.text(max_size=30), min_size=1, max_size=60))
def test_the_cache_changes_nothing(lines):
    data = block(*[line.replace("\n", " ") for line in lines])
    with_cache, tiny, without = (
        Normalizer("auto", MASKS),
        Normalizer("auto", MASKS, max_keys=4),
        Normalizer("auto", MASKS, cache=False),
    )
    for _ in range(2):
        expected = [without.texts[text_id] for text_id in without.ids(data)]
        assert [with_cache.texts[text_id] for text_id in with_cache.ids(data)] == expected
        assert [tiny.texts[text_id] for text_id in tiny.ids(data)] == expected


def test_long_and_broken_lines_are_bounded_and_kept_apart():
    normalizer = Normalizer("auto", MASKS)
    long = LineSplitter("log").feed(b"word " * 4000 + b"\n\xff\xfe broken\0\nJun  9 06:06:20 h p: x\r\n")
    texts = [normalizer.texts[text_id] for text_id in normalizer.ids(long)]
    assert len(texts[0]) == MAX_TEXT
    assert "broken" in texts[1]
    assert texts[2] == "p: x"
    assert all(len(key) < 5000 for key in normalizer._young)


def test_lines_are_looked_up_anew_when_texts_have_other_ids():
    normalizer = Normalizer("none", MASKS)
    ids = normalizer.ids(block("alpha", "beta", "gamma"))
    normalizer.table.compact(ids[[0, 2]])
    assert normalizer.ids(block("gamma", "alpha", "beta")).tolist() == [2, 1, 3]
    assert normalizer.texts[1:] == ["alpha", "gamma", "beta"]


def test_an_unknown_mask_is_refused():
    with pytest.raises(BundleError, match=r"unknown mask 'color'.*uuid"):
        select_masks(["ip", "color"])


def test_cached_keys_are_bounded_in_bytes():
    normalizer, splitter = Normalizer("none", []), LineSplitter("log")
    for number in range(6000):
        normalizer.ids(splitter.feed(f"{chr(97 + number % 26) * 1500}{chr(0x4E00 + number)}\n".encode()))
    assert sum(map(len, [*normalizer._young, *normalizer._old])) < 5 << 20
