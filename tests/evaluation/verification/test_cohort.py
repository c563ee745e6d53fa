"""Who is in a cohort."""

import pytest
import torch
from torch import nn

from voxcert.data.identity import Planned
from voxcert.encoders.base import Recognizer
from voxcert.evaluation.certification.settings import CertificationSettings
from voxcert.evaluation.verification.cohort import choose_cohort


def planned(speaker, part, role="enrol"):
    return Planned(role, f"{speaker}-{part}", speaker, 0.0, None, part, None, "")


PLAN = [planned("a", "other"), planned("a", "clean"), planned("b", "clean"), planned("b", "other")]
PLAN += [planned("c", "other"), planned("d", "clean"), planned("d", "other", role="test")]


def chosen(part):
    settings = CertificationSettings("run", sigma=0.1, task="verification", cohort=part)
    return choose_cohort(Recognizer(nn.Identity(), torch.eye(4), list("abcd")), PLAN, {"d"}, settings)


@pytest.mark.parametrize(("part", "speakers"), [("clean", ["a", "b"]), ("other", ["a", "b", "c"])])
def test_a_speaker_belongs_to_every_part_that_enrols_them(part, speakers):
    assert chosen(part).speakers == speakers


def test_a_part_with_too_few_is_refused():
    with pytest.raises(ValueError, match=r"which are in the parts \['clean', 'other'\], got 'train' with 0"):
        chosen("train")
