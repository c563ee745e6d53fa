import pytest

from voxcert.attacks import hop_skip_jump, nes, pgd
from voxcert.evaluation.defence.settings import Defence, DefenceSettings, check_comparison
from voxcert.purifiers import MeanFilter

ATTACKS = {"l2": pgd(epsilon=0.1)}


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
        (
            lambda: check(["a"], {"HSJ": hop_skip_jump()}, text="wrong", can_read=True),
            "text of a must be none under the attack HSJ, got wrong",
        ),
        (lambda: check(["a"], text="heard", can_read=True), "transcriber must be given for what a hears, got null"),
    ],
)
def test_errors_name_what_is_allowed(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def check(names, attacks=ATTACKS, text="none", can_read=False):
    check_comparison([Defence(name, MeanFilter(), text) for name in names], attacks, can_read, can_hear=False)


def test_what_can_be_made_is_not_refused():
    check(["a", "b"])
    check(["a"], text="wrong", can_read=True)
    check(["a"], {"NES": nes(epsilon=0.1)})
