"""Whatever is not markup is text."""

from kinema.report.markup import join, table, tag


def test_text_and_attributes_are_escaped():
    assert tag("p", '<b>"', title="\"><script>'") == ('<p title="&quot;&gt;&lt;script&gt;&#x27;">&lt;b&gt;&quot;</p>')


def test_markup_is_taken_as_it_is_and_nothing_is_left_out_silently():
    assert join(tag("br"), None, ["a", 3, [0.5]]) == "<br/>a30.5"


def test_attributes_that_are_off_are_left_out():
    assert tag("a", class_="x", data_y=1, hidden=True, lang=None, open=False) == '<a class="x" data-y="1" hidden></a>'


def test_characters_that_reorder_or_hide_text_become_visible():
    shown = join("evil\u202egpj.exe\x00\udc80", "a\nb\u200d")
    assert shown == "evil\ufffdgpj.exe\ufffd\ufffda\nb\u200d"
    assert tag("i", title="\u202e") == '<i title="\ufffd"></i>'


def test_tables_name_their_rows_and_columns():
    made = table(["a", "b"], [["x", "<"]], caption="c")
    assert '<th scope="col">b</th>' in made
    assert '<tr><th scope="row">x</th><td>&lt;</td></tr>' in made
