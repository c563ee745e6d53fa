"""`voxcert serve` and `voxcert try`: what was certified, over HTTP and as a page."""

import os
from contextlib import contextmanager
from pathlib import Path

from jsonargparse.typing import restricted_number_type

from voxcert.cli.errors import messages_for_errors
from voxcert.cli.parser import Parser, command_parser
from voxcert.cli.recognize import add_system, recognizer_of

TOKEN = "VOXCERT_TOKEN"
DATABASE = "speakers.sqlite"
PORT = restricted_number_type("Port", int, [(">", 0), ("<", 2**16)])


def serve(args: list[str]) -> None:
    """Serves the system that a certification run was about: POST recordings to /identify, /verify and /enroll."""
    parser = _parser("serve", port=8000)
    parser.add_argument(
        "--host", type=str, default="127.0.0.1", help="Address to listen on; others than loopback need a token."
    )
    parser.add_argument(
        "--database",
        type=str | None,
        help=f"SQLite file of who is enrolled; RUN/{DATABASE} when null, none on the disk for :memory:.",
    )
    parser.add_argument(
        "--token_file", type=str | None, help=f"File with the token that requests bear; {TOKEN} of the environment too."
    )
    parser.add_argument("--threads", type=int, default=2, help="Recordings that are listened to at a time.")
    for name, default, purpose in (
        ("max_megabytes", 20.0, "Size of a request, at most."),
        ("min_seconds", 0.5, "Length of a recording, at least."),
        ("max_seconds", 120.0, "Length of a recording, at most."),
    ):
        parser.add_argument(f"--{name}", type=float, default=default, help=purpose)
    config = parser.parse_args(args)
    with messages_for_errors(), _extra("serve"):
        token = _token(config.token_file)
        from voxcert.deployment.enrolled import EnrolledSpeakers  # here: --help and mistakes answer without torch
        from voxcert.deployment.service import check_exposure, create_app, run
        from voxcert.deployment.uploads import Limits
        from voxcert.evaluation.run.folder import read_config

        check_exposure(config.host, token)
        limits = Limits(config.max_megabytes, config.min_seconds, config.max_seconds)
        recognizer = recognizer_of(config)
        system = f"{read_config(config.run)['checkpoint_hash']} at sigma {recognizer.sigma}"
        with EnrolledSpeakers(config.database or Path(config.run) / DATABASE, system) as speakers:
            app = create_app(recognizer, speakers, limits=limits, token=token, threads=config.threads)
            run(app, config.host, config.port)


def try_page(args: list[str]) -> None:
    """Opens a page to try the system that a certification run was about: microphone, answers, their promise."""
    config = _parser("try", port=7860).parse_args(args)
    with messages_for_errors(), _extra("try"):
        from voxcert.deployment.page import open_page

        open_page(recognizer_of(config), config.port)


globals()["try"] = try_page  # the command's name, which is a keyword and cannot be defined


def _parser(command: str, port: int) -> Parser:
    parser = command_parser(command)
    parser.add_argument("run", type=str, help="Output folder of `certify`: encoder, speakers, sigma.")
    add_system(parser)
    parser.add_argument("--port", type=PORT, default=port, help="Port to listen on.")
    return parser


def _token(path: str | None) -> str | None:
    """The token of a file or of the environment; one that is set and empty is a mistake."""
    try:
        given = os.environ.get(TOKEN) if path is None else Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"token_file must be text in UTF-8, got {path}") from error
    if given is not None and not given.strip():
        raise ValueError(f"the token must not be empty, got nothing in {TOKEN if path is None else path}")
    return None if given is None else given.strip()


@contextmanager
def _extra(name: str):
    """Names the extra whose libraries are not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ValueError(f'this command needs {error.name}: pip install "voxcert[{name}]"') from error
