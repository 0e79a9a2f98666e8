"""Texts have ids, and all who keep ids follow when they change."""

import gc

import numpy as np

from agent.text.text_table import PADDING, TextTable


class Holder:
    """Keeps ids, as the windows of streams do."""

    def __init__(self, ids: list[int]) -> None:
        self.ids = np.array(ids, np.int32)

    def renumber(self, moved: np.ndarray) -> None:
        self.ids = moved[self.ids]


def test_a_text_has_one_id_from_1_on():
    table = TextTable()
    assert [table.intern(text) for text in ("a", "b", "a", "")] == [1, 2, 1, 3]
    assert (len(table), table[2], table[3]) == (4, "b", "")


def test_a_table_of_given_texts_points_into_them():
    table = TextTable(["", "a", "b"])
    assert (table.intern("b"), table.intern("c"), table[1]) == (2, 3, "a")


def test_all_who_keep_ids_follow():
    table = TextTable(["", "alpha", "beta", "gamma"])
    one, other = Holder([0, 1, 3]), Holder([3, 2])
    for holder in (one, other):
        table.subscribe(holder)
    table.compact(one.ids)
    assert table.texts == ["", "alpha", "gamma"]
    assert (one.ids.tolist(), other.ids.tolist()) == ([PADDING, 1, 2], [2, PADDING])
    assert [table.intern(text) for text in ("gamma", "beta")] == [2, 3]


def test_one_that_nobody_else_knows_is_let_go():
    table, holder, heard = TextTable(["", "a"]), Holder([1]), []
    table.subscribe(holder)
    holder.renumber = heard.append
    del holder
    gc.collect()
    table.compact(np.array([1], np.int32))
    assert not heard


def test_sizes_follow_the_texts_also_when_some_are_forgotten():
    table = TextTable()
    ids = [table.intern(text) for text in ("a" * 100, "\xe9" * 100, "\u4e00" * 100, "\U0001f600" * 100)]
    before = table.sizes()[ids]
    assert before.tolist() == [180, 180, 280, 480] and table.sizes()[0] == 0
    "".join(table.texts).encode()
    table.compact(np.array(ids[1:3], np.int32))
    assert table.sizes().tolist() == [0, 180, 280]
