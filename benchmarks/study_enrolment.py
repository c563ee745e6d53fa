"""Certifies the same recordings with fewer recordings enrolling each speaker (docs/study.md, "Enrolment").

`certify.py --data.num_enroll M` tests other recordings for each M, for what enrols does not test. Here the tested ones
are those that five leave over, and M of the five enrol. All other settings are those of `certify.py`.
"""

import argparse
import shlex
import sys

from voxcert.cli.certify import certify_parser
from voxcert.cli.options import given, instantiate, named_encoder, parse, settings
from voxcert.data.splits import Evaluation
from voxcert.evaluation.certification.job import certify_speakers
from voxcert.evaluation.certification.settings import CertificationSettings
from voxcert.evaluation.run.job import Provenance

MOST = 5


def main(arguments: list[str]) -> None:
    """Certifies with so many of the five recordings enrolling each speaker."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_enroll", type=int, choices=range(1, MOST + 1), required=True)
    own, others = parser.parse_known_args(arguments)
    parser = certify_parser()
    most, _ = parse(parser, [*others, "--data.num_enroll", str(MOST)])
    config, plain = parse(parser, [*others, "--data.num_enroll", str(own.num_enroll)])
    tested, fewer = instantiate(parser, most).data.tested("test"), instantiate(parser, config).data
    encoder, encoder_id = named_encoder(config, None)
    command = f"python benchmarks/study_enrolment.py {shlex.join(arguments)}"
    certify_speakers(
        encoder,
        fewer.testing(Evaluation(fewer.split.test.enroll, tested)),
        settings(CertificationSettings, config),
        Provenance(encoder_id, given(plain, "checkpoint", "data"), command),
    )


if __name__ == "__main__":
    main(sys.argv[1:])
