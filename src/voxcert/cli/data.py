"""`voxcert data check`."""

from voxcert.cli.errors import messages_for_errors
from voxcert.cli.parser import command_parser


def data(args: list[str]) -> None:
    """Checks data: `voxcert data check FOLDER_OR_MANIFEST` says what a run would see of it, and refuse.

    Args:
        args: Arguments of the command line.
    """
    parser = command_parser("data")
    parser.add_argument("action", choices=["check"], help="check: read everything from end to end.")
    parser.add_argument("path", type=str, help="Manifest, or root of a corpus.")
    parser.add_argument("--corpus", type=str | None, help="Class of voxcert.data; told from what is there when null.")
    parser.add_argument("--channel", type=int | None, help="Channel of every file, 0 the first, as the run has it.")
    parser.add_argument("--audio_root", type=str | None, help="Folder that a manifest's paths start from, likewise.")
    parser.add_argument("--crop_seconds", type=float, default=3.0, help="Length of the crops that would be tested.")
    parser.add_argument("--num_enroll", type=int, default=5, help="Recordings that would enrol a speaker.")
    parser.add_argument("--num_workers", type=int, default=2, help="Threads that read audio.")
    parser.add_argument("--write", type=str | None, help="Write what is usable as a manifest (.csv or .jsonl).")
    config = parser.parse_args(args)
    with messages_for_errors():
        from voxcert.data.check import check_corpus, corpus_at, describe  # here: --help answers without torch
        from voxcert.data.manifest import check_place, write_manifest

        if config.write is not None:
            check_place(config.write, config.path)
        corpus = corpus_at(config.path, config.corpus, channel=config.channel, audio_root=config.audio_root)
        report = check_corpus(corpus, config.crop_seconds, config.num_workers, config.num_enroll)
        print(describe(report))
        if config.write is not None:
            write_manifest(report.usable, config.write)
            print(f"{len(report.usable)} usable utterances are listed in {config.write}")
    if report.refused or report.leaks or not report.usable:
        raise SystemExit(1)  # so that a script stops here
