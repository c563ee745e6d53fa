import pytest

from voxcert.data.names import as_read, as_speaker, few


@pytest.mark.parametrize(
    "written",
    [
        "Zo\u00eb B",
        "Zoe\u0308 B",
        " Zo\u00eb B",
        "Zo\u00eb\u00a0B",
        "Zo\u00eb  B\t",
        "\ufeffZo\u00eb B",
        "Zo\u00eb\u200b B\u3000",
    ],
)
def test_one_name_in_many_spellings(written):
    assert as_read(written) == "Zo\u00eb B"


def test_many_names_are_cut_short():
    assert few([*"abcdefgh"]) == "a, b, c, d, e, f, g, h"
    assert few([*"abcdefghij"]) == "a, b, c, d, e, f, g, h and 2 more"
    assert few([*"abc"], count=2, separator="; ", show=repr) == "'a'; 'b' and 1 more"


def test_joiners_and_case_are_kept():
    assert as_read("\u0646\u0645\u06cc\u200c\u062e") == "\u0646\u0645\u06cc\u200c\u062e"
    assert as_read("anna") != as_read("Anna")


def test_numbers_are_names():
    assert as_speaker(12) == "12"
    assert as_speaker("0012 ") == "0012"


@pytest.mark.parametrize("value", [["a"], {"a": 1}, True, 1.5, None, b"a"])
def test_what_is_no_name_is_refused(value):
    with pytest.raises(ValueError, match="speaker must be a text or a whole number, got"):
        as_speaker(value)


@pytest.mark.parametrize("value", ["", "  ", "\u00a0", "\u200b"])
def test_a_name_with_nothing_to_read_is_refused(value):
    with pytest.raises(ValueError, match="speaker must be a name, got"):
        as_speaker(value)


def test_stray_bytes_are_refused():
    with pytest.raises(ValueError, match="a name must be UTF-8 text, got 'jos.udce9'"):
        as_read("jos\udce9")
