"""Early and late parts of every recording, for closed-set identification: train on the one, measure on the other."""

from collections.abc import Iterator
from dataclasses import replace

from voxcert.data.audio import duration
from voxcert.data.corpus import Corpus
from voxcert.data.utterance import Utterance

EARLY, LATE = "early", "late"


class TimeSplit(Corpus):
    """Cuts every utterance of a corpus in two, so that speech of the same speakers can be held out.

    The pieces have parts "early" and "late" and ids "ID@early" and "ID@late".

    Args:
        corpus: What to cut.
        late: Share of each utterance's length that is late.
        num_speakers: Keep the first so many speakers, by name; all when null.

    Raises:
        ValueError: If `late` is not in (0, 1), or `num_speakers` below 1.
    """

    def __init__(self, corpus: Corpus, late: float = 0.2, num_speakers: int | None = None):
        if not 0 < late < 1:
            raise ValueError(f"late must be a share in (0, 1), got {late}")
        if num_speakers is not None and num_speakers < 1:
            raise ValueError(f"num_speakers must be at least 1 or null, got {num_speakers}")
        self.corpus, self.late, self.num_speakers = corpus, late, num_speakers

    def scan(self) -> Iterator[Utterance]:
        """Cut every utterance; reads the file's header where it has no end.

        Raises:
            AudioError: A file that has no end is not readable.
        """
        utterances = self.corpus.utterances()
        kept = set(sorted({one.speaker for one in utterances})[: self.num_speakers])
        for one in utterances:
            if one.speaker not in kept:
                continue
            end = duration(one.path) if one.end is None else one.end
            middle = round(end - self.late * (end - one.start), 3)
            yield replace(one, id=f"{one.id}@{EARLY}", end=middle, part=EARLY, text="")
            yield replace(one, id=f"{one.id}@{LATE}", start=middle, part=LATE, text="")
