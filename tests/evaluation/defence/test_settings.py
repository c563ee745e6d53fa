import pytest

from voxcert.attacks import carlini_wagner, hop_skip_jump, imperceptible, nes, pgd
from voxcert.evaluation.defence.settings import Defence, DefenceSettings, check_comparison, check_texts
from voxcert.purifiers import MeanFilter

ATTACKS = {"l2": pgd(epsilon=0.1)}
CONTENT = {
    "carlini_wagner": carlini_wagner(),
    "hop_skip_jump": hop_skip_jump(),
    "imperceptible": imperceptible(epsilon=0.1),
}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Defence("none", MeanFilter()), "name must be one that a file can have, and not none, got 'none'"),
        (lambda: Defence("a/b", MeanFilter()), "name must be one that a file can have"),
        (
            lambda: Defence("mean", MeanFilter(), text="own"),
            "text must be one of none, transcript, wrong, heard, got 'own'",
        ),
        (lambda: DefenceSettings("run", num_draws=0), "num_draws must be at least 1, got 0"),
        (lambda: DefenceSettings("run", genuine_snr_db=float("inf")), "genuine_snr_db must be finite or null, got inf"),
        (lambda: check([]), r"defences must be one or more with names of their own, got \[\]"),
        (lambda: check(["a", "a"]), r"with names of their own, got \['a', 'a'\]"),
        (
            lambda: check(["a"], {"genuine": pgd(epsilon=1)}),
            "attacks must be one or more with names other than genuine",
        ),
        (lambda: check(["a"], {"l2": pgd}), "attacks.l2.epsilon must be given for .*pgd, got no value"),
        (lambda: check(["a"], {"l2": pgd(epsilon=float("inf"))}), "attacks.l2.epsilon must be finite, got inf"),
        (lambda: check(["a"], {}), "attacks must be one or more"),
        (lambda: check(["a"], text="transcript"), "text_embedder must be given for the text of a, got null"),
        (
            lambda: check(["a"], {"NES": nes(epsilon=0.1)}, text="wrong", can_read=True),
            "text of a must be none under the attack NES, got wrong",
        ),
        *(
            (
                lambda attack=attack: check(["a"], {"one": attack}),
                f"attacks must spend a budget, .* got .*{name} as one",
            )
            for name, attack in CONTENT.items()
        ),
        (lambda: check(["a"], text="heard", can_read=True), "transcriber must be given for what a hears, got null"),
    ],
)
def test_errors_name_what_is_allowed(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def check(names, attacks=ATTACKS, text="none", can_read=False):
    check_comparison([Defence(name, MeanFilter(), text) for name in names], attacks, can_read, can_hear=False)


@pytest.mark.parametrize(
    ("text", "texts", "counts"),
    [
        ("transcript", ["", ""], "0 of 2 utterances, 0"),
        ("transcript", ["one", "two", ""], "2 of 3 utterances, 2"),
        ("wrong", ["one", "one", ""], "2 of 3 utterances, 1"),
    ],
)
def test_text_that_the_corpus_lacks_cannot_be_told(text, texts, counts):
    with pytest.raises(ValueError, match=f"text of a must be none or heard .* got {text} with transcripts of {counts}"):
        check_texts([Defence("b", MeanFilter()), Defence("a", MeanFilter(), text)], texts)


def test_what_can_be_made_is_not_refused():
    check_texts([Defence("a", MeanFilter(), text) for text in ("none", "heard", "wrong")], ["one", "two", ""])
    check_texts([Defence("a", MeanFilter(), "transcript")], ["one", "one"])
    check_texts([Defence("a", MeanFilter(), "heard")], [""])
    check(["a", "b"])
    check(["a"], text="wrong", can_read=True)
    check(["a"], {"NES": nes(epsilon=0.1)})
