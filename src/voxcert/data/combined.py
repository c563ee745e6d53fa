"""Several corpora as one: more speakers to enrol, to train on and to test."""

from collections.abc import Iterator
from dataclasses import replace

from voxcert.data.corpus import Corpus, Refused, as_named
from voxcert.data.files import PassedOver
from voxcert.data.utterance import Utterance


class Combined(Corpus):
    """Corpora side by side. Ids, speakers and parts get the corpus's name in front, as in `librispeech/test-other`.

    A corpus without parts is one part of that name. Nobody is taken for a namesake in another corpus, and who speaks
    in two of them counts as two speakers.

    Args:
        corpora: Name -> corpus.

    Raises:
        ValueError: If there are no corpora, or a name is empty or holds a slash.
    """

    def __init__(self, corpora: dict[str, Corpus]):
        if not corpora or any(not name.strip() or "/" in name for name in corpora):
            raise ValueError(f"corpora must be one or more with names without a slash, got {sorted(corpora)}")
        self.corpora = corpora

    def scan(self) -> Iterator[Utterance | Refused | PassedOver]:
        """Read one corpus after the other."""
        for name, corpus in self.corpora.items():
            for one in map(as_named, corpus.scan()):
                if isinstance(one, Utterance):
                    part = f"{name}/{one.part}" if one.part else name
                    yield replace(one, id=f"{name}/{one.id}", speaker=f"{name}/{one.speaker}", part=part)
                else:
                    yield one

    def __str__(self) -> str:
        return f"Combined({', '.join(f'{name}={corpus}' for name, corpus in self.corpora.items())})"
