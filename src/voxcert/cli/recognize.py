"""`voxcert identify` and `voxcert verify`: the system that was certified, in use."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from voxcert.cli.errors import messages_for_errors
from voxcert.cli.parser import Parser, command_parser


def identify(args: list[str]) -> None:
    """Names the speakers of recordings, as the system that a certification run was about; JSON lines."""
    parser = _parser("identify")
    parser.add_argument(
        "--threshold",
        type=float | None,
        help="Answer nobody where the winner's smoothed score, a cosine, is below; names somebody always when null.",
    )
    config = parser.parse_args(args)
    _answer(config, lambda recognizer, waveform: recognizer.identify(waveform, config.threshold))


def verify(args: list[str]) -> None:
    """Accepts or rejects the claim that recordings are a speaker's, likewise; JSON lines."""
    parser = _parser("verify")
    parser.add_argument("--speaker", type=str, required=True, help="Who is claimed: an enrolled speaker.")
    parser.add_argument(
        "--threshold",
        type=float,
        required=True,
        help="Smoothed scores from here on are accepted; a cosine unless the run has a cohort.",
    )
    config = parser.parse_args(args)

    def ask(recognizer: Any, waveform: Any) -> Any:
        from voxcert.data.names import as_speaker, few  # here: --help and mistakes answer without torch

        claim, enrolled = as_speaker(config.speaker), recognizer.speakers
        if claim not in enrolled:
            raise ValueError(f"speaker must be one of the {len(enrolled)} enrolled ({few(enrolled)}), got {claim!r}")
        return recognizer.verify(waveform, claim, config.threshold)

    _answer(config, ask)


def _parser(command: str) -> Parser:
    parser = command_parser(command)
    parser.add_argument(
        "recordings", type=str, nargs="+", help="Audio files; - reads their paths from standard input, one a line."
    )
    parser.add_argument("--run", type=str, required=True, help="Output folder of `certify`: encoder, speakers, sigma.")
    add_system(parser)
    return parser


def _answer(config: Any, ask: Callable[[Any, Any], Any]) -> None:
    """Prints a line for every recording, in their order; one that cannot be read says why, status 1 if none can be."""
    with messages_for_errors():
        from voxcert.data.audio import AudioError  # here: --help and mistakes answer without torch
        from voxcert.data.paths import printable
        from voxcert.deployment.answers import public

        recognizer, failed = recognizer_of(config), []
        for path in _paths(config.recordings):
            try:
                answer = public(ask(recognizer, recognizer.read(path)))
            except AudioError as error:
                answer = {"error": str(error)}
            failed.append("error" in answer)
            print(json.dumps({"recording": printable(path)} | answer, ensure_ascii=False), flush=True)
        if failed and all(failed):
            raise SystemExit(1)  # so that a script stops here


def add_system(parser: Parser) -> None:
    """The options that say how the system of a run is set up, beside its folder: what `recognizer_of` reads."""
    parser.add_argument("--checkpoint", type=str | None, help="Where the run's encoder is now, if it has moved.")
    parser.add_argument("--classifier", type=str, default="vote", help="vote or embedding.")
    parser.add_argument(
        "--channel", type=int | None, help="Channel of recordings that have several, 0 the first; the run's when null."
    )
    parser.add_argument("--accelerator", type=str, default="auto", help="auto (where the run computed), cpu or cuda.")
    parser.add_argument("--seed", type=int | None, help="Of the noise, to repeat answers; fresh and secret when null.")


def recognizer_of(config: Any) -> Any:
    """The smoothed recognizer of a run, from the options of a command, in a process that is set up to compute."""
    from voxcert.deployment import SmoothedRecognizer
    from voxcert.evaluation.run.processes import keep_freed_memory

    keep_freed_memory()
    chosen = {name: config[name] for name in ("checkpoint", "classifier", "channel", "accelerator", "seed")}
    return SmoothedRecognizer.from_run(config.run, **chosen)


def _paths(recordings: list[str]) -> Iterator[str]:
    for path in recordings:
        if path == "-":
            yield from filter(None, (os.fsdecode(line).strip() for line in sys.stdin.buffer))
        else:
            yield path
